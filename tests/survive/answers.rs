//! `predict_with_generate`: the model answers evaluation samples in the middle of a training, which goes on as if it had not.

use crate::rig::{Engine, Rig, Worker};
use lightbox_core::evaluate::predictions::{self, Prediction};
use lightbox_core::runs::commands::{Command, EvaluateNow, Stop, StopWhen, send};
use lightbox_core::runs::log;
use lightbox_core::runs::record::{Ack, Answers, Event, Metric, Phase};
use lightbox_core::runs::state::Status;
use lightbox_core::runs::{RunDir, checkpoints};
use std::time::{Duration, Instant};

/// Seven samples of the real engine's 13 are evaluated on, every second update of six; two answers of each three tokens
/// are made together.
const EVALUATED: &str = "max_steps: 6\nsave_steps: 3\nval_size: 0.5\neval_strategy: steps\neval_steps: 2\ndo_eval: true\n\
                         per_device_eval_batch_size: 2\nmax_new_tokens: 3\nload_best_model_at_end: false";
const ANSWERED: &str = "\npredict_with_generate: true\neval_generate_samples: 5";

fn answers(rig: &Rig, step: u64) -> Vec<Prediction> {
    predictions::read(&rig.dir.join(&format!("samples/step-{step:08}/{}", predictions::FILE))).unwrap()
}

/// What the log says of each evaluation: step, loss, answers.
fn evaluations(rig: &Rig) -> Vec<(u64, Option<u64>, Option<Answers>)> {
    let lines = log::read::<Metric>(&rig.dir.join(RunDir::METRICS)).unwrap().lines;
    let evals = lines.into_iter().filter_map(|line| match line.record {
        Metric::Eval(e) => Some((e.step, e.loss.map(f64::to_bits), e.answers)),
        _ => None,
    });
    evals.collect()
}

