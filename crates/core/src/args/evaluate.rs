//! Options of `predict`, `evaluate` and `report`: answers for a whole data set, and what they are worth.

use super::{DataArgs, GenerateArgs, ModelArgs, ResolvedModel};
use crate::evaluate::predictions;
use crate::text::Lang;
use clap::Args;
use std::path::{Path, PathBuf};

/// `lightbox predict`
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub generate: GenerateArgs,
    /// Folder for generated_predictions.jsonl and predict_results.json [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Write the answers here instead, one JSON object a line: prompt, predict, label, index, images, loss_sum,
    /// n_target_tokens. Without --output-dir the results then lie beside it (a.jsonl: a.results.json)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Count which class an answer names: a YAML file of groups, classes and their words
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    #[command(flatten)]
    pub work: WorkArgs,
}

/// How a data set is gone through.
#[derive(Debug, Clone, Args)]
pub struct WorkArgs {
    /// Questions answered at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub batch_size: usize,
    /// Leave out the loss of the labels
    #[arg(long)]
    pub no_loss: bool,
    /// Begin anew: what an interrupted or finished run of the same settings left is not used
    #[arg(long)]
    pub fresh: bool,
    /// One JSON object a line: progress (done, total, seconds), then done
    #[arg(long)]
    pub json: bool,
}

pub(super) fn positive(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|n| *n > 0).ok_or_else(|| "a whole number above 0".to_owned())
}

impl PredictArgs {
    /// The file of answers.
    pub fn answers_file(&self) -> PathBuf {
        let dir = self.output_dir.as_deref().unwrap_or(Path::new(""));
        self.output.clone().unwrap_or_else(|| dir.join(predictions::FILE))
    }

    /// The file of results.
    pub fn results_file(&self) -> PathBuf {
        match (&self.output_dir, &self.output) {
            (None, Some(output)) => output.with_extension("results.json"),
            (dir, _) => dir.as_deref().unwrap_or(Path::new("")).join("predict_results.json"),
        }
    }
}

/// `lightbox evaluate`
#[derive(Debug, Clone, Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub generate: GenerateArgs,
    /// Compare with the base model alone, too (this is the default)
    #[arg(long, overrides_with = "no_base")]
    pub base: bool,
    /// Only the adapters; the first is what the others are compared with
    #[arg(long)]
    pub no_base: bool,
    /// Folder for the answers of each model and the report
    #[arg(long, value_name = "DIR", default_value = "evaluation")]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub report: ReportOptions,
}

/// A model of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// As the report calls it; also the name of its file, without `.jsonl`.
    pub name: String,
    /// `None`: the base model alone.
    pub adapter: Option<PathBuf>,
}

impl Variant {
    pub fn file(&self, output_dir: &Path) -> PathBuf {
        output_dir.join(format!("{}.jsonl", crate::fs::safe_file_name(&self.name)))
    }
}

impl ResolvedModel {
    /// Variants of the same options, with the folders of their adapters.
    pub fn placed(&self, variants: Vec<Variant>) -> Vec<Variant> {
        let mut folders = self.adapters.iter().cloned();
        let placed = |v: Variant| Variant { adapter: v.adapter.and_then(|_| folders.next()), ..v };
        variants.into_iter().map(placed).collect()
    }
}

impl EvaluateArgs {
    /// # Errors
    /// As [`variants`].
    pub fn variants(&self) -> anyhow::Result<Vec<Variant>> {
        variants(!self.no_base || self.base, &self.model.adapter)
    }
}

/// The base model, if wanted, then each adapter, named by as much of its path as tells them apart.
///
/// # Errors
/// Nothing is left; an adapter that is named twice.
pub(super) fn variants(base: bool, adapters: &[PathBuf]) -> anyhow::Result<Vec<Variant>> {
    let mut variants = Vec::new();
    if base {
        variants.push(Variant { name: "base".into(), adapter: None });
    }
    for (i, adapter) in adapters.iter().enumerate() {
        if adapters[..i].contains(adapter) {
            anyhow::bail!("--adapter {} is there twice", adapter.display());
        }
        variants.push(Variant { name: own_name(i, adapters), adapter: Some(adapter.clone()) });
    }
    anyhow::ensure!(!variants.is_empty(), "--no-base without an --adapter leaves nothing to evaluate");
    Ok(variants)
}

/// The last folders of path `i`, as few as no other path ends with.
fn own_name(i: usize, paths: &[PathBuf]) -> String {
    let ending = |path: &Path, n: usize| {
        let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        parts[parts.len().saturating_sub(n)..].join("-")
    };
    let longest = paths[i].components().count();
    let is_own = |n: &usize| {
        let name = ending(&paths[i], *n);
        name != "base" && (0..paths.len()).all(|j| j == i || ending(&paths[j], *n) != name)
    };
    (1..=longest).find(is_own).map_or_else(|| format!("{}-{i}", ending(&paths[i], longest)), |n| ending(&paths[i], n))
}

/// What a report shows.
#[derive(Debug, Clone, Args)]
pub struct ReportOptions {
    /// Count which class an answer names: a YAML file of groups, classes and their words
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Samples shown side by side; those that changed most are always among them. The measures count all
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub show: usize,
    /// Seed of the confidence intervals
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub bootstrap_seed: u64,
    /// Language of report.html and report.md; report.json is for programs [default: the workbench's settings', else the
    /// locale's]
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
}

/// `lightbox report`
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Files of `lightbox predict` or of LLaMA-Factory (generated_predictions.jsonl); the others are compared with the
    /// first. NAME=FILE gives a model its name
    #[arg(value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<String>,
    /// Folder for report.html, report.md with its pictures, and report.json
    #[arg(long, value_name = "DIR", default_value = "report")]
    pub output_dir: PathBuf,
    #[command(flatten)]
    pub report: ReportOptions,
    /// The measures as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_named_by_what_tells_them_apart() {
        let names = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            (0..paths.len()).map(|i| own_name(i, &paths)).collect::<Vec<_>>()
        };
        assert_eq!(names(&["runs/a", "runs/b/"]), ["a", "b"]);
        assert_eq!(names(&["a/checkpoint-5", "b/checkpoint-5", "c"]), ["a-checkpoint-5", "b-checkpoint-5", "c"]);
        assert_eq!(names(&["my/base"]), ["my-base"]);
        assert_eq!(names(&["base"]), ["base-0"]);
    }
}
