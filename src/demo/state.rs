//! What the demo has finished in its folder, so that a second run goes on instead of starting over.
//!
//! `demo.json` holds a stamp for every step that was begun: a digest of everything the step depends on, and how long
//! it took once it is finished. A step is reused when its stamp is finished, its digest is the same and its outputs
//! are there; it is continued when it was begun with the same digest; otherwise its outputs are removed first.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE: &str = "demo.json";

#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    inputs: String,
    /// `None`: begun, not finished.
    seconds: Option<f64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    steps: BTreeMap<String, Stamp>,
    #[serde(skip)]
    dir: PathBuf,
}

/// What to do with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It is finished: nothing.
    Reuse,
    /// It was interrupted: its outputs so far are still there.
    Resume,
    /// It has never been begun.
    New,
    /// It was made from other inputs: its old outputs were removed.
    Changed,
}

impl State {
    /// Opens the demo folder `dir`, making it if needed. `fresh` removes what an earlier demo made.
    ///
    /// A folder that holds other things is refused: the demo replaces files and must not replace foreign ones.
    pub fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let path = dir.join(FILE);
        let state = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} is damaged; run the demo again with --fresh to start over", path.display())
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut entries =
                    std::fs::read_dir(dir).with_context(|| format!("cannot read the folder {}", dir.display()))?;
                if entries.next().is_some() {
                    bail!(
                        "{} is not empty and was not made by the demo. Nothing was changed; name another folder with --dir.",
                        dir.display()
                    );
                }
                Self::default()
            }
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let state = Self { dir: dir.to_owned(), ..state };
        state.save()?;
        Ok(state)
    }

    /// Removes `parts` of the demo folder `dir` and all stamps, damaged ones too; true if it is a demo folder. Other
    /// folders are not touched.
    pub fn forget(dir: &Path, parts: &[&str]) -> Result<bool> {
        if !dir.join(FILE).is_file() {
            return Ok(false);
        }
        // First the stamps, so that an interruption never leaves one without its outputs.
        Self { dir: dir.to_owned(), ..Self::default() }.save()?;
        parts.iter().try_for_each(|part| remove(&dir.join(part)))?;
        Ok(true)
    }

    /// Begins `step`, which makes `outputs` from what `inputs` is a digest of.
    pub fn begin(&mut self, step: &str, inputs: &str, outputs: &[PathBuf]) -> Result<Begin> {
        let begin = match self.steps.get(step) {
            Some(stamp) if stamp.inputs != inputs => Begin::Changed,
            Some(Stamp { seconds: Some(_), .. }) if outputs.iter().all(|p| p.exists()) => return Ok(Begin::Reuse),
            Some(Stamp { seconds: Some(_), .. }) => Begin::New,
            Some(_) => Begin::Resume,
            None => Begin::New,
        };
        // The stamp of the old inputs goes before their outputs do, and comes after: whatever happens in between,
        // no stamp ever vouches for outputs that are not its own.
        if begin == Begin::Changed {
            self.steps.remove(step);
            self.save()?;
        }
        if matches!(begin, Begin::Changed | Begin::New) {
            outputs.iter().try_for_each(|path| remove(path))?;
        }
        self.steps.insert(step.to_owned(), Stamp { inputs: inputs.to_owned(), seconds: None });
        self.save()?;
        Ok(begin)
    }

    pub fn finish(&mut self, step: &str, seconds: f64) -> Result<()> {
        if let Some(stamp) = self.steps.get_mut(step) {
            stamp.seconds = Some(seconds);
        }
        self.save()
    }

    /// How long a finished step took.
    pub fn seconds(&self, step: &str) -> Option<f64> {
        self.steps.get(step)?.seconds
    }

    fn save(&self) -> Result<()> {
        let path = self.dir.join(FILE);
        let text = serde_json::to_vec_pretty(self)?;
        lightbox_core::fs::write_atomic(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Removes a file or a folder that may be missing. A link is removed, not followed.
fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_step_is_reused_until_its_inputs_change() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        let mut state = State::open(dir.path()).unwrap();
        assert_eq!(state.begin("draw", "a", std::slice::from_ref(&output)).unwrap(), Begin::New);
        std::fs::write(&output, "made").unwrap();
        state.finish("draw", 1.5).unwrap();

        let mut state = State::open(dir.path()).unwrap();
        assert_eq!(state.begin("draw", "a", std::slice::from_ref(&output)).unwrap(), Begin::Reuse);
        assert_eq!(state.seconds("draw"), Some(1.5));
        assert_eq!(state.begin("draw", "b", std::slice::from_ref(&output)).unwrap(), Begin::Changed);
        assert!(!output.exists(), "what was made from other inputs is removed");
        assert_eq!(state.seconds("draw"), None);
    }

    #[test]
    fn an_interrupted_step_keeps_its_outputs_and_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        State::open(dir.path()).unwrap().begin("train", "a", std::slice::from_ref(&output)).unwrap();
        std::fs::create_dir(&output).unwrap();
        assert_eq!(
            State::open(dir.path()).unwrap().begin("train", "a", std::slice::from_ref(&output)).unwrap(),
            Begin::Resume
        );
        assert!(output.exists());
    }

    #[test]
    fn a_step_whose_output_was_removed_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::open(dir.path()).unwrap();
        state.begin("draw", "a", &[]).unwrap();
        state.finish("draw", 1.0).unwrap();
        assert_eq!(state.begin("draw", "a", &[dir.path().join("gone")]).unwrap(), Begin::New);
    }

    #[test]
    fn a_folder_with_other_things_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
        let error = State::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("--dir"), "{error}");
        assert!(!State::forget(dir.path(), &["thesis.tex"]).unwrap());
        assert!(dir.path().join("thesis.tex").exists());
    }

    #[test]
    fn forget_removes_the_named_parts_only() {
        let dir = tempfile::tempdir().unwrap();
        State::open(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("data/images")).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        assert!(State::forget(dir.path(), &["data", "missing"]).unwrap());
        assert!(!dir.path().join("data").exists());
        assert!(dir.path().join("notes.txt").exists());
        State::open(dir.path()).expect("it is still known as a demo folder");
    }

    #[test]
    fn a_damaged_state_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let error = format!("{:#}", State::open(dir.path()).unwrap_err());
        assert!(error.contains("--fresh") && error.contains(FILE), "{error}");
        assert!(State::forget(dir.path(), &[]).unwrap());
        State::open(dir.path()).expect("--fresh mends it");
    }
}
