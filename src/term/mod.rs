//! The terminal itself: what it can do, and how it is entered and left.
pub mod caps;
