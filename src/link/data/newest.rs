//! A thread that always serves the newest wish: who scrolls through a million rows wants those of the last key, not
//! those of all keys before.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

#[derive(Debug)]
pub struct Newest<W> {
    send: Sender<(u64, W)>,
    newest: Arc<AtomicU64>,
}

/// Says whether a newer wish has come.
#[derive(Debug)]
pub struct Old {
    number: u64,
    newest: Arc<AtomicU64>,
}

impl Old {
    pub fn is_old(&self) -> bool {
        self.newest.load(Ordering::Relaxed) != self.number
    }
}

impl<W: Send + 'static> Newest<W> {
    /// The thread ends with the [`Newest`]. `serve` is asked for one wish after the other, and for none that is old.
    pub fn new(name: &str, mut serve: impl FnMut(W, &Old) + Send + 'static) -> Self {
        let (send, receive) = channel::<(u64, W)>();
        let newest = Arc::new(AtomicU64::new(0));
        let of_thread = newest.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok((number, wish)) = receive.recv() {
                let old = Old { number, newest: of_thread.clone() };
                if !old.is_old() {
                    // A fault in one sample must not end the thread: the next may be good.
                    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(wish, &old)));
                    drop(served);
                }
            }
        });
        // Without a thread nothing is served: the screen goes on and says "loading".
        drop(thread);
        Self { send, newest }
    }

    pub fn wish(&self, wish: W) {
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = self.send.send((number, wish));
    }
}
