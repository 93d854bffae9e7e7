//! Work on all samples with all cores, results in order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Neighbouring samples go to one thread, because neighbours share parquet windows.
const CHUNK: usize = 32;
/// Results are handed over at least this often, so that a break ends slow work (large pictures) soon.
const HAND_OVER: Duration = Duration::from_millis(50);
/// More threads than this only wait for each other's disk reads.
const MAX_THREADS: usize = 16;

/// Calls `work(i)` for `0..n` on several threads and `sink(i, result)` on this one, in the order of `i`, until it breaks.
pub fn in_order<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync, sink: impl FnMut(usize, T) -> ControlFlow<()>) {
    in_chunks(n, CHUNK, work, sink);
}

/// [`in_order`] with `chunk` neighbours for one thread: 1 where each `work` is long.
pub fn in_chunks<T: Send>(
    n: usize,
    chunk: usize,
    work: impl Fn(usize) -> T + Sync,
    mut sink: impl FnMut(usize, T) -> ControlFlow<()>,
) {
    let threads =
        std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS).min(n.div_ceil(chunk).max(1));
    if threads == 1 || n <= chunk {
        let _ = (0..n).try_for_each(|i| sink(i, work(i)));
        return;
    }
    let next = AtomicUsize::new(0);
    // Bounded, so that results do not pile up where the sink is slower than the work.
    let (send, receive) = sync_channel::<(usize, Vec<T>)>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let start = next.fetch_add(chunk, Ordering::Relaxed);
                    if start >= n {
                        return;
                    }
                    let (mut first, end, mut since) = (start, n.min(start + chunk), Instant::now());
                    let mut results = Vec::new();
                    for i in start..end {
                        results.push(work(i));
                        if i + 1 == end || since.elapsed() >= HAND_OVER {
                            if send.send((first, std::mem::take(&mut results))).is_err() {
                                return;
                            }
                            (first, since) = (i + 1, Instant::now());
                        }
                    }
                }
            });
        }
        drop(send);
        let (mut waiting, mut done) = (BTreeMap::new(), 0);
        for (start, results) in receive {
            waiting.insert(start, results);
            while let Some(results) = waiting.remove(&done) {
                for result in results {
                    // Leaving drops the receiver: the threads' next send fails, and they end.
                    if sink(done, result).is_break() {
                        return;
                    }
                    done += 1;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_every_one_once() {
        for n in [0, 1, 31, 33, 1000] {
            let mut seen = Vec::new();
            in_order(
                n,
                |i| i * i,
                |i, square| {
                    seen.push((i, square));
                    ControlFlow::Continue(())
                },
            );
            assert_eq!(seen, (0..n).map(|i| (i, i * i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn slow_work_is_handed_over_before_its_chunk_ends() {
        // More than one chunk, so that threads are used; a chunk of this work takes 320 ms.
        let started = std::sync::Mutex::new(0);
        let work = |_| {
            *started.lock().unwrap() += 1;
            std::thread::sleep(Duration::from_millis(10));
        };
        in_order(2 * MAX_THREADS * CHUNK, work, |_, ()| ControlFlow::Break(()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
        let started = *started.lock().unwrap();
        assert!(started < threads * CHUNK, "{started} of {}", threads * CHUNK);
    }

    #[test]
    fn a_break_ends_all_work() {
        let mut seen = 0;
        in_order(
            100_000,
            |i| i,
            |i, _| {
                seen += 1;
                if i == 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(seen, 41);
    }
}
