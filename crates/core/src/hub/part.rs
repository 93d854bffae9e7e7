//! Which files of a data set's repository are its rows: configs and splits, as Python's `datasets` finds them. The head of
//! the repository's README.md says it (`configs:`), or the names of folders and files do.
//!
//! Two things differ on purpose. What `datasets` would join although its folders hold different things (MedTrinity's
//! `25M_demo` and `25M_full`, were there no README) is a choice here. And only what can be read is taken: parquet, else
//! JSON and JSONL.

use super::HubError;
use glob::{MatchOptions, Pattern};
use serde_yaml::Value;
use std::collections::BTreeMap;

/// The README whose head describes a data set.
pub(super) const CARD: &str = "README.md";
/// Most bytes of it that are read; the head has some kilobytes.
pub(super) const CARD_BYTES: u64 = 1 << 20;
/// The split of entries that name none, as in LLaMA-Factory.
const TRAIN: &str = "train";

/// A part of a data set: the keys `subset`, `split` and `folder` of dataset_info.json.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataPart {
    /// What `datasets` calls a config.
    pub subset: Option<String>,
    /// `None`: `train`, or the only one.
    pub split: Option<String>,
    /// Only what lies in this folder; the README does not count then.
    pub folder: Option<String>,
}

/// The files of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChosenFiles {
    /// In their order.
    pub files: Vec<String>,
    /// `None`: the repository has no configs.
    pub subset: Option<String>,
    pub split: String,
}

impl ChosenFiles {
    /// `config 25M_demo, split train`
    pub fn described(&self) -> String {
        let config = self.subset.as_ref().map_or(String::new(), |subset| format!("config {subset}, "));
        format!("{config}split {}", self.split)
    }
}

/// A config with its splits.
struct Config {
    name: String,
    is_default: bool,
    splits: BTreeMap<String, Vec<String>>,
}

/// The name of the one config of a repository that has none.
const UNNAMED: &str = "default";

/// Chooses among the files of a repository. `card`: its README.md; `repo`: what it is called in messages.
///
/// # Errors
/// No such config or split, or several and none was named: with their names. No file that can be read.
pub(super) fn choose(
    repo: &str,
    paths: &[String],
    card: Option<&str>,
    part: &DataPart,
) -> Result<ChosenFiles, HubError> {
    let wrong = |what: String| Err(HubError::Wrong(format!("{repo} {what}")));
    let prefix = part.folder.as_deref().map(|folder| format!("{}/", folder.trim_matches('/')));
    let inside: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| prefix.as_ref().is_none_or(|p| path.starts_with(p))).collect();
    let described = match (&prefix, card) {
        (None, Some(card)) => described(card, &inside)?,
        _ => Vec::new(),
    };
    let prefix = prefix.unwrap_or_default();
    let configs = if described.is_empty() { guessed(&inside, &prefix) } else { described };
    let names = || configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>().join(", ");
    let config = match (&part.subset, configs.as_slice()) {
        (_, []) => {
            let some: Vec<&str> = inside.iter().take(8).copied().collect();
            let has = if some.is_empty() { "nothing".to_owned() } else { some.join(", ") };
            let place = if prefix.is_empty() { String::new() } else { format!(" in {prefix}") };
            return wrong(format!("has no rows in parquet, JSON or JSONL{place}; it has {has}"));
        }
        (Some(subset), all) => match all.iter().find(|config| config.name == *subset) {
            Some(config) => config,
            None => return wrong(format!("has no config \"{subset}\"; it has {}", names())),
        },
        (None, [only]) => only,
        (None, all) => match all.iter().find(|config| config.is_default) {
            Some(config) => config,
            None => {
                let id = repo.rsplit(' ').next().unwrap_or(repo);
                return wrong(format!(
                    "has several configs: {}; name one, as {id}:CONFIG (in dataset_info.json: `subset`)",
                    names()
                ));
            }
        },
    };
    let splits: Vec<&str> = config.splits.keys().map(String::as_str).collect();
    let split = match (&part.split, splits.as_slice()) {
        (Some(split), _) => split.as_str(),
        (None, [only]) => only,
        (None, _) => TRAIN,
    };
    let subset = (configs.len() > 1 || config.name != UNNAMED).then(|| config.name.clone());
    match config.splits.get(split) {
        Some(files) if !files.is_empty() => Ok(ChosenFiles { files: files.clone(), subset, split: split.to_owned() }),
        _ => {
            let of = subset.map_or(String::new(), |subset| format!(" in its config {subset}"));
            wrong(format!("has no split \"{split}\"{of}; it has {}", splits.join(", ")))
        }
    }
}

