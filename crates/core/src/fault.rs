//! Faults on purpose, for tests of the real programs: `LIGHTBOX_FAULTS="fs#17=error:ENOSPC;checkpoint.manifest=abort"`.
//!
//! Each entry is `point[#n]=action`: at the n-th time (1 if not given; `*`: each time; `N+`: from then on) that the
//! program comes by `point`, do `action`: `abort` (die at once, as by kill -9), `stop` (SIGSTOP oneself), `panic`,
//! `sleep:MS`, `error:NAME` (an errno), or a word that the point itself understands (`short`, `nan`, `inf`, `oom`,
//! `device`). Without the variable a point costs one atomic load; a value that cannot be read ends the program with exit
//! code 2. Each fault that strikes is told on stderr. Unit tests set faults for their own thread with [`inject`].
//!
//! Points: `fs` (each operation of [`crate::fs`]), `fs.KIND` (`open`, `write`, `sync`, `rename`, `unlink`, `mkdir`,
//! `rmdir`, `set_len`, `sync_dir`, `symlink`, `link`, `reserve`), `checkpoint.PLACE`, `state.replace`, `log.line`, `step.loss`, `step.grad`,
//! `micro`, `answer`.
use crate::exit::Exit;
use crate::runs::say::say;
use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

const VARIABLE: &str = "LIGHTBOX_FAULTS";

