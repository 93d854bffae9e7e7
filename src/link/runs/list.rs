//! Looks at all runs of this user again and again, and sends the rows that are other than before.
use super::Back;
use crate::app::Action;
use crate::app::runs::Msg;
use crate::app::runs::run::{Row, is_live};
use lightbox_core::runs::view::RunView;
use lightbox_core::runs::{RunDir, registry};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// While the screen is seen, and while another is.
const SEEN: Duration = Duration::from_secs(1);
const UNSEEN: Duration = Duration::from_secs(5);
/// How often the folders under the current one are searched for runs that the index does not know: that reads many folders.
const SEARCH: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Whether the screen is seen.
    Seen(bool),
    /// At once.
    Look,
}

/// Starts the thread; it ends when the sender is gone.
pub fn start(back: Back) -> Sender<Order> {
    let (send, orders) = channel();
    // without a thread the list stays empty and says that it is looking
    let _ = std::thread::Builder::new().name("runs-list".into()).spawn(move || follow(&back, &orders));
    send
}

fn follow(back: &Back, orders: &Receiver<Order>) {
    let mut list = List::default();
    // the first frame comes first: the summary above the screens can wait for a moment
    let mut wait = Duration::from_millis(100);
    let mut every = UNSEEN;
    loop {
        match orders.recv_timeout(wait) {
            Ok(Order::Seen(seen)) => every = if seen { SEEN } else { UNSEEN },
            Ok(Order::Look) => list.searched = None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(msg) = list.look() {
            back.send(Action::Runs(msg));
        }
        wait = every;
    }
}

/// What was sent so far.
#[derive(Debug, Default)]
pub struct List {
    rows: HashMap<PathBuf, (Row, Signature)>,
    /// Runs under the current folder, and when they were searched for.
    under: Vec<RunDir>,
    searched: Option<Instant>,
    /// Nothing was sent yet: an empty list is news, too.
    begun: bool,
}

/// When the files that say how a run stands were changed. A run without a worker changes only with them.
type Signature = [Option<Stamp>; 2];

impl List {
    /// Of these runs besides those in the index, without a search.
    #[cfg(test)]
    pub fn of(under: Vec<RunDir>) -> Self {
        Self { under, searched: Some(Instant::now()), ..Self::default() }
    }

    /// `None`: all is as it was.
    pub fn look(&mut self) -> Option<Msg> {
        let runs = self.every_run();
        let mut changed = Vec::new();
        let mut there = Vec::new();
        for dir in &runs {
            let path = dir.path().to_owned();
            let signature = [RunDir::STATE, RunDir::INFO].map(|name| stamp(&dir.join(name)));
            let known = self.rows.get(&path);
            let quiet = known.is_some_and(|(row, then)| *then == signature && !is_live(row.summary.state));
            if !quiet {
                let row = row(dir);
                if known.is_none_or(|(before, _)| !same(before, &row)) {
                    changed.push(row.clone());
                }
                self.rows.insert(path.clone(), (row, signature));
            }
            there.push(path);
        }
        let gone: Vec<PathBuf> = self.rows.keys().filter(|path| !there.contains(path)).cloned().collect();
        gone.iter().for_each(|path| drop(self.rows.remove(path)));
        let first = !std::mem::replace(&mut self.begun, true);
        (first || !changed.is_empty() || !gone.is_empty()).then_some(Msg::List { changed, gone })
    }

    /// Those in the index and those under the current folder, each once.
    fn every_run(&mut self) -> Vec<RunDir> {
        if self.searched.is_none_or(|then| then.elapsed() >= SEARCH) {
            let here = std::env::current_dir();
            self.under = here.map(|here| registry::under(&here)).unwrap_or_default();
            self.searched = Some(Instant::now());
        }
        let mut runs = registry::all().unwrap_or_default();
        for dir in &self.under {
            // the index has canonical paths; these come from the current folder, which is one
            if registry::is_run(dir.path()) && !runs.iter().any(|known| known.path() == dir.path()) {
                runs.push(dir.clone());
            }
        }
        runs
    }
}

/// What tells a file from the one that was there before: two changes within one tick of the file system's clock have the
/// same time, but a replaced file is another file.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

/// Whether a person would see no difference: the time of the last write is not shown.
fn same(a: &Row, b: &Row) -> bool {
    let plain = |row: &Row| {
        let mut row = row.clone();
        row.summary.updated_ms = 0;
        row
    };
    plain(a) == plain(b)
}

pub fn row(dir: &RunDir) -> Row {
    let view = RunView::open_lenient(dir);
    Row {
        path: dir.path().to_owned(),
        summary: view.summary(),
        created_ms: view.info.created_ms.max(if view.info.created_ms == 0 { view.written.started_ms } else { 0 }),
        archived: view.info.archived,
        notes: view.info.notes.clone(),
        parent: view.info.parent.as_ref().map(|parent| (parent.run.clone(), parent.checkpoint.clone())),
    }
}
