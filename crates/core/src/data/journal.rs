//! What a long pass over samples has found so far, on the disk: one that was stopped or killed goes on where it was.
//!
//! ```text
//! file    block, block, …
//! block   length u32 | CRC-32 of what follows u32 | number of results u32 | results, each in postcard's encoding
//! ```
//! The first block holds no results but the key: which data, what is asked of it, and by which version. A journal with another
//! key is begun anew. A block that is torn (the process died) or damaged ends what is kept; it is cut off.
//!
//! Read next: [`parallel`](super::parallel), whose passes are kept.

use super::parallel::in_order;
use super::{Dataset, Encoder, Problem};
use crate::fs::{self, Appender, append_open};
use crate::runs::registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Results are written this often; so much is lost at most, and a pass that takes less leaves no file.
const EVERY: Duration = Duration::from_secs(1);
/// Or when they are so many bytes.
const BLOCK: usize = 1 << 20;
/// No block is as long; what claims to be is damaged.
const MAX_BLOCK: usize = 64 << 20;
const HEADER: usize = 8;
/// What nobody has gone on with for so long is removed.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a pass finds out about one sample.
pub trait Finding: Send + Serialize + DeserializeOwned {
    /// Something is wrong. When the pass goes on this sample is looked at again, for it may have been mended meanwhile.
    fn is_fault(&self) -> bool;
}

impl<T: Send + Serialize + DeserializeOwned> Finding for Result<T, Problem> {
    fn is_fault(&self) -> bool {
        self.is_err()
    }
}

/// The results of one pass. Bytes on the disk are those of the results, in memory is one block.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    key: String,
    /// `None` before there is anything to keep.
    log: Option<Appender>,
    kept: usize,
    every: Duration,
    /// Why nothing is kept any more.
    fault: Option<io::Error>,
}

impl Journal {
    /// What was kept at `path` under this key, or nothing yet. Nobody else has it while this lives.
    ///
    /// # Errors
    /// The file cannot be opened or read; another process has it (`WouldBlock`).
    pub fn open(path: &Path, key: &str) -> io::Result<Self> {
        let mut journal =
            Self { path: path.to_owned(), key: key.to_owned(), log: None, kept: 0, every: EVERY, fault: None };
        if path.exists() {
            let mut log = journal.lock()?;
            match scan(log.file(), key)? {
                Some((kept, end)) => {
                    if end < log.len() {
                        log.cut(end)?;
                    }
                    (journal.kept, journal.log) = (kept, Some(log));
                }
                None => log.cut(0)?, // begun with the first block
            }
        }
        Ok(journal)
    }

    /// The journal of a command that has no folder of its own, in that of this user's state ([`registry::state_dir`]).
    ///
    /// # Errors
    /// As [`Self::open`]; there is no such folder.
    pub fn of_command(what: &str, key: &str) -> io::Result<Self> {
        let state = registry::state_dir().ok_or_else(|| io::Error::other("set HOME or LIGHTBOX_STATE"))?;
        let folder = state.join("unfinished");
        remove_old(&folder);
        let hash = &blake3::hash(key.as_bytes()).to_hex()[..16];
        Self::open(&folder.join(format!("{what}-{hash}.rows")), key)
    }

    /// The key of a pass: `what` is done with the data, and how.
    pub fn key(what: &str, d: &Dataset, encoder: Option<&Encoder<'_>>, how: &str) -> String {
        let encoder = encoder.map(Encoder::identity).unwrap_or_default();
        [what, env!("CARGO_PKG_VERSION"), &d.identity(), &encoder, how].join("\n")
    }

