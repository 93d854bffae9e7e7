//! `lightbox runs rm`. Deletes only what is surely a run's: the folder has `run.json` or `state.json`, is no link, no
//! worker has it (the run's lock is held meanwhile, so none can come), and whatever else lies in it has to be allowed by
//! name. The folder is renamed first, so that one that is half deleted is not taken for a run.

use super::{Run, facts, words};
use crate::cli::ask::confirmed;
use anyhow::{Result, anyhow};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fs;
use lightbox_core::runs::queue::Home;
use lightbox_core::runs::{RunDir, checkpoints, drive, registry};
use lightbox_core::safe_text::clean_line;
use std::path::{Path, PathBuf};

/// Files and folders of a run, ours and those that LLaMA-Factory and the HF Trainer leave. A `*` at the end stands for
/// anything.
const OWN: [&str; 53] = [
    ".lock*",
    ".partial-*",
    ".run.json.lock",
    ".tmp-*",
    ".trash-*",
    "LATEST",
    "LICENSE",
    "NOTICE",
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "added_tokens.json",
    "all_results.json",
    "chat_template*",
    "checkpoint-*",
    "commands",
    "config.json",
    "crash",
    "edits.json",
    "env.json",
    "eval_results.json",
    "events.jsonl*",
    "generated_predictions.jsonl*",
    "generation_config.json",
    "heartbeat",
    "merges.txt",
    "metrics.jsonl*",
    "model*.safetensors",
    "model.safetensors*",
    "model-0*",
    "pins.json",
    "predict_results.json",
    "preprocessor_config.json",
    "processor_config.json",
    "profile.*",
    "quarantine",
    "run.json",
    "run.lock",
    "runs",
    "samples",
    "special_tokens_map.json",
    "state.json",
    "system.jsonl*",
    "tokenizer*",
    "train_results.json",
    "trainer_log.jsonl",
    "trainer_state.json",
    "training_args.*",
    "training_eval_loss.png",
    "training_loss.png",
    "video_preprocessor_config.json",
    "vocab.json",
    "worker.*",
];

#[derive(Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    run: Run,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Also what is not a run's, and with --checkpoints-only also pinned checkpoints
    #[arg(long)]
    force: bool,
    /// Only the checkpoints; logs, curves and the final adapter stay
    #[arg(long)]
    checkpoints_only: bool,
    /// What was deleted as a JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &RemoveArgs) -> Result<Exit> {
    let run = args.run.find()?;
    let shown = run.path().display().to_string();
    if !registry::is_run(run.path()) || run.path().symlink_metadata().because(Exit::Disk)?.is_symlink() {
        let error = anyhow!("{shown} is a link, or has neither run.json nor state.json: it is not deleted");
        return Err(error).because(Exit::Config);
    }
    let _claim = drive::lock(&run)?;
    let (victims, what) = if args.checkpoints_only {
        let victims = unpinned(&run, args.force)?;
        let what = format!("{} checkpoints of {shown}", victims.len());
        (victims, what)
    } else {
        let foreign = foreign(run.path()).because(Exit::Disk)?;
        if !foreign.is_empty() && !args.force {
            let names = clean_line(&foreign.join(", "), 400);
            let error =
                anyhow!("{shown} holds what is not a run's: {names}. Move it away, or delete it too with --force");
            return Err(error).because(Exit::Config);
        }
        (vec![run.path().to_owned()], shown.clone())
    };
    let bytes: u64 = victims.iter().map(|path| facts::bytes(path)).sum();
    if !args.yes && !confirmed(&format!("Delete {what} ({})?", words::size(bytes)))? {
        return Ok(Exit::Failed);
    }
    if !args.checkpoints_only {
        forget_in_queue(&run)?;
    }
    for path in &victims {
        delete(path).because(Exit::Disk)?;
    }
    let object = serde_json::json!({"deleted": victims, "bytes": bytes});
    super::answer(args.json, &object, &format!("deleted {what}, {}", words::size(bytes)))?;
    Ok(Exit::Finished)
}

fn unpinned(run: &RunDir, force: bool) -> Result<Vec<PathBuf>> {
    let pins = checkpoints::pins(run).because(Exit::Disk)?;
    let all = checkpoints::list(run).because(Exit::Disk)?;
    Ok(all.into_iter().filter(|c| force || !pins.contains_key(&c.step)).map(|c| c.path).collect())
}

/// What lies in the folder and is not known to be a run's.
pub fn foreign(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is = |own: &&str| {
            own.split_once('*').map_or(name == **own, |(start, end)| name.starts_with(start) && name.ends_with(end))
        };
        if !OWN.iter().any(is) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn forget_in_queue(run: &RunDir) -> Result<()> {
    let Ok(home) = Home::find() else { return Ok(()) };
    let path = std::path::absolute(run.path())?;
    if home.read()?.items.iter().any(|item| item.dir == path) {
        home.change(|queue| {
            queue.items.retain(|item| item.dir != path);
            Ok(())
        })?;
    }
    Ok(())
}

/// Links in it are removed, not followed.
fn delete(path: &Path) -> std::io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut trash = path.with_file_name(format!(".trash-{name}"));
    for n in 2.. {
        if !trash.exists() {
            break;
        }
        trash = path.with_file_name(format!(".trash-{name}-{n}"));
    }
    fs::rename(path, &trash)?;
    fs::remove_dir_all(&trash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_run_leaves_is_foreign() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["run.json", "checkpoint-5", "worker.log.2", "model-00001-of-00002.safetensors", "profile.1.yaml"] {
            std::fs::write(temp.path().join(name), "").unwrap();
        }
        assert!(foreign(temp.path()).unwrap().is_empty());
        std::fs::write(temp.path().join("thesis.tex"), "").unwrap();
        std::fs::create_dir(temp.path().join("photos")).unwrap();
        assert_eq!(foreign(temp.path()).unwrap(), ["photos", "thesis.tex"]);
    }

    #[test]
    fn deleting_does_not_follow_links() {
        let temp = tempfile::tempdir().unwrap();
        let (run, other) = (temp.path().join("run"), temp.path().join("other"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(temp.path().join(".trash-run")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join("keep"), "").unwrap();
        std::os::unix::fs::symlink(&other, run.join("checkpoint-5")).unwrap();
        delete(&run).unwrap();
        assert!(!run.exists() && other.join("keep").exists());
    }
}
