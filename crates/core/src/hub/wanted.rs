//! What is named by its name on a Hub, and where on this machine it is. This is the one place that turns such a name into
//! files, for every command.
//!
//! Nobody is asked: what the cache has whole is taken as it is, so that work goes on without a network and the files under
//! a run stay the same. What it has not is [`NotHere::Missing`], with the command that loads it; [`Wanted::offer`] asks the
//! Hub what that would be.

use super::cache::{RepoDir, cache_dir, names};
use super::part::{self, CARD, DataPart};
use super::repo::{Filters, Kind, Listing, Repo};
use super::{Client, HubError, Source, list, missing_bytes};
use crate::safe_text::shell_word;
use What::Data;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something of a Hub that is needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub source: Source,
    pub repo: Repo,
    pub what: What,
    /// Another cache than the usual one.
    pub cache: Option<PathBuf>,
}

/// Which files of a repository, and what they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A base model: config.json and safetensors.
    Model,
    /// An adapter in PEFT's layout.
    Adapter,
    /// Rows of a data set.
    Data(DataPart),
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Adapter => "adapter",
            Self::Data(_) => "dataset",
        }
    }
}

/// Why a name leads to no files.
#[derive(Debug, thiserror::Error)]
pub enum NotHere {
    #[error("{}", missing(.0))]
    Missing(Box<Wanted>),
    /// Nothing on a Hub is called so either.
    #[error("{name}: there is no such {what} folder")]
    NoFolder { what: &'static str, name: String },
    #[error(transparent)]
    Hub(#[from] HubError),
}

fn missing(wanted: &Wanted) -> String {
    let here = match wanted.what {
        Data(_) => String::new(),
        _ => format!("there is no folder {}, and ", wanted.repo.id),
    };
    format!("{here}{wanted} is not whole in the Hub's cache on this machine; `{}` loads it", wanted.command())
}

/// The folder of a model or adapter: `name`, if that is a folder, as in transformers; else what the cache has of the
/// repository that is called so, at `revision`. Of the default revision, `main`, either Hub's main branch will do.
///
/// # Errors
/// It is not on this machine.
pub fn folder(name: &Path, what: What, revision: &str, cache: Option<&Path>) -> Result<PathBuf, NotHere> {
    if name.is_dir() {
        return Ok(name.to_owned());
    }
    match name.to_str().filter(|name| Repo::is_name(name)) {
        Some(id) => Wanted::at(id, what, Some(revision), cache).folder(),
        None => Err(NotHere::NoFolder { what: what.name(), name: name.display().to_string() }),
    }
}

/// The rows of a data set, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFiles {
    pub files: Vec<PathBuf>,
    /// Which part they are: `config 25M_demo, split train`.
    pub part: String,
}

impl Wanted {
    /// From the Hub that LLaMA-Factory would ask; `revision`: `None` and `main` are its main branch.
    pub fn at(id: &str, what: What, revision: Option<&str>, cache: Option<&Path>) -> Self {
        Self::of(Source::preferred(), id, what, revision, cache)
    }

    /// [`Self::at`] of this Hub.
    pub fn of(source: Source, id: &str, what: What, revision: Option<&str>, cache: Option<&Path>) -> Self {
        let kind = if matches!(what, Data(_)) { Kind::Dataset } else { Kind::Model };
        let revision = revision.filter(|revision| *revision != "main").unwrap_or(source.main_branch());
        let repo = Repo { kind, id: id.to_owned(), revision: revision.to_owned() };
        Self { source, repo, what, cache: cache.map(Path::to_owned) }
    }

    /// Where it would be loaded to.
    ///
    /// # Errors
    /// As [`cache_dir`].
    pub fn cache(&self) -> Result<PathBuf, HubError> {
        self.cache.clone().map_or_else(cache_dir, Ok)
    }

    /// The repository in the cache at the revision, with its commit.
    fn cached(&self) -> Result<Option<(RepoDir, String)>, NotHere> {
        self.repo.check()?;
        let dir = RepoDir::of(&self.cache()?, &self.repo);
        let mains = [Source::HuggingFace, Source::ModelScope].map(Source::main_branch);
        let asked = self.repo.revision.as_str();
        // Models are published on both Hubs under one name; a data set of that name may be another one there.
        let is_model = self.repo.kind == Kind::Model && mains.contains(&asked);
        let others = mains.into_iter().filter(|main| is_model && *main != asked);
        let commit = std::iter::once(asked).chain(others).find_map(|revision| dir.commit_of(revision));
        Ok(commit.map(|commit| (dir, commit)))
    }

