//! The tree against what was measured on Apache 3.9.5, and against a simple model.
