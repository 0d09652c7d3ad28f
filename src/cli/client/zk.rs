//! The requests of a client, each a call that waits for its answer.

use std::sync::mpsc;

use crate::codes::{ErrorCode, OpCode};
use crate::jute::data::{Acl, Stat, read_acls, write_acls};
use crate::jute::{Reader, Writer};

use super::failure::ZkError;
use super::path::validate;
use super::session::{CONNECTION_LOSS, Session};
use super::watches::Kind;

/// A session and what one asks of it.
pub(super) struct Zk {
    pub session: Session,
}

/// What a create makes.
pub(super) struct NewNode<'a> {
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: &'a [Acl],
    /// `CreateMode.toFlag()`.
    pub mode: i32,
    /// Milliseconds, for the modes with a TTL.
    pub ttl_ms: i64,
}

/// `CreateMode`'s numbers.
pub(super) mod mode {
    pub(in super::super) const PERSISTENT: i32 = 0;
    pub(in super::super) const EPHEMERAL: i32 = 1;
    pub(in super::super) const SEQUENTIAL: i32 = 2;
    pub(in super::super) const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub(in super::super) const CONTAINER: i32 = 4;
    pub(in super::super) const TTL: i32 = 5;
    pub(in super::super) const TTL_SEQUENTIAL: i32 = 6;
}

type Result<T> = std::result::Result<T, ZkError>;

impl Zk {
    /// Creates a node; its path, with its number if it is sequential.
    pub(super) fn create(&self, node: &NewNode<'_>) -> Result<String> {
        let sequential = matches!(node.mode, 2 | 3 | 6);
        let tried = if sequential { format!("{}1", node.path) } else { node.path.to_owned() };
        check(&tried)?;
        if node.acl.is_empty() {
            return Err(ZkError::Code(ErrorCode::INVALID_ACL, None));
        }
        let op = match node.mode {
            mode::CONTAINER => OpCode::CREATE_CONTAINER,
            mode::TTL | mode::TTL_SEQUENTIAL => OpCode::CREATE_TTL,
            _ => OpCode::CREATE,
        };
        let answer = self.session.ask(op, None, |writer| {
            writer.string(&self.session.outside(node.path));
            writer.buffer(node.data);
            write_acls(writer, node.acl);
            writer.i32(node.mode);
            if op == OpCode::CREATE_TTL {
                writer.i64(node.ttl_ms);
            }
        });
        let answer = answer.map_err(|code| ZkError::Code(code, Some(node.path.to_owned())))?;
        let path = Reader::new(&answer).string()?.unwrap_or_default();
        Ok(self.session.inside(&path))
    }

    /// Deletes a node without children.
    pub(super) fn delete(&self, path: &str, version: i32) -> Result<()> {
        self.ask(OpCode::DELETE, path, None, |writer| writer.i32(version)).map(drop)
    }

    /// Deletes all of `paths` or none, in their order; the answer comes through the channel.
    pub(super) fn delete_all(&self, paths: &[String]) -> Result<mpsc::Receiver<Multi>> {
        let sent = self.session.send(OpCode::MULTI, None, |writer| {
            for path in paths {
                crate::proto::write_multi_header(writer, OpCode::DELETE, false, ErrorCode(-1));
                writer.string(&self.session.outside(path));
                writer.i32(-1);
            }
            crate::proto::write_multi_header(writer, OpCode(-1), true, ErrorCode(-1));
        });
        sent.map_err(|code| ZkError::Code(code, None))
    }

    /// A node's data; `None` for null.
    pub(super) fn get(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        let kind = watch.then_some(Kind::Data);
        let answer = self.ask(OpCode::GET_DATA, path, kind, |writer| writer.bool(watch))?;
        let mut reader = Reader::new(&answer);
        Ok((reader.buffer()?.map(<[u8]>::to_vec), Stat::read(&mut reader)?))
    }

