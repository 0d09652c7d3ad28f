//! What the log says of itself, what its marks claim, and how it ends.

use super::*;

#[test]
fn a_mark_counts_the_zeros_of_what_is_not_durable() {
    let mut zeros = Zeros::default();
    // From the header to the end of the second sector.
    zeros.append(16, &[0; 496 + 512], true);
    assert_eq!(zeros.after(16), 1008);
    zeros.append(1024, &[vec![1; 500], vec![0; 12]].concat(), true);
    assert_eq!(zeros.after(16), 1020);
    assert_eq!(zeros.after(1024), 12, "the first append is durable");
    zeros.append(1536, &[0; 512], true);
    assert_eq!(zeros.after(1024), 524, "two appends are not");
    assert_eq!((zeros.after(1536), zeros.after(2048)), (512, 0));
}

#[test]
fn where_nothing_is_flushed_a_mark_counts_the_zeros_of_all_entries() {
    let mut zeros = Zeros::default();
    zeros.append(0, &[0; 512], false);
    zeros.append(512, &[0; 512], false);
    assert_eq!(zeros.after(1024), 1024);
}

#[test]
fn the_mark_of_a_finished_file_claims_all_of_it() {
    let world = ended_log();
    let mut scanner = Scanner::new(&world.files[&FileId(0)].stored);
    let end = FILE_HEADER_BYTES as u64 + 113;
    assert_eq!(scanner.end().unwrap(), ScanEnd::Clean { offset: end });
    assert_eq!(scanner.durable(), end);
}

#[test]
fn the_log_says_which_file_it_writes_and_how_far_it_is() {
    let mut world = World::open(SETTINGS);
    let state = |log: &LogWriter| (log.current(), log.file_bytes(), log.appended());
    assert_eq!(state(&world.writer), (None, 0, Zxid::ZERO));
    world.write(100);
    world.settle();
    assert_eq!(state(&world.writer), (Some(FileId(0)), 129, Zxid(1)));
    world.writer.roll();
    world.write(50);
    world.settle();
    assert_eq!(state(&world.writer), (Some(FileId(1)), 79, Zxid(2)));
    assert!(!world.writer.has_failed());
}

#[test]
fn a_store_that_fails_ends_the_log() {
    let mut world = World::open(SETTINGS);
    world.write(100);
    world.writer.on_failed();
    world.run_effects();
    assert!(world.failed && world.writer.has_failed() && !world.writer.is_flushing());
    assert_eq!(world.writer.room(0), 0);
    assert_eq!(world.writer.append(entry(2, 40).into(), Zxid(2)), Err(NoRoom));
}

/// The words of `ringkeeper.log`, in the configuration and in what a start says.
#[test]
fn the_ways_of_appending_have_words() {
    let ways = [Appending::Mapped, Appending::Cached, Appending::Direct];
    assert_eq!(ways.map(Appending::word), ["mapped", "cached", "direct"]);
}

#[test]
fn a_flush_says_what_it_covers() {
    assert_eq!(PendingFlush::of(Zxid(7)).upto(), Zxid(7));
}

#[test]
#[should_panic(expected = "a flush of what is to come")]
fn a_flush_covers_no_more_than_was_appended() {
    let mut world = World::open(SETTINGS);
    world.encode(100);
    world.append();
    world.writer.flush(PendingFlush::of(Zxid(2)));
}

#[test]
fn without_force_sync_a_file_gets_its_name_and_nothing_is_synced() {
    let mut world = World::open(WriterSettings { force_sync: false, ..SETTINGS });
    world.write(100);
    let (file, from) = (FileId(0), format!("{SPARE_PREFIX}0"));
    assert_eq!(world.steps(), [&LogEffect::Rename { file, from, to: "log.1".into() }]);
    world.settle();
    assert_eq!((world.durable, world.names()), (1, vec!["log.1"]));
    world.write(100);
    assert_eq!((world.durable, world.steps().len()), (2, 0), "the flush ended at once");
}

#[test]
fn a_block_that_is_full_is_not_written_again() {
    // The first file is large enough for two blocks.
    let mut world = World::open(WriterSettings { first_segment_bytes: 16 << 10, ..DIRECT });
    let mut writes = Vec::new();
    for _ in 0..6 {
        world.write(1000);
        while !world.under_way.is_empty() {
            if let Some(LogEffect::Write { offset, blocks, .. }) = world.under_way.front() {
                writes.push((*offset, blocks.len()));
            }
            world.complete(0, true);
        }
    }
    let whole = [(0, 4096), (0, 4096), (0, 4096), (0, 4096), (0, 8192), (4096, 4096)];
    assert_eq!(writes, whole);
}

#[test]
fn the_memory_of_a_write_is_kept_for_the_next_one_unless_it_is_large() {
    let mut world = World::open(DIRECT);
    world.write(100);
    world.settle();
    assert!(world.writer.memory.is_empty() && world.writer.memory.capacity() >= 4096);
    world.write(100);
    let Some(LogEffect::Write { file, .. }) = world.steps().first().copied() else {
        panic!("the flush is a write")
    };
    let (file, blocks) = (*file, Vec::with_capacity((4 << 20) + 1));
    world.writer.on_done(LogDone::Written { file, blocks, result: Ok(()) });
    assert!(world.writer.memory.capacity() <= 4 << 20);
}

/// The buffer of entries is used again, or taken as it is, unless somebody else holds a part of it:
/// then it stays as it was.
#[test]
fn a_buffer_that_others_hold_is_not_used_again() {
    for appending in [Appending::Mapped, Appending::Cached, Appending::Direct] {
        let mut world = World::open(WriterSettings { appending, ..SETTINGS });
        world.ask_room();
        let (first, second) = (entry(1, 100), entry(2, 100));
        let mut buffer = Vec::with_capacity(4096);
        buffer.extend_from_slice(&first);
        let at = buffer.as_ptr();
        let back = world.writer.append(buffer.into(), Zxid(1)).expect("it fits");
        let stored = match world.writer.poll() {
            Some(LogEffect::Store { bytes, .. }) => bytes,
            _ => back,
        };
        assert_eq!((stored.as_ptr(), stored.capacity()), (at, 4096), "{appending:?}");

        let shared = Bytes::from(second.clone());
        let record = shared.slice(ENTRY_HEADER_BYTES..shared.len() - 1);
        let back = world.writer.append(shared, Zxid(2)).expect("it fits");
        assert_eq!(back.capacity(), 0, "{appending:?}");
        if let Some(LogEffect::Store { mut bytes, .. }) = world.writer.poll() {
            assert_eq!(bytes[..second.len()], second, "{appending:?}");
            bytes.fill(0);
        }
        assert_eq!(record, second[ENTRY_HEADER_BYTES..second.len() - 1], "{appending:?}");
    }
}
