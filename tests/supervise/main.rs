//! Runs and the terminals that start them: neither ends the other, and how a worker ends is always written down. With the
//! fake engine (`make build`), so without libtorch.

mod rig;

use lightbox_core::runs::RunDir;
use lightbox_core::runs::lock::{self, Liveness};
use lightbox_core::runs::state::Status;
use rig::{ROOT, Rig, Terminal, json, kill, until, wait};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FOR_EVER: u64 = 1_000_000;
const QUESTION: &str = "[c]ontinue watching: ";

fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_detached_run_goes_on_after_its_command_and_says_where_it_is() {
    let rig = Rig::new(FOR_EVER);
    let started = rig.detach();
    assert_eq!(started["dir"], rig.dir.path().display().to_string());
    assert!(started["run"].as_str().unwrap().contains("-run-"), "{started}");
    let worker = rig.worker();
    assert_eq!(started["pid"], worker.pid);
    assert_eq!(worker.launcher, "supervisor");
    rig.goes_on();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    assert_eq!(fields[4], "0", "the worker has no terminal");
    assert_eq!(fields[3], worker.supervisor.unwrap().to_string(), "its session is its supervisor's");
    let source = std::fs::read_to_string(rig.dir.join(RunDir::PROFILE_SOURCE)).unwrap();
    assert_eq!(source, std::fs::read_to_string(rig.profile()).unwrap());
    let mode = std::fs::metadata(rig.dir.join(RunDir::WORKER_LOG)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_start_of_a_live_run_is_refused_and_touches_nothing() {
    let rig = Rig::new(FOR_EVER);
    let pid = rig.detach()["pid"].to_string();
    let before = std::fs::read(rig.dir.join(RunDir::PROFILE)).unwrap();
    let out = rig.train(&["max_steps=3"]).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(23), "{err}");
    assert!(err.contains(&pid) && err.contains("attach"), "{err}");
    assert_eq!(std::fs::read(rig.dir.join(RunDir::PROFILE)).unwrap(), before);
    rig.goes_on();
}

#[test]
fn a_watched_run_ends_with_its_own_exit_code_and_shows_every_line() {
    let rig = Rig::new(12);
    let out = rig.train(&[]).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{err}");
    for step in 1..=12 {
        assert!(err.lines().any(|line| line.trim_start().starts_with(&format!("{step}/12 "))), "{step}: {err}");
    }
    assert!(err.contains("done: mean loss"), "{err}");
    assert_eq!(rig.exits(), [(Some(0), None, false)]);
    // The same command finds it done; other settings go on, and the old ones are kept.
    let out = rig.train(&["max_steps=20"]).output().unwrap();
    assert!(out.status.success() && String::from_utf8_lossy(&out.stderr).contains("resumed at step 12"));
    assert!(std::fs::read_to_string(rig.dir.join("profile.1.yaml")).unwrap().contains("max_steps: 12"));
    assert!(std::fs::read_to_string(rig.dir.join(RunDir::PROFILE)).unwrap().contains("max_steps: 20"));
}

#[test]
fn a_killed_worker_is_a_crash_that_can_be_gone_on_from() {
    let rig = Rig::new(FOR_EVER);
    rig.detach();
    until("a checkpoint", || rig.dir.checkpoint(5).exists().then_some(()));
    kill(rig.worker().pid, libc::SIGKILL);
    let state = rig.ended();
    assert_eq!(state.state, Status::Crashed);
    let reason = state.reason.unwrap();
    assert!(reason.kind == "signal" && reason.text.contains("signal 9"), "{reason:?}");
    assert!(reason.hint.unwrap().contains("checkpoint-"));
    assert_eq!(rig.exits(), [(None, Some(9), false)]);
    assert!(rig.log().lines().last().unwrap().starts_with("error: the worker was killed"), "{}", rig.log());
    rig.detach();
    until("the resumed run", || rig.log().contains("resumed at step").then_some(()));
}

#[test]
fn a_watcher_whose_worker_is_killed_ends_with_the_signal_and_its_name() {
    let rig = Rig::new(FOR_EVER);
    let child = rig.train(&[]).stderr(Stdio::piped()).spawn().unwrap();
    until("an update", || (rig.steps() > 0).then_some(()));
    kill(rig.worker().pid, libc::SIGKILL);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(137));
    assert!(String::from_utf8_lossy(&out.stderr).contains("killed at step"));
}

