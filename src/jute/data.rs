//! The `data` module of `zookeeper.jute`: ids, ACL entries and the two forms of a node's
//! statistics.

use super::{Malformed, Reader, Writer};

/// A scheme and an id within it (`data.Id`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// `world`, `digest`, `ip`, `super`, `auth`, `sasl`, `x509`.
    pub scheme: Box<str>,
    /// The name within the scheme. For digest it holds a password hash: never log it.
    pub id: Box<str>,
}

impl Id {
    /// An id of `scheme`.
    pub fn new(scheme: &str, id: &str) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry of an access control list (`data.ACL`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl {
    /// Permission bits as given; unknown bits are kept.
    pub perms: i32,
    /// The id they are granted to.
    pub id: Id,
}

impl Acl {
    /// The entry of `OPEN_ACL_UNSAFE`: everything for everyone.
    pub fn open() -> Self {
        Self { perms: crate::codes::perms::ALL, id: Id::new("world", "anyone") }
    }

    /// The bytes of the smallest entry: perms and two empty strings.
    pub const BYTES_MIN: usize = 12;
}

/// Reads a stored `vector<ACL>`; null and null strings inside are read as empty.
pub fn read_acls(reader: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = reader.count()?.unwrap_or(0);
    let mut acls = Vec::with_capacity(count.min(reader.rest().len() / Acl::BYTES_MIN));
    for _ in 0..count {
        let perms = reader.i32()?;
        let scheme = reader.string()?.unwrap_or_default();
        let id = reader.string()?.unwrap_or_default();
        acls.push(Acl { perms, id: Id { scheme: scheme.into(), id: id.into() } });
    }
    Ok(acls)
}

/// Writes a `vector<ACL>`.
pub fn write_acls(writer: &mut Writer<'_>, acls: &[Acl]) {
    writer.len(acls.len());
    for acl in acls {
        writer.i32(acl.perms);
        writer.string(&acl.id.scheme);
        writer.string(&acl.id.id);
    }
}

/// A node's statistics as clients see them (`data.Stat`, 68 bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    /// Milliseconds since 1970.
    pub ctime: i64,
    /// Milliseconds since 1970.
    pub mtime: i64,
    pub version: i32,
    /// Creates and deletes below the node: twice the creates minus the children there are.
    pub cversion: i32,
    pub aversion: i32,
    /// The owning session, 0 for all but plain ephemerals.
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Stat {
    /// Reads the record.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            czxid: reader.i64()?,
            mzxid: reader.i64()?,
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: reader.i64()?,
            data_length: reader.i32()?,
            num_children: reader.i32()?,
            pzxid: reader.i64()?,
        })
    }

    /// Writes the record, as one 68-byte append: this is on the path of every read.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let mut bytes = [0; 68];
        bytes[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.version.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        bytes[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        writer.raw(&bytes);
    }
}

/// A node's statistics as snapshots and digests hold them (`data.StatPersisted`, 60 bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatPersisted {
    pub czxid: i64,
    pub mzxid: i64,
    /// Milliseconds since 1970.
    pub ctime: i64,
    /// Milliseconds since 1970.
    pub mtime: i64,
    pub version: i32,
    /// Children ever created below the node; not lowered by deletes.
    pub cversion: i32,
    pub aversion: i32,
    /// The owner as stored: a session, 0x8000000000000000 for a container, 0xff… for a TTL.
    pub ephemeral_owner: i64,
    pub pzxid: i64,
}

impl StatPersisted {
    /// The length of the record.
    pub const BYTES: usize = 60;

    /// Reads the record.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            czxid: reader.i64()?,
            mzxid: reader.i64()?,
            ctime: reader.i64()?,
            mtime: reader.i64()?,
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: reader.i64()?,
            pzxid: reader.i64()?,
        })
    }

    /// Writes the record.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.i64(self.czxid);
        writer.i64(self.mzxid);
        writer.i64(self.ctime);
        writer.i64(self.mtime);
        writer.i32(self.version);
        writer.i32(self.cversion);
        writer.i32(self.aversion);
        writer.i64(self.ephemeral_owner);
        writer.i64(self.pzxid);
    }

    /// The Stat as a client sees it (`DataNode.copyStat`).
    pub fn to_stat(&self, data_length: usize, num_children: u32) -> Stat {
        let children = num_children as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            ephemeral_owner: match owner_kind(self.ephemeral_owner) {
                Owner::Session => self.ephemeral_owner,
                Owner::None | Owner::Container | Owner::Ttl(_) => 0,
            },
            data_length: data_length as i32,
            num_children: children,
            pzxid: self.pzxid,
        }
    }
}

/// The meaning of a stored `ephemeralOwner` (`EphemeralType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A persistent node.
    None,
    /// A plain ephemeral of the session with this id.
    Session,
    /// A container: it goes when its last child has gone.
    Container,
    /// A TTL node of this many milliseconds.
    Ttl(i64),
}

/// Reads the kind of node out of its stored owner. Owners 0xff with an unknown type are taken as
/// sessions.
pub fn owner_kind(owner: i64) -> Owner {
    match owner {
        0 => Owner::None,
        CONTAINER_OWNER => Owner::Container,
        _ if (owner as u64) >> 40 == TTL_OWNER_PREFIX => Owner::Ttl(owner & TTL_MASK),
        _ => Owner::Session,
    }
}

/// The stored owner of a TTL node.
pub fn ttl_owner(ttl_ms: i64) -> i64 {
    ((TTL_OWNER_PREFIX << 40) as i64) | (ttl_ms & TTL_MASK)
}

/// The stored owner of a container.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// Bits 63..40 of a TTL owner: 0xff and the type 0.
const TTL_OWNER_PREFIX: u64 = 0xff_0000;
const TTL_MASK: i64 = (1 << 40) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_68_bytes_and_reads_back() {
        let stat = Stat {
            czxid: 1,
            mzxid: 2,
            ctime: 3,
            mtime: 4,
            version: 5,
            cversion: -6,
            aversion: 7,
            ephemeral_owner: i64::MIN,
            data_length: 9,
            num_children: 10,
            pzxid: -11,
        };
        let mut out = Vec::new();
        stat.write(&mut Writer::new(&mut out));
        assert_eq!(out.len(), 68);
        assert_eq!(Stat::read(&mut Reader::new(&out)), Ok(stat));
    }

    #[test]
    fn owners() {
        assert_eq!(owner_kind(0), Owner::None);
        assert_eq!(owner_kind(0x0100_0049_4531_01b8), Owner::Session);
        assert_eq!(owner_kind(CONTAINER_OWNER), Owner::Container);
        assert_eq!(owner_kind(ttl_owner(60_000)), Owner::Ttl(60_000));
        assert_eq!(ttl_owner(1), 0xff00_0000_0000_0001_u64 as i64);
        assert_eq!(owner_kind(0xff01_0000_0000_0001_u64 as i64), Owner::Session);
        // A server with id 254 makes sessions whose ids start with 0xfe.
        assert_eq!(owner_kind(0xfe00_0000_0000_0001_u64 as i64), Owner::Session);
    }

    #[test]
    fn client_cversion_counts_creates_twice_less_children() {
        let stat = StatPersisted { cversion: 5, ..StatPersisted::default() };
        assert_eq!(stat.to_stat(0, 2).cversion, 8);
    }
}
