//! `state.json`: one small file that says how a run stands. Lists of runs read only this; it is replaced whole, at once
//! when the status changes and else at most once a second.
use super::{RunDir, now_ms};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Created,
    Queued,
    Starting,
    /// Loading the model, checking the data.
    Preparing,
    Running,
    Paused,
    Stopping,
    /// Ended early with a checkpoint: can be resumed.
    Stopped,
    Finishing,
    Finished,
    Failed,
    /// The worker vanished; written by whoever found out.
    Crashed,
}

impl Status {
    /// No worker is needed any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished | Self::Failed | Self::Crashed)
    }
}

/// Why a run stopped or failed, for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// Stable short name: `config`, `data`, `model`, `oom`, `nonfinite`, `disk`, `device`, `signal`, `user`, `internal`.
    pub kind: String,
    /// What happened and what was done about it.
    pub text: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    pub v: u32,
    pub state: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Updates done.
    pub step: u64,
    pub total_steps: u64,
    pub epoch: f64,
    /// Of the last update; `null` before the first one, or if it is not finite.
    pub loss: Option<f64>,
    /// The worker's.
    pub pid: Option<u32>,
    /// The newest complete checkpoint, relative to the run's folder.
    pub checkpoint: Option<String>,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub updated_ms: u64,
}

impl RunState {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, is not such a file, or was written by a newer version; the message names it.
    pub fn read(dir: &RunDir) -> io::Result<Self> {
        let path = dir.join(RunDir::STATE);
        let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let state: Self = serde_json::from_slice(&std::fs::read(&path).map_err(at)?).map_err(|e| at(e.into()))?;
        if state.v > super::record::VERSION {
            return Err(at(io::Error::new(
                io::ErrorKind::InvalidData,
                "written by a newer version of Lightbox; update to read it",
            )));
        }
        Ok(state)
    }

    /// Changes the state of a run that has no worker: before one starts, and after one that could not say how it ended.
    /// A file that is missing or damaged is begun anew.
    pub fn change(dir: &RunDir, change: impl FnOnce(&mut Self)) -> io::Result<Self> {
        let mut state = Self::read(dir).unwrap_or_default();
        change(&mut state);
        state.v = super::record::VERSION;
        state.updated_ms = now_ms();
        if state.started_ms == 0 {
            state.started_ms = state.updated_ms;
        }
        crate::fs::write_atomic(&dir.join(RunDir::STATE), serde_json::to_string_pretty(&state)?.as_bytes())?;
        Ok(state)
    }
}

/// Writes the file, no more often than needed.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: RunState,
    written: Option<Instant>,
}

impl StateFile {
    /// Readers look a few times a second; more often would only wear the disk.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Writes a first state of this process.
    pub fn create(dir: &RunDir, status: Status, total_steps: u64) -> io::Result<Self> {
        let state = RunState {
            v: super::record::VERSION,
            state: status,
            total_steps,
            pid: Some(std::process::id()),
            started_ms: now_ms(),
            ..RunState::default()
        };
        let mut file = Self { path: dir.join(RunDir::STATE), state, written: None };
        file.write()?;
        Ok(file)
    }

    /// The state as it was last set.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Changes the state; writes it if the status or the checkpoint changed, or the last time is a second ago.
    pub fn update(&mut self, change: impl FnOnce(&mut RunState)) -> io::Result<()> {
        let before = (self.state.state, self.state.checkpoint.clone());
        change(&mut self.state);
        self.state.loss = self.state.loss.filter(|loss| loss.is_finite());
        let urgent = before != (self.state.state, self.state.checkpoint.clone());
        if urgent || self.written.is_none_or(|at| at.elapsed() >= Self::INTERVAL) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.state.updated_ms = now_ms();
        crate::fs::write_atomic(&self.path, serde_json::to_string_pretty(&self.state)?.as_bytes())?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_status_or_checkpoint_is_written_at_once_and_steps_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        let mut file = StateFile::create(&dir, Status::Preparing, 9).unwrap();
        file.update(|s| s.state = Status::Running).unwrap();
        assert_eq!(RunState::read(&dir).unwrap().state, Status::Running);
        file.update(|s| (s.step, s.loss) = (3, Some(f64::NAN))).unwrap();
        assert_eq!((file.state().step, file.state().loss), (3, None));
        file.update(|s| s.checkpoint = Some("checkpoint-3".into())).unwrap();
        let read = RunState::read(&dir).unwrap();
        assert_eq!(
            (read.step, read.total_steps, read.checkpoint.as_deref(), read.pid),
            (3, 9, Some("checkpoint-3"), Some(std::process::id()))
        );
        assert!(!read.state.is_terminal());
    }

    #[test]
    fn a_state_of_a_newer_version_is_refused_by_name() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        std::fs::write(dir.join(RunDir::STATE), r#"{"v": 2, "state": "running"}"#).unwrap();
        let error = RunState::read(&dir).unwrap_err().to_string();
        assert!(error.contains("state.json") && error.contains("newer version"), "{error}");
    }
}