#[test]
fn a_killed_supervisor_ends_neither_worker_nor_watcher() {
    let rig = Rig::new(FOR_EVER);
    let mut child = rig.train(&[]).stderr(Stdio::null()).spawn().unwrap();
    until("an update", || (rig.steps() > 0).then_some(()));
    kill(rig.worker().supervisor.unwrap(), libc::SIGKILL);
    rig.goes_on();
    assert!(child.try_wait().unwrap().is_none());
    kill(rig.worker().pid, libc::SIGTERM);
    assert_eq!(wait(&mut child), Some(3), "stopped, as the files say");
}

#[test]
fn a_terminated_supervisor_lets_the_worker_write_a_checkpoint() {
    let rig = Rig::new(FOR_EVER);
    rig.detach();
    rig.goes_on();
    kill(rig.worker().supervisor.unwrap(), libc::SIGTERM);
    let state = rig.ended();
    assert_eq!(state.state, Status::Stopped);
    assert_eq!(state.checkpoint, Some(format!("checkpoint-{}", state.step)));
    assert_eq!(rig.exits(), [(Some(3), None, false)]);
}

#[test]
fn a_missing_libtorch_and_a_missing_worker_are_explained() {
    let rig = Rig::new(FOR_EVER);
    program(rig.temp.path(), "broken", "echo 'error while loading shared libraries: libtorch_cpu.so' >&2; exit 127");
    for (engine, words) in [("broken", "make build"), ("nowhere", "cannot start")] {
        let out = rig.train(&["--detach"]).env("LIGHTBOX_ENGINE", rig.temp.path().join(engine)).output().unwrap();
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(127), "{err}");
        assert!(err.contains(words), "{err}");
        assert_eq!(rig.state()["state"], "failed");
        assert_eq!(rig.state()["reason"]["kind"], "cannot_start");
        let out = rig.train(&[]).env("LIGHTBOX_ENGINE", rig.temp.path().join(engine)).output().unwrap();
        assert_eq!(out.status.code(), Some(127));
        assert!(String::from_utf8_lossy(&out.stderr).contains(words));
    }
}

#[test]
fn a_lost_gpu_is_tried_once_more_and_then_it_is_the_end() {
    let rig = Rig::new(FOR_EVER);
    let out = rig.train(&["max_restarts=1"]).env("LIGHTBOX_FAULTS", "micro#12=device").output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(24), "{err}");
    assert_eq!(rig.exits(), [(Some(24), None, true), (Some(24), None, false)]);
    assert_eq!((&rig.state()["state"], &rig.state()["reason"]["kind"]), (&"failed".into(), &"device".into()));
    assert!(err.contains("started again") && err.contains("resumed at step"), "{err}");
}

#[test]
fn the_terminal_can_be_closed_and_the_watcher_killed() {
    let rig = Rig::new(FOR_EVER);
    let (terminal, mut child) = Terminal::start(rig.train(&[]));
    until("an update", || (rig.steps() > 0).then_some(()));
    drop(terminal);
    assert_eq!(wait(&mut child), Some(129), "hung up");
    rig.goes_on();
    // A watcher that is killed while the run stops, starts or trains matters as little.
    kill(rig.worker().pid, libc::SIGTERM);
    rig.ended();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGKILL] {
        let mut child = rig.train(&[]).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        until("a live worker", || (lock::liveness(&rig.dir) == Liveness::Alive).then_some(()));
        rig.goes_on();
        // SAFETY: a signal to the group of our own child.
        unsafe { libc::kill(-(child.id() as i32), signal) };
        assert_eq!(wait(&mut child), (signal != libc::SIGKILL).then_some(128 + signal));
        rig.goes_on();
        kill(rig.worker().pid, libc::SIGTERM);
        until("the end", || (lock::liveness(&rig.dir) == Liveness::Dead).then_some(()));
    }
}

