//! The thread that writes the logs, and the bounded queue before it. Whoever puts a line in never waits for a disk:
//! when the queue is full, the line is left out and counted.
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much a line matters, and into which file it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Metric,
    Event,
}

impl Class {
    pub const ALL: [Self; 2] = [Self::Metric, Self::Event];

    /// As [`super::Event::Dropped`] calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Event => "event",
        }
    }

    /// Lines and bytes that may wait before one of this class is turned away. Events have a reserve beyond what metrics
    /// can fill, so that a flood of metrics never costs one.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Metric => (8_192, 16 << 20),
            Self::Event => (9_216, 24 << 20),
        }
    }
}

/// A line on its way to the disk.
#[derive(Debug)]
pub(super) struct Job {
    pub class: Class,
    pub line: String,
    /// Must reach the disk itself, not only its cache.
    pub durable: bool,
    /// What is missing from the files if this line is not written: itself, or what it tells of.
    pub stands_for: Losses,
}

/// Lines that were not written, for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses([u64; 2]);

impl Losses {
    pub fn of(class: Class, count: u64) -> Self {
        let mut losses = Self::default();
        losses.0[class as usize] = count;
        losses
    }

    pub fn count(self, class: Class) -> u64 {
        self.0[class as usize]
    }

    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// The thread has a job in its hands.
    busy: Option<Losses>,
    closed: bool,
    losses: Losses,
    trouble: Option<io::Error>,
}

impl Queue {
    fn has_room(&self, class: Class, bytes: usize) -> bool {
        let (max_jobs, max_bytes) = class.limits();
        self.jobs.len() < max_jobs && self.bytes + bytes <= max_bytes
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.busy.is_none()
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A job came in, or the queue was closed.
    added: Condvar,
    /// A job was done.
    done: Condvar,
}

impl Shared {
    /// The queue, whatever became of a thread that held it.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `ready`, but not beyond `limit`.
    fn wait(&self, limit: Duration, mut ready: impl FnMut(&Queue) -> bool) -> MutexGuard<'_, Queue> {
        let until = Instant::now() + limit;
        let mut queue = self.queue();
        while !ready(&queue) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue
    }
}

/// The near end of the queue. Dropping it lets the thread write what is there and end; it does not wait.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Longest wait for room for an event.
    const PATIENCE: Duration = Duration::from_millis(50);

    /// Starts the thread, which calls `write` for one job after the other.
    pub fn start(mut write: impl FnMut(&Job) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            while let Some(job) = next(&theirs) {
                let outcome = write(&job);
                let mut queue = theirs.queue();
                queue.busy = None;
                if let Err(e) = outcome {
                    queue.losses.add(job.stands_for);
                    queue.trouble.get_or_insert(e);
                }
                drop(queue);
                theirs.done.notify_all();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Puts a line in, or counts it as lost. Waits at most 50 ms, and only for an event when even the reserve is full.
    pub fn put(&self, job: Job) {
        let (class, bytes) = (job.class, job.line.len());
        let patience = if class == Class::Event { Self::PATIENCE } else { Duration::ZERO };
        let mut queue = self.shared.wait(patience, |queue| queue.has_room(class, bytes));
        if queue.has_room(class, bytes) {
            queue.bytes += bytes;
            queue.jobs.push_back(job);
            self.shared.added.notify_one();
        } else {
            queue.losses.add(job.stands_for);
        }
    }

    /// What was lost since the last call, if there is room for lines that tell of it.
    pub fn take_losses(&self) -> Losses {
        let mut queue = self.shared.queue();
        let room = queue.losses.total() > 0 && queue.has_room(Class::Metric, 0);
        if room { std::mem::take(&mut queue.losses) } else { Losses::default() }
    }

    /// The first error since the last call.
    pub fn take_trouble(&self) -> Option<io::Error> {
        self.shared.queue().trouble.take()
    }

    /// Waits until all is written, at most `limit`. How many lines are not, those lost before included.
    pub fn drain(&self, limit: Duration) -> u64 {
        let queue = self.shared.wait(limit, Queue::is_idle);
        let waiting = queue.jobs.iter().map(|job| job.stands_for).chain(queue.busy);
        queue.losses.total() + waiting.map(Losses::total).sum::<u64>()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        let idle = queue.is_idle();
        drop(queue);
        self.shared.added.notify_one();
        // a thread that hangs on a dead disk is left to itself
        if let Some(thread) = self.thread.take().filter(|_| idle) {
            let _ = thread.join();
        }
    }
}

/// Waits for the next job; `None` when the queue is closed and empty.
fn next(shared: &Shared) -> Option<Job> {
    let mut queue = shared.queue();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.bytes -= job.line.len();
            queue.busy = Some(job.stands_for);
            return Some(job);
        }
        if queue.closed {
            return None;
        }
        queue = shared.added.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}
