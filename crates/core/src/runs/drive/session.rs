//! What a worker holds for as long as it lives: the lock, the logs, the heartbeat, the drop-box, the signals.

use super::super::commands::{Command, Inbox};
use super::super::heartbeat::Heartbeat;
use super::super::info::RunInfo;
use super::super::lock::{LockError, RunLock, WorkerInfo};
use super::super::log::RunLog;
use super::super::record::{Event, Header, Phase};
use super::super::report::{Records, Report, locked};
use super::super::rings::OwnOutput;
use super::super::say::say;
use super::super::state::{Reason, StateFile, Status};
use super::super::system::SystemLog;
use super::super::{RunDir, env, registry};
use super::signals::{self, Wishes};
use crate::exit::{Because, Exit};
use crate::profile::Profile;
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Everything of a worker that has nothing to do with what it computes.
pub struct Session {
    pub records: Arc<Mutex<Records>>,
    pub heartbeat: Arc<Heartbeat>,
    pub wishes: Arc<Wishes>,
    /// Shared with the heartbeat's thread, which looks while no loop runs yet.
    pub(super) inbox: Arc<Mutex<Inbox>>,
    _lock: RunLock,
}

/// Takes the run's lock: its worker for as long as it lives, others for the moment in which they change the run's files.
///
/// # Errors
/// [`Exit::Locked`] with the holder.
pub fn lock(dir: &RunDir) -> Result<RunLock> {
    match RunLock::acquire(dir) {
        Ok(lock) => Ok(lock),
        Err(e @ LockError::Held(_)) => Err(e).because(Exit::Locked),
        Err(LockError::Io(e)) => Err(e).context("taking the run's lock").because(Exit::Disk),
    }
}

impl Session {
    /// Opens the logs for a new attempt and begins to beat.
    ///
    /// # Errors
    /// The run's folder cannot be written.
    pub fn open(dir: &RunDir, profile: &Profile, lock: RunLock, header: Header) -> Result<Self> {
        let opened = Self::start(dir, profile, lock, header);
        opened.with_context(|| format!("run folder {}", dir.path().display())).because(Exit::Disk)
    }

    fn start(dir: &RunDir, profile: &Profile, lock: RunLock, header: Header) -> Result<Self> {
        RunInfo::ensure(dir, profile.run_name.as_deref())?;
        if let Err(e) = registry::remember(dir) {
            say(&format!("note: {e}; `lightbox runs list` will find this run only from its folder"));
        }
        let app = header.app.clone();
        let mut log = RunLog::open(dir, header)?;
        let worker = WorkerInfo::this(log.attempt());
        worker.write(dir)?;
        if let Err(e) = env::tell(dir, &app, &worker) {
            say(&format!("warning: {e}; the run goes on without that note"));
        }
        let state = StateFile::create(dir, Status::Preparing, 0)?;
        log.event(&Event::State { from: Status::Starting, to: Status::Preparing, reason: None, step: 0 })?;
        let mut system = SystemLog::open(dir, log.attempt());
        let records = Arc::new(Mutex::new(Records { log, state }));
        let inbox = Arc::new(Mutex::new(Inbox::new(dir)));

        // Each second: what may wait that long, and must not be waited for by a step.
        let output = OwnOutput::of(dir);
        let each_second = {
            let records = records.clone();
            Box::new(move || {
                if let Some(output) = &output {
                    let _ = output.keep_bounded();
                }
                system.sample();
                let _ = locked(&records).state.flush();
            })
        };
        let heartbeat = Arc::new(Heartbeat::start(dir, each_second)?);
        heartbeat.progress(0, 0, Phase::PreparingData);
        let end = {
            let records = records.clone();
            move |signal: i32| {
                let text = match signal {
                    libc::SIGINT => "ended by Ctrl-C",
                    _ => "ended by a signal",
                };
                ends_now(&records, text)
            }
        };
        let wishes = signals::listen(heartbeat.clone(), end)?;
        watch_drop_box(inbox.clone(), records.clone(), wishes.clone())?;
        Ok(Self { records, heartbeat, wishes, inbox, _lock: lock })
    }
}

impl Session {
    /// A part of the preparation begins.
    pub fn enter(&self, report: &mut Report, phase: Phase) {
        report.phase(phase);
        self.heartbeat.progress(0, 0, phase);
    }

    /// Says in `worker.json` which device is taken, for the queue and for people.
    pub(super) fn takes(&self, dir: &RunDir, device: &str) {
        let device = if device.starts_with("cuda:") { device } else { "cpu" };
        let told = WorkerInfo::read(dir).and_then(|w| WorkerInfo { device: Some(device.into()), ..w }.write(dir));
        if let Err(e) = told {
            say(&format!("warning: {e}; the queue takes this run's device from its profile"));
        }
    }

    /// Ends the process at once, as resumable.
    pub(super) fn end(&self, text: &str) -> ! {
        let code = ends_now(&self.records, text);
        // SAFETY: as for a signal: other threads may hold what destructors need.
        unsafe { libc::_exit(code) }
    }
}

/// The last words of a process that ends without waiting for a safe point. The exit code says: can be resumed.
fn ends_now(records: &Mutex<Records>, text: &str) -> i32 {
    let mut records = locked(records);
    let (from, step) = (records.state.state().state, records.state.state().step);
    let text = match records.state.state().checkpoint.as_deref() {
        Some(checkpoint) => format!("{text}; {checkpoint} is the newest checkpoint"),
        None => format!("{text} before the first checkpoint"),
    };
    say(&text);
    let reason = Some(Reason { kind: "signal".into(), text, hint: Some("the same command goes on".into()) });
    let _ = records.log.event(&Event::State { from, to: Status::Stopped, reason: reason.clone(), step });
    let _ = records.state.update(|s| (s.state, s.reason) = (Status::Stopped, reason));
    let _ = records.log.sync(Duration::from_secs(2));
    Exit::Stopped as i32
}

/// Until the loop looks itself: stop and kill end the process, everything else waits in the box.
fn watch_drop_box(inbox: Arc<Mutex<Inbox>>, records: Arc<Mutex<Records>>, wishes: Arc<Wishes>) -> Result<()> {
    const EVERY: Duration = Duration::from_millis(250);
    std::thread::Builder::new().name("drop-box".into()).spawn(move || {
        while !wishes.loop_runs() {
            let asked = super::control::guard(&inbox).peek(|c| matches!(c, Command::Stop(_) | Command::Kill));
            if let Some(received) = asked {
                use super::super::record::Ack;
                let cmd = received.name().to_owned();
                let event = Event::CommandAck {
                    id: received.id.clone(),
                    cmd,
                    status: Ack::Applied,
                    effective_step: locked(&records).state.state().step,
                    error: None,
                };
                let _ = locked(&records).log.event(&event);
                super::control::guard(&inbox).done(&received.id);
                let code = ends_now(&records, "stopped on request");
                // SAFETY: as for a signal: nothing is being written, and other threads may hold what destructors need.
                unsafe { libc::_exit(code) };
            }
            wishes.wait(EVERY);
        }
    })?;
    Ok(())
}
