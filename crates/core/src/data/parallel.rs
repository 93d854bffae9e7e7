//! Work on all samples with all cores, results in order.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// Neighbouring samples go to one thread, because neighbours share parquet windows.
const CHUNK: usize = 32;
/// More threads than this only wait for each other's disk reads.
const MAX_THREADS: usize = 16;

/// Calls `work(i)` for `0..n` on several threads and `sink(i, result)` on this one, in the order of `i`, until it breaks.
pub fn in_order<T: Send>(
    n: usize,
    work: impl Fn(usize) -> T + Sync,
    mut sink: impl FnMut(usize, T) -> ControlFlow<()>,
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS);
    if threads == 1 || n <= CHUNK {
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
                    let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if start >= n {
                        return;
                    }
                    let results = (start..n.min(start + CHUNK)).map(work).collect();
                    if send.send((start, results)).is_err() {
                        return;
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
