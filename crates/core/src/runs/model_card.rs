//! `README.md` of a trained adapter or model: the card that PEFT and the HF Trainer write, with the same headings and
//! metadata, so that tools that read cards find what they expect.
use super::RunDir;
use super::trainer_state::LogEntry;
use crate::hub::cached_name;
use crate::profile::{FinetuningType, Profile};
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What the card tells beside the profile.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub log_history: &'a [LogEntry],
    pub warmup_steps: u64,
    /// `Lightbox 0.1.0`, `libtorch 2.11.0`, …
    pub versions: &'a [String],
}

/// The card's text. `name` is the run's.
pub fn render(name: &str, p: &Profile, facts: Facts<'_>) -> String {
    // The Hub refuses a card whose base is a path, and a path in the cache says whose name is meant.
    let given = p.model_name_or_path.as_deref().unwrap_or("unknown");
    let base = cached_name(Path::new(given)).unwrap_or_else(|| given.to_owned());
    let lora = p.finetuning_type == FinetuningType::Lora;
    let mut card = String::new();
    // Writing to a String cannot fail; `let _` says so once instead of an unwrap at each line.
    let _ = write_card(&mut card, name, &base, lora, p, facts);
    card
}

fn write_card(
    card: &mut String,
    name: &str,
    base: &str,
    lora: bool,
    p: &Profile,
    facts: Facts<'_>,
) -> std::fmt::Result {
    // Paths may hold anything; JSON strings are valid YAML.
    let yaml = |text: &str| serde_json::Value::from(text).to_string();
    writeln!(card, "---")?;
    writeln!(card, "library_name: {}", if lora { "peft" } else { "transformers" })?;
    writeln!(card, "license: other")?;
    writeln!(card, "base_model: {}", yaml(base))?;
    writeln!(card, "tags:")?;
    if lora {
        writeln!(card, "- {}", yaml(&format!("base_model:adapter:{base}")))?;
    }
    writeln!(card, "- llama-factory\n- {}\n- lightbox\n- transformers", if lora { "lora" } else { "full" })?;
    writeln!(card, "pipeline_tag: image-text-to-text")?;
    writeln!(card, "model-index:\n- name: {}\n  results: []\n---\n", yaml(name))?;

    writeln!(card, "# {}\n", markdown(name))?;
    let datasets = p.dataset.iter().map(|d| markdown(d)).collect::<Vec<_>>().join(", the ");
    writeln!(card, "This model is a fine-tuned version of {} on the {datasets} dataset.", markdown(base))?;
    if let Some(eval) = facts.log_history.iter().rev().find_map(|entry| entry.eval_loss) {
        writeln!(card, "It achieves the following results on the evaluation set:\n- Loss: {eval:.4}")?;
    }
    for heading in ["Model description", "Intended uses & limitations", "Training and evaluation data"] {
        writeln!(card, "\n## {heading}\n\nMore information needed")?;
    }

    writeln!(card, "\n## Training procedure\n\n### Training hyperparameters\n")?;
    hyperparameters(card, p, facts.warmup_steps)?;

    writeln!(card, "\n### Training results\n")?;
    write_results(card, facts.log_history)?;
    writeln!(card, "\n### Framework versions\n")?;
    for version in facts.versions {
        writeln!(card, "- {version}")?;
    }
    Ok(())
}

/// The settings as a list.
pub(super) fn hyperparameters(card: &mut String, p: &Profile, warmup_steps: u64) -> std::fmt::Result {
    writeln!(card, "The following hyperparameters were used during training:")?;
    writeln!(card, "- learning_rate: {}", p.learning_rate)?;
    writeln!(card, "- train_batch_size: {}", p.per_device_train_batch_size)?;
    writeln!(card, "- eval_batch_size: {}", p.per_device_eval_batch_size)?;
    writeln!(card, "- seed: {}", p.seed)?;
    if p.gradient_accumulation_steps > 1 {
        writeln!(card, "- gradient_accumulation_steps: {}", p.gradient_accumulation_steps)?;
        writeln!(card, "- total_train_batch_size: {}", p.samples_per_update())?;
    }
    writeln!(
        card,
        "- optimizer: {} with betas=({},{}) and epsilon={:e}",
        p.optim, p.adam_beta1, p.adam_beta2, p.adam_epsilon
    )?;
    writeln!(card, "- lr_scheduler_type: {}", p.lr_scheduler_type)?;
    if warmup_steps > 0 {
        writeln!(card, "- lr_scheduler_warmup_steps: {}", warmup_steps)?;
    }
    match p.max_steps_set() {
        Some(steps) => writeln!(card, "- training_steps: {steps}")?,
        None => writeln!(card, "- num_epochs: {}", p.num_train_epochs)?,
    }
    if p.finetuning_type == FinetuningType::Lora {
        writeln!(
            card,
            "- lora: rank {}, alpha {}, dropout {}, on {}",
            p.lora_rank,
            p.effective_lora_alpha(),
            p.lora_dropout,
            p.lora_target.join(", ")
        )?;
    }
    Ok(())
}

