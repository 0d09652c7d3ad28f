//! Apache's snapshot format, over bytes.
