//! `README.md` of an exported model or adapter: what it is made of, how it was trained, how it is used, and whose terms
//! apply. Paths of the machine do not get into it: it is written to be published.
use super::model_card::{hyperparameters, markdown, write_results};
use super::trainer_state::{LogEntry, TrainerState};
use crate::hub::cached_name;
use crate::profile::Profile;
use serde_yaml::Value;
use std::fmt::Write;
use std::path::Path;

/// What the card tells.
#[derive(Debug, Clone)]
pub struct Exported<'a> {
    /// The new folder's.
    pub name: &'a str,
    pub base: Base,
    /// An adapter folder; else a whole model.
    pub adapter_only: bool,
    /// `bfloat16`, …
    pub dtype: &'a str,
    pub adapters: &'a [Adapter],
    /// File of the folder with the curve of the last adapter's training.
    pub curve: Option<&'a str>,
    /// `Lightbox 0.1.0`, …
    pub version: &'a str,
}

/// The base model.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// As others would look for it: `Qwen/Qwen2-VL-2B-Instruct`.
    pub name: String,
    /// `license`, `license_name` and `license_link` of its own card.
    pub licence: Vec<(&'static str, String)>,
}

/// An adapter that went in.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub name: String,
    pub weight: f64,
    pub rank: i64,
    pub alpha: f64,
    /// Of its run, where that is kept beside it.
    pub profile: Option<Profile>,
    pub log_history: Vec<LogEntry>,
    pub steps: u64,
}

impl Base {
    /// Of a model folder. `named`: what an adapter calls it.
    pub fn of(dir: &Path, named: Option<&str>) -> Self {
        let own = public_name(dir);
        // An adapter's word for it is better than a folder's name, if it is a word that others know.
        let named = named.filter(|n| n.split('/').count() == 2 && !n.starts_with(['/', '.', '~']));
        let name = if own.contains('/') { own } else { named.map_or(own, str::to_owned) };
        let card = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
        let front = card.strip_prefix("---\n").and_then(|rest| rest.split("\n---").next()).unwrap_or_default();
        let front: Value = serde_yaml::from_str(front).unwrap_or_default();
        let of = |key| Some((key, front.get(key)?.as_str()?.to_owned()));
        Self { name, licence: ["license", "license_name", "license_link"].into_iter().filter_map(of).collect() }
    }
}

impl Adapter {
    /// Of an adapter folder: a run's, or a checkpoint's within it. `rank` and `alpha` are its adapter_config.json's.
    pub fn of(dir: &Path, weight: f64, rank: i64, alpha: f64) -> Self {
        let places = [Some(dir), dir.parent()];
        let no_overrides: &[&str] = &[];
        let profile = places.into_iter().flatten().find_map(|place| {
            let file = place.join("profile.yaml");
            Profile::load(&file, no_overrides).ok()
        });
        let state = TrainerState::read(&dir.join("trainer_state.json")).ok();
        let (log_history, steps) = state.map(|s| (s.log_history, s.global_step)).unwrap_or_default();
        Self { name: public_name(dir), weight, rank, alpha, profile, log_history, steps }
    }
}

/// How a folder is called where its path means nothing: the Hub's name if it lies in the Hub's cache, else its last part;
/// a checkpoint goes by its run.
fn public_name(dir: &Path) -> String {
    if let Some(name) = cached_name(dir) {
        return name;
    }
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let parts: Vec<String> = dir.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match &parts[..] {
        [.., run, last] if last.starts_with("checkpoint-") => format!("{run}, {last}"),
        [.., last] => last.clone(),
        [] => String::new(),
    }
}

/// The card's text.
pub fn render(e: &Exported) -> String {
    let mut card = String::new();
    // Writing to a String cannot fail.
    let _ = front(&mut card, e).and_then(|()| body(&mut card, e));
    card
}

/// The metadata that the Hub reads.
fn front(card: &mut String, e: &Exported) -> std::fmt::Result {
    // JSON strings are valid YAML.
    let yaml = |text: &str| serde_json::Value::from(text).to_string();
    writeln!(card, "---\nlibrary_name: {}", if e.adapter_only { "peft" } else { "transformers" })?;
    if e.base.licence.iter().all(|(key, _)| *key != "license") {
        writeln!(card, "license: other")?;
    }
    for (key, value) in &e.base.licence {
        writeln!(card, "{key}: {}", yaml(value))?;
    }
    writeln!(card, "base_model: {}", yaml(&e.base.name))?;
    writeln!(card, "base_model_relation: {}", if e.adapter_only { "adapter" } else { "finetune" })?;
    writeln!(card, "pipeline_tag: image-text-to-text\ntags:\n- lightbox\n- qwen2_vl")?;
    if !e.adapters.is_empty() {
        writeln!(card, "- lora")?;
    }
    writeln!(card, "---\n")
}

