use super::super::record::{Phase, Step};
use super::super::state::Status;
use super::*;
use std::fs::OpenOptions;
use std::sync::mpsc;

fn open(dir: &RunDir) -> RunLog {
    RunLog::open(dir, Header::new("test")).unwrap()
}

fn step(n: u64) -> Metric {
    Metric::Step(Step::new(n, 1.5, 0.5))
}

const STATE: Event = Event::State { from: Status::Created, to: Status::Running, reason: None, step: 0 };

#[test]
fn one_counter_runs_over_both_logs_and_all_attempts() {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path()).unwrap();
    for attempt in 1..=3 {
        let mut log = open(&dir);
        assert_eq!(log.attempt(), attempt);
        log.event(&Event::Phase { phase: Phase::Training, done: None, total: None }).unwrap();
        log.metric(&step(u64::from(attempt))).unwrap();
    }
    let events = read::<Event>(&dir.join(RunDir::EVENTS)).unwrap();
    let metrics = read::<Metric>(&dir.join(RunDir::METRICS)).unwrap();
    assert_eq!((events.damaged, metrics.damaged), (0, 0));
    let mut seq: Vec<u64> = events.lines.iter().map(|l| l.seq).chain(metrics.lines.iter().map(|l| l.seq)).collect();
    seq.sort_unstable();
    assert_eq!(seq, (1..=12).collect::<Vec<_>>());
    assert!(matches!(&events.lines[2].record, Event::Header(header) if header.attempt == 2));
}

#[test]
fn a_torn_line_is_cut_off_and_a_damaged_one_skipped_and_counted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path()).unwrap();
    let path = dir.join(RunDir::METRICS);
    open(&dir).metric(&step(1)).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\0\0\0 not json\n{\"v\":1,\"seq\":99,\"ty").unwrap();
    let seen = read::<Metric>(&path).unwrap();
    assert_eq!((seen.lines.len(), seen.damaged), (2, 1));
    open(&dir).metric(&step(2)).unwrap();
    let seen = read::<Metric>(&path).unwrap();
    assert_eq!((seen.lines.len(), seen.damaged), (4, 1));
    assert!(seen.lines.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[test]
fn records_of_a_newer_version_are_kept_as_unknown() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("events.jsonl");
    std::fs::write(
        &path,
        "{\"v\":1,\"seq\":1,\"t\":0,\"mono\":0,\"att\":1,\"rank\":0,\"type\":\"from_the_future\",\"x\":[1]}\n",
    )
    .unwrap();
    let seen = read::<Event>(&path).unwrap();
    assert_eq!(seen.damaged, 0);
    assert!(matches!(seen.lines[0].record, Event::Unknown));
}

/// A log whose disk takes nothing until the gate is opened (its sender dropped), and the lines that reach the disk.
fn stalled() -> (RunLog, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let (gate, closed) = mpsc::channel::<()>();
    let (disk, written) = mpsc::channel();
    let log = RunLog::begin(Place::default(), Header::new("test"), move |job| {
        let _ = closed.recv(); // an error, and at once, when the gate is open
        let _ = disk.send(job.line.clone());
        Ok(())
    });
    (log.unwrap(), gate, written)
}

fn dropped(lines: &[Line<Event>], class: &str) -> u64 {
    let counts = lines.iter().filter_map(|line| match &line.record {
        Event::Dropped { class: c, count } if c == class => Some(*count),
        _ => None,
    });
    counts.sum()
}

