//! A run as a reader sees it: what the files say, and what follows from the lock. Reading never changes a run.
use super::heartbeat::Beat;
use super::info::RunInfo;
use super::lock::{Liveness, WorkerInfo};
use super::state::{Reason, RunState, Status};
use super::RunDir;
use serde::Serialize;
use std::io;

/// `lightbox runs list` has a row of these, `runs show --json` one.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    #[serde(skip)]
    pub path: std::path::PathBuf,
    pub info: RunInfo,
    /// As written.
    pub written: RunState,
    /// As it is: `crashed` if the written state wants a worker and the lock is free.
    pub state: Status,
    pub reason: Option<Reason>,
    #[serde(skip)]
    pub liveness: Liveness,
    pub worker: Option<WorkerInfo>,
    pub beat: Option<Beat>,
    /// Alive, but without progress for so many milliseconds (more than max(10 × median step, 120 s)), or suspended.
    pub stalled_ms: Option<u64>,
    pub suspended: bool,
}

impl RunView {
    pub fn open(_dir: &RunDir) -> io::Result<Self> {
        todo!()
    }
}
