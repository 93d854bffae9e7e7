//! Takes the terminal and gives it back, however the program ends: return, error, panic, signal, Ctrl-Z, lost line.
//!
//! What must be undone is kept in statics, so that [`restore`] works from a panic hook and from a signal handler: it
//! writes fixed byte strings and sets the saved modes, nothing else, and the second call does nothing.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock};

use super::{frame, osc};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Clicks and the wheel come to us; text is then selected with Shift.
    pub mouse: bool,
    /// Ask for kitty's keyboard protocol, so that Shift-Enter is told from Enter.
    pub keyboard: bool,
}

/// The terminal is ours while this lives. There is one at a time.
#[derive(Debug)]
pub struct Guard {
    options: Cell<Options>,
}

/// Is there something to undo?
static ACTIVE: AtomicBool = AtomicBool::new(false);
static KEYBOARD: AtomicBool = AtomicBool::new(false);
/// kitty pictures may be on the screen.
static KITTY: AtomicBool = AtomicBool::new(false);
/// Our own descriptor of the terminal: what happens to standard output does not touch it.
static FD: AtomicI32 = AtomicI32::new(-1);
/// The modes as they were; read without a lock once set.
static MODES: OnceLock<libc::termios> = OnceLock::new();
/// The thread whose panic ends the program.
static OWNER: AtomicU64 = AtomicU64::new(0);
/// What a panic in another thread said. Its error is handled where it is awaited; the screen must stay as it is.
static OTHER_PANIC: Mutex<Option<String>> = Mutex::new(None);

impl Guard {
    /// Raw mode, alternate screen, pasted text in brackets, focus events, hidden cursor.
    ///
    /// # Errors
    /// Standard input or output is no terminal, or cannot be set up.
    pub fn enter(options: &Options) -> io::Result<Self> {
        // SAFETY: asks the kernel about two numbers.
        if unsafe { libc::isatty(0) != 1 || libc::isatty(1) != 1 } {
            return Err(io::Error::other("standard input and output are not a terminal"));
        }
        if FD.load(Ordering::SeqCst) < 0 {
            // SAFETY: duplicates an open descriptor; the new one is never closed.
            let fd = unsafe { libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 10) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            FD.store(fd, Ordering::SeqCst);
        }
        let modes = modes(fd())?;
        MODES.get_or_init(|| modes);
        OWNER.store(thread_number(), Ordering::SeqCst);
        install_panic_hook();
        let guard = Self { options: Cell::new(*options) };
        guard.take()?;
        Ok(guard)
    }

    /// The descriptor to draw to; valid for the rest of the program.
    pub fn fd(&self) -> i32 {
        fd()
    }

    /// What the mouse will be when the terminal is taken again; turning it on or off now is the caller's.
    pub fn set_mouse(&self, mouse: bool) {
        self.options.set(Options { mouse, ..self.options.get() });
    }

    /// Say so before the first kitty picture, so that leaving deletes them.
    pub fn shows_kitty_pictures(&self, yes: bool) {
        KITTY.store(yes, Ordering::SeqCst);
    }

