//! What a session says while nobody asks: watch events, its own state, and where it is connected.

use std::fmt;

/// The state of a session, by the names of Apache's `ZooKeeper.States`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Connected,
    ConnectedReadOnly,
    Closed,
    AuthFailed,
}

impl State {
    /// Whether it can still serve, now or after a reconnect.
    pub(super) fn is_alive(self) -> bool {
        !matches!(self, Self::Closed | Self::AuthFailed)
    }

    /// Whether a server is there.
    pub(super) fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ConnectedReadOnly)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "CONNECTING",
            Self::Connected => "CONNECTED",
            Self::ConnectedReadOnly => "CONNECTEDREADONLY",
            Self::Closed => "CLOSED",
            Self::AuthFailed => "AUTH_FAILED",
        })
    }
}

/// A watch event or a change of the session, as Apache's client hands it to a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Of `Watcher.Event.KeeperState`.
    pub state: &'static str,
    /// Of `Watcher.Event.EventType`; `None` for a change of the session.
    pub kind: &'static str,
    /// As the user sees it, inside the chroot.
    pub path: Option<String>,
    /// -1 where there is none.
    pub zxid: i64,
}

impl Event {
    /// The session's state has changed.
    pub(super) fn session(state: &'static str) -> Self {
        Self { state, kind: "None", path: None, zxid: -1 }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("null");
        let Self { state, kind, zxid, .. } = self;
        write!(f, "WatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}")
    }
}

/// The name of an event's number on the wire.
pub(super) fn kind_name(kind: i32) -> &'static str {
    match kind {
        1 => "NodeCreated",
        2 => "NodeDeleted",
        3 => "NodeDataChanged",
        4 => "NodeChildrenChanged",
        _ => "None",
    }
}

/// What a session tells its owner.
pub(super) enum Notice {
    Event(Event),
    /// A sentence about the connection: to whom it is, or why it is lost.
    Link(String),
}
