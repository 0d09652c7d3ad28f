//! The budget of one call. Calls of the machine end when their budget is spent and go on later.

/// Work that is left to a call, in units. A unit is about one node looked up or changed, one event
/// or one kilobyte: a microsecond or less. The last piece of work may overrun what is left.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of this many units.
    pub fn new(units: u64) -> Self {
        Self { left: units }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Units that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// This many units were done.
    pub(super) fn spend(&mut self, units: u64) {
        if !mutant!(BudgetNotSpent) {
            self.left = self.left.saturating_sub(units);
        }
    }
}
