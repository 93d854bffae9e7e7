//! Runs one after another on one device: `queue.json` in the state folder ([`super::registry`]).
//!
//! There is no daemon. Whoever comes by gives the queue a [`kick`]: each supervisor when its run has ended, and each
//! `lightbox train` or `lightbox runs …` when it begins. A kick looks how the started runs stand and starts the first
//! waiting one of every slot (device) on which nothing runs. Two kicks at once are as good as one: what to do is decided
//! under a lock that is held for milliseconds, and an item is marked as started before it is. A run that fails does not
//! hold up the others; one that a reboot ended is put first and goes on from its newest checkpoint.
use super::lock::{Liveness, WorkerInfo, liveness};
use super::state::{RunState, Status};
use super::view::RunView;
use super::{RunDir, now_ms, registry};
use crate::profile::{Device, Profile};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

const FILE: &str = "queue.json";
const VERSION: u32 = 1;
/// Ended items that are kept to be looked at.
const KEPT: usize = 50;
/// So long a started run may take until its worker has the lock, in milliseconds. Whoever started it may have died.
const PATIENCE_MS: u64 = 120_000;

/// A run in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// `q1`, `q2`, …
    pub id: String,
    pub dir: PathBuf,
    /// `cpu` or `cuda:N`: one run at a time on each.
    pub slot: String,
    /// The machine whose slot that is; the state folder may be shared by several.
    pub host: String,
    /// Relative paths of its profile start here.
    pub cwd: PathBuf,
    pub added_ms: u64,
    /// How often it was started.
    pub starts: u32,
    #[serde(flatten)]
    pub state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    #[default]
    Waiting,
    Started {
        at_ms: u64,
        /// Of the machine then: another one now means that it was restarted.
        boot_id: String,
    },
    Done,
    Failed {
        reason: String,
    },
}

impl State {
    fn started(here: &WorkerInfo) -> Self {
        Self::Started { at_ms: now_ms(), boot_id: here.boot_id.clone() }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Done | Self::Failed { .. })
    }
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub v: u32,
    /// Nothing is started while this is set.
    pub paused: bool,
    /// Number of the newest item.
    last: u64,
    pub items: Vec<Item>,
}

/// Where an item goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Up,
    Down,
    First,
    Last,
}

/// Where the queue lies.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// In the state folder.
    ///
    /// # Errors
    /// There is no home.
    pub fn find() -> Result<Self> {
        let path = registry::state_dir()
            .context("there is no place for the queue: neither LIGHTBOX_STATE, XDG_STATE_HOME nor HOME is set")?;
        Ok(Self { path })
    }

    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The queue as it is now; empty where there is none.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was written by a newer version; the message names it.
    pub fn read(&self) -> Result<Queue> {
        let path = self.path.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Queue::default()),
            bytes => bytes.with_context(|| path.display().to_string())?,
        };
        let queue: Queue = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; without it the queue is empty", path.display()))?;
        if queue.v > VERSION {
            bail!("{} was written by a newer version of Lightbox; update to use it", path.display());
        }
        Ok(queue)
    }

    /// Reads, changes and replaces the queue; nobody else does meanwhile. An error of `change` changes nothing.
    pub fn change<T>(&self, change: impl FnOnce(&mut Queue) -> Result<T>) -> Result<T> {
        crate::fs::create_dir_all(&self.path)?;
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut queue = before.clone();
        let result = change(&mut queue)?;
        queue.v = VERSION;
        queue.forget_old();
        if queue != before {
            crate::fs::write_atomic(
                &self.path.join(FILE),
                format!("{}\n", serde_json::to_string_pretty(&queue)?).as_bytes(),
            )?;
        }
        Ok(result)
    }

    /// Held while the queue is read and replaced, never while a run starts. On a file of its own, as `queue.json` is
    /// replaced.
    fn lock(&self) -> Result<File> {
        let path = self.path.join("queue.lock");
        let open = File::options().write(true).create(true).truncate(false).open(&path);
        let file = open.with_context(|| path.display().to_string())?;
        file.lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(file)
    }

    /// Starts what can be started among the queue's items, when `others` are the runs that may hold a slot, too. `start`
    /// returns when the run is on its way; its error becomes the item's reason. How many were started.
    pub fn kick(&self, others: &[RunDir], start: &mut dyn FnMut(&Item) -> Result<()>) -> Result<usize> {
        let mut started = 0;
        if !self.read()?.items.iter().any(|item| !item.state.has_ended()) {
            return Ok(started);
        }
        while let Some(item) = self.change(|queue| Ok(queue.next(others, &WorkerInfo::this(0))))? {
            match start(&item) {
                Ok(()) => started += 1,
                // By hand, meanwhile.
                Err(_) if is_alive(&item.dir) => {}
                Err(error) => self.change(|queue| {
                    if let Some(item) = queue.items.iter_mut().find(|i| i.id == item.id) {
                        item.state = State::Failed { reason: format!("{error:#}") };
                    }
                    Ok(())
                })?,
            }
        }
        Ok(started)
    }
}

