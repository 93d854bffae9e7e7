//! Commands to a live run: into its drop-box, and its answer out of its events.

use super::{Run, words};
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::RunDir;
use lightbox_core::runs::commands::{self, CheckpointNow, Command, EvaluateNow, SampleNow, Stop, StopWhen};
use lightbox_core::runs::edits::Edit;
use lightbox_core::runs::queue::Home;
use lightbox_core::runs::record::{Ack, Event};
use lightbox_core::runs::state::{RunState, Status};
use lightbox_core::runs::tail::Tail;
use lightbox_core::runs::view::RunView;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the events are looked at.
const EVERY: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct Waiting {
    /// Send it and return at once
    #[arg(long)]
    no_wait: bool,
    /// Wait at most so long for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// The answer as a JSON object
    #[arg(long)]
    pub json: bool,
}

impl Waiting {
    /// At most so many seconds for the answer.
    pub fn seconds(wait: u64) -> Self {
        Self { no_wait: false, wait, json: false }
    }
}

#[derive(Args)]
pub struct PauseArgs {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
pub struct StopArgs {
    #[command(flatten)]
    run: Run,
    /// After this micro-batch; the update that was begun is given up (the default)
    #[arg(long, conflicts_with = "after")]
    now: bool,
    /// Only after this update, the next evaluation, or this epoch
    #[arg(long, value_enum)]
    after: Option<After>,
    /// Without a checkpoint: what was done since the last one is lost
    #[arg(long)]
    no_checkpoint: bool,
    /// At once, by the worker itself and without a checkpoint; a worker that does not answer is killed
    #[arg(long, conflicts_with_all = ["now", "after", "no_checkpoint"])]
    kill: bool,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum After {
    Step,
    Eval,
    Epoch,
}

#[derive(Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    run: Run,
    /// Never deleted by save_total_limit
    #[arg(long)]
    pin: bool,
    /// Words to know it by
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    run: Run,
    /// Only so many samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
pub struct SampleArgs {
    #[command(flatten)]
    run: Run,
    /// Ask this instead of the data's own questions; <image> marks where the pictures go
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Picture for it; may be given several times
    #[arg(long, value_name = "FILE", requires = "prompt")]
    image: Vec<PathBuf>,
    /// Without a prompt: so many questions of the data
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: usize,
    /// Most new tokens of an answer
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args)]
pub struct SetArgs {
    #[command(flatten)]
    run: Run,
    /// lr_scale, max_steps, save_steps, eval_steps, logging_steps or skip_sample
    #[arg(value_name = "key=value", required = true)]
    settings: Vec<String>,
    #[command(flatten)]
    waiting: Waiting,
}

/// What came of a command.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub id: String,
    pub command: &'static str,
    /// `null` if nobody waited.
    pub status: Option<Ack>,
    /// Updates done when it took effect.
    pub step: Option<u64>,
    /// What happened meanwhile, in words.
    pub events: Vec<String>,
    /// Answers of the model.
    pub samples: Vec<Event>,
}

pub fn pause(args: &PauseArgs) -> Result<Exit> {
    let run = args.run.find()?;
    say_answer(&args.waiting, &[ask(&run, Command::Pause, &args.waiting)?], "paused; `lightbox runs resume` goes on")
}

pub fn stop(args: &StopArgs) -> Result<Exit> {
    let run = args.run.find()?;
    if RunView::open_lenient(&run).state == Status::Queued {
        return out_of_the_queue(&run, &args.waiting);
    }
    if args.kill {
        return kill(&run, &args.waiting);
    }
    let when = match args.after {
        None => StopWhen::Now,
        Some(After::Step) => StopWhen::AfterStep,
        Some(After::Eval) => StopWhen::AfterEval,
        Some(After::Epoch) => StopWhen::AfterEpoch,
    };
    let stop = Command::Stop(Stop { when, checkpoint: !args.no_checkpoint });
    let answer = ask(&run, stop, &args.waiting)?;
    say_answer(&args.waiting, &[answer], "stopped; `lightbox runs resume` goes on from the newest checkpoint")
}

fn out_of_the_queue(run: &RunDir, waiting: &Waiting) -> Result<Exit> {
    leave_the_queue(run)?;
    let object = serde_json::json!({"command": "stop", "status": "applied"});
    super::answer(waiting.json, &object, "taken out of the queue; it had not begun")?;
    Ok(Exit::Finished)
}

