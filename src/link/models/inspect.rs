//! Reads one folder: what it is, what is in it, and what it lacks. Only small files and headers are read.
use super::{headers, read};
use crate::app::models::entry::{AdapterFacts, BaseFacts, Entry, Facts, Kind, Lack, Origin};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::trainer_state::TrainerState;
use lightbox_core::safe_text::clean_line;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const CONFIG: &str = "config.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// More are not listed (they are counted).
const MAX_FILES: usize = 200;
const MAX_NAME: usize = 200;

/// What a folder holds, by the files that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Base,
    Adapter,
}

pub fn holds(dir: &Path) -> Option<Holds> {
    if dir.join(ADAPTER_CONFIG).is_file() {
        return Some(Holds::Adapter);
    }
    if !dir.join(CONFIG).is_file() {
        return None;
    }
    // many programs have a config.json
    let config = json(&dir.join(CONFIG)).ok()?;
    (config["model_type"].is_string() || config["architectures"].is_array()).then_some(Holds::Base)
}

/// Contents that were counted already, by device and inode: what snapshots share is on the disk once.
pub type Counted = HashSet<(u64, u64)>;

/// Reads a folder; `used` grows by what was not counted before.
pub fn entry(dir: &Path, name: String, kind: Kind, origin: Origin, counted: &mut Counted, used: &mut u64) -> Entry {
    let in_run = matches!(&origin, Origin::Run { dir: run, .. } if run == dir);
    let mut found = Files { only_model: in_run, ..Files::default() };
    found.walk(dir, "", 0, counted, used);
    let readme = dir.join("README.md").is_file();
    let mut weights = Weights::default();
    let facts = if kind.is_adapter() {
        weights.file(dir, ADAPTER_WEIGHTS);
        Facts::Adapter(adapter(dir, &mut weights.lacks))
    } else {
        weights.of_model(dir);
        Facts::Base(base(dir, &mut weights.lacks))
    };
    let dtype = weights.types.iter().max_by_key(|(_, n)| **n).map_or_else(String::new, |(name, _)| short(name));
    let lack = match &origin {
        Origin::Hub(cached) if !cached.complete => {
            // contents that are not whole have no name in the snapshot yet
            found.bytes += cached.half_bytes;
            *used += cached.half_bytes;
            Some(Lack::Half { here: cached.bytes + cached.half_bytes, of: cached.asked_bytes })
        }
        _ if !weights.lacks.is_empty() => Some(Lack::Files(weights.lacks)),
        _ => None,
    };
    Entry {
        kind,
        name: clean_line(&name, MAX_NAME),
        path: dir.to_owned(),
        bytes: found.bytes,
        origin,
        dtype,
        lack,
        parameters: weights.parameters,
        files: found.list,
        licence: licence(dir),
        readme,
        facts,
    }
}

#[derive(Default)]
struct Files {
    bytes: u64,
    list: Vec<(String, u64)>,
    /// A run's folder has much beside its adapter.
    only_model: bool,
}

impl Files {
    fn walk(&mut self, dir: &Path, prefix: &str, depth: usize, counted: &mut Counted, used: &mut u64) {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        for name in names {
            let path = dir.join(&name);
            // links are followed: in the Hub's cache every file is one
            let Ok(meta) = path.metadata() else { continue };
            if meta.is_dir() {
                // only plain folders: a link could lead in circles
                let plain = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                if plain && depth < 2 && !self.only_model {
                    self.walk(&path, &format!("{prefix}{name}/"), depth + 1, counted, used);
                }
                continue;
            }
            if self.only_model && !is_of_model(&name) {
                continue;
            }
            self.bytes += meta.len();
            if counted.insert((meta.dev(), meta.ino())) {
                *used += meta.len();
            }
            if self.list.len() < MAX_FILES {
                self.list.push((clean_line(&format!("{prefix}{name}"), MAX_NAME), meta.len()));
            }
        }
    }
}

fn is_of_model(name: &str) -> bool {
    name.starts_with("adapter_")
        || name.ends_with(".safetensors")
        || name.ends_with(".safetensors.index.json")
        || name.ends_with("config.json")
        || ["tokenizer.json", "vocab.json", "merges.txt", "README.md"].contains(&name)
        || name.starts_with("chat_template")
}

#[derive(Default)]
struct Weights {
    parameters: u64,
    types: BTreeMap<String, u64>,
    lacks: Vec<String>,
}