    /// Replaces a node's data.
    pub(super) fn set(&self, path: &str, data: Option<&[u8]>, version: i32) -> Result<Stat> {
        let answer = self.ask(OpCode::SET_DATA, path, None, |writer| {
            writer.buffer(data);
            writer.i32(version);
        })?;
        Ok(Stat::read(&mut Reader::new(&answer))?)
    }

    /// A node's statistics; `None` where no node is.
    pub(super) fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>> {
        let kind = watch.then_some(Kind::Exists);
        match self.ask(OpCode::EXISTS, path, kind, |writer| writer.bool(watch)) {
            Ok(answer) => Ok(Some(Stat::read(&mut Reader::new(&answer))?)),
            Err(error) if error.is_no_node() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of a node's children, sorted.
    pub(super) fn children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        let kind = watch.then_some(Kind::Children);
        let answer = self.ask(OpCode::GET_CHILDREN2, path, kind, |writer| writer.bool(watch))?;
        let mut reader = Reader::new(&answer);
        let mut names = read_strings(&mut reader)?;
        names.sort();
        Ok((names, Stat::read(&mut reader)?))
    }

    /// A node's ACL.
    pub(super) fn acl(&self, path: &str) -> Result<(Vec<Acl>, Stat)> {
        let answer = self.ask(OpCode::GET_ACL, path, None, |_| {})?;
        let mut reader = Reader::new(&answer);
        Ok((read_acls(&mut reader)?, Stat::read(&mut reader)?))
    }

    /// Replaces a node's ACL.
    pub(super) fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat> {
        check(path)?;
        if acl.is_empty() {
            return Err(ZkError::Code(ErrorCode::INVALID_ACL, None));
        }
        let answer = self.ask(OpCode::SET_ACL, path, None, |writer| {
            write_acls(writer, acl);
            writer.i32(version);
        })?;
        Ok(Stat::read(&mut Reader::new(&answer))?)
    }

    /// Waits until this server has what the leader has.
    pub(super) fn sync(&self, path: &str) -> Result<()> {
        self.ask(OpCode::SYNC, path, None, |_| {}).map(drop)
    }

    /// This session's ephemerals below a prefix.
    pub(super) fn ephemerals(&self, prefix: &str) -> Result<Vec<String>> {
        check(prefix)?;
        let answer = self.session.ask(OpCode::GET_EPHEMERALS, None, |w| w.string(prefix));
        let answer = answer.map_err(|code| ZkError::Code(code, None))?;
        read_strings(&mut Reader::new(&answer))
    }

    /// How many nodes there are below a path.
    pub(super) fn descendants(&self, path: &str) -> Result<i32> {
        let answer = self.ask(OpCode::GET_ALL_CHILDREN_NUMBER, path, None, |_| {})?;
        Ok(Reader::new(&answer).i32()?)
    }

    /// Whom the server takes the user for: schemes and users.
    pub(super) fn who_am_i(&self) -> Result<Vec<(String, String)>> {
        let answer = self.session.ask(OpCode::WHO_AM_I, None, |_| {});
        let answer = answer.map_err(|code| ZkError::Code(code, None))?;
        let mut reader = Reader::new(&answer);
        let mut users = Vec::new();
        for _ in 0..reader.count()?.unwrap_or(0) {
            let scheme = reader.string()?.unwrap_or_default().into_owned();
            users.push((scheme, reader.string()?.unwrap_or_default().into_owned()));
        }
        Ok(users)
    }

    /// The ensemble's configuration. It stands outside of any chroot.
    pub(super) fn config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        let kind = watch.then(|| (Kind::Data, CONFIG.to_owned()));
        let answer = self.session.ask(OpCode::GET_DATA, kind, |writer| {
            writer.string(CONFIG);
            writer.bool(watch);
        });
        let answer = answer.map_err(|code| ZkError::Code(code, Some(CONFIG.to_owned())))?;
        let mut reader = Reader::new(&answer);
        Ok((reader.buffer()?.map(<[u8]>::to_vec), Stat::read(&mut reader)?))
    }

