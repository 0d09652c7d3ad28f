//! Everything that crosses cores: two enums.