    fn missing(&self) -> NotHere {
        NotHere::Missing(Box::new(self.clone()))
    }

    /// The folder of a model or adapter in the cache, if it is whole.
    ///
    /// # Errors
    /// It is not there, or not whole.
    pub fn folder(&self) -> Result<PathBuf, NotHere> {
        let Some((dir, commit)) = self.cached()? else { return Err(self.missing()) };
        let folder = dir.snapshot(&commit);
        let holds = match self.what {
            What::Adapter => has_adapter(&folder),
            _ => has_model(&folder),
        };
        if holds && dir.is_whole(&commit) { Ok(folder) } else { Err(self.missing()) }
    }

    /// The files of a part of a data set in the cache, if all of them are there.
    ///
    /// # Errors
    /// They are not; the repository has no such part, or several and none was named.
    pub fn data(&self) -> Result<DataFiles, NotHere> {
        let Data(part) = &self.what else { return Err(self.missing()) };
        let Some((dir, commit)) = self.cached()? else { return Err(self.missing()) };
        let root = dir.snapshot(&commit);
        let known = dir.known_files(&commit);
        // Python notes nothing: what is there has to be all.
        let paths = known.as_ref().map_or_else(|| dir.shown_files(&commit), |files| files.keys().cloned().collect());
        let card = std::fs::read_to_string(root.join(CARD)).ok();
        if card.is_none() && paths.iter().any(|path| path == CARD) {
            return Err(self.missing());
        }
        let chosen = match part::choose(&self.repo.to_string(), &paths, card.as_deref(), part) {
            Ok(chosen) => chosen,
            Err(_) if known.is_none() => return Err(self.missing()),
            Err(e) => return Err(e.into()),
        };
        let is_here = |path: &String| {
            let bytes = root.join(path).metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
            bytes.is_some() && known.as_ref().is_none_or(|known| known.get(path).copied() == bytes)
        };
        if !chosen.files.iter().all(is_here) || (known.is_none() && part::missing_shards(&chosen.files) > 0) {
            return Err(self.missing());
        }
        let part = chosen.described();
        Ok(DataFiles { files: chosen.files.iter().map(|path| root.join(path)).collect(), part })
    }

    /// The words behind `lightbox` that load it.
    pub fn arguments(&self) -> Vec<String> {
        let mut words = vec!["download".to_owned(), self.repo.kind.singular().to_owned(), self.repo.id.clone()];
        let mut option = |name: &str, value: &str| words.extend([name.to_owned(), value.to_owned()]);
        if self.source != Source::default() {
            option("--source", self.source.name());
        }
        if self.repo.revision != self.source.main_branch() {
            option("--revision", &self.repo.revision);
        }
        if let Data(DataPart { subset, split, folder }) = &self.what {
            let given = [("--subset", subset), ("--split", split), ("--folder", folder)];
            given.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).for_each(|(n, v)| option(n, v));
            if given.iter().all(|(_, value)| value.is_none()) {
                words.push("--rows".to_owned());
            }
        }
        words
    }

    /// The command that loads it, for a shell.
    pub fn command(&self) -> String {
        let words: Vec<String> = self.arguments().iter().map(|word| shell_word(word)).collect();
        let cache = self
            .cache
            .as_ref()
            .map_or(String::new(), |dir| format!("HF_HUB_CACHE={} ", shell_word(&dir.display().to_string())));
        format!("{cache}lightbox {}", words.join(" "))
    }