/// Of a run that waits there.
pub fn leave_the_queue(run: &RunDir) -> Result<()> {
    let path = std::path::absolute(run.path())?;
    Home::find()?.change(|queue| {
        queue.items.retain(|item| item.dir != path || item.state.has_ended());
        Ok(())
    })?;
    RunState::change(run, |state| state.state = Status::Created).because(Exit::Disk)?;
    Ok(())
}

fn kill(run: &RunDir, waiting: &Waiting) -> Result<Exit> {
    let pid = match end(run, waiting)? {
        Ended::Itself(answer) => return say_answer(waiting, &[answer], "ended"),
        Ended::Killed(pid) => pid,
    };
    let object = serde_json::json!({"command": "kill", "status": "applied", "pid": pid});
    super::answer(waiting.json, &object, &format!("the worker did not answer and was killed (pid {pid})"))?;
    Ok(Exit::Finished)
}

/// How a worker came to its end.
#[derive(Debug)]
pub enum Ended {
    Itself(Answer),
    /// By a signal; its pid.
    Killed(u32),
}

/// Asks the worker to end itself, and if it does not answer, the kernel.
///
/// # Errors
/// There is no worker, or it cannot be killed from here.
pub fn end(run: &RunDir, waiting: &Waiting) -> Result<Ended> {
    let error = match ask(run, Command::Kill, waiting) {
        Ok(answer) if answer.status.is_some() || waiting.no_wait => return Ok(Ended::Itself(answer)),
        Ok(_) => anyhow!("it did not answer"),
        Err(error) => error,
    };
    let view = RunView::open_lenient(run);
    let worker = view.worker.as_ref().filter(|_| view.is_alive()).ok_or(error)?;
    worker.signal(libc::SIGKILL).map_err(anyhow::Error::msg)?;
    Ok(Ended::Killed(worker.pid))
}

pub fn checkpoint(args: &CheckpointArgs) -> Result<Exit> {
    let what = CheckpointNow { pin: args.pin, label: args.label.clone() };
    let answer = ask(&args.run.find()?, Command::CheckpointNow(what), &args.waiting)?;
    say_answer(&args.waiting, &[answer], "checkpoint written")
}

pub fn evaluate(args: &EvaluateArgs) -> Result<Exit> {
    let answer = ask(&args.run.find()?, Command::EvaluateNow(EvaluateNow { limit: args.limit }), &args.waiting)?;
    say_answer(&args.waiting, &[answer], "evaluated")
}

pub fn sample(args: &SampleArgs) -> Result<Exit> {
    let image = |path: &PathBuf| Ok(std::path::absolute(path)?.display().to_string());
    let what = SampleNow {
        prompt: args.prompt.clone(),
        images: args.image.iter().map(image).collect::<Result<_>>()?,
        n: args.n,
        max_new_tokens: args.max_new_tokens,
    };
    let answer = ask(&args.run.find()?, Command::SampleNow(what), &args.waiting)?;
    say_answer(&args.waiting, &[answer], "asked")
}

pub fn set(args: &SetArgs) -> Result<Exit> {
    let run = args.run.find()?;
    let edits: Vec<Edit> = args.settings.iter().map(|word| edit(word)).collect::<Result<_>>().because(Exit::Config)?;
    let ask = |edit| ask(&run, Command::Set(edit), &args.waiting);
    let answers = edits.into_iter().map(ask).collect::<Result<Vec<_>>>()?;
    say_answer(&args.waiting, &answers, "set")
}

/// `max_steps=100` as an [`Edit`].
pub fn edit(word: &str) -> Result<Edit> {
    const KEYS: &str = "lr_scale, max_steps, save_steps, eval_steps, logging_steps, skip_sample";
    let Some((key, value)) = word.split_once('=') else { bail!("{word:?} is not key=value") };
    let number = || value.parse().map_err(|_| anyhow!("{key} is {value:?}; it must be a whole number"));
    let edit = match key {
        "lr_scale" => Edit::LrScale(value.parse().map_err(|_| anyhow!("lr_scale is {value:?}; it must be a number"))?),
        "max_steps" => Edit::MaxSteps(number()?),
        "save_steps" => Edit::SaveSteps(number()?),
        "eval_steps" => Edit::EvalSteps(number()?),
        "logging_steps" => Edit::LoggingSteps(number()?),
        "skip_sample" => Edit::SkipSample(number()?),
        _ => bail!(
            "{key} cannot be changed while a run goes on; only {KEYS}. Stop the run, then `lightbox runs resume RUN {word}`"
        ),
    };
    edit.check().map_err(anyhow::Error::msg)?;
    Ok(edit)
}