    /// Gives the terminal back until the shell continues us (Ctrl-Z, or SIGTSTP from outside). Afterwards the screen is
    /// empty: forget pictures, clear ratatui's buffers, draw all.
    ///
    /// # Errors
    /// The terminal could not be taken again.
    pub fn suspend(&self) -> io::Result<()> {
        restore();
        // SAFETY: sigaction with valid structs; the old action is put back. The default action is needed because a
        // handler is installed for SIGTSTP, and the whole group because a wrapper (cargo run, time) must stop with us.
        unsafe {
            let mut default: libc::sigaction = std::mem::zeroed();
            let mut old: libc::sigaction = std::mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut old);
            libc::kill(0, libc::SIGTSTP);
            // Stopped here. In a group without a shell (orphaned) the signal does nothing, and we go on at once.
            libc::sigaction(libc::SIGTSTP, &raw const old, std::ptr::null_mut());
        }
        self.take()
    }

    /// Takes the terminal again after somebody else had it (SIGCONT after a SIGSTOP that we did not see coming).
    ///
    /// # Errors
    /// As [`Self::suspend`].
    pub fn retake(&self) -> io::Result<()> {
        self.take()
    }

    /// Gives the terminal to another program, `$EDITOR`, for the length of `f`; then as after [`Self::suspend`]. The
    /// event reader must not exist meanwhile, and standard output must be the terminal (`image::viuer::pause`).
    ///
    /// # Errors
    /// As [`Self::suspend`]; what `f` returned is then lost with the terminal.
    pub fn run_outside<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        restore();
        let result = f();
        self.take()?;
        Ok(result)
    }

    fn take(&self) -> io::Result<()> {
        // Before the first byte: a signal in between must undo what was begun.
        let options = self.options.get();
        KEYBOARD.store(options.keyboard, Ordering::SeqCst);
        ACTIVE.store(true, Ordering::SeqCst);
        let mut raw = *MODES.get().ok_or_else(|| io::Error::other("the terminal's modes are not known"))?;
        // SAFETY: changes the flags of our copy.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        set_modes(fd(), &raw)?;
        let mouse = if options.mouse { osc::MOUSE_ON } else { "" };
        let keyboard = if options.keyboard { osc::KEYBOARD_ON } else { "" };
        frame::write_all(fd(), format!("{}{mouse}{keyboard}", osc::ENTER).as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Is the terminal ours? After a panic on the drawing thread it is not any more, and nothing may be drawn.
pub fn is_active() -> bool {
    ACTIVE.load(Ordering::SeqCst)
}

/// Has the terminal hung up? An error of reading or writing then means the end (exit code 129), not a fault.
pub fn is_gone() -> bool {
    let mut poll = libc::pollfd { fd: fd(), events: 0, revents: 0 };
    // SAFETY: one valid pollfd for the length of the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// The terminal as it was. May be called from a signal handler and as often as one likes.
pub fn restore() {
    if !ACTIVE.swap(false, Ordering::SeqCst) {
        return;
    }
    let fd = fd();
    // A terminal that takes nothing (Ctrl-S, a dead line) must not keep us here: its modes are what counts.
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd for the length of the call; poll, write and tcsetattr may be called in a handler.
    let writable = unsafe { libc::poll(&raw mut poll, 1, 200) } == 1 && poll.revents & libc::POLLOUT != 0;
    if writable {
        let kitty = if KITTY.load(Ordering::SeqCst) { osc::KITTY_DELETE_ALL } else { "" };
        let keyboard = if KEYBOARD.load(Ordering::SeqCst) { osc::KEYBOARD_OFF } else { "" };
        for bytes in [kitty, keyboard, osc::LEAVE] {
            let _ = frame::write_all(fd, bytes.as_bytes()); // gone is gone
        }
    }
    if let Some(modes) = MODES.get() {
        let _ = set_modes(fd, modes);
    }
}

/// Ends the event reader, before [`Guard::run_outside`] and [`Guard::suspend`]; make a new one afterwards.
///
/// Dropping it leaves a wake-up behind. Seen by the next reader together with a key, it made crossterm 0.29 return without
/// reading the key, which then came only with the next one; so it is used up here.
pub fn end_reader(events: crossterm::event::EventStream) {
    drop(events);
    let _ = crossterm::event::poll(std::time::Duration::ZERO); // whatever it says: the next reader asks again
}

/// Has the event reader look at the terminal's input again; to be called after each change of size.
///
/// crossterm 0.29 waits for edges. A key that is reported together with a change of size is left unread, and would come
/// only with the next one. Setting the modes that are set anyway makes the kernel report what waits once more (n_tty.c:
/// "the termios change make the tty ready for I/O").
pub fn look_again() {
    if is_active()
        && let Ok(modes) = modes(fd())
    {
        let _ = set_modes(fd(), &modes); // a terminal that is gone is noticed where it is read
    }
}

/// What a panic in another thread said since the last call.
pub fn take_other_panic() -> Option<String> {
    OTHER_PANIC.lock().ok()?.take()
}

fn fd() -> i32 {
    FD.load(Ordering::SeqCst)
}

fn modes(fd: i32) -> io::Result<libc::termios> {
    // SAFETY: plain C data, filled in by the call when it succeeds.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        if libc::tcgetattr(fd, &raw mut modes) == 0 { Ok(modes) } else { Err(io::Error::last_os_error()) }
    }
}

fn set_modes(fd: i32, modes: &libc::termios) -> io::Result<()> {
    loop {
        // SAFETY: `modes` is valid for the length of the call.
        if unsafe { libc::tcsetattr(fd, libc::TCSANOW, modes) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A number of this thread that can be kept in an atomic.
fn thread_number() -> u64 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::pthread_self() as u64 }
}

/// A panic on the drawing thread gives the terminal back before it is printed. Panics elsewhere are caught where the work
/// is awaited (decoders are known to panic on hostile files), so they are kept and print nothing over the screen.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if is_active() && OWNER.load(Ordering::SeqCst) != thread_number() {
                if let Ok(mut other) = OTHER_PANIC.lock() {
                    *other = Some(info.to_string());
                }
                return;
            }
            restore();
            previous(info);
        }));
    });
}
