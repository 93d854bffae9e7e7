use super::super::log::append_event;
use super::super::record::{Event, Line, Metric, Phase, Step, StepTime};
use super::*;
use crate::fs::append_line;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

const NOW: u64 = 1_772_375_545_000;
const DAY: u64 = 86_400_000;

struct Run {
    _temp: tempfile::TempDir,
    dir: RunDir,
    here: Here,
}

/// A run that says that it is running, at step 1,234 with a checkpoint at 1,200; its worker, and a fresh heartbeat.
fn run() -> Run {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path().join("receipts")).unwrap();
    let place = WorkerInfo { host: "box".into(), boot_id: "b1".into(), pid_ns: 7, ..WorkerInfo::default() };
    let run = Run { _temp: temp, dir, here: Here { now_ms: NOW, place } };
    run.state(Status::Running, NOW);
    run.worker(WorkerInfo { pid: std::process::id(), ..run.here.place.clone() });
    run.beat(NOW, 1000);
    run
}

impl Run {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    fn state(&self, state: Status, updated_ms: u64) {
        let checkpoint = Some("checkpoint-1200".into());
        let state =
            RunState { v: 1, state, step: 1230, total_steps: 2000, checkpoint, updated_ms, ..RunState::default() };
        self.write(RunDir::STATE, &serde_json::to_string(&state).unwrap());
    }

    fn worker(&self, worker: WorkerInfo) {
        self.write(RunDir::WORKER, &serde_json::to_string(&worker).unwrap());
    }

    /// Last beat at `t`, `still` milliseconds after the last progress.
    fn beat(&self, t: u64, still: u64) {
        let beat =
            Beat { t, mono: 1_000_000, progress: 1_000_000 - still, step: 1234, micro: 0, phase: Phase::Training };
        self.write(RunDir::HEARTBEAT, &serde_json::to_string(&beat).unwrap());
        let file = std::fs::File::options().write(true).open(self.dir.join(RunDir::HEARTBEAT)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(t)).unwrap();
    }

    fn seen(&self, liveness: Liveness) -> RunView {
        RunView::seen(&self.dir, files(self), liveness, &self.here)
    }

    #[track_caller]
    fn crashes(&self, liveness: Liveness) -> Reason {
        let view = self.seen(liveness);
        assert_eq!(view.state, Status::Crashed);
        assert_eq!((view.stalled_ms, view.suspended, view.summary().pid), (None, false, None));
        view.reason.unwrap()
    }
}

/// The heartbeat's own format is its module's business.
fn files(run: &Run) -> Files {
    let beat = std::fs::read(run.dir.join(RunDir::HEARTBEAT)).ok();
    let beat: Option<Beat> = beat.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let changed = std::fs::metadata(run.dir.join(RunDir::HEARTBEAT)).and_then(|m| m.modified());
    let changed = changed.map_or(0, |time| time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64);
    Files { beat: beat.map(|beat| (beat, changed)), ..Files::read(&run.dir) }
}

fn exited(code: Option<i32>, signal: Option<i32>, oom_kill: bool) -> Event {
    Event::Exited { code, signal, oom_kill, max_rss_bytes: 0, runtime_ms: 1, restart: false }
}

#[test]
fn a_state_that_wants_a_worker_without_one_is_a_crash_and_says_how_to_go_on() {
    use Status::{Finishing, Paused, Preparing, Running, Starting, Stopping};
    let run = run();
    for state in [Starting, Preparing, Running, Paused, Stopping, Finishing] {
        run.state(state, NOW - DAY);
        let reason = run.crashes(Liveness::Dead);
        assert_eq!(reason.text, "the worker ended without saying goodbye at step 1234 (nobody saw how)");
        let hint = reason.hint.unwrap();
        assert!(
            hint.starts_with("`lightbox runs resume /") && hint.ends_with("goes on from checkpoint-1200"),
            "{hint}"
        );
    }
    for state in [Status::Created, Status::Queued, Status::Stopped, Status::Finished, Status::Failed] {
        run.state(state, NOW - DAY);
        assert_eq!(run.seen(Liveness::Dead).state, state, "no worker is missed");
    }
}

#[test]
fn a_living_worker_is_shown_with_its_pid() {
    let view = run().seen(Liveness::Alive);
    assert_eq!((view.state, view.reason.clone(), view.stalled_ms), (Status::Running, None, None));
    assert_eq!(view.summary().pid, Some(std::process::id()));
}

#[test]
fn a_pid_that_lives_on_as_another_process_or_a_zombie_does_not_hide_a_crash() {
    let run = run(); // its pid is this test's
    run.crashes(Liveness::Dead);
    let mut zombie = std::process::Command::new("true").spawn().unwrap();
    run.worker(WorkerInfo { pid: zombie.id(), ..run.here.place.clone() });
    run.crashes(Liveness::Dead);
    zombie.wait().unwrap();
}

