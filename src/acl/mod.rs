//! ACL lists, schemes and permission checks.
