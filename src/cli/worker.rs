//! The commands that need libtorch: their options are checked here, the work is done by `lightbox-engine`.

use anyhow::{Context, Result, bail};
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::{Origin, Profile};
use lightbox_core::runs::RunDir;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicI32, Ordering};

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
}

/// Checks the profile, writes it resolved into the run directory and starts the worker there.
pub fn train(args: &TrainArgs) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    let path = match (&args.resume, &args.profile) {
        (Some(run), given) => {
            // With --resume the first word is an override, not a profile.
            overrides.splice(0..0, given.iter().map(|p| p.to_string_lossy().into_owned()));
            run.join(RunDir::PROFILE)
        }
        (None, Some(profile)) => profile.clone(),
        (None, None) => bail!("no profile"),
    };
    let mut profile = Profile::load(&path, &overrides).because(Exit::Config)?;
    if let Some(run) = &args.resume {
        profile.output_dir = run.clone();
        profile.overwrite_output_dir = false;
    }
    if !profile.do_train && !matches!(profile.origin("do_train"), Origin::Default) {
        bail!("{}: do_train is false, so there is nothing to train; remove the key or set it to true", path.display());
    }
    let run = RunDir::create(&profile.output_dir).because(Exit::Disk)?;
    let file = run.join(RunDir::PROFILE);
    lightbox_core::fs::write_atomic(&file, profile.to_yaml().as_bytes())
        .with_context(|| file.display().to_string())
        .because(Exit::Disk)?;
    start(["train".into(), run.path().into()])
}

/// Hands the command line to the worker as it is: this program has parsed it, so it is well-formed.
pub fn pass_on() -> Result<ExitCode> {
    start(std::env::args_os().skip(1))
}

/// Runs the worker in this terminal and returns its exit code.
fn start(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let program = find()?;
    let mut command = Command::new(&program);
    command.args(args);
    // Idle OpenMP threads spin for long by default, and beside other work a step then takes many times as long; sleeping
    // at once costs a third on an idle machine. A short spin was measured to be close to the better one in both cases.
    if ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"].iter().all(|name| std::env::var_os(name).is_none()) {
        command.env("GOMP_SPINCOUNT", "2000");
    }
    let mut child =
        command.spawn().with_context(|| format!("cannot start {}", program.display())).because(Exit::CannotStart)?;
    signals::forward_to(child.id() as i32);
    let status = child.wait()?;
    // What the dynamic loader says of a missing library stands above, in its own words.
    if status.code() == Some(Exit::CannotStart as i32) {
        eprintln!(
            "error: the worker could not start because libtorch was not found. `make build` installs it; or point LD_LIBRARY_PATH at the lib folder of a torch 2.11"
        );
    }
    let signalled = std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s);
    Ok(ExitCode::from(status.code().or(signalled).and_then(|c| u8::try_from(c).ok()).unwrap_or(Exit::Failed as u8)))
}

/// $LIGHTBOX_ENGINE, else `lightbox-engine` beside this program.
fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LIGHTBOX_ENGINE") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("cannot find this program's own file").because(Exit::CannotStart)?;
    let beside = own.with_file_name("lightbox-engine");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(anyhow::anyhow!("{} is missing: build it with `make build`, or set LIGHTBOX_ENGINE to it", beside.display()))
        .because(Exit::CannotStart)
}

/// While the worker runs, signals are its business.
mod signals {
    use super::{AtomicI32, Ordering};

    static CHILD: AtomicI32 = AtomicI32::new(0);

    /// SIGTERM and SIGHUP go on to the worker; SIGINT reaches it by itself (the terminal sends it to both).
    pub fn forward_to(pid: i32) {
        CHILD.store(pid, Ordering::Relaxed);
        // SAFETY: the handlers only call kill(2), which is async-signal-safe, or nothing.
        unsafe {
            libc::signal(libc::SIGTERM, forward as extern "C" fn(libc::c_int) as libc::sighandler_t);
            libc::signal(libc::SIGHUP, forward as extern "C" fn(libc::c_int) as libc::sighandler_t);
            libc::signal(libc::SIGINT, ignore as extern "C" fn(libc::c_int) as libc::sighandler_t);
        }
    }

    extern "C" fn forward(signal: libc::c_int) {
        // SAFETY: a plain system call.
        unsafe { libc::kill(CHILD.load(Ordering::Relaxed), signal) };
    }

    extern "C" fn ignore(_: libc::c_int) {}
}
