//! `lightbox`: the workbench and the command line. It does not link libtorch, so it starts at once and can say what is
//! wrong with a machine where libtorch is missing.
//!
//! The command line is in [`cli`]. The workbench, in reading order: [`run`] (the only loop) → [`app`] (what the program
//! knows: plain data, the table of commands, `update`) → [`view`] (draws it) → [`link`] (does what `update` asks for).
//! [`term`] and [`image`] know terminals; [`text`] has every word that a screen shows, in both languages.

pub mod app;
pub mod cli;
mod demo;
pub mod image;
pub mod input;
mod launch;
pub mod link;
pub mod run;
mod serve;
mod supervise;
pub mod term;
pub mod text;
pub mod view;

// The modules of `text` are written with it.
use lightbox_core::texts;
