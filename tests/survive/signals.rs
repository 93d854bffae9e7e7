//! R7: signals in every phase; R11: one run, two workers; R25: started by torchrun, srun or mpirun; and the drop-box.

use crate::rig::{Engine, Rig, Worker, scaled};
use lightbox_core::runs::commands::{CheckpointNow, Command, EvaluateNow, SampleNow, Stop, StopWhen, send};
use lightbox_core::runs::edits::Edit;
use lightbox_core::runs::record::{Ack, Event, Phase};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::{RunDir, checkpoints};
use std::time::{Duration, Instant};

/// Brings a fresh run of the fake engine into a phase, and waits there.
fn in_phase(phase: &str) -> (Rig, Worker) {
    let extra = "max_steps: 3000\nsave_steps: 500\neval_strategy: steps\neval_steps: 500\nval_size: 0.1";
    let rig = Rig::new(Engine::Fake, extra);
    match phase {
        "load" => {
            let rig = rig.env("LIGHTBOX_FAKE_LOAD_MS", 60_000);
            let mut worker = rig.start();
            rig.wait_for(&mut worker, "loading", |e| matches!(e, Event::Phase { phase: Phase::LoadingModel, .. }));
            (rig, worker)
        }
        "step" => {
            let rig = rig.env("LIGHTBOX_FAKE_STEP_MS", 2);
            let mut worker = rig.start();
            rig.wait_for_step(&mut worker, 3);
            (rig, worker)
        }
        "evaluation" => {
            let rig = rig.env("LIGHTBOX_FAKE_STEP_MS", 50);
            let mut worker = rig.start();
            rig.wait_for_step(&mut worker, 1);
            send(&rig.dir, Command::EvaluateNow(EvaluateNow::default()), "test").unwrap();
            rig.wait_for(&mut worker, "evaluating", |e| matches!(e, Event::Phase { phase: Phase::Evaluating, .. }));
            (rig, worker)
        }
        "checkpoint" => {
            let rig = rig.env("LIGHTBOX_FAKE_BYTES", 8 << 20);
            let mut worker = rig.start();
            rig.wait_for_step(&mut worker, 1);
            send(&rig.dir, Command::CheckpointNow(CheckpointNow::default()), "test").unwrap();
            rig.wait_for(&mut worker, "saving", |e| matches!(e, Event::CheckpointBegin { .. }));
            (rig, worker)
        }
        "paused" => {
            let mut worker = rig.start();
            rig.wait_for_step(&mut worker, 1);
            send(&rig.dir, Command::Pause, "test").unwrap();
            rig.wait_for(&mut worker, "paused", |e| matches!(e, Event::State { to: Status::Paused, .. }));
            (rig, worker)
        }
        other => panic!("no such phase: {other}"),
    }
}

#[track_caller]
fn lives(rig: &Rig, worker: &mut Worker, how: &str) {
    let id = send(&rig.dir, Command::Ping, "test").unwrap();
    rig.wait_for(
        worker,
        how,
        |e| matches!(e, Event::CommandAck { id: acked, status: Ack::Applied, .. } if *acked == id),
    );
}

#[test]
fn r7_every_signal_does_what_is_documented_in_every_phase() {
    let mut combinations = 0;
    for _ in 0..scaled(1).min(5) {
        for phase in ["load", "step", "evaluation", "checkpoint", "paused"] {
            for (name, signal) in [
                ("HUP", libc::SIGHUP),
                ("INT", libc::SIGINT),
                ("INT twice", libc::SIGINT),
                ("TERM", libc::SIGTERM),
                ("USR1", libc::SIGUSR1),
                ("QUIT", libc::SIGQUIT),
                ("PIPE", libc::SIGPIPE),
                ("TSTP and CONT", libc::SIGSTOP), // an orphan's TSTP is thrown away by the kernel; STOP is not
            ] {
                let how = format!("{name} while in {phase}");
                let (rig, mut worker) = in_phase(phase);
                let sent = Instant::now();
                worker.signal(signal);
                match name {
                    "INT" | "TERM" | "INT twice" => {
                        if name == "INT twice" {
                            worker.signal(signal);
                        }
                        let status = worker.wait();
                        assert_eq!(status.code(), Some(3), "{how}\n{}", rig.log_text());
                        assert!(sent.elapsed() < Duration::from_secs(10), "{how}: {:?}", sent.elapsed());
                        let state = rig.state();
                        assert_eq!(state.state, Status::Stopped, "{how}");
                        let (newest, why) = checkpoints::newest_complete(&rig.dir).unwrap();
                        assert!(why.is_empty(), "{how}: {why:?}");
                        if name != "INT twice" && state.step > 0 {
                            assert_eq!(newest.map(|c| c.step), Some(state.step), "{how}\n{}", rig.log_text());
                        }
                    }
                    "QUIT" => {
                        use std::os::unix::process::ExitStatusExt;
                        assert_eq!(worker.wait().signal(), Some(libc::SIGQUIT), "{how}");
                        assert_eq!(rig.view().state, Status::Crashed, "{how}");
                    }
                    "TSTP and CONT" => {
                        let deadline = Instant::now() + Duration::from_secs(30);
                        while !rig.view().suspended {
                            assert!(Instant::now() < deadline, "{how}: not shown as suspended");
                            std::thread::yield_now();
                        }
                        worker.signal(libc::SIGCONT);
                        if phase == "load" {
                            assert!(worker.alive(), "{how}");
                        } else {
                            lives(&rig, &mut worker, &how);
                        }
                    }
                    "USR1" if phase == "load" => {
                        assert!(worker.alive(), "{how}");
                    }
                    "USR1" => {
                        rig.wait_for(&mut worker, &how, |e| matches!(e, Event::CheckpointSaved { .. }));
                        lives(&rig, &mut worker, &how);
                    }
                    _ if phase == "load" => assert!(worker.alive(), "{how}"),
                    _ => lives(&rig, &mut worker, &how),
                }
                combinations += 1;
            }
        }
    }
    println!("R7, signals: {combinations} combinations of signal and phase as documented");
}

