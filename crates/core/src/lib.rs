//! lightbox-core: what the workbench (`lightbox`) and the worker (`lightbox-engine`) share.
//!
//! No libtorch and no terminal in here: preview and training run the same code, so what the screen shows of a
//! sample is what the model is trained on. Start reading at [`data`] (samples), then [`vision`] (picture → patches)
//! and [`text`] (conversation → token ids and labels).

pub mod args;
pub mod chat;
pub mod data;
pub mod demo;
pub mod estimate;
pub mod evaluate;
pub mod exit;
pub mod fault;
pub mod fs;
pub mod generation;
pub mod hub;
pub mod launch;
pub mod medical;
mod plot;
pub mod profile;
pub mod python_json;
pub mod runs;
pub mod safe_text;
pub mod seed;
pub mod text;
pub mod vision;
pub mod words;
