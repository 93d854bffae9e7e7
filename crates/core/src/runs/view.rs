//! A run as a reader sees it: what the files say, and what follows from the lock. Reading never changes a run.
//!
//! A worker that was killed cannot write that it is dead, so `crashed` is derived, each time anew: the written state wants
//! a worker, and nobody holds the lock (`health.rs`). No state waits for a person to correct it.
mod health;

use super::heartbeat::{self, Beat};
use super::info::RunInfo;
use super::lock::{self, Liveness, WorkerInfo};
use super::state::{Reason, RunState, Status};
use super::{RunDir, now_ms};
use health::Health;
use serde::Serialize;
use std::io;
use std::path::PathBuf;

/// `lightbox runs list` has a row of these, `runs show --json` its [`Summary`].
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    #[serde(skip)]
    pub path: PathBuf,
    /// Of a folder without `run.json`: id and name are the folder's name.
    pub info: RunInfo,
    /// As written; `created` if there is no `state.json` (yet).
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
    /// A file that cannot be read, in words; what it holds is missing above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One run on one level, for scripts. Keys are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    pub name: String,
    pub dir: String,
    pub state: Status,
    /// Updates done, and in all.
    pub step: u64,
    pub total_steps: u64,
    pub epoch: f64,
    pub loss: Option<f64>,
    /// The worker's, while it is alive.
    pub pid: Option<u32>,
    /// The newest checkpoint, relative to `dir`.
    pub checkpoint: Option<String>,
    pub reason: Option<Reason>,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub updated_ms: u64,
    /// At the pace of the last 64 updates; only while it is running.
    pub seconds_left: Option<u64>,
    pub stalled_ms: Option<u64>,
    pub suspended: bool,
    pub tags: Vec<String>,
    pub error: Option<String>,
}

/// The files of a run, as far as they can be read.
#[derive(Debug, Default)]
struct Files {
    info: RunInfo,
    state: RunState,
    worker: Option<WorkerInfo>,
    /// With the time of its last change on the file system's clock, in milliseconds since 1970.
    beat: Option<(Beat, u64)>,
    error: Option<String>,
}

/// Who looks, and when.
#[derive(Debug, Clone)]
struct Here {
    now_ms: u64,
    /// Host, boot and pid namespace of this process.
    place: WorkerInfo,
}

impl RunView {
    /// # Errors
    /// `run.json` or `state.json` is damaged, not readable, or of a newer version; the message names it.
    pub fn open(dir: &RunDir) -> io::Result<Self> {
        let view = Self::open_lenient(dir);
        view.error.clone().map_or(Ok(view), |e| Err(io::Error::new(io::ErrorKind::InvalidData, e)))
    }

    /// As [`Self::open`], but what cannot be read is left out and told in [`Self::error`]: a list of runs goes on.
    pub fn open_lenient(dir: &RunDir) -> Self {
        let here = Here { now_ms: now_ms(), place: WorkerInfo::this(0) };
        // First the lock, then the files: a worker writes how it ended before it lets go of the lock.
        let before = lock::liveness(dir);
        let view = Self::seen(dir, Files::read(dir), before, &here);
        if view.state == Status::Crashed && view.written.state != Status::Crashed {
            // it may have begun, and ended, in between: once more
            return Self::seen(dir, Files::read(dir), lock::liveness(dir), &here);
        }
        view
    }

    fn seen(dir: &RunDir, files: Files, liveness: Liveness, here: &Here) -> Self {
        let Health { state, reason, stalled_ms, suspended } = health::judge(dir, &files, &liveness, here);
        Self {
            path: dir.path().to_owned(),
            info: files.info,
            written: files.state,
            state,
            reason,
            liveness,
            worker: files.worker,
            beat: files.beat.map(|(beat, _)| beat),
            stalled_ms,
            suspended,
            error: files.error,
        }
    }

    /// For `runs show --json`. Reads the end of the metrics if the run is running.
    pub fn summary(&self) -> Summary {
        let written = &self.written;
        let worker = self.worker.as_ref().map(|worker| worker.pid).or(written.pid);
        Summary {
            id: self.info.id.clone(),
            name: self.info.name.clone(),
            dir: std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).display().to_string(),
            state: self.state,
            step: written.step,
            total_steps: written.total_steps,
            epoch: written.epoch,
            loss: written.loss,
            pid: worker.filter(|_| self.is_alive()),
            checkpoint: written.checkpoint.clone(),
            reason: self.reason.clone(),
            started_ms: written.started_ms,
            updated_ms: written.updated_ms,
            seconds_left: self.seconds_left(),
            stalled_ms: self.stalled_ms,
            suspended: self.suspended,
            tags: self.info.tags.clone(),
            error: self.error.clone(),
        }
    }

    /// There is a worker, as far as can be told.
    pub fn is_alive(&self) -> bool {
        match self.liveness {
            Liveness::Alive => true,
            Liveness::Dead => false,
            Liveness::Unknown(_) => health::needs_worker(self.state),
        }
    }

    fn seconds_left(&self) -> Option<u64> {
        let left = self.written.total_steps.checked_sub(self.written.step)?;
        if self.state != Status::Running {
            return None;
        }
        let steps = health::recent_steps_ms(&RunDir { path: self.path.clone() });
        let mean = steps.iter().sum::<f64>() / steps.len() as f64; // NaN if there are none
        mean.is_finite().then(|| (mean * left as f64 / 1000.0).round() as u64)
    }
}

impl Files {
    fn read(dir: &RunDir) -> Self {
        let mut errors = Vec::new();
        let info = known(RunInfo::read(dir), RunDir::INFO, &mut errors);
        let state = known(RunState::read(dir), RunDir::STATE, &mut errors);
        let changed = std::fs::metadata(dir.join(RunDir::HEARTBEAT)).and_then(|metadata| metadata.modified());
        let changed = changed.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Self {
            info: info.unwrap_or_else(|| RunInfo { id: dir.name(), name: dir.name(), ..RunInfo::default() }),
            state: state.unwrap_or_default(),
            // of these two a damaged one is as good as none: neither says how a run stands
            worker: WorkerInfo::read(dir).ok(),
            beat: heartbeat::read(dir).ok().zip(changed.map(|time| time.as_millis() as u64)),
            error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}

/// A file that is not there is no error: a folder of an older version, or a run that has not begun.
fn known<T>(read: io::Result<T>, file: &str, errors: &mut Vec<String>) -> Option<T> {
    read.map_err(|e| match e.to_string() {
        _ if e.kind() == io::ErrorKind::NotFound => {}
        text if text.contains(file) => errors.push(text),
        text => errors.push(format!("{file}: {text}")),
    })
    .ok()
}

#[cfg(test)]
mod tests;