    /// Results that are there already.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Why results could not be kept; the pass itself went on.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.as_ref()
    }

    /// The pass is through.
    ///
    /// # Errors
    /// Names the file.
    pub fn remove(self) -> io::Result<()> {
        match self.log {
            Some(_) => fs::remove_file(&self.path),
            None => Ok(()), // if there is one, it is another process's
        }
    }

    fn lock(&self) -> io::Result<Appender> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let log = append_open(&self.path)?;
        match log.file().try_lock() {
            Ok(()) => Ok(log),
            Err(std::fs::TryLockError::WouldBlock) => {
                let what = format!("{} is in use by another process that does the same", self.path.display());
                Err(io::Error::new(ErrorKind::WouldBlock, what))
            }
            // Some network file systems know no locks: go on without.
            Err(std::fs::TryLockError::Error(_)) => Ok(log),
        }
    }

    /// Hands what is kept to `sink` until it breaks. What turns out to be unreadable is no longer counted as kept.
    fn replay<T: Finding>(
        &mut self,
        work: &impl Fn(usize) -> T,
        sink: &mut impl FnMut(usize, T) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(log) = &self.log else { return ControlFlow::Continue(()) };
        let mut done = 0;
        let mut each = || -> io::Result<ControlFlow<()>> {
            let mut blocks = Blocks::of(log.file())?;
            while let Some((results, body)) = blocks.next()? {
                let mut rest = body.as_slice();
                for _ in 0..results {
                    let (result, behind) = postcard::take_from_bytes::<T>(rest).map_err(|e| {
                        io::Error::new(ErrorKind::InvalidData, format!("{}: result {done}: {e}", self.path.display()))
                    })?;
                    let result = if result.is_fault() { work(done) } else { result };
                    (rest, done) = (behind, done + 1);
                    if sink(done - 1, result).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        match each() {
            Ok(flow) => flow,
            Err(e) => {
                (self.kept, self.fault) = (done, Some(e));
                ControlFlow::Continue(())
            }
        }
    }

    /// Adds a block. At the first fault keeping ends: a full disk is no reason to end the pass.
    fn keep(&mut self, pending: &mut Pending) {
        if self.fault.is_none()
            && let Err(e) = self.append(pending)
        {
            self.fault = Some(e);
        }
        self.kept += pending.results;
        *pending = Pending::new();
    }

    fn append(&mut self, pending: &Pending) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            return log.append(&block(pending.results, &pending.body));
        }
        let mut log = self.lock()?;
        if log.len() > 0 {
            let what = format!("{} was begun by another process meanwhile", self.path.display());
            return Err(io::Error::new(ErrorKind::WouldBlock, what));
        }
        log.append(&block(0, self.key.as_bytes()))?;
        self.log.insert(log).append(&block(pending.results, &pending.body))
    }
}

/// Removes journals that are [`OLD`]; what cannot be removed is tried again the next time.
fn remove_old(folder: &Path) {
    let is_old = |path: &Path| {
        let written = path.metadata().and_then(|meta| meta.modified()).ok();
        written.and_then(|at| SystemTime::now().duration_since(at).ok()).is_some_and(|age| age > OLD)
    };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|e| e == "rows") && is_old(path)) {
        drop(fs::remove_file(&path));
    }
}

/// [`in_order`], and `journal` keeps the results. Those that it has already come first, without `work` if they are no faults.
/// All results of one journal are of one type, by its key.
pub fn in_order_kept<T: Finding>(
    journal: Option<&mut Journal>,
    n: usize,
    work: impl Fn(usize) -> T + Sync,
    mut sink: impl FnMut(usize, T) -> ControlFlow<()>,
) {
    let Some(journal) = journal else { return in_order(n, work, sink) };
    if journal.replay(&work, &mut sink).is_break() {
        return;
    }
    let first = journal.kept;
    let mut pending = Pending::new();
    in_order(
        n.saturating_sub(first),
        |i| work(first + i),
        |i, result| {
            pending.add(&result);
            let flow = sink(first + i, result);
            if pending.is_due(journal.every) {
                journal.keep(&mut pending);
            }
            flow
        },
    );
    // Work of less than `EVERY` is soon done again.
    if pending.results > 0 && journal.log.is_some() {
        journal.keep(&mut pending);
    }
}

/// Results that are not in the file yet.
struct Pending {
    results: usize,
    body: Vec<u8>,
    since: Instant,
}

impl Pending {
    fn new() -> Self {
        Self { results: 0, body: Vec::new(), since: Instant::now() }
    }

