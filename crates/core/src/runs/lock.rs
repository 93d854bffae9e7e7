//! Who is alive: `run.lock`, held by the worker for as long as its process lives, freed by the kernel when it dies, however
//! it dies. A pid proves nothing (zombies, reuse, other machines), so nobody asks for it; `worker.json` is for display
//! and for signals only.
//!
//! The lock is an open-file-description lock (fcntl `F_OFD_SETLK`): it can be asked about without being taken
//! (`F_OFD_GETLK`), so a reader never gets in a starting worker's way, and it works over NFS.
use super::{RunDir, now_ms, read_json, write_json};
use crate::launch::Launch;
use crate::safe_text::clean_line;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Held by a worker. Dropping it, or dying, frees it.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another worker has the run.
    #[error("{}", held(.0.as_deref()))]
    Held(Option<Box<WorkerInfo>>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn held(holder: Option<&WorkerInfo>) -> String {
    let who = match holder {
        Some(w) => {
            let since = super::info::date_time(w.started_ms);
            format!("pid {} on {}, since {since} UTC", w.pid, clean_line(&w.host, 64))
        }
        None => "it has not said yet who it is".into(),
    };
    format!(
        "another worker has this run ({who}). `lightbox runs attach DIR` to watch it, `lightbox runs stop DIR` to end it"
    )
}

/// Is there a worker?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    Alive,
    /// Nobody holds the lock.
    Dead,
    /// The file system cannot say; the heartbeat's age has to do.
    Unknown(String),
}

/// `worker.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerInfo {
    pub v: u32,
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: with boot id and pid it names one process for good.
    pub start_ticks: u64,
    pub boot_id: String,
    /// Inode of the pid namespace.
    pub pid_ns: u64,
    pub host: String,
    pub attempt: u32,
    pub started_ms: u64,
    /// `supervisor`, `torchrun`, `srun`, `mpirun` or `hand`.
    pub launcher: String,
    /// The supervisor's pid, if there is one.
    pub supervisor: Option<u32>,
    /// `cpu`, `cuda:0`, …; known once the model is loaded.
    pub device: Option<String>,
}

impl RunLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// `Io` also where the file system has no locks: two workers in one folder would ruin each other's checkpoints, so
    /// there is no run without one.
    pub fn acquire(dir: &RunDir) -> Result<Self, LockError> {
        let path = dir.join(RunDir::LOCK);
        let naming = |e: io::Error| io::Error::new(e.kind(), format!("locking {}: {e}", path.display()));
        let open = File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
        let file = open.map_err(naming)?;
        match fcntl(&file, libc::F_OFD_SETLK) {
            Ok(_) => Ok(Self { _file: file }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                // until the new holder has written worker.json, the one of the attempt before lies there
                let holder = WorkerInfo::read(dir).ok().filter(|w| w.is_elsewhere().is_some() || w.runs());
                Err(LockError::Held(holder.map(Box::new)))
            }
            Err(e) if has_no_locks(&e) => {
                let what = format!(
                    "{} cannot be locked: {e}. Put output_dir on a file system with locks (a local disk, NFS, Lustre mounted with `flock`)",
                    path.display()
                );
                Err(io::Error::new(io::ErrorKind::Unsupported, what).into())
            }
            Err(e) => Err(naming(e).into()),
        }
    }
}

/// Asks without taking.
pub fn liveness(dir: &RunDir) -> Liveness {
    let path = dir.join(RunDir::LOCK);
    let asked = File::open(&path).and_then(|file| fcntl(&file, libc::F_OFD_GETLK));
    match asked {
        Ok(kind) if kind == libc::F_UNLCK => Liveness::Dead,
        Ok(_) => Liveness::Alive,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Liveness::Dead,
        Err(e) => Liveness::Unknown(format!("{}: {e}", path.display())),
    }
}

/// Takes, or asks about, a write lock on the whole file; the kind of lock that stands in its way.
fn fcntl(file: &File, command: i32) -> io::Result<i32> {
    // SAFETY: flock is plain data for which all zeros is a value; OFD locks want l_pid to be 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    // SAFETY: the descriptor is open and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type.into()),
    }
}

