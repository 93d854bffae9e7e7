//! `lightbox runs resume`: wakes a paused run, or starts one that has ended from its newest checkpoint.

use super::control::{self, Waiting};
use super::{Run, words};
use crate::cli::train;
use crate::launch::{self, Started};
use anyhow::{Result, anyhow};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::commands::Command;
use lightbox_core::runs::state::Status;
use lightbox_core::runs::view::RunView;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    run: Run,
    /// Keys over those of its profile, e.g. max_steps=2000; not for a paused run
    #[arg(value_name = "key=value")]
    overrides: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
}

pub fn run(args: &ResumeArgs) -> Result<Exit> {
    let run = args.run.find()?;
    let view = RunView::open_lenient(&run);
    if !view.is_alive() {
        let started = start(&run, &args.overrides)?;
        let text = format!(
            "{} goes on in {}, pid {}; `lightbox runs attach` watches it",
            view.info.name, started.dir, started.pid
        );
        super::answer(args.waiting.json, &started, &text)?;
        return Ok(Exit::Finished);
    }
    if view.state != Status::Paused {
        let error = anyhow!("{} is {} already", view.info.name, words::status(view.state));
        return Err(error).because(Exit::Locked);
    }
    if !args.overrides.is_empty() {
        let error =
            anyhow!("a paused run keeps its profile; `lightbox runs set` changes some settings, or stop it first");
        return Err(error).because(Exit::Config);
    }
    control::say_answer(&args.waiting, &[control::ask(&run, Command::Resume, &args.waiting)?], "it goes on")
}

/// Starts a run without a worker, where it was started before: relative paths in its profile begin there.
pub fn start(run: &RunDir, overrides: &[String]) -> Result<Started> {
    let run = RunDir::open(std::path::absolute(run.path())?)?;
    let from = cwd_of(&run);
    in_folder(from.as_deref(), || {
        train::prepare(None, Some(run.path()), overrides, false)?;
        launch::start_detached(&run)
    })
}

/// Where the newest attempt was started.
pub fn cwd_of(run: &RunDir) -> Option<PathBuf> {
    let env: serde_json::Value = serde_json::from_slice(&std::fs::read(run.join(RunDir::ENV)).ok()?).ok()?;
    Some(PathBuf::from(env.get("cwd")?.as_str()?))
}

/// Does something in another folder, if that is still there. A process has one current folder: only while no other thread
/// runs.
pub fn in_folder<T>(folder: Option<&Path>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let here = std::env::current_dir();
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        std::env::set_current_dir(folder)?;
    }
    let result = act();
    if let Ok(here) = here {
        std::env::set_current_dir(here)?;
    }
    result
}