    /// Asks the Hub what loading it would be. `token`: of the Hugging Face Hub, instead of the one that is set or stored.
    ///
    /// # Errors
    /// As [`list`](super::list()); what is there is no model, no adapter, or has no such part.
    pub fn offer(&self, token: Option<&str>) -> Result<Offer, HubError> {
        let mut client = Client::from_env_of(self.source)?.with_cache(&self.cache()?);
        if let Some(token) = token.filter(|_| self.source == Source::HuggingFace) {
            client = client.with_token(token, "hf_hub_token");
        }
        let listing = list(&self.repo, &client)?;
        let mut described = None;
        let filters = match &self.what {
            What::Model => self.needs(&listing, "config.json", "safetensors weights", |p| p.ends_with(".safetensors")),
            What::Adapter => {
                self.needs(&listing, "adapter_config.json", ADAPTER_WEIGHTS, |path| path == ADAPTER_WEIGHTS)
            }
            Data(part) => {
                let paths: Vec<String> = listing.files.iter().map(|file| file.path.clone()).collect();
                let has_card = paths.iter().any(|path| path == CARD);
                let card = has_card.then(|| client.read(&listing, CARD, part::CARD_BYTES)).transpose()?;
                let card = card.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let chosen = part::choose(&self.repo.to_string(), &paths, card.as_deref(), part)?;
                described = Some(chosen.described());
                let files = chosen.files.iter().map(String::as_str).chain(has_card.then_some(CARD));
                Ok(Filters { include: files.map(glob::Pattern::escape).collect(), exclude: Vec::new() })
            }
        }?;
        let chosen = listing.chosen(&filters)?;
        let (files, bytes) = (chosen.len(), chosen.iter().map(|file| file.bytes).sum());
        let missing_bytes = missing_bytes(&listing, &filters)?;
        Ok(Offer { wanted: self.clone(), part: described, listing, filters, files, bytes, missing_bytes })
    }

    /// All files, if among them are those without which it is of no use.
    fn needs(
        &self,
        listing: &Listing,
        config: &str,
        weights: &str,
        is_weights: fn(&str) -> bool,
    ) -> Result<Filters, HubError> {
        let has = |is: &dyn Fn(&str) -> bool| listing.files.iter().any(|file| is(&file.path));
        let lacks = match (has(&|path| path == config), has(&is_weights)) {
            (true, true) => return Ok(Filters::default()),
            (false, _) => config,
            (true, false) => weights,
        };
        let what = self.what.name();
        Err(HubError::Wrong(format!("{} has no {lacks}, so it is no {what} that can be loaded", self.repo)))
    }
}

/// `model Qwen/Qwen2-VL-2B-Instruct`, `dataset UCSC-VLAA/MedTrinity-25M (subset 25M_demo)`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what.name(), self.repo.id)?;
        let mut about = Vec::new();
        if self.repo.revision != self.source.main_branch() {
            about.push(format!("revision {}", self.repo.revision));
        }
        if let Data(part) = &self.what {
            let given = [("subset", &part.subset), ("split", &part.split), ("folder", &part.folder)];
            about.extend(given.iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?))));
        }
        if about.is_empty() { Ok(()) } else { write!(f, " ({})", about.join(", ")) }
    }
}

/// What loading something would be.
#[derive(Debug)]
pub struct Offer {
    pub wanted: Wanted,
    /// Which rows were chosen: `config 25M_demo, split train`.
    pub part: Option<String>,
    pub listing: Listing,
    pub filters: Filters,
    pub files: usize,
    pub bytes: u64,
    /// Not in the cache yet.
    pub missing_bytes: u64,
}

const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

fn has_adapter(dir: &Path) -> bool {
    ["adapter_config.json", ADAPTER_WEIGHTS].iter().all(|file| dir.join(file).is_file())
}

