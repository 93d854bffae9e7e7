//! `lightbox data` from the outside: the real program, real files, real signals; what it wrote is read again by its other
//! commands, and by Python's pyarrow and datasets where there are any.

mod check;
mod convert;
mod encode;
mod fix;
mod pack;
mod questions;
mod rig;
mod select;
mod slices;
mod stats;
