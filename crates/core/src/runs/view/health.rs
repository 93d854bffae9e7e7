//! How a run is, from its files and its lock.
//!
//! Clocks jump and differ between machines, so no time of day decides that a worker lives or died where the lock can
//! say it. Where one must help out, it is never compared alone, and a time in the future is no age.
use super::super::RunDir;
use super::super::checkpoints::{self, PREFIX};
use super::super::lock::{Liveness, WorkerInfo};
use super::super::record::{Event, Metric};
use super::super::state::{Reason, Status};
use super::super::tail::Tail;
use super::{Files, Here};

pub(super) struct Health {
    pub state: Status,
    pub reason: Option<Reason>,
    pub stalled_ms: Option<u64>,
    pub suspended: bool,
}

/// A supervisor has this long to bring the engine to where it takes the lock.
const START_MS: u64 = 30_000;
/// Where the lock cannot be asked: a worker whose heartbeat is older is dead.
const SILENCE_MS: u64 = 60_000;
/// Shortest time without progress that is called a stall.
const STALL_MS: u64 = 120_000;

/// In these states a worker is at work.
pub(super) fn needs_worker(status: Status) -> bool {
    use Status::{Finishing, Paused, Preparing, Running, Starting, Stopping};
    matches!(status, Starting | Preparing | Running | Paused | Stopping | Finishing)
}

pub(super) fn judge(dir: &RunDir, files: &Files, liveness: &Liveness, here: &Here) -> Health {
    let written = &files.state;
    let starting = written.state == Status::Starting && here.now_ms.abs_diff(written.updated_ms) <= START_MS;
    let silence = files.beat.map(|(beat, changed)| {
        // another machine's clock, or the file server's: dead only if both say so
        here.now_ms.abs_diff(beat.t).min(here.now_ms.abs_diff(changed))
    });
    let doubt = match liveness {
        Liveness::Unknown(why) => Some(match silence {
            Some(ms) => format!("the lock cannot be asked: {why}; its last heartbeat is {} s away", ms / 1000),
            None => format!("the lock cannot be asked: {why}; there is no heartbeat"),
        }),
        _ => None,
    };
    let alive = match liveness {
        Liveness::Alive => true,
        Liveness::Dead => false,
        Liveness::Unknown(_) => silence.is_some_and(|ms| ms <= SILENCE_MS),
    };
    if needs_worker(written.state) && !alive && !starting {
        let reason = Some(crashed(dir, files, here, doubt));
        return Health { state: Status::Crashed, reason, stalled_ms: None, suspended: false };
    }
    let at_work = alive && needs_worker(written.state);
    Health {
        state: written.state,
        reason: written.reason.clone(),
        stalled_ms: if at_work && written.state != Status::Paused { stalled_ms(dir, files, here) } else { None },
        suspended: at_work && files.worker.as_ref().is_some_and(|worker| is_suspended(worker, here)),
    }
}

/// What happened, and what to do next.
fn crashed(dir: &RunDir, files: &Files, here: &Here, doubt: Option<String>) -> Reason {
    let step = files.beat.map_or(0, |(beat, _)| beat.step).max(files.state.step);
    let (kind, cause) = last_exit(dir).unwrap_or_else(|| {
        let cause = match &files.worker {
            Some(worker) if has_rebooted(worker, here) => "the machine was restarted".to_owned(),
            _ => doubt.unwrap_or_else(|| "nobody saw how".to_owned()),
        };
        ("internal", cause)
    });
    let newest = || checkpoints::list(dir).ok()?.pop().map(|checkpoint| format!("{PREFIX}{}", checkpoint.step));
    let hint = match files.state.checkpoint.clone().or_else(newest) {
        Some(checkpoint) => format!("`lightbox runs resume {}` goes on from {checkpoint}", dir.path().display()),
        None => "there is no checkpoint yet: start it again with `lightbox train`".to_owned(),
    };
    Reason {
        kind: kind.to_owned(),
        text: format!("the worker ended without saying goodbye at step {step} ({cause})"),
        hint: Some(hint),
    }
}

/// What the supervisor saw of the last attempt's end: the reason's kind, and the cause in words.
fn last_exit(dir: &RunDir) -> Option<(&'static str, String)> {
    let mut events = Tail::<Event>::last(dir.join(RunDir::EVENTS), 256 << 10).ok()?;
    let lines = events.poll(usize::MAX).ok()?;
    let attempt = lines.iter().map(|line| line.att).max()?;
    lines.iter().rev().filter(|line| line.att == attempt).find_map(|line| match line.record {
        Event::Exited { code, signal, oom_kill, .. } => Some(match (signal, code) {
            (Some(signal), _) if oom_kill => {
                ("oom", format!("killed by signal {signal}; the kernel's out-of-memory killer struck"))
            }
            (Some(signal), _) => ("signal", format!("killed by signal {signal}")),
            (None, Some(code)) => ("internal", format!("exit code {code}")),
            (None, None) => ("internal", "its supervisor could not learn how".to_owned()),
        }),
        _ => None,
    })
}

fn stalled_ms(dir: &RunDir, files: &Files, here: &Here) -> Option<u64> {
    let (beat, changed) = files.beat?;
    // what the worker measured itself, and how long it has been silent since
    let silence = here.now_ms.saturating_sub(changed).min(here.now_ms.saturating_sub(beat.t));
    let still = beat.mono.saturating_sub(beat.progress).saturating_add(silence);
    if still <= STALL_MS {
        return None; // and most runs' metrics need not be read
    }
    let mut steps = recent_steps_ms(dir);
    steps.sort_by(f64::total_cmp);
    let median = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    (still as f64 > 10.0 * median).then_some(still)
}

/// Durations of the last updates, 64 at most.
pub(super) fn recent_steps_ms(dir: &RunDir) -> Vec<f64> {
    const TAIL: u64 = 64 << 10;
    let lines = Tail::<Metric>::last(dir.join(RunDir::METRICS), TAIL).and_then(|mut tail| tail.poll(usize::MAX));
    let steps = lines.unwrap_or_default().into_iter().rev().filter_map(|line| match line.record {
        Metric::Step(step) => Some(step.dt_ms.total),
        _ => None,
    });
    steps.filter(|ms| ms.is_finite() && *ms > 0.0).take(64).collect()
}

fn has_rebooted(worker: &WorkerInfo, here: &Here) -> bool {
    worker.host == here.place.host && !worker.boot_id.is_empty() && worker.boot_id != here.place.boot_id
}

/// Stopped by a signal (Ctrl-Z, SIGSTOP). Only for a process whose number means the same here.
fn is_suspended(worker: &WorkerInfo, here: &Here) -> bool {
    let place = |w: &WorkerInfo| (w.host.clone(), w.boot_id.clone(), w.pid_ns);
    if place(worker) != place(&here.place) {
        return false;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)) else { return false };
    // the name, in brackets, can hold anything; behind it come field 3 (the state) and so on to 22 (the start)
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let started = fields.get(19).and_then(|ticks| ticks.parse::<u64>().ok());
    started == Some(worker.start_ticks) && matches!(fields.first(), Some(&("T" | "t")))
}
