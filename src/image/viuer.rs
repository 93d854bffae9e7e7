//! viuer for iTerm2's pictures and for sixel, behind rails. Used bare it waits for ever on a terminal that stays silent,
//! takes typed keys for answers, and writes to standard output whenever it is called. So:
//!
//! - It never talks to the terminal. It is *asked* once at start-up, when the probe has already heard the answer: for that
//!   moment standard input and output are a pseudo-terminal of ours that says what the terminal said. What it *prints* goes
//!   to a file in memory put in the place of standard output, and from there to the loop like any other picture. Frames are
//!   written to a descriptor of their own ([`crate::term::guard`]), so nothing of ours is caught in between.
//! - It never gets kitty (its way: the whole picture as raw RGBA, and reading standard input) and never half blocks.
//! - Width and height are both given: with one it assumes cells of 1:2. Sixels are drawn for cells of 6x12 pixels, whatever
//!   the real size, and never wider than 1000 (`Caps::picture_limit`).
//! - The line feed that it puts behind an iTerm2 picture is taken out, and no picture touches the last row: the screen
//!   would scroll.
//!
//! One sequence is one picture: text may not come between, so each goes out whole. There is no command to take it away
//! either; the cells are written again ([`super::sink::Shown::stale`]).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::{DynamicImage, RgbImage};
use ratatui::layout::Rect;

use super::sink::PixelSink;
use super::workshop::{Job, Progress};
use super::{Picture, PictureId};
use crate::term::{Caps, Graphics};

#[derive(Debug)]
pub struct Viuer {
    graphics: Graphics,
    cell_px: (u16, u16),
    waiting: VecDeque<Wish>,
    work: Option<(PictureId, Rect, Job)>,
    /// The last few, for coming back from a popup without encoding again.
    made: VecDeque<(PictureId, Rect, Arc<Vec<u8>>)>,
}

#[derive(Debug)]
struct Wish {
    id: PictureId,
    pixels: Arc<RgbImage>,
    at: Rect,
}

const KEPT: usize = 4;

/// Who holds it owns standard output: viuer while it prints, a program that runs in our place otherwise.
static STDOUT: Mutex<()> = Mutex::new(());

/// Waits for viuer and keeps it away: hold this while another program uses standard output.
pub fn pause() -> MutexGuard<'static, ()> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Viuer {
    /// `None` if viuer does not believe in this terminal. Before any other thread exists: the environment and standard
    /// input and output are changed for a moment.
    pub fn prepare(caps: &Caps) -> Option<Self> {
        let believes = match caps.graphics {
            Graphics::Sixel => with_answer(b"\x1b[?62;4;22c", ::viuer::is_sixel_supported).unwrap_or(false),
            Graphics::Iterm => with_variable("LC_TERMINAL", "iTerm2", ::viuer::is_iterm_supported),
            Graphics::Kitty | Graphics::None => false,
        };
        let sink = Self {
            graphics: caps.graphics,
            cell_px: caps.cell_px,
            waiting: VecDeque::new(),
            work: None,
            made: VecDeque::new(),
        };
        believes.then_some(sink)
    }

    fn start(&mut self, wish: Wish) {
        let (graphics, cell_px, at) = (self.graphics, self.cell_px, wish.at);
        let job = Job::start(move || print(&wish.pixels, at, graphics, cell_px).unwrap_or_default());
        self.work = Some((wish.id, at, job));
    }
}

impl PixelSink for Viuer {
    fn show(&mut self, _: &mut Vec<u8>, picture: &Picture, at: Rect) {
        let rows = crossterm::terminal::size().map_or(0, |(_, rows)| rows);
        if picture.has_pixels() && at.bottom() < rows {
            self.waiting.push_back(Wish { id: picture.id, pixels: Arc::clone(&picture.pixels), at });
        }
    }

    fn hide(&mut self, _: &mut Vec<u8>, id: PictureId) {
        self.waiting.retain(|wish| wish.id != id);
        self.work.take_if(|(working, ..)| *working == id);
    }

    fn hide_all(&mut self, _: &mut Vec<u8>) {
        self.forget();
    }

    fn forget(&mut self) {
        self.waiting.clear();
        self.work = None;
    }

    fn pending(&self) -> bool {
        self.work.is_some() || !self.waiting.is_empty()
    }