/// With all shards that its index names.
fn has_model(dir: &Path) -> bool {
    let index = std::fs::read(dir.join("model.safetensors.index.json")).ok();
    let index = index.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap_or_default());
    let has_weights = match index.as_ref().map(|index| index["weight_map"].as_object()) {
        Some(Some(map)) => map.values().all(|file| file.as_str().is_some_and(|file| dir.join(file).is_file())),
        Some(None) => false,
        None => names(dir).iter().any(|name| name.ends_with(".safetensors") && dir.join(name).is_file()),
    };
    has_weights && dir.join("config.json").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    struct Cache(tempfile::TempDir);

    impl Cache {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, repo: &str, revision: &str, commit: &str, files: &[&str]) -> PathBuf {
            let root = self.0.path().join(repo);
            let snapshot = root.join("snapshots").join(commit);
            create_dir_all(root.join("refs")).unwrap();
            write(root.join("refs").join(revision), commit).unwrap();
            for file in files {
                let path = snapshot.join(file);
                create_dir_all(path.parent().unwrap()).unwrap();
                write(path, "{}").unwrap();
            }
            snapshot
        }

        fn model(&self, id: &str, revision: &str) -> Result<PathBuf, NotHere> {
            folder(Path::new(id), What::Model, revision, Some(self.0.path()))
        }

        fn data(&self, id: &str, part: DataPart) -> Result<DataFiles, NotHere> {
            Wanted::at(id, Data(part), None, Some(self.0.path())).data()
        }
    }

    #[test]
    fn a_model_is_a_folder_else_a_whole_snapshot_at_the_revision() {
        let cache = Cache::new();
        let old = cache.put("models--a--b", "v1", "1111", &["config.json", "model.safetensors"]);
        assert!(matches!(cache.model("a/b", "main"), Err(NotHere::Missing(_))), "v1 is not main");
        assert_eq!(cache.model("a/b", "v1").unwrap(), old);
        assert_eq!(cache.model("a/b", "1111").unwrap(), old);
        let main = cache.put("models--a--b", "master", "2222", &["config.json", "x.safetensors"]);
        assert_eq!(cache.model("a/b", "main").unwrap(), main, "either Hub's main branch");
        for lacks in [&["model.safetensors"][..], &["config.json"], &["config.json", "model.safetensors.index.json"]] {
            cache.put("models--a--c", "main", "3333", lacks);
            assert!(matches!(cache.model("a/c", "main"), Err(NotHere::Missing(_))), "{lacks:?}");
            std::fs::remove_dir_all(cache.0.path().join("models--a--c")).unwrap();
        }
        let here = tempfile::tempdir().unwrap();
        assert_eq!(cache.model(here.path().to_str().unwrap(), "main").unwrap(), here.path());
        for name in ["gone", "/gone/b", "../a/b", "a/b/c"] {
            assert!(matches!(cache.model(name, "main"), Err(NotHere::NoFolder { .. })), "{name}");
        }
    }

    #[test]
    fn what_is_not_here_is_told_with_the_command_that_loads_it() {
        let cache = Cache::new();
        let said = cache.model("a/b", "v1").unwrap_err().to_string();
        assert!(said.contains("lightbox download model a/b --revision v1`"), "{said}");
        let words = |part: DataPart| Wanted::of(Source::ModelScope, "a/b", Data(part), None, None).command();
        assert_eq!(words(DataPart::default()), "lightbox download dataset a/b --source modelscope --rows");
        let subset = DataPart { subset: Some("x y".into()), ..DataPart::default() };
        assert_eq!(words(subset), "lightbox download dataset a/b --source modelscope --subset 'x y'");
    }

    #[test]
    fn rows_are_taken_when_all_of_a_part_are_there() {
        let cache = Cache::new();
        let all = DataPart::default();
        let shards = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        let root = cache.put("datasets--a--b", "main", "1111", &shards[..1]);
        assert!(matches!(cache.data("a/b", all.clone()), Err(NotHere::Missing(_))), "a shard is missing");
        cache.put("datasets--a--b", "main", "1111", &shards);
        let found = cache.data("a/b", all.clone()).unwrap();
        assert_eq!((found.files.len(), found.part.as_str()), (2, "split train"));
        // what the Hub has is noted: a config that was not loaded is known, and a file of another size is not the file
        let note = |text: &str| {
            create_dir_all(root.join("../../.lightbox")).unwrap();
            write(root.join("../../.lightbox/1111.files"), text).unwrap();
        };
        let bytes =
            |second: u64| format!("{{\"{}\": 2, \"{}\": {second}, \"more/x.parquet\": 9}}", shards[0], shards[1]);
        note(&bytes(2));
        let several = cache.data("a/b", all.clone()).unwrap_err().to_string();
        assert!(several.contains("several configs: default, more"), "{several}");
        let default = DataPart { subset: Some("default".into()), ..all.clone() };
        assert_eq!(cache.data("a/b", default.clone()).unwrap().part, "config default, split train");
        note(&bytes(3));
        assert!(matches!(cache.data("a/b", default), Err(NotHere::Missing(_))));
        // a listing that would lead elsewhere is none
        note("{\"../../../x.parquet\": 2}");
        assert_eq!(cache.data("a/b", all).unwrap().files.len(), 2);
    }
}