#[test]
fn a_flood_of_metrics_over_a_stalled_disk_never_blocks_and_the_counter_equals_what_is_missing() {
    let (mut log, gate, written) = stalled();
    // 40 MB: four seconds' worth at 10 MB/s
    let (calls, mut bytes, mut slowest, begun) = (100_000, 0, Duration::ZERO, Instant::now());
    for n in 1..=calls {
        let record = step(n);
        bytes += serde_json::to_string(&record).unwrap().len();
        let call = Instant::now();
        log.metric(&record).unwrap();
        slowest = slowest.max(call.elapsed());
    }
    assert!(bytes >= 20 << 20, "{bytes}");
    assert!(begun.elapsed() < Duration::from_secs(4) && slowest < Duration::from_millis(500), "{slowest:?}");
    log.event(&STATE).unwrap(); // has a reserve
    drop(gate);
    log.sync(Duration::from_secs(30)).unwrap();
    drop(log);
    let lines: Vec<String> = written.iter().collect();
    let steps = lines.iter().filter(|line| line.contains(r#""type":"step""#)).count() as u64;
    let parsed: Vec<Line<Event>> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(dropped(&parsed, "metric"), calls - steps);
    assert_eq!(dropped(&parsed, "event"), 0);
    assert!(parsed.iter().any(|line| line.record == STATE));
    let all = parsed.last().unwrap().seq;
    assert_eq!(all - lines.len() as u64, calls - steps, "each line that is missing leaves a gap in seq");
}

#[test]
fn events_beyond_their_reserve_wait_a_moment_and_are_counted() {
    let (mut log, gate, written) = stalled();
    for n in 0..9_220 {
        log.event(&Event::Warning { code: "slow".into(), text: n.to_string(), hint: None }).unwrap();
    }
    let call = Instant::now();
    log.event(&STATE).unwrap();
    assert!(call.elapsed() < Duration::from_secs(2), "50 ms, and what a busy machine adds");
    drop(gate);
    log.sync(Duration::from_secs(30)).unwrap();
    drop(log);
    let lines: Vec<String> = written.iter().collect();
    let parsed: Vec<Line<Event>> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warnings = parsed.iter().filter(|line| matches!(line.record, Event::Warning { .. })).count() as u64;
    assert_eq!(dropped(&parsed, "event"), 9_220 + 1 - warnings, "the state found no room either");
}

#[test]
fn a_full_disk_is_told_once_an_error_and_what_it_cost_follows_when_there_is_room() {
    let (disk, written) = mpsc::channel();
    let (space, freed) = mpsc::channel::<()>();
    let full = move || !matches!(freed.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    let mut log = RunLog::begin(Place::default(), Header::new("test"), move |job| {
        if job.line.contains(r#""type":"step""#) && full() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let _ = disk.send(job.line.clone());
        Ok(())
    })
    .unwrap();
    log.metric(&step(1)).unwrap();
    let error = log.sync(Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(space);
    log.metric(&step(2)).unwrap();
    log.sync(Duration::from_secs(10)).unwrap();
    drop(log);
    let lines: Vec<String> = written.iter().collect();
    let parsed: Vec<Line<Event>> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(dropped(&parsed, "metric"), 1);
    assert_eq!(lines.iter().filter(|line| line.contains(r#""type":"step""#)).count(), 1);
}

#[test]
fn waiting_for_a_stalled_disk_ends_and_says_how_many_records_are_missing() {
    let (mut log, gate, _written) = stalled();
    log.metric(&step(1)).unwrap();
    let error = log.sync(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().starts_with("3 records"), "two headers and a step: {error}");
    drop(gate);
    log.sync(Duration::from_secs(30)).unwrap();
}

#[test]
fn the_supervisors_event_goes_on_where_the_worker_was_cut_off() {
    let temp = tempfile::tempdir().unwrap();
    let dir = RunDir::create(temp.path()).unwrap();
    let mut log = open(&dir);
    log.metric(&step(1)).unwrap();
    drop(log);
    let path = dir.join(RunDir::EVENTS);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"v\":1,\"se").unwrap();
    let exited =
        Event::Exited { code: None, signal: Some(9), oom_kill: false, max_rss_bytes: 0, runtime_ms: 1, restart: false };
    append_event(&dir, &exited).unwrap();
    let events = read::<Event>(&path).unwrap();
    let last = events.lines.last().unwrap();
    assert_eq!((events.damaged, last.seq, last.att, &last.record), (0, 4, 1, &exited));
    assert_eq!(open(&dir).attempt(), 2);
}
