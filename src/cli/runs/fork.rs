//! `lightbox runs fork`: a new run that goes on from a checkpoint of another, with other settings.

use super::{Run, resume};
use crate::launch;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::fs;
use lightbox_core::profile::Profile;
use lightbox_core::runs::checkpoints::{self, Checkpoint, Manifest};
use lightbox_core::runs::info::{Parent, RunInfo};
use lightbox_core::runs::say::say;
use lightbox_core::runs::state::{RunState, Status};
use lightbox_core::runs::{RunDir, registry};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct ForkArgs {
    #[command(flatten)]
    run: Run,
    /// Keys over those of its profile
    #[arg(value_name = "key=value")]
    overrides: Vec<String>,
    /// Go on from this checkpoint [default: the newest that is whole]
    #[arg(long, value_name = "STEP")]
    checkpoint: Option<u64>,
    /// Name of the new run [default: its folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of the new run; may not be there yet [default: NAME-fork-K beside the old one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Start it, detached
    #[arg(long)]
    start: bool,
    /// The new run as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Forked {
    run: String,
    name: String,
    dir: String,
    checkpoint: String,
    /// Its worker's, if it was started.
    pid: Option<u32>,
}

pub fn run(args: &ForkArgs) -> Result<Exit> {
    let parent = args.run.find()?;
    let parent = RunDir::open(std::path::absolute(parent.path())?)?;
    let checkpoint = choose(&parent, args.checkpoint).because(Exit::Config)?;
    let manifest = checkpoints::manifest(&checkpoint.path).because(Exit::Disk)?;
    let manifest = manifest.with_context(|| {
        format!(
            "{} has no manifest: another program wrote it. Start a new run with resume_from_checkpoint={0} instead",
            checkpoint.path.display()
        )
    });
    let manifest = manifest.because(Exit::Config)?;
    let mut profile = Profile::load(&parent.join(RunDir::PROFILE), &args.overrides).because(Exit::Config)?;
    let path = std::path::absolute(args.dir.clone().unwrap_or_else(|| beside(&parent)))?;
    if path.exists() {
        return Err(anyhow!("{} is there already; choose another --dir", path.display())).because(Exit::Config);
    }
    let run = RunDir::create(&path).because(Exit::Disk)?;
    profile.output_dir = path;
    profile.overwrite_output_dir = false;
    profile.resume_from_checkpoint = None;
    let made = fill(&run, &parent, &profile, &checkpoint, &manifest, args.name.as_deref());
    let info = match made {
        Ok(info) => info,
        Err(error) => {
            // A new folder that nobody has used yet.
            let _ = fs::remove_dir_all(run.path());
            return Err(error).because(Exit::Disk);
        }
    };
    if let Err(e) = registry::remember(&run) {
        say(&format!("note: {e}; `lightbox runs list` will find this run only from its folder"));
    }
    let cwd = resume::cwd_of(&parent);
    let pid = match args.start {
        true => Some(resume::in_folder(cwd.as_deref(), || launch::start_detached(&run))?.pid),
        false => None,
    };
    let dir = run.path().display().to_string();
    let next = if args.start { "attach" } else { "resume" };
    let text = format!("{} begins at {}; `lightbox runs {next} {dir}`", info.name, checkpoint.name());
    super::answer(
        args.json,
        &Forked { run: info.id, name: info.name, dir, checkpoint: checkpoint.name(), pid },
        &text,
    )?;
    Ok(Exit::Finished)
}

/// The one asked for, if it is whole, or the newest that is.
fn choose(parent: &RunDir, step: Option<u64>) -> Result<Checkpoint> {
    let Some(step) = step else {
        let (newest, why) = checkpoints::newest_complete(parent)?;
        let why = if why.is_empty() { "it has none".to_owned() } else { why.join("; ") };
        return newest.with_context(|| format!("no checkpoint to go on from: {why}"));
    };
    let all = checkpoints::list(parent)?;
    let known: Vec<u64> = all.iter().map(|c| c.step).collect();
    let found = all.into_iter().find(|c| c.step == step);
    let found = found.with_context(|| format!("there is no checkpoint-{step}; there are {known:?}"))?;
    found.check().map_err(anyhow::Error::msg)?;
    Ok(found)
}

/// `NAME-fork-K` with the first free K.
fn beside(parent: &RunDir) -> PathBuf {
    let path = |k: u32| parent.path().with_file_name(format!("{}-fork-{k}", parent.name()));
    (1..).map(path).find(|path| !path.exists()).unwrap_or_else(|| path(0))
}

fn fill(
    run: &RunDir,
    parent: &RunDir,
    profile: &Profile,
    from: &Checkpoint,
    manifest: &Manifest,
    name: Option<&str>,
) -> Result<RunInfo> {
    fs::write_atomic(&run.join(RunDir::PROFILE), profile.to_yaml().as_bytes())?;
    checkpoints::commit(run, manifest.about.clone(), |folder| {
        manifest.files.keys().try_for_each(|name| share(&from.path.join(name), &folder.join(name)))
    })?;
    // Relative paths of the profile begin where the parent's did.
    if let Some(cwd) = resume::cwd_of(parent) {
        let env = serde_json::json!({"v": 1, "cwd": cwd});
        fs::write_atomic(&run.join(RunDir::ENV), format!("{env:#}\n").as_bytes())?;
    }
    let before = RunState::read(parent).unwrap_or_default();
    RunState::change(run, |state| {
        (state.state, state.step, state.total_steps) = (Status::Created, from.step, before.total_steps);
        state.checkpoint = Some(from.name());
    })?;
    let parents = RunInfo::read(parent).map_or_else(|_| parent.name(), |info| info.id);
    RunInfo::ensure(run, Some(name.unwrap_or(&run.name())))?;
    Ok(RunInfo::change(run, |info| {
        let dir = parent.path().display().to_string();
        info.parent = Some(Parent { run: parents, dir, checkpoint: from.name() });
    })?)
}

/// The same file under a second name where the file system can do that, so that a fork costs no space: nothing in a
/// checkpoint is ever changed in place, and deleting one run's name leaves the other's. Else a copy.
fn share(from: &Path, to: &Path) -> Result<()> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    Ok(fs::copy(from, to)?)
}