    fn add(&mut self, result: &impl Serialize) {
        // Writing into memory fails only for types that postcard cannot encode, which a test of each type would show.
        self.body = postcard::to_extend(result, std::mem::take(&mut self.body)).unwrap_or_default();
        self.results += 1;
    }

    fn is_due(&self, every: Duration) -> bool {
        self.body.len() >= BLOCK || self.since.elapsed() >= every
    }
}

fn block(results: usize, body: &[u8]) -> Vec<u8> {
    let content = [&(results as u32).to_le_bytes(), body].concat();
    let header = [content.len() as u32, crc32fast::hash(&content)].map(u32::to_le_bytes);
    [header.as_flattened(), &content].concat()
}

/// How many results are whole, and where they end; `None` under another key.
fn scan(file: &File, key: &str) -> io::Result<Option<(usize, u64)>> {
    let mut blocks = Blocks::of(file)?;
    if !matches!(blocks.next()?, Some((0, found)) if found == key.as_bytes()) {
        return Ok(None);
    }
    let (mut kept, mut end) = (0, blocks.end);
    while let Some((results, _)) = blocks.next()? {
        (kept, end) = (kept + results, blocks.end);
    }
    Ok(Some((kept, end)))
}

/// The whole blocks of a file, from its beginning.
struct Blocks<'a> {
    file: BufReader<&'a File>,
    /// Where the last one ends.
    end: u64,
}

