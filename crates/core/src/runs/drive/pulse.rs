//! What a trainee sees of the loop while it computes: heartbeat, commands, and whether to go on.

use super::super::record::{Event, Phase};
use super::super::report::{Report, locked};
use super::super::say::{on_terminal, say_progress};
use super::control::Control;
use super::{Beat, Flow, Session, Trouble};
use std::time::{Duration, Instant};

pub(super) struct Pulse<'a, 's, 'r> {
    session: &'a Session,
    control: &'a mut Control<'s>,
    report: &'a mut Report<'r>,
    /// Updates done.
    done: u64,
    phase: Phase,
    /// A paused run was asked to evaluate: it shall, and not wait.
    paused_before: bool,
    /// When it was said last how many samples are answered.
    told: Option<Instant>,
}

impl<'a, 's, 'r> Pulse<'a, 's, 'r> {
    pub fn new(
        session: &'a Session,
        control: &'a mut Control<'s>,
        report: &'a mut Report<'r>,
        done: u64,
        phase: Phase,
    ) -> Self {
        let paused_before = control.paused.is_some();
        Self { session, control, report, done, phase, paused_before, told: None }
    }

    /// An evaluation, which with answers may take minutes, waits at once; an update is done first, because a run that is
    /// paused between two can be saved. What else is asked for meanwhile is done after the evaluation.
    fn hold(&mut self, micro: u64) {
        if self.phase != Phase::Evaluating || self.paused_before || self.control.paused.is_none() {
            return;
        }
        let before = locked(&self.session.records).state.state().state;
        let text = format!("paused in the evaluation at step {}; the weights stay on the device", self.done);
        self.control.pause_begins(text, self.report);
        while !self.control.take_resumed(self.report) && !self.control.stops_soon() {
            self.session.heartbeat.progress(self.done, micro, self.phase);
            self.session.wishes.wait(Duration::from_millis(200));
            self.control.look(self.done + 1, self.report);
        }
        self.paused_before = self.control.paused.is_some(); // a stop is on its way: it does not wait again
        self.report.status(before, None);
    }
}

impl Beat for Pulse<'_, '_, '_> {
    fn micro(&mut self, micro: u64) -> Flow {
        self.session.heartbeat.progress(self.done, micro, self.phase);
        // A setting changed now cannot reach the update that is being computed.
        self.control.look(self.done + 1, self.report);
        self.hold(micro);
        if self.control.stops_now() { Flow::Abandon } else { Flow::Continue }
    }

    fn answered(&mut self, done: usize, total: usize) {
        /// Often enough to see that it goes on, and few lines also where ten thousand samples are answered.
        const EVERY: Duration = Duration::from_secs(2);
        if self.told.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        let (done, total) = (Some(done as u64), Some(total as u64));
        self.report.event(&Event::Phase { phase: self.phase, done, total });
        if let (Some(done), Some(total), true) = (done, total, on_terminal()) {
            say_progress(&format!("step {}: {done}/{total} answered", self.done));
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.report.trouble(self.done + 1, trouble);
    }
}