#[test]
fn a_reboot_is_named_as_the_cause() {
    let run = run();
    run.worker(WorkerInfo { boot_id: "b0".into(), ..run.here.place.clone() });
    assert!(run.crashes(Liveness::Dead).text.ends_with("(the machine was restarted)"));
}

#[test]
fn no_jump_of_the_clock_hides_a_crash_or_kills_a_living_run() {
    for jump in [-(DAY as i64), 365 * DAY as i64] {
        let mut run = run();
        run.here.now_ms = NOW.saturating_add_signed(jump);
        run.crashes(Liveness::Dead);
        run.state(Status::Starting, NOW);
        run.crashes(Liveness::Dead);
        run.state(Status::Running, NOW);
        assert_eq!(run.seen(Liveness::Alive).state, Status::Running);
        run.beat(run.here.now_ms, 1000); // the next beat comes within a second
        assert_eq!(run.seen(Liveness::Alive).stalled_ms, None);
    }
}

#[test]
fn a_supervisor_has_a_moment_to_start_the_engine() {
    let run = run();
    run.state(Status::Starting, NOW - 29_000);
    assert_eq!(run.seen(Liveness::Dead).state, Status::Starting);
    run.state(Status::Starting, NOW - 31_000);
    run.crashes(Liveness::Dead);
}

#[test]
fn what_the_supervisor_saw_is_the_cause_if_it_was_this_attempt() {
    let run = run();
    let header = |att| {
        let line = Line { v: 1, seq: 1, t: 0, mono: 0, att, rank: 0, record: Event::Header(Default::default()) };
        append_line(&run.dir.join(RunDir::EVENTS), &serde_json::to_string(&line).unwrap()).unwrap();
    };
    header(1);
    for (event, kind, cause) in [
        (exited(None, Some(11), false), "signal", "(killed by signal 11)"),
        (exited(None, Some(9), true), "oom", "(killed by signal 9; the kernel's out-of-memory killer struck)"),
        (exited(Some(127), None, false), "internal", "(exit code 127)"),
    ] {
        append_event(&run.dir, &event).unwrap();
        let reason = run.crashes(Liveness::Dead);
        assert!(reason.kind == kind && reason.text.ends_with(cause), "{reason:?}");
    }
    header(2);
    assert!(run.crashes(Liveness::Dead).text.ends_with("(nobody saw how)"));
}

#[test]
fn where_the_lock_cannot_be_asked_the_heartbeat_decides_and_the_reason_says_so() {
    let run = run();
    let unknown = || Liveness::Unknown("this file system has no locks".into());
    run.beat(NOW - 59_000, 0);
    let view = run.seen(unknown());
    assert_eq!((view.state, view.summary().pid), (Status::Running, Some(std::process::id())));
    run.beat(NOW - 61_000, 0);
    let text = run.crashes(unknown()).text;
    assert!(text.contains("this file system has no locks; its last heartbeat is 61 s away"), "{text}");
    std::fs::remove_file(run.dir.join(RunDir::HEARTBEAT)).unwrap();
    assert!(run.crashes(unknown()).text.contains("there is no heartbeat"));
}

#[test]
fn a_stall_is_ten_median_steps_but_no_less_than_two_minutes() {
    let run = run();
    let stalled = |t, still| {
        run.beat(t, still);
        run.seen(Liveness::Alive).stalled_ms
    };
    assert_eq!(stalled(NOW, 119_000), None);
    assert_eq!(stalled(NOW, 121_000), Some(121_000));
    assert_eq!(stalled(NOW - 100_000, 50_000), Some(150_000), "a heartbeat that stands still counts");
    assert_eq!(stalled(NOW + DAY, 1000), None, "a beat from the future is no age");
    run.state(Status::Paused, NOW);
    assert_eq!(stalled(NOW, 500_000), None, "a pause is no stall");
    run.state(Status::Running, NOW);
    for seq in 1..=100 {
        let total = if seq % 10 == 0 { 900_000.0 } else { 20_000.0 };
        let step = Step { dt_ms: StepTime { total, ..StepTime::default() }, ..Step::new(seq, 1.0, 1.0) };
        let line = Line { v: 1, seq, t: 0, mono: 0, att: 1, rank: 0, record: Metric::Step(step) };
        append_line(&run.dir.join(RunDir::METRICS), &serde_json::to_string(&line).unwrap()).unwrap();
    }
    assert_eq!(stalled(NOW, 199_000), None);
    assert_eq!(stalled(NOW, 201_000), Some(201_000));
    let left = run.seen(Liveness::Alive).summary().seconds_left.unwrap();
    assert!((770 * 20..770 * 160).contains(&left), "770 steps of 20 s, some of 900: {left}");
}

