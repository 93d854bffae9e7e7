//! The `checkpoint-N` folders of a run: which there are, which is the newest that can be used, which must go.
//!
//! The HF Trainer takes the folder with the highest number, whatever is in it; a run killed while saving then cannot
//! be resumed. Here a folder counts as complete when its `trainer_state.json` belongs to step N and its weights have
//! the length that their header promises.
use super::RunDir;
use super::trainer_state::TrainerState;
use safetensors::SafeTensors;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Folder names are this and the step.
pub const PREFIX: &str = "checkpoint-";

/// Any of these holds a checkpoint's weights: an adapter's, or a model's (whole, or the index of its shards).
const WEIGHTS: [&str; 3] = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/// Most bytes of a safetensors header, of which each tensor takes about 130. Parsed, a hostile one takes 40 times as much.
const MAX_HEADER: u64 = 4 << 20;

/// A checkpoint folder; complete or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// Updates done when it was written.
    pub step: u64,
    pub path: PathBuf,
}

impl Checkpoint {
    /// Why this checkpoint cannot be resumed from; `Ok` if it can.
    pub fn check(&self) -> Result<(), String> {
        let state = TrainerState::read(&self.path.join(RunDir::TRAINER_STATE)).map_err(|e| e.to_string())?;
        if state.global_step != self.step {
            return Err(format!("{}: its trainer_state.json says step {}", self.path.display(), state.global_step));
        }
        let Some(weights) = WEIGHTS.iter().map(|name| self.path.join(name)).find(|path| path.exists()) else {
            return Err(format!("{}: no weights ({})", self.path.display(), WEIGHTS.join(", ")));
        };
        if weights.extension().is_some_and(|ext| ext == "json") {
            check_shards(&self.path, &weights)
        } else {
            check_safetensors(&weights)
        }
    }
}

/// What a checkpoint's `manifest.json` says beside its files: what the run was then.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct About {
    /// Updates done.
    pub step: u64,
    pub reason: super::record::SaveReason,
    pub label: Option<String>,
    /// Every profile key that decides what is computed, as YAML text: what a resume is compared with.
    pub settings: std::collections::BTreeMap<String, String>,
    /// Fingerprint of the training samples.
    pub data: String,
    /// Identity of the base model's files, by name.
    pub model: std::collections::BTreeMap<String, String>,
    pub world_size: u32,
    pub app: String,
}

/// `manifest.json`: the commit record. A folder with one is complete, if the files fit it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    pub v: u32,
    pub created_ms: u64,
    #[serde(flatten)]
    pub about: About,
    pub files: std::collections::BTreeMap<String, FileRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileRecord {
    pub bytes: u64,
    pub blake3: String,
}

/// Writes `checkpoint-N` by the commit protocol: `write` fills a temporary folder (with files that are fsynced), manifest,
/// fsync, rename, fsync of the parent, everything read back and compared, then `LATEST`. Returns bytes written.
///
/// # Errors
/// Older checkpoints are as they were, and nothing is left of this one.
pub fn commit(_dir: &RunDir, _about: About, _write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    todo!()
}

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// `save_total_limit`; at least two stay, so that a damaged one costs no run.
    pub last: Option<usize>,
    /// Step of the best one.
    pub best: Option<u64>,
}

/// Deletes the oldest valid ones beyond what `keep` says; never the best, never a pinned one.
pub fn retain(_dir: &RunDir, _keep: Keep) -> io::Result<Vec<Checkpoint>> {
    todo!()
}

/// Pins or unpins a checkpoint (`pins.json`, by step).
pub fn pin(_dir: &RunDir, _step: u64, _label: Option<&str>, _pinned: bool) -> io::Result<()> {
    todo!()
}

pub fn pins(_dir: &RunDir) -> io::Result<std::collections::BTreeMap<u64, Option<String>>> {
    todo!()
}

/// Removes what an interrupted save or deletion left behind. Only for the worker, which holds the lock.
pub fn sweep(_dir: &RunDir) -> io::Result<()> {
    todo!()
}

