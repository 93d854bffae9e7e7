//! Runs to be killed: the fake engine (milliseconds) or the real one on a tiny model (seconds), both started by hand as
//! torchrun would, and what must be equal afterwards.

use lightbox_core::runs::checkpoints;
use lightbox_core::runs::log;
use lightbox_core::runs::record::{Event, Metric, Step};
use lightbox_core::runs::state::RunState;
use lightbox_core::runs::tail::Tail;
use lightbox_core::runs::{RunDir, view::RunView};
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Fake,
    /// libtorch on the CPU, one thread, `full_determinism`; pictures of several sizes, dropout, accumulation.
    Real,
}

impl Engine {
    pub fn program(self) -> PathBuf {
        let name = match self {
            Self::Fake => "lightbox-fake-engine",
            Self::Real => "lightbox-engine",
        };
        let path = Path::new(env!("CARGO_BIN_EXE_lightbox")).with_file_name(name);
        assert!(path.exists(), "{} is missing: run `make build`, then this test again", path.display());
        path
    }
}

/// One run folder with its profile.
pub struct Rig {
    pub engine: Engine,
    pub dir: RunDir,
    env: Vec<(String, String)>,
    _temp: Option<tempfile::TempDir>,
}

impl Rig {
    /// A run of 40 updates with a checkpoint every 5; `extra` lines go over that.
    pub fn new(engine: Engine, extra: &str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut rig = Self::at(engine, &temp.path().join("run"), extra);
        rig._temp = Some(temp);
        rig
    }

    pub fn at(engine: Engine, path: &Path, extra: &str) -> Self {
        let dir = RunDir::create(path).unwrap();
        let golden = Path::new(ROOT).join("tests/golden");
        let mut keys = BTreeMap::new();
        let base = format!(
            "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nmodel_name_or_path: {golden}/models/tiny-tied\n\
             dataset_dir: {golden}/llamafactory/data\ndataset: demo\nimage_max_pixels: 50176\nlearning_rate: 1.0e-3\n\
             lora_dropout: 0.1\nmax_steps: 40\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 2\n\
             logging_steps: 10\nsave_steps: 5\nsave_total_limit: 3\nfull_determinism: true\ndevice: cpu\nnum_threads: 1\n\
             output_dir: {}\n",
            dir.path().display(),
            golden = golden.display()
        );
        for line in base.lines().chain(extra.lines()) {
            let (key, value) = line.split_once(':').unwrap();
            keys.insert(key.to_owned(), value.to_owned());
        }
        let text: String = keys.iter().map(|(key, value)| format!("{key}:{value}\n")).collect();
        std::fs::write(dir.join(RunDir::PROFILE), text).unwrap();
        Self { engine, dir, env: Vec::new(), _temp: None }
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.into(), value.to_string()));
        self
    }

    pub fn faults(&self, faults: &str) -> Command {
        let mut command = self.command();
        command.env("LIGHTBOX_FAULTS", faults);
        command
    }

    /// The engine as a person would start it, its output in worker.log.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.engine.program());
        command.arg("train").arg(self.dir.path());
        let log =
            std::fs::OpenOptions::new().append(true).create(true).open(self.dir.join(RunDir::WORKER_LOG)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env("LIGHTBOX_STATE", self.dir.path().with_file_name("state"));
        command.env("OMP_NUM_THREADS", "1").env("OMP_WAIT_POLICY", "PASSIVE");
        command.env_remove("LIGHTBOX_FAULTS").env_remove("LIGHTBOX_SUPERVISOR");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        // A shell starts what it puts into the background with INT and QUIT ignored, and children inherit that.
        // SAFETY: signal is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGQUIT, libc::SIG_DFL);
                Ok(())
            });
        }
        command
    }

    pub fn start(&self) -> Worker {
        Worker(self.command().spawn().unwrap())
    }

    pub fn start_with(&self, faults: &str) -> Worker {
        Worker(self.faults(faults).spawn().unwrap())
    }

    /// Runs to its end.
    pub fn finish(&self) -> ExitStatus {
        self.start().wait()
    }

    pub fn state(&self) -> RunState {
        RunState::read(&self.dir).unwrap()
    }

    pub fn view(&self) -> RunView {
        RunView::open(&self.dir).unwrap()
    }

    pub fn events(&self) -> Vec<Event> {
        let path = self.dir.join(RunDir::EVENTS);
        if !path.exists() {
            return Vec::new();
        }
        log::read::<Event>(&path).unwrap().lines.into_iter().map(|line| line.record).collect()
    }

    /// Every update that any attempt logged.
    pub fn steps(&self) -> Vec<Step> {
        let path = self.dir.join(RunDir::METRICS);
        if !path.exists() {
            return Vec::new();
        }
        let lines = log::read::<Metric>(&path).unwrap().lines.into_iter();
        lines.filter_map(|line| if let Metric::Step(step) = line.record { Some(step) } else { None }).collect()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.dir.join(RunDir::WORKER_LOG)).unwrap_or_default()
    }

    /// The updates that count: of each the last one logged.
    pub fn outcome(&self) -> Outcome {
        let steps = self.steps().into_iter().map(|s| (s.step, Bits::of(&s))).collect();
        let adapter = std::fs::read(self.dir.join("adapter_model.safetensors")).unwrap();
        Outcome { steps, adapter }
    }

    /// All attempts together agree with `clean` in every update that they logged.
    #[track_caller]
    pub fn agrees_with(&self, clean: &Outcome, how: &str) {
        for step in self.steps() {
            let bits = Bits::of(&step);
            assert_eq!(Some(&bits), clean.steps.get(&step.step), "step {}: {how}\n{}", step.step, self.log_text());
        }
        let ours = self.outcome();
        assert_eq!(ours.steps.len(), clean.steps.len(), "{how}");
        assert!(ours.adapter == clean.adapter, "the adapter differs: {how}\n{}", self.log_text());
    }

    /// A checkpoint that was said to be written is there and whole, or a newer one is.
    #[track_caller]
    pub fn keeps_its_checkpoints(&self, how: &str) {
        let told = self.events().iter().rev().find_map(|e| match e {
            Event::CheckpointSaved { step, .. } => Some(*step),
            _ => None,
        });
        let (newest, why) = checkpoints::newest_complete(&self.dir).unwrap();
        assert!(newest.as_ref().map(|c| c.step) >= told, "told {told:?}, found {newest:?} ({why:?}): {how}");
    }

    /// Waits for an event with a deadline; the worker must live meanwhile.
    #[track_caller]
    pub fn wait_for(&self, worker: &mut Worker, what: &str, wanted: impl Fn(&Event) -> bool) {
        let mut tail: Tail<Event> = Tail::new(self.dir.join(RunDir::EVENTS));
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if tail.poll(10_000).unwrap().iter().any(|line| wanted(&line.record)) {
                return;
            }
            if let Some(status) = worker.0.try_wait().unwrap() {
                // It may have said it with its last words.
                if self.events().iter().any(&wanted) {
                    return;
                }
                panic!("{what}: the worker ended with {status}\n{}", self.log_text());
            }
            assert!(Instant::now() < deadline, "{what}: not within 120 s\n{}", self.log_text());
            std::thread::yield_now();
        }
    }

    #[track_caller]
    pub fn wait_for_step(&self, worker: &mut Worker, at_least: u64) {
        let mut tail: Tail<Metric> = Tail::new(self.dir.join(RunDir::METRICS));
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let seen = tail.poll(10_000).unwrap();
            if seen.iter().any(|line| matches!(&line.record, Metric::Step(s) if s.step >= at_least)) {
                return;
            }
            assert!(worker.0.try_wait().unwrap().is_none(), "step {at_least}: the worker ended\n{}", self.log_text());
            assert!(Instant::now() < deadline, "step {at_least}: not within 120 s\n{}", self.log_text());
            std::thread::yield_now();
        }
    }
}

