use super::*;
use std::io::BufRead;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

fn run() -> (tempfile::TempDir, RunDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::create(folder.path().join("run")).unwrap();
    (folder, dir)
}

const HOLD: &str = "LIGHTBOX_TEST_HOLD_LOCK";

/// Not a test: the child of the one below, which runs this binary again with `HOLD`.
#[test]
fn child_that_holds_a_lock() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let dir = RunDir::open(path).unwrap();
    let _lock = RunLock::acquire(&dir).unwrap();
    WorkerInfo::this(1).write(&dir).unwrap();
    println!("\nheld");
    let _ = std::io::stdin().read_line(&mut String::new()); // until the parent ends it, or ends
}

#[test]
fn killing_the_holder_frees_the_lock_at_once_even_while_it_is_a_zombie() {
    let (_folder, dir) = run();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runs::lock::tests::child_that_holds_a_lock", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"), "the child took the lock");
    assert_eq!(liveness(&dir), Liveness::Alive);
    let holder = WorkerInfo::read(&dir).unwrap();
    let text = RunLock::acquire(&dir).unwrap_err().to_string();
    for part in [format!("pid {}", child.id()), host(), "since 20".into(), "lightbox runs attach DIR".into()] {
        assert!(text.contains(&part), "{part:?} in {text}");
    }
    holder.signal(libc::SIGKILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while process(child.id()).is_some_and(|p| !p.ended) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(process(child.id()).is_some(), "nobody has waited for it: a zombie");
    // The first thread can be a zombie a moment before the last one has let go of the files.
    while liveness(&dir) != Liveness::Dead {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(holder.signal(libc::SIGTERM), Err(format!("the worker (pid {}) has ended", child.id())));
    RunLock::acquire(&dir).unwrap();
    child.wait().unwrap();
}

#[test]
fn of_two_that_race_exactly_one_wins() {
    let (_folder, dir) = run();
    for race in 0..50 {
        let start = Barrier::new(2);
        let (a, b) = std::thread::scope(|scope| {
            let contend = || {
                start.wait();
                RunLock::acquire(&dir)
            };
            let (a, b) = (scope.spawn(contend), scope.spawn(contend));
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "race {race}");
        assert!(matches!(a.err().or(b.err()), Some(LockError::Held(None))), "race {race}");
    }
}

#[test]
fn readers_never_get_in_a_starting_workers_way() {
    let (_folder, dir) = run();
    drop(RunLock::acquire(&dir).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        assert!(!matches!(liveness(&dir), Liveness::Unknown(_)));
                    }
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            let mut taken = 0;
            while !done.load(Relaxed) || taken == 0 {
                drop(RunLock::acquire(&dir).expect("only readers are there"));
                taken += 1;
            }
        });
        readers.into_iter().for_each(|r| r.join().unwrap());
        done.store(true, Relaxed);
        writer.join().unwrap();
    });
}

#[test]
fn a_run_that_never_started_is_dead() {
    let (_folder, dir) = run();
    assert_eq!(liveness(&dir), Liveness::Dead);
    assert!(!dir.join(RunDir::LOCK).exists(), "asking makes no file");
}

#[test]
fn only_the_very_same_process_is_signalled() {
    let this = WorkerInfo::this(1);
    assert_eq!(this.signal(0), Ok(()), "signal 0 only asks");
    for (says, info) in [
        ("machine other", WorkerInfo { host: "other".into(), ..this.clone() }),
        ("before this machine was", WorkerInfo { boot_id: "other".into(), ..this.clone() }),
        ("another container", WorkerInfo { pid_ns: 1, ..this.clone() }),
        ("has ended", WorkerInfo { start_ticks: this.start_ticks + 1, ..this.clone() }),
        ("has ended", WorkerInfo { pid: 0, start_ticks: 0, ..this.clone() }),
        ("has ended", WorkerInfo { pid: u32::MAX, ..this.clone() }),
    ] {
        let why = info.signal(0).unwrap_err();
        assert!(why.contains(says), "{says}: {why}");
    }
}

#[test]
fn worker_json_comes_back_as_written_and_a_damaged_one_is_named() {
    let (_folder, dir) = run();
    let info = WorkerInfo { device: Some("cuda:0".into()), ..WorkerInfo::this(3) };
    info.write(&dir).unwrap();
    assert_eq!(WorkerInfo::read(&dir).unwrap(), info);
    std::fs::write(dir.join(RunDir::WORKER), "{\"pid\": ").unwrap();
    let error = WorkerInfo::read(&dir).unwrap_err();
    assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().contains("worker.json"), "{error}");
    let _lock = RunLock::acquire(&dir).unwrap();
    assert!(RunLock::acquire(&dir).unwrap_err().to_string().contains("not said yet who"));
}

#[test]
fn a_process_began_before_now() {
    let (began, now) = (started_ms(std::process::id()).unwrap(), now_ms());
    assert!(began <= now && now - began < 3_600_000, "{began} {now}");
}