fn has_no_locks(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS))
}

impl WorkerInfo {
    /// This process.
    pub fn this(attempt: u32) -> Self {
        let pid = std::process::id();
        let supervisor = supervisor();
        let launcher = match (supervisor, Launch::detect()) {
            (Some(_), _) => "supervisor",
            (None, Ok(launch)) if launch.by != "nobody" => launch.by,
            _ => "hand",
        };
        Self {
            v: 1,
            pid,
            start_ticks: process(pid).map_or(0, |p| p.start_ticks),
            attempt,
            started_ms: now_ms(),
            launcher: launcher.into(),
            supervisor,
            device: None,
            ..Self::place()
        }
    }

    /// Only what says where a process of this machine lives.
    fn place() -> Self {
        Self {
            boot_id: proc_line("/proc/sys/kernel/random/boot_id"),
            pid_ns: std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino()),
            host: host(),
            ..Self::default()
        }
    }

    pub fn write(&self, dir: &RunDir) -> io::Result<()> {
        write_json(&dir.join(RunDir::WORKER), self)
    }

    /// # Errors
    /// Names the file; `NotFound` before the first attempt, `InvalidData` when it is damaged.
    pub fn read(dir: &RunDir) -> io::Result<Self> {
        read_json(&dir.join(RunDir::WORKER))
    }

    /// Sends `signal` if this is surely the same process: same host, boot and pid namespace, same start.
    ///
    /// # Errors
    /// In words, why not: it runs elsewhere, or has ended.
    pub fn signal(&self, signal: i32) -> Result<(), String> {
        if let Some(place) = self.is_elsewhere() {
            return Err(format!(
                "the worker (pid {}) {place}, and signals do not get there; `lightbox runs stop DIR` does, through the run's folder",
                self.pid
            ));
        }
        let ended = || format!("the worker (pid {}) has ended", self.pid);
        let pid = i32::try_from(self.pid).ok().filter(|&pid| pid > 0 && self.runs()).ok_or_else(ended)?;
        // SAFETY: kill takes two numbers; the pid is positive, so it means one process and no group.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(match io::Error::last_os_error() {
                e if e.raw_os_error() == Some(libc::ESRCH) => ended(),
                e => format!("signalling the worker (pid {}): {e}", self.pid),
            }),
        }
    }

    /// Where it is, if its pid means nothing here.
    fn is_elsewhere(&self) -> Option<String> {
        let here = Self::place();
        if self.host != here.host {
            return Some(format!("was started on the machine {}", clean_line(&self.host, 64)));
        }
        if self.boot_id != here.boot_id {
            return Some("was started before this machine was, or on another one of the same name".into());
        }
        (self.pid_ns != here.pid_ns).then(|| "runs in another container (pid namespace) of this machine".into())
    }

    /// The process of this pid here is this worker, and has not ended. A zombie has.
    fn runs(&self) -> bool {
        process(self.pid).is_some_and(|p| p.start_ticks == self.start_ticks && !p.ended)
    }
}

/// The machine's name, as the kernel has it.
pub fn host() -> String {
    proc_line("/proc/sys/kernel/hostname")
}

fn proc_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What /proc/PID/stat says.
struct Process {
    ended: bool,
    start_ticks: u64,
}

fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // field 2, the name in brackets, may hold anything, so count from its end: there begins field 3
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    Some(Process { ended, start_ticks: fields.nth(18)?.parse().ok()? })
}

/// When a process began, in milliseconds since 1970 (to about 10 ms).
pub(super) fn started_ms(pid: u32) -> Option<u64> {
    // SAFETY: sysconf takes a number; clock_gettime fills the struct it is given.
    let (ticks_per_second, now) = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now);
        (u64::try_from(libc::sysconf(libc::_SC_CLK_TCK)).ok().filter(|&t| t > 0)?, now)
    };
    let since_boot = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
    let age = since_boot.saturating_sub(process(pid)?.start_ticks * 1000 / ticks_per_second);
    Some(now_ms().saturating_sub(age))
}

/// The pid of the supervisor that started this process.
pub(super) fn supervisor() -> Option<u32> {
    std::env::var("LIGHTBOX_SUPERVISOR").ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
