//! Who is alive: `run.lock`, held by the worker for as long as its process lives, freed by the kernel when it dies, however
//! it dies. A pid proves nothing (zombies, reuse, other machines), so nobody asks for it; `worker.json` is for display
//! and for signals only.
//!
//! The lock is an open-file-description lock (fcntl `F_OFD_SETLK`): it can be asked about without being taken
//! (`F_OFD_GETLK`), so a reader never gets in a starting worker's way, and it works over NFS.
use super::RunDir;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;

/// Held by a worker. Dropping it, or dying, frees it.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another worker has the run.
    #[error("{}", held(.0.as_ref()))]
    Held(Option<WorkerInfo>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn held(_holder: Option<&WorkerInfo>) -> String {
    todo!()
}

/// Is there a worker?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    /// Nobody holds the lock.
    Dead,
    /// The file system cannot say; the heartbeat's age has to do.
    Unknown(String),
}

/// `worker.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerInfo {
    pub v: u32,
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: with boot id and pid it names one process for good.
    pub start_ticks: u64,
    pub boot_id: String,
    /// Inode of the pid namespace.
    pub pid_ns: u64,
    pub host: String,
    pub attempt: u32,
    pub started_ms: u64,
    /// `supervisor`, `torchrun`, `slurm`, `mpi` or `hand`.
    pub launcher: String,
    /// The supervisor's pid, if there is one.
    pub supervisor: Option<u32>,
    /// `cpu`, `cuda:0`, …; known once the model is loaded.
    pub device: Option<String>,
}

impl RunLock {
    /// Takes the lock, or says who has it.
    pub fn acquire(_dir: &RunDir) -> Result<Self, LockError> {
        todo!()
    }
}

/// Asks without taking.
pub fn liveness(_dir: &RunDir) -> Liveness {
    Liveness::Dead
}

impl WorkerInfo {
    /// This process.
    pub fn this(attempt: u32) -> Self {
        Self { pid: std::process::id(), attempt, host: "here".into(), boot_id: "boot".into(), ..Self::default() }
    }

    pub fn write(&self, _dir: &RunDir) -> io::Result<()> {
        todo!()
    }

    pub fn read(dir: &RunDir) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(dir.join(RunDir::WORKER))?)?)
    }

    /// Sends `signal` if this is surely the same process: same host, boot and pid namespace, same start.
    ///
    /// # Errors
    /// In words, why not: it runs elsewhere, or has ended.
    pub fn signal(&self, _signal: i32) -> Result<(), String> {
        todo!()
    }
}
