//! The worker's command line. `lightbox` starts it; torchrun, srun or a person may as well.

use clap::{Parser, Subcommand};
use lightbox_core::args::{ChatArgs, CompareArgs, EvaluateArgs, ExportArgs, PredictArgs, ScoreArgs, parse_threads};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::launch::{Launch, tell_torchrun};
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
    /// As torch.distributed.launch gives it; LOCAL_RANK says the same
    #[arg(long, alias = "local_rank", global = true, hide = true)]
    local_rank: Option<u32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train as RUN/profile.yaml says
    Train { run: PathBuf },
    /// Who started this process, and as which of how many
    Env,
    /// Loss of every sample of a data set
    Score(ScoreArgs),
    /// Ask a model about pictures
    Chat(ChatArgs),
    /// Stay loaded and answer questions: JSON lines on stdin and stdout, for the Chat screen
    Answer {
        /// Questions to one model that wait together are answered at once, so many at most
        #[arg(long, value_name = "N", default_value_t = 8)]
        batch_size: usize,
        /// CPU threads of the models, whatever their adapters' runs say
        #[arg(long, value_name = "N", value_parser = parse_threads)]
        num_threads: Option<usize>,
    },
    /// Answers for a whole data set
    Predict(PredictArgs),
    /// Answers of several models for one data set, one file each
    Evaluate(EvaluateArgs),
    /// One question, or one about each picture of a folder, to several models
    Compare(CompareArgs),
    /// Merge adapters into their base and write a model folder for others to load
    Export(ExportArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    quiet_panics();
    let outcome = guarded(|| run(&cli.command));
    let exit = outcome.unwrap_or_else(|error| {
        // libtorch appends its C++ backtrace to messages; it helps nobody here.
        let text = clean(torch_shim::without_backtrace(&format!("{error:#}")));
        eprintln!("error: {text}");
        tell_torchrun(&text);
        exit::code(&error)
    });
    ExitCode::from(exit as u8)
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Env => {
            let Launch { by, rank, world_size, local_rank, why } = Launch::detect()?;
            println!("started by {by}: rank {rank} of {world_size}, {local_rank} on this machine ({})", clean(&why));
            Ok(Exit::Finished)
        }
        Command::Train { run } => {
            Launch::detect()?.single()?;
            let profile = load(run)?;
            if profile.full_determinism && std::env::var_os(CUBLAS).is_none() {
                // SAFETY: no other thread has been started.
                unsafe { std::env::set_var(CUBLAS, ":4096:8") };
            }
            setup::keep_freed_memory();
            with_libtorch(|| train::train(&profile))
        }
        Command::Score(args) => with_libtorch(|| commands::score::run(args)),
        Command::Chat(args) => with_libtorch(|| commands::chat::run(args)),
        // It takes stdout away before libtorch can print there.
        Command::Answer { batch_size, num_threads } => commands::answer::run(*batch_size, *num_threads),
        Command::Predict(args) => with_libtorch(|| commands::predict::run(args)),
        Command::Compare(args) => with_libtorch(|| commands::compare::run(args)),
        Command::Evaluate(args) => with_libtorch(|| commands::evaluate::run(args)),
        Command::Export(args) => with_libtorch(|| commands::export::run(args)),
    }
}

fn with_libtorch(work: impl FnOnce() -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    setup::start_libtorch();
    work()
}

/// With a fixed workspace, cuBLAS sums in the same order each time. It reads this once, when CUDA is opened.
const CUBLAS: &str = "CUBLAS_WORKSPACE_CONFIG";

fn load(run: &std::path::Path) -> anyhow::Result<Profile> {
    let no_overrides: &[&str] = &[];
    let mut profile = Profile::load(&run.join("profile.yaml"), no_overrides).because(Exit::Config)?;
    profile.output_dir = run.to_owned();
    Ok(profile)
}
