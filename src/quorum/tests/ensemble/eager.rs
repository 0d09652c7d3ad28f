//! What a server's own tree forbids, where each server looks (`enableEagerACLCheck`).

use super::*;

const READ_ONLY: &[AclSpec<'_>] = &[(1, Some("world"), Some("anyone"))];

/// Server 0 leads, 1 follows, 2 observes. Clients of theirs have the sessions 0x100 to 0x102, and
/// may do nothing but read the node `/r`.
fn formed(eager_acl_check: bool) -> Ensemble {
    let mut ensemble = Ensemble::with(QuorumConfig { eager_acl_check, ..QuorumConfig::default() });
    ensemble.servers[2].votes = false;
    ensemble.elect(0, &[1, 2]);
    (0..3).for_each(|at| ensemble.open(at, 0x100 + at as i64));
    let node = create_with(Some("/r"), None, Some(READ_ONLY), 0);
    assert_eq!(ensemble.ask(0, 0x100, OpCode::CREATE, node), (0, false));
    ensemble
}

fn forbidden() -> Vec<(OpCode, Vec<u8>, i32)> {
    let child = create(Some("/r/a"), b"", 0);
    let no_list = create_with(Some("/b"), None, Some(&[(31, Some("none"), Some("x"))]), 0);
    let set_acl = |path, list: &[AclSpec<'_>]| set_acl(Some(path), Some(list), -1);
    vec![
        (OpCode::CREATE, child.clone(), -102),
        (OpCode::CREATE2, child, -102),
        (OpCode::DELETE, delete(Some("/r/a"), -1), -102),
        (OpCode::SET_DATA, set_data(Some("/r"), None, -1), -102),
        (OpCode::SET_ACL, set_acl("/r", OPEN), -102),
        (OpCode::CREATE, no_list, -114),
        (OpCode::SET_ACL, set_acl("/", &[(31, Some("none"), Some("x"))]), -114),
    ]
}

/// The answer is the same; whether it costs a transaction is not.
#[test]
fn what_is_forbidden_goes_no_further_if_each_server_looks() {
    for (is_eager, each) in [(true, 0), (false, 1)] {
        let mut ensemble = formed(is_eager);
        for at in 0..3 {
            for (op, request, err) in forbidden() {
                let before = ensemble.servers[0].log.len();
                let session = 0x100 + at as i64;
                assert_eq!(ensemble.ask(at, session, op, request), (err, false), "{op:?}");
                assert_eq!(ensemble.servers[0].log.len(), before + each, "{op:?} at {at}");
            }
        }
        ensemble.check_equal();
    }
}

/// What is not there, what has another form and what another op asks for is the leader's to judge.
#[test]
fn the_rest_is_judged_by_the_leader() {
    let mut ensemble = formed(true);
    for at in 0..3 {
        let session = 0x100 + at as i64;
        let container = create(Some("/r/c"), b"", 4);
        let ops = [(1, create(Some("/r/a"), b"", 0))];
        for (op, request, err) in [
            (OpCode::CREATE, create(Some("/none/a"), b"", 0), -101),
            (OpCode::DELETE, delete(Some("/zookeeper"), -1), -8),
            (OpCode::SET_DATA, set_data(Some("/none"), None, -1), -101),
            (OpCode::CREATE_CONTAINER, container, -102),
            (OpCode::MULTI, multi(&ops), 0),
        ] {
            let before = ensemble.servers[0].log.len();
            assert_eq!(ensemble.ask(at, session, op, request), (err, false), "{op:?}");
            assert_eq!(ensemble.servers[0].log.len(), before + 1, "{op:?}");
        }
    }
    ensemble.check_equal();
}

/// A refusal does not overtake what its client has asked for before.
#[test]
fn what_is_forbidden_is_answered_in_order() {
    for at in 0..3 {
        let mut ensemble = formed(true);
        let session = 0x100 + at as i64;
        let first = ensemble.submit(at, session, OpCode::CREATE, create(Some("/a"), b"", 0));
        ensemble.submit(at, session, OpCode::DELETE, delete(Some("/r/a"), -1));
        ensemble.submit(at, session, OpCode::CREATE, create(Some("/b"), b"", 0));
        let wanted = [(first, 0, false), (first + 1, -102, false), (first + 2, 0, false)];
        assert_eq!(ensemble.replies(at), wanted);
    }
}
