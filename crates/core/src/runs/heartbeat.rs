//! `heartbeat`: 128 bytes, written in place every second by a thread of the worker. *Alive* is the lock's business
//! ([`super::lock`]); this says whether it gets anywhere.
use super::record::Phase;
use super::{RunDir, now_ms};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a record: JSON, blanks, a newline. Always the same, so that a new one covers the old one.
const SIZE: usize = 128;
const PERIOD: Duration = Duration::from_secs(1);

/// Where the worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beat {
    /// Milliseconds since 1970.
    pub t: u64,
    /// Milliseconds since the worker began.
    pub mono: u64,
    /// `mono` of the last progress: a micro-batch, a sample prepared, a part of an evaluation.
    pub progress: u64,
    /// Updates done.
    pub step: u64,
    pub micro: u64,
    pub phase: Phase,
}

/// The thread. Dropping it ends it.
#[derive(Debug)]
pub struct Heartbeat {
    told: Arc<Told>,
    /// Dropped first: that wakes the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the worker said last. The numbers may belong to two neighbouring moments: nobody computes with them.
#[derive(Debug)]
struct Told {
    began: Instant,
    progress: AtomicU64,
    step: AtomicU64,
    micro: AtomicU64,
    phase: AtomicU8,
}

impl Told {
    fn mono(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn beat(&self) -> Beat {
        Beat {
            t: now_ms(),
            mono: self.mono(),
            progress: self.progress.load(Relaxed),
            step: self.step.load(Relaxed),
            micro: self.micro.load(Relaxed),
            phase: PHASES.get(usize::from(self.phase.load(Relaxed))).copied().unwrap_or_default(),
        }
    }
}

/// In the order of declaration: `PHASES[p as usize] == p`.
const PHASES: [Phase; 7] = [
    Phase::LoadingModel,
    Phase::PreparingData,
    Phase::ProbingMemory,
    Phase::Training,
    Phase::Evaluating,
    Phase::Sampling,
    Phase::Checkpointing,
];

impl Heartbeat {
    /// `each_second` is called once a second after the beat is written (log rings, system figures). If it panics, the
    /// heart goes on beating, but it is not called again.
    ///
    /// A beat that cannot be written (a full disk; rare, since the file never grows) is left out without a word: the next
    /// second brings another.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not be started.
    pub fn start(dir: &RunDir, each_second: Box<dyn FnMut() + Send>) -> io::Result<Self> {
        let path = dir.join(RunDir::HEARTBEAT);
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| io::Error::new(e.kind(), format!("opening {}: {e}", path.display())))?;
        let told = Arc::new(Told {
            began: Instant::now(),
            progress: AtomicU64::new(0),
            step: AtomicU64::new(0),
            micro: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::LoadingModel as u8),
        });
        write(&file, &told.beat()); // a reader must not find the beat of the attempt before
        let (end, ended) = mpsc::channel::<()>();
        let of_thread = told.clone();
        let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            let mut each_second = Some(each_second);
            let mut next = Instant::now() + PERIOD;
            while ended.recv_timeout(next.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout) {
                next = Instant::now() + PERIOD;
                write(&file, &of_thread.beat());
                each_second = each_second.and_then(|mut call| {
                    catch_unwind(AssertUnwindSafe(&mut call)).ok()?;
                    Some(call)
                });
            }
        })?;
        Ok(Self { told, end: Some(end), thread: Some(thread) })
    }

    /// Progress was made. Costs a few atomic stores.
    pub fn progress(&self, step: u64, micro: u64, phase: Phase) {
        self.told.step.store(step, Relaxed);
        self.told.micro.store(micro, Relaxed);
        self.told.phase.store(phase as u8, Relaxed);
        self.told.progress.store(self.told.mono(), Relaxed);
    }

    /// As last told.
    pub fn now(&self) -> Beat {
        self.told.beat()
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(file: &File, beat: &Beat) {
    if let Some(record) = record(beat) {
        let _ = file.write_all_at(&record, 0);
    }
}

/// `None` if the numbers have more digits than there is room for, which takes some thousand years.
fn record(beat: &Beat) -> Option<[u8; SIZE]> {
    let json = serde_json::to_vec(beat).ok()?;
    let mut record = [b' '; SIZE];
    record[..SIZE - 1].get_mut(..json.len())?.copy_from_slice(&json);
    record[SIZE - 1] = b'\n';
    Some(record)
}

/// The last beat.
///
/// # Errors
/// Names the file: missing, or not one whole record (asking again a moment later may help: it is written in place).
pub fn read(dir: &RunDir) -> io::Result<Beat> {
    let path = dir.join(RunDir::HEARTBEAT);
    let read = || {
        let mut bytes = Vec::with_capacity(SIZE);
        File::open(&path)?.take(SIZE as u64).read_to_end(&mut bytes)?;
        let torn = || io::Error::new(io::ErrorKind::InvalidData, "not one whole record");
        if bytes.len() != SIZE || bytes.last() != Some(&b'\n') {
            return Err(torn());
        }
        serde_json::from_slice(&bytes).map_err(|_| torn())
    };
    read().map_err(|e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::create(folder.path().join("run")).unwrap();
        (folder, dir)
    }

    #[test]
    fn the_file_always_has_one_record_of_128_bytes_and_the_newest_figures() {
        let (_folder, dir) = run();
        let (tick, ticked) = mpsc::channel();
        let call = move || {
            let _ = tick.send(());
        };
        let heart = Heartbeat::start(&dir, Box::new(call)).unwrap();
        assert_eq!(read(&dir).unwrap().phase, Phase::LoadingModel, "the first beat does not wait for a second");
        heart.progress(41, 3, Phase::Evaluating);
        ticked.recv_timeout(Duration::from_secs(20)).expect("a beat each second");
        let beat = read(&dir).unwrap();
        assert_eq!((beat.step, beat.micro, beat.phase), (41, 3, Phase::Evaluating));
        assert!(beat.progress <= beat.mono && beat.t > 0);
        assert_eq!(std::fs::metadata(dir.join(RunDir::HEARTBEAT)).unwrap().len(), SIZE as u64);
    }

    #[test]
    fn a_panic_in_the_callback_does_not_stop_the_beat() {
        let (_folder, dir) = run();
        let (tick, ticked) = mpsc::channel();
        let call = move || {
            let _ = tick.send(());
            panic!("on purpose, in a test");
        };
        let heart = Heartbeat::start(&dir, Box::new(call)).unwrap();
        ticked.recv_timeout(Duration::from_secs(20)).unwrap();
        heart.progress(7, 0, Phase::Training);
        assert!(ticked.recv_timeout(Duration::from_secs(20)).is_err(), "it is dropped, not called again");
        let deadline = Instant::now() + Duration::from_secs(20);
        while read(&dir).map(|b| b.step).ok() != Some(7) {
            assert!(Instant::now() < deadline, "no beat after the panic");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_ends_as_soon_as_it_is_dropped() {
        let (_folder, dir) = run();
        let heart = Heartbeat::start(&dir, Box::new(|| ())).unwrap();
        let began = Instant::now();
        drop(heart);
        assert!(began.elapsed() < PERIOD / 2, "{:?}", began.elapsed());
    }

    #[test]
    fn torn_empty_and_missing_records_are_errors_that_name_the_file() {
        let (_folder, dir) = run();
        let path = dir.join(RunDir::HEARTBEAT);
        assert_eq!(read(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        let whole = record(&Beat { step: 5, ..Beat::default() }).unwrap();
        for length in 0..SIZE {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = read(&dir).unwrap_err();
            assert!(error.to_string().contains("heartbeat"), "{error}");
        }
        for damaged in [[b' '; SIZE], [0; SIZE], [b'\n'; SIZE]] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(read(&dir).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read(&dir).unwrap().step, 5);
    }

    #[test]
    fn every_phase_survives_and_numbers_of_years_fit() {
        let year = 366 * 86_400_000;
        for phase in PHASES {
            assert_eq!(PHASES[phase as usize], phase);
            let beat = Beat {
                t: 9_999_999_999_999,
                mono: 3 * year,
                progress: 3 * year,
                step: 999_999_999,
                micro: 99_999,
                phase,
            };
            assert_eq!(serde_json::from_slice::<Beat>(&record(&beat).unwrap()).unwrap(), beat);
        }
        let endless = Beat { t: u64::MAX, mono: u64::MAX, progress: u64::MAX, step: u64::MAX, ..Beat::default() };
        assert!(record(&endless).is_none());
    }
}
