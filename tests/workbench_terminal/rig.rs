//! The workbench in a folder of its own, on a terminal that is emulated as it goes.

use crate::pty::{Pty, TERMINAL_VARIABLES};
use crate::told::Told;
use lightbox::app::settings::Settings;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

pub const BIN: &str = env!("CARGO_BIN_EXE_lightbox");
pub const SCREENS: [&str; 5] = ["data", "train", "runs", "chat", "models"];
/// For one event, and for one test; nothing waits longer.
pub const PATIENCE: Duration = Duration::from_secs(30);
const ALL: Duration = Duration::from_secs(120);

/// The variables by which languages are known, and our own: a test starts without these and [`TERMINAL_VARIABLES`].
const OTHER_VARIABLES: [&str; 6] =
    ["LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANGUAGE", "LIGHTBOX_GRAPHICS", "LIGHTBOX_COLOURS"];

pub fn unset() -> impl Iterator<Item = &'static str> {
    TERMINAL_VARIABLES.into_iter().chain(OTHER_VARIABLES)
}

pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A folder to open the workbench in, with its own home and state.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    /// Nothing in it; the tour was seen.
    pub fn empty() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.settings(Settings { tour_seen: true, ..Settings::default() });
        folder
    }

    /// A small data set, and a run of the fake engine that has finished.
    pub fn filled() -> Self {
        let folder = Self::empty();
        let data = folder.path("data");
        copy(&golden().join("llamafactory/data"), &data);
        folder.data(&data);
        folder.train("night");
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self, settings: Settings) {
        settings.save(&self.path("state")).unwrap();
    }

    /// The Data screen shows this folder.
    pub fn data(&self, data: &Path) {
        let mut settings = Settings { tour_seen: true, ..Settings::default() };
        settings.last.dataset_dir = Some(data.to_owned());
        self.settings(settings);
    }

    /// Trains until it is done, in `saves/NAME`.
    pub fn train(&self, name: &str) {
        let golden = golden();
        let profile = format!(
            "stage: sft\ndo_train: true\ntemplate: qwen2_vl\nmodel_name_or_path: {golden}/models/tiny-tied\n\
             dataset_dir: {golden}/llamafactory/data\ndataset: demo\nlearning_rate: 1.0e-3\nmax_steps: 20\n\
             per_device_train_batch_size: 2\nlogging_steps: 5\nsave_steps: 10\ndevice: cpu\noutput_dir: saves/{name}\n",
            golden = golden.display()
        );
        std::fs::write(self.path("profile.yaml"), profile).unwrap();
        let out = self.lightbox().args(["train", "profile.yaml"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    pub fn lightbox(&self) -> Command {
        let mut command = Command::new(BIN);
        command.current_dir(self.0.path());
        unset().for_each(|name| {
            command.env_remove(name);
        });
        command.envs(self.vars());
        command
    }

    pub fn vars(&self) -> Vec<(&'static str, String)> {
        let engine = Path::new(BIN).with_file_name("lightbox-fake-engine");
        assert!(engine.exists(), "{} is missing: run `cargo build` first", engine.display());
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("TERM", "xterm-256color".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", text(self.0.path())),
            ("LIGHTBOX_STATE", text(&self.path("state"))),
            ("LIGHTBOX_ENGINE", text(&engine)),
            // nothing is downloaded, and an editor that is asked for changes nothing
            ("HF_ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("EDITOR", "true".to_owned()),
            ("VISUAL", "true".to_owned()),
        ]
    }

    /// The workbench on a terminal of 100x30 cells, on one of its screens.
    pub fn open(&self, screen: &str) -> Bench {
        Bench::start(self.workbench(screen), 100, 30)
    }

    pub fn workbench(&self, screen: &str) -> Command {
        let mut command = self.lightbox();
        command.args(["--screen", screen]);
        command
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A running workbench, and its screen.
pub struct Bench {
    pub pty: Pty,
    pub screen: vt100::Parser<Told>,
    /// Where the program's own output begins, behind the questions to the terminal.
    pub begun: usize,
    fed: usize,
    /// Dropped, it lets the watch go.
    _watch: Sender<()>,
}

impl Bench {
    pub fn start(command: Command, columns: u16, rows: u16) -> Self {
        let mut pty = Pty::sized(command, columns, rows);
        let watch = watch(pty.pid());
        let asked = "\x1b[m\x1b[c"; // the last of the questions
        let begun = pty.wait_for(asked) + asked.len();
        pty.send(b"\x1b[?62;22c");
        let screen = vt100::Parser::new_with_callbacks(size(rows), size(columns), 0, Told::default());
        let mut bench = Self { pty, screen, begun, fed: 0, _watch: watch };
        bench.wait("the tabs", |bench| bench.row(0).contains(" 1 "));
        bench
    }

    pub fn send(&mut self, keys: &str) {
        self.pty.send(keys.as_bytes());
    }

    /// Presses one key after the other, each drawn before the next.
    pub fn press(&mut self, keys: &[&str]) {
        for key in keys {
            self.send(key);
            self.pause(Duration::from_millis(40));
        }
    }

    /// Listens until nothing has come for this long.
    pub fn pause(&mut self, quiet: Duration) {
        let until = Instant::now() + PATIENCE;
        while self.pty.more(quiet) {
            assert!(Instant::now() < until, "the screen does not come to rest:\n{}", self.text());
        }
        self.feed();
    }

    pub fn settle(&mut self) {
        self.pause(Duration::from_millis(600));
    }

    #[track_caller]
    pub fn wait(&mut self, what: &str, come: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.feed();
            if come(self) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            let came = self.pty.more(left.min(Duration::from_millis(100)));
            let ended = if came { None } else { self.pty.ended() };
            assert!(!left.is_zero() && ended.is_none(), "{what} did not come ({ended:?}):\n{}", self.text());
        }
    }

    #[track_caller]
    pub fn wait_text(&mut self, text: &str) {
        self.wait(text, |bench| bench.text().contains(text));
    }

    fn feed(&mut self) {
        self.screen.process(&self.pty.seen[self.fed..]);
        self.fed = self.pty.seen.len();
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.pty.resize(columns, rows);
        self.screen.set_size(size(rows), size(columns));
    }

    pub fn text(&self) -> String {
        self.screen.screen().contents()
    }

    pub fn row(&self, row: u16) -> String {
        let (_, columns) = self.screen.screen().size();
        self.screen.screen().rows(0, columns.get()).nth(row.into()).unwrap_or_default()
    }

    /// What the program wrote, without the questions at its start.
    pub fn written(&self) -> &[u8] {
        &self.pty.seen[self.begun..]
    }

    /// Leaves by the quit command, whatever is open; no question is left unanswered.
    pub fn quit(&mut self) -> ExitStatus {
        self.settle();
        for _ in 0..10 {
            for keys in ["\x1b", "\x03", "y"] {
                self.send(keys);
                self.pause(Duration::from_millis(150));
                if !self.screen.screen().alternate_screen() {
                    return self.pty.wait_exit();
                }
            }
        }
        panic!("it cannot be quit:\n{}", self.text());
    }
}

/// Kills a program that hangs, so that a test that writes to it fails instead of waiting.
fn watch(pid: u32) -> Sender<()> {
    let (send, receive) = channel::<()>();
    std::thread::spawn(move || {
        if receive.recv_timeout(ALL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: the child is waited for only after the sender was dropped.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    });
    send
}

fn size(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

/// Numbers for a test; the seed goes into what it says when it fails.
pub struct Dice(pub u64);

impl Dice {
    pub fn new(what: &str) -> Self {
        let seed: Option<u64> = std::env::var("LIGHTBOX_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
        });
        println!("{what}: LIGHTBOX_TEST_SEED={seed}");
        Self(seed + 1)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}
