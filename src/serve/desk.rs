//! Between the requests and the worker: hands questions over, brings each reply to the request that waits for it, and
//! starts the worker again when it dies. The process itself is [`Answerer`]'s business, as for the Chat screen.
//!
//! All questions go to the worker at once; it knows best which of them to answer together. How many may be open is counted
//! by places ([`Desk::place`]): a place is taken before a request is read and given back when the worker has ended its
//! answer, so a client that does not read takes nobody's place.

use super::error::ApiError;
use crate::link::answer::{Answerer, Died, Event};
use anyhow::{Result, anyhow};
use axum::http::StatusCode;
use lightbox_core::chat::{Ask, Done, ModelChoice, Reply, Request};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::clean_line;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tempfile::NamedTempFile;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What comes of a question, in this order; `Done` or `Failed` is the last.
#[derive(Debug)]
pub enum Heard {
    Started,
    Text(String),
    Done(Done),
    Failed(ApiError),
}

/// The worker and the questions that are open.
pub struct Desk {
    state: Mutex<State>,
    places: Arc<Semaphore>,
    most: usize,
    /// Loaded at the start, and again when the worker has died.
    model: ModelChoice,
    /// Of the worker, on a CPU; `None`: it decides.
    num_threads: Option<usize>,
}

struct State {
    answerer: Option<Answerer>,
    /// It has a model: one that dies now is started again at once. One that dies before would die again.
    loaded: bool,
    starting: Option<oneshot::Sender<Result<()>>>,
    next_id: u64,
    open: HashMap<u64, Open>,
    closed: bool,
}

struct Open {
    to: UnboundedSender<Heard>,
    _place: OwnedSemaphorePermit,
    /// The worker may read them until the end.
    pictures: Vec<NamedTempFile>,
}

/// An open question. Dropping it stops the answer.
pub struct Ticket {
    id: u64,
    heard: UnboundedReceiver<Heard>,
    desk: Arc<Desk>,
    ended: bool,
}

impl Desk {
    /// Starts nothing yet. At most `most` questions are open.
    pub fn new(model: ModelChoice, num_threads: Option<usize>, most: usize) -> Arc<Self> {
        let (answerer, loaded, starting, next_id, open, closed) = (None, false, None, 1, HashMap::new(), false);
        let state = Mutex::new(State { answerer, loaded, starting, next_id, open, closed });
        Arc::new(Self { state, places: Arc::new(Semaphore::new(most)), most, model, num_threads })
    }

