//! What a learner does not take over from a leader that lies.

use super::*;

/// A learner of server 3 that has accepted epoch 1 and logged up to 0x100000005.
fn learner() -> Learning {
    let last = Durable::recovered(Zxid::new(1, 5));
    let own = OwnHistory { accepted_epoch: 1, current_epoch: 1, last };
    let settings = ZabSettings { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 };
    let mut learner = Learning::new(ServerId(1), true, settings, own, last.get(), Zxid::ZERO, 0);
    while learner.poll().is_some() {}
    learner
}

/// What only a later leader can have made, or nobody, is not taken over.
#[test]
fn a_leader_has_nothing_of_a_later_epoch() {
    let after = |learner: &mut Learning, packet: Packet| {
        learner.on_packet(packet, 0);
        learner.poll()
    };
    for epoch in [Zxid::EPOCH_MAX + 1, u32::MAX] {
        let info = Packet::LeaderInfo { epoch, protocol: LearnerInfo::PROTOCOL };
        let why = Leave::NoEpoch { epoch };
        assert_eq!(after(&mut learner(), info), Some(LearnEffect::Leave { why }));
    }
    for zxid in [Zxid::new(3, 1), Zxid::MAX, Zxid(-1), Zxid(i64::MIN)] {
        let proposal = Packet::Proposal { zxid, record: Bytes::new() };
        for packet in [Packet::Snap { zxid }, Packet::Trunc { zxid }, proposal] {
            let mut learner = learner();
            let info = Packet::LeaderInfo { epoch: 2, protocol: LearnerInfo::PROTOCOL };
            after(&mut learner, info);
            learner.on_accepted_epoch(2, 0);
            learner.poll();
            let is_proposal = matches!(packet, Packet::Proposal { .. });
            if is_proposal {
                assert_eq!(after(&mut learner, Packet::Diff { zxid: Zxid::new(1, 5) }), None);
            }
            // What is older than the log's end is passed over.
            let is_taken = is_proposal && zxid < Zxid::ZERO;
            let why = Leave::LaterEpoch { epoch: 2, zxid };
            let expected = (!is_taken).then_some(LearnEffect::Leave { why });
            assert_eq!(after(&mut learner, packet), expected);
        }
    }
}