/// One row for each evaluation, with the training loss logged last before it; nothing without evaluations.
pub(super) fn write_results(card: &mut String, log_history: &[LogEntry]) -> std::fmt::Result {
    if log_history.iter().all(|entry| entry.eval_loss.is_none()) {
        return Ok(());
    }
    writeln!(
        card,
        "| Training Loss | Epoch | Step | Validation Loss |\n|:-------------:|:-----:|:----:|:---------------:|"
    )?;
    let mut training = String::from("No log");
    for entry in log_history {
        if let Some(loss) = entry.loss {
            training = format!("{loss:.4}");
        }
        if let Some(eval) = entry.eval_loss {
            writeln!(card, "| {training} | {:.4} | {} | {eval:.4} |", entry.epoch.unwrap_or_default(), entry.step)?;
        }
    }
    Ok(())
}

/// Text that Markdown shall not read as markup.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' | '|') {
            escaped.push('\\');
        }
        escaped.push(if c.is_control() { ' ' } else { c });
    }
    escaped
}

/// Writes the card into a folder: the run's, or a checkpoint's.
pub fn write(folder: &std::path::Path, dir: &RunDir, p: &Profile, facts: Facts<'_>) -> io::Result<()> {
    crate::fs::write_atomic(&folder.join("README.md"), render(&dir.name(), p, facts).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            model_name_or_path: Some("models/Qwen2-VL".into()),
            dataset: vec!["mllm_med".into()],
            gradient_accumulation_steps: 8,
            ..Profile::default()
        }
    }

    #[test]
    fn the_card_names_base_model_data_and_hyperparameters() {
        let history = [
            LogEntry { step: 5, loss: Some(2.0), epoch: Some(0.5), ..LogEntry::default() },
            LogEntry { step: 5, eval_loss: Some(1.75), epoch: Some(0.5), ..LogEntry::default() },
        ];
        let versions = ["Lightbox 0.1.0".to_owned()];
        let card = render("saves-1", &profile(), Facts { log_history: &history, warmup_steps: 3, versions: &versions });
        for line in [
            "library_name: peft",
            "base_model: \"models/Qwen2-VL\"",
            "# saves-1",
            "- total_train_batch_size: 64",
            "- lr_scheduler_warmup_steps: 3",
            "- lora: rank 8, alpha 16, dropout 0, on all",
            "| 2.0000 | 0.5000 | 5 | 1.7500 |",
            "- Lightbox 0.1.0",
        ] {
            assert!(card.lines().any(|l| l == line), "no line {line:?} in\n{card}");
        }
        let front = card.split("---").nth(1).unwrap();
        let front: serde_yaml::Value = serde_yaml::from_str(front).unwrap();
        assert_eq!(front["tags"][0], "base_model:adapter:models/Qwen2-VL");
        let cached = "/home/me/hub/models--Qwen--Qwen2-VL-2B-Instruct/snapshots/895c3a49";
        let profile = Profile { model_name_or_path: Some(cached.into()), ..profile() };
        let card = render("saves-1", &profile, Facts { log_history: &history, warmup_steps: 3, versions: &versions });
        assert!(card.contains("base_model: \"Qwen/Qwen2-VL-2B-Instruct\"") && !card.contains("/home/me"), "{card}");
    }

    #[test]
    fn hostile_names_stay_text() {
        let p = Profile { model_name_or_path: Some("a\"b: [x](y)\u{1b}[2J".into()), ..profile() };
        let card = render("run\n# x", &p, Facts { log_history: &[], warmup_steps: 0, versions: &[] });
        let front: serde_yaml::Value = serde_yaml::from_str(card.split("---").nth(1).unwrap()).unwrap();
        assert_eq!(front["base_model"], "a\"b: [x](y)\u{1b}[2J");
        assert!(card.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
