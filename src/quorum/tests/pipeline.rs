//! The pipeline by itself: what it takes from the room, and what it gives to be committed.

use super::*;

fn propose(pipeline: &mut Pipeline, zxid: i64) -> VecDeque<Effect> {
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(zxid), time_ms: 0 };
    let txn = Txn::CreateSession { timeout_ms: 4000 };
    let (digest, answer) = (None, Answer::Nobody);
    let proposal =
        Proposal { header, txn, digest, answer, departs: false, known: KnownNodes::NOTHING };
    let mut effects = VecDeque::new();
    pipeline.propose(proposal, &mut effects);
    effects
}

#[test]
fn a_proposal_takes_its_own_length_from_the_room() {
    let mut pipeline = Pipeline::new(&QuorumConfig::default(), Zxid::ZERO, 1);
    for zxid in 1..=3 {
        let (room, unappended) = (1000, pipeline.unappended());
        pipeline.set_room(room);
        propose(&mut pipeline, zxid);
        let len = pipeline.unappended() - unappended;
        assert!(len > 0);
        assert_eq!(pipeline.room(), room - len, "entries before it have taken theirs already");
    }
}

#[test]
fn what_is_not_durable_is_not_given_to_be_committed() {
    let mut pipeline = Pipeline::new(&QuorumConfig::default(), Zxid::ZERO, 1);
    assert!(pipeline.committable_proposal().is_none());
    propose(&mut pipeline, 1);
    assert!(!pipeline.has_committable() && pipeline.committable_proposal().is_none());
    let mut effects = VecDeque::new();
    pipeline.end_group(&mut effects);
    let Some(Effect::Flush(flush)) = effects.pop_back() else { panic!("a flush begins") };
    assert!(pipeline.committable_proposal().is_none(), "the flush is under way");
    pipeline.on_flushed(flush.end_in_test());
    let next = pipeline.committable_proposal().expect("it is durable");
    assert_eq!(next.header.zxid, Zxid(1));
}