#[test]
fn r7_usr2_says_where_the_worker_is() {
    let (rig, mut worker) = in_phase("step");
    worker.signal(libc::SIGUSR2);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !rig.log_text().contains("phase Training") {
        assert!(Instant::now() < deadline && worker.alive(), "{}", rig.log_text());
        std::thread::yield_now();
    }
}

#[test]
fn r11_of_two_workers_on_one_run_exactly_one_wins() {
    let races = scaled(50);
    for race in 0..races {
        let rig = Rig::new(Engine::Fake, "max_steps: 100000").env("LIGHTBOX_FAKE_STEP_MS", 1);
        let mut workers = [rig.start(), rig.start()];
        let deadline = Instant::now() + Duration::from_secs(60);
        let loser = loop {
            if let Some(i) = (0..2).find(|&i| !workers[i].alive()) {
                break i;
            }
            assert!(Instant::now() < deadline, "race {race}: both live\n{}", rig.log_text());
            std::thread::yield_now();
        };
        assert_eq!(workers[loser].wait().code(), Some(23), "race {race}\n{}", rig.log_text());
        let winner = &mut workers[1 - loser];
        rig.wait_for_step(winner, 1);
        // It cannot know the holder before that one has said who it is; its text always says what to do.
        assert!(rig.log_text().contains("lightbox runs"), "{}", rig.log_text());
        winner.kill();
        assert_eq!(rig.view().state, Status::Crashed);
    }
    println!("R11, two workers on one run: {races} races, one winner each");
}

/// The id's final answer.
#[track_caller]
fn answer(rig: &Rig, worker: &mut Worker, command: Command) -> (Ack, Option<String>) {
    let what = format!("an answer to {command:?}");
    let id = send(&rig.dir, command, "test").unwrap();
    rig.wait_for(
        worker,
        &what,
        |e| matches!(e, Event::CommandAck { id: acked, status: Ack::Applied | Ack::Rejected, .. } if *acked == id),
    );
    rig.events()
        .into_iter()
        .rev()
        .find_map(|e| match e {
            Event::CommandAck { id: acked, status, error, .. } if acked == id => Some((status, error)),
            _ => None,
        })
        .unwrap()
}