#[test]
fn a_stopped_process_is_suspended_only_where_its_pid_means_something() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let field = |n: usize| stat().rsplit(')').next().unwrap().split_whitespace().nth(n - 3).unwrap().to_owned();
    // SAFETY: a signal to a child that has not been waited for
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGSTOP) }, 0);
    let begun = std::time::Instant::now();
    while field(3) != "T" && begun.elapsed() < Duration::from_secs(30) {
        std::thread::yield_now();
    }
    let run = run();
    let worker = WorkerInfo { pid: child.id(), start_ticks: field(22).parse().unwrap(), ..run.here.place.clone() };
    run.worker(worker.clone());
    assert!(run.seen(Liveness::Alive).suspended);
    assert!(!run.seen(Liveness::Dead).suspended);
    run.worker(WorkerInfo { start_ticks: 1, ..worker.clone() });
    assert!(!run.seen(Liveness::Alive).suspended, "another process with its pid");
    run.worker(WorkerInfo { host: "elsewhere".into(), ..worker });
    assert!(!run.seen(Liveness::Alive).suspended);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_damaged_file_is_named_and_the_rest_is_shown() {
    let run = run();
    run.write(RunDir::STATE, "{\"v\":1,\"sta");
    assert!(RunView::open(&run.dir).unwrap_err().to_string().contains("state.json"));
    let view = RunView::open_lenient(&run.dir);
    assert!(view.error.unwrap().contains("state.json"));
    assert_eq!((view.info.name.as_str(), view.state), ("receipts", Status::Created));
    run.write(RunDir::INFO, "no");
    let error = RunView::open_lenient(&run.dir).error.unwrap();
    assert!(error.contains("run.json") && error.contains("state.json"), "{error}");
}

#[test]
fn a_run_that_was_never_started_is_created() {
    let temp = tempfile::tempdir().unwrap();
    let view = RunView::open(&RunDir::create(temp.path().join("new")).unwrap()).unwrap();
    assert_eq!((view.state, view.info.id.as_str(), view.summary().pid), (Status::Created, "new", None));
}

/// A copy (reading must work anywhere, and a lock file may be made by who asks) of a checked-in run.
fn golden(name: &str) -> (tempfile::TempDir, RunDir) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (path, to) = {
                let e = entry.unwrap();
                (e.path(), to.join(e.file_name()))
            };
            if path.is_dir() { copy(&path, &to) } else { std::fs::copy(path, to).map(drop).unwrap() }
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("run");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/runs").join(name), &to);
    (temp, RunDir::open(to).unwrap())
}

#[test]
fn a_run_of_the_first_schema_opens_and_can_be_resumed() {
    let (_temp, dir) = golden("v1");
    let view = RunView::open(&dir).unwrap();
    assert_eq!((view.state, view.info.id.as_str(), view.written.step), (Status::Crashed, "run", 5));
    let reason = view.reason.unwrap();
    assert!(reason.hint.unwrap().ends_with("goes on from checkpoint-4"));
    let events = super::super::log::read::<Event>(&dir.join(RunDir::EVENTS)).unwrap();
    let metrics = super::super::log::read::<Metric>(&dir.join(RunDir::METRICS)).unwrap();
    assert_eq!((events.damaged, metrics.damaged, metrics.lines.len()), (0, 0, 6));
    let (newest, skipped) = super::super::checkpoints::newest_complete(&dir).unwrap();
    assert_eq!((newest.unwrap().step, skipped), (4, Vec::new()));
}

#[test]
fn a_run_of_a_newer_minor_schema_opens_with_what_is_known() {
    let (_temp, dir) = golden("v1-newer");
    let view = RunView::open(&dir).unwrap();
    assert_eq!((view.state, view.written.step, view.info.name.as_str()), (Status::Finished, 6, "from a newer version"));
    let events = super::super::log::read::<Event>(&dir.join(RunDir::EVENTS)).unwrap();
    assert_eq!((events.damaged, events.lines.len()), (0, 4));
    assert!(events.lines.iter().any(|line| line.record == Event::Unknown));
}

#[test]
fn a_run_of_a_newer_major_schema_is_listed_and_says_why_it_cannot_be_read() {
    let (_temp, dir) = golden("v2");
    assert!(super::super::registry::is_run(dir.path()));
    let error = RunView::open(&dir).unwrap_err().to_string();
    assert!(error.contains("state.json") && error.contains("newer version of Lightbox; update to read it"), "{error}");
    assert_eq!(RunView::open_lenient(&dir).error.as_deref(), Some(error.as_str()));
    let events = super::super::log::read::<Event>(&dir.join(RunDir::EVENTS)).unwrap();
    assert_eq!((events.lines.len(), events.damaged), (0, 2), "its keys may mean something else");
}
