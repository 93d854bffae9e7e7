//! Commands, from the drop-box to what the loop has to do next.

use super::super::RunDir;
use super::super::commands::{CheckpointNow, Command, EvaluateNow, Inbox, SampleNow, Stop, StopWhen};
use super::super::edits::Edits;
use super::super::record::{Ack, Event};
use super::super::report::Report;
use super::super::say::say;
use super::super::state::{Reason, Status};
use super::Session;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The inbox, whatever became of another thread that held it.
pub fn guard(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A command that waits for its place in the loop.
#[derive(Debug)]
pub struct Asked<T> {
    pub id: String,
    pub what: T,
}

/// What has been asked for and not been done yet.
pub struct Control<'s> {
    session: &'s Session,
    dir: RunDir,
    looked: Option<Instant>,
    pub stop: Option<Asked<Stop>>,
    pub paused: Option<Asked<()>>,
    /// Asked to go on; answered when it does.
    resumed: Option<String>,
    pub checkpoints: VecDeque<Asked<CheckpointNow>>,
    pub evaluations: VecDeque<Asked<EvaluateNow>>,
    pub samples: VecDeque<Asked<SampleNow>>,
    pub kill: Option<String>,
    pub edits: Edits,
    /// `edits` has grown since the loop looked.
    pub edited: bool,
    /// No command can be done any more.
    over: bool,
}

impl<'s> Control<'s> {
    /// A look into the drop-box is a system call or two here, and a round trip on a network file system.
    const EVERY: Duration = Duration::from_millis(200);

    pub fn new(session: &'s Session, dir: &RunDir, edits: Edits) -> Self {
        Self {
            session,
            dir: dir.clone(),
            looked: None,
            stop: None,
            paused: None,
            resumed: None,
            checkpoints: VecDeque::new(),
            evaluations: VecDeque::new(),
            samples: VecDeque::new(),
            kill: None,
            edits,
            edited: false,
            over: false,
        }
    }

    /// The signal or the command that ends the run as soon as possible.
    pub fn stops_now(&self) -> bool {
        self.kill.is_some()
            || self.session.wishes.stop().is_some()
            || self.stop.as_ref().is_some_and(|s| s.what.when == StopWhen::Now)
    }

    /// A stop has been asked for that an evaluation, once paused, does not keep waiting.
    pub fn stops_soon(&self) -> bool {
        let soon = |when| matches!(when, StopWhen::AfterStep | StopWhen::AfterEval);
        self.stops_now() || self.stop.as_ref().is_some_and(|s| soon(s.what.when))
    }

    /// The run waits now; `text` says where.
    pub fn pause_begins(&self, text: String, report: &mut Report) {
        say(&text);
        let hint = Some(format!("`lightbox runs resume {}` goes on", self.dir.path().display()));
        report.status(Status::Paused, Some(Reason { kind: "user".into(), text, hint }));
        if let Some(asked) = &self.paused {
            self.done(&asked.id, "pause", report);
        }
    }

    /// Reads new commands. `next` is the first update that a changed setting can still reach.
    pub fn look(&mut self, next: u64, report: &mut Report) {
        if self.looked.is_some_and(|at| at.elapsed() < Self::EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let received = guard(&self.session.inbox).poll();
        for received in received {
            let (id, cmd) = (received.id.clone(), received.name().to_owned());
            let outcome = received.command.and_then(|command| self.take(&id, command, next, &received.by, report));
            match outcome {
                Ok(Ack::Applied) => self.done(&id, &cmd, report),
                Ok(_) => report.ack(&id, &cmd, Ack::Accepted, None),
                Err(why) => self.reject(&id, &cmd, why, report),
            }
        }
    }

    /// Puts a command where the loop finds it; what can be done at once is.
    fn take(&mut self, id: &str, command: Command, next: u64, by: &str, report: &mut Report) -> Result<Ack, String> {
        let id = id.to_owned();
        match command {
            _ if self.over => return Err("the run is over".into()),
            Command::Ping => return Ok(Ack::Applied),
            Command::Set(edit) => {
                self.edits.add(&self.dir, next, edit.clone(), by).map_err(|e| e.to_string())?;
                self.edited = true;
                let (key, value) = edit.words();
                report.event(&Event::Setting { key, value, step: next, by: by.to_owned() });
                return Ok(Ack::Applied);
            }
            Command::Pause if self.paused.is_some() => return Ok(Ack::Applied),
            Command::Pause => self.paused = Some(Asked { id, what: () }),
            Command::Resume if self.paused.is_none() => return Err("the run is not paused".into()),
            Command::Resume => self.resumed = Some(id),
            Command::Stop(stop) => self.stop = Some(Asked { id, what: stop }),
            Command::Kill => self.kill = Some(id),
            Command::CheckpointNow(what) => self.checkpoints.push_back(Asked { id, what }),
            Command::EvaluateNow(what) => self.evaluations.push_back(Asked { id, what }),
            Command::SampleNow(what) => self.samples.push_back(Asked { id, what }),
        }
        Ok(Ack::Accepted)
    }

    /// The pause ends here if it was asked to; says whether it did.
    pub fn take_resumed(&mut self, report: &mut Report) -> bool {
        let Some(id) = self.resumed.take() else { return false };
        self.paused = None;
        self.done(&id, "resume", report);
        true
    }

    pub fn done(&self, id: &str, cmd: &str, report: &mut Report) {
        report.ack(id, cmd, Ack::Applied, None);
        guard(&self.session.inbox).done(id);
    }

    pub fn reject(&self, id: &str, cmd: &str, why: String, report: &mut Report) {
        report.ack(id, cmd, Ack::Rejected, Some(why));
        guard(&self.session.inbox).done(id);
    }

    /// Nothing more will be done: everything that waits, and everything in the box, is told so.
    pub fn refuse_the_rest(&mut self, why: &str, report: &mut Report) {
        self.looked = None;
        self.over = true;
        self.look(u64::MAX, report);
        let mut rest: Vec<(String, &str)> = Vec::new();
        rest.extend(self.stop.take().map(|a| (a.id, "stop")));
        rest.extend(self.paused.take().map(|a| (a.id, "pause")));
        rest.extend(self.resumed.take().map(|id| (id, "resume")));
        rest.extend(self.kill.take().map(|id| (id, "kill")));
        rest.extend(self.checkpoints.drain(..).map(|a| (a.id, "checkpoint_now")));
        rest.extend(self.evaluations.drain(..).map(|a| (a.id, "evaluate_now")));
        rest.extend(self.samples.drain(..).map(|a| (a.id, "sample_now")));
        for (id, cmd) in rest {
            self.reject(&id, cmd, why.to_owned(), report);
        }
    }
}