    /// Starts the worker and loads the model.
    ///
    /// # Errors
    /// Either fails; with the exit code of what happened.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        let (send, loaded) = oneshot::channel();
        {
            let mut state = self.state();
            state.starting = Some(send);
            self.start_worker(&mut state)?;
        }
        loaded.await.unwrap_or_else(|_| Err(anyhow!("the worker has ended")))
    }

    /// Whether a model is loaded, and how many questions are open.
    pub fn health(&self) -> (bool, usize) {
        (self.state().loaded, self.most - self.places.available_permits().min(self.most))
    }

    /// A place in the line.
    ///
    /// # Errors
    /// 429: the line is full.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are waiting, which is as many as may; try again in a moment", self.most);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message)
        })
    }

    /// Hands a question over. Its id is given here.
    ///
    /// # Errors
    /// 503: there is no worker and none can be started.
    pub fn ask(
        self: &Arc<Self>,
        mut ask: Ask,
        pictures: Vec<NamedTempFile>,
        place: OwnedSemaphorePermit,
    ) -> Result<Ticket, ApiError> {
        let mut state = self.state();
        if state.closed {
            return Err(unavailable("the server is ending"));
        }
        if state.answerer.is_none() {
            self.start_worker(&mut state).map_err(|error| unavailable(&format!("{error:#}")))?;
        }
        let id = state.next_id;
        state.next_id += 1;
        ask.id = id;
        let (to, heard) = unbounded_channel();
        state.open.insert(id, Open { to, _place: place, pictures });
        // A worker that is gone already is heard of as `Died`, which ends this question with the others.
        let _ = state.answerer.as_ref().map(|answerer| answerer.send(&Request::Ask(ask)));
        Ok(Ticket { id, heard, desk: self.clone(), ended: false })
    }

    /// Ends the worker; what is open ends with it.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.open.clear();
        let answerer = state.answerer.take();
        drop(state);
        drop(answerer);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_worker(self: &Arc<Self>, state: &mut State) -> Result<()> {
        // Weak: the worker's thread must not keep alive what keeps the worker.
        let desk: Weak<Self> = Arc::downgrade(self);
        let answerer = Answerer::start(self.num_threads, move |event| {
            if let Some(desk) = desk.upgrade() {
                desk.hear(event);
            }
        })?;
        answerer.send(&Request::Load { model: self.model.clone() })?;
        state.loaded = false;
        state.answerer = Some(answerer);
        Ok(())
    }

    /// On the worker's thread.
    fn hear(self: &Arc<Self>, event: Event) {
        let mut state = self.state();
        match event {
            Event::Reply(Reply::Loaded { .. }) => {
                state.loaded = true;
                state.starting.take().map(|starting| starting.send(Ok(())));
            }
            Event::Reply(Reply::Started { id, .. }) => state.tell(id, Heard::Started),
            Event::Reply(Reply::Text { id, text }) => state.tell(id, Heard::Text(text)),
            Event::Reply(Reply::Done(done)) => state.end(done.id, Heard::Done(done)),
            Event::Reply(Reply::Failed { id, error, hint, code }) => {
                let text = hint.iter().fold(error, |text, hint| format!("{text}. {hint}"));
                let text = clean_line(&text, 1000);
                match (id, state.starting.take()) {
                    (Some(id), starting) => {
                        state.starting = starting;
                        state.fail(id, code, &text);
                    }
                    (None, Some(starting)) => drop(starting.send(Err(anyhow!(text)).because(code))),
                    (None, None) => say(&format!("warning: {text}")),
                }
            }
            Event::Reply(Reply::Ready { .. } | Reply::Loading { .. } | Reply::Unloaded) => {}
            Event::Died(died) => self.bury(state, &died),
        }
    }

    /// Every open question gets its error; a worker that had a model gets a successor.
    fn bury(self: &Arc<Self>, mut state: MutexGuard<'_, State>, died: &Died) {
        let dead = state.answerer.take();
        let lost = std::mem::take(&mut state.open);
        if let Some(starting) = state.starting.take() {
            let exit = died.code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::Failed, Exit::from_code);
            let _ = starting.send(Err(anyhow!("{died}")).because(exit));
        } else {
            let next = if state.loaded { "it is started again" } else { "the next request starts it again" };
            say(&format!("warning: {died}; {} open requests are lost; {next}", lost.len()));
        }
        let again = state.loaded && !state.closed;
        state.loaded = false;
        if again && let Err(error) = self.start_worker(&mut state) {
            say(&format!("error: the worker cannot be started again: {}", clean_line(&format!("{error:#}"), 500)));
        }
        drop(state);
        // What it said last may hold paths and more of this machine: that is for the log.
        let error = unavailable("the worker died while this request was open; ask once more, and a new one answers");
        for open in lost.into_values() {
            let _ = open.to.send(Heard::Failed(error.clone()));
        }
        drop(dead);
    }
}

impl State {
    fn tell(&self, id: u64, heard: Heard) {
        // The client may be gone; then its `stop` is on the way.
        let _ = self.open.get(&id).map(|open| open.to.send(heard));
    }

    fn end(&mut self, id: u64, heard: Heard) {
        let _ = self.open.remove(&id).map(|open| open.to.send(heard));
    }

    /// What is wrong with a question its client hears in full. What is wrong here may name paths and more of this machine:
    /// that is for the log.
    fn fail(&mut self, id: u64, code: Exit, text: &str) {
        let pictures = self.open.get(&id).map(|open| open.pictures.as_slice()).unwrap_or_default();
        let named = |text: String, (i, picture): (usize, &NamedTempFile)| {
            text.replace(&picture.path().display().to_string(), &format!("picture {}", i + 1))
        };
        let text = pictures.iter().enumerate().fold(text.to_owned(), named);
        let error = match code {
            Exit::Data => ApiError::field("messages", text),
            _ => {
                say(&format!("warning: request {id}: {text}"));
                match code {
                    Exit::OutOfMemory => ApiError::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "out_of_memory",
                        "there is not enough memory for this request: send fewer or smaller pictures, fewer turns, or a lower max_tokens",
                    ),
                    Exit::Device => unavailable("the GPU was lost while this request was open; ask once more"),
                    _ => ApiError::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "failed",
                        format!("the model could not answer; the server's log says why (request {id})"),
                    ),
                }
            }
        };
        self.end(id, Heard::Failed(error));
    }
}

impl Ticket {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Nothing more comes.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What comes next.
    pub async fn next(&mut self) -> Heard {
        let heard = self.heard.recv().await.unwrap_or_else(|| Heard::Failed(unavailable("the server is ending")));
        self.ended |= matches!(heard, Heard::Done(_) | Heard::Failed(_));
        heard
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            // Its entry stays until the worker's `done`.
            let _ = self.desk.state().answerer.as_ref().map(|answerer| answerer.send(&Request::Stop { id: self.id }));
        }
    }
}

fn unavailable(message: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "worker_unavailable", message)
}
