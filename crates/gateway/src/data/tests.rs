//! Traffic through it.
