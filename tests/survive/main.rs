//! Runs that survive: the worker's process killed, starved, told and lied to, with the real binaries. Numbers R1 to R27
//! are those of docs/reliability.md. `make torture` runs the same tests with `LIGHTBOX_TORTURE=20` times the numbers.
//!
//! Failures print a seed; `LIGHTBOX_SEED=… cargo test --release --test survive NAME` repeats it.

mod answers;
mod disk;
mod faults;
mod kill;
mod rig;
mod signals;
mod soak;
