//! `kill -9`, at random times and at the worst ones. Whatever happens: a checkpoint that was said to be written is there, and
//! a run that is started again until it is done ends with the numbers of one that was never disturbed.

use crate::rig::{Dice, Engine, Outcome, Rig, Worker, scaled};
use lightbox_core::runs::record::Event;
use lightbox_core::runs::state::Status;
use std::time::{Duration, Instant};

struct Score {
    kills: usize,
    verified: u64,
    runs: usize,
}

/// What an undisturbed run gives, and how long it takes.
fn clean(engine: Engine, extra: &str, step_ms: u64) -> (Outcome, Duration) {
    let rig = Rig::new(engine, extra).env("LIGHTBOX_FAKE_STEP_MS", step_ms);
    let started = Instant::now();
    assert_eq!(rig.finish().code(), Some(0), "{}", rig.log_text());
    (rig.outcome(), started.elapsed())
}

/// Kills runs until `kills` have struck. `strike` waits for its moment; at least three a run, then it may finish.
fn kill_until(
    kills: usize,
    engine: Engine,
    extra: &str,
    step_ms: u64,
    clean: &Outcome,
    dice: &mut Dice,
    strike: &mut dyn FnMut(&Rig, &mut Worker, &mut Dice),
) -> Score {
    let mut score = Score { kills: 0, verified: 0, runs: 0 };
    while score.kills < kills {
        let rig = Rig::new(engine, extra).env("LIGHTBOX_FAKE_STEP_MS", step_ms);
        let mut struck = 0;
        loop {
            let how = format!("seed {}, kill {} of run {}", dice.seed, struck, score.runs);
            let mut worker = rig.start();
            if struck < 3 || score.kills < kills && struck < 12 {
                strike(&rig, &mut worker, dice);
            }
            let killed = worker.alive() && (struck < 3 || score.kills < kills && struck < 12);
            if killed {
                worker.kill();
                struck += 1;
                score.kills += 1;
                rig.keeps_its_checkpoints(&how);
                let view = rig.view();
                assert!(
                    matches!(view.state, Status::Crashed | Status::Created | Status::Finished),
                    "{:?}: {how}",
                    view.state
                );
                continue;
            }
            let status = worker.wait();
            assert_eq!(status.code(), Some(0), "{how}\n{}", rig.log_text());
            break;
        }
        rig.agrees_with(clean, &format!("seed {}, run {}", dice.seed, score.runs));
        score.verified += verified(&rig);
        score.runs += 1;
    }
    score
}

/// Updates that were repeated and compared; none may differ.
fn verified(rig: &Rig) -> u64 {
    let mut sum = 0;
    for event in rig.events() {
        if let Event::ResumeVerified { steps, exact, first_diff, .. } = event {
            assert!(exact, "repeated steps differ from step {first_diff:?} on\n{}", rig.log_text());
            sum += steps;
        }
    }
    sum
}

fn tell(what: &str, engine: Engine, score: &Score) {
    println!(
        "{what}, {engine:?} engine: {} kills in {} runs, all resumed exactly, 0 lost; {} repeated updates compared, 0 differ",
        score.kills, score.runs, score.verified
    );
}

fn at_random_times(engine: Engine, kills: usize, extra: &str, step_ms: u64) {
    let mut dice = Dice::new("kill at random times");
    let (outcome, time) = clean(engine, extra, step_ms);
    let score = kill_until(kills, engine, extra, step_ms, &outcome, &mut dice, &mut |_, worker, dice| {
        let deadline = Instant::now() + dice.time(time);
        while Instant::now() < deadline && worker.alive() {
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    tell("R1, kill -9 at random times", engine, &score);
}

fn while_saving(engine: Engine, kills: usize, extra: &str, step_ms: u64) {
    let mut dice = Dice::new("kill while saving");
    let (outcome, _) = clean(engine, extra, step_ms);
    let score = kill_until(kills, engine, extra, step_ms, &outcome, &mut dice, &mut |rig, worker, dice| {
        // One of the next few saves of this attempt, somewhere in it.
        let before = rig.events().iter().filter(|e| matches!(e, Event::CheckpointBegin { .. })).count();
        let nth = before + 1 + dice.below(3) as usize;
        let deadline = Instant::now() + Duration::from_secs(120);
        let begun = |rig: &Rig| rig.events().iter().filter(|e| matches!(e, Event::CheckpointBegin { .. })).count();
        while begun(rig) < nth && worker.alive() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let struck = Instant::now() + dice.time(Duration::from_millis(12));
        while Instant::now() < struck {
            std::hint::spin_loop();
        }
    });
    tell("R2, kill -9 while a checkpoint is written", engine, &score);
}

#[test]
fn r1_the_fake_engine_killed_at_random_times_ends_as_if_never_disturbed() {
    at_random_times(Engine::Fake, scaled(60), "max_steps: 200", 1);
}

#[test]
fn r1_the_real_engine_killed_at_random_times_ends_as_if_never_disturbed() {
    at_random_times(Engine::Real, scaled(60), "", 0);
}

#[test]
fn r2_the_fake_engine_killed_while_saving_ends_as_if_never_disturbed() {
    while_saving(Engine::Fake, scaled(60), "max_steps: 200", 1);
}

#[test]
fn r2_the_real_engine_killed_while_saving_ends_as_if_never_disturbed() {
    while_saving(Engine::Real, scaled(60), "save_steps: 2", 0);
}
