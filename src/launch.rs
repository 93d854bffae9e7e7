//! Starts a run so that nothing joins it to this terminal: a supervisor ([`crate::supervise`]) in a session of its own,
//! its output in `worker.log`, no pipe, no descriptor and no signal in common.
//!
//! A session of its own is not enough where systemd-logind kills all that a user started when they log out
//! (`KillUserProcesses=yes`): there the run is put under the user's service manager, which outlives the login if lingering
//! is on.

use crate::cli::worker;
use crate::supervise::{self, Mode};
use anyhow::{Context, Result, anyhow};
use lightbox_core::exit::{self, Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::drive;
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::lock::WorkerInfo;
use lightbox_core::runs::say::say;
use lightbox_core::runs::state::{RunState, Status};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A run whose worker has its lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Started {
    /// Id of the run.
    pub run: String,
    pub dir: String,
    /// The worker's.
    pub pid: u32,
}

/// Starts a run that is ready (`profile.yaml` is there), and waits until its worker is up.
///
/// # Errors
/// As [`spawn`] and [`until_up`].
pub fn start_detached(dir: &RunDir) -> Result<Started> {
    until_up(dir, &mut spawn(dir)?)
}

/// Waits until the worker of a supervisor has the run's lock, so that commands reach it.
///
/// # Errors
/// The run ended before that; with the exit code of that end.
pub fn until_up(dir: &RunDir, supervisor: &mut Child) -> Result<Started> {
    const EVERY: Duration = Duration::from_millis(20);
    let run = RunInfo::ensure(dir, None).because(Exit::Disk)?.id;
    loop {
        let ended = supervisor.try_wait()?;
        let worker = WorkerInfo::read(dir).ok().filter(|w| w.supervisor == Some(supervisor.id()));
        // A short run may be over already, and well.
        let well = ended.is_none_or(|status| matches!(status.code(), Some(0 | 3)));
        match (worker, ended) {
            (Some(worker), _) if well => return Ok(Started { run, dir: absolute(dir), pid: worker.pid }),
            (_, Some(status)) => return Err(at_once(dir, status)),
            _ => std::thread::sleep(EVERY),
        }
    }
}

/// The run's folder for others, who may be in another one.
fn absolute(dir: &RunDir) -> String {
    std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().into()).display().to_string()
}

fn at_once(dir: &RunDir, status: ExitStatus) -> anyhow::Error {
    let reason = RunState::read(dir).ok().and_then(|state| state.reason);
    let text = match reason {
        Some(reason) => reason.hint.iter().fold(reason.text, |text, hint| format!("{text}; {hint}")),
        None => format!("{status}; {} says more", dir.join(RunDir::WORKER_LOG).display()),
    };
    let error = anyhow!("the run ended at once: {text}");
    exit::coded(error, Exit::from_code(worker::exit_code(status)))
}

/// Starts the supervisor of a run that is ready, and returns at once.
///
/// # Errors
/// The run is held by another worker, its folder cannot be written, or the worker's program is not there.
pub fn spawn(dir: &RunDir) -> Result<Child> {
    let (child, warning) = spawn_quietly(dir)?;
    warning.iter().for_each(|warning| say(&format!("warning: {warning}")));
    Ok(child)
}

/// [`spawn`] where stderr is a screen: what it would print comes back.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_quietly(dir: &RunDir) -> Result<(Child, Option<&'static str>)> {
    let claim = drive::lock(dir)?;
    worker::command()?;
    let (way, warning) = Way::choose();
    mark_as_starting(dir, way).with_context(|| dir.path().display().to_string()).because(Exit::Disk)?;
    let path = dir.join(RunDir::WORKER_LOG);
    let log = open_log(dir).with_context(|| path.display().to_string()).because(Exit::Disk)?;
    let program = std::env::current_exe().context("cannot find this program's own file").because(Exit::CannotStart)?;
    let mut command = match way {
        Way::SystemdRun => {
            let mut command = Command::new("systemd-run");
            command.args(["--user", "--scope", "--quiet", "--"]).arg(program);
            command
        }
        Way::Setsid | Way::Foreground => Command::new(program),
    };
    command.args(["__supervise", "--"]).arg(dir.path());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: only system calls between fork and exec, no memory is allocated.
    unsafe { command.pre_exec(leave_the_terminal) };
    // SAFETY: a plain system call. Whoever ignores CHLD never learns how its children end, and passes that on.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // From here on the lock is the worker's.
    drop(claim);
    let child = command.spawn().context("cannot start the supervisor").because(Exit::CannotStart)?;
    Ok((child, warning))
}

