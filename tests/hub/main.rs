//! Downloads from a Hub that breaks, and uploads to it: the library, and the real program.

mod http;
mod library;
mod modelscope;
mod named;
mod program;
#[allow(dead_code, reason = "tests/terminal uses the rest")]
#[path = "../terminal/pty.rs"]
mod pty;
mod push;
mod push_program;
mod receiver;
mod repositories;
mod rig;
mod server;

/// Bytes that no two files share.
fn content(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}
