//! Followers of one run: its curves, and everything else about it.
use super::metrics::Metrics;
use super::{EVERY, Watch};
use crate::app::Action;
use crate::app::runs::Msg;
use crate::app::runs::run::{News, Sample};
use crate::cli::runs::{facts, resume};
use crate::cli::watch::log::LogLines;
use lightbox_core::evaluate::predictions;
use lightbox_core::runs::record::{Event, SystemRecord};
use lightbox_core::runs::tail::Tail;
use lightbox_core::runs::{RunDir, checkpoints};
use std::path::{Component, Path};
use std::time::SystemTime;

/// Of a long log only the end is read: what a person scrolls back through.
const EVENT_BYTES: u64 = 4 << 20;
const SYSTEM_BYTES: u64 = 512 << 10;
const LOG_LINES: usize = 1_000;
/// Of the evaluations' answers the newest ones, and of each evaluation the first: a screen shows one at a time.
const EVALUATIONS: usize = 8;
const ANSWERS: usize = 32;
/// Records of one portion.
const PORTION: usize = 2_000;

/// Sends the run's curves.
pub fn curve(watch: &Watch) {
    let mut metrics = Metrics::new(watch.path.join(RunDir::METRICS));
    let mut whole = false;
    watch.each(EVERY, || {
        // what cannot be read now is tried again; why is told by the other follower
        let Ok(portion) = metrics.poll() else { return false };
        let first_whole = !portion.more && !whole;
        whole |= !portion.more;
        if !portion.entries.is_empty() || portion.reset || first_whole {
            watch.back.send(Action::Runs(Msg::Curve {
                path: watch.path.clone(),
                token: watch.token,
                entries: portion.entries,
                reset: portion.reset,
                whole,
                damaged: metrics.damaged,
            }));
        }
        portion.more
    });
}

/// Sends events, log, the machine's state and checkpoints.
pub fn run(watch: &Watch) {
    let Ok(dir) = RunDir::open(&watch.path) else {
        let error = Some(format!("{} cannot be opened", watch.path.display()));
        watch.back.send(Action::Runs(Msg::News(watch.token, Box::new(News { error, ..News::default() }))));
        return;
    };
    let mut events = tail::<Event>(&dir, RunDir::EVENTS, EVENT_BYTES);
    let mut system = tail::<SystemRecord>(&dir, RunDir::SYSTEM, SYSTEM_BYTES);
    let mut log = LogLines::last_ones(&dir, LOG_LINES);
    let mut first = true;
    let mut pins = None;
    watch.each(EVERY, || {
        let mut news = News::default();
        let mut error = |e: std::io::Error| news.error = Some(e.to_string());
        let new_events = events.poll(PORTION).map_err(&mut error).unwrap_or_default();
        let records = system.poll(PORTION).map_err(&mut error).unwrap_or_default();
        let more = new_events.len() == PORTION || records.len() == PORTION;
        news.events = new_events.into_iter().map(|line| (line.t, with_pictures(line.record, &dir))).collect();
        news.answers = answers(&news.events, &dir);
        news.system = records.into_iter().filter_map(|line| system_of(line.record)).collect();
        news.log = log.poll();
        let pinned = changed(&dir.join(checkpoints::PINS));
        if first || pinned != pins || news.events.iter().any(|(_, event)| concerns_checkpoints(event)) {
            news.checkpoints = Some(facts::checkpoints(&dir, false));
            pins = pinned;
        }
        if first || !news.is_empty() {
            watch.back.send(Action::Runs(Msg::News(watch.token, Box::new(news))));
        }
        first = false;
        more
    });
}

fn tail<T: serde::de::DeserializeOwned>(dir: &RunDir, name: &str, bytes: u64) -> Tail<T> {
    Tail::last(dir.join(name), bytes).unwrap_or_else(|_| Tail::new(dir.join(name)))
}

fn system_of(record: SystemRecord) -> Option<lightbox_core::runs::record::System> {
    match record {
        SystemRecord::System(system) => Some(system),
        _ => None,
    }
}

/// Pictures of an answer as whole paths, where they are files: what was asked for may begin where the worker was started.
/// Others (inside a parquet file, gone) stay as the worker described them.
fn with_pictures(mut event: Event, dir: &RunDir) -> Event {
    if let Event::Sample { images, .. } = &mut event {
        for image in images {
            *image = whole_path(std::mem::take(image), dir);
        }
    }
    event
}

fn whole_path(image: String, dir: &RunDir) -> String {
    let path = resume::cwd_of(dir).unwrap_or_default().join(&image);
    if path.is_absolute() && path.is_file() { path.display().to_string() } else { image }
}

/// The first answers of the newest evaluations that these events tell of. A file that is gone has none.
fn answers(events: &[(u64, Event)], dir: &RunDir) -> Vec<Sample> {
    // a run's folder may be of somebody else: nothing outside it is read
    let inside = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let answered = events.iter().filter_map(|(t, event)| match event {
        Event::Answered { step, path, .. } if inside(path) => Some((*t, *step, path)),
        _ => None,
    });
    let all: Vec<_> = answered.collect();
    let newest = &all[all.len().saturating_sub(EVALUATIONS)..];
    let rows = newest.iter().flat_map(|&(t, step, path)| {
        let rows = predictions::first(&dir.join(path), ANSWERS).unwrap_or_default();
        rows.into_iter().map(move |row| Sample {
            t,
            step,
            prompt: predictions::question(&row.prompt),
            label: Some(row.clean_label().to_owned()),
            images: row.images.into_iter().map(|image| whole_path(image, dir)).collect(),
            text: row.predict,
        })
    });
    rows.collect()
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn concerns_checkpoints(event: &Event) -> bool {
    matches!(
        event,
        Event::CheckpointSaved { .. }
            | Event::CheckpointAdopted { .. }
            | Event::CheckpointQuarantined { .. }
            | Event::CheckpointDeleted { .. }
            | Event::State { .. }
    )
}