/// Runs a run that is ready in this terminal, until it ends.
///
/// # Errors
/// The run is held by another worker, or its folder cannot be written.
pub fn in_foreground(dir: &RunDir) -> Result<ExitCode> {
    let claim = drive::lock(dir)?;
    mark_as_starting(dir, Way::Foreground).with_context(|| dir.path().display().to_string()).because(Exit::Disk)?;
    drop(claim);
    supervise::run(dir, Mode::Foreground)
}

/// What a reader sees until the worker speaks for itself. What is known of earlier attempts stays.
fn mark_as_starting(dir: &RunDir, way: Way) -> io::Result<()> {
    lightbox_core::fs::remove_file(&dir.join(RunDir::WORKER))?;
    RunState::change(dir, |s| {
        (s.state, s.reason, s.pid) = (Status::Starting, None, None);
    })?;
    let env = serde_json::json!({
        "v": 1,
        "app": concat!("lightbox ", env!("CARGO_PKG_VERSION")),
        "command": shown_command(),
        "cwd": std::env::current_dir().ok(),
        "launched": way.name(),
    });
    lightbox_core::fs::write_atomic(&dir.join(RunDir::ENV), format!("{env:#}\n").as_bytes())
}

/// The command line of this process. A token (`hf_hub_token=…`) stays out of every file.
fn shown_command() -> Vec<String> {
    let word = |word: std::ffi::OsString| {
        let word = word.to_string_lossy().into_owned();
        match word.split_once('=') {
            Some((key, _)) if key.contains("token") => format!("{key}=…"),
            _ => word,
        }
    };
    std::env::args_os().map(word).collect()
}

/// Only its owner reads it: libtorch and the data say what they like in there.
fn open_log(dir: &RunDir) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join(RunDir::WORKER_LOG))
}

/// In the child: no terminal, no hang-up, and no descriptor that someone at the other end of a pipe waits to see closed.
fn leave_the_terminal() -> io::Result<()> {
    // SAFETY: plain system calls. Old kernels have no close_range; then inherited descriptors stay open, which is no harm
    // to the run.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        if libc::setsid() == -1 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// How a run is kept alive when its user logs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Setsid,
    SystemdRun,
    /// It is not: it belongs to its terminal.
    Foreground,
}

impl Way {
    /// In `env.json`.
    fn name(self) -> &'static str {
        match self {
            Self::Setsid => "setsid",
            Self::SystemdRun => "systemd-run",
            Self::Foreground => "foreground",
        }
    }

    /// And what the user should know about it.
    fn choose() -> (Self, Option<&'static str>) {
        if !killed_at_logout() {
            return (Self::Setsid, None);
        }
        if lingers() && answer("systemd-run", &["--user", "--scope", "--quiet", "--", "true"]).is_some() {
            return (Self::SystemdRun, None);
        }
        let warning = "this machine ends everything you started when you log out (KillUserProcesses=yes of \
             systemd-logind), this run too. `loginctl enable-linger` once, then start it again, and it goes on";
        (Self::Setsid, Some(warning))
    }
}

const LOGIND: &str = "org.freedesktop.login1";

/// systemd-logind ends what this user started when they log out. No logind, no such end.
fn killed_at_logout() -> bool {
    let manager = "org.freedesktop.login1.Manager";
    let path = "/org/freedesktop/login1";
    let asked = ["get-property", LOGIND, path, manager, "KillUserProcesses", "KillExcludeUsers"];
    // Two lines: `b true` and `as 1 "root"`.
    let Some(answer) = answer("busctl", &asked) else { return false };
    let excluded = std::env::var("USER").is_ok_and(|user| answer.contains(&format!("\"{user}\"")));
    answer.starts_with("b true") && !excluded
}

fn lingers() -> bool {
    let user = "/org/freedesktop/login1/user/self";
    let asked = ["get-property", LOGIND, user, "org.freedesktop.login1.User", "Linger"];
    answer("busctl", &asked).is_some_and(|answer| answer.starts_with("b true"))
}

/// What a program prints, if it is there and ends well within two seconds.
fn answer(program: &str, args: &[&str]) -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let deadline = Instant::now() + PATIENCE;
    // A line or two fit into the pipe, so nobody has to read while the program runs.
    while child.try_wait().ok()?.is_none() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