/// The files of a set of shards (`train-00003-of-00010.parquet`) that are not among `files`: so many.
pub(super) fn missing_shards(files: &[String]) -> usize {
    let mut sets: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for file in files {
        if let Some((stem, of)) = shard(file) {
            *sets.entry((stem, of)).or_default() += 1;
        }
    }
    sets.into_iter().map(|((_, of), there)| of.saturating_sub(there)).sum()
}

/// `data/train` and 10 of `data/train-00003-of-00010.parquet`.
fn shard(path: &str) -> Option<(&str, usize)> {
    let (before, after) = path.rsplit_once("-of-")?;
    let of = after.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| digits.len() == 5)?;
    let (stem, number) = before.rsplit_once('-')?;
    (number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit())).then_some((stem, of.parse().ok()?))
}

/// What the head of a README says in `configs:`.
fn described(card: &str, paths: &[&str]) -> Result<Vec<Config>, HubError> {
    let Some(head) = head(card) else { return Ok(Vec::new()) };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut configs = Vec::new();
    for value in head["configs"].as_sequence().into_iter().flatten() {
        let name = text(&value["config_name"]).unwrap_or_else(|| UNNAMED.to_owned());
        let dir = text(&value["data_dir"]).map(|dir| dir.trim_matches('/').to_owned()).filter(|dir| !dir.is_empty());
        let prefix = dir.map_or(String::new(), |dir| format!("{dir}/"));
        let inside: Vec<&str> = paths.iter().copied().filter(|path| path.starts_with(&prefix)).collect();
        let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let files = &value["data_files"];
        let of_splits = files.as_sequence().filter(|list| list.iter().all(Value::is_mapping));
        match of_splits {
            Some(list) => {
                for entry in list {
                    let split = text(&entry["split"]).unwrap_or_else(|| TRAIN.to_owned());
                    splits.entry(split).or_default().extend(matching(&entry["path"], &prefix, &inside)?);
                }
            }
            None if files.is_null() => splits = splits_of(&readable(&inside)),
            None => drop(splits.insert(TRAIN.to_owned(), matching(files, &prefix, &inside)?)),
        }
        let is_default = value["default"].as_bool() == Some(true) || name == UNNAMED;
        configs.push(Config { name, is_default, splits });
    }
    Ok(configs)
}

/// The YAML between the `---` at a README's beginning; what is none describes nothing.
fn head(card: &str) -> Option<Value> {
    let rest = card.trim_start_matches('\u{feff}').strip_prefix("---")?.trim_start_matches('\r').strip_prefix('\n')?;
    serde_yaml::from_str(&rest[..rest.find("\n---")?]).ok()
}

/// The readable files that a pattern of the README, or several, match; a folder stands for all in it.
fn matching(patterns: &Value, prefix: &str, paths: &[&str]) -> Result<Vec<String>, HubError> {
    let texts: Vec<&str> = match patterns {
        Value::Sequence(list) => list.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    };
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let mut found: Vec<&str> = Vec::new();
    for text in texts {
        let text = format!("{prefix}{}", text.trim_start_matches("./"));
        let pattern =
            Pattern::new(&text).map_err(|e| HubError::Wrong(format!("the pattern `{text}` of {CARD}: {e}")))?;
        let folder = format!("{}/", text.trim_end_matches('/'));
        let fits = |path: &&&str| pattern.matches_with(path, options) || path.starts_with(&folder);
        let mut more: Vec<&str> = paths.iter().filter(fits).copied().filter(|path| !found.contains(path)).collect();
        more.sort_unstable();
        found.extend(more);
    }
    Ok(readable(&found).into_iter().map(str::to_owned).collect())
}

