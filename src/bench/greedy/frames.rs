//! The greedy client's requests.

use super::super::wire::{put_bytes, put_create_rest, put_int, request};

/// Creates a znode that everybody may use; `flags` is 0, or 1 for an ephemeral one.
pub(super) fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    request(CREATE, |out| put_create(out, path, data, flags))
}

/// Changes a znode whatever its version.
pub(super) fn set(path: &str, data: &[u8]) -> Vec<u8> {
    request(SET_DATA, |out| put_set(out, path, data))
}

/// Deletes a znode whatever its version.
pub(super) fn delete(path: &str) -> Vec<u8> {
    request(DELETE, |out| {
        put_bytes(out, path.as_bytes());
        put_int(out, -1);
    })
}

/// Reads a znode, and watches it if asked to. Other requests of a path and a flag have other codes.
pub(super) fn read(code: i32, path: &str, watch: bool) -> Vec<u8> {
    request(code, |out| {
        put_bytes(out, path.as_bytes());
        out.push(u8::from(watch));
    })
}

/// A request of a path alone.
pub(super) fn of_path(code: i32, path: &str) -> Vec<u8> {
    request(code, |out| put_bytes(out, path.as_bytes()))
}

/// Proves an id of the digest scheme.
pub(super) fn add_auth(user: &str) -> Vec<u8> {
    request(AUTH, |out| {
        put_int(out, 0);
        put_bytes(out, b"digest");
        put_bytes(out, format!("{user}:secret").as_bytes());
    })
}

/// Creates a znode whose ACL holds `entries` ids of the digest scheme that nobody can prove.
pub(super) fn create_with_long_acl(path: &str, entries: u32) -> Vec<u8> {
    request(CREATE, |out| {
        put_bytes(out, path.as_bytes());
        put_bytes(out, b"");
        put_int(out, entries as i32);
        for entry in 0..entries {
            put_int(out, 31);
            put_bytes(out, b"digest");
            put_bytes(out, format!("nobody{entry:05}:AAAAAAAAAAAAAAAAAAAAAAAAAAA=").as_bytes());
        }
        put_int(out, 0);
    })
}

/// A multi, or a multiRead, of operations with the given code, as many as fit in `bytes_max`; `put`
/// appends the n-th or returns false when there are no more.
pub(super) fn multi(
    code: i32,
    each: i32,
    bytes_max: usize,
    mut put: impl FnMut(&mut Vec<u8>, u64) -> bool,
) -> Vec<u8> {
    request(code, |out| {
        let mut serial = 0;
        loop {
            let start = out.len();
            put_int(out, each);
            out.push(0);
            put_int(out, -1);
            if !put(out, serial) || out.len() + MULTI_END_BYTES > bytes_max {
                out.truncate(start);
                break;
            }
            serial += 1;
        }
        put_int(out, -1);
        out.push(1);
        put_int(out, -1);
    })
}

/// Sets watches on data, as a client does that has connected again: no more paths than fit in
/// `bytes_max`. Returns the frame and how many paths it holds.
pub(super) fn set_watches(
    bytes_max: usize,
    first: u64,
    path: impl Fn(u64) -> String,
) -> (Vec<u8>, u64) {
    let count = (bytes_max - 64) as u64 / (4 + path(first).len() as u64);
    let frame = request(SET_WATCHES, |out| {
        // A zxid that no change exceeds: nothing has happened meanwhile, and no event is due.
        out.extend_from_slice(&i64::MAX.to_be_bytes());
        put_int(out, count as i32);
        (first..first + count).for_each(|serial| put_bytes(out, path(serial).as_bytes()));
        put_int(out, 0);
        put_int(out, 0);
    });
    (frame, count)
}

/// The body of a create.
pub(super) fn put_create(out: &mut Vec<u8>, path: &str, data: &[u8], flags: i32) {
    put_bytes(out, path.as_bytes());
    put_create_rest(out, data);
    let at = out.len() - 4;
    out[at..].copy_from_slice(&flags.to_be_bytes());
}

/// The body of a setData.
pub(super) fn put_set(out: &mut Vec<u8>, path: &str, data: &[u8]) {
    put_bytes(out, path.as_bytes());
    put_bytes(out, data);
    put_int(out, -1);
}

pub(super) const NODE_EXISTS: i32 = -110;

pub(super) const CREATE: i32 = 1;
pub(super) const DELETE: i32 = 2;
pub(super) const GET_DATA: i32 = 4;
pub(super) const SET_DATA: i32 = 5;
pub(super) const GET_CHILDREN: i32 = 8;
pub(super) const MULTI: i32 = 14;
pub(super) const MULTI_READ: i32 = 22;
pub(super) const AUTH: i32 = 100;
pub(super) const SET_WATCHES: i32 = 101;
pub(super) const GET_EPHEMERALS: i32 = 103;
pub(super) const GET_ALL_CHILDREN_NUMBER: i32 = 104;

const MULTI_END_BYTES: usize = 9;
