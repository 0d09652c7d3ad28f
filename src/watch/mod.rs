//! Watch tables of one shard.
