//! Runs for tests: states are made by the same messages that followers send.
use super::run::{News, Row};
use super::series::{Column, Entry, Eval, Point};
use super::{Msg, update};
use crate::app::{App, Screen};
use lightbox_core::runs::record::{Event, Gpu, GpuProcess, Header, Phase, SaveReason, System};
use lightbox_core::runs::state::{Reason, Status};
use lightbox_core::runs::view::Summary;
use std::path::PathBuf;

pub const NOW: u64 = 1_780_000_000_000;

pub fn row(name: &str, state: Status, step: u64) -> Row {
    let total_steps = 1_250;
    let live = super::run::is_live(state);
    let summary = Summary {
        id: format!("2026-05-28-2026-{name}"),
        name: name.into(),
        dir: format!("/runs/{name}"),
        state,
        step,
        total_steps,
        epoch: step as f64 / 500.0,
        loss: (step > 0).then_some(1.8342),
        pid: live.then_some(4242),
        checkpoint: (step > 100).then(|| format!("checkpoint-{}", step / 100 * 100)),
        reason: None,
        started_ms: NOW - 3_600_000,
        updated_ms: NOW - 1_000,
        seconds_left: (state == Status::Running).then_some(4_800),
        stalled_ms: None,
        suspended: false,
        tags: Vec::new(),
        error: None,
    };
    Row {
        path: format!("/runs/{name}").into(),
        summary,
        created_ms: NOW - 3_600_000,
        archived: false,
        notes: String::new(),
        parent: None,
    }
}

pub fn reason(text: &str, hint: &str) -> Option<Reason> {
    Some(Reason { kind: "oom".into(), text: text.into(), hint: Some(hint.into()) })
}

/// The screen with these runs; the first live one, or the newest, is chosen.
pub fn app(rows: Vec<Row>) -> App {
    let mut app = App { screen: Screen::Runs, wall_ms: NOW, here: "/home/me".into(), focused: true, ..App::default() };
    app.runs.visible = true;
    update(&mut app, Msg::List { changed: rows, gone: Vec::new() });
    app
}

/// A loss that falls, with noise that is the same each time.
pub fn entries(steps: u64, speed: f64) -> Vec<Entry> {
    let mut entries = Vec::new();
    for step in 1..=steps {
        let x = step as f64;
        let mut point = Point::new(step, x * 3.0);
        let noise = ((step * 7_919) % 101) as f64 / 101.0 - 0.5;
        point.set(Column::Loss, Some(0.6 + 2.4 * (-x * speed / 300.0).exp() + 0.25 * noise));
        point.set(Column::Lr, Some(2e-5 * (1.0 - x / 1_250.0)));
        point.set(Column::GradNorm, Some(1.0 + noise));
        point.set(Column::Speed, Some(3_200.0 + 100.0 * noise));
        point.set(Column::MemBytes, Some(11e9));
        point.set(Column::Ms, Some(3_000.0));
        entries.push(Entry::Point(point));
        if step % 200 == 0 {
            let loss = 0.7 + 2.4 * (-x * speed / 300.0).exp();
            entries.push(Entry::Eval(Eval { step, secs: x * 3.0, loss, answers: None }));
        }
    }
    entries
}

/// The curve of a run, all of it.
pub fn curve(app: &mut App, name: &str, entries: Vec<Entry>) {
    let path = PathBuf::from(format!("/runs/{name}"));
    let token = app.runs.curves[&path].token;
    update(app, Msg::Curve { path, token, entries, reset: false, whole: true, damaged: 0 });
}

pub fn news(app: &mut App, news: News) {
    let token = app.runs.run.token;
    update(app, Msg::News(token, Box::new(news)));
}

pub fn checkpoint(step: u64, pinned: bool, best: bool) -> crate::cli::runs::facts::CheckpointFacts {
    crate::cli::runs::facts::CheckpointFacts {
        step,
        name: format!("checkpoint-{step}"),
        bytes: 485_000_000,
        valid: true,
        problem: None,
        pinned,
        best,
        label: pinned.then(|| "before the change".into()),
    }
}

/// What a run tells in its first hour.
pub fn usual_news(gpus: Vec<Gpu>) -> News {
    let at = |ago: u64, event| (NOW - ago * 1_000, event);
    let saved = |step| Event::CheckpointSaved {
        step,
        path: format!("checkpoint-{step}"),
        bytes: 485_000_000,
        write_ms: 1_400,
        reason: SaveReason::Auto,
    };
    let header = Header { attempt: 1, pid: 4242, app: "lightbox 0.1.0".into(), ..Header::default() };
    let sample = Event::Sample {
        step: 400,
        prompt: "What does this picture show?".into(),
        images: vec!["/data/scans/0042.png".into()],
        text: "An axial CT of the chest with a nodule in the left upper lobe.".into(),
        tokens: 17,
        dt_ms: 800,
    };
    let look = |i: u64| System {
        gpus: gpus
            .iter()
            .cloned()
            .map(|gpu| Gpu { util_percent: Some(60 + ((i * 37 + u64::from(gpu.index) * 11) % 40) as u32), ..gpu })
            .collect(),
        rss_bytes: Some(9_400_000_000),
        cpu_percent: Some(150.0 + (i % 7) as f64 * 10.0),
        disk_free_bytes: Some(412_000_000_000),
        load_1min: Some(3.2),
    };
    News {
        events: vec![
            at(3_600, Event::Header(header)),
            at(3_590, Event::State { from: Status::Starting, to: Status::Running, reason: None, step: 0 }),
            at(3_580, Event::Phase { phase: Phase::Training, done: None, total: None }),
            at(1_800, saved(200)),
            at(1_200, Event::Warning { code: "slow".into(), text: "12 samples were cut off".into(), hint: None }),
            at(600, saved(400)),
            at(590, sample),
        ],
        answers: Vec::new(),
        log: (1..=40).map(|n| format!("step {n} of the worker's own words")).collect(),
        system: (0..90).map(look).collect(),
        checkpoints: Some(vec![checkpoint(200, true, false), checkpoint(400, false, true)]),
        error: None,
    }
}

pub fn gpu(index: u32) -> Gpu {
    Gpu {
        index,
        name: "NVIDIA H100 80GB HBM3".into(),
        util_percent: Some(97),
        mem_used_bytes: Some(41_000_000_000 + u64::from(index) * 1_000_000_000),
        mem_total_bytes: Some(85_000_000_000),
        mem_worker_bytes: Some(40_000_000_000),
        temp_c: Some(62 + index * 8),
        power_w: Some(612.0),
        power_limit_w: Some(700.0),
        sm_clock_mhz: Some(1_755),
        mem_clock_mhz: Some(2_619),
        fan_percent: None,
        throttle: if index == 1 { vec!["SW_POWER_CAP".into()] } else { Vec::new() },
        processes: vec![GpuProcess {
            pid: 4242 + index,
            name: "lightbox-engine".into(),
            mem_bytes: Some(40_000_000_000),
            ..GpuProcess::default()
        }],
    }
}

/// One that trains, one that is done, one that waits.
pub fn usual() -> App {
    let mut done = row("scans-r16", Status::Finished, 1_250);
    (done.created_ms, done.summary.tags) = (NOW - 90_000_000, vec!["best".into()]);
    let mut waiting = row("receipts-lr2", Status::Queued, 0);
    waiting.created_ms = NOW - 60_000;
    let mut app = app(vec![row("receipts", Status::Running, 420), done, waiting]);
    curve(&mut app, "receipts", entries(420, 1.0));
    news(&mut app, usual_news(vec![gpu(0)]));
    app
}
