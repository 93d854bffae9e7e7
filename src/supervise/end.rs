//! How a worker ended, and what that means for its run.

use crate::cli::worker::NO_LIBTORCH;
use lightbox_core::exit::Exit;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::record::Event;
use lightbox_core::runs::report::kind;
use lightbox_core::runs::state::{self, Reason, RunState};
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

/// As `waitpid` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Code(i32),
    Signal(i32),
    /// There was no process; why.
    NotStarted(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    /// The kernel killed it for lack of memory.
    pub oom_kill: bool,
    pub max_rss_bytes: u64,
    pub runtime: Duration,
}

impl End {
    pub fn not_started(why: String) -> Self {
        Self { status: Status::NotStarted(why), oom_kill: false, max_rss_bytes: 0, runtime: Duration::ZERO }
    }

    /// As shells count.
    pub fn code(&self) -> u8 {
        match self.status {
            Status::Code(code) => u8::try_from(code).unwrap_or(Exit::Failed as u8),
            Status::Signal(signal) => u8::try_from(128 + signal).unwrap_or(Exit::Failed as u8),
            Status::NotStarted(_) => Exit::CannotStart as u8,
        }
    }

    /// The worker has ended by itself, and said why as far as it knew.
    pub fn has_spoken(&self) -> bool {
        matches!(self.status, Status::Code(code) if !matches!(code, 126 | 127))
    }

    /// What the worker could not write itself. `last_words`: its own, if it had any; `told_to_end`: somebody asked for it.
    pub fn verdict(
        &self,
        dir: &RunDir,
        last: &RunState,
        last_words: Option<String>,
        told_to_end: bool,
    ) -> (state::Status, Option<Reason>) {
        // Whoever reads this may be in another folder.
        let run = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().into());
        let run = run.display();
        let goes_on = match &last.checkpoint {
            Some(checkpoint) => format!("`lightbox runs resume {run}` goes on from {checkpoint}"),
            None => format!("there is no checkpoint yet; `lightbox runs resume {run}` starts it again"),
        };
        let reason = |kind: &str, text: String, hint: &str| {
            let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
            Some(Reason { kind: kind.to_owned(), text, hint })
        };
        match &self.status {
            Status::NotStarted(why) => (state::Status::Failed, reason("cannot_start", why.clone(), "")),
            Status::Code(126 | 127) => (state::Status::Failed, reason("cannot_start", NO_LIBTORCH.into(), "")),
            Status::Code(0) => (state::Status::Finished, None),
            Status::Code(code) if *code == Exit::Stopped as i32 => (state::Status::Stopped, None),
            Status::Code(code) => {
                let exit = Exit::from_code(self.code());
                let text = last_words.unwrap_or_else(|| format!("the worker ended with exit code {code}"));
                (state::Status::Failed, reason(kind(exit), text, ""))
            }
            Status::Signal(libc::SIGINT | libc::SIGTERM) if told_to_end => {
                let text = "ended by a signal before the worker could write a checkpoint".to_owned();
                (state::Status::Stopped, reason("signal", text, &goes_on))
            }
            Status::Signal(signal) if self.oom_kill => {
                let text = format!(
                    "the worker was killed at step {} by signal {signal}: the kernel's out-of-memory killer fired in this \
                     control group. It held {:.1} GiB at most",
                    last.step,
                    self.max_rss_bytes as f64 / (1u64 << 30) as f64
                );
                let hint =
                    format!("give it more memory, or lower image_max_pixels or dataloader_num_workers; {goes_on}");
                (state::Status::Crashed, reason("oom", text, &hint))
            }
            Status::Signal(signal) => {
                let fault = match *signal {
                    libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGABRT => {
                        ", a fault in the worker or in libtorch; worker.log may say more"
                    }
                    _ => "",
                };
                let text = format!("the worker was killed at step {} by signal {signal}{fault}", last.step);
                (state::Status::Crashed, reason("signal", text, &goes_on))
            }
        }
    }
}

