//! The only loop of the workbench: waits for keys, results, signals and timers at once, hands each to
//! [`crate::app::update`], has its effects done, and draws when something changed.
//!
//! Keys are drawn at once; what comes from data or from a run is drawn at most so many times a second ([`pace`]), fewer over
//! SSH. When nothing changed nothing is drawn, and a quiet screen sends no bytes. Pictures go out after the frame, in
//! portions, so that typing never waits for them.

use crate::app::action::Effect;
use crate::app::settings::Settings;
use crate::app::{Action, App, Screen, update};
use crate::link::{Back, Links};
use crate::term::caps::Caps;
use crate::text::Lang;
use crate::view;
use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use lightbox_core::runs::registry;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What the command line says about the workbench.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub screen: Option<Screen>,
    pub language: Option<Lang>,
    pub no_mouse: bool,
}

/// The workbench, until the user leaves it.
///
/// # Errors
/// There is no terminal, or it went away.
pub fn workbench(options: &Options) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the workbench")?;
    let outcome = runtime.block_on(run(options));
    // a thread that reads a disk that hangs must not hold up the end
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

async fn run(options: &Options) -> Result<ExitCode> {
    let (send, results) = unbounded_channel();
    let mut links = Links::new(Back(send));
    let mut app = start(options);
    let mut terminal = ratatui::try_init().context("opening the terminal")?;
    let size = terminal.size()?;
    app.size = (size.width, size.height);
    let outcome = looped(&mut app, &mut links, &mut terminal, results).await;
    links.tasks.cancel_all();
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The state that the program begins with.
fn start(options: &Options) -> App {
    let (mut settings, wrong) = registry::state_dir().map_or_else(Default::default, |dir| Settings::load(&dir));
    settings.language = options.language.or(settings.language);
    settings.mouse &= !options.no_mouse;
    let mut app = App {
        screen: options.screen.unwrap_or_default(),
        settings,
        caps: Caps::default(),
        here: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        locale: Lang::of_locale(|name| std::env::var(name).ok()),
        focused: true,
        dirty: true,
        wall_ms: wall_ms(),
        ..App::default()
    };
    if let Some(wrong) = wrong {
        app.say(crate::app::messages::Level::Warning, wrong);
    }
    app
}

async fn looped(
    app: &mut App,
    links: &mut Links,
    terminal: &mut Terminal<CrosstermBackend<std::io::Stdout>>,
    mut results: UnboundedReceiver<Action>,
) -> Result<()> {
    let started = Instant::now();
    let mut events = EventStream::new();
    // Data may be drawn from here on.
    let mut may_draw = Instant::now();
    let mut now = true;
    let effects = app.go(app.screen);
    perform(app, links, terminal, effects)?;
    while !app.quit {
        if app.dirty && (now || Instant::now() >= may_draw) {
            app.dirty = false;
            let mut hits = view::Hits::default();
            terminal.draw(|frame| hits = view::draw(app, frame)).context("drawing")?;
            app.hits = hits;
            may_draw = Instant::now() + pace(&app.caps);
        }
        now = false;
        let tick = app.next_tick().map(|ms| started + Duration::from_millis(ms));
        let wake = if app.dirty { Some(may_draw) } else { tick };
        let mut actions = Vec::new();
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    now = true;
                    actions.extend(action(event.context("reading the terminal")?));
                }
                None => anyhow::bail!("the terminal is gone"),
            },
            Some(result) = results.recv() => actions.push(result),
            () = until(wake) => if !app.dirty { actions.push(Action::Tick) },
        }
        while let Ok(result) = results.try_recv() {
            actions.push(result);
        }
        for action in actions {
            app.now_ms = started.elapsed().as_millis() as u64;
            app.wall_ms = wall_ms();
            let effects = update(app, action);
            perform(app, links, terminal, effects)?;
        }
    }
    Ok(())
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

fn action(event: Event) -> Option<Action> {
    Some(match event {
        Event::Key(key) => Action::Key(key),
        Event::Mouse(mouse) => Action::Mouse(mouse),
        Event::Paste(text) => Action::Paste(text),
        Event::Resize(columns, rows) => Action::Resize(columns, rows),
        Event::FocusGained => Action::Focus(true),
        Event::FocusLost => Action::Focus(false),
    })
}

/// Has effects done: most by the links, what concerns the terminal here.
fn perform(
    app: &mut App,
    links: &mut Links,
    _terminal: &mut Terminal<CrosstermBackend<std::io::Stdout>>,
    effects: Vec<Effect>,
) -> Result<()> {
    for effect in effects {
        if let Some(Effect::SaveSettings) = links.run(effect) {
            save_settings(app, links);
        }
    }
    Ok(())
}

fn save_settings(app: &App, links: &Links) {
    let (settings, lang) = (app.settings.clone(), app.lang());
    links.back.spawn(move || match registry::state_dir().map(|dir| settings.save(&dir)) {
        Some(Err(e)) => {
            let text = crate::text::common::SETTINGS_NOT_SAVED.fill(lang, &[&e]);
            Action::Say(crate::app::messages::Level::Warning, text)
        }
        _ => Action::All(Vec::new()),
    });
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
