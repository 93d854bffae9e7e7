//! `lightbox-engine`, which computes: where it is, how it is started, and the commands that it does alone (`chat`, `compare`,
//! `score`, `predict`, `export`). Their options are checked here, so that what is wrong is said before libtorch loads.

use anyhow::{Context, Result};
use lightbox_core::exit::{Because, Exit};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};

/// What the dynamic loader's own words, which stand above it, leave open.
pub const NO_LIBTORCH: &str = "the worker could not start because libtorch was not found. `make build` installs it; or point LD_LIBRARY_PATH at the lib folder of a torch 2.11";

/// Hands the command line to the worker as it is: this program has parsed it, so it is well-formed. The worker runs in
/// this terminal.
pub fn pass_on() -> Result<ExitCode> {
    let mut command = command()?;
    let program = command.get_program().to_owned();
    let mut child = command
        .args(std::env::args_os().skip(1))
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
        .because(Exit::CannotStart)?;
    signals::forward_to(child.id() as i32);
    let code = exit_code(child.wait()?);
    if code == Exit::CannotStart as u8 {
        eprintln!("error: {NO_LIBTORCH}");
    }
    Ok(ExitCode::from(code))
}

/// The worker's program, ready for its arguments.
///
/// # Errors
/// It is not there; what to do.
pub fn command() -> Result<Command> {
    let mut command = Command::new(find()?);
    // Idle OpenMP threads spin for long by default, and beside other work a step then takes many times as long; sleeping
    // at once costs a third on an idle machine. A short spin was measured to be close to the better one in both cases.
    if ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"].iter().all(|name| std::env::var_os(name).is_none()) {
        command.env("GOMP_SPINCOUNT", "2000");
    }
    Ok(command)
}

/// A program's exit code as shells count: 128 and the signal that killed it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let signalled = std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s);
    status.code().or(signalled).and_then(|c| u8::try_from(c).ok()).unwrap_or(Exit::Failed as u8)
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
