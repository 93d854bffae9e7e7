//! The one way to the terminal: a frame is collected and written in one go, between marks that let the terminal show it
//! at once (mode 2026). Pictures go out with [`Screen::send`], outside the marks: kitty held an answer back until the
//! block timed out after 2 s, and a picture is too large for the time that terminals grant.
//!
//! ratatui's backend flushes several times a frame (hiding the cursor is one), so `flush` does nothing here and
//! [`Screen::end_frame`] is what writes. A frame that changes nothing writes nothing.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};

use super::osc;

/// ratatui on a [`Screen`].
pub type Tui = Terminal<CrosstermBackend<Screen>>;

/// Empties the screen and has the next frame draw every cell. Not `Terminal::clear`: that asks the terminal where its
/// cursor is and reads the answer beside the event reader; a terminal that stays silent costs 2 s and an error.
///
/// # Errors
/// The terminal's size is not known.
pub fn clear(terminal: &mut Tui) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::from((Position::ORIGIN, size)))
}

/// A handle: one goes into `CrosstermBackend::new`, the loop keeps another.
#[derive(Debug, Clone)]
pub struct Screen(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    fd: i32,
    buffer: Vec<u8>,
    /// What the last frame said about the cursor.
    cursor: Vec<u8>,
    synchronized: bool,
    counters: Counters,
}

/// What was sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames that had something to say.
    pub frames: u64,
    /// Bytes of these frames, marks included.
    pub text_bytes: u64,
    /// Bytes of pictures, titles and whatever else was given to [`Screen::send`].
    pub other_bytes: u64,
}

impl Screen {
    /// Writes to the terminal behind `fd`, which stays open as long as the program runs ([`super::guard::Guard::fd`]).
    pub fn new(fd: i32) -> Self {
        let inner =
            Inner { fd, buffer: Vec::new(), cursor: Vec::new(), synchronized: true, counters: Counters::default() };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Writes what was drawn since the last call.
    ///
    /// # Errors
    /// The terminal is gone: end the program, do not try again.
    pub fn end_frame(&self) -> io::Result<()> {
        let inner = &mut *self.0.borrow_mut();
        let (text, cursor) = split_cursor(&inner.buffer);
        if only_resets(text) && cursor == inner.cursor {
            inner.buffer.clear();
            return Ok(());
        }
        inner.cursor = cursor.to_vec();
        if inner.synchronized {
            inner.buffer.splice(..0, osc::BEGIN_SYNC.bytes());
            inner.buffer.extend_from_slice(osc::END_SYNC.as_bytes());
        }
        inner.counters.frames += 1;
        inner.counters.text_bytes += inner.buffer.len() as u64;
        let written = write_all(inner.fd, &inner.buffer);
        inner.buffer.clear();
        inner.buffer.shrink_to(64 << 10); // one full-screen frame of half blocks must not stay for ever
        written
    }

    /// Writes pictures, titles, notices; empties `bytes`.
    ///
    /// # Errors
    /// As [`Self::end_frame`].
    pub fn send(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let inner = &mut *self.0.borrow_mut();
        inner.counters.other_bytes += bytes.len() as u64;
        let written = write_all(inner.fd, bytes);
        bytes.clear();
        written
    }

    /// Forgets what the terminal was told about the cursor: after coming back from outside.
    pub fn forget(&self) {
        self.0.borrow_mut().cursor.clear();
    }

    pub fn counters(&self) -> Counters {
        self.0.borrow().counters
    }

    /// Bytes that the terminal (or sshd) has not taken yet; the next piece of a picture waits until this is small.
    pub fn backlog(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: TIOCOUTQ writes one int.
        let asked = unsafe { libc::ioctl(self.0.borrow().fd, libc::TIOCOUTQ, &raw mut bytes) };
        if asked == 0 { bytes.max(0) as usize } else { 0 }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sets colours and attributes back: what the backend sends even for a frame without a changed cell.
const RESETS: [&[u8]; 5] = [b"\x1b[39m", b"\x1b[49m", b"\x1b[59m", b"\x1b[0m", b"\x1b[m"];

fn only_resets(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(rest) = RESETS.iter().find_map(|reset| text.strip_prefix(*reset)) else { return false };
        text = rest;
    }
    true
}

/// A frame ends with what becomes of the cursor: hidden, or shown and moved.
fn split_cursor(frame: &[u8]) -> (&[u8], &[u8]) {
    let find = |mark: &[u8]| frame.windows(mark.len()).rposition(|window| window == mark);
    let at = find(b"\x1b[?25l").max(find(b"\x1b[?25h")).unwrap_or(frame.len());
    frame.split_at(at)
}

/// Everything, whatever the kernel takes at a time.
pub(super) fn write_all(fd: i32, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the slice is valid for its length.
        let n = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if n >= 0 {
            bytes = &bytes[n as usize..];
            continue;
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody who shares the terminal made it non-blocking (some shells' prompts do).
            error if error.kind() == io::ErrorKind::WouldBlock => {
                let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                // SAFETY: one valid pollfd for the length of the call.
                unsafe { libc::poll(&raw mut poll, 1, -1) };
            }
            error => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::{TerminalOptions, Viewport};
    use std::io::{Read, pipe};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_frame_is_one_synchronized_write_and_an_unchanged_one_is_none() {
        let (mut reader, writer) = pipe().unwrap();
        let screen = Screen::new(writer.as_raw_fd());
        let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, 20, 3)) };
        let mut terminal = Terminal::with_options(CrosstermBackend::new(screen.clone()), options).unwrap();
        let mut draw = |text: &str, cursor: Option<(u16, u16)>| {
            let before = screen.counters();
            terminal
                .draw(|frame| {
                    frame.render_widget(text, frame.area());
                    if let Some(at) = cursor {
                        frame.set_cursor_position(at);
                    }
                })
                .unwrap();
            screen.end_frame().unwrap();
            let mut bytes = vec![0; (screen.counters().text_bytes - before.text_bytes) as usize];
            reader.read_exact(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let first = draw("hello", None);
        assert!(first.starts_with(osc::BEGIN_SYNC) && first.ends_with(osc::END_SYNC), "{first:?}");
        assert!(first.contains("hello") && first.contains("\x1b[?25l"));
        assert_eq!(draw("hello", None), "");
        assert!(draw("hellu", None).contains('u'));
        assert!(draw("hellu", Some((3, 0))).contains("\x1b[?25h\x1b[1;4H"));
        assert_eq!(draw("hellu", Some((3, 0))), "");
        assert!(draw("hellu", Some((4, 0))).contains("\x1b[1;5H"), "a moved cursor is a change");
        assert!(draw("hellu", None).contains("\x1b[?25l"));
        assert_eq!(screen.counters().frames, 5);
        let mut picture = b"picture".to_vec();
        screen.send(&mut picture).unwrap();
        assert!(picture.is_empty() && screen.counters().other_bytes == 7);
    }

    #[test]
    fn a_terminal_that_is_gone_is_an_error() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let screen = Screen::new(writer.as_raw_fd());
        assert!(screen.send(&mut b"x".to_vec()).is_err());
        screen.clone().write_all(b"text").unwrap();
        assert!(screen.end_frame().is_err());
    }
}
