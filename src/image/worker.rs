//! Decoding beside the interface: two threads, the newest request first, results by a callback.
//!
//! Two, because one huge photograph must not hold up the thumbnail that was asked for after it, and more would take the
//! processor from the training that may run on this machine. The threads start with the first request.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Picture, PictureId, decode};

/// Reads the file or the cell of the data set; runs on a worker.
pub type Source = Box<dyn FnOnce() -> Result<Vec<u8>, String> + Send>;

pub struct Request {
    pub id: PictureId,
    /// Columns and rows it may take.
    pub area: (u16, u16),
    pub cell_px: (u16, u16),
    pub want_pixels: bool,
    pub source: Source,
}

#[derive(Debug)]
pub struct Decoded {
    pub id: PictureId,
    pub area: (u16, u16),
    pub result: Result<Picture, String>,
}

/// Dropping it ends the threads after what they are at.
pub struct Decoder {
    shared: Arc<Shared>,
    threads: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    deliver: Box<dyn Fn(Decoded) + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    running: Vec<(PictureId, (u16, u16))>,
    closed: bool,
}

const THREADS: usize = 2;
/// A screen shows fewer pictures than this. Of more, the oldest are for a selection that has moved on.
const WAITING: usize = 16;

impl Decoder {
    /// `deliver` is called on a worker: send the result to the loop and return.
    pub fn new(deliver: impl Fn(Decoded) + Send + Sync + 'static) -> Self {
        let shared = Shared { queue: Mutex::default(), wake: Condvar::new(), deliver: Box::new(deliver) };
        Self { shared: Arc::new(shared), threads: 0 }
    }

    /// Asks for a picture, before all others that wait. What is already being worked on is not begun twice.
    pub fn request(&mut self, request: Request) {
        let mut queue = self.shared.lock();
        let key = (request.id, request.area);
        if queue.running.contains(&key) {
            return;
        }
        queue.waiting.retain(|other| (other.id, other.area) != key);
        queue.waiting.push_front(request);
        queue.waiting.truncate(WAITING);
        drop(queue);
        self.shared.wake.notify_one();
        while self.threads < THREADS {
            let shared = Arc::clone(&self.shared);
            if thread::Builder::new().name("decode".into()).spawn(move || shared.work()).is_err() {
                break; // no more threads on this machine: those there are do it, or the next request tries again
            }
            self.threads += 1;
        }
    }

    /// Forgets what nobody has begun; what runs is delivered.
    pub fn cancel_all(&self) {
        self.shared.lock().waiting.clear();
    }

    /// Is this picture waiting or being decoded? If not, and the store has neither it nor a failure, ask again.
    pub fn is_pending(&self, id: PictureId, area: (u16, u16)) -> bool {
        let queue = self.shared.lock();
        queue.running.contains(&(id, area)) || queue.waiting.iter().any(|r| (r.id, r.area) == (id, area))
    }

    pub fn is_idle(&self) -> bool {
        let queue = self.shared.lock();
        queue.running.is_empty() && queue.waiting.is_empty()
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(request) = self.next() {
            let Request { id, area, cell_px, want_pixels, source } = request;
            let work = || source().and_then(|bytes| decode::decode(&bytes, area, cell_px, want_pixels));
            let result = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err("reading this picture failed in an unexpected way".into()))
                .map(|picture| Picture { id, ..picture });
            self.lock().running.retain(|key| *key != (id, area));
            (self.deliver)(Decoded { id, area, result });
        }
    }

    fn next(&self) -> Option<Request> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(request) = queue.waiting.pop_front() {
                queue.running.push((request.id, request.area));
                return Some(request);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The queue is whole between any two statements, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    fn decoder() -> (Decoder, Receiver<Decoded>) {
        let (tx, rx) = channel();
        (Decoder::new(move |decoded| tx.send(decoded).unwrap_or(())), rx)
    }

    fn request(id: u64, source: impl FnOnce() -> Result<Vec<u8>, String> + Send + 'static) -> Request {
        let source = Box::new(source);
        Request { id: PictureId(id), area: (4, 2), cell_px: (10, 20), want_pixels: true, source }
    }

    fn png() -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn pictures_and_failures_are_delivered_and_a_panic_is_a_failure() {
        let (mut decoder, results) = decoder();
        decoder.request(request(1, || Ok(png())));
        let good = results.recv_timeout(LONG).unwrap();
        assert_eq!(good.result.unwrap().id, PictureId(1));
        decoder.request(request(2, || Err("no such file".into())));
        assert_eq!(results.recv_timeout(LONG).unwrap().result.unwrap_err(), "no such file");
        decoder.request(request(3, || std::panic::resume_unwind(Box::new("boom"))));
        assert!(results.recv_timeout(LONG).unwrap().result.is_err());
        decoder.request(request(4, || Ok(png())));
        assert!(results.recv_timeout(LONG).unwrap().result.is_ok(), "the threads survive");
        assert!(decoder.is_idle());
    }

    #[test]
    fn the_newest_request_is_served_first_and_cancelled_ones_never() {
        let (mut decoder, results) = decoder();
        let (started_tx, started) = channel();
        let (go_tx, go) = channel::<()>();
        let go = Arc::new(Mutex::new(go));
        for id in [1, 2] {
            let (begun, go) = (started_tx.clone(), Arc::clone(&go));
            decoder.request(request(id, move || {
                begun.send(()).map_err(|e| e.to_string())?;
                go.lock().map_err(|e| e.to_string())?.recv().map_err(|e| e.to_string())?;
                Ok(png())
            }));
            started.recv_timeout(LONG).unwrap();
        }
        // Both threads are held; whatever comes now waits.
        decoder.request(request(10, || Ok(png())));
        decoder.cancel_all();
        assert!(!decoder.is_pending(PictureId(10), (4, 2)));
        for id in 11..=40 {
            decoder.request(request(id, || Ok(png())));
        }
        assert!(decoder.is_pending(PictureId(40), (4, 2)) && !decoder.is_pending(PictureId(11), (4, 2)));
        decoder.request(request(1, || Err("begun twice".into())));
        go_tx.send(()).unwrap();
        let first = results.recv_timeout(LONG).unwrap();
        assert!(first.id.0 <= 2 && first.result.is_ok());
        let order: Vec<u64> = (0..WAITING).map(|_| results.recv_timeout(LONG).unwrap().id.0).collect();
        assert_eq!(order, (25..=40).rev().collect::<Vec<_>>(), "one thread serves them, newest first");
        go_tx.send(()).unwrap();
        assert!(results.recv_timeout(LONG).unwrap().id.0 <= 2);
        assert!(results.try_recv().is_err());
    }
}