fn body(card: &mut String, e: &Exported) -> std::fmt::Result {
    let base = markdown(&e.base.name);
    writeln!(card, "# {}\n", markdown(e.name))?;
    match (e.adapters.len(), e.adapter_only) {
        (0, _) => writeln!(card, "{base}, written anew in {}.", e.dtype)?,
        (1, true) => writeln!(card, "A LoRA adapter for {base}, in {}.", e.dtype)?,
        (n, true) => writeln!(card, "{n} LoRA adapters for {base}, added up into one, in {}.", e.dtype)?,
        (_, false) => writeln!(
            card,
            "{base} with its LoRA training merged into the weights: summed in float32, rounded once to {}.",
            e.dtype
        )?,
    }
    if !e.adapters.is_empty() {
        writeln!(card, "\n| Adapter | Weight | Rank | Alpha | Steps |\n|---|---|---|---|---|")?;
        for a in e.adapters {
            let steps = if a.steps > 0 { a.steps.to_string() } else { "unknown".to_owned() };
            writeln!(card, "| {} | {} | {} | {} | {steps} |", markdown(&a.name), a.weight, a.rank, a.alpha)?;
        }
    }
    usage(card, e)?;
    for adapter in e.adapters {
        training(card, adapter, e.adapters.len() > 1)?;
    }
    if let Some(curve) = e.curve {
        writeln!(card, "\n![Training loss]({curve})")?;
    }
    writeln!(card, "\n## Licence\n")?;
    let licence = e.base.licence.iter().find(|(key, _)| *key == "license").map(|(_, value)| markdown(value));
    match licence {
        Some(licence) => writeln!(card, "The weights derive from {base}, which is under the licence {licence}.")?,
        None => writeln!(card, "The weights derive from {base}; its licence applies to them.")?,
    }
    writeln!(
        card,
        "The data that it was trained on has terms of its own, which may forbid some uses. Whoever publishes this folder \
         states the licence that follows from both."
    )?;
    writeln!(card, "\nWritten by {}.", markdown(e.version))
}

fn usage(card: &mut String, e: &Exported) -> std::fmt::Result {
    let command = match e.adapter_only {
        true => "lightbox chat --model BASE_DIR --adapter DIR --image PICTURE",
        false => "lightbox chat --model DIR --image PICTURE",
    };
    let load = if e.adapter_only {
        format!(
            "model = Qwen2VLForConditionalGeneration.from_pretrained({:?}, dtype=\"auto\", device_map=\"auto\")\n\
             model = PeftModel.from_pretrained(model, DIR)\nprocessor = AutoProcessor.from_pretrained({:?})",
            e.base.name, e.base.name
        )
    } else {
        "model = Qwen2VLForConditionalGeneration.from_pretrained(DIR, dtype=\"auto\", device_map=\"auto\")\n\
         processor = AutoProcessor.from_pretrained(DIR)"
            .to_owned()
    };
    let peft = if e.adapter_only { "from peft import PeftModel\n" } else { "" };
    writeln!(
        card,
        "\n## Use\n\n```sh\n{command}\n```\n\n```python\n{peft}from transformers import AutoProcessor, Qwen2VLForConditionalGeneration\n{load}\n```"
    )
}

