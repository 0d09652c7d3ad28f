//! How long the transactions of a leader are.

/// Lengths of the transactions that a leader has proposed, in bytes; 0 before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProposalSizes {
    pub last: usize,
    pub min: usize,
    pub max: usize,
}

impl ProposalSizes {
    pub(super) fn add(&mut self, bytes: usize) {
        self.min = if self.last == 0 { bytes } else { self.min.min(bytes) };
        (self.last, self.max) = (bytes, self.max.max(bytes));
    }
}
