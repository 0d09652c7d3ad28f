//! A leader's tree, of what has come of it: a tree, and the snapshot file of it.

use crate::quorum::recovery::load_part;
use crate::snapshot::{
    Codec, Encoder, FileName, Pieces, Trailers, WireError, WireReader, Writer, ZxidDigest,
};
use crate::tree::{Loader, Tree};
use crate::zxid::Zxid;

/// A tree that has come whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub tree: Tree,
    /// The snapshot of it.
    pub file: Vec<u8>,
    /// The name of the file while it is none of the snapshots, and as one.
    pub temporary: String,
    pub name: FileName,
    /// What came after the tree.
    pub rest: Vec<u8>,
    /// It is being put in place of the history: that comes to its end whatever happens.
    pub is_taken: bool,
}

/// What has come so far.
struct Come<'a>(&'a [u8]);

impl Pieces for Come<'_> {
    fn next_onto(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.0);
        !std::mem::take(&mut self.0).is_empty()
    }

    fn is_ready(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The tree in `bytes`, if it is whole.
pub(crate) fn receive(
    bytes: &[u8],
    zxid: Zxid,
    codec: Codec,
) -> Result<Option<Received>, WireError> {
    let (mut writer, mut plain) = (Writer::new(), Vec::new());
    writer.header(&mut plain);
    let mut loader = Loader::with_seed(0);
    let copy = |bytes: &[u8]| {
        writer.copied(&mut plain, bytes);
        Ok(())
    };
    let mut reader = WireReader::new(Come(bytes), copy);
    loop {
        match reader.next_part() {
            Err(WireError::BrokeOff { .. }) => return Ok(None),
            Err(error) => return Err(error),
            Ok(None) => break,
            Ok(Some(part)) => load_part(&mut loader, part).expect("a leader's tree has an order"),
        }
    }
    let rest = reader.into_rest();
    let mut tree = loader.finish(zxid);
    tree.set_whole_at(Zxid::MAX);
    let digest = ZxidDigest { zxid, version: 2, digest: tree.digest() };
    let trailers = Trailers { digest: Some(digest), last_zxid: Some(zxid) };
    writer.finish(&mut plain, &trailers);
    let (mut encoder, mut file) = (Encoder::new(codec), Vec::new());
    encoder.write(&plain, &mut file);
    encoder.finish(&mut file);
    let (temporary, name) = (format!("received.{zxid}.tmp"), FileName { zxid, codec });
    Ok(Some(Received { tree, file, temporary, name, rest, is_taken: false }))
}