#[test]
fn commands_are_answered_and_done() {
    let extra = "max_steps: 1000000\nsave_steps: 1000000\nval_size: 0.1\nlogging_steps: 100000";
    let rig = Rig::new(Engine::Fake, extra).env("LIGHTBOX_FAKE_STEP_MS", 1);
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, 2);
    let w = &mut worker;
    assert_eq!(answer(&rig, w, Command::Ping).0, Ack::Applied);
    assert_eq!(answer(&rig, w, Command::Resume).0, Ack::Rejected, "it is not paused");
    assert_eq!(answer(&rig, w, Command::Pause).0, Ack::Applied);
    assert_eq!(rig.state().state, Status::Paused);
    // A paused run can be saved, evaluated and asked.
    let pinned = CheckpointNow { pin: true, label: Some("before lunch".into()) };
    assert_eq!(answer(&rig, w, Command::CheckpointNow(pinned)).0, Ack::Applied);
    let paused_at = rig.state().checkpoint.unwrap();
    assert_eq!(
        checkpoints::pins(&rig.dir).unwrap().values().cloned().collect::<Vec<_>>(),
        [Some("before lunch".into())]
    );
    assert_eq!(answer(&rig, w, Command::EvaluateNow(EvaluateNow { limit: Some(3) })).0, Ack::Applied);
    let ask = SampleNow { prompt: Some("What is it?".into()), ..SampleNow::default() };
    assert_eq!(answer(&rig, w, Command::SampleNow(ask)).0, Ack::Applied);
    assert!(rig.events().iter().any(|e| matches!(e, Event::Sample { prompt, .. } if prompt == "What is it?")));
    assert_eq!(answer(&rig, w, Command::Resume).0, Ack::Applied);
    // Settings hold from a step on, and are kept for a resume.
    assert_eq!(answer(&rig, w, Command::Set(Edit::LrScale(0.5))).0, Ack::Applied);
    assert!(send(&rig.dir, Command::Set(Edit::LrScale(f64::NAN)), "test").is_err(), "not even sent");
    assert_eq!(answer(&rig, w, Command::Set(Edit::SaveSteps(50))).0, Ack::Applied);
    rig.wait_for(
        w,
        "a save by the new interval",
        |e| matches!(e, Event::CheckpointSaved { step, .. } if step % 50 == 0),
    );
    assert_eq!(answer(&rig, w, Command::Stop(Stop { when: StopWhen::AfterStep, checkpoint: true })).0, Ack::Applied);
    assert_eq!(w.wait().code(), Some(3));
    let step = rig.state().step;
    assert_eq!(rig.state().checkpoint, Some(format!("checkpoint-{step}")));
    assert!(rig.dir.join(&paused_at).is_dir(), "pinned");
    let halved = rig.steps().iter().any(|s| s.lr < 0.6e-3);
    assert!(halved, "half the rate");
    // The next attempt still has it.
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, step + 2);
    assert!(rig.steps().iter().filter(|s| s.step > step).all(|s| s.lr < 0.6e-3));
    answer(&rig, &mut worker, Command::Kill);
    assert_eq!(worker.wait().code(), Some(3));
    assert_eq!(rig.state().state, Status::Stopped);
}

#[test]
fn rubbish_in_the_drop_box_is_refused_and_harms_nobody() {
    let rig = Rig::new(Engine::Fake, "max_steps: 1000000").env("LIGHTBOX_FAKE_STEP_MS", 1);
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, 1);
    let commands = rig.dir.join(RunDir::COMMANDS);
    std::fs::create_dir_all(&commands).unwrap();
    for (name, text) in [
        ("a.json", "not json"),
        ("b.json", r#"{"v":1,"id":"b","cmd":"fly"}"#),
        ("c.json", r#"{"v":99,"id":"c","cmd":"ping"}"#),
        ("d.json", &"x".repeat(100_000)),
        ("e.json", r#"{"v":1,"id":"e","cmd":"set","args":{"key":"seed","value":1}}"#),
    ] {
        let partial = commands.join(format!(".{name}"));
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(&partial, commands.join(name)).unwrap();
    }
    let rejected = |rig: &Rig| {
        rig.events().iter().filter(|e| matches!(e, Event::CommandAck { status: Ack::Rejected, .. })).count()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while rejected(&rig) < 5 {
        assert!(Instant::now() < deadline && worker.alive(), "{} rejected\n{}", rejected(&rig), rig.log_text());
        std::thread::yield_now();
    }
    lives(&rig, &mut worker, "after rubbish");
    assert_eq!(rejected(&rig), 5);
}

#[test]
fn r25_launchers_with_one_process_are_recognised_and_more_are_refused_in_words() {
    let launchers: [(&str, &[(&str, &str)]); 4] = [
        ("torchrun", &[("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("TORCHELASTIC_RUN_ID", "none")]),
        (
            "srun",
            &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_LOCALID", "0"), ("SLURM_STEP_ID", "0")],
        ),
        (
            "mpirun",
            &[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_LOCAL_RANK", "0")],
        ),
        ("hand", &[]),
    ];
    for (name, env) in launchers {
        let rig = Rig::new(Engine::Real, "max_steps: 2");
        let mut command = rig.command();
        command.envs(env.iter().copied());
        assert_eq!(Worker(command.spawn().unwrap()).wait().code(), Some(0), "{name}\n{}", rig.log_text());
        let worker = lightbox_core::runs::lock::WorkerInfo::read(&rig.dir).unwrap();
        assert_eq!(worker.launcher, name);
        if name == "hand" {
            continue;
        }
        let rig = Rig::new(Engine::Real, "max_steps: 2");
        let mut command = rig.command();
        command.envs(env.iter().map(|(key, value)| {
            let value = if key.contains("SIZE") || *key == "SLURM_STEP_NUM_TASKS" { "2" } else { value };
            (*key, value)
        }));
        assert_eq!(Worker(command.spawn().unwrap()).wait().code(), Some(10), "{name}, 2 processes");
        assert!(rig.log_text().contains("one process"), "{}", rig.log_text());
    }
}
