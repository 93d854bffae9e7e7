//! The terminal: what it can do ([`caps`], asked by [`probe`]), how it is taken and given back ([`guard`]), what tells us to
//! leave it ([`signals`]), and the bytes it is sent ([`frame`], [`osc`]). Nothing here knows what is on the screen.
//!
//! Order at start-up: `Guard::enter` → `probe::ask` → `Caps::decide` → only then an event reader. Nothing but that reader
//! ever reads the terminal afterwards.

pub mod caps;
pub mod check;
pub mod frame;
pub mod guard;
pub mod osc;
pub mod probe;
pub mod signals;

pub use caps::{Caps, Colours, Graphics, Mux};
