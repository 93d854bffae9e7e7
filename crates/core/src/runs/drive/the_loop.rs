//! The loop. Reads top to bottom: [`drive`], then what it does between updates, then the end.

use super::super::RunDir;
use super::super::checkpoints::{self, About, Keep};
use super::super::commands::{CheckpointNow, StopWhen};
use super::super::edits::Edits;
use super::super::record::{Event, Phase, SaveReason, Step};
use super::super::report::{ModelFacts, Report, locked};
use super::super::say::say;
use super::super::state::{Reason, Status};
use super::super::steps::{StepPlan, interval};
use super::control::{Asked, Control};
use super::course::Course;
use super::pulse::Pulse;
use super::resume::Resume;
use super::verify::Verify;
use super::{Computed, Session, Trainee, saving};
use crate::exit::{Because, Exit};
use crate::fault;
use crate::profile::Profile;
use anyhow::{Result, anyhow};
use std::time::{Duration, Instant};

/// What a run is about to do.
pub struct Task<'a> {
    pub profile: &'a Profile,
    pub dir: &'a RunDir,
    pub plan: StepPlan,
    /// For the manifests of checkpoints, and for comparing with the one that is resumed from.
    pub about: About,
    pub facts: ModelFacts,
    pub resume: Option<Resume>,
}

/// Trains to the end, or to a stop.
///
/// # Errors
/// With an exit code; the caller reports it ([`Report::failed`]).
pub fn drive(task: Task, session: &Session, report: &mut Report, trainee: &mut dyn Trainee) -> Result<Exit> {
    let Task { profile, dir, plan, about, facts, mut resume } = task;
    let mut first = 0;
    if let Some(resume) = &mut resume {
        first = resume.step();
        resume.begin(&about, report)?;
        trainee.load(&resume.path).because(Exit::Config)?;
    }
    let edits = Edits::load(dir).because(Exit::Config)?;
    let course = Course::at(first, profile, &plan, &edits).map_err(anyhow::Error::msg).because(Exit::Config)?;
    let every = interval(course.profile.save_steps, course.plan.total_steps).max(1);
    let kept = profile.save_total_limit.map_or(u64::MAX, |n| n as u64).min(course.plan.total_steps / every);
    saving::preflight(dir, trainee.checkpoint_bytes(), kept, report)?;
    report.begin(&course.plan, &facts)?;
    session.takes(dir, &facts.device);
    session.wishes.loop_begins();
    let verify = resume.map(|r| r.verify).unwrap_or_default();
    let control = Control::new(session, dir, edits);
    let mut run = Loop {
        session,
        report,
        trainee,
        dir,
        profile,
        plan,
        course,
        about,
        control,
        verify,
        done: first,
        saved: Some(first),
        evaluated: None,
    };
    run.session.heartbeat.progress(first, 0, Phase::Training);
    let outcome = run.train();
    let why = match &outcome {
        Ok(Exit::Finished) => "the run has finished",
        Ok(_) => "the run has been stopped",
        Err(_) => "the run has failed",
    };
    run.control.refuse_the_rest(why, run.report);
    outcome
}

struct Loop<'a, 'r> {
    session: &'a Session,
    report: &'a mut Report<'r>,
    trainee: &'a mut dyn Trainee,
    dir: &'a RunDir,
    profile: &'a Profile,
    plan: StepPlan,
    course: Course,
    about: About,
    control: Control<'a>,
    verify: Verify,
    /// Updates done.
    done: u64,
    /// Updates that the newest checkpoint holds.
    saved: Option<u64>,
    /// Step and loss of the last evaluation of all samples.
    evaluated: Option<(u64, f64)>,
}

impl Loop<'_, '_> {
    fn train(&mut self) -> Result<Exit> {
        if self.profile.eval_on_start && self.done == 0 {
            self.evaluate(None)?;
        }
        self.report.phase(Phase::Training);
        loop {
            if let Some(exit) = self.between_updates()? {
                return Ok(exit);
            }
            if self.done >= self.course.plan.total_steps {
                return self.finish();
            }
            if self.update()? {
                let due = self.course.due(self.done);
                if due.evaluate {
                    self.evaluate(None)?;
                }
                if due.save {
                    let last = self.done >= self.course.plan.total_steps;
                    // One that was not written was told of; the run goes on.
                    let _ = self.save(if last { SaveReason::Final } else { SaveReason::Auto }, None)?;
                }
            }
        }
    }

