//! What is never on the path of a request: snapshots and their purge.
use super::config::Config;
use crate::runtime::SharedTree;
use crossbeam::channel::{Receiver, Sender, bounded};
pub struct Background {
    snapshots: Sender<()>,
    _r: Receiver<()>,
}
impl Background {
    pub fn start(_config: &Config, _tree: SharedTree) -> std::io::Result<Self> {
        let (s, r) = bounded(1);
        Ok(Self { snapshots: s, _r: r })
    }
    pub fn snapshots(&self) -> Sender<()> {
        self.snapshots.clone()
    }
    pub fn stop(self) {}
}
