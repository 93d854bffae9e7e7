//! The commands that the demo uses, run as a user would: its own program, one process each.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to ask a model.
pub struct Ask<'a> {
    pub model: &'a Path,
    pub adapter: Option<&'a Path>,
    pub dataset_dir: &'a Path,
    pub dataset: &'a str,
    /// JSONL: index, prompt, predict, label.
    pub output: &'a Path,
}

/// The steps of the demo that are commands of their own. Tests put a stand-in here.
pub trait Tools {
    /// Parquet files in `source` to conversations named `name` in `dataset_dir`; row i gets question i % len.
    fn convert(&self, source: &Path, dataset_dir: &Path, name: &str, questions: &[&str]) -> Result<()>;
    fn train(&self, profile: &Path, overrides: &[OsString]) -> Result<()>;
    fn predict(&self, ask: &Ask) -> Result<()>;
}

/// Ctrl-C, or a child that was stopped by it.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Interrupted. What is finished was kept; run the same command again to go on.")
    }
}

impl std::error::Error for Interrupted {}

/// Exit code of a program that SIGINT ended, as shells count.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The real commands.
pub struct OwnProgram {
    program: PathBuf,
    /// Stdout is kept for the closing JSON line, so children speak on stderr.
    stdout_to_stderr: bool,
}

/// Longest answer; the longest caption has 60 tokens.
const MAX_NEW_TOKENS: usize = 80;

impl OwnProgram {
    pub fn new(stdout_to_stderr: bool) -> Result<Self> {
        let program = std::env::current_exe()
            .context("cannot find the program's own file, which the demo starts for each step")?;
        Ok(Self { program, stdout_to_stderr })
    }

    fn run(&self, args: &[OsString]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null());
        if self.stdout_to_stderr {
            command.stdout(std::io::stderr());
        }
        let shown = shell_line("lightbox", args);
        let guard = InterruptGuard::install();
        let status = command.status().with_context(|| format!("cannot start {}", self.program.display()))?;
        let interrupted = guard.interrupted();
        drop(guard);
        if interrupted || status.code() == Some(i32::from(EXIT_INTERRUPTED)) || signal(status) == Some(libc::SIGINT) {
            return Err(Interrupted.into());
        }
        if !status.success() {
            bail!(
                "this step ended with {status}: {shown}\nIts own message is above. What was finished before was kept; run the demo again to go on from here."
            );
        }
        Ok(())
    }
}

impl Tools for OwnProgram {
    fn convert(&self, source: &Path, dataset_dir: &Path, name: &str, questions: &[&str]) -> Result<()> {
        self.run(&convert_args(source, dataset_dir, name, questions))
    }

    fn train(&self, profile: &Path, overrides: &[OsString]) -> Result<()> {
        self.run(&train_args(profile, overrides))
    }

    fn predict(&self, ask: &Ask) -> Result<()> {
        self.run(&predict_args(ask))
    }
}

fn convert_args(source: &Path, dataset_dir: &Path, name: &str, questions: &[&str]) -> Vec<OsString> {
    let mut args = strings(&["data", "convert"]);
    args.extend([source.into(), "--out".into(), dataset_dir.into()]);
    args.extend(strings(&["--name", name, "--folder", name])); // a folder each: the sets share one dataset_info.json
    args.extend(questions.iter().flat_map(|q| ["--question".into(), q.into()]));
    args
}

fn train_args(profile: &Path, overrides: &[OsString]) -> Vec<OsString> {
    // In the foreground Ctrl-C ends the training with the demo, with a checkpoint to go on from.
    let mut args = vec!["train".into(), "--foreground".into(), profile.into()];
    args.extend_from_slice(overrides);
    args
}

fn predict_args(ask: &Ask) -> Vec<OsString> {
    let mut args = vec!["predict".into(), "--model".into(), ask.model.into()];
    if let Some(adapter) = ask.adapter {
        args.extend(["--adapter".into(), adapter.into()]);
    }
    args.extend(["--dataset-dir".into(), ask.dataset_dir.into(), "--dataset".into(), ask.dataset.into()]);
    args.extend(strings(&["--greedy", "--max-new-tokens", &MAX_NEW_TOKENS.to_string()]));
    args.extend(["--output".into(), ask.output.into()]);
    args
}

