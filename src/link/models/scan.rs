//! Finds the models and adapters of this machine: the Hub's cache, the runs of this user with their checkpoints, folders
//! that were named, and what lies under the folder of the workbench.
use super::inspect::{Counted, Holds, entry, holds};
use super::read;
use crate::app::models::entry::{Disk, Entry, Facts, Kind, Origin};
use crate::app::models::work::Places;
use lightbox_core::hub::{self, Cached};
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::state::RunState;
use lightbox_core::runs::{RunDir, checkpoints, registry};
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

pub fn scan(places: &Places) -> (Vec<Entry>, Option<Disk>) {
    let mut runs = registry::all().unwrap_or_default();
    runs.extend(registry::under(&places.here));
    let (entries, used) = find(places, &hub::cached(), runs);
    (entries, hub::cache_dir().ok().and_then(|dir| disk(dir, used)))
}

/// Of the folder that is there; the cache itself may be still to be made.
fn disk(dir: PathBuf, used: u64) -> Option<Disk> {
    let there = dir.ancestors().find(|dir| dir.is_dir())?;
    let space = lightbox_core::fs::space(there).ok()?;
    Some(Disk { used, free: space.free_bytes, total: space.total_bytes, dir })
}

fn find(places: &Places, cached: &[Cached], runs: Vec<RunDir>) -> (Vec<Entry>, u64) {
    let exports = places.exports.iter().map(|dir| real(dir)).collect();
    let mut found = Found { exports, here: real(&places.here), ..Found::default() };
    for one in cached.iter().filter(|one| one.kind == hub::Kind::Model) {
        let kind = if holds(&one.path) == Some(Holds::Adapter) { Kind::Adapter } else { Kind::Base };
        let at = if one.revision == "main" { String::new() } else { format!("@{}", short(&one.revision)) };
        found.add(&one.path, format!("{}{at}", one.id), kind, Origin::Hub(Box::new(one.clone())));
    }
    let mut named: Vec<PathBuf> = places.given.iter().chain(&places.exports).cloned().collect();
    for run in runs {
        named.extend(found.run(&run));
    }
    // what lies here, and at last the bases that adapters were trained on
    named.extend(under(&places.here));
    for dir in named {
        found.folder(&dir);
    }
    let bases: Vec<PathBuf> =
        found.entries.iter().filter_map(Entry::adapter).map(|facts| PathBuf::from(&facts.base)).collect();
    for base in bases.iter().filter(|base| base.is_absolute()) {
        found.folder(base);
    }
    found.done()
}

#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    seen: HashSet<PathBuf>,
    exports: HashSet<PathBuf>,
    here: PathBuf,
    counted: Counted,
    used: u64,
}

impl Found {
    fn add(&mut self, dir: &Path, name: String, kind: Kind, origin: Origin) {
        if self.seen.insert(real(dir)) {
            self.entries.push(entry(dir, name, kind, origin, &mut self.counted, &mut self.used));
        }
    }

    /// A folder that holds a model or adapter, or nothing for us.
    fn folder(&mut self, dir: &Path) {
        let Some(holds) = holds(dir) else { return };
        let export = self.exports.contains(&real(dir));
        let kind = match holds {
            Holds::Adapter => Kind::Adapter,
            Holds::Base if export => Kind::Export,
            Holds::Base => Kind::Base,
        };
        // one name for a folder, however it was written
        let dir = real(dir);
        self.add(&dir, name_of(&dir, &self.here), kind, Origin::Folder);
    }

