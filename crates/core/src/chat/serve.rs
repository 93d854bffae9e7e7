//! The worker's side without the model: requests come in on a thread of their own, so that `stop` is heard while a model
//! loads or speaks; questions wait in line; a second thread answers them. The engine is one [`Respondent`], the fake engine
//! another, so the tests without libtorch run the code that people use.
//!
//! Where an answer is when `stop` comes: waiting, loading or read by the model (nothing has been said): its `done` goes out
//! at once, and what is under way ends unheard — a model that was loading stays loaded. Speaking: the next token is its last.

use super::{Ask, Done, Finish, ModelChoice, Reply, Request};
use crate::exit::{self, Because, Exit};
use anyhow::{Context, Result, anyhow};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

/// Who answers.
pub trait Respondent: Send {
    /// [`Reply::Ready`].
    fn ready(&self) -> Reply;

    /// Makes `model` the loaded one; says [`Reply::Loading`] if that takes work.
    ///
    /// Returns [`Reply::Loaded`].
    fn load(&mut self, model: &ModelChoice, voice: &Voice) -> Result<Reply>;

    /// Frees the memory.
    fn unload(&mut self);

    /// Loads what is missing (with [`Reply::Loading`] and [`Reply::Loaded`]), then answers.
    fn answer(&mut self, ask: &Ask, voice: &Voice) -> Result<Done>;

    /// As many questions it can answer at once. Those that wait in line together, for the same model, come as one batch.
    fn batch(&self) -> usize {
        1
    }

    /// The same for several questions to one model, each with the voice of its own.
    ///
    /// Returns as many outcomes, in their order.
    fn answer_together(&mut self, asks: &[Ask], voices: &[Voice]) -> Vec<Result<Done>> {
        asks.iter().zip(voices).map(|(ask, voice)| self.answer(ask, voice)).collect()
    }

    /// What happened and, where that is known, what to do: the words of [`Reply::Failed`].
    fn explain(&self, error: &anyhow::Error) -> (String, Option<String>);
}

/// Serves the process's stdin and stdout until stdin ends. Nothing but replies reaches stdout from here on: what a library
/// prints there lands on stderr.
///
/// # Errors
/// The respondent cannot be made, or lost its GPU for good.
pub fn stdio<R: Respondent + 'static>(make: impl FnOnce() -> Result<R>) -> Result<Exit> {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().context("stdout cannot be used")?;
    // SAFETY: a plain system call on two descriptors that are open.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(std::io::Error::last_os_error()).context("stdout cannot be given to stderr");
    }
    serve(BufReader::new(std::io::stdin()), std::fs::File::from(stdout), make()?)?;
    // No destructors: the other thread may be in the middle of a computation, and libtorch's would take its memory away.
    // SAFETY: ends the process; nothing is buffered.
    unsafe { libc::_exit(Exit::Finished as i32) }
}

/// Serves until `requests` ends, `quit` comes or nobody reads `replies`; does not wait for an answer that is under way.
///
/// # Errors
/// The respondent cannot go on ([`Exit::Device`]).
pub fn serve<R: Respondent + 'static>(
    requests: impl BufRead + Send + 'static,
    replies: impl Write + Send + 'static,
    mut respondent: R,
) -> Result<()> {
    let desk = Arc::new(Desk::new(replies));
    let (ended, end) = mpsc::channel();
    let (inbox, ended_too) = (desk.clone(), ended.clone());
    thread::Builder::new().name("requests".into()).spawn(move || {
        inbox.take_in(requests);
        let _ = ended_too.send(Ok(()));
    })?;
    thread::Builder::new().name("answers".into()).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| desk.work(&mut respondent)));
        let panicked = |_| Err(anyhow!("a fault inside the program")).because(Exit::Internal);
        let _ = ended.send(outcome.unwrap_or_else(panicked));
    })?;
    end.recv().unwrap_or(Ok(()))
}

/// What both threads share.
struct Desk {
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    replies: Box<dyn Write + Send>,
    /// Everything but `stop` and `quit`, in order.
    waiting: VecDeque<Request>,
    /// Questions that are being answered, together.
    current: Vec<Current>,
    /// Nobody asks or listens any more.
    over: bool,
}

