//! Jute: bounds-checked, zero-copy Reader and Writer.
