//! The promises that are judged, and what is known of a transaction.

use std::fmt;

use crate::txn::{Txn, TxnHeader};

use super::model::{Answer, Change};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) what: String,
}

/// A promise; the numbers are those of docs/properties.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Property {
    /// C1: a write that was acknowledged, or shown to anyone, is never lost.
    WriteLost,
    /// C1: nothing happens that nobody asked for, and nothing twice.
    WriteUnasked,
    /// A request becomes what ZooKeeper makes of it, and the tree is what its transactions say.
    WrongOutcome,
    /// Zxids grow by one.
    ZxidOrder,
    /// P13: nothing is shown before its flush has come back.
    ShownBeforeDurable,
    /// C3, C4: replies come in request order, with zxids that never fall.
    ReplyOrder,
    /// C5, C6: a read shows the tree as of its zxid.
    WrongRead,
    /// W1 to W6, W8, W9: each event once, in order, before what it announces.
    WatchOrder,
    /// S1: a session does not expire before its time.
    ExpiredEarly,
    /// S2: nor long after it.
    ExpiredLate,
    /// S3: ephemerals go with their session, and not before.
    EphemeralOwner,
    /// S4 to S7: a session is what its connections were told.
    SessionState,
    /// P17: the server starts again, with the state that the log says.
    Recovery,
    /// L1: what was asked is answered.
    Unanswered,
    /// A machine asked for something absurd.
    Shell,
    /// A connection whose client does everything right is not closed.
    Closed,
    /// No request waits longer than its bound.
    Late,
    /// The work of one turn is bounded.
    Work,
    /// C7: a sync shows all that was acknowledged before it was sent.
    StaleSync,
    /// P1: an epoch has one leader.
    TwoLeaders,
    /// P14: epochs never fall, and that of the history is the lower one.
    Epochs,
    /// L1, L2: once faults have ended all servers come together.
    NotTogether,
}

/// The result of a check.
pub(crate) type Checked = Result<(), Violation>;

impl Property {
    /// The exit code of a run that ends with it.
    pub(crate) fn exit_code(self) -> u8 {
        10 + self as u8
    }

    /// A violation of it.
    pub(crate) fn broken(self, what: fmt::Arguments<'_>) -> Violation {
        Violation { property: self, what: what.to_string() }
    }
}

/// Returns the violation unless the condition holds.
macro_rules! hold {
    ($condition:expr, $property:ident, $($what:tt)*) => {
        if !$condition {
            return Err($crate::sim::property::Property::$property.broken(format_args!($($what)*)));
        }
    };
}
pub(super) use hold;

/// One transaction of the present history.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) header: TxnHeader,
    pub(crate) txn: Txn,
    pub(crate) changes: Vec<Change>,
    pub(crate) answer: Answer,
}
