//! The client wire: request and reply records, opcodes, error codes.
