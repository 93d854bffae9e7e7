use super::list::List;
use super::metrics::Metrics;
use super::*;
use crate::app::runs::run::News;
use crate::app::runs::series::{Entry, Series};
use lightbox_core::evaluate::predictions::{self, Prediction};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::info::RunInfo;
use lightbox_core::runs::record::{Answers, Eval, Event, Line, Metric, Step, StepTime, System, SystemRecord};
use lightbox_core::runs::state::{RunState, Status};
use serde::Serialize;
use std::io::Write;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn run() -> (tempfile::TempDir, RunDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path().join("run")).unwrap();
    (temp, dir)
}

fn write(dir: &RunDir, file: &str, att: u32, mono: u64, record: impl Serialize) {
    let line = Line { v: 1, seq: mono, t: 1_000 + mono, mono, att, rank: 0, record };
    append(dir, file, &(serde_json::to_string(&line).unwrap() + "\n"));
}

fn append(dir: &RunDir, file: &str, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(dir.join(file)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn step(n: u64, loss: f32) -> Metric {
    let dt_ms = StepTime { total: 500.0, ..StepTime::default() };
    Metric::Step(Step { dt_ms, tokens: 1_000, lr: 1e-5, ..Step::new(n, loss, 0.5) })
}

/// All that is there now.
fn all(metrics: &mut Metrics) -> (Vec<Entry>, bool) {
    let (mut entries, mut reset) = (Vec::new(), false);
    loop {
        let portion = metrics.poll().unwrap();
        entries.extend(portion.entries);
        reset |= portion.reset;
        if !portion.more {
            return (entries, reset);
        }
    }
}

fn steps(entries: &[Entry]) -> Vec<(u64, f64)> {
    let steps = entries.iter().map(|e| match e {
        Entry::Point(p) => (p.step, p.secs),
        Entry::Eval(e) => (e.step, e.secs),
    });
    steps.collect()
}

#[test]
fn metrics_come_line_by_line_with_the_time_of_all_attempts() {
    let (_temp, dir) = run();
    let mut metrics = Metrics::new(dir.join(RunDir::METRICS));
    assert!(all(&mut metrics).0.is_empty(), "no file yet");
    write(&dir, RunDir::METRICS, 1, 0, Metric::Header(Default::default()));
    write(&dir, RunDir::METRICS, 1, 1_000, step(1, 2.0));
    append(&dir, RunDir::METRICS, "not json\n");
    let answers = Some(Answers { n: 3, bleu_4: 31.25, ..Answers::default() });
    let eval = Metric::Eval(Eval { step: 1, loss: Some(1.5), n: 9, dt_ms: 70, answers });
    write(&dir, RunDir::METRICS, 1, 2_000, eval);
    write(&dir, RunDir::METRICS, 2, 500, step(2, f32::NAN));
    append(&dir, RunDir::METRICS, r#"{"v":1,"seq":9,"t":1,"mo"#);
    let (entries, _) = all(&mut metrics);
    assert_eq!(steps(&entries), [(1, 1.0), (1, 2.0), (2, 2.5)], "a break between attempts is no work");
    assert_eq!(metrics.damaged, 1);
    let Entry::Point(first) = &entries[0] else { panic!() };
    use crate::app::runs::series::Column;
    let got = [Column::Loss, Column::GradNorm, Column::Speed, Column::Ms].map(|c| first.get(c).unwrap());
    assert_eq!(got, [2.0, 0.5, 2_000.0, 500.0]);
    let Entry::Eval(eval) = &entries[1] else { panic!() };
    assert_eq!((eval.loss, eval.answers), (1.5, answers));
    let Entry::Point(last) = &entries[2] else { panic!() };
    assert_eq!(last.get(Column::Loss), None, "what is not finite is not drawn");
    append(&dir, RunDir::METRICS, "no\":1}\n");
    assert!(all(&mut metrics).0.is_empty());
    write(&dir, RunDir::METRICS, 2, 900, step(3, 1.0));
    assert_eq!(steps(&all(&mut metrics).0), [(3, 2.9)]);
}

#[test]
fn a_file_that_was_replaced_or_cut_is_read_anew() {
    let (_temp, dir) = run();
    let mut metrics = Metrics::new(dir.join(RunDir::METRICS));
    (1..=3).for_each(|n| write(&dir, RunDir::METRICS, 1, n * 1_000, step(n, 1.0)));
    assert_eq!(all(&mut metrics).0.len(), 3);
    std::fs::remove_file(dir.join(RunDir::METRICS)).unwrap();
    write(&dir, RunDir::METRICS, 1, 1_000, step(1, 1.0));
    let (entries, reset) = all(&mut metrics);
    assert_eq!((steps(&entries), reset), (vec![(1, 1.0)], true));
    std::fs::write(dir.join(RunDir::METRICS), "").unwrap();
    assert!(all(&mut metrics).1);
}

/// The receiver of what a follower sends.
fn watch(dir: &RunDir) -> (Watch, UnboundedReceiver<Action>) {
    let (send, received) = unbounded_channel();
    let visible = Arc::new(AtomicBool::new(true));
    (Watch { back: Back(send), path: dir.path().to_owned(), token: 7, stop: Arc::default(), visible }, received)
}

/// The next message for which `wanted` has an answer, within a deadline.
fn until<T>(received: &mut UnboundedReceiver<Action>, mut wanted: impl FnMut(Msg) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match received.try_recv() {
            Ok(Action::Runs(msg)) => {
                if let Some(found) = wanted(msg) {
                    return found;
                }
            }
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(Instant::now() < deadline, "nothing came");
    }
}

fn news(msg: Msg) -> Option<News> {
    if let Msg::News(7, news) = msg { Some(*news) } else { None }
}

/// What a follower that begins now tells first.
fn first_news(dir: &RunDir) -> News {
    let (watch, mut received) = watch(dir);
    let stop = watch.stop.clone();
    let thread = std::thread::spawn(move || follow::run(&watch));
    let first = until(&mut received, news);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    first
}

#[test]
fn a_follower_sends_what_is_there_then_only_what_is_new_and_ends_when_told() {
    let (_temp, dir) = run();
    let state = |step| Event::State { from: Status::Starting, to: Status::Running, reason: None, step };
    write(&dir, RunDir::EVENTS, 1, 1, state(0));
    write(&dir, RunDir::SYSTEM, 1, 1, SystemRecord::System(System { load_1min: Some(2.0), ..System::default() }));
    append(&dir, RunDir::WORKER_LOG, "hello\n");
    let (watch, mut received) = watch(&dir);
    let stop = watch.stop.clone();
    let thread = std::thread::spawn(move || follow::run(&watch));
    let first = until(&mut received, news);
    assert_eq!((first.events.len(), first.log.as_slice()), (1, ["hello".to_owned()].as_slice()));
    assert_eq!((first.system[0].load_1min, first.checkpoints.map(|c| c.len())), (Some(2.0), Some(0)));
    append(&dir, RunDir::WORKER_LOG, "again\n");
    std::fs::create_dir(dir.checkpoint(5)).unwrap();
    let saved = Event::CheckpointAdopted { step: 5, path: "checkpoint-5".into() };
    write(&dir, RunDir::EVENTS, 1, 2, saved);
    let (mut lines, mut checkpoints) = (Vec::new(), None);
    until(&mut received, |msg| {
        let news = news(msg)?;
        lines.extend(news.log);
        checkpoints = news.checkpoints.or(checkpoints.take());
        (checkpoints.is_some() && !lines.is_empty()).then_some(())
    });
    assert_eq!(lines, ["again"]);
    let checkpoints = checkpoints.unwrap();
    assert!(!checkpoints[0].valid && checkpoints[0].problem.is_some(), "an empty folder is no checkpoint");
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn pictures_of_an_answer_are_found_where_the_worker_was_started() {
    let (temp, dir) = run();
    std::fs::write(temp.path().join("scan.png"), "").unwrap();
    let env = serde_json::json!({"v": 1, "cwd": temp.path()});
    std::fs::write(dir.join(RunDir::ENV), env.to_string()).unwrap();
    let images = vec!["scan.png".to_owned(), "inside a.parquet row 1".to_owned()];
    let sample = Event::Sample { step: 1, prompt: "?".into(), images, text: "!".into(), tokens: 1, dt_ms: 1 };
    write(&dir, RunDir::EVENTS, 1, 1, sample);
    let first = first_news(&dir);
    let Some((_, Event::Sample { images, .. })) = first.events.first() else { panic!("{first:?}") };
    assert_eq!(images, &[temp.path().join("scan.png").display().to_string(), "inside a.parquet row 1".into()]);
}

#[test]
fn answers_of_an_evaluation_are_read_from_the_run_s_folder_and_from_nowhere_else() {
    let (temp, dir) = run();
    let row: Prediction =
        serde_json::from_str(r#"{"prompt":"<|im_start|>user\nWhat?<|im_end|>\n","predict":"a","label":"b\n"}"#)
            .unwrap();
    std::fs::create_dir_all(dir.join("samples/step-00000005")).unwrap();
    let path = format!("samples/step-00000005/{}", predictions::FILE);
    predictions::write(&dir.join(&path), std::slice::from_ref(&row)).unwrap();
    predictions::write(&temp.path().join("outside.jsonl"), &[row]).unwrap();
    let whole = temp.path().join("outside.jsonl").display().to_string();
    for (i, path) in [path, "samples/gone.jsonl".into(), "../outside.jsonl".into(), whole].into_iter().enumerate() {
        let answers = Answers { n: 1, ..Answers::default() };
        write(&dir, RunDir::EVENTS, 1, i as u64, Event::Answered { step: 5, path, answers, dt_ms: 1 });
    }
    let first = first_news(&dir);
    let [answer] = &first.answers[..] else { panic!("{:?}", first.answers) };
    assert_eq!((answer.step, answer.prompt.as_str(), answer.text.as_str()), (5, "What?", "a"));
    assert_eq!(answer.label.as_deref(), Some("b"));
}

#[test]
fn a_curve_goes_on_while_the_run_does() {
    let (_temp, dir) = run();
    (1..=100).for_each(|n| write(&dir, RunDir::METRICS, 1, n, step(n, 1.0)));
    let (watch, mut received) = watch(&dir);
    let stop = watch.stop.clone();
    let thread = std::thread::spawn(move || follow::curve(&watch));
    let mut series = Series::new(0.9);
    let mut upto = |received: &mut _, n: u64| {
        until(received, |msg| {
            let Msg::Curve { token: 7, entries, whole, .. } = msg else { return None };
            series.push(entries);
            (whole && series.last().is_some_and(|p| p.step == n)).then_some(())
        });
    };
    upto(&mut received, 100);
    write(&dir, RunDir::METRICS, 1, 101, step(101, 1.0));
    upto(&mut received, 101);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(series.len(), 101);
}

#[test]
fn the_list_sends_changed_rows_only() {
    let (temp, dir) = run();
    RunInfo::ensure(&dir, Some("first")).unwrap();
    RunState::change(&dir, |s| (s.state, s.step) = (Status::Stopped, 5)).unwrap();
    let mut list = List::of(vec![dir.clone()]);
    // runs of this machine's user may be in the list, too
    let mine = |msg: Option<Msg>| match msg {
        Some(Msg::List { changed, gone }) => {
            let rows: Vec<_> = changed.into_iter().filter(|row| row.path.starts_with(temp.path())).collect();
            let gone = gone.into_iter().filter(|path| path.starts_with(temp.path())).count();
            (rows, gone)
        }
        _ => (Vec::new(), 0),
    };
    let (rows, _) = mine(list.look());
    assert_eq!((rows[0].summary.name.as_str(), rows[0].summary.step, rows[0].is_live()), ("first", 5, false));
    assert_eq!(mine(list.look()), (Vec::new(), 0), "nothing changed");
    RunInfo::change(&dir, |info| info.name = "second".into()).unwrap();
    assert_eq!(mine(list.look()).0[0].summary.name, "second");
    std::fs::write(dir.join(RunDir::STATE), "{").unwrap();
    assert!(mine(list.look()).0[0].summary.error.is_some(), "a damaged run is listed with what is wrong");
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(mine(list.look()), (Vec::new(), 1));
}
