//! The budget of the machine that is made by hand, for people and as data.
