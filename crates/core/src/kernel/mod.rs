//! What systems hand out, decoded from bytes or text: one format a file.

pub mod error_code;
pub mod inet_diag;
pub mod proc_fd;
pub mod proc_net;