/// Without a README: every folder with rows is a config, but `data` and folders that are called like a split.
fn guessed(paths: &[&str], prefix: &str) -> Vec<Config> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in readable(paths) {
        let below = path.strip_prefix(prefix).unwrap_or(path);
        let below = below.strip_prefix("data/").unwrap_or(below);
        let folder = below.split_once('/').map(|(folder, _)| folder).filter(|folder| word_of_split(folder).is_none());
        groups.entry(folder.unwrap_or(UNNAMED)).or_default().push(path);
    }
    let config = |(name, files): (&str, Vec<&str>)| Config {
        name: name.to_owned(),
        is_default: false,
        splits: splits_of(&files),
    };
    groups.into_iter().map(config).collect()
}

/// The parquet files, else the JSON files; what describes a data set is none.
fn readable<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    const DESCRIBE: [&str; 5] =
        ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"];
    let is = |path: &str, endings: &[&str]| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        endings.contains(&ending.as_str()) && !DESCRIBE.contains(&name) && !path.split('/').any(|p| p.starts_with('.'))
    };
    let of = |endings: &[&str]| paths.iter().copied().filter(|path| is(path, endings)).collect::<Vec<_>>();
    let parquet = of(&["parquet"]);
    if parquet.is_empty() { of(&["json", "jsonl"]) } else { parquet }
}

/// Files by the split that their names tell. Where none tells one all are `train`; else those that tell none are left out,
/// as `datasets` does it.
fn splits_of(files: &[&str]) -> BTreeMap<String, Vec<String>> {
    let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        if let Some(split) = split_of(file) {
            splits.entry(split.to_owned()).or_default().push((*file).to_owned());
        }
    }
    if splits.is_empty() && !files.is_empty() {
        splits.insert(TRAIN.to_owned(), files.iter().map(|file| (*file).to_owned()).collect());
    }
    splits
}

/// By a word in the name of the file or, from inside out, of its folders; or NAME of `data/NAME-00000-of-00002.parquet`.
fn split_of(path: &str) -> Option<&str> {
    let known = path.rsplit('/').find_map(word_of_split);
    let named = || shard(path)?.0.strip_prefix("data/").filter(|name| !name.contains('/'));
    known.or_else(named)
}

