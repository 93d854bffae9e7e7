//! What the outside tells us: signals as a stream for the loop, and a watch for a terminal that goes away.
//!
//! The loop ends by itself on [`Signal::Terminate`] and [`Signal::Hangup`] (exit code 128 + number). Should it be stuck,
//! in a write to a terminal that takes nothing for instance, the second signal of the kind ends the program from the
//! handler, and so does a terminal that has been gone for two seconds: a program whose terminal is gone must end, not spin.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::Notify;

use super::guard;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT or SIGQUIT: restore, exit with 128 + this number.
    Terminate(i32),
    /// SIGHUP, or the terminal is gone: restore, exit with 129.
    Hangup,
    /// SIGTSTP from outside: `Guard::suspend`.
    Suspend,
    /// We were continued. If it was not `Guard::suspend` that slept, `Guard::retake` and draw all.
    Continue,
    Resize,
}

impl Signal {
    /// The exit code if this ends the program.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Terminate(number) => Some((128 + number) as u8),
            Self::Hangup => Some((128 + libc::SIGHUP) as u8),
            Self::Suspend | Self::Continue | Self::Resize => None,
        }
    }
}

#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    suspend: unix::Signal,
    resume: unix::Signal,
    resize: unix::Signal,
    gone: Arc<Notify>,
}

/// Takes all signals over; within a tokio runtime, after `Guard::enter`. `fd` is the terminal's.
///
/// # Errors
/// A handler or the watching thread could not be installed.
pub fn signals(fd: i32) -> io::Result<Signals> {
    let gone = Arc::new(Notify::new());
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        end_on_the_second(number)?;
    }
    watch(fd, Arc::clone(&gone))?;
    let on = |number: i32| unix::signal(SignalKind::from_raw(number));
    Ok(Signals {
        terminate: on(libc::SIGTERM)?,
        interrupt: on(libc::SIGINT)?,
        quit: on(libc::SIGQUIT)?,
        hangup: on(libc::SIGHUP)?,
        suspend: on(libc::SIGTSTP)?,
        resume: on(libc::SIGCONT)?,
        resize: on(libc::SIGWINCH)?,
        gone,
    })
}

impl Signals {
    /// The next one. Can be dropped and called again without losing any.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Signal::Terminate(libc::SIGTERM),
            Some(()) = self.interrupt.recv() => Signal::Terminate(libc::SIGINT),
            Some(()) = self.quit.recv() => Signal::Terminate(libc::SIGQUIT),
            Some(()) = self.hangup.recv() => Signal::Hangup,
            () = self.gone.notified() => Signal::Hangup,
            Some(()) = self.suspend.recv() => Signal::Suspend,
            Some(()) = self.resume.recv() => Signal::Continue,
            Some(()) = self.resize.recv() => Signal::Resize,
            // Handlers are never removed, so this is not reached; waiting is right where there is nothing to say.
            else => std::future::pending().await,
        }
    }
}

fn end_on_the_second(number: i32) -> io::Result<()> {
    let seen = AtomicU32::new(0);
    let handler = move || {
        if seen.fetch_add(1, Ordering::SeqCst) > 0 {
            guard::restore();
            // SAFETY: ends the process; allowed in a handler.
            unsafe { libc::_exit(128 + number) };
        }
    };
    // SAFETY: the handler touches atomics and calls `restore`, which is made for handlers, and _exit.
    unsafe { signal_hook::low_level::register(number, handler) }.map(drop)
}

/// A thread that sleeps until the terminal hangs up. SIGHUP alone is not enough: nohup ignores it, and then a reader gets
/// "end of file" for ever and turns in circles.
fn watch(fd: i32, gone: Arc<Notify>) -> io::Result<()> {
    let wait = move || {
        loop {
            let mut poll = libc::pollfd { fd, events: 0, revents: 0 };
            // SAFETY: one valid pollfd for the length of the call.
            let n = unsafe { libc::poll(&raw mut poll, 1, -1) };
            if n > 0 {
                break;
            }
        }
        gone.notify_one();
        std::thread::sleep(Duration::from_secs(2)); // time for the loop to save and leave
        guard::restore();
        // SAFETY: ends the process.
        unsafe { libc::_exit(128 + libc::SIGHUP) };
    };
    std::thread::Builder::new().name("terminal watch".into()).stack_size(64 << 10).spawn(wait).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_end_the_program_have_the_shells_exit_codes() {
        assert_eq!(Signal::Terminate(libc::SIGTERM).exit_code(), Some(143));
        assert_eq!(Signal::Terminate(libc::SIGINT).exit_code(), Some(130));
        assert_eq!(Signal::Hangup.exit_code(), Some(129));
        assert_eq!(Signal::Resize.exit_code(), None);
    }
}