/// The `exited` record.
pub fn event(end: &End, restart: bool) -> Event {
    let (code, signal) = match end.status {
        Status::Code(code) => (Some(code), None),
        Status::Signal(signal) => (None, Some(signal)),
        Status::NotStarted(_) => (Some(Exit::CannotStart as i32), None),
    };
    let runtime_ms = u64::try_from(end.runtime.as_millis()).unwrap_or(u64::MAX);
    Event::Exited { code, signal, oom_kill: end.oom_kill, max_rss_bytes: end.max_rss_bytes, runtime_ms, restart }
}

/// Waits for the child and returns how it ended and the most memory it held, in bytes. `ended` is called while its pid
/// is surely still its own.
pub fn wait(pid: i32, ended: fn()) -> (Status, u64) {
    // SAFETY: plain system calls on structures of ours, which zeros are valid values of.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        while libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED | libc::WNOWAIT) == -1
            && *libc::__errno_location() == libc::EINTR
        {}
        ended();
        let (mut status, mut usage): (libc::c_int, libc::rusage) = (0, std::mem::zeroed());
        while libc::wait4(pid, &mut status, 0, &mut usage) == -1 && *libc::__errno_location() == libc::EINTR {}
        let status = match libc::WIFSIGNALED(status) {
            true => Status::Signal(libc::WTERMSIG(status)),
            false => Status::Code(libc::WEXITSTATUS(status)),
        };
        (status, u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024)
    }
}

/// The error that the worker has printed last: before its logs are open it cannot write it elsewhere.
pub fn last_words(dir: &RunDir) -> Option<String> {
    const TAIL: u64 = 8 << 10;
    let mut file = std::fs::File::open(dir.join(RunDir::WORKER_LOG)).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    // Only the last line: an older one could be another attempt's.
    let last = tail.lines().rfind(|line| !line.trim().is_empty())?;
    Some(last.strip_prefix("error: ")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: Status, oom_kill: bool, told: bool) -> (state::Status, Option<Reason>) {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        std::fs::write(dir.join(RunDir::WORKER_LOG), "error: an old one\nnote\nerror: no such model\n").unwrap();
        let end = End { status, oom_kill, max_rss_bytes: 3 << 30, runtime: Duration::ZERO };
        let last = RunState { step: 7, checkpoint: Some("checkpoint-5".into()), ..RunState::default() };
        end.verdict(&dir, &last, last_words(&dir), told)
    }

    #[test]
    fn a_killed_worker_is_a_crash_with_its_cause_and_the_way_on() {
        let (to, reason) = verdict(Status::Signal(9), false, false);
        let reason = reason.unwrap();
        assert_eq!((to, reason.kind.as_str()), (state::Status::Crashed, "signal"));
        assert!(reason.text.contains("signal 9") && reason.text.contains("step 7"), "{reason:?}");
        assert!(reason.hint.unwrap().contains("checkpoint-5"));
        let (to, reason) = verdict(Status::Signal(9), true, false);
        let reason = reason.unwrap();
        assert_eq!((to, reason.kind.as_str()), (state::Status::Crashed, "oom"));
        assert!(reason.text.contains("out-of-memory killer") && reason.text.contains("3.0 GiB"), "{reason:?}");
        let (_, reason) = verdict(Status::Signal(libc::SIGSEGV), false, true);
        assert!(reason.unwrap().text.contains("libtorch"));
    }

    #[test]
    fn a_signal_that_was_asked_for_is_no_crash() {
        assert_eq!(verdict(Status::Signal(libc::SIGTERM), false, true).0, state::Status::Stopped);
        assert_eq!(verdict(Status::Signal(libc::SIGTERM), false, false).0, state::Status::Crashed);
        assert_eq!(verdict(Status::Code(3), false, true), (state::Status::Stopped, None));
    }

    #[test]
    fn a_worker_that_ended_before_its_logs_were_open_is_quoted() {
        let (to, reason) = verdict(Status::Code(12), false, false);
        let reason = reason.unwrap();
        assert_eq!((to, reason.kind.as_str(), reason.text.as_str()), (state::Status::Failed, "model", "no such model"));
        let (to, reason) = verdict(Status::Code(127), false, false);
        assert!(to == state::Status::Failed && reason.unwrap().text.contains("libtorch"));
        assert_eq!(verdict(Status::Code(0), false, false), (state::Status::Finished, None));
    }
}
