//! `heartbeat`: 128 bytes, written in place every second by a thread of the worker. *Alive* is the lock's business
//! ([`super::lock`]); this says whether it gets anywhere.
use super::RunDir;
use super::record::Phase;
use serde::{Deserialize, Serialize};
use std::io;

/// Where the worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// Milliseconds since 1970.
    pub t: u64,
    /// Milliseconds since the worker began.
    pub mono: u64,
    /// `mono` of the last progress: a micro-batch, a sample prepared, a part of an evaluation.
    pub progress: u64,
    /// Updates done.
    pub step: u64,
    pub micro: u64,
    pub phase: Phase,
}

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub struct Heartbeat {}

impl Heartbeat {
    /// `each_second` is called once a second after the beat is written (log rings, system figures).
    pub fn start(_dir: &RunDir, _each_second: Box<dyn FnMut() + Send>) -> io::Result<Self> {
        todo!()
    }

    /// Progress was made. Costs a few atomic stores.
    pub fn progress(&self, _step: u64, _micro: u64, _phase: Phase) {
        todo!()
    }

    /// As last told.
    pub fn now(&self) -> Beat {
        todo!()
    }
}

pub fn read(dir: &RunDir) -> io::Result<Beat> {
    Ok(serde_json::from_slice(&std::fs::read(dir.join(RunDir::HEARTBEAT))?)?)
}
