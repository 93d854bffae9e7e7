//! `state.json`: one small file that says how a run stands. Lists of runs read only this. It is replaced whole: at once and
//! to the disk when the status or the newest checkpoint changes; the rest once a second by the heartbeat's thread, so that
//! no step waits for a disk.
use super::{RunDir, now_ms};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

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

/// What every version of the file has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    v: u32,
}

impl RunState {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, is not such a file, or was written by a newer version; the message names it.
    pub fn read(dir: &RunDir) -> io::Result<Self> {
        let path = dir.join(RunDir::STATE);
        let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        let bytes = std::fs::read(&path).map_err(at)?;
        // the version first: a newer file need not even have our types
        let version: Version = serde_json::from_slice(&bytes).map_err(|e| at(e.into()))?;
        if version.v > super::record::VERSION {
            return Err(at(io::Error::new(
                io::ErrorKind::InvalidData,
                "written by a newer version of Lightbox; update to read it",
            )));
        }
        serde_json::from_slice(&bytes).map_err(|e| at(e.into()))
    }
}

/// Writes the file, no more often than needed.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: RunState,
    /// Something has changed that the file does not say yet.
    dirty: bool,
}

impl StateFile {
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
        let mut file = Self { path: dir.join(RunDir::STATE), state, dirty: true };
        file.write(crate::fs::write_atomic)?;
        Ok(file)
    }

    /// The state as it was last set.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Changes the state; writes it if the status, its reason or the checkpoint changed.
    pub fn update(&mut self, change: impl FnOnce(&mut RunState)) -> io::Result<()> {
        let before = (self.state.state, self.state.reason.clone(), self.state.checkpoint.clone());
        change(&mut self.state);
        self.state.loss = self.state.loss.filter(|loss| loss.is_finite());
        self.dirty = true;
        let s = &self.state;
        if before.0 != s.state || before.1 != s.reason || before.2 != s.checkpoint {
            return self.write(crate::fs::write_atomic);
        }
        Ok(())
    }

    /// Writes what has changed, without waiting for the disk: after a power cut an older state may be there.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.dirty { self.write(crate::fs::write_replacing) } else { Ok(()) }
    }

    fn write(&mut self, by: fn(&Path, &[u8]) -> io::Result<()>) -> io::Result<()> {
        self.state.updated_ms = now_ms();
        by(&self.path, serde_json::to_string_pretty(&self.state)?.as_bytes())?;
        self.dirty = false;
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
        assert_eq!(RunState::read(&dir).unwrap().step, 0, "a step waits for the next second");
        file.flush().unwrap();
        assert_eq!(RunState::read(&dir).unwrap().step, 3);
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
