//! The terminal as the loop sees it: draws the state, shows the pictures that the frame asked for, and takes the terminal
//! again after somebody else had it.
use crate::app::settings::ImageChoice;
use crate::app::{Action, App};
use crate::image::sink::{PixelSink, Shown, rewrite, sink_for};
use crate::image::worker::{Decoder, Request};
use crate::image::{PictureId, viuer};
use crate::link::Back;
use crate::term::caps::{Caps, Graphics};
use crate::term::check::tty_size;
use crate::term::frame::{self, Screen, Tui};
use crate::term::guard::{Guard, Options};
use crate::term::osc;
use crate::term::probe::{self, ProbeReplies};
use crate::view::{self, Hits};
use anyhow::{Context, Result};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use std::time::{Duration, Instant};

pub struct Stage {
    guard: Guard,
    screen: Screen,
    terminal: Tui,
    sink: Box<dyn PixelSink>,
    shown: Shown,
    decoder: Option<Decoder>,
    /// Pixels wait until the window has kept its size for a while: each size would be another upload.
    pixels_from: Option<Instant>,
    title: String,
}

/// A window that is being dragged changes its size many times a second.
const SETTLED: Duration = Duration::from_millis(150);
/// Between two portions of a picture.
const PORTION_PAUSE: Duration = Duration::from_millis(15);
const PORTION_BYTES: usize = 16 << 10;
/// So much may still wait in the terminal's queue before the next portion is added.
const BACKLOG_BYTES: usize = 4096;

impl Stage {
    /// Takes the terminal and asks it what it can do. To be called before any thread is started ([`sink_for`]).
    ///
    /// # Errors
    /// There is no terminal.
    pub fn enter(app: &mut App) -> Result<(Self, ProbeReplies)> {
        let guard = Guard::enter(&Options { mouse: app.settings.mouse && !app.session_no_mouse, keyboard: false })
            .context("taking the terminal")?;
        let is_ssh = std::env::var_os("SSH_CONNECTION").is_some();
        let patience = if is_ssh { probe::PATIENCE_SSH } else { probe::PATIENCE_LOCAL };
        let replies = probe::ask(guard.fd(), patience).context("asking the terminal what it can do")?;
        app.caps = Caps::decide(&|name| std::env::var(name).ok(), &replies, tty_size());
        guard.shows_kitty_pictures(app.caps.graphics == Graphics::Kitty);
        let sink = sink_for(&app.caps);
        let screen = Screen::new(guard.fd());
        let terminal = Terminal::new(CrosstermBackend::new(screen.clone())).context("setting up the screen")?;
        let stage = Self {
            guard,
            screen,
            terminal,
            sink,
            shown: Shown::default(),
            decoder: None,
            pixels_from: None,
            title: String::new(),
        };
        app.size = stage.size()?;
        Ok((stage, replies))
    }

    /// Where decoded pictures go.
    pub fn decode_into(&mut self, back: Back) {
        self.decoder = Some(Decoder::new(move |decoded| {
            back.send(Action::Picture { id: decoded.id, area: decoded.area, picture: decoded.result.map(Into::into) });
        }));
    }

    pub fn fd(&self) -> i32 {
        self.guard.fd()
    }

    /// Columns and rows.
    pub fn size(&self) -> Result<(u16, u16)> {
        let size = self.terminal.size().context("asking for the terminal's size")?;
        Ok((size.width, size.height))
    }

    /// Draws the state; what was drawn where is kept in it.
    pub fn draw(&mut self, app: &mut App) -> Result<()> {
        let wait = self.pixels_from.is_some_and(|at| Instant::now() < at);
        let pixels = app.caps.graphics != Graphics::None && app.settings.images == ImageChoice::Auto && !wait;
        let mut hits = Hits::default();
        let mut wishes = Vec::new();
        let (shown, sink) = (&self.shown, &*self.sink);
        let drawn: &App = app;
        let frame = self.terminal.draw(|frame| {
            hits = view::draw(drawn, frame);
            if pixels {
                wishes = placed(drawn, &hits);
            }
            for rect in shown.stale(&wishes, sink) {
                rewrite(frame.buffer_mut(), rect);
            }
        });
        frame.context("drawing")?;
        self.screen.end_frame().context("writing to the terminal")?;
        app.hits = hits;
        self.request_pictures(app);
        let mut out = Vec::new();
        self.shown.reconcile(&wishes, &app.pictures, &mut *self.sink, &mut out);
        self.tell_title(app, &mut out);
        self.screen.send(&mut out).context("writing to the terminal")
    }

    /// The window's title says how the runs stand.
    fn tell_title(&mut self, app: &App, out: &mut Vec<u8>) {
        let runs = crate::app::runs::summary(app);
        let title = if runs.is_empty() { "Lightbox".to_owned() } else { format!("Lightbox · {runs}") };
        if title != self.title {
            out.extend_from_slice(osc::set_title(&title).as_bytes());
            self.title = title;
        }
    }

