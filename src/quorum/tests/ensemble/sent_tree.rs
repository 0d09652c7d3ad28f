//! A learner whose tree is ahead of what it says.

use super::*;

/// Apache's leader goes on while it sends its tree, so parts of that are later than it says. Nobody
/// is alarmed while what came after it is applied to it; later transactions are compared again.
#[test]
fn a_tree_that_changed_while_it_was_sent_is_compared_once_it_is_whole() {
    let mut ensemble = Ensemble::with_one_behind();
    let LogRecord { header, txn, .. } = ensemble.last_txn(0);
    let tree = &mut ensemble.servers[2].tree;
    let said = tree.last_zxid();
    tree.apply(&header, &txn, None);
    tree.set_last_zxid(said);
    tree.set_whole_at(Zxid::MAX);
    ensemble.follow(2, 0);
    ensemble.check_equal();
    assert_eq!(ensemble.replies(0).len(), 2);
    let wanted = create(Some("/c"), b"", 0);
    assert_eq!(ensemble.ask(0, 0x100, OpCode::CREATE, wanted), (0, false));
    ensemble.check_equal();
    assert!(ensemble.servers[2].tree.is_whole());
}
