//! The façade: a few typed functions for each system, returning values.
