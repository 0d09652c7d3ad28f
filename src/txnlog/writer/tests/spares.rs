//! The files made ahead of need: when, and how large.

use super::*;

/// Files of 4, 16 and then 64 KiB.
const GROWING: WriterSettings = WriterSettings { segment_bytes: 64 << 10, ..SETTINGS };
const KIB: u64 = 1 << 10;

/// Ends all that is under way well; the sizes of the files that were made.
fn made(world: &mut World) -> Vec<u64> {
    let mut sizes = Vec::new();
    while let Some(effect) = world.under_way.front() {
        if let LogEffect::Make { bytes, .. } = effect {
            sizes.push(*bytes);
        }
        world.complete(0, true);
    }
    sizes
}

/// Writes an entry to its end; the sizes of the files that were made because of it.
fn write(world: &mut World, len: usize) -> Vec<u64> {
    world.write(len);
    made(world)
}

/// Rolls the log and writes the first entry of the new file.
fn roll(world: &mut World, len: usize) -> Vec<u64> {
    world.writer.roll();
    write(world, len)
}

#[test]
fn the_smallest_file_holds_two_of_the_longest_records() {
    for (record_bytes_max, bytes) in [(1000, 4096), (2007, 4096), (2008, 8192), (10_000, 20_480)] {
        let settings = WriterSettings { record_bytes_max, ..SETTINGS };
        assert_eq!(settings.segment_bytes_min(), bytes, "{record_bytes_max}");
    }
    // A start may ask for more.
    let settings = WriterSettings { first_segment_bytes: 5000, ..SETTINGS };
    assert_eq!(settings.segment_bytes_min(), 8192);
}

#[test]
fn files_grow_fourfold_up_to_the_configured_size() {
    let mut world = World::new(GROWING);
    assert_eq!(made(&mut world), [4 * KIB, 16 * KIB]);
    // The first file is in use: what follows it is to hold as much as a whole file.
    assert_eq!(write(&mut world, 100), [64 * KIB]);
    let mut sizes = Vec::new();
    // 3, 16 and 64 entries fill the files before.
    for _ in 0..84 {
        sizes.extend(write(&mut world, 1000));
    }
    assert_eq!(world.writer.current(), Some(FileId(3)));
    // The second file has a whole one after it, so it asked for none; the third and fourth did.
    assert_eq!(sizes, [64 * KIB, 64 * KIB]);
}

#[test]
fn a_log_that_is_rolled_early_makes_files_as_large_as_the_last_was_used() {
    for (last, bytes) in [(151, 20 * KIB), (152, 24 * KIB)] {
        let mut world = World::new(GROWING);
        made(&mut world);
        write(&mut world, 100);
        roll(&mut world, 100);
        roll(&mut world, 1000);
        (1..20).for_each(|_| drop(write(&mut world, 1000)));
        write(&mut world, last);
        // A mark fits after the entries of the first case to the byte.
        let end = 20 * KIB - TAIL_ROOM_BYTES as u64 + (last as u64 - 151);
        assert_eq!((world.writer.current(), world.writer.file_bytes()), (Some(FileId(2)), end));
        let Some(spare) = world.writer.spares.front() else { panic!("a file is ready") };
        assert_eq!(spare.bytes, 16 * KIB, "the file before was hardly used");
        assert_eq!(roll(&mut world, 100), [bytes]);
    }
}

#[test]
fn where_there_is_no_space_a_quarter_is_tried_down_to_the_smallest_file() {
    let mut world = World::open(GROWING);
    world.write(100);
    let mut tried = Vec::new();
    for _ in 0..3 {
        assert!(!world.writer.is_full(), "{tried:?}");
        let is_make = |effect: &LogEffect| matches!(effect, LogEffect::Make { .. });
        let at = world.under_way.iter().position(is_make).expect("the next file is asked for");
        if let LogEffect::Make { bytes, .. } = &world.under_way[at] {
            tried.push(*bytes);
        }
        world.complete(at, false);
    }
    assert!(world.writer.is_full());
    assert_eq!(tried, [64 * KIB, 16 * KIB, 4 * KIB]);
}

/// 4096 bytes, of which a header and the entries of three appends take some.
#[test]
fn the_next_file_is_needed_once_no_more_than_half_of_the_current_one_is_left() {
    for (last, next) in [(592, NextFile::Wanted), (593, NextFile::Needed)] {
        let mut world = World::new(WriterSettings { record_bytes_max: 720, ..SETTINGS });
        world.complete(0, true);
        for len in [700, 700, last] {
            world.write(len);
        }
        assert_eq!(world.writer.file_bytes(), 2047 + (last as u64 - 592));
        assert_eq!(world.writer.next_file(), next);
    }
}

/// Whoever prepares entries waits while there is room for fewer than two of the longest records. The
/// next file is needed before that, or it would be waited for as long as it is made at leisure.
#[test]
fn the_next_file_is_needed_before_anybody_waits_for_it() {
    let settings = WriterSettings { record_bytes_max: 1500, ..SETTINGS };
    let mut world = World::new(settings);
    world.complete(0, true);
    world.ask_room();
    let low = ROOM_RECORDS_LOW * settings.record_bytes_max;
    for _ in 0..13 {
        world.write(150);
        let room = world.writer.room(0);
        let next = world.writer.next_file();
        assert!(room >= low || next == NextFile::Needed, "{room} bytes are left: {next:?}");
    }
    assert!(world.writer.room(0) < low, "it has come to that");
}