    /// A run's own adapter and its checkpoints; gives the base that its profile names.
    fn run(&mut self, run: &RunDir) -> Option<PathBuf> {
        let name = RunInfo::read(run).map(|info| info.name).ok().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| run.name());
        let state = RunState::read(run).ok();
        let origin = || Origin::Run { name: name.clone(), dir: run.path().to_owned() };
        let before = self.entries.len();
        match holds(run.path()) {
            Some(Holds::Adapter) => self.add(run.path(), name.clone(), Kind::Adapter, origin()),
            Some(Holds::Base) => self.add(run.path(), name.clone(), Kind::Base, origin()),
            None => {}
        }
        for checkpoint in checkpoints::list(run).unwrap_or_default() {
            let kind = match holds(&checkpoint.path) {
                Some(Holds::Adapter) => Kind::Checkpoint,
                Some(Holds::Base) => Kind::Base,
                None => continue,
            };
            self.add(&checkpoint.path, format!("{name}/{}", checkpoint.name()), kind, origin());
        }
        for entry in &mut self.entries[before..] {
            let is_run = entry.path == run.path();
            if let (Facts::Adapter(facts), Some(state)) = (&mut entry.facts, &state) {
                facts.total = facts.total.max(state.total_steps);
                if is_run {
                    facts.state = Some(state.state);
                    facts.loss = facts.loss.or(state.loss);
                    (facts.step, facts.epoch) = (facts.step.max(state.step), facts.epoch.max(state.epoch));
                }
            }
        }
        let profile: serde_yaml::Value = serde_yaml::from_str(&read(&run.join(RunDir::PROFILE)).ok()?).ok()?;
        profile["model_name_or_path"].as_str().map(PathBuf::from).filter(|base| base.is_absolute())
    }

    fn done(mut self) -> (Vec<Entry>, u64) {
        let mut bases: HashMap<String, PathBuf> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| !entry.kind.is_adapter() && entry.is_whole()) {
            if let Some((repo, revision)) = entry.hub()
                && (revision == "main" || !bases.contains_key(repo))
            {
                bases.insert(repo.to_owned(), entry.path.clone());
            }
        }
        for entry in &mut self.entries {
            if let Facts::Adapter(facts) = &mut entry.facts {
                let path = PathBuf::from(&facts.base);
                let is_here = !facts.base.is_empty() && holds(&path) == Some(Holds::Base);
                facts.base_path = if is_here { Some(path) } else { bases.get(&facts.base).cloned() };
            }
        }
        self.entries.sort_by_cached_key(|entry| {
            let step = entry.adapter().map_or(0, |facts| facts.step);
            let (group, step) = match (&entry.origin, entry.kind) {
                (Origin::Run { name, .. }, Kind::Checkpoint) => (name.to_lowercase(), step + 1),
                _ => (entry.name.to_lowercase(), 0),
            };
            (entry.kind.is_adapter(), group, step, entry.path.clone())
        });
        (self.entries, self.used)
    }
}

/// Folders with models below `here`, as far as [`registry::folders`] looks. Runs are known already.
fn under(here: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    registry::folders(here, &mut |folder| {
        let (run, model) = (registry::is_run(folder), holds(folder).is_some());
        if model && !run {
            found.push(folder.to_owned());
        }
        !run && !model
    });
    found
}

fn real(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
}

/// Below `here` its path from there, else its last two parts: many folders are called `model`.
fn name_of(dir: &Path, here: &Path) -> String {
    if let Ok(rest) = dir.strip_prefix(here)
        && rest.components().next().is_some()
    {
        return rest.display().to_string();
    }
    let parts: Vec<_> = dir.components().rev().take(2).collect();
    let name: PathBuf = parts.iter().rev().filter(|part| matches!(part, Component::Normal(_))).collect();
    if name.as_os_str().is_empty() { dir.display().to_string() } else { name.display().to_string() }
}

