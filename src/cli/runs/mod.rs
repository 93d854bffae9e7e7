//! `lightbox runs …`: every run of this user, wherever its folder lies. All that is shown is read from the run's folder,
//! and all that a run is told goes through its drop-box, so any machine that sees the folder can do it.

mod compare;
pub mod control;
pub mod facts;
mod fork;
mod label;
mod list;
mod logs;
mod queue;
pub mod remove;
pub mod resume;
mod show;
pub mod words;

use super::watch;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::say::say;
use lightbox_core::runs::{RunDir, queue as core_queue, registry};
use lightbox_core::safe_text::clean;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: RunsCommand,
}

#[derive(Subcommand)]
enum RunsCommand {
    /// All runs
    List(list::ListArgs),
    /// Everything about one run
    Show(show::ShowArgs),
    /// Watch a run; leaving it does not end it
    Attach(AttachArgs),
    /// What a run printed, did or measured
    Logs(logs::LogsArgs),
    /// Wait after the update that is being made; weights stay on the device
    Pause(control::PauseArgs),
    /// Go on: with a paused run, or from the newest checkpoint of one that ended
    Resume(resume::ResumeArgs),
    /// End a run, with a checkpoint
    Stop(control::StopArgs),
    /// Write a checkpoint now
    Checkpoint(control::CheckpointArgs),
    /// Evaluate now
    Evaluate(control::EvaluateArgs),
    /// Let the model answer with its present weights
    Sample(control::SampleArgs),
    /// Change settings of a run while it goes on
    Set(control::SetArgs),
    /// Give a run another name; its folder keeps its own
    Rename(label::RenameArgs),
    /// Add and take away tags
    Tag(label::TagArgs),
    /// Write a note to a run
    Note(label::NoteArgs),
    /// Hide a run from the list
    Archive(label::RunArgs),
    /// Show it there again
    Unarchive(label::RunArgs),
    /// Keep a checkpoint, whatever save_total_limit says
    Pin(label::PinArgs),
    /// Leave it to save_total_limit again
    Unpin(label::PinArgs),
    /// Delete a run, or only its checkpoints
    Rm(remove::RemoveArgs),
    /// A new run that goes on from a checkpoint of another
    Fork(fork::ForkArgs),
    /// Settings and losses side by side
    Compare(compare::CompareArgs),
    /// Runs one after another on one device
    #[command(after_help = queue::HELP)]
    Queue(queue::QueueArgs),
}

/// Which run.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Its folder, id, name, or the beginning of id or name
    #[arg(value_name = "RUN")]
    word: String,
}

#[derive(Args)]
struct AttachArgs {
    #[command(flatten)]
    run: Run,
    /// How the run stands, then every event and metric as a line of JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    /// # Errors
    /// There is none, or more than one; with what is near.
    fn find(&self) -> Result<RunDir> {
        find(&self.word)
    }
}

fn find(word: &str) -> Result<RunDir> {
    registry::find(word).because(Exit::Config)
}

pub fn run(args: RunsArgs) -> Result<ExitCode> {
    kick();
    let exit = match args.command {
        RunsCommand::Attach(args) if args.json => return logs::follow_json(&args.run.find()?),
        RunsCommand::Attach(args) => return watch::attach(&args.run.find()?),
        RunsCommand::List(args) => list::run(&args),
        RunsCommand::Show(args) => show::run(&args),
        RunsCommand::Logs(args) => logs::run(&args),
        RunsCommand::Pause(args) => control::pause(&args),
        RunsCommand::Resume(args) => resume::run(&args),
        RunsCommand::Stop(args) => control::stop(&args),
        RunsCommand::Checkpoint(args) => control::checkpoint(&args),
        RunsCommand::Evaluate(args) => control::evaluate(&args),
        RunsCommand::Sample(args) => control::sample(&args),
        RunsCommand::Set(args) => control::set(&args),
        RunsCommand::Rename(args) => label::rename(&args),
        RunsCommand::Tag(args) => label::tag(&args),
        RunsCommand::Note(args) => label::note(&args),
        RunsCommand::Archive(args) => label::archive(&args, true),
        RunsCommand::Unarchive(args) => label::archive(&args, false),
        RunsCommand::Pin(args) => label::pin(&args, true),
        RunsCommand::Unpin(args) => label::pin(&args, false),
        RunsCommand::Rm(args) => remove::run(&args),
        RunsCommand::Fork(args) => fork::run(&args),
        RunsCommand::Compare(args) => compare::run(&args),
        RunsCommand::Queue(args) => queue::run(&args),
    };
    exit.map(|exit| ExitCode::from(exit as u8))
}

/// Starts what the queue has to start. Called wherever a command or a run's end comes by; what it has to say about itself
/// is never a reason for the caller to fail.
pub fn kick() {
    if let Err(e) = core_queue::kick(&mut queue::start) {
        say(&format!("warning: the queue of runs: {}", clean(&format!("{e:#}"))));
    }
}

/// The answer of a command: an object for scripts, or words.
fn answer(json: bool, object: &impl Serialize, words: &str) -> Result<()> {
    let text = if json { serde_json::to_string_pretty(object)? } else { clean(words) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).context("writing the answer")
}