/// Moves a damaged checkpoint to `quarantine/`, where it is evidence and in nobody's way.
pub fn quarantine(_dir: &RunDir, _checkpoint: &Checkpoint) -> io::Result<PathBuf> {
    todo!()
}

/// All checkpoint folders of a run, the oldest first. Links and files are left out; a missing folder has none.
pub fn list(dir: &RunDir) -> io::Result<Vec<Checkpoint>> {
    let entries = match std::fs::read_dir(dir.path()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let step = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if let Some(step) = step.filter(|_| entry.file_type().is_ok_and(|t| t.is_dir())) {
            found.push(Checkpoint { step, path: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint that can be used, and why newer ones cannot (for a warning each).
pub fn newest_complete(dir: &RunDir) -> io::Result<(Option<Checkpoint>, Vec<String>)> {
    let mut skipped = Vec::new();
    for checkpoint in list(dir)?.into_iter().rev() {
        match checkpoint.check() {
            Ok(()) => return Ok((Some(checkpoint), skipped)),
            Err(reason) => skipped.push(reason),
        }
    }
    Ok((None, skipped))
}

/// Deletes the oldest complete checkpoints until `limit` are left; never the newest one. Incomplete folders neither
/// count nor go: they are evidence, and counting them could cost the last good one. Returns what was deleted.
///
/// A folder is renamed before it is emptied, so that a kill in between leaves no half checkpoint under its name.
pub fn rotate(dir: &RunDir, limit: usize) -> io::Result<Vec<Checkpoint>> {
    let mut complete: Vec<Checkpoint> =
        list(dir)?.into_iter().filter(|checkpoint| checkpoint.check().is_ok()).collect();
    complete.truncate(complete.len().saturating_sub(limit.max(1)));
    for checkpoint in &complete {
        let trash = dir.join(&format!(".trash-{PREFIX}{}", checkpoint.step));
        if trash.exists() {
            std::fs::remove_dir_all(&trash)?;
        }
        std::fs::rename(&checkpoint.path, &trash)?;
        std::fs::remove_dir_all(&trash)?;
    }
    Ok(complete)
}

/// The file is as long as its header says (all tensors, no holes); only the header is read.
pub fn check_safetensors(path: &Path) -> Result<(), String> {
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| at(&e))?;
    // SAFETY: the run's own file, which nobody changes in place: checkpoints are written beside and renamed.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| at(&e))?;
    if let Some(header) = map.first_chunk().map(|length| u64::from_le_bytes(*length))
        && header > MAX_HEADER
    {
        return Err(at(&format!("its header has {header} bytes; at most {MAX_HEADER} are read")));
    }
    SafeTensors::deserialize(&map).map(drop).map_err(|e| at(&e))
}

/// Every shard that the index names is there and whole.
fn check_shards(dir: &Path, index: &Path) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", index.display());
    let bytes = std::fs::read(index).map_err(|e| at(&e))?;
    let shards: std::collections::BTreeSet<String> =
        serde_json::from_slice::<Index>(&bytes).map_err(|e| at(&e))?.weight_map.into_values().collect();
    if shards.is_empty() {
        return Err(at(&"names no shards"));
    }
    for shard in shards {
        if Path::new(&shard).components().count() != 1 || shard.starts_with('.') {
            return Err(at(&format!("{shard:?} is not a file of its folder")));
        }
        check_safetensors(&dir.join(shard))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, TensorView};

    fn weights() -> Vec<u8> {
        let data = [0u8; 64];
        safetensors::serialize([("w", TensorView::new(Dtype::F32, vec![16], &data).unwrap())], None).unwrap()
    }

    fn run(steps: &[u64]) -> (tempfile::TempDir, RunDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path().join("run")).unwrap();
        for &step in steps {
            let path = dir.checkpoint(step);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join(WEIGHTS[0]), weights()).unwrap();
            let state = TrainerState { global_step: step, ..TrainerState::default() };
            std::fs::write(path.join(RunDir::TRAINER_STATE), state.to_json().unwrap()).unwrap();
        }
        (temp, dir)
    }

    fn steps(checkpoints: &[Checkpoint]) -> Vec<u64> {
        checkpoints.iter().map(|c| c.step).collect()
    }

    #[test]
    fn checkpoints_are_sorted_by_number_not_by_name() {
        let (_temp, dir) = run(&[100, 9, 20]);
        std::fs::write(dir.join("checkpoint-7"), "a file").unwrap();
        std::fs::create_dir(dir.join("checkpoint-best")).unwrap();
        std::os::unix::fs::symlink(dir.checkpoint(9), dir.checkpoint(500)).unwrap();
        assert_eq!(steps(&list(&dir).unwrap()), [9, 20, 100]);
    }

    #[test]
    fn the_newest_usable_checkpoint_is_found_behind_broken_ones() {
        let (_temp, dir) = run(&[10, 20, 30, 40, 50]);
        std::fs::write(dir.checkpoint(50).join(WEIGHTS[0]), &weights()[..100]).unwrap();
        std::fs::remove_file(dir.checkpoint(40).join(WEIGHTS[0])).unwrap();
        std::fs::copy(dir.checkpoint(20).join(RunDir::TRAINER_STATE), dir.checkpoint(30).join(RunDir::TRAINER_STATE))
            .unwrap();
        let (newest, skipped) = newest_complete(&dir).unwrap();
        assert_eq!(newest.map(|c| c.step), Some(20));
        assert_eq!(skipped.len(), 3);
        assert!(skipped[0].contains("checkpoint-50/adapter_model.safetensors"), "{skipped:?}");
        assert!(skipped[1].contains("no weights") && skipped[2].contains("says step 20"), "{skipped:?}");
    }

    #[test]
    fn sharded_weights_need_every_shard() {
        let (_temp, dir) = run(&[5]);
        let checkpoint = &list(&dir).unwrap()[0];
        std::fs::rename(checkpoint.path.join(WEIGHTS[0]), checkpoint.path.join("model-00001-of-00002.safetensors"))
            .unwrap();
        let index =
            r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
        std::fs::write(checkpoint.path.join(WEIGHTS[2]), index).unwrap();
        assert!(checkpoint.check().unwrap_err().contains("model-00002-of-00002.safetensors"));
        std::fs::write(checkpoint.path.join("model-00002-of-00002.safetensors"), weights()).unwrap();
        assert_eq!(checkpoint.check(), Ok(()));
        std::fs::write(checkpoint.path.join(WEIGHTS[2]), r#"{"weight_map": {"a": "../../x.safetensors"}}"#).unwrap();
        assert!(checkpoint.check().is_err());
    }

    #[test]
    fn rotation_deletes_the_oldest_and_never_the_newest() {
        let (_temp, dir) = run(&[10, 20, 30, 40]);
        assert_eq!(steps(&rotate(&dir, 2).unwrap()), [10, 20]);
        assert_eq!(steps(&rotate(&dir, 2).unwrap()), [0u64; 0]);
        assert_eq!(steps(&rotate(&dir, 0).unwrap()), [30]);
        assert_eq!(steps(&list(&dir).unwrap()), [40]);
        assert!(std::fs::read_dir(dir.path()).unwrap().all(|entry| entry.unwrap().file_name() == "checkpoint-40"));
    }

    #[test]
    fn a_broken_checkpoint_does_not_push_out_a_good_one() {
        let (_temp, dir) = run(&[10, 20]);
        std::fs::remove_file(dir.checkpoint(20).join(WEIGHTS[0])).unwrap();
        assert_eq!(rotate(&dir, 1).unwrap(), []);
        assert_eq!(newest_complete(&dir).unwrap().0.map(|c| c.step), Some(10));
    }

    #[test]
    fn a_run_that_never_began_has_no_checkpoints() {
        let (temp, _) = run(&[]);
        let dir = RunDir::create(temp.path().join("other")).unwrap();
        std::fs::remove_dir(dir.path()).unwrap();
        assert_eq!(newest_complete(&dir).unwrap(), (None, Vec::new()));
    }
}
