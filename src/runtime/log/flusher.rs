//! The thread that writes groups past the page cache, each of them durably, one after the other.
//!
//! Why the ring does not do it: the kernel finishes an asynchronous write that is to be durable by
//! itself with a worker that is bound to the processor which took the disk's interrupt. There it
//! waits for whatever runs, be it the appending thread itself, while another processor is idle. A
//! thread that waits inside the system call is woken wherever there is time for it.

use std::io;
use std::sync::Arc;

use crate::runtime::worker::{Lost, Worker};

use super::flush::ToFlush;
use super::segment::Segment;

/// An operation that has ended.
pub(super) struct Ended {
    pub(super) flush: ToFlush,
    pub(super) result: io::Result<()>,
}

/// The thread, as the appending thread sees it. At most one operation is under way.
pub(super) struct Flusher(Worker<(Arc<Segment>, ToFlush), Ended>);

impl Flusher {
    /// Starts the thread. `wake` is called after each operation and when the thread ends.
    pub(super) fn start(name: &str, wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Self> {
        let mut pages = None;
        let run = move |(segment, flush): (Arc<Segment>, ToFlush)| {
            let result = flush.run(&segment, &mut pages);
            // The file may be taken apart as soon as its last operation has ended.
            drop(segment);
            Ended { flush, result }
        };
        Worker::start(name, run, wake).map(Self)
    }

    /// Begins an operation.
    pub(super) fn begin(&self, segment: Arc<Segment>, flush: ToFlush) {
        self.0.begin((segment, flush));
    }

    /// The operation that has ended, if one has.
    pub(super) fn poll(&self) -> Result<Option<Ended>, Lost> {
        self.0.poll()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txnlog::{Appending, BLOCK_BYTES, FileId};

    use super::super::segment::Preparation;

    #[test]
    fn blocks_are_in_the_file_when_their_write_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = Preparation::begin(&path, 1 << 20, Appending::Cached).unwrap();
        while !file.step().unwrap() {}
        let segment = Arc::new(file.finish().unwrap());
        let (woken, wakes) = std::sync::mpsc::channel();
        let wake = Arc::new(move || woken.send(()).unwrap_or_default());
        let flusher = Flusher::start("test", wake).unwrap();
        for nth in 1..=3u8 {
            let offset = u64::from(nth) * BLOCK_BYTES;
            let segment = segment.clone();
            let blocks = vec![nth; BLOCK_BYTES as usize];
            flusher.begin(segment, ToFlush::Write { file: FileId(7), offset, blocks });
            wakes.recv().unwrap();
            let ended = flusher.poll().unwrap().unwrap();
            assert!(ended.result.is_ok() && ended.flush.file() == FileId(7));
            let found = std::fs::read(&path).unwrap();
            assert_eq!(
                found[offset as usize..][..BLOCK_BYTES as usize],
                [nth; BLOCK_BYTES as usize]
            );
        }
        assert_eq!(Arc::strong_count(&segment), 1, "a file may go when its last write has ended");
        drop(flusher);
        wakes.recv().unwrap();
    }
}
