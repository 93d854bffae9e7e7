//! R24: nothing grows. R9: readers and floods of output cost the worker nothing.

use crate::rig::{Dice, Engine, Rig, Worker, scaled};
use lightbox_core::runs::{RunDir, rings};
use std::time::{Duration, Instant};

/// Resident bytes, open files and threads of a process.
fn measure(pid: u32) -> Option<(u64, usize, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        status.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((field("VmRSS:")? * 1024, open, field("Threads:")? as usize))
}

#[test]
fn r24_a_hundred_thousand_updates_leave_memory_files_and_threads_as_they_were() {
    let steps = 100_000 * scaled(1).min(10) as u64;
    let rig = Rig::new(
        Engine::Fake,
        &format!("max_steps: {steps}\nsave_steps: 5000\nlogging_steps: 1000\ngradient_accumulation_steps: 1"),
    );
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, 5000);
    let (early_bytes, early_files, early_threads) = measure(worker.0.id()).unwrap();
    let mut last = None;
    while worker.alive() {
        last = measure(worker.0.id()).or(last);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(worker.wait().code(), Some(0), "{}", rig.log_text());
    let (bytes, files, threads) = last.unwrap();
    let growth = bytes.saturating_sub(early_bytes);
    // trainer_state.json's history is the one thing that grows, by an entry each logging_steps.
    assert!(growth < 16 << 20, "{growth} bytes more after {steps} updates");
    assert!(files <= early_files + 2 && threads <= early_threads + 1, "{files} files, {threads} threads");
    let metrics = std::fs::metadata(rig.dir.join(RunDir::METRICS)).unwrap().len();
    assert_eq!(rig.steps().len() as u64, steps, "no record was dropped");
    println!(
        "R24, {steps} updates: {:.1} MB more memory, {files} files, {threads} threads, {} bytes of metrics an update",
        growth as f64 / 1e6,
        metrics / steps
    );
}

#[test]
fn r9_a_hundred_readers_coming_and_going_do_not_slow_the_worker() {
    let time = |readers: usize| {
        let rig = Rig::new(Engine::Fake, "max_steps: 400\nsave_steps: 1000\nlogging_steps: 100")
            .env("LIGHTBOX_FAKE_STEP_MS", 2);
        let mut worker = rig.start();
        rig.wait_for_step(&mut worker, 1);
        let mut seen = 0;
        while worker.alive() {
            for _ in 0..readers {
                let view = rig.view();
                seen += usize::from(view.written.step > 0) + rig.steps().len().min(1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(worker.wait().code(), Some(0));
        let mut times: Vec<f64> = rig.steps().iter().map(|s| s.dt_ms.total).collect();
        times.sort_by(f64::total_cmp);
        (times.get(times.len() / 2).copied().unwrap_or_default(), seen)
    };
    let (alone, _) = time(0);
    let (watched, seen) = time(10);
    assert!(seen > 0);
    println!("R9, readers: the median update took {watched:.2} ms with readers, {alone:.2} ms without");
}

/// R8: watchers come and are killed, with and without a word; the worker does not notice.
#[test]
fn r8_watchers_that_are_killed_change_nothing_for_the_worker() {
    use std::process::{Command, Stdio};
    let watchers = scaled(20);
    let mut dice = Dice::new("watchers are killed");
    let extra = "max_steps: 1000000\nsave_steps: 1000000\nlogging_steps: 10";
    let rig = Rig::new(Engine::Fake, extra).env("LIGHTBOX_FAKE_STEP_MS", 2);
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, 100);
    let alone = rig.steps().len();
    for i in 0..watchers {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightbox"));
        command.args(["runs", "attach"]).arg(rig.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("LIGHTBOX_STATE", rig.dir.path().with_file_name("state")).stderr(Stdio::piped());
        let mut watcher = Worker(command.spawn().unwrap());
        // Once it has said something it is attached; then it is killed while it writes, or left with a pipe nobody reads.
        let mut output = watcher.0.stderr.take().unwrap();
        let mut first = [0];
        let said = std::io::Read::read(&mut output, &mut first).unwrap();
        assert_eq!(said, 1, "watcher {i} said nothing");
        drop(output);
        std::thread::sleep(dice.time(Duration::from_millis(30)));
        watcher.signal([libc::SIGKILL, libc::SIGTERM, libc::SIGHUP][i % 3]);
        watcher.wait();
        assert!(worker.alive(), "after watcher {i}, seed {}\n{}", dice.seed, rig.log_text());
    }
    let at = rig.state().step;
    rig.wait_for_step(&mut worker, at + 10);
    worker.signal(libc::SIGTERM);
    assert_eq!(worker.wait().code(), Some(3), "{}", rig.log_text());
    let steps = rig.steps();
    assert!(steps.windows(2).all(|pair| pair[1].step == pair[0].step + 1), "an update is missing");
    let median = |part: &[lightbox_core::runs::record::Step]| {
        let mut times: Vec<f64> = part.iter().map(|s| s.dt_ms.total).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    println!(
        "R8, watchers: {watchers} killed; the median update took {:.2} ms before and {:.2} ms meanwhile",
        median(&steps[..alone]),
        median(&steps[alone..])
    );
}

#[test]
fn r9_output_without_end_is_kept_in_a_ring() {
    // Each update says a kilobyte: a fault that is told.
    let rig = Rig::new(
        Engine::Fake,
        "max_steps: 1000000\nsave_steps: 1000000\nlogging_steps: 1\nmax_nonfinite_steps: 1000000",
    );
    let mut worker = rig.start_with("step.loss#*=nan");
    let limit = rings::MAX_BYTES * (rings::OLDER as u64 + 2);
    let first = rig.dir.path().join(format!("{}.1", RunDir::WORKER_LOG));
    let deadline = Instant::now() + Duration::from_secs(120);
    while !first.exists() {
        assert!(worker.alive() && Instant::now() < deadline, "no ring within 120 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    worker.kill();
    let all: u64 = std::fs::read_dir(rig.dir.path())
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(RunDir::WORKER_LOG))
        .map(|e| e.metadata().unwrap().len())
        .sum();
    assert!(all < limit, "{all} bytes of worker.log");
}
