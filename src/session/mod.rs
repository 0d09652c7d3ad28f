//! Sessions: ids, passwords, expiry buckets.
