//! Zxid and epoch: the value types that order everything.