    /// One update; `false`: it was given up, because the run stops.
    fn update(&mut self) -> Result<bool> {
        let k = self.done;
        let mut pulse = Pulse::new(self.session, &mut self.control, self.report, k, Phase::Training);
        let Some(mut computed) = self.trainee.gradients(k, &self.course.skip, &mut pulse)? else { return Ok(false) };
        if let Some(x) = fault::at("step.loss").and_then(|word| word.parse().ok()) {
            computed.loss = x;
        }
        if let Some(x) = fault::at("step.grad").and_then(|word| word.parse().ok()) {
            computed.grad_norm = x;
        }

        // Only finite numbers reach the weights.
        let finite = computed.loss.is_finite() && computed.grad_norm.is_finite();
        let skipped = !finite || computed.samples.is_empty();
        let lr = self.course.lr(k);
        if skipped {
            self.trainee.discard()?;
        } else {
            self.trainee.apply(lr)?;
        }
        self.done += 1;
        let progress = &mut self.report.progress;
        progress.nonfinite += u64::from(!finite);
        progress.nonfinite_in_a_row = if finite { 0 } else { progress.nonfinite_in_a_row + 1 };

        let due = self.course.due(self.done);
        let epoch = self.course.plan.epoch_after(self.done);
        let memory = self.trainee.memory();
        let step = self.report.update(self.done, epoch, lr, memory, &computed, skipped, due.log);
        self.session.heartbeat.progress(self.done, 0, Phase::Training);
        self.compare_with_old_log(&step);
        if !finite {
            self.nonfinite(&computed)?;
        } else if skipped {
            self.report.warning("no_samples", &format!("step {}: none of its samples could be used", self.done), None);
        }
        Ok(true)
    }

    /// Says which update was left out; too many in a row end the run.
    fn nonfinite(&mut self, c: &Computed) -> Result<()> {
        let (row, allowed) = (self.report.progress.nonfinite_in_a_row, self.profile.max_nonfinite_steps);
        let what = if c.loss.is_finite() {
            format!("the gradient norm became {}", c.grad_norm)
        } else {
            format!("the loss became {}", c.loss)
        };
        let shown = c.samples.iter().take(16).map(usize::to_string).collect::<Vec<_>>().join(", ");
        let more = if c.samples.len() > 16 { ", …" } else { "" };
        let text = format!("{what} at step {} (samples {shown}{more})", self.done);
        self.report.warning(
            "nonfinite",
            &format!("{text}. The update was left out ({row} of {allowed} in a row)"),
            Some("look at these samples with `lightbox data show`"),
        );
        if row < allowed {
            return Ok(());
        }
        let kept = match self.report.newest_checkpoint() {
            Some(newest) => format!("the newest checkpoint is {newest}"),
            None => "there is no checkpoint yet".to_owned(),
        };
        Err(anyhow!(
            "{text}, as in {row} updates in a row. None of them was made, so the weights are as before the first; {kept}. Lower learning_rate or max_grad_norm, look at these samples with `lightbox data show`, and start again"
        ))
        .because(Exit::NonFinite)
    }

    fn compare_with_old_log(&mut self, step: &Step) {
        let Some(event) = self.verify.compare(step) else { return };
        if let Event::ResumeVerified { steps, exact, first_diff, max_rel_diff, .. } = &event {
            match first_diff {
                None => say(&format!("{steps} repeated steps match the old log bit for bit")),
                Some(at) if self.profile.full_determinism => self.report.warning(
                    "resume_differs",
                    &format!("the repeated steps differ from the old log from step {at} on, by up to {max_rel_diff:.1e} of the loss"),
                    Some("full_determinism is on, so this should not be; has the machine, its libraries or the number of threads changed?"),
                ),
                Some(at) => say(&format!(
                    "{steps} repeated steps agree with the old log within {max_rel_diff:.1e} (not bit for bit from step {at} on; full_determinism makes them so)"
                )),
            }
            debug_assert_eq!(*exact, first_diff.is_none());
        }
        self.report.event(&event);
    }

    /// What has been asked for, until the next update may begin. `Some`: the run stops here.
    fn between_updates(&mut self) -> Result<Option<Exit>> {
        let mut waiting = false;
        loop {
            self.control.look(self.done, self.report);
            if std::mem::take(&mut self.control.edited) || self.course.ends_at(self.done, &self.control.edits) {
                self.course = Course::at(self.done, self.profile, &self.plan, &self.control.edits)
                    .map_err(anyhow::Error::msg)
                    .because(Exit::Config)?;
                self.report.course(&self.course.profile, &self.course.plan);
            }
            if self.control.kill.take().is_some_and(|id| {
                self.control.done(&id, "kill", self.report);
                true
            }) {
                self.session.end("ended on request, without a checkpoint");
            }
            self.do_what_was_asked()?;
            if self.done >= self.course.plan.total_steps {
                return Ok(None);
            }
            if self.stop_is_due() {
                return self.stop().map(Some);
            }
            if self.control.take_resumed(self.report) {
                self.report.status(Status::Running, None);
                waiting = false;
            }
            if self.control.paused.is_none() {
                return Ok(None);
            }
            if !std::mem::replace(&mut waiting, true) {
                let text = format!("paused at step {}; the weights stay on the device", self.done);
                self.control.pause_begins(text, self.report);
            }
            self.session.heartbeat.progress(self.done, 0, Phase::Training);
            self.session.wishes.wait(Duration::from_millis(200));
        }
    }

