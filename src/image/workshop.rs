//! Encoding a picture takes tens of milliseconds (PNG) to hundreds (sixel), so it happens on a thread of its own.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

/// One encoding under way. Dropping it lets the thread finish for nothing.
#[derive(Debug)]
pub(super) struct Job(Option<Receiver<Vec<u8>>>);

pub(super) enum Progress {
    Working,
    Done(Vec<u8>),
    /// No thread, or it panicked: the picture stays half blocks.
    Failed,
}

impl Job {
    pub fn start(encode: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        let (tx, rx) = channel();
        let run = move || tx.send(encode()).unwrap_or(()); // nobody waits for it any more
        Self(thread::Builder::new().name("encode".into()).spawn(run).ok().map(|_| rx))
    }

    pub fn poll(&self) -> Progress {
        match self.0.as_ref().map(Receiver::try_recv) {
            Some(Ok(bytes)) => Progress::Done(bytes),
            Some(Err(TryRecvError::Empty)) => Progress::Working,
            Some(Err(TryRecvError::Disconnected)) | None => Progress::Failed,
        }
    }
}