#[test]
fn ctrl_c_asks_and_does_what_is_answered() {
    let rig = Rig::new(FOR_EVER);
    let (mut terminal, mut child) = Terminal::start(rig.train(&[]));
    terminal.wait_for("% ");
    terminal.type_in("\x03");
    terminal.wait_for(QUESTION);
    terminal.type_in("what?\n");
    terminal.wait_for(QUESTION);
    terminal.type_in("c\n");
    terminal.wait_for("% ");
    rig.goes_on();
    terminal.type_in("\x03");
    terminal.wait_for(QUESTION);
    terminal.type_in("s\n");
    terminal.wait_for("stopping");
    terminal.wait_for("is saved");
    assert_eq!(wait(&mut child), Some(3));
    assert_eq!(rig.ended().state, Status::Stopped);
    // Detached by the answer, and by a second Ctrl-C.
    let (mut terminal, mut child) = Terminal::start(rig.train(&[]));
    terminal.wait_for("% ");
    terminal.type_in("\x03");
    terminal.wait_for(QUESTION);
    terminal.type_in("d\n");
    terminal.wait_for("the run goes on");
    assert_eq!(wait(&mut child), Some(130));
    rig.goes_on();
    kill(rig.worker().pid, libc::SIGTERM);
    rig.ended();
    let (mut terminal, mut child) = Terminal::start(rig.train(&[]));
    terminal.wait_for("% ");
    terminal.type_in("\x03");
    terminal.wait_for(QUESTION);
    terminal.type_in("\x03");
    assert_eq!(wait(&mut child), Some(130));
    rig.goes_on();
}

#[test]
fn without_a_terminal_ctrl_c_leaves_the_run_and_says_how_to_come_back() {
    let rig = Rig::new(FOR_EVER);
    let child = rig.train(&[]).stderr(Stdio::piped()).spawn().unwrap();
    until("an update", || (rig.steps() > 0).then_some(()));
    kill(child.id(), libc::SIGINT);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&out.stderr).lines().last().unwrap().contains("lightbox runs attach"));
    rig.goes_on();
}

#[test]
fn in_the_foreground_ctrl_c_and_a_closed_terminal_stop_with_a_checkpoint() {
    for close in [false, true] {
        let rig = Rig::new(FOR_EVER);
        let (mut terminal, mut child) = Terminal::start(rig.train(&["--foreground"]));
        terminal.wait_for("% ");
        match close {
            true => drop(terminal),
            false => terminal.type_in("\x03"),
        }
        assert_eq!(wait(&mut child), Some(3));
        let state = rig.ended();
        assert_eq!((state.state, state.checkpoint), (Status::Stopped, Some(format!("checkpoint-{}", state.step))));
    }
}

/// Whatever is odd about the place where a run is started is no business of the worker.
#[test]
fn a_run_starts_from_the_oddest_places() {
    let odd = |what: &str, make: &dyn Fn(&Rig) -> Command| {
        let rig = Rig::new(FOR_EVER);
        let mut command = make(&rig);
        command.args(["--detach", "--json"]);
        let out = command.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
        assert!(out.status.success(), "{what}: {}", String::from_utf8_lossy(&out.stderr));
        rig.goes_on();
        kill(rig.worker().pid, libc::SIGTERM);
        assert_eq!(rig.ended().state, Status::Stopped, "{what}");
    };
    let in_child = |mut command: Command, act: fn()| {
        let act = move || {
            act();
            Ok(())
        };
        // SAFETY: the acts are plain system calls between fork and exec.
        unsafe { command.pre_exec(act) };
        command
    };
    odd("no TERM", &|rig| {
        let mut command = rig.train(&[]);
        command.env_remove("TERM");
        command
    });
    odd("no HOME, no state folder", &|rig| {
        let mut command = rig.train(&[]);
        command.env_remove("HOME").env_remove("LIGHTBOX_STATE").env_remove("XDG_STATE_HOME");
        command
    });
    // SAFETY: plain system calls.
    odd("stdin closed", &|rig| in_child(rig.train(&[]), || _ = unsafe { libc::close(0) }));
    odd("umask 000", &|rig| in_child(rig.train(&[]), || _ = unsafe { libc::umask(0) }));
    odd("umask 077", &|rig| in_child(rig.train(&[]), || _ = unsafe { libc::umask(0o077) }));
    odd("signals ignored", &|rig| {
        in_child(rig.train(&[]), || {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGCHLD] {
                // SAFETY: a plain system call.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
        })
    });
    odd("the folder is deleted", &|rig| {
        let folder = rig.temp.path().join("gone");
        std::fs::create_dir(&folder).unwrap();
        let script = format!("cd {0} && rmdir {0} && exec \"$@\"", folder.display());
        let train = rig.train(&[]);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(train.get_program()).args(train.get_args()).stdin(Stdio::null());
        command.envs(train.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    });
}

#[test]
fn an_attached_watcher_shows_at_once_where_the_run_stands_and_ends_as_it_ends() {
    let rig = Rig::new(FOR_EVER);
    rig.detach();
    until("a checkpoint", || rig.state()["checkpoint"].as_str().map(drop));
    let began = Instant::now();
    let (mut terminal, mut child) = Terminal::start(rig.attach());
    terminal.wait_for("· running · step ");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    terminal.wait_for("% ");
    // A second one, and its end, are no business of the first.
    let (mut other, mut second) = Terminal::start(rig.attach());
    other.wait_for("% ");
    kill(second.id(), libc::SIGTERM);
    assert_eq!(wait(&mut second), Some(143));
    rig.goes_on();
    kill(rig.worker().pid, libc::SIGKILL);
    terminal.wait_for("killed at step");
    assert_eq!(wait(&mut child), Some(137));
    // And afterwards.
    let out = rig.attach().output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(137), "{err}");
    assert!(err.contains("· crashed · step ") && err.contains("signal 9"), "{err}");
}

