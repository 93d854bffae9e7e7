//! `lightbox train`: makes the run's folder ready, starts the run so that nothing here can end it ([`crate::launch`]), and
//! watches it ([`super::watch`]).

use super::{fetch, watch};
use crate::launch::{self, Started};
use anyhow::{Context, Result, bail};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::{Origin, Profile};
use lightbox_core::runs::drive::resume::ACCEPT_CHANGES;
use lightbox_core::runs::edits::Edits;
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::lock::WorkerInfo;
use lightbox_core::runs::say::say;
use lightbox_core::runs::{RunDir, drive, registry};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `lightbox train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Profile: a LLaMA-Factory YAML file
    #[arg(required_unless_present = "resume", value_name = "PROFILE.yaml")]
    profile: Option<PathBuf>,
    /// Keys over those of the profile, e.g. learning_rate=1e-4
    #[arg(value_name = "key=value")]
    overrides: Vec<String>,
    /// Go on with the run in this folder, from its newest checkpoint
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Go on although the data or the base model are not those of the checkpoint
    #[arg(long)]
    accept_changes: bool,
    /// Load what the profile names of a Hub and is not on this machine, without asking
    #[arg(long, short)]
    yes: bool,
    /// Return as soon as the run is up, and print its id, folder and pid
    #[arg(long, conflicts_with = "foreground")]
    detach: bool,
    /// Print id, folder and pid as a line of JSON
    #[arg(long, conflicts_with = "foreground")]
    json: bool,
    /// Run in this terminal and end with it (with a checkpoint), rather than detached
    #[arg(long)]
    foreground: bool,
}

/// A training, until it ends or is left alone.
pub fn train(args: &TrainArgs) -> Result<ExitCode> {
    let (run, info) = prepare(args.profile.as_deref(), args.resume.as_deref(), &args.overrides, args.yes)?;
    if args.accept_changes {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(ACCEPT_CHANGES, "1") };
    }
    if args.foreground {
        return launch::in_foreground(&run);
    }
    if args.detach {
        let started = launch::start_detached(&run)?;
        print(&started, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    watch::from_the_start(&run, &info.name, |supervisor| match args.json {
        true => print(&launch::until_up(&run, supervisor)?, true),
        false => Ok(()),
    })
}

/// Which run it is, on stdout.
fn print(started: &Started, json: bool) -> Result<()> {
    let line = match json {
        true => serde_json::to_string(started)?,
        false => format!("{} runs in {}, pid {}", started.run, started.dir, started.pid),
    };
    writeln!(std::io::stdout(), "{line}").context("printing the run")
}

/// The folder with all that a worker needs, and who the run is: a new run as `profile` says, or that in the folder
/// `resume` again. What the profile names of a Hub and is not here is asked about and loaded; with `yes` it is not asked.
///
/// # Errors
/// The profile does not fit, something that it names is not here, another worker holds the run (nothing was touched then), or the folder cannot be written.
pub fn prepare(
    profile: Option<&Path>,
    resume: Option<&Path>,
    overrides: &[String],
    yes: bool,
) -> Result<(RunDir, RunInfo)> {
    let mut overrides = overrides.to_vec();
    let path = match (resume, profile) {
        (Some(run), given) => {
            // With --resume the first word is an override, not a profile.
            overrides.splice(0..0, given.iter().map(|p| p.to_string_lossy().into_owned()));
            run.join(RunDir::PROFILE)
        }
        (None, Some(profile)) => profile.to_owned(),
        (None, None) => bail!("no profile"),
    };
    let mut profile = Profile::load(&path, &overrides).because(Exit::Config)?;
    if let Some(run) = resume {
        profile.output_dir = run.to_owned();
        profile.overwrite_output_dir = false;
    }
    if !profile.do_train && !matches!(profile.origin("do_train"), Origin::Default) {
        bail!("{}: do_train is false, so there is nothing to train; remove the key or set it to true", path.display());
    }
    fetch::ensure(&profile, yes)?;
    let source = resume.is_none().then_some(path.as_path());
    // Read before anything is written: the source may be one of the files that will be.
    let source = source.map(|path| std::fs::read(path).with_context(|| path.display().to_string())).transpose()?;
    // What is set now counts more than what was changed in an earlier attempt.
    let set: Vec<&str> = overrides.iter().filter_map(|word| word.split_once('=').map(|(key, _)| key)).collect();
    let ready = make_ready(&profile, source.as_deref(), &set)?;
    ready.note.iter().for_each(|note| say(&format!("note: {note}")));
    Ok((ready.run, ready.info))
}

/// A run that can be started.
#[derive(Debug)]
pub struct Ready {
    pub run: RunDir,
    pub info: RunInfo,
    /// What the user should know, although nothing is wrong with the run.
    pub note: Option<String>,
}

/// The folder of a run with all that a worker needs. `source` is the profile as its user wrote it; `set` are the keys that
/// were set over it.
///
/// # Errors
/// Another worker holds the run (nothing was touched then), or the folder cannot be written.
pub fn make_ready(profile: &Profile, source: Option<&[u8]>, set: &[&str]) -> Result<Ready> {
    let run = RunDir::create(&profile.output_dir).because(Exit::Disk)?;
    let _claim = drive::lock(&run)?;
    let write = || {
        Edits::forget(&run, set)?;
        write_profile(&run, profile, source)?;
        Ok::<_, anyhow::Error>(RunInfo::ensure(&run, profile.run_name.as_deref())?)
    };
    let info = write().with_context(|| run.path().display().to_string()).because(Exit::Disk)?;
    let note = registry::remember(&run)
        .err()
        .map(|e| format!("{e}; `lightbox runs list` will find this run only from its folder"));
    Ok(Ready { run, info, note })
}

/// `profile.yaml` as it was resolved, and `profile.src.yaml` as it was written. What an earlier attempt was made with stays
/// as `profile.N.yaml`, N being the attempt.
fn write_profile(run: &RunDir, profile: &Profile, source: Option<&[u8]>) -> Result<()> {
    let file = run.join(RunDir::PROFILE);
    let resolved = profile.to_yaml().into_bytes();
    if let Ok(old) = std::fs::read(&file)
        && old != resolved
    {
        let attempt = WorkerInfo::read(run).map_or(1, |worker| worker.attempt.max(1));
        let name = |n: u32| run.join(&format!("profile.{n}.yaml"));
        // Attempts that ended before their worker was up have no number of their own.
        let free = (attempt..).map(name).find(|path| !path.exists());
        if let Some(path) = free {
            lightbox_core::fs::write_atomic(&path, &old)?;
        }
    }
    lightbox_core::fs::write_atomic(&file, &resolved)?;
    if let Some(source) = source {
        lightbox_core::fs::write_atomic(&run.join(RunDir::PROFILE_SOURCE), source)?;
    }
    Ok(())
}