#[test]
fn a_training_that_answers_computes_the_bits_of_one_that_does_not_also_when_it_is_killed_in_an_answer() {
    let silent = Rig::new(Engine::Real, EVALUATED);
    assert_eq!(silent.finish().code(), Some(0), "{}", silent.log_text());
    let rig = Rig::new(Engine::Real, &format!("{EVALUATED}{ANSWERED}"));
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    rig.agrees_with(&silent.outcome(), "with answers");
    let (with, without) = (evaluations(&rig), evaluations(&silent));
    assert_eq!(with.iter().map(|e| e.0).collect::<Vec<_>>(), [2, 4, 6, 6], "do_eval evaluates once more");
    for (with, without) in with.iter().zip(&without) {
        assert_eq!((with.0, with.1, without.2), (without.0, without.1, None), "the loss is the same, too");
        assert_eq!(with.2.map(|answers| answers.n), Some(5));
    }
    // The same samples each time, in the order of the data.
    let indices = |step| answers(&rig, step).iter().map(|row| row.index.unwrap()).collect::<Vec<_>>();
    assert!(indices(2).windows(2).all(|pair| pair[0] < pair[1]), "{:?}", indices(2));
    assert_eq!((indices(2).len(), indices(2)), (5, indices(6)));
    let results = std::fs::read_to_string(rig.dir.join("eval_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    for key in ["loss", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "exact_match", "runtime"] {
        assert!(results[format!("eval_{key}")].is_number(), "{key}: {results}");
    }

    // Killed while it answers at step 4, behind the checkpoint of step 3: in the second batch there, the fifth in all.
    let killed = Rig::new(Engine::Real, &format!("{EVALUATED}{ANSWERED}"));
    killed.start_with("answer#5=abort").wait();
    assert_eq!(killed.view().state, Status::Crashed, "{}", killed.log_text());
    assert_eq!(evaluations(&killed).len(), 1, "{}", killed.log_text());
    assert_eq!(killed.finish().code(), Some(0), "{}", killed.log_text());
    killed.agrees_with(&silent.outcome(), "killed in an answer");
    assert!(killed.events().iter().any(|e| matches!(e, Event::ResumeVerified { exact: true, .. })));
    for step in [2, 4, 6] {
        assert_eq!(answers(&killed, step), answers(&rig, step), "step {step}");
    }
}

#[test]
fn an_answer_that_fails_is_counted_and_the_run_goes_on() {
    let silent = Rig::new(Engine::Real, EVALUATED);
    assert_eq!(silent.finish().code(), Some(0), "{}", silent.log_text());
    let unanswered = |rig: &Rig| {
        let events = rig.events();
        let told = events.iter().filter_map(|e| match e {
            Event::Warning { code, text, .. } if code == "unanswered" => Some(text.clone()),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    // The first batch of two, then the first of its two samples alone; at the later evaluations all is well.
    let rig = Rig::new(Engine::Real, &format!("{EVALUATED}{ANSWERED}"));
    assert_eq!(rig.start_with("answer#1=oom;answer#2=oom").wait().code(), Some(0), "{}", rig.log_text());
    rig.agrees_with(&silent.outcome(), "one answer failed");
    let counts: Vec<u64> = evaluations(&rig).iter().filter_map(|e| e.2.map(|answers| answers.n)).collect();
    assert_eq!(counts, [4, 5, 5, 5], "{}", rig.log_text());
    let told = unanswered(&rig);
    assert!(told.len() == 1 && told[0].starts_with("1 of 5 evaluation samples have no answer at step 2"), "{told:?}");
    assert_eq!(answers(&rig, 2).len(), 4);

    // None at all: the loss is there, and no measure of answers.
    let rig = Rig::new(Engine::Real, &format!("{EVALUATED}{ANSWERED}"));
    assert_eq!(rig.start_with("answer#*=oom").wait().code(), Some(0), "{}", rig.log_text());
    rig.agrees_with(&silent.outcome(), "every answer failed");
    assert!(evaluations(&rig).iter().all(|e| e.1.is_some() && e.2.is_none()));
    assert_eq!(unanswered(&rig).len(), 4);
}

/// A run of the fake engine behind the first of five answers, each of which takes a second.
fn in_an_answer() -> (Rig, Worker) {
    let extra = format!("max_steps: 100000\nsave_steps: 50000\nval_size: 0.1{ANSWERED}");
    let rig = Rig::new(Engine::Fake, &extra).env("LIGHTBOX_FAKE_STEP_MS", 200);
    let mut worker = rig.start();
    rig.wait_for_step(&mut worker, 1);
    send(&rig.dir, Command::EvaluateNow(EvaluateNow::default()), "test").unwrap();
    rig.wait_for(&mut worker, "an answer", |e| {
        matches!(e, Event::Phase { phase: Phase::Evaluating, done: Some(1), total: Some(5) })
    });
    (rig, worker)
}

#[test]
fn a_stop_does_not_wait_for_the_answers() {
    let (rig, mut worker) = in_an_answer();
    let sent = Instant::now();
    send(&rig.dir, Command::Stop(Stop { when: StopWhen::Now, checkpoint: true }), "test").unwrap();
    assert_eq!(worker.wait().code(), Some(3), "{}", rig.log_text());
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    let (newest, why) = checkpoints::newest_complete(&rig.dir).unwrap();
    assert_eq!((newest.map(|c| c.step), why.len()), (Some(rig.state().step), 0));
    assert!(evaluations(&rig).is_empty(), "what was not finished has no result");
}

#[test]
fn a_pause_takes_effect_in_the_middle_of_the_answers_and_the_evaluation_goes_on_behind_it() {
    let (rig, mut worker) = in_an_answer();
    let w = &mut worker;
    let acked = |id: &str| {
        let id = id.to_owned();
        move |e: &Event| matches!(e, Event::CommandAck { id: acked, status: Ack::Applied, .. } if *acked == id)
    };
    let pause = send(&rig.dir, Command::Pause, "test").unwrap();
    rig.wait_for(w, "paused", acked(&pause));
    assert_eq!(rig.state().state, Status::Paused);
    assert!(evaluations(&rig).is_empty(), "it waits in the evaluation, not behind it");
    // It still listens, and says that it lives.
    let ping = send(&rig.dir, Command::Ping, "test").unwrap();
    rig.wait_for(w, "a ping", acked(&ping));
    assert!(evaluations(&rig).is_empty());
    let resume = send(&rig.dir, Command::Resume, "test").unwrap();
    rig.wait_for(w, "resumed", acked(&resume));
    rig.wait_for(w, "answered", |e| matches!(e, Event::Answered { answers, .. } if answers.n == 5));
    assert_eq!(rig.state().state, Status::Running);

    // A run that is paused already evaluates when it is asked to; and a stop ends a pause in an evaluation.
    let pause = send(&rig.dir, Command::Pause, "test").unwrap();
    rig.wait_for(w, "paused between updates", acked(&pause));
    let evaluate = send(&rig.dir, Command::EvaluateNow(EvaluateNow { limit: Some(3) }), "test").unwrap();
    rig.wait_for(w, "evaluated while paused", acked(&evaluate));
    assert_eq!(rig.state().state, Status::Paused);
    let step = rig.state().step;
    let folder = rig.dir.join(&format!("samples/step-{step:08}"));
    assert!(folder.join("partial_predictions.jsonl").is_file(), "the first samples do not replace all of them");
    let resume = send(&rig.dir, Command::Resume, "test").unwrap();
    rig.wait_for(w, "resumed again", acked(&resume));
    let begun = || {
        let began = |e: &Event| matches!(e, Event::Phase { phase: Phase::Evaluating, done: None, .. });
        rig.events().into_iter().filter(began).count()
    };
    let before = begun();
    send(&rig.dir, Command::EvaluateNow(EvaluateNow::default()), "test").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while begun() == before {
        assert!(Instant::now() < deadline, "no third evaluation\n{}", rig.log_text());
        std::thread::yield_now();
    }
    let pause = send(&rig.dir, Command::Pause, "test").unwrap();
    rig.wait_for(w, "paused in it", acked(&pause));
    send(&rig.dir, Command::Stop(Stop { when: StopWhen::AfterEval, checkpoint: true }), "test").unwrap();
    assert_eq!(worker.wait().code(), Some(3), "{}", rig.log_text());
    assert_eq!(evaluations(&rig).len(), 3, "after the evaluation, not in the middle of it");
}
