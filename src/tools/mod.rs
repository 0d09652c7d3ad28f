//! Small tools for operators.