    fn stop_is_due(&self) -> bool {
        let when = self.control.stop.as_ref().map(|s| s.what.when);
        self.control.stops_now()
            || match when {
                None | Some(StopWhen::Now) => false,
                Some(StopWhen::AfterStep) => true,
                Some(StopWhen::AfterEval) => self.evaluated.is_some_and(|(step, _)| step == self.done),
                Some(StopWhen::AfterEpoch) => self.done > 0 && self.course.plan.position(self.done - 1).ends_epoch,
            }
    }

    fn do_what_was_asked(&mut self) -> Result<()> {
        if self.session.wishes.take_checkpoint() {
            let _ = self.save(SaveReason::User, None)?;
        }
        while let Some(Asked { id, what }) = self.control.checkpoints.pop_front() {
            let outcome = self.checkpoint_now(what)?;
            self.answer(&id, "checkpoint_now", outcome);
        }
        while let Some(Asked { id, what }) = self.control.evaluations.pop_front() {
            let outcome = match self.evaluate(what.limit)? {
                true => Ok(()),
                false => Err("this run has no evaluation data: set eval_dataset or val_size".to_owned()),
            };
            self.answer(&id, "evaluate_now", outcome);
        }
        while let Some(Asked { id, what }) = self.control.samples.pop_front() {
            self.report.phase(Phase::Sampling);
            self.session.heartbeat.progress(self.done, 0, Phase::Sampling);
            // A question that cannot be asked (a missing picture) is no reason to end a run.
            let outcome = self.trainee.sample(&what).map_err(|e| format!("{e:#}"));
            let outcome = outcome.map(|answers| self.report.sampled(self.done, &answers));
            self.report.phase(Phase::Training);
            self.answer(&id, "sample_now", outcome);
        }
        Ok(())
    }