    /// Has decoded what the frame would have shown.
    fn request_pictures(&mut self, app: &mut App) {
        let want_pixels = app.caps.graphics != Graphics::None && app.settings.images == ImageChoice::Auto;
        let Some(decoder) = &mut self.decoder else { return };
        for wish in &app.hits.pictures {
            let area = limited(&app.caps, wish.area);
            let there = app.pictures.get(wish.id, area).is_some_and(|p| !want_pixels || p.has_pixels());
            if there || app.pictures.failure(wish.id).is_some() || decoder.is_pending(wish.id, area) {
                continue;
            }
            let source = wish.source.clone();
            decoder.request(Request {
                id: wish.id,
                area,
                cell_px: app.caps.cell_px,
                want_pixels,
                source: Box::new(move || source.read().map(std::borrow::Cow::into_owned)),
            });
        }
    }

    /// When [`Self::send_some`] or a frame is wanted.
    pub fn wake(&self) -> Option<Instant> {
        let portion = self.sink.pending().then(|| Instant::now() + PORTION_PAUSE);
        [portion, self.pixels_from].into_iter().flatten().min()
    }

    /// The next portion of a picture, if the terminal has taken the last one.
    pub fn send_some(&mut self) -> Result<()> {
        if self.sink.pending() && self.screen.backlog() < BACKLOG_BYTES {
            let mut out = Vec::new();
            self.sink.next_chunk(&mut out, PORTION_BYTES);
            self.screen.send(&mut out).context("writing to the terminal")?;
        }
        Ok(())
    }

    /// The window has kept its size for a while: pixels come back. Says whether that is so.
    pub fn settled(&mut self) -> bool {
        let settled = self.pixels_from.is_some_and(|at| Instant::now() >= at);
        if settled {
            self.pixels_from = None;
        }
        settled
    }

    /// The window has another size, or another program has written on it.
    pub fn resized(&mut self, app: &mut App) -> Result<()> {
        let cell = tty_size();
        if cell.cols > 0 && cell.width_px > 0 {
            let cell_px = (cell.width_px / cell.cols.max(1), cell.height_px / cell.rows.max(1));
            if cell_px != app.caps.cell_px && cell_px.0 > 2 && cell_px.1 > 4 {
                app.caps.cell_px = cell_px;
                app.pictures.clear();
                self.sink.cell_changed(cell_px);
            }
        }
        self.pixels_from = Some(Instant::now() + SETTLED);
        self.forget(app)
    }

    /// Draws everything anew.
    pub fn forget(&mut self, app: &mut App) -> Result<()> {
        self.shown.forget(&mut *self.sink);
        self.screen.forget();
        frame::clear(&mut self.terminal).context("clearing the screen")?;
        app.dirty = true;
        Ok(())
    }

    pub fn suspend(&mut self, app: &mut App) -> Result<()> {
        self.guard.suspend().context("coming back to the terminal")?;
        self.forget(app)
    }

    pub fn retake(&mut self, app: &mut App) -> Result<()> {
        self.guard.retake().context("coming back to the terminal")?;
        self.forget(app)
    }

    /// Gives the terminal to another program. The event reader must not exist meanwhile.
    pub fn outside<R>(&mut self, app: &mut App, work: impl FnOnce() -> R) -> Result<R> {
        let result = {
            let _quiet = viuer::pause();
            self.guard.run_outside(work).context("coming back to the terminal")?
        };
        self.forget(app)?;
        Ok(result)
    }

    /// Turns the mouse on or off.
    pub fn set_mouse(&mut self, on: bool) -> Result<()> {
        self.guard.set_mouse(on);
        let mut out = if on { osc::MOUSE_ON } else { osc::MOUSE_OFF }.as_bytes().to_vec();
        self.screen.send(&mut out).context("writing to the terminal")
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        self.screen.send(&mut text.as_bytes().to_vec()).context("writing to the terminal")
    }
}

/// The room for a picture, where the way of showing pixels has a limit.
fn limited(caps: &Caps, area: Rect) -> (u16, u16) {
    let (columns, rows) = caps.picture_limit().unwrap_or((u16::MAX, u16::MAX));
    (area.width.min(columns), area.height.min(rows))
}

/// The pictures that are decoded, where the frame shows their half blocks.
fn placed(app: &App, hits: &Hits) -> Vec<(PictureId, Rect)> {
    let place = |wish: &view::Wish| {
        let size = limited(&app.caps, wish.area);
        let picture = app.pictures.peek(wish.id, size)?;
        Some((wish.id, view::ui::fitted(picture, wish.area, &app.caps)))
    };
    hits.pictures.iter().filter_map(place).collect()
}
