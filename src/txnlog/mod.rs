//! Apache's transaction log format, over bytes.
