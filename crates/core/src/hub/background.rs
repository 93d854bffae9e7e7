//! A request in a thread of its own, so that a stop is heard while it waits for the network.

use super::HubError;
use super::progress::{Meter, TICK};
use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

/// News that wait to be told.
const QUEUE: usize = 16;

enum News<T> {
    Sent(usize),
    End(Result<T, HubError>),
}

/// Does `work`, which says how many bytes of the present file it has sent beyond the first `done`. It is told `false` when
/// nobody waits any more; then it ends with its next piece or the network's timeout.
pub(super) fn apart<T: Send + 'static>(
    meter: &mut Meter,
    mut done: u64,
    work: impl FnOnce(&dyn Fn(usize) -> bool) -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    let (send, news) = sync_channel(QUEUE);
    let run = move || {
        let end = work(&|bytes| send.send(News::Sent(bytes)).is_ok());
        let _ = send.send(News::End(end)); // nobody waits any more if it was stopped
    };
    std::thread::Builder::new().name("hub request".into()).spawn(run)?;
    loop {
        match news.recv_timeout(TICK) {
            Ok(News::Sent(bytes)) => {
                done += bytes as u64;
                meter.moved(bytes);
                meter.at(done)?;
            }
            Ok(News::End(end)) => return end,
            Err(RecvTimeoutError::Timeout) => meter.tell()?,
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("a request's thread died").into()),
        }
    }
}
