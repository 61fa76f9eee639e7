//! Linux.

pub(crate) mod bind;
pub(crate) mod change;
pub(crate) mod namespace;
pub(crate) mod stop;