impl Weights {
    fn file(&mut self, dir: &Path, name: &str) {
        let path = dir.join(name);
        if !path.exists() {
            return self.lacks.push(clean_line(name, MAX_NAME));
        }
        match headers::read(&path) {
            Ok(header) => {
                self.parameters = self.parameters.saturating_add(header.parameters);
                for (name, n) in header.types {
                    let of_type = self.types.entry(name).or_default();
                    *of_type = of_type.saturating_add(n);
                }
            }
            Err(why) => self.lacks.push(clean_line(&format!("{name} {why}"), MAX_NAME)),
        }
    }

    fn of_model(&mut self, dir: &Path) {
        if !dir.join(INDEX).exists() {
            return self.file(dir, WEIGHTS);
        }
        let index = json(&dir.join(INDEX)).unwrap_or_default();
        let map = index["weight_map"].as_object();
        let shards: BTreeSet<&str> = map.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str).collect();
        if shards.is_empty() {
            self.lacks.push(format!("{INDEX} names no file"));
        }
        for shard in shards {
            // names from a file must not lead out of the folder
            match shard.contains('/') {
                true => self.lacks.push(clean_line(&format!("{INDEX} names {shard}"), MAX_NAME)),
                false => self.file(dir, shard),
            }
        }
    }
}

fn base(dir: &Path, lacks: &mut Vec<String>) -> BaseFacts {
    let config = match json(&dir.join(CONFIG)) {
        Ok(config) => config,
        Err(why) => {
            lacks.insert(0, why);
            return BaseFacts::default();
        }
    };
    // newer transformers put the language model's numbers one level down
    let number = |name: &str| config[name].as_u64().or_else(|| config["text_config"][name].as_u64());
    let there = |names: &[&str]| names.iter().any(|name| dir.join(name).is_file());
    let tokenizer = there(&["tokenizer.json"]) || (there(&["vocab.json"]) && there(&["merges.txt"]));
    let processor = there(&["preprocessor_config.json", "processor_config.json"]);
    let model_type = config["model_type"].as_str().unwrap_or_default();
    let known = model_type == "qwen2_vl";
    if known {
        lacks.extend((!tokenizer).then(|| "tokenizer.json".to_owned()));
        lacks.extend((!processor).then(|| "preprocessor_config.json".to_owned()));
    }
    let in_tokenizer = || read(&dir.join("tokenizer_config.json")).is_ok_and(|text| text.contains("\"chat_template\""));
    BaseFacts {
        architecture: clean_line(config["architectures"][0].as_str().unwrap_or(model_type), 100),
        known,
        hidden: number("hidden_size"),
        layers: number("num_hidden_layers"),
        vocabulary: number("vocab_size"),
        tokenizer,
        processor,
        chat_template: there(&["chat_template.json", "chat_template.jinja"]) || in_tokenizer(),
    }
}

fn adapter(dir: &Path, lacks: &mut Vec<String>) -> AdapterFacts {
    let config = json(&dir.join(ADAPTER_CONFIG)).unwrap_or_else(|why| {
        lacks.insert(0, why);
        Value::Null
    });
    let is = |name: &str| config[name].as_bool() == Some(true);
    let method = match config["peft_type"].as_str() {
        Some("LORA") if is("use_dora") => "DoRA".to_owned(),
        Some("LORA") if is("use_rslora") => "rsLoRA".to_owned(),
        Some("LORA") | None => "LoRA".to_owned(),
        Some(other) => clean_line(other, 40),
    };
    let targets = match &config["target_modules"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(|name| clean_line(name, 100)).collect(),
        Value::String(pattern) => vec![clean_line(pattern, 200)],
        _ => Vec::new(),
    };
    let state = TrainerState::read(&dir.join(RunDir::TRAINER_STATE)).unwrap_or_default();
    // the newest entry that has one: others are of evaluations
    let mut entries = state.log_history.iter().rev().filter_map(|entry| serde_json::to_value(entry).ok());
    AdapterFacts {
        base: clean_line(config["base_model_name_or_path"].as_str().unwrap_or_default(), 400),
        base_path: None,
        method,
        rank: config["r"].as_u64(),
        alpha: config["lora_alpha"].as_f64(),
        targets,
        step: state.global_step,
        total: state.max_steps,
        epoch: state.epoch,
        loss: entries.find_map(|entry| entry["loss"].as_f64()),
        state: None,
    }
}

