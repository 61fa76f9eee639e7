//! Linux.

pub(crate) mod bind;
pub(crate) mod namespace;