/// How many plans may hold a fault: the environment's (counted until somebody has looked) and those of tests.
static PLANS: AtomicUsize = AtomicUsize::new(1);
static ENVIRONMENT: OnceLock<Option<Mutex<Plan>>> = OnceLock::new();
thread_local! {
    static INJECTED: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// Comes by `point`. A word that the point itself must act on; an `error:NAME` comes back as it was written.
pub fn at(point: &str) -> Option<String> {
    Some(match come_by(point)? {
        Left::Word(word) => word,
        Left::Error(name, _) => format!("error:{name}"),
    })
}

/// Comes by a point where an operation can fail.
///
/// # Errors
/// The fault that is due; a word, which such a point does not understand, is an error, too.
pub fn io(point: &str) -> io::Result<()> {
    come_by(point).map_or(Ok(()), |left| Err(left.into_error(point)))
}

/// Comes by a point where `len` bytes are about to be written: how many of them shall be (fewer for `short`).
pub(crate) fn write(point: &str, len: usize) -> io::Result<usize> {
    match come_by(point) {
        None => Ok(len),
        Some(Left::Word(word)) if word == "short" => Ok(len.div_ceil(2)),
        Some(left) => Err(left.into_error(point)),
    }
}

/// Sets faults for this thread until the guard is dropped; for unit tests, which share one process.
///
/// # Errors
/// Says which entry cannot be read.
pub fn inject(faults: &str) -> Result<Injected, String> {
    let plan = Plan::parse(faults)?;
    PLANS.fetch_add(1, Ordering::Relaxed);
    let outer = INJECTED.replace(Some(plan));
    Ok(Injected { outer, _this_thread: PhantomData })
}

/// See [`inject`]. Faults that were set before come back when it is dropped.
#[derive(Debug)]
pub struct Injected {
    outer: Option<Plan>,
    _this_thread: PhantomData<*const ()>,
}

impl Injected {
    /// How often a fault was due.
    pub fn hits(&self) -> u64 {
        INJECTED.with_borrow(|plan| plan.as_ref().map_or(0, |plan| plan.hits))
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        INJECTED.replace(self.outer.take());
        PLANS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// For tests: calls `attempt(n)` while `action` is due at the n-th visit of `point`, for n = 1, 2, 3, … until an attempt
/// has fewer than n of them. Returns how many that one had, so that a test can tell that it tested something.
///
/// # Panics
/// If `point` or `action` cannot be read.
pub fn at_each_visit(point: &str, action: &str, mut attempt: impl FnMut(u64)) -> u64 {
    let mut n = 1;
    loop {
        let faults = inject(&format!("{point}#{n}={action}")).unwrap_or_else(|e| panic!("{e}"));
        attempt(n);
        if faults.hits() == 0 {
            return n - 1;
        }
        n += 1;
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Abort,
    Stop,
    Panic,
    Sleep(Duration),
    Left(Left),
}

/// What the caller has to do itself.
#[derive(Debug, Clone, PartialEq)]
enum Left {
    Error(&'static str, i32),
    Word(String),
}

impl Left {
    fn into_error(self, point: &str) -> io::Error {
        match self {
            Self::Error(_, errno) => io::Error::from_raw_os_error(errno),
            Self::Word(word) => io::Error::other(format!("{VARIABLE}: the point {point} does not know {word:?}")),
        }
    }
}

/// The errors that a test may want of a file system.
const ERRORS: [(&str, i32); 10] = [
    ("ENOSPC", libc::ENOSPC),
    ("EDQUOT", libc::EDQUOT),
    ("EIO", libc::EIO),
    ("EROFS", libc::EROFS),
    ("EMFILE", libc::EMFILE),
    ("EFBIG", libc::EFBIG),
    ("EACCES", libc::EACCES),
    ("EINTR", libc::EINTR),
    ("ENOENT", libc::ENOENT),
    ("ESTALE", libc::ESTALE),
];

#[derive(Debug, Clone, PartialEq)]
struct Fault {
    point: String,
    /// Visits, counted from 1, at which it is due: first and last.
    due: (u64, u64),
    action: Action,
    visits: u64,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    hits: u64,
}

impl Plan {
    fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        let faults = entries.map(|entry| Fault::parse(entry).map_err(|why| format!("{entry:?}: {why}")));
        Ok(Self { faults: faults.collect::<Result<_, _>>()?, hits: 0 })
    }

    fn visit(&mut self, point: &str) -> Option<Action> {
        let mut action = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.point == point) {
            fault.visits += 1;
            if action.is_none() && (fault.due.0..=fault.due.1).contains(&fault.visits) {
                action = Some(fault.action.clone());
            }
        }
        self.hits += u64::from(action.is_some());
        action
    }
}

impl Fault {
    fn parse(entry: &str) -> Result<Self, String> {
        let (place, action) = entry.split_once('=').ok_or("it must be point[#n]=action")?;
        let (point, when) = place.split_once('#').unwrap_or((place, "1"));
        if point.is_empty() || !point.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c)) {
            return Err(format!("{point:?} is not the name of a point"));
        }
        let number = |digits: &str| digits.parse::<u64>().ok().filter(|&n| n > 0);
        let due = match (when, when.strip_suffix('+')) {
            ("*", _) => Some((1, u64::MAX)),
            (_, Some(from)) => number(from).map(|n| (n, u64::MAX)),
            (n, None) => number(n).map(|n| (n, n)),
        };
        let due = due.ok_or_else(|| format!("#{when} must be #N, #N+ (N from 1) or #*"))?;
        Ok(Self { point: point.to_owned(), due, action: Action::parse(action)?, visits: 0 })
    }
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text.split_once(':') {
            None if text == "abort" => Self::Abort,
            None if text == "stop" => Self::Stop,
            None if text == "panic" => Self::Panic,
            None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
                Self::Left(Left::Word(text.to_owned()))
            }
            Some(("sleep", ms)) => {
                Self::Sleep(Duration::from_millis(ms.parse().map_err(|_| format!("{ms:?} are no milliseconds"))?))
            }
            Some(("error", wanted)) => {
                let found = ERRORS.iter().find(|(name, _)| *name == wanted);
                let &(name, errno) =
                    found.ok_or_else(|| format!("the errors are {}", ERRORS.map(|(name, _)| name).join(", ")))?;
                Self::Left(Left::Error(name, errno))
            }
            _ => return Err(format!("{text:?} is not an action")),
        })
    }

    /// Does it, unless it is the caller's to do.
    fn take(self, point: &str) -> Option<Left> {
        match self {
            Self::Abort => die(),
            Self::Stop => signal(libc::SIGSTOP),
            Self::Panic => panic!("{VARIABLE}: a panic at {point}"),
            Self::Sleep(time) => std::thread::sleep(time),
            Self::Left(left) => return Some(left),
        }
        None
    }
}