/// Data, settings and results of one adapter's run.
fn training(card: &mut String, a: &Adapter, several: bool) -> std::fmt::Result {
    let of = if several { format!(" of {}", markdown(&a.name)) } else { String::new() };
    let Some(p) = &a.profile else {
        return writeln!(card, "\n## Training{of}\n\nThe settings were not kept beside the adapter.");
    };
    writeln!(card, "\n## Training data{of}\n")?;
    let datasets: Vec<String> = p.dataset.iter().map(|d| markdown(d)).collect();
    writeln!(card, "- dataset: {}", datasets.join(", "))?;
    if let Some(n) = p.max_samples {
        writeln!(card, "- max_samples: {n}")?;
    }
    if let Some(template) = p.template {
        writeln!(card, "- template: {template}")?;
    }
    writeln!(card, "- cutoff_len: {}", p.cutoff_len)?;
    writeln!(card, "- image_min_pixels: {}, image_max_pixels: {}", p.image_min_pixels, p.image_max_pixels)?;
    if let Some(system) = p.default_system.as_deref().filter(|s| !s.is_empty()) {
        writeln!(card, "- default_system: {}", markdown(system))?;
    }
    writeln!(card, "\n## Training settings{of}\n")?;
    hyperparameters(card, p, p.warmup_steps as u64)?;
    let last = a.log_history.iter().rev().find_map(|entry| Some((entry.step, entry.loss?)));
    if last.is_some() || a.log_history.iter().any(|entry| entry.eval_loss.is_some()) {
        writeln!(card, "\n## Training results{of}\n")?;
        if let Some((step, loss)) = last {
            writeln!(card, "- training loss at step {step}: {loss:.4}\n")?;
        }
        write_results(card, &a.log_history)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(adapters: &[Adapter]) -> Exported<'_> {
        let licence = vec![("license", "apache-2.0".to_owned())];
        let base = Base { name: "Qwen/Qwen2-VL-2B-Instruct".into(), licence };
        Exported {
            name: "my-model",
            base,
            adapter_only: false,
            dtype: "bfloat16",
            adapters,
            curve: Some("training_loss.png"),
            version: "Lightbox 0.1.0",
        }
    }

    fn adapter() -> Adapter {
        let log = [LogEntry { step: 5, loss: Some(1.25), ..LogEntry::default() }];
        Adapter {
            name: "saves-1".into(),
            weight: 0.5,
            rank: 8,
            alpha: 16.0,
            profile: Some(Profile { dataset: vec!["mllm_med".into()], ..Profile::default() }),
            log_history: log.to_vec(),
            steps: 5,
        }
    }

    #[test]
    fn the_card_tells_origin_data_settings_curve_and_licence() {
        let adapters = [adapter()];
        let card = render(&exported(&adapters));
        for line in [
            "license: \"apache-2.0\"",
            "base_model_relation: finetune",
            "| saves-1 | 0.5 | 8 | 16 | 5 |",
            "- dataset: mllm_med",
            "- learning_rate: 0.00005",
            "- training loss at step 5: 1.2500",
            "![Training loss](training_loss.png)",
            "The weights derive from Qwen/Qwen2-VL-2B-Instruct, which is under the licence apache-2.0.",
        ] {
            assert!(card.lines().any(|l| l == line), "no line {line:?} in\n{card}");
        }
        let front: Value = serde_yaml::from_str(card.split("---").nth(1).unwrap()).unwrap();
        assert_eq!(front["base_model"], "Qwen/Qwen2-VL-2B-Instruct");
        let card = render(&Exported { adapter_only: true, ..exported(&adapters) });
        assert!(card.contains("library_name: peft") && card.contains("PeftModel.from_pretrained"), "{card}");
    }

    #[test]
    fn no_path_of_the_machine_and_no_markup_gets_into_the_card() {
        let temp = tempfile::tempdir().unwrap();
        let cache = temp.path().join("models--Qwen--Qwen2-VL-2B/snapshots/abc");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join("README.md"), "---\nlicense: mit\n---\n# x\n").unwrap();
        let base = Base::of(&cache, None);
        assert_eq!((base.name.as_str(), &base.licence[0].1[..]), ("Qwen/Qwen2-VL-2B", "mit"));
        let plain = temp.path().join("base\u{1b}[2J<b>");
        std::fs::create_dir_all(&plain).unwrap();
        assert_eq!(Base::of(&plain, Some("Qwen/Qwen2-VL-7B")).name, "Qwen/Qwen2-VL-7B");
        assert_eq!(Base::of(&plain, Some("/home/u/model")).name, "base\u{1b}[2J<b>");
        let run = temp.path().join("run/checkpoint-10");
        std::fs::create_dir_all(&run).unwrap();
        let adapters = [Adapter::of(&run, 1.0, 8, 16.0)];
        let card = render(&Exported { base: Base::of(&plain, None), ..exported(&adapters) });
        assert!(card.contains("| run, checkpoint-10 | 1 | 8 | 16 | unknown |"), "{card}");
        assert!(!card.contains(&*temp.path().to_string_lossy()), "{card}");
        assert!(card.chars().all(|c| c == '\n' || !c.is_control()), "{card}");
        assert!(!card.split_once("\n---\n").unwrap().1.contains("<b>"), "{card}");
    }
}