/// A commit by its first digits.
fn short(revision: &str) -> &str {
    let is_commit = revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if is_commit { &revision[..8] } else { revision }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::models::entry::Lack;

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model")
    }

    fn copy(to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(demo()).unwrap().flatten() {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }

    fn adapter(dir: &Path, base: &str) {
        std::fs::create_dir_all(dir).unwrap();
        let config = format!(r#"{{"peft_type": "LORA", "r": 8, "base_model_name_or_path": {base:?}}}"#);
        std::fs::write(dir.join("adapter_config.json"), config).unwrap();
        std::fs::copy(demo().join("model.safetensors"), dir.join("adapter_model.safetensors")).unwrap();
    }

    #[test]
    fn bases_runs_checkpoints_and_exports_are_found_once_each_and_adapters_know_their_base() {
        let temp = tempfile::tempdir().unwrap();
        let here = temp.path().canonicalize().unwrap();
        copy(&here.join("lightbox-demo/model"));
        copy(&here.join("merged"));
        let base = here.join("lightbox-demo/model");
        let run = RunDir::create(here.join("outputs/first")).unwrap();
        let info = RunInfo { v: 1, id: "x".into(), name: "第一".into(), ..RunInfo::default() };
        std::fs::write(run.join(RunDir::INFO), serde_json::to_string(&info).unwrap()).unwrap();
        RunState::change(&run, |state| (state.step, state.total_steps, state.loss) = (20, 20, Some(0.5))).unwrap();
        for dir in [run.path().to_owned(), run.checkpoint(9), run.checkpoint(10)] {
            adapter(&dir, &base.display().to_string());
        }
        std::fs::write(run.checkpoint(9).join(RunDir::TRAINER_STATE), r#"{"global_step": 9}"#).unwrap();
        std::fs::write(run.checkpoint(10).join(RunDir::TRAINER_STATE), r#"{"global_step": 10}"#).unwrap();
        adapter(&here.join("other"), "Qwen/Qwen2-VL-2B-Instruct");

        let places = Places {
            here: here.clone(),
            given: vec![base.clone(), here.join("nothing")],
            exports: vec![here.join("merged")],
        };
        let runs = [registry::under(&here), registry::under(&here)].concat();
        let (entries, used) = find(&places, &[], runs);
        let seen: Vec<(Kind, &str)> = entries.iter().map(|entry| (entry.kind, entry.name.as_str())).collect();
        let expected = [
            (Kind::Base, "lightbox-demo/model"),
            (Kind::Export, "merged"),
            (Kind::Adapter, "other"),
            (Kind::Adapter, "第一"),
            (Kind::Checkpoint, "第一/checkpoint-9"),
            (Kind::Checkpoint, "第一/checkpoint-10"),
        ];
        assert_eq!(seen, expected);
        assert!(entries.iter().all(Entry::is_whole), "{entries:#?}");
        assert_eq!(used, entries.iter().map(|entry| entry.bytes).sum::<u64>());
        let facts = |i: usize| entries[i].adapter().unwrap();
        assert_eq!((facts(2).base_path.as_ref(), facts(3).base_path.as_ref()), (None, Some(&base)));
        assert_eq!((facts(3).step, facts(3).loss, facts(4).step), (20, Some(0.5), 9));
    }

    #[test]
    fn a_half_snapshot_says_how_much_is_here_and_shared_contents_count_once() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("models--Qwen--Tiny");
        copy(&root.join("blobs"));
        for commit in ["a".repeat(40), "b".repeat(40)] {
            let snapshot = root.join("snapshots").join(&commit);
            std::fs::create_dir_all(&snapshot).unwrap();
            for name in ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"] {
                std::os::unix::fs::symlink(format!("../../blobs/{name}"), snapshot.join(name)).unwrap();
            }
        }
        std::fs::create_dir_all(root.join(".lightbox")).unwrap();
        let note = root.join(format!(".lightbox/{}.json", "b".repeat(40)));
        std::fs::write(note, r#"{"config.json": 1, "more.safetensors": 9000000}"#).unwrap();
        let (entries, used) = find(&Places::default(), &hub::cached_in(temp.path()), Vec::new());
        assert_eq!(entries.len(), 2);
        assert_eq!(used, entries[0].bytes, "both snapshots show the same contents");
        assert_eq!(entries[0].name, "Qwen/Tiny@aaaaaaaa");
        assert!(entries[0].is_whole());
        let half = Some(Lack::Half { here: entries[1].bytes, of: Some(9_000_001) });
        assert_eq!(entries[1].lack, half);
    }
}