fn word_of_split(name: &str) -> Option<&'static str> {
    name.split(|c: char| !c.is_ascii_alphabetic()).find_map(|word| match word.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(TRAIN),
        "validation" | "valid" | "val" | "dev" => Some("validation"),
        "test" | "testing" | "eval" | "evaluation" => Some("test"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: &str = "dataset a/b";

    fn part(subset: Option<&str>, split: Option<&str>, folder: Option<&str>) -> DataPart {
        let text = |text: Option<&str>| text.map(str::to_owned);
        DataPart { subset: text(subset), split: text(split), folder: text(folder) }
    }

    fn paths(all: &[&str]) -> Vec<String> {
        all.iter().map(|path| (*path).to_owned()).collect()
    }

    #[track_caller]
    fn files(all: &[&str], card: Option<&str>, part: &DataPart) -> Vec<String> {
        choose(REPO, &paths(all), card, part).unwrap().files
    }

    #[track_caller]
    fn refusal(all: &[&str], card: Option<&str>, part: &DataPart) -> String {
        choose(REPO, &paths(all), card, part).unwrap_err().to_string()
    }

    const MEDTRINITY: [&str; 5] = [
        "25M_accessible/a.tar.zst",
        "25M_demo/train-00000-of-00002.parquet",
        "25M_demo/train-00001-of-00002.parquet",
        "25M_full/train-00000-of-00001.parquet",
        "README.md",
    ];

    #[test]
    fn a_config_is_named_or_refused_with_the_names() {
        for card in [
            None,
            Some(
                "---\nconfigs:\n- config_name: 25M_demo\n  data_files:\n  - split: train\n    path: 25M_demo/train-*\n- config_name: 25M_full\n  data_files: 25M_full/*\n---\n# hi\n",
            ),
        ] {
            let several = refusal(&MEDTRINITY, card, &part(None, None, None));
            assert!(several.contains("25M_demo, 25M_full") && several.contains("a/b:CONFIG"), "{several}");
            let chosen = choose(REPO, &paths(&MEDTRINITY), card, &part(Some("25M_demo"), None, None)).unwrap();
            assert_eq!((chosen.files.as_slice(), chosen.split.as_str()), (&paths(&MEDTRINITY[1..3])[..], "train"));
            assert_eq!(chosen.subset.as_deref(), Some("25M_demo"));
            let none = refusal(&MEDTRINITY, card, &part(Some("x"), None, None));
            assert!(none.contains("no config \"x\""), "{none}");
        }
        assert_eq!(files(&MEDTRINITY, None, &part(None, None, Some("25M_full/"))), paths(&MEDTRINITY[3..4]));
    }

    #[test]
    fn splits_are_read_from_names_and_train_is_meant_where_none_is_named() {
        let all = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet", "x.json"];
        assert_eq!(files(&all, None, &part(None, None, None)), paths(&all[1..2]));
        assert_eq!(files(&all, None, &part(None, Some("test"), None)), paths(&all[..1]));
        let none = refusal(&all, None, &part(None, Some("dev"), None));
        assert!(none.contains("no split \"dev\"") && none.contains("test, train"), "{none}");
        // the only one, whatever it is called; a name that tells no split is train
        assert_eq!(files(&["val/a.jsonl"], None, &part(None, None, None)), ["val/a.jsonl"]);
        assert_eq!(files(&["rows.jsonl", "b.json"], None, &part(None, Some("train"), None)), ["rows.jsonl", "b.json"]);
        let own = ["data/chosen-00000-of-00001.parquet", "data/left-00000-of-00001.parquet"];
        assert_eq!(files(&own, None, &part(None, Some("chosen"), None)), paths(&own[..1]));
        assert!(refusal(&own, None, &part(None, None, None)).contains("no split \"train\""));
        assert_eq!(files(&["constraint.json"], None, &part(None, Some("train"), None)), ["constraint.json"]);
    }

    #[test]
    fn the_readme_counts_before_names_and_says_what_is_the_default() {
        let all = ["a/x.jsonl", "b/deep/y.jsonl", "b/z.jsonl", "other.json"];
        let card = "---\nlicense: mit\nconfigs:\n- config_name: one\n  data_files: a/*.jsonl\n- config_name: two\n  default: true\n  data_files:\n  - split: train\n    path:\n    - \"b/*.jsonl\"\n  - split: long\n    path: b/**/y.jsonl\n- config_name: three\n  data_dir: b\n---\n";
        assert_eq!(files(&all, Some(card), &part(None, None, None)), ["b/z.jsonl"]);
        assert_eq!(files(&all, Some(card), &part(None, Some("long"), None)), ["b/deep/y.jsonl"]);
        assert_eq!(files(&all, Some(card), &part(Some("one"), None, None)), ["a/x.jsonl"]);
        assert_eq!(files(&all, Some(card), &part(Some("three"), None, None)), ["b/deep/y.jsonl", "b/z.jsonl"]);
        // what is no YAML, or ends nowhere, says nothing
        for broken in ["---\nconfigs: [\n---\n", "---\nconfigs:\n", "", "# configs"] {
            assert!(refusal(&all, Some(broken), &part(None, None, None)).contains("several configs"), "{broken}");
        }
        let nothing = refusal(&["a.csv", "b.tar"], None, &part(None, None, None));
        assert!(nothing.contains("no rows") && nothing.contains("a.csv"), "{nothing}");
    }

    #[test]
    fn shards_that_are_not_there_are_counted() {
        assert_eq!(missing_shards(&paths(&MEDTRINITY)), 0);
        assert_eq!(missing_shards(&paths(&MEDTRINITY[..2])), 1);
        assert_eq!(missing_shards(&paths(&["rows.jsonl", "x-of-y.json", "a-1-of-00002.json"])), 0);
    }
}
