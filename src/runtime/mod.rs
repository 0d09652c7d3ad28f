//! The production shell: glommio executors, io_uring rings, mapped log.

pub mod ring;
