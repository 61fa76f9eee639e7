//! Encodings that several formats share: one a file.

pub mod ber;
pub mod name;
pub mod netlink;
mod reader;
pub mod text;

pub use reader::{DecodeError, Problem, Reader};
