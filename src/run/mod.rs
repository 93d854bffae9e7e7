//! The only loop of the workbench: waits for keys, results, signals and timers at once, hands each to
//! [`crate::app::update`], has its effects done, and draws when something changed.
//!
//! Keys are drawn at once; what comes from data or from a run is drawn at most so many times a second ([`pace`]), fewer over
//! SSH. When nothing changed nothing is drawn, and a quiet screen sends no bytes. Pictures go out after the frame, in
//! portions, so that typing never waits for them ([`stage`]).

mod effects;
mod stage;

use crate::app::messages::Level;
use crate::app::settings::Settings;
use crate::app::{Action, App, Screen, update};
use crate::link::{Back, Links};
use crate::term::caps::Caps;
use crate::term::guard;
use crate::term::probe::LateReplies;
use crate::term::signals::{Signal, signals};
use crate::text::Lang;
use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use futures_util::StreamExt;
use lightbox_core::runs::registry;
use stage::Stage;
use std::path::PathBuf;
use std::process::ExitCode;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What the command line says about the workbench.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub screen: Option<Screen>,
    pub language: Option<Lang>,
    pub no_mouse: bool,
    /// Begin the tour with the demo's content in this folder.
    pub demo: Option<PathBuf>,
}

/// The workbench, until the user leaves it.
///
/// # Errors
/// There is no terminal, or it cannot be written to.
pub fn workbench(options: &Options) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the workbench")?;
    let outcome = runtime.block_on(run(options));
    // a thread that reads a disk that hangs must not hold up the end
    runtime.shutdown_timeout(Duration::from_millis(200));
    match outcome {
        // whichever of reading and writing noticed it first
        Err(_) if guard::is_gone() => Ok(exit(Signal::Hangup)),
        outcome => outcome,
    }
}

fn exit(signal: Signal) -> ExitCode {
    ExitCode::from(signal.exit_code().unwrap_or(1))
}

async fn run(options: &Options) -> Result<ExitCode> {
    let mut app = start(options);
    let (mut stage, replies) = Stage::enter(&mut app)?;
    let (send, results) = unbounded_channel();
    let back = Back(send);
    stage.decode_into(back.clone());
    let links = Links::new(back);
    let mut workbench = Loop {
        late: LateReplies::after(&replies, Instant::now()),
        started: Instant::now(),
        may_draw: Instant::now(),
        app,
        links,
        stage,
        events: Some(EventStream::new()),
    };
    let outcome = workbench.run(results, &replies.typed, options.demo.clone()).await;
    workbench.links.tasks.cancel_all();
    drop(workbench.stage);
    outcome
}

/// The state that the program begins with.
fn start(options: &Options) -> App {
    let (settings, wrong) = registry::state_dir().map_or_else(Default::default, |dir| Settings::load(&dir));
    let mut app = App {
        screen: options.screen.unwrap_or_default(),
        settings,
        session_language: options.language,
        session_no_mouse: options.no_mouse,
        here: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        locale: Lang::of_locale(|name| std::env::var(name).ok()),
        focused: true,
        dirty: true,
        wall_ms: wall_ms(),
        ..App::default()
    };
    if let Some(wrong) = wrong {
        app.say(Level::Warning, wrong);
    }
    if !app.settings.tour_seen && options.demo.is_none() {
        crate::app::tour::start(&mut app);
    }
    app
}

struct Loop {
    app: App,
    links: Links,
    stage: Stage,
    /// `None` while another program has the terminal.
    events: Option<EventStream>,
    late: Option<LateReplies>,
    started: Instant,
    /// Data may be drawn from here on.
    may_draw: Instant,
}

/// What woke the loop.
enum Woken {
    Event(Event),
    Result(Action),
    Signal(Signal),
    Time,
}