/// The licence that the front matter of README.md names, else that there is a LICENSE file.
fn licence(dir: &Path) -> String {
    let text = read(&dir.join("README.md")).unwrap_or_default();
    let front = text.strip_prefix("---").and_then(|rest| rest.split_once("\n---")).map(|(front, _)| front);
    let front: serde_yaml::Value = front.and_then(|front| serde_yaml::from_str(front).ok()).unwrap_or_default();
    let word = |key: &str| match &front[key] {
        serde_yaml::Value::String(word) => Some(clean_line(word, 100)),
        serde_yaml::Value::Sequence(words) => {
            Some(clean_line(&words.iter().filter_map(|w| w.as_str()).collect::<Vec<_>>().join(", "), 100))
        }
        _ => None,
    };
    match (word("license"), word("license_name")) {
        (Some(licence), Some(name)) => format!("{licence} ({name})"),
        (Some(licence), None) => licence,
        _ if dir.join("LICENSE").is_file() => "LICENSE".to_owned(),
        _ => String::new(),
    }
}

/// `BF16` as options and profiles write it.
fn short(dtype: &str) -> String {
    clean_line(&dtype.to_lowercase(), 12)
}

fn json(path: &Path) -> Result<Value, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // an index of a large model has some megabytes
    let large = std::fs::metadata(path).map_err(|_| name.clone())?.len() > 64 << 20;
    if large {
        return Err(format!("{name} is too large"));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
    serde_json::from_slice(&bytes).map_err(|_| format!("{name} is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo-model")
    }

    fn look(dir: &Path, kind: Kind) -> Entry {
        entry(dir, "m".into(), kind, Origin::Folder, &mut Counted::new(), &mut 0)
    }

    #[test]
    fn a_model_folder_is_described_from_its_files() {
        assert_eq!(holds(&demo()), Some(Holds::Base));
        let entry = look(&demo(), Kind::Base);
        assert_eq!((entry.lack.clone(), entry.dtype.as_str(), entry.readme), (None, "bf16", true));
        assert_eq!(entry.bytes, entry.files.iter().map(|(_, bytes)| bytes).sum::<u64>());
        let Facts::Base(facts) = &entry.facts else { panic!("{entry:?}") };
        assert_eq!(facts.architecture, "Qwen2VLForConditionalGeneration");
        assert_eq!((facts.hidden, facts.layers, facts.vocabulary), (Some(160), Some(3), Some(1088)));
        assert!(facts.known && facts.tokenizer && facts.processor && facts.chat_template);
    }

    #[test]
    fn what_is_missing_or_cut_off_is_named() {
        let temp = tempfile::tempdir().unwrap();
        for name in [CONFIG, "tokenizer.json"] {
            std::fs::copy(demo().join(name), temp.path().join(name)).unwrap();
        }
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "../two.safetensors"}}"#;
        std::fs::write(temp.path().join(INDEX), index).unwrap();
        let Some(Lack::Files(lacks)) = look(temp.path(), Kind::Base).lack else { panic!() };
        let text = lacks.join("\n");
        for word in ["one.safetensors", "names ../two.safetensors", "preprocessor_config.json"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(!text.contains("tokenizer.json"), "{text}");
    }

    #[test]
    fn an_adapter_says_its_base_and_rank_and_hostile_text_stays_text() {
        let temp = tempfile::tempdir().unwrap();
        let config = r#"{"peft_type": "LORA", "use_rslora": true, "r": 16, "lora_alpha": 32.0,
            "target_modules": ["q_proj", "\u001b[2Jx"], "base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"}"#;
        std::fs::write(temp.path().join(ADAPTER_CONFIG), config).unwrap();
        std::fs::write(temp.path().join("README.md"), "---\nlicense: other\nlicense_name: qwen\n---\n# x\n").unwrap();
        assert_eq!(holds(temp.path()), Some(Holds::Adapter));
        let entry = look(temp.path(), Kind::Adapter);
        let facts = entry.adapter().unwrap();
        assert_eq!((facts.method.as_str(), facts.rank, facts.alpha), ("rsLoRA", Some(16), Some(32.0)));
        assert_eq!((facts.base.as_str(), entry.licence.as_str()), ("Qwen/Qwen2-VL-2B-Instruct", "other (qwen)"));
        assert!(!facts.targets[1].contains('\u{1b}'), "{facts:?}");
        assert_eq!(entry.lack, Some(Lack::Files(vec![ADAPTER_WEIGHTS.into()])));
    }
}
