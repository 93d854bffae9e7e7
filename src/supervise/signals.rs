//! Signals that reach the supervisor are meant for the worker.

use super::Mode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};

/// The worker; 0 while there is none.
static WORKER: AtomicI32 = AtomicI32::new(0);
/// Came while there was none.
static PENDING: AtomicI32 = AtomicI32::new(0);
/// One of them asked the run to end.
static END: AtomicBool = AtomicBool::new(false);

/// TERM, INT, USR1 and USR2 go on to the worker, HUP is ignored. In the foreground the terminal sends INT to both, so it
/// is ignored here, and HUP (the terminal is gone) goes on as TERM: stop with a checkpoint. CHLD may be ignored by
/// inheritance, and then nobody learns how the worker ends.
pub fn install(mode: Mode) {
    let pass = pass as extern "C" fn(libc::c_int) as libc::sighandler_t;
    let ignore = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
    let (int, hup) = match mode {
        Mode::Detached => (pass, libc::SIG_IGN),
        Mode::Foreground => (ignore, pass),
    };
    let handlers = [
        (libc::SIGTERM, pass),
        (libc::SIGUSR1, pass),
        (libc::SIGUSR2, pass),
        (libc::SIGINT, int),
        (libc::SIGHUP, hup),
        (libc::SIGCHLD, libc::SIG_DFL),
    ];
    for (signal, handler) in handlers {
        // SAFETY: the handlers only use atomics and kill(2), which are async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}

/// From here on signals reach this worker; one that came before, too.
pub fn pass_on_to(worker: i32) {
    WORKER.store(worker, Relaxed);
    let pending = PENDING.swap(0, Relaxed);
    if pending != 0 {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(worker, pending) };
    }
}

/// The worker has ended, and its pid will soon be another process's.
pub fn nobody_listens() {
    WORKER.store(0, Relaxed);
}

/// The run was asked to end, by INT or TERM.
pub fn told_to_end() -> bool {
    END.load(Relaxed)
}

extern "C" fn pass(signal: libc::c_int) {
    let signal = if signal == libc::SIGHUP { libc::SIGTERM } else { signal };
    if matches!(signal, libc::SIGTERM | libc::SIGINT) {
        END.store(true, Relaxed);
    }
    match WORKER.load(Relaxed) {
        0 => PENDING.store(signal, Relaxed),
        // SAFETY: a signal to our own child, which has not been waited for.
        worker => drop(unsafe { libc::kill(worker, signal) }),
    }
}

/// Unlike SIG_IGN it is not inherited by the worker.
extern "C" fn ignore(_: libc::c_int) {
    END.store(true, Relaxed);
}
