//! Integration tests over real processes: one binary, one module for each promise.
