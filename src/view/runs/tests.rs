use crate::app::App;
use crate::app::runs::chart::Metric;
use crate::app::runs::fixture::{NOW, app, checkpoint, curve, entries, gpu, news, reason, row, usual, usual_news};
use crate::app::runs::run::{News, Sample};
use crate::app::runs::series::Entry;
use crate::app::runs::{Msg, Part, update};
use crate::term::caps::{Caps, Colours};
use crate::view::testing::{screen, snapshots};
use lightbox_core::runs::record::{Answers, Event, Phase};
use lightbox_core::runs::state::Status;

#[test]
fn no_runs_say_the_next_step() {
    snapshots("runs-empty", &mut app(Vec::new()));
}

#[test]
fn a_run_that_trains_on_one_gpu() {
    snapshots("runs-usual", &mut usual());
}

#[test]
fn where_there_is_little_room_enter_opens_the_run() {
    let mut app = usual();
    app.runs.focus = Part::Chart;
    app.runs.chart.cursor = Some(200.0);
    snapshots("runs-open", &mut app);
}

#[test]
fn several_gpus() {
    let mut app = app(vec![row("receipts", Status::Running, 420)]);
    curve(&mut app, "receipts", entries(420, 1.0));
    news(&mut app, usual_news((0..4).map(gpu).collect()));
    app.runs.focus = Part::Machine;
    app.runs.lower = Part::Machine;
    snapshots("runs-gpus", &mut app);
}

#[test]
fn no_gpu_and_paused() {
    let mut app = app(vec![row("demo", Status::Paused, 42)]);
    curve(&mut app, "demo", entries(42, 9.0));
    news(&mut app, usual_news(Vec::new()));
    app.runs.focus = Part::Machine;
    app.runs.lower = Part::Machine;
    snapshots("runs-paused-cpu", &mut app);
}

#[test]
fn crashed_with_a_reason_and_checkpoints() {
    let mut dead = row("receipts", Status::Crashed, 420);
    dead.summary.reason = reason(
        "the worker vanished at step 420: its process was killed (signal 9), most likely by the kernel, which had no memory left",
        "resume it; with a smaller per_device_train_batch_size it needs less memory",
    );
    let mut app = app(vec![dead]);
    curve(&mut app, "receipts", entries(420, 1.0));
    let mut all = usual_news(vec![gpu(0)]);
    let broken = crate::cli::runs::facts::CheckpointFacts {
        valid: false,
        problem: Some("adapter_model.safetensors has 12 bytes, its manifest says 36,981,072".into()),
        ..checkpoint(420, false, false)
    };
    all.checkpoints.as_mut().unwrap().push(broken);
    all.events.push((
        NOW - 60_000,
        Event::Exited { code: None, signal: Some(9), oom_kill: true, max_rss_bytes: 0, runtime_ms: 0, restart: false },
    ));
    news(&mut app, all);
    app.runs.focus = Part::Checkpoints;
    app.runs.lower = Part::Checkpoints;
    snapshots("runs-crashed", &mut app);
}

#[test]
fn stalled_suspended_and_damaged_runs_in_the_list() {
    let mut stalled = row("stuck", Status::Running, 7);
    stalled.summary.stalled_ms = Some(185_000);
    let mut suspended = row("asleep", Status::Running, 7);
    suspended.summary.suspended = true;
    let mut damaged = row("broken", Status::Created, 0);
    damaged.summary.error = Some("state.json: expected value at line 1 column 1".into());
    damaged.created_ms += 1;
    let mut app = app(vec![stalled, suspended, damaged]);
    update(&mut app, Msg::Move(Part::List, crate::app::cursor::Move::Home));
    news(&mut app, News::default());
    snapshots("runs-troubled", &mut app);
}

fn overlaid() -> App {
    let names = ["lr-1e-5", "lr-2e-5", "lr-5e-5", "lr-1e-4", "lr-2e-4"];
    let mut app = app(names.map(|name| row(name, Status::Finished, 1_000)).into());
    for at in 0..names.len() {
        update(&mut app, Msg::Move(Part::List, crate::app::cursor::Move::To(at)));
        crate::app::update(&mut app, crate::app::Action::Run("runs-mark"));
    }
    for (i, name) in names.into_iter().enumerate() {
        curve(&mut app, name, entries(1_000, 0.5 + i as f64));
    }
    news(&mut app, usual_news(Vec::new()));
    app
}

#[test]
fn five_runs_over_each_other() {
    let mut app = overlaid();
    app.runs.focus = Part::Chart;
    app.runs.chart.log = true;
    snapshots("runs-overlaid", &mut app);
}

#[test]
fn without_colour_curves_differ_by_what_they_are_drawn_with() {
    let mut app = overlaid();
    app.runs.focus = Part::Chart;
    app.caps = Caps { colours: Colours::None, ..Caps::default() };
    let text = screen(&mut app, 200, 60);
    for sign in ["⠶ lr-1e-4", "• lr-1e-5", "+ lr-2e-4", "x lr-2e-5", "o lr-5e-5"] {
        assert!(text.contains(sign), "{sign}:\n{text}");
    }
}

