//! lightbox-engine: the worker. Loads Qwen2-VL, trains it, asks it. Links libtorch; knows nothing of the terminal.
//!
//! Read in this order: [`config`], [`model`], [`lora`], [`train`], [`generate`], [`answers`], [`export`], [`commands`].

pub mod answers;
pub mod commands;
pub mod config;
pub mod export;
pub mod generate;
pub mod guard;
pub mod lora;
pub mod model;
pub mod setup;
pub mod train;
pub mod weights;
