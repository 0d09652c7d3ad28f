//! Digests that come with transactions and are not those of the tree after them.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DigestCheck {
    mismatches: u64,
    /// Since the last digest that was the tree's.
    in_a_row: u64,
}

impl DigestCheck {
    /// How many there have been since the start.
    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// A digest has been compared. The number of this mismatch in its row, if it is to be logged: a
    /// tree that differs once does so at each transaction from then on, and the log must not grow
    /// with each of them. The first is said, and each one that doubles their number.
    pub(super) fn compared(&mut self, is_same: bool) -> Option<u64> {
        if is_same {
            self.in_a_row = 0;
            return None;
        }
        self.mismatches += 1;
        self.in_a_row += 1;
        self.in_a_row.is_power_of_two().then_some(self.in_a_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_stays_wrong_does_not_fill_the_log() {
        let mut check = DigestCheck::default();
        let said: Vec<u64> = (0..1000).filter_map(|_| check.compared(false)).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(check.compared(true), None);
        assert_eq!(check.compared(false), Some(1), "another one is said at once");
        assert_eq!(check.mismatches(), 1001);
    }
}
