//! What the tests and benchmarks stand on.