/// A question that is being answered.
struct Current {
    id: u64,
    prompt_tokens: usize,
    /// The first token is there.
    speaking: bool,
    /// `stop` came while it spoke: the next token is the last.
    stopped: bool,
    /// Its `done` is out; nothing more may be said of it.
    closed: bool,
}

/// What the thread that answers does next.
enum Work {
    Answer(Vec<Ask>),
    Other(Box<Request>),
}

/// After a fault of the GPU this process computes nothing any more; a new one may.
fn fatal(failed: Option<anyhow::Error>) -> Result<()> {
    failed.filter(|error| exit::code(error) == Exit::Device).map_or(Ok(()), Err)
}

impl State {
    fn send(&mut self, reply: &Reply) {
        let line = serde_json::to_string(reply).map(|line| line + "\n").map_err(std::io::Error::from);
        if line.and_then(|line| self.replies.write_all(line.as_bytes())).and_then(|()| self.replies.flush()).is_err() {
            self.over = true;
        }
    }

    fn is_open(&self, id: u64) -> bool {
        self.current.iter().any(|c| c.id == id && !c.closed)
            || self.waiting.iter().any(|r| matches!(r, Request::Ask(ask) if ask.id == id))
    }

    fn stop(&mut self, id: u64) {
        let prompt_tokens = match self.current.iter_mut().find(|current| current.id == id && !current.closed) {
            Some(current) if current.speaking => {
                current.stopped = true;
                return;
            }
            Some(current) => {
                current.closed = true;
                current.prompt_tokens
            }
            None => {
                let before = self.waiting.len();
                self.waiting.retain(|r| !matches!(r, Request::Ask(ask) if ask.id == id));
                if self.waiting.len() == before {
                    // It ended while the request was on its way: no fault of anyone.
                    return;
                }
                0
            }
        };
        self.send(&Reply::Done(Done::unsaid(id, prompt_tokens, Finish::Cancelled)));
    }
}