#[test]
fn an_attached_watcher_can_stop_the_run() {
    let rig = Rig::new(FOR_EVER);
    rig.detach();
    rig.goes_on();
    let (mut terminal, mut child) = Terminal::start(rig.attach());
    terminal.wait_for("% ");
    terminal.type_in("\x03");
    terminal.wait_for(QUESTION);
    terminal.type_in("s\n");
    terminal.wait_for("is saved");
    assert_eq!(wait(&mut child), Some(3));
}

#[test]
fn a_screen_that_is_gone_ends_the_watcher_and_not_the_run() {
    let rig = Rig::new(FOR_EVER);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = rig.train(&[]).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    drop(reader);
    assert_eq!(wait(&mut child), Some(129));
    rig.goes_on();
}

/// systemd-logind ends what a user started when they log out, if it is told to; its programs are played by scripts.
#[test]
fn where_logging_out_kills_the_run_goes_under_the_service_manager_or_a_warning_is_given() {
    let scripts = tempfile::tempdir().unwrap();
    let busctl = |linger: bool| format!("case \"$*\" in *Linger*) echo 'b {linger}';; *) echo 'b true';; esac");
    let log = scripts.path().join("log");
    program(
        scripts.path(),
        "systemd-run",
        &format!("echo \"$@\" >> {}; while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"", log.display()),
    );
    let path = format!("{}:{}", scripts.path().display(), std::env::var("PATH").unwrap());
    for (linger, way) in [(true, "systemd-run"), (false, "setsid")] {
        program(scripts.path(), "busctl", &busctl(linger));
        let rig = Rig::new(FOR_EVER);
        let out = rig.train(&["--detach", "--json"]).env("PATH", &path).env_remove("USER").output().unwrap();
        let warned = String::from_utf8_lossy(&out.stderr).contains("enable-linger");
        assert_eq!(json(out)["pid"], rig.worker().pid);
        rig.goes_on();
        let env: serde_json::Value =
            serde_json::from_slice(&std::fs::read(rig.dir.join(RunDir::ENV)).unwrap()).unwrap();
        assert_eq!((env["launched"].as_str(), warned), (Some(way), !linger));
    }
    assert!(std::fs::read_to_string(log).unwrap().contains("--user --scope --quiet"));
}

#[test]
fn the_command_that_is_kept_holds_no_token() {
    let rig = Rig::new(3);
    let out = rig.train(&["--detach", "hf_hub_token=hf_secret"]).current_dir(ROOT).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    rig.ended();
    let env = std::fs::read_to_string(rig.dir.join(RunDir::ENV)).unwrap();
    assert!(env.contains("hf_hub_token=…") && !env.contains("hf_secret"), "{env}");
}
