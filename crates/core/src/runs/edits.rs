//! Settings changed while a run goes on, each with the update it holds from. What holds at update k is a pure function
//! of the list, so a resumed run makes the same updates again.
//!
//! An edit made in a part of the run that a crash takes back is not taken back: when those updates are repeated, it holds
//! again from the same one. Where two edits of one key both hold, the one made later wins.
use super::{RunDir, now_ms, read_json, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;

const VERSION: u32 = 1;

/// A change; the only settings that may be changed in mid-run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "snake_case")]
pub enum Edit {
    /// Multiplies the schedule's learning rate.
    LrScale(f64),
    /// Updates in the whole run.
    MaxSteps(u64),
    SaveSteps(u64),
    EvalSteps(u64),
    LoggingSteps(u64),
    /// Leave this sample (index in the data set) out from now on.
    SkipSample(u64),
}

impl Edit {
    /// Key and value as text, for events and messages.
    pub fn words(&self) -> (String, String) {
        let (key, value) = match self {
            Self::LrScale(x) => ("lr_scale", x.to_string()),
            Self::MaxSteps(n) => ("max_steps", n.to_string()),
            Self::SaveSteps(n) => ("save_steps", n.to_string()),
            Self::EvalSteps(n) => ("eval_steps", n.to_string()),
            Self::LoggingSteps(n) => ("logging_steps", n.to_string()),
            Self::SkipSample(n) => ("skip_sample", n.to_string()),
        };
        (key.into(), value)
    }

    /// # Errors
    /// In words: no run can have this value.
    pub fn check(&self) -> Result<(), String> {
        let (key, value) = self.words();
        match *self {
            Self::LrScale(x) if !(x.is_finite() && x >= 0.0) => {
                Err(format!("{key} is {value}; it must be a finite number, 0 or more"))
            }
            Self::MaxSteps(0) | Self::SaveSteps(0) | Self::EvalSteps(0) | Self::LoggingSteps(0) => {
                Err(format!("{key} is 0; it must be 1 or more"))
            }
            _ => Ok(()),
        }
    }
}

/// An edit with its place in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct At {
    /// Holds for updates of this index (updates done before them) and later.
    pub step: u64,
    #[serde(flatten)]
    pub edit: Edit,
    /// `user@host`.
    #[serde(default)]
    pub by: String,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub t: u64,
}

/// `edits.json`, in the order in which the edits were made. Written by the worker only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edits {
    pub list: Vec<At>,
}

#[derive(Serialize, Deserialize)]
struct File {
    v: u32,
    edits: Vec<At>,
}

impl Edits {
    /// # Errors
    /// Names the file. Nothing is left out of a damaged or newer one: the run would go on with other settings, silently.
    pub fn load(dir: &RunDir) -> io::Result<Self> {
        let path = dir.join(RunDir::EDITS);
        let file: File = match read_json(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read?,
        };
        let naming = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
        if file.v > VERSION {
            return Err(naming("written by a newer Lightbox; go on with that one"));
        }
        file.edits.iter().try_for_each(|at| at.edit.check()).map_err(|e| naming(&e))?;
        Ok(Self { list: file.edits })
    }

    /// Writes an edit down that holds from update `step` on; only then does it hold.
    ///
    /// # Errors
    /// The value cannot be, or the file not be written; nothing has changed then.
    pub fn add(&mut self, dir: &RunDir, step: u64, edit: Edit, by: &str) -> io::Result<()> {
        let refused = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        edit.check().map_err(refused)?;
        if let Edit::MaxSteps(n) = edit
            && n < step
        {
            return Err(refused(format!(
                "max_steps is {n}, but {step} updates are done already; to end now, stop the run"
            )));
        }
        let mut edits = self.list.clone();
        edits.push(At { step, edit, by: by.to_owned(), t: now_ms() });
        let file = File { v: VERSION, edits };
        write_json(&dir.join(RunDir::EDITS), &file)?;
        self.list = file.edits;
        Ok(())
    }

    /// Takes back the edits of `keys`, which were set anew for the next attempt. Only while no worker has the run.
    ///
    /// # Errors
    /// As [`Edits::load`], or the file cannot be written.
    pub fn forget(dir: &RunDir, keys: &[&str]) -> io::Result<()> {
        let mut edits = Self::load(dir)?.list;
        let before = edits.len();
        edits.retain(|at| !keys.contains(&at.edit.words().0.as_str()));
        if edits.len() == before {
            return Ok(());
        }
        write_json(&dir.join(RunDir::EDITS), &File { v: VERSION, edits })
    }

    /// Those that begin to hold at update `k` or later.
    pub fn since(&self, k: u64) -> impl Iterator<Item = &At> {
        self.list.iter().filter(move |at| at.step >= k)
    }

    /// 1 if nobody changed it.
    pub fn lr_scale_at(&self, k: u64) -> f64 {
        self.last(k, |edit| if let Edit::LrScale(x) = edit { Some(*x) } else { None }).unwrap_or(1.0)
    }

    pub fn max_steps_at(&self, k: u64) -> Option<u64> {
        self.last(k, |edit| if let Edit::MaxSteps(n) = edit { Some(*n) } else { None })
    }

    pub fn save_steps_at(&self, k: u64) -> Option<u64> {
        self.last(k, |edit| if let Edit::SaveSteps(n) = edit { Some(*n) } else { None })
    }

    pub fn eval_steps_at(&self, k: u64) -> Option<u64> {
        self.last(k, |edit| if let Edit::EvalSteps(n) = edit { Some(*n) } else { None })
    }

