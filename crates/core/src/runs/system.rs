//! `system.jsonl`: GPUs (through NVML, where there is one) and this process's memory and CPU, the disk's free space; one
//! line a second, in a ring of files. [`Monitor`] is for screens while no run writes one.
mod gpus;
mod monitor;

pub use gpus::{FAKE, installed};
pub use monitor::{Machine, Monitor, nearest};

use super::log::JsonLines;
use super::record::{Header, Line, System, SystemRecord, VERSION};
use super::{RunDir, now_ms, rings};
use gpus::Gpus;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Samples and writes, on a thread of its own: a driver or a disk that hangs must hang nothing else. Whatever cannot be
/// measured is left out; a disk that cannot be written costs lines, never time.
#[derive(Debug)]
pub struct SystemLog {
    /// `None` if there could be no thread.
    asked: Option<SyncSender<()>>,
}

impl SystemLog {
    pub fn open(dir: &RunDir, attempt: u32) -> Self {
        let (asked, asks) = sync_channel(1);
        let dir = dir.clone();
        let thread = std::thread::Builder::new().name("system".into()).spawn(move || {
            let mut sampler = Sampler::new(dir, attempt);
            while asks.recv().is_ok() {
                let record = SystemRecord::System(sampler.look());
                // as promised: this second's line is lost, and the next one tries again
                if sampler.write(record).is_err() {
                    sampler.file = None;
                }
            }
        });
        Self { asked: thread.is_ok().then_some(asked) }
    }

    /// One line, soon. None if the last one is not done yet.
    pub fn sample(&mut self) {
        if let Some(asked) = &self.asked {
            let _ = asked.try_send(());
        }
    }
}

struct Sampler {
    dir: RunDir,
    path: PathBuf,
    file: Option<JsonLines>,
    gpus: Gpus,
    attempt: u32,
    seq: u64,
    started: Instant,
    /// When the CPU time was last asked for, and what it was.
    cpu: (Instant, Option<Duration>),
}

impl Sampler {
    fn new(dir: RunDir, attempt: u32) -> Self {
        let now = Instant::now();
        let path = dir.join(RunDir::SYSTEM);
        Self { dir, path, file: None, gpus: Gpus::find(), attempt, seq: 0, started: now, cpu: (now, cpu_time()) }
    }

    fn look(&mut self) -> System {
        System {
            gpus: self.gpus.look(),
            rss_bytes: rss_bytes(),
            cpu_percent: self.cpu_percent(),
            disk_free_bytes: crate::fs::space(self.dir.path()).ok().map(|space| space.free_bytes),
            load_1min: first_number(&std::fs::read_to_string("/proc/loadavg").unwrap_or_default()),
        }
    }

    fn cpu_percent(&mut self) -> Option<f64> {
        let now = (Instant::now(), cpu_time());
        let (then, before) = std::mem::replace(&mut self.cpu, now);
        let (wall, used) = ((now.0 - then).as_secs_f64(), now.1?.checked_sub(before?)?);
        (wall > 0.0).then(|| super::round(100.0 * used.as_secs_f64() / wall, 1))
    }

    fn write(&mut self, record: SystemRecord) -> io::Result<()> {
        if rings::rotate(&self.path, rings::MAX_BYTES)? || self.file.is_none() {
            self.file = Some(JsonLines::open(&self.path)?);
            let header = Header::new(concat!("lightbox ", env!("CARGO_PKG_VERSION")));
            self.append(SystemRecord::Header(Header { attempt: self.attempt, ..header }))?;
        }
        self.append(record)
    }

    fn append(&mut self, record: SystemRecord) -> io::Result<()> {
        self.seq += 1;
        let mono = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = Line { v: VERSION, seq: self.seq, t: now_ms(), mono, att: self.attempt, rank: 0, record };
        let json = serde_json::to_string(&line)?;
        self.file.as_mut().map_or(Ok(()), |file| file.append(&json))
    }
}

fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = first_number(status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?)?;
    Some(kib as u64 * 1024)
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// What all threads of this process have used.
fn cpu_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only fills `time`
    if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::tail::Tail;
    use super::*;

    #[test]
    fn a_line_has_what_can_be_measured_and_follows_a_header() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path().join("run")).unwrap();
        let mut log = SystemLog::open(&dir, 3);
        let (mut tail, begun) = (Tail::<SystemRecord>::new(dir.join(RunDir::SYSTEM)), Instant::now());
        let mut lines = Vec::new();
        while lines.len() < 2 && begun.elapsed() < Duration::from_secs(30) {
            log.sample();
            lines.extend(tail.poll(10).unwrap());
        }
        assert!(matches!(&lines[0].record, SystemRecord::Header(header) if header.attempt == 3));
        let SystemRecord::System(system) = &lines[1].record else { panic!("{:?}", lines[1]) };
        eprintln!("{system:#?}");
        assert!(system.rss_bytes.is_some_and(|bytes| bytes > 1 << 20), "{system:?}");
        assert!(system.cpu_percent.is_some_and(|percent| percent >= 0.0), "{system:?}");
        assert!(system.gpus.iter().all(|gpu| !gpu.name.is_empty()), "{system:?}");
        assert_eq!((lines[1].seq, lines[1].att), (2, 3));
    }

    #[test]
    fn a_disk_that_cannot_be_written_costs_lines_until_it_can() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path().join("run")).unwrap();
        let mut sampler = Sampler::new(dir.clone(), 1);
        std::fs::remove_dir(dir.path()).unwrap();
        let system = SystemRecord::System(System::default());
        assert!(sampler.write(system.clone()).is_err());
        RunDir::create(dir.path()).unwrap();
        sampler.write(system).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join(RunDir::SYSTEM)).unwrap().lines().count(), 2);
    }
}