    /// Changes the ensemble: servers that join, that leave, or all members anew.
    pub(super) fn reconfig(
        &self,
        changes: [Option<&str>; 3],
        version: i64,
    ) -> Result<(Vec<u8>, Stat)> {
        let answer = self.session.ask(OpCode::RECONFIG, None, |writer| {
            for change in changes {
                writer.buffer(change.map(str::as_bytes));
            }
            writer.i64(version);
        });
        let answer = answer.map_err(|code| ZkError::Code(code, None))?;
        let mut reader = Reader::new(&answer);
        Ok((reader.buffer()?.unwrap_or_default().to_vec(), Stat::read(&mut reader)?))
    }

    /// Sets a watch that stays.
    pub(super) fn add_watch(&self, path: &str, recursive: bool) -> Result<()> {
        let kind = if recursive { Kind::Recursive } else { Kind::Persistent };
        self.ask(OpCode::ADD_WATCH, path, Some(kind), |w| w.i32(i32::from(recursive))).map(drop)
    }

    /// Removes the watches of a `WatcherType` from a path; with `local` also where no server is.
    pub(super) fn remove_watches(&self, path: &str, watcher_type: i32, local: bool) -> Result<()> {
        let answer = self.ask(OpCode::REMOVE_WATCHES, path, None, |w| w.i32(watcher_type));
        match answer {
            Err(error @ ZkError::Path(_)) => Err(error),
            Err(error) if !local => Err(error),
            _ if self.session.forget_watches(watcher_type, path) => Ok(()),
            _ => Err(ZkError::Code(ErrorCode::NO_WATCHER, Some(path.to_owned()))),
        }
    }

    /// Calls `visit` with each path of a subtree, a node's children before theirs. A node that goes
    /// meanwhile is passed over.
    pub(super) fn walk(&self, path: &str, watch: bool, visit: &mut dyn FnMut(&str)) -> Result<()> {
        check(path)?;
        self.get(path, watch)?;
        visit(path);
        let mut stack = vec![path.to_owned()];
        while let Some(parent) = stack.pop() {
            let names = match self.children(&parent, watch) {
                Ok((names, _)) => names,
                Err(error) if error.is_no_node() => continue,
                Err(error) => return Err(error),
            };
            let paths: Vec<_> =
                names.iter().map(|name| super::path::child(&parent, name)).collect();
            paths.iter().for_each(|path| visit(path));
            stack.extend(paths.into_iter().rev());
        }
        Ok(())
    }

    fn ask(
        &self,
        op: OpCode,
        path: &str,
        watch: Option<Kind>,
        rest: impl FnOnce(&mut Writer<'_>),
    ) -> Result<Vec<u8>> {
        check(path)?;
        let watch = watch.map(|kind| (kind, path.to_owned()));
        let answer = self.session.ask(op, watch, |writer| {
            writer.string(&self.session.outside(path));
            rest(writer);
        });
        answer.map_err(|code| ZkError::Code(code, Some(path.to_owned())))
    }
}

/// A multi's answer as it came.
pub(super) type Multi = std::result::Result<Vec<u8>, ErrorCode>;

/// Whether a multi did all that it was asked to.
pub(super) fn succeeded(answer: std::result::Result<Multi, mpsc::RecvError>) -> bool {
    let Ok(record) = answer.unwrap_or(Err(CONNECTION_LOSS)) else { return false };
    // The first header tells: of a multi that fails, every part is an error.
    let mut reader = Reader::new(&record);
    reader.i32().is_ok_and(|op| op != OpCode::ERROR.0)
}

fn check(path: &str) -> Result<()> {
    validate(path).map_err(ZkError::Path)
}

fn read_strings(reader: &mut Reader<'_>) -> Result<Vec<String>> {
    let strings = reader.strings()?.unwrap_or_default();
    Ok(strings.into_iter().map(|text| text.unwrap_or_default().into_owned()).collect())
}

const CONFIG: &str = "/zookeeper/config";
