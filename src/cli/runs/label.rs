//! What people say about runs: names, tags, notes, archived or not, pinned checkpoints.

use super::list::every_run;
use super::{Run, find};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::{RunDir, checkpoints};

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    run: Run,
    /// Print the run's identity as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct RenameArgs {
    #[command(flatten)]
    run: Run,
    #[arg(value_name = "NAME")]
    name: String,
    /// Print the run's identity as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct TagArgs {
    /// RUN, then +TAG to add, -TAG to take away; TAG alone is added, too. Without tags: print them
    #[arg(value_name = "RUN [+|-]TAG", allow_hyphen_values = true, required_unless_present = "rename")]
    words: Vec<String>,
    /// In all runs, call the first tag the second
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with = "words")]
    rename: Option<Vec<String>>,
    /// Print the run's identity as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct NoteArgs {
    #[command(flatten)]
    run: Run,
    /// Takes the place of what was there; empty: no note
    #[arg(value_name = "TEXT")]
    text: String,
    /// Put it behind what is there
    #[arg(long)]
    append: bool,
    /// Print the run's identity as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct PinArgs {
    #[command(flatten)]
    run: Run,
    /// The checkpoint's
    #[arg(value_name = "STEP")]
    step: u64,
    /// Words to know it by
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Print the run's pins as a JSON object
    #[arg(long)]
    json: bool,
}

pub fn rename(args: &RenameArgs) -> Result<Exit> {
    if args.name.trim().is_empty() {
        return Err(anyhow!("a run needs a name")).because(Exit::Config);
    }
    let info = change(&args.run.find()?, |info| info.name = args.name.clone())?;
    said(args.json, &info, format!("{} is called {} now", info.id, info.name))
}

pub fn note(args: &NoteArgs) -> Result<Exit> {
    let info = change(&args.run.find()?, |info| {
        info.notes = match args.append && !info.notes.is_empty() {
            true => format!("{}\n{}", info.notes, args.text),
            false => args.text.clone(),
        }
    })?;
    said(args.json, &info, format!("noted with {}", info.name))
}

pub fn archive(args: &RunArgs, archived: bool) -> Result<Exit> {
    let info = change(&args.run.find()?, |info| info.archived = archived)?;
    let text = match archived {
        true => format!("{} is archived; `lightbox runs list --archived` shows it", info.name),
        false => format!("{} is in the list again", info.name),
    };
    said(args.json, &info, text)
}

pub fn tag(args: &TagArgs) -> Result<Exit> {
    if let Some([old, new]) = args.rename.as_deref() {
        return rename_tag(args.json, old, new);
    }
    let Some((word, tags)) = args.words.split_first() else { bail!("no run is named") };
    let run = find(word)?;
    let info = change(&run, |info| {
        for word in tags {
            match word.strip_prefix('-') {
                Some(tag) => info.tags.retain(|old| old != tag),
                None => info.tags.push(word.trim_start_matches('+').to_owned()),
            }
        }
    })?;
    said(
        args.json,
        &info,
        format!("{}: {}", info.name, if info.tags.is_empty() { "no tags".into() } else { info.tags.join(" ") }),
    )
}

/// A run that cannot be changed does not keep the others from it; it is named.
fn rename_tag(json: bool, old: &str, new: &str) -> Result<Exit> {
    let mut renamed = Vec::new();
    let mut failed = Vec::new();
    for run in every_run()? {
        let Ok(info) = RunInfo::read(&run) else { continue };
        if !info.tags.iter().any(|tag| tag == old) {
            continue;
        }
        let rename =
            |info: &mut RunInfo| info.tags.iter_mut().filter(|tag| *tag == old).for_each(|tag| *tag = new.to_owned());
        match RunInfo::change(&run, rename) {
            Ok(info) => renamed.push(info.name),
            Err(e) => failed.push(format!("{}: {e}", info.name)),
        }
    }
    let text = format!("{old} is called {new} now in {} runs", renamed.len());
    super::answer(json, &serde_json::json!({"renamed": renamed, "failed": failed}), &text)?;
    if failed.is_empty() {
        Ok(Exit::Finished)
    } else {
        Err(anyhow!("not changed: {}", failed.join("; "))).because(Exit::Disk)
    }
}

pub fn pin(args: &PinArgs, pinned: bool) -> Result<Exit> {
    let run = args.run.find()?;
    let known: Vec<u64> = checkpoints::list(&run).because(Exit::Disk)?.iter().map(|c| c.step).collect();
    if pinned && !known.contains(&args.step) {
        let error = anyhow!("there is no checkpoint-{} in {}; there are {known:?}", args.step, run.path().display());
        return Err(error).because(Exit::Config);
    }
    checkpoints::pin(&run, args.step, args.label.as_deref(), pinned).because(Exit::Disk)?;
    let text = match pinned {
        true => format!("checkpoint-{} stays, whatever save_total_limit says", args.step),
        false => format!("checkpoint-{} goes when save_total_limit says so", args.step),
    };
    super::answer(args.json, &serde_json::json!({"pins": checkpoints::pins(&run).because(Exit::Disk)?}), &text)?;
    Ok(Exit::Finished)
}

/// Changes `run.json`; a folder of another program (or an older version) gets one first.
fn change(run: &RunDir, change: impl FnOnce(&mut RunInfo)) -> Result<RunInfo> {
    RunInfo::ensure(run, None).and_then(|_| RunInfo::change(run, change)).because(Exit::Disk)
}

fn said(json: bool, info: &RunInfo, text: String) -> Result<Exit> {
    super::answer(json, info, &text)?;
    Ok(Exit::Finished)
}
