//! `lightbox-fake-engine train RUN`: a worker as far as anyone outside can see. Lock, logs, signals, commands, checkpoints
//! and resume are the real ones (`lightbox_core::runs::drive`); what is trained is a line through invented points. Point
//! `LIGHTBOX_ENGINE` at it, and processes and screens can be tested without libtorch, a thousand updates a second.
//! `lightbox-fake-engine answer` is the same for the Chat screen: see `answer.rs`.
//!
//! - `max_samples` of the profile (64): samples; a `val_size` or `eval_dataset`: 8 to evaluate on
//! - `LIGHTBOX_FAKE_STEP_MS` (0): a micro-batch takes so long
//! - `LIGHTBOX_FAKE_LOAD_MS` (0): so does loading the model
//! - `LIGHTBOX_FAKE_BYTES` (6144): so large is a checkpoint

mod answer;
mod line;

use anyhow::{Result, anyhow};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::checkpoints::{About, settings_of};
use lightbox_core::runs::drive::{self, Session, Task, resume};
use lightbox_core::runs::record::{Header, Phase};
use lightbox_core::runs::report::{ModelFacts, Report};
use lightbox_core::runs::say::say;
use lightbox_core::runs::steps::StepPlan;
use lightbox_core::safe_text::clean;
use line::Line;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["train", run] => train(Path::new(run)),
        // It has no threads to count.
        ["answer"] | ["answer", "--num-threads", _] => answer::run(),
        _ => Err(anyhow!("usage: lightbox-fake-engine train RUN, or lightbox-fake-engine answer")).because(Exit::Usage),
    };
    let exit = outcome.unwrap_or_else(|error| {
        say(&format!("error: {}", clean(&format!("{error:#}"))));
        exit::code(&error)
    });
    ExitCode::from(exit as u8)
}

fn train(run: &Path) -> Result<Exit> {
    let no_overrides: &[&str] = &[];
    let mut profile = Profile::load(&run.join(RunDir::PROFILE), no_overrides).because(Exit::Config)?;
    profile.output_dir = PathBuf::from(run);
    let dir = RunDir::create(run).because(Exit::Disk)?;
    let lock = drive::lock(&dir)?;
    let found = resume::find(&profile, &dir).because(Exit::Config);
    let mut header = Header::new(concat!("lightbox-fake-engine ", env!("CARGO_PKG_VERSION")));
    header.resumed_from = found.as_ref().ok().and_then(|r| r.as_ref().map(|r| r.path.display().to_string()));
    let session = Session::open(&dir, &profile, lock, header)?;
    let mut report = Report::new(&profile, &dir, session.records.clone());
    let outcome = found.and_then(|resume| go(&profile, &dir, resume, &session, &mut report));
    if let Err(error) = &outcome {
        report.failed(error);
    }
    outcome
}

fn go(p: &Profile, dir: &RunDir, resume: Option<resume::Resume>, s: &Session, report: &mut Report) -> Result<Exit> {
    report.phase(Phase::LoadingModel);
    std::thread::sleep(Duration::from_millis(number("LIGHTBOX_FAKE_LOAD_MS", 0)));
    let samples = p.max_samples.unwrap_or(64);
    let plan = StepPlan::new(p, samples).map_err(anyhow::Error::msg).because(Exit::Config)?;
    let weights = (number("LIGHTBOX_FAKE_BYTES", 6144) / 12).max(1) as usize;
    let mut line = Line::new(p, plan, weights, Duration::from_millis(number("LIGHTBOX_FAKE_STEP_MS", 0)));
    let facts = ModelFacts { trainable: weights, flos_per_token: 6.0, device: "nothing at all".into() };
    let about = About {
        settings: settings_of(p),
        data: format!("{samples} invented samples"),
        model: [("config.json".to_owned(), p.model_name_or_path.clone().unwrap_or_default())].into(),
        world_size: 1,
        app: concat!("lightbox-fake-engine ", env!("CARGO_PKG_VERSION")).into(),
        ..About::default()
    };
    drive::drive(Task { profile: p, dir, plan, about, facts, resume }, s, report, &mut line)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
