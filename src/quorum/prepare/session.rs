//! closeSession: what goes with a session.

use super::Prepare;
use crate::txn::Txn;
use crate::zxid::SessionId;

/// A prepared closeSession.
pub(in super::super) struct Closing {
    pub(in super::super) txn: Txn,
    /// See [`Proposal::departs`](super::super::pipeline::Proposal::departs).
    pub(in super::super) departs: bool,
    /// Nodes that it deletes now.
    pub(in super::super) nodes: u64,
}

impl Prepare<'_> {
    /// Removes the session's ephemerals, those still to be made included. A closeSession cannot be
    /// refused: where the list of them would grow too long for the log it is cut, and every server
    /// removes the rest from its own list. One with very many departs: they are not listed, as by
    /// an Apache with `closeSessionTxn.enabled=false`, and go together when it is applied.
    pub(in super::super) fn close_session(&mut self, session: SessionId, room: usize) -> Closing {
        if self.outstanding.depart(self.tree, session, self.header.zxid) {
            let txn = Txn::CloseSession { paths: None };
            return Closing { txn, departs: true, nodes: 0 };
        }
        let mut paths = self.outstanding.ephemerals_of(self.tree, session);
        let nodes = paths.len() as u64;
        for path in &paths {
            self.remove(path);
        }
        if !self.config.close_session_txn {
            let txn = Txn::CloseSession { paths: None };
            return Closing { txn, departs: false, nodes };
        }
        let mut left = self.bytes_left.min(room);
        let mut fitting = 0;
        while let Some(rest) = paths.get(fitting).and_then(|path| left.checked_sub(4 + path.len()))
        {
            left = rest;
            fitting += 1;
        }
        paths.truncate(fitting);
        Closing { txn: Txn::CloseSession { paths: Some(paths) }, departs: false, nodes }
    }
}
