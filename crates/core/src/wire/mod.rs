//! Encodings that several formats share: one a file.

pub mod ber;
pub mod head;
pub mod line;
pub mod name;
pub mod netlink;
mod reader;
pub mod text;
pub mod tls;
pub mod x509;

pub use reader::{DecodeError, Problem, Reader};
