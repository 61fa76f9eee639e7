//! What systems hand out, decoded from bytes or text: one format a file.

pub mod error_code;
