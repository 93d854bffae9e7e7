//! Work that takes longer than a moment: on a thread of its own, with progress, and it can be cancelled.
use super::Back;
use crate::app::Action;
use crate::app::tasks::{News, Progress, State, TaskId};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Starts tasks and cancels them.
#[derive(Debug, Clone)]
pub struct Runner {
    back: Back,
    next: Arc<AtomicU64>,
    flags: Arc<Mutex<HashMap<TaskId, Arc<AtomicBool>>>>,
}

/// What a task has to do with the rest of the program.
#[derive(Debug)]
pub struct Ctx {
    id: TaskId,
    back: Back,
    cancelled: Arc<AtomicBool>,
    said: Option<Instant>,
}

/// More often nobody sees a difference, and over SSH each is a frame.
const EVERY: Duration = Duration::from_millis(100);

impl Ctx {
    /// Tells how far the work is; `Break`: it was cancelled.
    pub fn progress(&mut self, done: u64, total: u64) -> ControlFlow<()> {
        self.report(|| Progress { done, total, ..Progress::default() })
    }

    /// As [`Self::progress`], with bytes or a note.
    pub fn report(&mut self, progress: impl FnOnce() -> Progress) -> ControlFlow<()> {
        if self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.said = Some(Instant::now());
            self.back.send(Action::Task(News::Progress(self.id, progress())));
        }
        if self.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Set when the task is cancelled, for work that looks at a flag.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    pub fn back(&self) -> &Back {
        &self.back
    }
}

impl Runner {
    pub fn new(back: Back) -> Self {
        Self { back, next: Arc::default(), flags: Arc::default() }
    }

    /// Does `work` beside the loop. Its action is sent before the task is said to have ended; a panic inside is a failure
    /// of this task only.
    pub fn start(
        &self,
        title: impl Into<String>,
        work: impl FnOnce(&mut Ctx) -> anyhow::Result<Option<Action>> + Send + 'static,
    ) -> TaskId {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        self.flags().insert(id, cancelled.clone());
        self.back.send(Action::Task(News::Started { id, title: title.into() }));
        let runner = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut ctx = Ctx { id, back: runner.back.clone(), cancelled, said: None };
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut ctx)));
            let state = match outcome {
                Ok(Ok(action)) => {
                    action.into_iter().for_each(|action| runner.back.send(action));
                    if ctx.is_cancelled() { State::Cancelled } else { State::Done }
                }
                Ok(Err(_)) if ctx.is_cancelled() => State::Cancelled,
                Ok(Err(e)) => State::Failed(format!("{e:#}")),
                Err(_) => State::Failed("a fault inside the program; please report it".to_owned()),
            };
            runner.flags().remove(&id);
            runner.back.send(Action::Task(News::Ended(id, state)));
        });
        id
    }

    pub fn back(&self) -> &Back {
        &self.back
    }

    pub fn cancel(&self, id: TaskId) {
        if let Some(flag) = self.flags().get(&id) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    /// At the end of the program: what can stop early should.
    pub fn cancel_all(&self) {
        self.flags().values().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }

    fn flags(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Arc<AtomicBool>>> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
