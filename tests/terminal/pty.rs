//! A pseudo-terminal that answers what a test tells it to, keeps every byte, and knows the modes. termlens understands
//! what a program draws; this one is for what a terminal does wrong: silence, answers cut in pieces, hanging up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// The variables by which terminals are known: a test starts without them.
pub const TERMINAL_VARIABLES: [&str; 12] = [
    "COLORTERM",
    "TERM_PROGRAM",
    "LC_TERMINAL",
    "KONSOLE_VERSION",
    "TMUX",
    "STY",
    "ZELLIJ",
    "SSH_CONNECTION",
    "SSH_CLIENT",
    "SSH_TTY",
    "NO_COLOR",
    "WT_SESSION",
];

pub struct Pty {
    main: Option<File>,
    child: Child,
    output: Receiver<Vec<u8>>,
    closing: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
    /// Everything the program wrote so far.
    pub seen: Vec<u8>,
    pub modes_before: Modes,
}

/// What of the modes a program changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Modes(u32, u32, u32, u32);

impl Pty {
    /// Starts `command` on a terminal of 60x20 cells of 10x20 pixels.
    pub fn start(command: Command) -> Self {
        Self::sized(command, 60, 20)
    }

    pub fn sized(mut command: Command, columns: u16, rows: u16) -> Self {
        let (mut main, mut side) = (-1, -1);
        let size = winsize(columns, rows);
        let null = std::ptr::null_mut::<libc::c_char>();
        // SAFETY: writes two descriptors, owned from here on.
        let (main, side) = unsafe {
            assert_eq!(libc::openpty(&raw mut main, &raw mut side, null, null.cast(), &raw const size), 0);
            (File::from_raw_fd(main), OwnedFd::from_raw_fd(side))
        };
        // SAFETY: the copy must not reach the program, or the terminal would never hang up for it.
        unsafe { libc::fcntl(main.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        command.stdin(side.try_clone().unwrap()).stdout(side.try_clone().unwrap()).stderr(side);
        // SAFETY: setsid and ioctl may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            })
        };
        let modes_before = modes(&main);
        let child = command.spawn().unwrap();
        drop(command); // it holds the program's side
        let (tx, output) = channel();
        let mut reader = main.try_clone().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let closed = Arc::clone(&closing);
        let reading = std::thread::spawn(move || {
            let mut bytes = [0; 65536];
            while !closed.load(Ordering::SeqCst) {
                let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one valid pollfd for the length of the call. With a limit, so that closing is noticed.
                if unsafe { libc::poll(&raw mut poll, 1, 20) } == 0 {
                    continue;
                }
                let Ok(n @ 1..) = reader.read(&mut bytes) else { return };
                if tx.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { main: Some(main), child, output, closing, reading: Some(reading), seen: Vec::new(), modes_before }
    }

    /// The terminal goes away, as when the line is lost.
    pub fn hang_up(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        self.reading.take().unwrap().join().unwrap();
        self.main = None;
    }

    /// The window gets another size; the kernel tells the program.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = winsize(columns, rows);
        // SAFETY: reads one winsize.
        let done = unsafe { libc::ioctl(self.main.as_ref().unwrap().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
    }

    /// Waits for more from the program; false if nothing came within this time.
    pub fn more(&mut self, within: Duration) -> bool {
        let Ok(bytes) = self.output.recv_timeout(within) else { return false };
        self.seen.extend(bytes);
        while let Ok(bytes) = self.output.try_recv() {
            self.seen.extend(bytes);
        }
        true
    }

    /// The terminal is as it was: modes, screen, cursor, mouse, paste, focus.
    pub fn assert_restored(&self) {
        assert_eq!(self.modes(), self.modes_before);
        let seen = String::from_utf8_lossy(&self.seen);
        for mode in ["1049", "2004", "1004", "1000", "1002", "1006", "2026"] {
            let last = |end: char| seen.rfind(&format!("\x1b[?{mode}{end}"));
            assert!(last('l') > last('h'), "mode {mode} was left on: {seen:?}");
        }
        assert!(seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l"), "the cursor was left hidden");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn modes(&self) -> Modes {
        modes(self.main.as_ref().unwrap())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.main.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits until the program has written these bytes, and returns where they begin.
    pub fn wait_for(&mut self, bytes: &str) -> usize {
        self.wait(bytes, |pty| pty.find(bytes))
    }

    /// Waits until this text is on the screen.
    pub fn wait_screen(&mut self, text: &str) {
        self.wait(text, |pty| {
            let size = |n| std::num::NonZero::new(n).unwrap();
            let mut screen = vt100::Parser::new(size(20), size(60), 0);
            screen.process(&pty.seen);
            screen.screen().contents().contains(text).then_some(())
        });
    }

    fn wait<T>(&mut self, what: &str, come: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = come(self) {
                return found;
            }
            match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("{what:?} did not come, but {:?}", seen.chars().take(2000).collect::<String>())
                }
            }
        }
    }

    pub fn find(&self, text: &str) -> Option<usize> {
        self.seen.windows(text.len()).position(|window| window == text.as_bytes())
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, number) };
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Ok(bytes) = self.output.try_recv() {
                self.seen.extend(bytes);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(200)) {
                    self.seen.extend(bytes);
                }
                return status;
            }
            assert!(Instant::now() < until, "still running: {:?}", String::from_utf8_lossy(&self.seen));
            std::thread::sleep(Duration::from_millis(5)); // a child cannot be waited for with a deadline
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize(columns: u16, rows: u16) -> libc::winsize {
    let px = |cells: u16, px: u16| cells.saturating_mul(px);
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: px(columns, 10), ws_ypixel: px(rows, 20) }
}

fn modes(main: &File) -> Modes {
    // SAFETY: plain C data, filled in by the call.
    unsafe {
        let mut modes: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(main.as_raw_fd(), &raw mut modes), 0);
        Modes(modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag)
    }
}