impl Desk {
    fn new(replies: impl Write + Send + 'static) -> Self {
        let state = State { replies: Box::new(replies), waiting: VecDeque::new(), current: Vec::new(), over: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread that reads.
    fn take_in(&self, requests: impl BufRead) {
        for line in requests.split(b'\n') {
            let Ok(line) = line else { break };
            if line.trim_ascii().is_empty() {
                continue;
            }
            let request = Request::parse(&line);
            let mut state = self.state();
            match request {
                Err(failed) => state.send(&failed),
                Ok(Request::Quit) => break,
                Ok(Request::Stop { id }) => state.stop(id),
                Ok(Request::Ask(ask)) if state.is_open(ask.id) => {
                    let error = format!("question {} is still open; this one with the same id was left out", ask.id);
                    state.send(&Reply::Failed { id: None, error, hint: None, code: Exit::Usage });
                }
                Ok(request) => {
                    state.waiting.push_back(request);
                    self.arrived.notify_one();
                }
            }
        }
        self.state().over = true;
        self.arrived.notify_one();
    }

    /// The thread that answers.
    fn work(&self, respondent: &mut impl Respondent) -> Result<()> {
        self.state().send(&respondent.ready());
        while let Some(work) = self.next(respondent.batch()) {
            let request = match work {
                Work::Answer(asks) => {
                    self.answer(respondent, &asks)?;
                    continue;
                }
                Work::Other(request) => *request,
            };
            let failed = match request {
                Request::Load { model } => match respondent.load(&model, &Voice { desk: self, id: None }) {
                    Ok(loaded) => {
                        self.state().send(&loaded);
                        None
                    }
                    Err(error) => {
                        let (text, hint) = respondent.explain(&error);
                        let code = exit::code(&error);
                        self.state().send(&Reply::Failed { id: None, error: text, hint, code });
                        Some(error)
                    }
                },
                Request::Unload => {
                    respondent.unload();
                    self.state().send(&Reply::Unloaded);
                    None
                }
                Request::Ask(_) | Request::Stop { .. } | Request::Quit => None, // asked above; never wait in line
            };
            fatal(failed)?;
        }
        Ok(())
    }

    fn answer(&self, respondent: &mut impl Respondent, asks: &[Ask]) -> Result<()> {
        let voices: Vec<Voice> = asks.iter().map(|ask| Voice { desk: self, id: Some(ask.id) }).collect();
        let outcomes = match (asks, voices.as_slice()) {
            ([ask], [voice]) => vec![respondent.answer(ask, voice)],
            _ => respondent.answer_together(asks, &voices),
        };
        let mut lost = Ok(());
        for (ask, outcome) in asks.iter().zip(outcomes) {
            let failed = self.end(ask.id, outcome.map_err(|error| (respondent.explain(&error), error))).err();
            lost = lost.and(fatal(failed));
        }
        lost
    }

    /// Waits for work; with a question come those behind it that go to the same model, up to `batch` in all.
    fn next(&self, batch: usize) -> Option<Work> {
        let mut state = self.state();
        loop {
            if state.over {
                return None;
            }
            match state.waiting.pop_front() {
                Some(Request::Ask(ask)) => {
                    let mut asks = vec![ask];
                    while asks.len() < batch
                        && matches!(state.waiting.front(), Some(Request::Ask(next)) if next.model == asks[0].model)
                        && let Some(Request::Ask(next)) = state.waiting.pop_front()
                    {
                        asks.push(next);
                    }
                    let current = |ask: &Ask| Current {
                        id: ask.id,
                        prompt_tokens: 0,
                        speaking: false,
                        stopped: false,
                        closed: false,
                    };
                    state.current = asks.iter().map(current).collect();
                    return Some(Work::Answer(asks));
                }
                Some(request) => return Some(Work::Other(Box::new(request))),
                None => state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The one `done` or `failed` of a question. A fault after its `done` belongs to no question, but is told.
    fn end(&self, id: u64, outcome: Result<Done, ((String, Option<String>), anyhow::Error)>) -> Result<()> {
        let mut state = self.state();
        let closed = state.current.iter().find(|current| current.id == id).is_none_or(|current| current.closed);
        state.current.retain(|current| current.id != id);
        match outcome {
            Ok(done) => {
                if !closed {
                    state.send(&Reply::Done(done));
                }
                Ok(())
            }
            Err(((error, hint), cause)) => {
                let code = exit::code(&cause);
                state.send(&Reply::Failed { id: (!closed).then_some(id), error, hint, code });
                Err(cause)
            }
        }
    }
}

/// How a [`Respondent`] is heard. `Break` means: nobody listens any more.
pub struct Voice<'a> {
    desk: &'a Desk,
    id: Option<u64>,
}

impl Voice<'_> {
    /// [`Reply::Loading`] and [`Reply::Loaded`], which belong to no question.
    pub fn tell(&self, reply: &Reply) {
        self.desk.state().send(reply);
    }

    /// Before work that takes long.
    pub fn go_on(&self) -> ControlFlow<()> {
        self.said(|_, _| None)
    }

    pub fn started(&self, prompt_tokens: usize, image_tokens: usize) -> ControlFlow<()> {
        self.said(|id, current| {
            current.prompt_tokens = prompt_tokens;
            Some(Reply::Started { id, prompt_tokens, image_tokens })
        })
    }

    /// Once a token; `piece` may be empty. All pieces joined are the answer's text.
    pub fn text(&self, piece: &str) -> ControlFlow<()> {
        self.said(|id, current| {
            current.speaking = true;
            (!piece.is_empty()).then(|| Reply::Text { id, text: piece.to_owned() })
        })
    }

    fn said(&self, reply: impl FnOnce(u64, &mut Current) -> Option<Reply>) -> ControlFlow<()> {
        let mut state = self.desk.state();
        let Some(id) = self.id else { return ControlFlow::Continue(()) };
        let Some(current) = state.current.iter_mut().find(|c| c.id == id && !c.closed) else {
            return ControlFlow::Break(());
        };
        let (reply, stopped) = (reply(id, current), current.stopped);
        if let Some(reply) = reply {
            state.send(&reply);
        }
        if stopped || state.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
