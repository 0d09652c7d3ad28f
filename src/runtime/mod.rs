//! The production shell: glommio executors, io_uring rings, mapped log.

pub mod log;
pub mod ring;
