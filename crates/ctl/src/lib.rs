//! Operator tool.
