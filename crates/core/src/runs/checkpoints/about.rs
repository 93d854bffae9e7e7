//! What a run was when a checkpoint was written, and what has changed since.

use super::super::record::SaveReason;
use crate::profile::{KEYS, Profile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// In the manifest, beside the files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Updates done.
    pub step: u64,
    pub reason: SaveReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// [`settings_of`] the profile.
    pub settings: BTreeMap<String, String>,
    /// Fingerprint of the training samples.
    pub data: String,
    /// Identity of the base model's files, by name.
    pub model: BTreeMap<String, String>,
    /// Processes that trained together.
    pub world_size: u32,
    /// Program and version.
    pub app: String,
}

/// Keys that change nothing of what a training step computes: where things are written and how often, how much is told,
/// how the finished model is asked, who waits for whom. The token is a secret besides.
const NO_MATTER: [&str; 36] = [
    "output_dir",
    "overwrite_output_dir",
    "resume_from_checkpoint",
    "run_name",
    "logging_steps",
    "logging_first_step",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "save_only_model",
    "plot_loss",
    "report_to",
    "include_num_input_tokens_seen",
    "eval_strategy",
    "eval_steps",
    "eval_on_start",
    "eval_dataset",
    "do_eval",
    "per_device_eval_batch_size",
    "predict_with_generate",
    "eval_generate_samples",
    "load_best_model_at_end",
    "dataloader_num_workers",
    "preprocessing_num_workers",
    "max_restarts",
    "max_nonfinite_steps",
    "cache_dir",
    "hf_hub_token",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "max_new_tokens",
    "repetition_penalty",
    "skip_special_tokens",
    "infer_dtype",
];

/// Every key that decides what is computed, with its value as YAML. `num_threads` and `device` are among them: they change
/// the order of sums.
pub fn settings_of(profile: &Profile) -> BTreeMap<String, String> {
    let matters = KEYS.iter().filter(|key| !NO_MATTER.contains(&key.name) && key.note.is_none());
    matters.map(|key| (key.name.to_owned(), text(&(key.write)(profile)))).collect()
}

fn text(value: &serde_yaml::Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_owned()
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `settings`, `data`, `model` or `program`.
    pub what: &'static str,
    /// The profile's key, or the file.
    pub key: String,
    pub before: String,
    pub after: String,
}

/// What has changed between a checkpoint and now.
pub fn differences(before: &About, now: &About) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what, key: &str, before: Option<&str>, after: Option<&str>| {
        if before != after {
            let (before, after) = (shown(before), shown(after));
            found.push(Difference { what, key: key.to_owned(), before, after });
        }
    };
    let maps = [("settings", &before.settings, &now.settings), ("model", &before.model, &now.model)];
    for (what, old, new) in maps {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            compare(what, key, old.get(key).map(String::as_str), new.get(key).map(String::as_str));
        }
    }
    compare("data", "training samples", Some(&before.data), Some(&now.data));
    let processes = |about: &About| about.world_size.max(1).to_string();
    compare("settings", "processes", Some(&processes(before)), Some(&processes(now)));
    compare("program", "version", Some(&before.app), Some(&now.app));
    found
}

/// At most a line.
fn shown(value: Option<&str>) -> String {
    const LONGEST: usize = 100;
    let Some(value) = value else { return "not there".into() };
    let value = value.replace('\n', " ");
    match value.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &value[..cut]),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_said_not_to_matter_exists() {
        for name in NO_MATTER {
            assert!(KEYS.iter().any(|key| key.name == name), "{name}");
        }
    }

    #[test]
    fn changes_are_named_with_both_values_and_secrets_and_paths_of_output_are_not_kept() {
        let mut p = Profile::default();
        let before = About { settings: settings_of(&p), data: "a".into(), ..About::default() };
        p.learning_rate = 0.5;
        p.output_dir = "elsewhere".into();
        p.save_steps = 7.0;
        let now = About { settings: settings_of(&p), data: "b".into(), ..About::default() };
        let found = differences(&before, &now);
        let told: Vec<_> = found.iter().map(|d| (d.what, d.key.as_str())).collect();
        assert_eq!(told, [("settings", "learning_rate"), ("data", "training samples")]);
        assert_eq!((found[0].before.as_str(), found[0].after.as_str()), ("0.00005", "0.5"));
        assert!(!now.settings.keys().any(|key| key == "hf_hub_token"), "{:?}", now.settings.keys());
        assert_eq!(differences(&now, &now), []);
    }
}