    fn answer(&mut self, id: &str, cmd: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.control.done(id, cmd, self.report),
            Err(why) => self.control.reject(id, cmd, why, self.report),
        }
    }

    fn checkpoint_now(&mut self, what: CheckpointNow) -> Result<Result<(), String>> {
        if self.done == 0 {
            return Ok(Err("no update has been made yet".into()));
        }
        if let Err(error) = self.save(SaveReason::User, what.label.clone())? {
            return Ok(Err(format!("{error:#}")));
        }
        let pinned = match what.pin {
            true => checkpoints::pin(self.dir, self.done, what.label.as_deref(), true).map_err(|e| e.to_string()),
            false => Ok(()),
        };
        Ok(pinned)
    }

    /// `false`: there is nothing to evaluate on. Given up without a result when the run stops.
    fn evaluate(&mut self, limit: Option<usize>) -> Result<bool> {
        self.report.phase(Phase::Evaluating);
        let epoch = self.course.plan.epoch_after(self.done);
        let mut pulse = Pulse::new(self.session, &mut self.control, self.report, self.done, Phase::Evaluating);
        let results = self.trainee.evaluate(epoch, limit, &mut pulse)?;
        self.session.heartbeat.progress(self.done, 0, Phase::Training);
        let evaluated = results.is_some();
        if let Some(results) = &results {
            self.report.evaluated(self.done, results, limit.is_some());
            if limit.is_none() {
                self.evaluated = Some((self.done, results.eval_loss));
            }
        }
        self.report.phase(Phase::Training);
        Ok(evaluated)
    }

    // ---- checkpoints

    /// Writes the checkpoint of where the run is, unless it is there already. Outside: errors that end the run; inside: it
    /// was not written, that was told, and the run goes on.
    fn save(&mut self, reason: SaveReason, label: Option<String>) -> Result<Result<()>> {
        if self.done == 0 || self.saved == Some(self.done) {
            return Ok(Ok(()));
        }
        self.report.phase(Phase::Checkpointing);
        self.session.heartbeat.progress(self.done, 0, Phase::Checkpointing);
        let best_before = self.report.progress.best;
        if let Some((step, loss)) = self.evaluated
            && step == self.done
            && loss.is_finite()
            && best_before.is_none_or(|best| loss < best.loss)
        {
            self.report.best(step, loss);
        }
        let outcome = match reason {
            SaveReason::Final => self.when_it_fits(|run| run.write_checkpoint(reason, &label)).map(Ok)?,
            _ => self.write_checkpoint(reason, &label),
        };
        if let Err(error) = &outcome {
            self.report.progress.best = best_before;
            if reason != SaveReason::Stop {
                saving::not_written(self.dir, self.done, error, self.report);
            }
        }
        self.report.phase(Phase::Training);
        Ok(outcome)
    }

    fn write_checkpoint(&mut self, reason: SaveReason, label: &Option<String>) -> Result<()> {
        let started = Instant::now();
        let step = self.done;
        self.report.event(&Event::CheckpointBegin { step, reason });
        let about = About { step, reason, label: label.clone(), ..self.about.clone() };
        let finished = step >= self.course.plan.total_steps;
        let bytes = saving::checkpoint(self.dir, self.trainee, self.report, about, finished)?;
        self.saved = Some(step);
        self.report.saved(step, bytes, started, reason);
        let keep = Keep { last: self.profile.save_total_limit, best: self.report.progress.best.map(|b| b.step) };
        match checkpoints::retain(self.dir, keep) {
            Ok(gone) => self.report.deleted(gone),
            Err(e) => self.report.warning("retention", &format!("old checkpoints were not removed: {e}"), None),
        }
        Ok(())
    }

    /// Work whose result must not be lost: while the disk is full it waits for space, and says so.
    fn when_it_fits(&mut self, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        const AGAIN: Duration = Duration::from_secs(2);
        let before = locked(&self.session.records).state.state().state;
        let mut waiting = false;
        loop {
            let error = match work(self) {
                Ok(()) => {
                    if waiting {
                        say("there is room again; it is written");
                        self.report.status(before, None);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if !saving::is_full(&error) {
                return Err(error).because(Exit::Disk);
            }
            if !std::mem::replace(&mut waiting, true) {
                let text = format!("the run is done but its weights are not on the disk yet: {error:#}. It waits");
                let hint = "free some space, and it is written within seconds".to_owned();
                say(&format!("warning: {text}; {hint}"));
                self.report.status(Status::Paused, Some(Reason { kind: "disk_full".into(), text, hint: Some(hint) }));
            }
            self.session.heartbeat.progress(self.done, 0, Phase::Checkpointing);
            self.session.wishes.wait(AGAIN);
            self.control.look(self.done, self.report);
            if self.control.stops_now() {
                return Err(error).because(Exit::Disk);
            }
        }
    }

    // ---- the end

    /// Ends early, with a checkpoint unless that was not wanted.
    fn stop(&mut self) -> Result<Exit> {
        self.report.status(Status::Stopping, None);
        let asked = self.control.stop.take();
        let signal = self.session.wishes.stop();
        let wanted = signal.is_some() || asked.as_ref().is_none_or(|a| a.what.checkpoint);
        let mut exit = Exit::Stopped;
        let mut text = match signal {
            Some(_) => "stopped by a signal".to_owned(),
            None => "stopped on request".to_owned(),
        };
        if wanted && let Err(error) = self.save(SaveReason::Stop, None)? {
            exit = Exit::Disk;
            text.push_str(&format!("; checkpoint at step {} was not written: {error:#}", self.done));
        }
        match self.report.newest_checkpoint() {
            Some(newest) if self.saved == Some(self.done) => text.push_str(&format!("; {newest} is saved")),
            Some(newest) => text.push_str(&format!("; the newest checkpoint is {newest}")),
            None => text.push_str("; there is no checkpoint"),
        }
        say(&format!("{text}. The same command goes on from there"));
        if let Some(asked) = asked {
            self.control.done(&asked.id, "stop", self.report);
        }
        let kind = if exit == Exit::Disk {
            "disk"
        } else if signal.is_some() {
            "signal"
        } else {
            "user"
        };
        let hint = Some(format!("`lightbox runs resume {}` goes on", self.dir.path().display()));
        self.report.status(Status::Stopped, Some(Reason { kind: kind.into(), text, hint }));
        Ok(exit)
    }

    fn finish(&mut self) -> Result<Exit> {
        self.report.status(Status::Finishing, None);
        if self.profile.load_best_model_at_end
            && let Some(best) = self.report.progress.best
            && best.step != self.done
        {
            say(&format!("the best checkpoint is that of step {} (evaluation loss {:.4})", best.step, best.loss));
            self.trainee.load(&self.dir.checkpoint(best.step)).because(Exit::Disk)?;
        }
        self.when_it_fits(|run| run.trainee.save_final(run.dir.path()))?;
        if self.profile.do_eval {
            self.evaluate(None)?;
        }
        self.when_it_fits(|run| run.report.finished(&run.course.plan, run.done))?;
        self.report.status(Status::Finished, None);
        Ok(Exit::Finished)
    }
}