/// Sends a command and waits until it is done, or refused.
///
/// # Errors
/// There is no worker, it ended first, it refused, or it did not take notice in time; in words.
pub fn ask(run: &RunDir, command: Command, waiting: &Waiting) -> Result<Answer> {
    let view = RunView::open_lenient(run);
    if !view.is_alive() && view.state != Status::Starting {
        bail!(
            "{} is {}: there is no worker that could do it. `lightbox runs resume {0}` starts one",
            view.info.name,
            words::status(view.state)
        );
    }
    let mut tail: Tail<Event> = Tail::last(run.join(RunDir::EVENTS), 0).because(Exit::Disk)?;
    let name = command.name();
    let id = commands::send(run, command, &commands::by()).because(Exit::Config)?;
    let mut answer = Answer { id, command: name, status: None, step: None, events: Vec::new(), samples: Vec::new() };
    if waiting.no_wait {
        return Ok(answer);
    }
    let deadline = Instant::now() + Duration::from_secs(waiting.wait);
    loop {
        // First whether there is a worker: what it says last is then read in any case.
        let view = RunView::open_lenient(run);
        for line in tail.poll(usize::MAX).because(Exit::Disk)? {
            if answer.hear(line.record)? {
                return Ok(answer);
            }
        }
        if !view.is_alive() && view.state.is_terminal() {
            // Ending is an answer to being told to end.
            if matches!(name, "stop" | "kill") {
                answer.status = Some(Ack::Applied);
                return Ok(answer);
            }
            bail!("{} ended before it could do it: it is {} now", view.info.name, words::status(view.state));
        }
        if Instant::now() >= deadline {
            return if answer.status.is_some() { Ok(answer) } else { Err(no_answer(&view, waiting.wait)) };
        }
        std::thread::sleep(EVERY);
    }
}

impl Answer {
    /// Says whether this was the last word.
    fn hear(&mut self, event: Event) -> Result<bool> {
        match &event {
            Event::CommandAck { id, status, effective_step, error, .. } if *id == self.id => {
                if *status == Ack::Rejected {
                    bail!("refused: {}", error.as_deref().unwrap_or("no reason was given"));
                }
                (self.status, self.step) = (Some(*status), Some(*effective_step));
                return Ok(*status == Ack::Applied);
            }
            Event::CommandAck { .. } => {}
            Event::Sample { .. } => self.samples.push(event),
            event => self.events.extend(words::event(event)),
        }
        Ok(false)
    }
}

fn no_answer(view: &RunView, seconds: u64) -> anyhow::Error {
    let why = match (view.suspended, view.stalled_ms) {
        (true, _) => "its process is suspended (SIGSTOP); `kill -CONT` wakes it".to_owned(),
        (_, Some(ms)) => format!("it has made no progress for {}", words::time(ms)),
        _ => format!("it is {}", words::state_of(&view.summary())),
    };
    anyhow!(
        "{} did not answer within {seconds} s: {why}. The command stays in its drop-box and is done when it gets there; `lightbox runs stop {0} --kill` ends it",
        view.info.name
    )
}

/// Prints what came of it.
pub fn say_answer(waiting: &Waiting, answers: &[Answer], done: &str) -> Result<Exit> {
    let mut text = String::new();
    for answer in answers {
        text.extend(answer.events.iter().map(|event| format!("{event}\n")));
        for sample in &answer.samples {
            if let Event::Sample { prompt, text: reply, .. } = sample {
                text += &format!("> {prompt}\n{reply}\n");
            }
        }
        let step = answer.step.map(|step| format!(" (at step {step})")).unwrap_or_default();
        text += &match answer.status {
            Some(Ack::Applied) => format!("{done}{step}\n"),
            Some(_) => format!(
                "{} accepted{step}; it is not done yet, `lightbox runs logs --events` will tell\n",
                answer.command
            ),
            None => format!("{} sent\n", answer.command),
        };
    }
    match answers {
        [one] => super::answer(waiting.json, one, &text)?,
        several => super::answer(waiting.json, &several, &text)?,
    }
    Ok(Exit::Finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_settings_with_possible_values_are_sent() {
        assert_eq!(edit("lr_scale=0.5").unwrap(), Edit::LrScale(0.5));
        assert_eq!(edit("skip_sample=7").unwrap(), Edit::SkipSample(7));
        for (word, says) in [
            ("lr_scale", "not key=value"),
            ("learning_rate=1", "cannot be changed"),
            ("max_steps=-1", "whole number"),
            ("save_steps=0", "1 or more"),
            ("lr_scale=NaN", "finite"),
        ] {
            let error = edit(word).unwrap_err().to_string();
            assert!(error.contains(says), "{word}: {error}");
        }
    }
}