impl Loop {
    async fn run(
        &mut self,
        mut results: UnboundedReceiver<Action>,
        typed: &[u8],
        demo: Option<PathBuf>,
    ) -> Result<ExitCode> {
        let mut signals = signals(self.stage.fd()).context("listening for signals")?;
        let screen = self.app.screen;
        self.act(Action::Go(screen))?;
        if let Some(dir) = demo {
            self.act(Action::Tour(crate::app::tour::Msg::With(dir)))?;
        }
        for c in String::from_utf8_lossy(typed).chars().filter(|c| !c.is_control()) {
            self.act(Action::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)))?;
        }
        let mut now = true;
        while !self.app.quit {
            if self.app.dirty && (now || Instant::now() >= self.may_draw) {
                self.draw()?;
            }
            now = false;
            let wake = self.wake();
            let woken = {
                let events = self.events.get_or_insert_with(EventStream::new);
                tokio::select! {
                    // a key is never kept waiting by a flood of results
                    biased;
                    event = events.next() => Woken::Event(event.context("the terminal is gone")?.context("reading the terminal")?),
                    signal = signals.next() => Woken::Signal(signal),
                    Some(result) = results.recv() => Woken::Result(result),
                    () = until(wake) => Woken::Time,
                }
            };
            match woken {
                Woken::Event(event) if self.is_late(&event) => {}
                Woken::Event(event) => {
                    now = true;
                    self.event(event)?;
                    // keys that wait already become one frame: a held key must not pile up behind drawing
                    for _ in 0..64 {
                        let Some(next) = self.waiting_event().await? else { break };
                        if !self.is_late(&next) {
                            self.event(next)?;
                        }
                    }
                }
                Woken::Signal(signal) => match signal {
                    Signal::Suspend => self.suspend()?,
                    Signal::Continue => self.stage.retake(&mut self.app)?,
                    Signal::Resize => now = self.resize()?,
                    signal => return Ok(exit(signal)),
                },
                Woken::Result(result) => self.act(result)?,
                Woken::Time => {
                    self.stage.send_some()?;
                    self.app.dirty |= self.stage.settled();
                    if self.app.next_tick().is_some_and(|at| at <= self.now_ms()) {
                        self.act(Action::Tick)?;
                    }
                }
            }
            // what is there already becomes one frame; bounded, so that a flood of results cannot keep keys out
            for _ in 0..500 {
                let Ok(result) = results.try_recv() else { break };
                self.act(result)?;
            }
            if let Some(panic) = guard::take_other_panic() {
                let said = panic.lines().last().unwrap_or_default().to_owned();
                self.act(Action::Say(Level::Error, format!("a fault inside the program: {said}")))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn draw(&mut self) -> Result<()> {
        self.app.dirty = false;
        self.stage.draw(&mut self.app)?;
        self.may_draw = Instant::now() + pace(&self.app.caps);
        Ok(())
    }

    /// When there is something to do although nothing happens.
    fn wake(&self) -> Option<Instant> {
        let tick = self.app.next_tick().map(|ms| self.started + Duration::from_millis(ms));
        let draw = self.app.dirty.then_some(self.may_draw);
        [tick, draw, self.stage.wake()].into_iter().flatten().min()
    }

    /// An event that is there already.
    async fn waiting_event(&mut self) -> Result<Option<Event>> {
        if self.app.quit {
            return Ok(None);
        }
        let Some(events) = &mut self.events else { return Ok(None) };
        // With this task's own waker: another one would be kept by the stream, and its next key would wake nobody.
        let ready = std::future::poll_fn(|cx| match events.poll_next_unpin(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => Poll::Ready(None),
        });
        match ready.await {
            Some(event) => Ok(Some(event.context("the terminal is gone")?.context("reading the terminal")?)),
            None => Ok(None),
        }
    }

    fn is_late(&mut self, event: &Event) -> bool {
        self.late.as_mut().is_some_and(|late| late.swallow(event, Instant::now()))
    }

    fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Key(key) => self.act(Action::Key(key)),
            Event::Mouse(mouse) => self.act(Action::Mouse(mouse)),
            Event::Paste(text) => self.act(Action::Paste(text)),
            Event::Resize(..) => {
                guard::look_again();
                self.resize().map(drop)
            }
            Event::FocusGained => self.act(Action::Focus(true)),
            Event::FocusLost => self.act(Action::Focus(false)),
        }
    }

    /// One action, and what it asks for.
    fn act(&mut self, action: Action) -> Result<()> {
        self.app.now_ms = self.now_ms();
        self.app.wall_ms = wall_ms();
        self.links.set_language(self.app.lang());
        for effect in update(&mut self.app, action) {
            if let Some(effect) = self.links.run(effect) {
                self.perform(effect)?;
            }
        }
        Ok(())
    }

    /// Says whether the size is another one.
    fn resize(&mut self) -> Result<bool> {
        let size = self.stage.size()?;
        if size == self.app.size {
            return Ok(false);
        }
        self.stage.resized(&mut self.app)?;
        self.act(Action::Resize(size.0, size.1))?;
        Ok(true)
    }

    fn suspend(&mut self) -> Result<()> {
        if let Some(events) = self.events.take() {
            guard::end_reader(events);
        }
        self.stage.suspend(&mut self.app)?;
        self.resize().map(drop)
    }
}

/// How long data waits between two frames.
fn pace(caps: &Caps) -> Duration {
    Duration::from_millis(if caps.ssh { 150 } else { 50 })
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
