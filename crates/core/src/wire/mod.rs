//! Encodings that several formats share: one a file.

pub mod ber;
pub mod echo;
pub mod head;
pub mod ldap;
pub mod line;
pub mod md5;
pub mod moment;
pub mod name;
pub mod netlink;
mod reader;
pub mod telnet;
pub mod text;
pub mod tls;
pub mod uuid;
pub mod x509;

pub use reader::{DecodeError, Problem, Reader};
