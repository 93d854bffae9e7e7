//! `lightbox __terminal-check`: takes the terminal, asks it, shows a generated picture in both layers, says what it found,
//! and gives the terminal back. For people ("why are there no pictures in my terminal?") and for the tests of this layer,
//! which press its keys and send it signals in a pseudo-terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use image::{Rgb, RgbImage};
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Clear, Paragraph};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};

use super::caps::{Caps, Graphics, TtySize};
use super::frame::{self, Screen, Tui};
use super::guard::{Guard, Options};
use super::probe::{self, LateReplies};
use super::signals::{Signal, signals};
use crate::image::sink::{PixelSink, Shown, rewrite, sink_for};
use crate::image::store::Store;
use crate::image::{Picture, PictureId, decode, fit, half};

/// # Errors
/// There is no terminal, or it went away.
pub fn run() -> anyhow::Result<ExitCode> {
    let guard = Guard::enter(&Options { mouse: true, keyboard: false }).context("taking the terminal")?;
    let is_ssh = std::env::var_os("SSH_CONNECTION").is_some();
    let patience = if is_ssh { probe::PATIENCE_SSH } else { probe::PATIENCE_LOCAL };
    let replies = probe::ask(guard.fd(), patience).context("asking the terminal")?;
    let caps = Caps::decide(&|name| std::env::var(name).ok(), &replies, tty_size());
    guard.shows_kitty_pictures(caps.graphics == Graphics::Kitty);
    let sink = sink_for(&caps);
    let screen = Screen::new(guard.fd());
    let terminal = Terminal::new(CrosstermBackend::new(screen.clone()))?;
    let typed = String::from_utf8_lossy(&replies.typed).into_owned();
    let late = LateReplies::after(&replies, std::time::Instant::now());
    let check = Check {
        guard,
        caps,
        screen,
        sink,
        store: Store::default(),
        shown: Shown::default(),
        typed,
        overlay: false,
        late,
    };
    let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(check.run(terminal));
    match outcome {
        // Whichever of reading and writing noticed it first.
        Err(_) if super::guard::is_gone() => Ok(ExitCode::from(Signal::Hangup.exit_code().unwrap_or(1))),
        outcome => outcome,
    }
}

/// The size as the kernel knows it, pixels included where the terminal told them.
pub fn tty_size() -> TtySize {
    crossterm::terminal::window_size().map_or_else(
        |_| TtySize::default(),
        |s| TtySize { cols: s.columns, rows: s.rows, width_px: s.width, height_px: s.height },
    )
}

struct Check {
    guard: Guard,
    caps: Caps,
    screen: Screen,
    sink: Box<dyn PixelSink>,
    store: Store,
    shown: Shown,
    typed: String,
    overlay: bool,
    late: Option<LateReplies>,
}

const ID: PictureId = PictureId(1);