/// [`Home::kick`] for this user's queue and runs. Where nothing waits it costs one look at a file.
pub fn kick(start: &mut dyn FnMut(&Item) -> Result<()>) -> Result<usize> {
    let Some(path) = registry::state_dir() else { return Ok(0) };
    let home = Home::at(path);
    if home.read()?.items.iter().all(|item| item.state.has_ended()) {
        return Ok(0);
    }
    home.kick(&registry::all()?, start)
}

/// The device that a profile asks for. `auto` is the first GPU where the NVIDIA driver shows one, else the CPU.
pub fn slot_of(profile: &Profile) -> String {
    match profile.effective_device() {
        Device::Auto if Path::new("/dev/nvidia0").exists() => Device::Cuda(0).to_string(),
        Device::Auto => Device::Cpu.to_string(),
        device => device.to_string(),
    }
}

impl Queue {
    /// Puts a run at the end.
    ///
    /// # Errors
    /// It waits or runs already, or its folder cannot be written.
    pub fn add(&mut self, dir: &RunDir, slot: String) -> Result<Item> {
        let path = std::path::absolute(dir.path())?;
        if let Some(item) = self.items.iter().find(|item| item.dir == path && !item.state.has_ended()) {
            bail!("{} is in the queue already, as {}", path.display(), item.id);
        }
        if is_alive(&path) {
            bail!("{} runs already", path.display());
        }
        self.items.retain(|item| item.dir != path);
        self.last += 1;
        let item = Item {
            id: format!("q{}", self.last),
            dir: path,
            slot,
            host: WorkerInfo::this(0).host,
            cwd: std::env::current_dir()?,
            added_ms: now_ms(),
            starts: 0,
            state: State::Waiting,
        };
        RunState::change(dir, |state| (state.state, state.reason) = (Status::Queued, None))?;
        self.items.push(item.clone());
        Ok(item)
    }

    /// Takes an item out. A run that has begun goes on; it is only not in the queue any more.
    pub fn remove(&mut self, id: &str) -> Result<Item> {
        let at = self.position(id)?;
        Ok(self.items.remove(at))
    }

    /// Changes the order of those that wait.
    pub fn place(&mut self, id: &str, place: Place) -> Result<()> {
        let at = self.position(id)?;
        if self.items[at].state != State::Waiting {
            bail!("{id} does not wait any more, so its place means nothing");
        }
        let waiting: Vec<usize> = (0..self.items.len()).filter(|&i| self.items[i].state == State::Waiting).collect();
        let Some(rank) = waiting.iter().position(|&i| i == at) else { return Ok(()) };
        let to = match place {
            Place::Up => rank.saturating_sub(1),
            Place::Down => (rank + 1).min(waiting.len() - 1),
            Place::First => 0,
            Place::Last => waiting.len() - 1,
        };
        let item = self.items.remove(at);
        self.items.insert(waiting[to], item);
        Ok(())
    }

    fn position(&self, id: &str) -> Result<usize> {
        let at = self.items.iter().position(|item| item.id == id);
        at.with_context(|| format!("there is no {id} in the queue; `lightbox runs queue list` shows what is"))
    }

    /// Notes what has become of the started items, then marks the first that can be started as started.
    fn next(&mut self, others: &[RunDir], here: &WorkerInfo) -> Option<Item> {
        self.settle(here);
        if self.paused {
            return None;
        }
        let busy = self.busy(others, here);
        let item = self
            .items
            .iter_mut()
            .find(|i| i.state == State::Waiting && i.host == here.host && !busy.contains(&i.slot))?;
        item.starts += 1;
        item.state = State::started(here);
        // What an earlier attempt left there would be taken for the end of this one. If it cannot be written, the start fails.
        if let Ok(dir) = RunDir::open(&item.dir) {
            let _ = RunState::change(&dir, |state| (state.state, state.reason) = (Status::Queued, None));
        }
        Some(item.clone())
    }