    pub fn logging_steps_at(&self, k: u64) -> Option<u64> {
        self.last(k, |edit| if let Edit::LoggingSteps(n) = edit { Some(*n) } else { None })
    }

    /// Samples that update `k` leaves out.
    pub fn skip_at(&self, k: u64) -> BTreeSet<u64> {
        let skipped = |at: &At| if let Edit::SkipSample(n) = at.edit { Some(n) } else { None };
        self.list.iter().filter(|at| at.step <= k).filter_map(skipped).collect()
    }

    fn last<T>(&self, k: u64, value: impl Fn(&Edit) -> Option<T>) -> Option<T> {
        self.list.iter().rev().filter(|at| at.step <= k).find_map(|at| value(&at.edit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::create(folder.path().join("run")).unwrap();
        (folder, dir)
    }

    #[test]
    fn an_edit_holds_from_its_update_on_and_the_later_one_wins() {
        let (_folder, dir) = run();
        let mut edits = Edits::load(&dir).unwrap();
        assert_eq!((edits.lr_scale_at(0), edits.max_steps_at(9), edits.skip_at(9).len()), (1.0, None, 0));
        for (step, edit) in [
            (10, Edit::LrScale(0.5)),
            (10, Edit::SkipSample(3)),
            (12, Edit::SkipSample(1)),
            (20, Edit::LrScale(0.1)),
            (15, Edit::LrScale(2.0)), // after a crash: updates 15 to 20 are being repeated
            (15, Edit::MaxSteps(40)),
            (16, Edit::SaveSteps(5)),
        ] {
            edits.add(&dir, step, edit, "me@here").unwrap();
        }
        assert_eq!([9, 10, 14, 15, 20, 99].map(|k| edits.lr_scale_at(k)), [1.0, 0.5, 0.5, 2.0, 2.0, 2.0]);
        assert_eq!([9, 11, 12].map(|k| edits.skip_at(k)), [vec![], vec![3], vec![1, 3]].map(BTreeSet::from_iter));
        assert_eq!((edits.max_steps_at(14), edits.max_steps_at(15)), (None, Some(40)));
        assert_eq!((edits.save_steps_at(15), edits.save_steps_at(16)), (None, Some(5)));
        assert_eq!((edits.eval_steps_at(99), edits.logging_steps_at(99)), (None, None));
        assert_eq!(edits.since(16).count(), 2);
        assert_eq!(Edits::load(&dir).unwrap(), edits);
    }

    #[test]
    fn a_setting_given_for_the_next_attempt_takes_its_edits_back_and_no_others() {
        let (_folder, dir) = run();
        Edits::forget(&dir, &["max_steps"]).unwrap();
        let mut edits = Edits::default();
        edits.add(&dir, 1, Edit::MaxSteps(40), "me").unwrap();
        edits.add(&dir, 2, Edit::LrScale(0.5), "me").unwrap();
        Edits::forget(&dir, &["max_steps", "learning_rate"]).unwrap();
        let left = Edits::load(&dir).unwrap();
        assert_eq!((left.max_steps_at(9), left.lr_scale_at(9)), (None, 0.5));
    }

    #[test]
    fn impossible_values_are_refused_in_words_and_change_nothing() {
        let (_folder, dir) = run();
        let mut edits = Edits::default();
        for (edit, says) in [
            (Edit::LrScale(f64::NAN), "finite"),
            (Edit::LrScale(-0.1), "0 or more"),
            (Edit::SaveSteps(0), "1 or more"),
            (Edit::MaxSteps(4), "5 updates are done"),
        ] {
            let error = edits.add(&dir, 5, edit, "").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(edits.list.is_empty() && !dir.join(RunDir::EDITS).exists());
        std::fs::create_dir(dir.join(RunDir::EDITS)).unwrap(); // it cannot be written now
        assert!(edits.add(&dir, 5, Edit::LrScale(0.5), "").is_err());
        assert_eq!(edits.lr_scale_at(5), 1.0, "what is not on the disk does not hold");
    }

    #[test]
    fn a_damaged_or_newer_list_is_an_error_that_names_the_file() {
        let (_folder, dir) = run();
        for text in [
            "",
            "{\"v\":1,\"edits\":[{\"step\":1,\"key\":\"lr_sc",
            "{\"v\":1,\"edits\":[{\"step\":1,\"key\":\"seed\",\"value\":1}]}",
            "{\"v\":1,\"edits\":[{\"step\":1,\"key\":\"save_steps\",\"value\":0}]}",
            "{\"v\":2,\"edits\":[]}",
        ] {
            std::fs::write(dir.join(RunDir::EDITS), text).unwrap();
            let error = Edits::load(&dir).unwrap_err().to_string();
            assert!(error.contains("edits.json"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_holds_does_not_depend_on_the_order_of_questions(
            scales in prop::collection::vec((0u64..30, 0u32..9), 0..12), asked in prop::collection::vec(0u64..40, 1..40)
        ) {
            let (_folder, dir) = run();
            let at = |(step, x): (u64, u32)| At { step, edit: Edit::LrScale(x.into()), by: String::new(), t: 0 };
            let edits = Edits { list: scales.into_iter().map(at).collect() };
            let file = File { v: VERSION, edits: edits.list.clone() };
            std::fs::write(dir.join(RunDir::EDITS), serde_json::to_vec(&file).unwrap()).unwrap();
            let straight: Vec<f64> = (0..40).map(|k| edits.lr_scale_at(k)).collect();
            let resumed = Edits::load(&dir).unwrap();
            for k in asked {
                prop_assert_eq!(resumed.lr_scale_at(k), straight[k as usize]);
            }
        }
    }
}