#[test]
fn samples_with_their_pictures() {
    let mut app = usual();
    app.runs.focus = Part::Samples;
    app.runs.lower = Part::Samples;
    snapshots("runs-samples", &mut app);
    screen(&mut app, 120, 40);
    assert_eq!(app.hits.pictures.len(), 1, "the picture is asked for");
}

/// A run that answers at its evaluations; the newest answers are under Samples.
fn answering() -> App {
    let mut app = usual();
    let mut with_answers = entries(420, 1.0);
    for entry in &mut with_answers {
        if let Entry::Eval(eval) = entry {
            let grown = eval.step as f64 / 10.0;
            let (bleu_4, rouge_l, exact_match) = (grown, grown + 8.5, grown / 2.0);
            let answers = Answers { n: 32, bleu_4, rouge_l, exact_match, ..Answers::default() };
            eval.answers = Some(answers);
        }
    }
    curve(&mut app, "receipts", with_answers);
    let answer = |text: &str| Sample {
        t: NOW,
        step: 400,
        prompt: "What does this picture show?".into(),
        images: vec!["/data/scans/0042.png".into()],
        text: text.into(),
        label: Some("An axial CT of the chest.".into()),
    };
    let answers = vec![answer("A CT of the chest."), answer("An axial CT \u{1b}[31mof the head.")];
    let path = "samples/step-00000400/generated_predictions.jsonl".into();
    let worth = Answers { n: 2, bleu_4: 40.0, rouge_l: 48.5, exact_match: 20.0, ..Answers::default() };
    let answered = Event::Answered { step: 400, path, answers: worth, dt_ms: 2_500 };
    let phase = Event::Phase { phase: Phase::Evaluating, done: Some(8), total: Some(32) };
    news(&mut app, News { events: vec![(NOW, answered), (NOW, phase)], answers, ..News::default() });
    app
}

#[test]
fn answers_at_evaluations_are_a_curve_and_can_be_read() {
    let mut app = answering();
    app.runs.chart.metric = Metric::Bleu4;
    app.runs.focus = Part::Samples;
    app.runs.lower = Part::Samples;
    snapshots("runs-answers", &mut app);
    app.runs.chart.metric = Metric::ExactMatch;
    app.runs.focus = Part::Chart;
    app.runs.chart.cursor = Some(250.0);
    let text = screen(&mut app, 120, 40);
    assert!(text.contains("10.0 %") && text.contains("8/32") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn chinese_and_hostile_names_stay_in_their_place() {
    let mut zh = row("x", Status::Running, 300);
    zh.summary.name = "胸部CT报告-第三次实验-更大的学习率与更长的训练".into();
    zh.summary.tags = vec!["医学".into(), "最佳".into()];
    zh.notes = "先用小学习率\n再放大".into();
    let mut evil = row("y", Status::Failed, 3);
    evil.summary.name = "\u{1b}[2Jcls\u{202e}gpj.exe\n\t".into();
    evil.summary.reason = reason("\u{1b}]0;pwned\u{7}", "\u{9b}31m");
    evil.created_ms -= 1;
    let mut app = app(vec![zh, evil]);
    curve(&mut app, "x", entries(300, 1.0));
    let mut all = usual_news(vec![gpu(0)]);
    all.log.push("\u{1b}[31mred\u{1b}[0m 日志".into());
    news(&mut app, all);
    app.runs.focus = Part::Log;
    app.runs.lower = Part::Log;
    snapshots("runs-hostile", &mut app);
    for size in [(80, 24), (200, 60)] {
        let text = screen(&mut app, size.0, size.1);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']));
    }
}

#[test]
fn a_chart_of_any_shape_is_drawn_without_a_panic() {
    let mut app = usual();
    let mut odd = entries(3, 1.0);
    if let Some(Entry::Point(point)) = odd.get_mut(1) {
        point.values = [f32::NAN; 7];
    }
    curve(&mut app, "receipts", odd);
    for (log, expanded) in [(false, false), (true, true)] {
        (app.runs.chart.log, app.runs.expanded) = (log, expanded);
        for part in Part::ALL {
            app.runs.focus = part;
            for metric in crate::app::runs::chart::Metric::ALL {
                app.runs.chart.metric = metric;
                for (width, height) in [(40, 12), (41, 13), (99, 27), (100, 28), (160, 46), (300, 12), (60, 90)] {
                    screen(&mut app, width, height);
                }
            }
        }
    }
}

/// `cargo test --release -p lightbox --lib -- --ignored --nocapture frame_of_200_000`
#[test]
#[ignore = "a measurement"]
fn a_frame_of_200_000_updates_is_drawn_within_its_budget() {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    let mut app = usual();
    curve(&mut app, "receipts", entries(200_000, 0.01));
    app.size = (200, 60);
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).unwrap();
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = std::time::Instant::now();
        terminal.draw(|frame| drop(crate::view::draw(&app, frame))).unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!("median {:?}, slowest {:?}", times[25], times[49]);
    assert!(times[25].as_millis() < 4, "{:?}", times[25]);
}