    fn settle(&mut self, here: &WorkerInfo) {
        let mut first = Vec::new();
        for item in self.items.iter_mut().filter(|item| item.host == here.host && !item.state.has_ended()) {
            let before = item.state.clone();
            item.state = item.now(here);
            if matches!(before, State::Started { .. }) && item.state == State::Waiting {
                first.push(item.id.clone());
            }
        }
        // Those that were on their way come before those that never were; the sort keeps all else in order.
        self.items.sort_by_key(|item| !first.contains(&item.id));
    }

    /// Slots of this machine on which something runs or is about to.
    fn busy(&self, others: &[RunDir], here: &WorkerInfo) -> BTreeSet<String> {
        let started = self.items.iter().filter(|i| i.host == here.host && matches!(i.state, State::Started { .. }));
        let mut busy: BTreeSet<String> = started.map(|item| item.slot.clone()).collect();
        for dir in others.iter().filter(|dir| is_alive(dir.path())) {
            let worker = WorkerInfo::read(dir).unwrap_or_default();
            if worker.host == here.host || worker.host.is_empty() {
                let words: &[&str] = &[];
                let asked = || Profile::load(&dir.join(RunDir::PROFILE), words).ok().map(|p| slot_of(&p));
                busy.extend(worker.device.or_else(asked));
            }
        }
        busy
    }

    fn forget_old(&mut self) {
        let ended = self.items.iter().filter(|item| item.state.has_ended()).count();
        let mut surplus = ended.saturating_sub(KEPT);
        self.items.retain(|item| {
            let goes = surplus > 0 && item.state.has_ended();
            surplus -= usize::from(goes);
            !goes
        });
    }
}

impl Item {
    /// What the run's folder says of an item that waits or was started.
    fn now(&self, here: &WorkerInfo) -> State {
        let failed = |reason: String| State::Failed { reason };
        let run = match RunDir::open(&self.dir) {
            Ok(run) => run,
            Err(e) => return failed(format!("its folder cannot be used: {e}")),
        };
        let (alive, state) = (is_alive(run.path()), RunState::read(&run).unwrap_or_default());
        let State::Started { at_ms, boot_id } = &self.state else {
            return match state.state {
                _ if alive => State::started(here),
                Status::Finished => State::Done,
                _ => State::Waiting,
            };
        };
        if alive || has_supervisor(&run, here) {
            return self.state.clone();
        }
        let reason = || state.reason.as_ref().map_or_else(|| "it ended without a word".to_owned(), |r| r.text.clone());
        let rebooted = *boot_id != here.boot_id;
        match state.state {
            Status::Finished | Status::Stopped => State::Done,
            Status::Failed => failed(reason()),
            _ if rebooted => State::Waiting,
            Status::Crashed => failed(reason()),
            _ if now_ms().saturating_sub(*at_ms) < PATIENCE_MS => self.state.clone(),
            Status::Queued if self.starts < 3 => State::Waiting,
            _ => failed("its worker vanished, and nobody saw how".into()),
        }
    }
}

/// Somebody holds the run's lock. Where the file system knows no locks, what the run's files say.
fn is_alive(dir: &Path) -> bool {
    let Ok(dir) = RunDir::open(dir) else { return false };
    match liveness(&dir) {
        Liveness::Alive => true,
        Liveness::Dead => false,
        Liveness::Unknown(_) => RunView::open(&dir)
            .is_ok_and(|v| !v.state.is_terminal() && !matches!(v.state, Status::Created | Status::Queued)),
    }
}

/// The run's supervisor is still there: it will start the worker again, or say how it ended and then kick the queue. Not
/// so if that is this process, which is past that.
fn has_supervisor(dir: &RunDir, here: &WorkerInfo) -> bool {
    let Ok(worker) = WorkerInfo::read(dir) else { return false };
    let Some(pid) = worker.supervisor.filter(|&pid| pid != here.pid && worker.boot_id == here.boot_id) else {
        return false;
    };
    // The pid may be another program's by now.
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|&b| b == 0).any(|word| word == b"__supervise")
}

#[cfg(test)]
mod tests;
