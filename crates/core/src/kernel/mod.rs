//! What systems hand out, decoded from bytes or text: one format a file.
