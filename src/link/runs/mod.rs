//! What the runs screen needs from outside: followers that read run folders, and answers to what a run is told.
//!
//! Each follower is a thread of its own that looks, sends what is new, and sleeps; one that is no longer wanted stops by
//! itself ([`Follower`]). All of them only read. While another screen is shown the list is looked at rarely and the others
//! not at all.

mod follow;
mod list;
pub mod metrics;
mod steer;
#[cfg(test)]
mod tests;

use super::Back;
use super::tasks::Runner;
use crate::app::Action;
use crate::app::runs::{Effect, Msg};
use lightbox_core::runs::system::Monitor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How often the chosen run and the curves are looked at.
const EVERY: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub struct Link {
    back: Back,
    tasks: Runner,
    list: Sender<list::Order>,
    visible: Arc<AtomicBool>,
    curves: Vec<Follower>,
    run: Option<Follower>,
    monitor: Option<Follower>,
    /// This program, for what it does best in a process of its own.
    pub program: PathBuf,
}

/// A thread that ends when this is dropped.
#[derive(Debug)]
struct Follower {
    path: PathBuf,
    token: u64,
    stop: Arc<AtomicBool>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What a follower's thread knows of the rest.
pub(super) struct Watch {
    pub back: Back,
    pub path: PathBuf,
    pub token: u64,
    stop: Arc<AtomicBool>,
    visible: Arc<AtomicBool>,
}

impl Watch {
    /// Nobody wants this any more.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Looks again and again, until it is over; sleeps in between unless `look` says that there is more.
    fn each(&self, every: Duration, mut look: impl FnMut() -> bool) {
        while !self.is_over() {
            let more = self.visible.load(Ordering::Relaxed) && look();
            if !more {
                std::thread::sleep(every);
            }
        }
    }
}

impl Link {
    pub fn new(back: Back, tasks: Runner) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| "lightbox".into());
        Self {
            list: list::start(back.clone()),
            back,
            tasks,
            visible: Arc::default(),
            curves: Vec::new(),
            run: None,
            monitor: None,
            program,
        }
    }

    pub fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Seen(visible) => {
                self.visible.store(visible, Ordering::Relaxed);
                self.look(list::Order::Seen(visible));
            }
            Effect::Look => self.look(list::Order::Look),
            Effect::Follow { curves, run } => self.follow(curves, run),
            Effect::Monitor(false) => self.monitor = None,
            Effect::Monitor(true) => {
                self.monitor = Some(self.start(PathBuf::new(), 0, |watch| {
                    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
                    let mut monitor = Monitor::new(here);
                    watch.each(Duration::from_secs(1), || {
                        watch.back.send(Action::Runs(Msg::Machine(Box::new(monitor.look()))));
                        false
                    });
                }));
            }
            other => steer::run(&self.back, &self.tasks, &self.program, &self.list, other),
        }
    }

    fn look(&self, order: list::Order) {
        // the thread is there as long as this sender
        let _ = self.list.send(order);
    }

    /// Stops what is not wanted any more, and starts what is new.
    fn follow(&mut self, curves: Vec<(PathBuf, u64)>, run: Option<(PathBuf, u64)>) {
        let is =
            |follower: &Follower, (path, token): &(PathBuf, u64)| follower.path == *path && follower.token == *token;
        self.curves.retain(|follower| curves.iter().any(|wanted| is(follower, wanted)));
        for wanted in curves {
            if !self.curves.iter().any(|follower| is(follower, &wanted)) {
                let follower = self.start(wanted.0, wanted.1, |watch| follow::curve(&watch));
                self.curves.push(follower);
            }
        }
        self.run = match (self.run.take(), run) {
            (Some(follower), Some(wanted)) if is(&follower, &wanted) => Some(follower),
            (_, Some((path, token))) => Some(self.start(path, token, |watch| follow::run(&watch))),
            (_, None) => None,
        };
    }

    fn start(&self, path: PathBuf, token: u64, work: impl FnOnce(Watch) + Send + 'static) -> Follower {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            back: self.back.clone(),
            path: path.clone(),
            token,
            stop: stop.clone(),
            visible: self.visible.clone(),
        };
        // without a thread the screen shows nothing of this run; the next choice tries again
        let _ = std::thread::Builder::new().name("runs".into()).spawn(move || work(watch));
        Follower { path, token, stop }
    }
}
