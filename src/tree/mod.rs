//! The znode tree: one writer, many readers, no locks of its own.