/// What must come out the same, bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub steps: BTreeMap<u64, Bits>,
    pub adapter: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Bits {
    pub loss: String,
    grad_norm: Option<u64>,
    lr: u64,
    samples: String,
}

impl Bits {
    pub fn of(s: &Step) -> Self {
        Self {
            loss: s.loss_bits.clone(),
            grad_norm: s.grad_norm.map(f64::to_bits),
            lr: s.lr.to_bits(),
            samples: s.samples_hash.clone(),
        }
    }
}

/// A worker's process; killed when a test ends early.
pub struct Worker(pub Child);

impl Worker {
    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }

    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.0.wait().unwrap();
    }

    /// Its exit status, within two minutes.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end within 120 s");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `LIGHTBOX_TORTURE=20`: so many times the usual number (`make torture`).
pub fn scaled(tier_one: usize) -> usize {
    let factor = std::env::var("LIGHTBOX_TORTURE").ok().and_then(|f| f.parse().ok()).unwrap_or(1);
    tier_one * factor
}

/// Random numbers from a seed that a failure prints; `LIGHTBOX_SEED` repeats one.
pub struct Dice {
    pub seed: u64,
    drawn: u64,
}

impl Dice {
    pub fn new(test: &str) -> Self {
        let fresh = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("LIGHTBOX_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(fresh);
        eprintln!("{test}: LIGHTBOX_SEED={seed}");
        Self { seed, drawn: 0 }
    }

    /// In [0, n).
    pub fn below(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        lightbox_core::seed::at(self.seed, "test", &[self.drawn]) % n.max(1)
    }

    /// In [0, `most`).
    pub fn time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64))
    }
}