impl Check {
    async fn run(mut self, mut terminal: Tui) -> anyhow::Result<ExitCode> {
        let mut signals = signals(self.guard.fd())?;
        let mut events = EventStream::new();
        loop {
            self.draw(&mut terminal)?;
            let pause = if self.sink.pending() { Duration::from_millis(10) } else { Duration::MAX };
            let signal = tokio::select! {
                event = events.next() => match event.context("the terminal is gone")?? {
                    Event::Key(key) if self.is_late(&Event::Key(key)) => None,
                    Event::Key(KeyEvent { code: KeyCode::Char('z'), modifiers, .. })
                        if modifiers.contains(KeyModifiers::CONTROL) => Some(Signal::Suspend),
                    Event::Key(KeyEvent { code: KeyCode::Char(key), kind: KeyEventKind::Press, .. }) => match key {
                        'q' => return Ok(ExitCode::SUCCESS),
                        '!' => panic!("as asked"),
                        '?' => { self.overlay = !self.overlay; None }
                        't' => {
                            // A panic elsewhere leaves the screen alone.
                            let _ = std::thread::spawn(|| panic!("in a thread, as asked")).join();
                            self.typed = super::guard::take_other_panic().and_then(|text| Some(text.lines().last()?.to_owned())).unwrap_or_default();
                            None
                        }
                        'e' => {
                            super::guard::end_reader(events); // nobody else may read while another program does
                            let _stdout = crate::image::viuer::pause();
                            self.guard.run_outside(|| println!("outside"))?;
                            events = EventStream::new();
                            self.forget(&mut terminal)?;
                            None
                        }
                        key => { self.typed.push(key); None }
                    },
                    Event::Resize(..) => {
                        super::guard::look_again();
                        Some(Signal::Resize)
                    }
                    _ => None,
                },
                signal = signals.next() => Some(signal),
                () = tokio::time::sleep(pause) => {
                    let mut out = Vec::new();
                    if self.screen.backlog() < 4096 {
                        self.sink.next_chunk(&mut out, 16 << 10);
                    }
                    self.screen.send(&mut out)?;
                    None
                }
            };
            match signal {
                Some(Signal::Suspend) => {
                    self.guard.suspend()?;
                    self.forget(&mut terminal)?;
                }
                Some(Signal::Continue) => {
                    self.guard.retake()?;
                    self.forget(&mut terminal)?;
                }
                Some(Signal::Resize) => self.forget(&mut terminal)?,
                Some(signal) => return Ok(ExitCode::from(signal.exit_code().unwrap_or(1))),
                None => {}
            }
        }
    }

    fn is_late(&mut self, event: &Event) -> bool {
        self.late.as_mut().is_some_and(|late| late.swallow(event, std::time::Instant::now()))
    }

    fn forget(&mut self, terminal: &mut Tui) -> anyhow::Result<()> {
        self.shown.forget(&mut *self.sink);
        self.screen.forget();
        frame::clear(terminal)?;
        Ok(())
    }

    fn draw(&mut self, terminal: &mut Tui) -> anyhow::Result<()> {
        let area = terminal.size()?;
        // The last row is never a picture's.
        let area = Rect::new(0, 3, area.width, area.height.saturating_sub(4));
        let (cols, rows) = fit((112, 112), (area.width, area.height), self.caps.cell_px);
        let at = Rect::new(0, 3, cols, rows);
        if self.store.of_cells(ID, (cols, rows)).is_none() {
            self.store.insert((area.width, area.height), generated((cols, rows), self.caps.cell_px));
        }
        let wishes: &[_] = if self.overlay || area.is_empty() { &[] } else { &[(ID, at)] };
        terminal.draw(|frame| {
            self.view(frame, at);
            for rect in self.shown.stale(wishes, &*self.sink) {
                rewrite(frame.buffer_mut(), rect);
            }
        })?;
        self.screen.end_frame()?;
        let mut out = Vec::new();
        self.shown.reconcile(wishes, &self.store, &mut *self.sink, &mut out);
        self.screen.send(&mut out)?;
        Ok(())
    }

    fn view(&self, frame: &mut Frame, at: Rect) {
        let Caps { colours, graphics, cell_px, .. } = self.caps;
        let text = format!(
            "{colours:?} {graphics:?} {cell_px:?} light {:?} typed {:?}",
            self.caps.light_background, self.typed
        );
        frame.render_widget(Paragraph::new(format!("q quits, ? overlay\n{text}")), frame.area());
        if let Some(picture) = self.store.peek(ID, (at.width, at.height)) {
            half::draw(picture, at, frame.buffer_mut(), colours);
        }
        if self.overlay {
            let overlay = Rect::new(1, 4, 20, 4).intersection(frame.area());
            frame.render_widget(Clear, overlay);
            frame.render_widget(Paragraph::new("over the picture").block(Block::bordered()), overlay);
        }
    }
}

/// A picture in which every row and column differs.
fn generated(cells: (u16, u16), cell_px: (u16, u16)) -> Picture {
    let image = RgbImage::from_fn(112, 112, |x, y| Rgb([(2 * x) as u8, (2 * y) as u8, (x ^ y) as u8]));
    decode::picture(&image, cells, cell_px, true, ID)
}
