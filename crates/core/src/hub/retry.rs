//! When something that broke is tried again, for loading and for sending alike.

use super::HubError;
use super::client::Client;
use super::progress::Meter;
use std::time::Duration;

/// Tries in a row that bring less than [`ENOUGH`]: with the pauses of 1, 2, 4, 8 and 16 s about half a minute.
const TRIES: u32 = 6;
/// A try that brought so much was none in vain: a connection that breaks each minute still moves 20 GB.
const ENOUGH: u64 = 1 << 20;
/// No server's wish to be left alone is followed for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The tries of one thing.
pub(super) struct Retries {
    tries: u32,
    pause: Duration,
}

impl Retries {
    pub fn new(client: &Client) -> Self {
        Self { tries: 0, pause: client.pause }
    }

    /// Waits before the next try and tells why.
    ///
    /// # Errors
    /// `error` itself if another try cannot help, [`HubError::GaveUp`] after the last one, [`HubError::Cancelled`].
    pub fn again(&mut self, file: &str, error: HubError, brought: u64, meter: &mut Meter) -> Result<(), HubError> {
        if !error.is_passing() {
            return Err(error);
        }
        self.tries = if brought >= ENOUGH { 1 } else { self.tries + 1 };
        if self.tries == TRIES {
            return Err(HubError::GaveUp { file: file.to_owned(), tries: TRIES, last: Box::new(error) });
        }
        let doubled = self.pause * 2u32.pow(self.tries - 1);
        let pause = error.retry_after().unwrap_or(doubled).min(LONGEST_PAUSE);
        meter.note(format!("{error}; goes on in {:.0} s", pause.as_secs_f64().ceil()));
        meter.sleep(pause)
    }
}
