//! The worker's command line. `lightbox` starts it; torchrun, srun or a person may as well.

use clap::{Parser, Subcommand};
use lightbox_core::args::{ChatArgs, PredictArgs, ScoreArgs};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::safe_text::clean;
use lightbox_engine::guard::{guarded, quiet_panics};
use lightbox_engine::{commands, setup, train};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "lightbox-engine",
    version,
    about = "Lightbox's worker: trains and runs Qwen2-VL. Usually started by `lightbox`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train as RUN/profile.yaml says
    Train { run: PathBuf },
    /// Loss of every sample of a data set
    Score(ScoreArgs),
    /// Ask a model about pictures
    Chat(ChatArgs),
    /// Answers for a whole data set
    Predict(PredictArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    quiet_panics();
    setup::start_libtorch();
    let outcome = guarded(|| match &cli.command {
        Command::Train { run } => load(run).and_then(|p| train::train(&p)),
        Command::Score(args) => commands::score::run(args),
        Command::Chat(args) => commands::chat::run(args),
        Command::Predict(args) => commands::predict::run(args),
    });
    let exit = outcome.unwrap_or_else(|error| {
        // libtorch appends its C++ backtrace to messages; it helps nobody here.
        eprintln!("error: {}", clean(torch_shim::without_backtrace(&format!("{error:#}"))));
        exit::code(&error)
    });
    ExitCode::from(exit as u8)
}

fn load(run: &std::path::Path) -> anyhow::Result<Profile> {
    let no_overrides: &[&str] = &[];
    let mut profile = Profile::load(&run.join("profile.yaml"), no_overrides).because(Exit::Config)?;
    profile.output_dir = run.to_owned();
    Ok(profile)
}