impl<'a> Blocks<'a> {
    fn of(file: &'a File) -> io::Result<Self> {
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file: BufReader::with_capacity(BLOCK, file), end: 0 })
    }

    /// Results and body of the next one; `None` where no whole one follows.
    fn next(&mut self) -> io::Result<Option<(usize, Vec<u8>)>> {
        let mut header = [0; HEADER];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let words = header.as_chunks::<4>().0;
        let [length, crc] = [0, 1].map(|i| u32::from_le_bytes(words[i]));
        if length as usize > MAX_BLOCK {
            return Ok(None);
        }
        let mut content = vec![0; length as usize];
        if !self.fill(&mut content)? || crc32fast::hash(&content) != crc {
            return Ok(None);
        }
        let Some((results, body)) = content.split_first_chunk::<4>() else { return Ok(None) };
        self.end += (HEADER + content.len()) as u64;
        Ok(Some((u32::from_le_bytes(*results) as usize, body.to_vec())))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// `#[serde(deserialize_with)]` for stable names ([`super::problem::kind`]), which are `&'static str` everywhere.
pub mod names {
    use serde::{Deserialize, Deserializer};
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    /// Under this alias serde does not take it for text borrowed from what it reads.
    pub type Name = &'static str;

    /// The same text for the whole life of the program. There are some dozens of such names, so nothing piles up.
    fn lasting(name: String) -> &'static str {
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        match names.get(name.as_str()) {
            Some(known) => known,
            None => {
                let name: &'static str = name.leak();
                names.insert(name);
                name
            }
        }
    }

    pub fn one<'de, D: Deserializer<'de>>(d: D) -> Result<Name, D::Error> {
        String::deserialize(d).map(lasting)
    }

    pub fn many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Name>, D::Error> {
        Ok(Vec::<String>::deserialize(d)?.into_iter().map(lasting).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::problem::{Fault, kind};
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Square = Result<String, Problem>;

    /// Goes through `n` squares and stops after `stop`; the squares it saw, and how many it had to work for.
    fn pass(path: &Path, n: usize, stop: usize) -> (Vec<Square>, usize) {
        pass_with(path, n, stop, |i| Ok((i * i).to_string()))
    }

    fn pass_with(path: &Path, n: usize, stop: usize, square: impl Fn(usize) -> Square + Sync) -> (Vec<Square>, usize) {
        let mut journal = Journal::open(path, "squares").unwrap();
        journal.every = Duration::ZERO;
        let (worked, mut seen) = (AtomicUsize::new(0), Vec::new());
        let work = |i: usize| {
            worked.fetch_add(1, Ordering::Relaxed);
            square(i)
        };
        let sink = |i: usize, square: Square| {
            assert_eq!(i, seen.len());
            seen.push(square);
            if seen.len() == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        in_order_kept(Some(&mut journal), n, work, sink);
        (seen, worked.into_inner())
    }

    fn squares(n: usize) -> Vec<Square> {
        (0..n).map(|i| Ok((i * i).to_string())).collect()
    }

    #[test]
    fn what_was_wrong_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("squares.rows");
        let bad = |i: usize| Fault::new(kind::IMAGE_MISSING, "gone").at(i, "a.json:1");
        let odd_are_bad = |i: usize| if i % 2 == 1 { Err(bad(i)) } else { Ok((i * i).to_string()) };
        assert_eq!(pass_with(&path, 20, 8, odd_are_bad).0[3], Err(bad(3)));
        assert_eq!(pass(&path, 20, 30), (squares(20), 4 + 12), "mended meanwhile");
    }

    #[test]
    fn a_stopped_pass_goes_on_behind_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("squares.rows");
        assert_eq!(pass(&path, 20, 7).0, squares(7));
        assert_eq!(Journal::open(&path, "squares").unwrap().kept(), 7);
        assert_eq!(pass(&path, 20, 30), (squares(20), 13));
        assert_eq!(pass(&path, 20, 3), (squares(3), 0), "stopped among those that are kept");
        assert_eq!(pass(&path, 20, 30), (squares(20), 0));
        Journal::open(&path, "squares").unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn another_key_begins_anew_and_two_processes_do_not_share_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("squares.rows");
        pass(&path, 20, 7);
        let other = Journal::open(&path, "cubes").unwrap();
        assert_eq!((other.kept(), path.metadata().unwrap().len()), (0, 0));
        drop(other);
        pass(&path, 20, 7);
        let ours = Journal::open(&path, "squares").unwrap();
        assert_eq!(Journal::open(&path, "squares").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(ours);
        // Two that begin at once: the second keeps nothing, and takes nothing away.
        let path = dir.path().join("both.rows");
        let mut late = Journal::open(&path, "squares").unwrap();
        late.every = Duration::ZERO;
        assert_eq!(pass(&path, 20, 7).0, squares(7));
        in_order_kept(Some(&mut late), 20, |i| Square::Ok(i.to_string()), |_, _| ControlFlow::Continue(()));
        assert_eq!(late.fault().unwrap().kind(), ErrorKind::WouldBlock);
        late.remove().unwrap();
        assert_eq!(pass(&path, 20, 30), (squares(20), 13));
    }

    #[test]
    fn what_is_quickly_done_leaves_no_file_and_a_fault_does_not_end_the_pass() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("squares.rows");
        let mut journal = Journal::open(&path, "squares").unwrap();
        let none = |_| Square::Ok(String::new());
        in_order_kept(Some(&mut journal), 20, none, |_, _| ControlFlow::Continue(()));
        assert!(!path.exists());
        std::fs::write(dir.path().join("a file"), "").unwrap();
        let gone = dir.path().join("a file/squares.rows");
        let mut journal = Journal::open(&gone, "squares").unwrap();
        journal.every = Duration::ZERO;
        let mut seen = 0;
        let sink = |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        };
        in_order_kept(Some(&mut journal), 20, none, sink);
        assert_eq!(seen, 20);
        assert!(journal.fault().unwrap().to_string().contains("a file"), "{:?}", journal.fault());
    }

    proptest! {
        /// Cut or changed anywhere, a journal gives a beginning of what it held, and the pass ends as it should.
        #[test]
        fn a_damaged_journal_gives_whole_results_or_none(at in 0.0f64..1.0, cut: bool, bit in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("squares.rows");
            pass(&path, 40, 25);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = (at * bytes.len() as f64) as usize;
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            std::fs::write(&path, bytes).unwrap();
            let (seen, worked) = pass(&path, 40, 99);
            prop_assert_eq!(seen, squares(40));
            prop_assert!((15..=40).contains(&worked));
        }
    }
}
