//! Signals to a worker. Handlers only wake a thread; the thread sets a wish that the loop sees at its next safe point. While
//! no loop runs yet (data is read, a model loads) nothing can be lost, and the thread ends the process itself.
//!
//! HUP, XFSZ: ignored (PIPE is by Rust) · INT, TERM: checkpoint and stop; a second INT within 5 s: end at once · USR1:
//! checkpoint and go on (SLURM's `--signal=USR1@120`) · USR2: say where it is · TSTP, CONT, QUIT: the system's defaults.

use super::super::heartbeat::Heartbeat;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A second Ctrl-C within this means: now.
const INSISTING: Duration = Duration::from_secs(5);

/// What signals have asked for.
#[derive(Debug, Default)]
pub struct Wishes {
    stop: AtomicI32,
    checkpoint: AtomicBool,
    /// A safe point will come: the loop runs.
    answered: AtomicBool,
    woken: Mutex<()>,
    bell: Condvar,
}

impl Wishes {
    /// The signal that asked the run to stop.
    pub fn stop(&self) -> Option<i32> {
        Some(self.stop.load(Relaxed)).filter(|&signal| signal != 0)
    }

    /// A checkpoint was asked for; asking takes the wish away.
    pub fn take_checkpoint(&self) -> bool {
        self.checkpoint.swap(false, Relaxed)
    }

    /// From here on the loop looks at wishes.
    pub fn loop_begins(&self) {
        self.answered.store(true, Relaxed);
    }

    pub fn loop_runs(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// Waits until a signal comes, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let guard = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        // A wish from before the lock was taken is seen here; one after it rings the bell.
        if self.stop().is_none() {
            drop(self.bell.wait_timeout(guard, timeout));
        }
    }

    fn wish(&self, signal: i32) {
        let _guard = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        match signal {
            SIGUSR1 => self.checkpoint.store(true, Relaxed),
            signal => self.stop.store(signal, Relaxed),
        }
        self.bell.notify_all();
    }
}

/// Starts the thread. `end` is called there when the process must end at once: before the loop runs, or on a second
/// Ctrl-C; it writes the last state and returns the exit code.
pub fn listen(heartbeat: Arc<Heartbeat>, end: impl Fn(i32) -> i32 + Send + 'static) -> io::Result<Arc<Wishes>> {
    // SAFETY: SIG_IGN is no handler of ours; the calls are made before other threads could rely on the old ones.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    let wishes = Arc::new(Wishes::default());
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    let told = wishes.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut interrupted: Option<Instant> = None;
        for signal in signals.forever() {
            if signal == SIGUSR2 {
                super::super::say::say(&where_it_is(&heartbeat));
                continue;
            }
            let insists = signal == SIGINT && interrupted.is_some_and(|at| at.elapsed() < INSISTING);
            if insists || (signal != SIGUSR1 && !told.loop_runs()) {
                let code = end(signal);
                // SAFETY: ends the process without destructors, which other threads may be in the middle of needing.
                unsafe { libc::_exit(code) };
            }
            if signal == SIGINT {
                interrupted = Some(Instant::now());
            }
            told.wish(signal);
        }
    })?;
    Ok(wishes)
}

/// Phase and step, and what each thread of the process waits for in the kernel.
fn where_it_is(heartbeat: &Heartbeat) -> String {
    let beat = heartbeat.now();
    let mut text = format!(
        "phase {:?}, step {}, micro-batch {}, last progress {:.1} s ago",
        beat.phase,
        beat.step,
        beat.micro,
        beat.mono.saturating_sub(beat.progress) as f64 / 1e3
    );
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned();
        let state = read("stat").rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('?');
        text.push_str(&format!("\n  thread {} {state} {}", read("comm"), read("wchan")));
    }
    text
}