fn strings(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

/// A command line that can be pasted into a shell.
pub fn shell_line(program: &str, args: &[OsString]) -> String {
    let quote = |word: &OsString| {
        let word = word.to_string_lossy();
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c));
        if plain { word.into_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    std::iter::once(program.to_owned()).chain(args.iter().map(quote)).collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// While it lives, Ctrl-C is only noted here: the child gets it too, saves what it has and ends, and the demo then ends
/// with a word instead of vanishing before the child. (A caught signal is back to its default in the child after exec.)
struct InterruptGuard {
    previous: libc::sighandler_t,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

impl InterruptGuard {
    fn install() -> Self {
        INTERRUPTED.store(false, Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int) = note_interrupt;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        let previous = unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
        Self { previous }
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl Drop for InterruptGuard {
    fn drop(&mut self) {
        // SAFETY: gives back the handler that `signal` returned.
        unsafe { libc::signal(libc::SIGINT, self.previous) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Runs a program as a step. One at a time: the handler of Ctrl-C belongs to the whole process.
    fn run(program: &str, args: &[&str]) -> Result<()> {
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        OwnProgram { program: program.into(), stdout_to_stderr: true }.run(&strings(args))
    }

    #[test]
    fn command_lines_are_those_a_user_would_type() {
        let convert =
            convert_args(Path::new("d/source/train"), Path::new("d/data"), "phantoms", &["What is it?", "这是什么？"]);
        assert_eq!(
            shell_line("lightbox", &convert),
            "lightbox data convert d/source/train --out d/data --name phantoms --folder phantoms --question 'What is it?' --question '这是什么？'"
        );
        let ask = Ask {
            model: Path::new("m"),
            adapter: Some(Path::new("a")),
            dataset_dir: Path::new("d"),
            dataset: "h",
            output: Path::new("o.jsonl"),
        };
        assert_eq!(
            shell_line("lightbox", &predict_args(&ask)),
            "lightbox predict --model m --adapter a --dataset-dir d --dataset h --greedy --max-new-tokens 80 --output o.jsonl"
        );
        assert_eq!(
            shell_line("lightbox", &train_args(Path::new("p.yaml"), &["seed=1".into()])),
            "lightbox train --foreground p.yaml seed=1"
        );
        assert_eq!(shell_line("x", &["it's".into(), "".into()]), r"x 'it'\''s' ''");
    }

    #[test]
    fn a_failing_step_names_its_command_and_says_how_to_go_on() {
        let error = run("/bin/false", &["train"]).unwrap_err();
        assert!(!error.is::<Interrupted>());
        let text = error.to_string();
        assert!(text.contains("lightbox train") && text.contains("run the demo again"), "{text}");
    }

    #[test]
    fn a_child_stopped_by_ctrl_c_counts_as_interrupted() {
        for script in ["kill -INT $$", "exit 130"] {
            let error = run("/bin/sh", &["-c", script]).unwrap_err();
            assert!(error.is::<Interrupted>(), "{script}: {error}");
        }
    }

    #[test]
    fn ctrl_c_during_a_step_is_noted_even_if_the_child_ends_well() {
        // What a terminal does: the signal goes to both; this child saves its work and ends with 0.
        let dir = tempfile::tempdir().unwrap();
        let (begun, saved) = (dir.path().join("begun"), dir.path().join("saved"));
        let script = format!("> '{}'; until [ -e '{}' ]; do sleep 0.01; done", begun.display(), saved.display());
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                let until = Instant::now() + Duration::from_secs(30);
                while !begun.exists() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // SAFETY: the handler of `run` only stores to an atomic. It has run when `raise` comes back.
                unsafe { libc::raise(libc::SIGINT) };
                std::fs::write(&saved, "").unwrap();
            });
            run("/bin/sh", &["-c", &script]).unwrap_err()
        });
        assert!(error.is::<Interrupted>(), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = format!("{:#}", run("/no/such/lightbox", &[]).unwrap_err());
        assert!(error.contains("/no/such/lightbox"), "{error}");
    }
}