    fn next_chunk(&mut self, out: &mut Vec<u8>, budget: usize) {
        let start = out.len();
        while out.len() - start < budget {
            if let Some((id, at, job)) = &self.work {
                match job.poll() {
                    Progress::Working => return,
                    Progress::Done(bytes) => {
                        out.extend_from_slice(&bytes);
                        self.made.push_front((*id, *at, Arc::new(bytes)));
                        self.made.truncate(KEPT);
                    }
                    Progress::Failed => {}
                }
                self.work = None;
                continue;
            }
            let Some(wish) = self.waiting.pop_front() else { return };
            match self.made.iter().find(|(id, at, _)| (*id, *at) == (wish.id, wish.at)) {
                Some((.., bytes)) => out.extend_from_slice(bytes),
                None => self.start(wish),
            }
        }
    }

    fn cell_changed(&mut self, cell_px: (u16, u16)) {
        self.cell_px = cell_px;
        self.made.clear();
    }

    fn leaves_traces(&self) -> bool {
        true
    }
}

/// What viuer sends for a picture at these cells.
fn print(pixels: &RgbImage, at: Rect, graphics: Graphics, cell_px: (u16, u16)) -> io::Result<Vec<u8>> {
    let (width, height) = match graphics {
        // So many of its cells of 6x12 pixels as fill ours, never more.
        Graphics::Sixel => (at.width * cell_px.0 / 6, at.height * cell_px.1 / 12),
        _ => (at.width, at.height),
    };
    let config = ::viuer::Config {
        x: at.x,
        y: at.y as i16,
        width: Some(u32::from(width.max(1))),
        height: Some(u32::from(height.max(1))),
        restore_cursor: true,
        use_kitty: false,
        use_iterm: graphics == Graphics::Iterm,
        use_sixel: graphics == Graphics::Sixel,
        ..::viuer::Config::default()
    };
    let image = DynamicImage::ImageRgb8(pixels.clone());
    let (printed, mut bytes) = capture(|| ::viuer::print(&image, &config))?;
    printed.map_err(io::Error::other)?;
    if graphics == Graphics::Iterm {
        bytes.retain(|&byte| byte != b'\n');
    }
    Ok(bytes)
}

/// Runs `f` with standard output going to memory.
fn capture<T>(f: impl FnOnce() -> T) -> io::Result<(T, Vec<u8>)> {
    let _own = pause();
    // SAFETY: a new descriptor with a valid name, owned from here on.
    let mut memory = unsafe { File::from_raw_fd(checked(libc::memfd_create(c"picture".as_ptr(), libc::MFD_CLOEXEC))?) };
    let result = {
        let _back = Replaced::new(1, memory.as_raw_fd())?;
        catch_unwind(AssertUnwindSafe(f))
    };
    let mut bytes = Vec::new();
    memory.rewind()?;
    memory.read_to_end(&mut bytes)?;
    result.map(|result| (result, bytes)).map_err(|_| io::Error::other("viuer panicked"))
}

/// Runs `f` with standard input and output being a terminal that has already answered.
fn with_answer<T>(answer: &[u8], f: impl FnOnce() -> T) -> io::Result<T> {
    let _own = pause();
    let (mut main, mut side) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: writes two descriptors, which are owned from here on; name, modes and size are not wanted.
    let (mut main, side) = unsafe {
        checked(libc::openpty(&raw mut main, &raw mut side, null, null.cast(), null.cast()))?;
        (File::from_raw_fd(main), OwnedFd::from_raw_fd(side))
    };
    // SAFETY: plain C data, filled in by tcgetattr; raw, because a line that never ends would not be given to a reader.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        checked(libc::tcgetattr(side.as_raw_fd(), &raw mut modes))?;
        libc::cfmakeraw(&raw mut modes);
        checked(libc::tcsetattr(side.as_raw_fd(), libc::TCSANOW, &raw const modes))?;
    }
    main.write_all(answer)?;
    let _input = Replaced::new(0, side.as_raw_fd())?;
    let _output = Replaced::new(1, side.as_raw_fd())?;
    Ok(f())
}

fn with_variable<T>(name: &str, value: &str, f: impl FnOnce() -> T) -> T {
    let old = std::env::var_os(name);
    // SAFETY: called before any other thread exists (see `prepare`), so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var(name, value);
        let result = f();
        match old {
            Some(old) => std::env::set_var(name, old),
            None => std::env::remove_var(name),
        }
        result
    }
}

/// A standard descriptor that is another file for a while.
struct Replaced {
    number: i32,
    original: OwnedFd,
}

impl Replaced {
    fn new(number: i32, by: i32) -> io::Result<Self> {
        io::stdout().flush()?;
        // SAFETY: duplicates open descriptors; the copy is owned.
        unsafe {
            let original = OwnedFd::from_raw_fd(checked(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 10))?);
            checked(libc::dup2(by, number))?;
            Ok(Self { number, original })
        }
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        let _ = io::stdout().flush(); // to memory, or to our pseudo-terminal
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(self.original.as_raw_fd(), self.number) };
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