fn come_by(point: &str) -> Option<Left> {
    if PLANS.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let injected = INJECTED.with_borrow_mut(|plan| plan.as_mut().and_then(|plan| plan.visit(point)));
    let action = injected.or_else(|| {
        let plan = ENVIRONMENT.get_or_init(from_environment).as_ref()?;
        let action = plan.lock().unwrap_or_else(PoisonError::into_inner).visit(point)?;
        say(&format!("fault: {point} strikes"));
        Some(action)
    });
    action?.take(point)
}

fn from_environment() -> Option<Mutex<Plan>> {
    let Some(text) = std::env::var_os(VARIABLE) else {
        PLANS.fetch_sub(1, Ordering::Relaxed);
        return None;
    };
    match Plan::parse(&text.to_string_lossy()) {
        Ok(plan) => Some(Mutex::new(plan)),
        Err(why) => {
            eprintln!("{VARIABLE}: {why}");
            std::process::exit(Exit::Usage as i32)
        }
    }
}

fn signal(number: i32) {
    // SAFETY: plain system calls on this very process.
    unsafe { libc::kill(libc::getpid(), number) };
}

/// No destructor, no buffer, no handler: as kill -9. The first process of a container is spared its own SIGKILL, so it
/// leaves by `_exit`.
fn die() -> ! {
    signal(libc::SIGKILL);
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(128 + libc::SIGKILL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_at_its_visit_and_only_then() {
        let faults = inject("fs.write#2=error:ENOSPC; step.loss#3+=nan;micro#*=oom;").unwrap();
        let writes: Vec<bool> = (0..4).map(|_| io("fs.write").is_ok()).collect();
        assert_eq!(writes, [true, false, true, true]);
        let losses: Vec<_> = (0..4).map(|_| at("step.loss")).collect();
        assert_eq!(losses, [None, None, Some("nan".to_owned()), Some("nan".to_owned())]);
        assert_eq!(at("micro").as_deref(), Some("oom"));
        assert_eq!(at("elsewhere"), None);
        assert_eq!(faults.hits(), 4);
    }

    #[test]
    fn an_injected_error_is_the_systems_own() {
        let _faults = inject("fs=error:EDQUOT").unwrap();
        assert_eq!(io("fs").unwrap_err().raw_os_error(), Some(libc::EDQUOT));
    }

    #[test]
    fn a_word_that_a_point_does_not_know_is_an_error_there() {
        let _faults = inject("fs=nan;fs.write=short").unwrap();
        assert!(io("fs").unwrap_err().to_string().contains("does not know \"nan\""));
        assert_eq!(write("fs.write", 5).unwrap(), 3);
        assert_eq!(write("fs.write", 5).unwrap(), 5);
    }

    #[test]
    fn faults_end_with_their_guard_and_inner_ones_give_way_to_outer_ones() {
        let outer = inject("fs#*=error:EIO").unwrap();
        {
            let _inner = inject("other=x").unwrap();
            assert!(io("fs").is_ok());
        }
        assert!(io("fs").is_err());
        drop(outer);
        assert!(io("fs").is_ok());
    }

    #[test]
    fn a_panic_is_one_and_the_next_visit_goes_well() {
        let _faults = inject("log.line=panic").unwrap();
        assert!(std::panic::catch_unwind(|| at("log.line")).is_err());
        assert_eq!(at("log.line"), None);
    }

    #[test]
    fn every_visit_is_tried_once() {
        let mut failed = Vec::new();
        let visits = at_each_visit("fs", "error:EIO", |n| {
            let first = (1..=3).find(|_| io("fs").is_err());
            failed.push((n, first));
        });
        assert_eq!(visits, 3);
        assert_eq!(failed, [(1, Some(1)), (2, Some(2)), (3, Some(3)), (4, None)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_entry() {
        for (text, why) in [
            ("fs", "point[#n]=action"),
            ("=abort", "not the name of a point"),
            ("a b=abort", "not the name of a point"),
            ("fs#0=abort", "#0 must be"),
            ("fs#x=abort", "#x must be"),
            ("fs#+=abort", "#+ must be"),
            ("fs=", "not an action"),
            ("fs=sleep:long", "no milliseconds"),
            ("fs=error:ENOPE", "the errors are ENOSPC"),
            ("fs=abort:now", "not an action"),
        ] {
            let error = inject(&format!("ok=abort;{text}")).unwrap_err();
            assert!(error.contains(why) && error.contains(text), "{text}: {error}");
        }
    }
}
