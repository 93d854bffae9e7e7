//! A run of the fake engine, started by the real `lightbox train`; and a terminal that can be taken away.

use lightbox_core::runs::lock::{self, Liveness, WorkerInfo};
use lightbox_core::runs::log;
use lightbox_core::runs::record::{Event, Metric};
use lightbox_core::runs::state::RunState;
use lightbox_core::runs::{RunDir, tail::Tail};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something to see; the deadline is for a broken program on a busy machine.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Rig {
    pub temp: tempfile::TempDir,
    pub dir: RunDir,
}

impl Rig {
    /// A run of `steps` updates, each of a millisecond or so, with a checkpoint every 5.
    pub fn new(steps: u64) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let golden = Path::new(ROOT).join("tests/golden");
        let dir = RunDir::create(temp.path().join("run")).unwrap();
        let profile = format!(
            "# as it was written\nstage: sft\ndo_train: true\ntemplate: qwen2_vl\n\
             model_name_or_path: {golden}/models/tiny-tied\ndataset_dir: {golden}/llamafactory/data\ndataset: demo\n\
             max_steps: {steps}\nper_device_train_batch_size: 2\nlogging_steps: 1\nsave_steps: 5\nsave_total_limit: 3\n\
             device: cpu\noutput_dir: {}\n",
            dir.path().display(),
            golden = golden.display()
        );
        std::fs::write(temp.path().join("profile.yaml"), profile).unwrap();
        Self { temp, dir }
    }

    pub fn profile(&self) -> PathBuf {
        self.temp.path().join("profile.yaml")
    }

    /// `lightbox train PROFILE …`
    pub fn train(&self, args: &[&str]) -> Command {
        let mut command = self.lightbox();
        command.arg("train").arg(self.profile()).args(args);
        command
    }

    /// `lightbox runs attach RUN`
    pub fn attach(&self) -> Command {
        let mut command = self.lightbox();
        command.args(["runs", "attach"]).arg(self.dir.path());
        command
    }

    fn lightbox(&self) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_lightbox"));
        let engine = program.with_file_name("lightbox-fake-engine");
        assert!(engine.exists(), "{} is missing: run `make build`, then this test again", engine.display());
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        command.env("LIGHTBOX_ENGINE", engine).env("LIGHTBOX_STATE", self.temp.path().join("state"));
        command.env("LIGHTBOX_FAKE_STEP_MS", "2").env("TERM", "xterm");
        command.env_remove("LIGHTBOX_FAULTS").env_remove("LIGHTBOX_SUPERVISOR");
        command
    }

    #[track_caller]
    pub fn detach(&self) -> Value {
        json(self.train(&["--detach", "--json"]).output().unwrap())
    }

    pub fn state(&self) -> Value {
        let text = std::fs::read_to_string(self.dir.join(RunDir::STATE)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub fn steps(&self) -> usize {
        let mut metrics: Tail<Metric> = Tail::new(self.dir.join(RunDir::METRICS));
        let lines = metrics.poll(100_000).unwrap_or_default();
        lines.iter().filter(|line| matches!(line.record, Metric::Step(_))).count()
    }

    /// The run makes more updates than it has made.
    #[track_caller]
    pub fn goes_on(&self) {
        let before = self.steps();
        until("another update", || (self.steps() > before).then_some(()));
        assert_eq!(lock::liveness(&self.dir), Liveness::Alive);
    }

    /// `exited` records, in order: code, signal, restart.
    pub fn exits(&self) -> Vec<(Option<i32>, Option<i32>, bool)> {
        let lines = log::read::<Event>(&self.dir.join(RunDir::EVENTS)).map(|r| r.lines).unwrap_or_default();
        let exit = |event| match event {
            Event::Exited { code, signal, restart, .. } => Some((code, signal, restart)),
            _ => None,
        };
        lines.into_iter().filter_map(|line| exit(line.record)).collect()
    }

    pub fn worker(&self) -> WorkerInfo {
        until("worker.json", || WorkerInfo::read(&self.dir).ok())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join(RunDir::WORKER_LOG)).unwrap_or_default()
    }

    /// Waits until the supervisor has written how the run ended.
    #[track_caller]
    pub fn ended(&self) -> RunState {
        until("the end of the run", || {
            let state = RunState::read(&self.dir).ok().filter(|s| s.state.is_terminal())?;
            let last = self.exits().last().is_some_and(|exit| !exit.2);
            (last && lock::liveness(&self.dir) == Liveness::Dead).then_some(state)
        })
    }
}

impl Drop for Rig {
    /// No run outlives its test.
    fn drop(&mut self) {
        if lock::liveness(&self.dir) == Liveness::Alive
            && let Ok(worker) = WorkerInfo::read(&self.dir)
        {
            let _ = worker.signal(libc::SIGKILL);
        }
    }
}

#[track_caller]
pub fn json(out: Output) -> Value {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}\n{err}", out.status);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {:?}\n{err}", out.stdout))
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: a plain system call; the pid is of a process that this test has started.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "pid {pid}");
}

/// The exit code, within the deadline.
#[track_caller]
pub fn wait(child: &mut Child) -> Option<i32> {
    until("the watcher's end", || child.try_wait().unwrap()).code()
}

/// The keyboard and screen of a program.
pub struct Terminal {
    master: File,
    /// What has been shown so far.
    pub shown: String,
}

impl Terminal {
    /// Starts a program whose terminal this is: Ctrl-C and closing reach it as signals.
    pub fn start(mut command: Command) -> (Self, Child) {
        let (mut master, mut slave) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: two descriptors are written; the defaults are taken for everything else.
        assert_eq!(unsafe { libc::openpty(&mut master, &mut slave, none, none.cast(), none.cast()) }, 0);
        // SAFETY: both were just opened and belong to nobody else.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        for fd in [&master as &dyn std::os::fd::AsRawFd, &slave] {
            // SAFETY: flags of our own descriptors; the program must not get the other end of its terminal.
            unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: reading from it must not block, or a silent program would hang the test.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&master), libc::F_SETFL, libc::O_NONBLOCK) };
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let own_session = || {
            // SAFETY: plain system calls between fork and exec.
            match unsafe { libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 } {
                true => Err(std::io::Error::last_os_error()),
                false => Ok(()),
            }
        };
        // SAFETY: see above.
        let child = unsafe { command.pre_exec(own_session) }.spawn().unwrap();
        // The command holds this side's copies of the terminal's end.
        drop(command);
        (Self { master, shown: String::new() }, child)
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has been shown since the last call of this function.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let from = self.shown.len();
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(text, || {
                let mut block = [0; 4096];
                while let Ok(n @ 1..) = self.master.read(&mut block) {
                    self.shown.push_str(&String::from_utf8_lossy(&block[..n]));
                }
                last = self.shown[from..].to_owned();
                last.contains(text).then_some(())
            });
        }));
        assert!(found.is_ok(), "{text:?} is not in {last:?}");
    }
}
