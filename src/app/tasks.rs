//! Work in the background that takes longer than a moment: what it is, how far it is, and that it can be cancelled.
//! [`crate::link::tasks`] does it.

/// Counts up from 1.
pub type TaskId = u64;

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub id: TaskId,
    /// In the user's language.
    pub title: String,
    pub progress: Progress,
    /// What was done when it first told: a download that goes on has much of it behind it, which says nothing of its pace.
    pub began_at: u64,
    pub state: State,
    pub started_ms: u64,
    pub ended_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    pub done: u64,
    /// 0: not known.
    pub total: u64,
    pub bytes: bool,
    /// What it is busy with, e.g. a file name.
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Running,
    /// Asked to stop.
    Stopping,
    Done,
    Cancelled,
    Failed(String),
}

#[derive(Debug, Clone)]
pub enum News {
    Started { id: TaskId, title: String },
    Progress(TaskId, Progress),
    Ended(TaskId, State),
}

#[derive(Debug, Default)]
pub struct Tasks {
    list: Vec<Task>,
}

/// Ended tasks that stay in the list.
const KEPT: usize = 50;

impl Tasks {
    /// The newest first.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Task> {
        self.list.iter().rev()
    }

    pub fn running(&self) -> impl Iterator<Item = &Task> {
        self.list.iter().filter(|task| matches!(task.state, State::Running | State::Stopping))
    }

    pub fn get(&self, id: TaskId) -> Option<&Task> {
        self.list.iter().find(|task| task.id == id)
    }

    pub fn hear(&mut self, news: News, now_ms: u64) {
        match news {
            News::Started { id, title } => {
                let ended = |task: &Task| !matches!(task.state, State::Running | State::Stopping);
                if self.list.len() >= KEPT
                    && let Some(oldest) = self.list.iter().position(ended)
                {
                    self.list.remove(oldest);
                }
                let progress = Progress::default();
                self.list.push(Task {
                    id,
                    title,
                    progress,
                    began_at: 0,
                    state: State::Running,
                    started_ms: now_ms,
                    ended_ms: 0,
                });
            }
            News::Progress(id, progress) => {
                if let Some(task) = self.list.iter_mut().find(|task| task.id == id) {
                    if task.progress == Progress::default() {
                        task.began_at = progress.done;
                    }
                    task.progress = progress;
                }
            }
            News::Ended(id, state) => {
                if let Some(task) = self.list.iter_mut().find(|task| task.id == id) {
                    (task.state, task.ended_ms) = (state, now_ms);
                }
            }
        }
    }

    /// Says whether there is such a task that runs.
    pub fn stop(&mut self, id: TaskId) -> bool {
        let task = self.list.iter_mut().find(|task| task.id == id && task.state == State::Running);
        task.map(|task| task.state = State::Stopping).is_some()
    }

    /// Seconds tick while something runs.
    pub fn next_change(&self, now_ms: u64) -> Option<u64> {
        self.running().next().map(|_| now_ms + 1_000)
    }
}

impl Task {
    /// From 0 to 1, if the total is known.
    pub fn share(&self) -> Option<f64> {
        (self.progress.total > 0).then(|| (self.progress.done as f64 / self.progress.total as f64).min(1.0))
    }

    /// At the mean pace so far; only after two seconds, before that it would only jump.
    pub fn seconds_left(&self, now_ms: u64) -> Option<f64> {
        let elapsed = now_ms.checked_sub(self.started_ms).filter(|ms| *ms >= 2_000)? as f64 / 1000.0;
        let (done, total) = (self.progress.done, self.progress.total);
        let since = done.checked_sub(self.began_at).filter(|since| *since > 0)?;
        Some(elapsed * total.checked_sub(done)? as f64 / since as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::messages::Level;
    use crate::app::{Action, App, update};

    #[test]
    fn what_the_work_said_is_not_hidden_by_the_word_that_it_is_done() {
        let ended = |app: &mut App, id| {
            update(app, Action::Task(News::Started { id, title: "Export".into() }));
            // long enough that its end is worth a word
            app.now_ms += 2_000;
            if id == 1 {
                update(app, Action::Say(Level::Good, "Written: a.png".into()));
            }
            update(app, Action::Task(News::Ended(id, State::Done)));
            app.messages.past().next().map(|message| message.text.clone())
        };
        let mut app = App::default();
        assert_eq!(ended(&mut app, 1).as_deref(), Some("Written: a.png"));
        app.now_ms += 10_000;
        assert_eq!(ended(&mut app, 2).as_deref(), Some("Export: done"));
    }
}
