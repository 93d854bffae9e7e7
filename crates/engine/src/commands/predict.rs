//! `lightbox predict`: answers for a whole data set, and what they are worth. The work is in [`crate::answers`]; here are
//! its files and words. `lightbox evaluate` does the same for several models, one after the other.

use crate::answers::{Work, answer_all};
use crate::setup::Ready;
use crate::train::data::{tell_left_out, usable};
use anyhow::{Context, Result, anyhow};
use lightbox_core::args::{GenerateArgs, PredictArgs, ResolvedModel, WorkArgs};
use lightbox_core::data::Samples;
use lightbox_core::evaluate::classes::Classes;
use lightbox_core::evaluate::journal::{Journal, is_finished};
use lightbox_core::evaluate::measures::{Scores, measures, named};
use lightbox_core::evaluate::predictions::{self, Prediction};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::profile::Profile;
use lightbox_core::runs::{identity, results};
use lightbox_core::safe_text::clean;
use lightbox_core::{fs, python_json};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub fn run(args: &PredictArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    let classes = args.classes.as_deref().map(Classes::load).transpose().because(Exit::Config)?;
    let mut told = Told::new(args.work.json)?;
    let ready = super::load(&resolved)?;
    let set = Set::read(&ready, &resolved, &profile, &args.generate)?;
    let (output, results_file) = (args.answers_file(), args.results_file());
    for folder in [output.parent(), results_file.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).because(Exit::Disk)?;
    }
    let done = set.predict(&ready, &resolved.adapters, &args.work, &output, &mut told)?;

    let scores: Vec<Scores> = done.rows.iter().map(|row| Scores::of(row, classes.as_ref())).collect();
    let mut metrics = named("predict", &measures(&scores, classes.as_ref()));
    if done.new > 0 {
        results::speed(&mut metrics, "predict", done.time, done.new as f64, done.batches as f64);
    }
    let text = python_json::sorted(&metrics, 4)?;
    fs::write_atomic(&results_file, text.as_bytes()).because(Exit::Disk)?;
    set.tell(&done, &output, &metrics, args.work.json);
    Ok(Exit::Finished)
}

/// A data set, prepared, and how it is to be answered.
pub(super) struct Set<'a> {
    samples: Samples,
    /// Samples that cannot be used.
    skipped: usize,
    resolved: &'a ResolvedModel,
    profile: &'a Profile,
    generation: Generation,
    /// `Picture 1:` before the first picture, and so on.
    number_pictures: bool,
}

/// What became of it.
pub(super) struct Done {
    pub rows: Vec<Prediction>,
    /// Answers that this process has made, its batches, and the time from the first to the last.
    pub new: usize,
    pub batches: usize,
    pub time: Duration,
    pub tokens: usize,
    /// Samples that no answer can be made for.
    pub left_out: usize,
}

impl<'a> Set<'a> {
    /// # Errors
    /// A data set that does not open or has no usable sample.
    pub fn read(
        ready: &Ready,
        resolved: &'a ResolvedModel,
        profile: &'a Profile,
        generate: &GenerateArgs,
    ) -> Result<Self> {
        let options = crate::train::encode_options(profile);
        let (samples, skipped) = usable(profile, &ready.encoder(resolved.budget, &options)).because(Exit::Data)?;
        let asked = generate.options();
        let generation = asked.settle(Some(profile), &ready.defaults).because(Exit::Config)?;
        let number_pictures = asked.number_pictures;
        Ok(Self { samples, skipped, resolved, profile, generation, number_pictures })
    }

    /// Answers all samples into `output`, with `adapters` on the model; goes on where an earlier process was stopped.
    ///
    /// # Errors
    /// Answers of other settings in the way; another process that makes them ([`Exit::Locked`]); a signal
    /// ([`Exit::Stopped`]); what loading or computing throws.
    pub fn predict(
        &self,
        ready: &Ready,
        adapters: &[PathBuf],
        work: &WorkArgs,
        output: &Path,
        told: &mut Told,
    ) -> Result<Done> {
        let settings = self.settings(ready, adapters, work)?;
        if !work.fresh && is_finished(output, &settings) {
            let rows = predictions::read(output).because(Exit::Data)?;
            let left_out = self.samples.dataset().len() - rows.len();
            return Ok(Done { rows, new: 0, batches: 0, time: Duration::ZERO, tokens: 0, left_out });
        }
        let mut journal = Journal::open(output, &settings, work.fresh)?;
        let kept = journal.rows().len();
        if kept > 0 {
            eprintln!("{kept} answers are there from before; going on behind them");
        }
        let options = super::options(self.generation.clone(), &ready.model.config, &ready.tokenizer);
        let encode_options = crate::train::encode_options(self.profile);
        let todo = Work {
            model: &ready.model,
            samples: &self.samples,
            encoder: ready.encoder(self.resolved.budget, &encode_options),
            profile: self.profile,
            number_pictures: self.number_pictures,
            options: &options,
            batch_size: work.batch_size,
            loss: !work.no_loss,
        };
        told.begin(self.samples.len());
        let (stop, started) = (told.stop.clone(), Instant::now());
        let made = answer_all(&todo, &mut journal, &stop, &mut |done| told.progress(done))?;
        told.end();
        tell_left_out(&made.problems);
        if stop.load(Ordering::Relaxed) {
            let n = journal.rows().len();
            return Err(anyhow!("stopped; {n} answers are kept, and the same command goes on behind them"))
                .because(Exit::Stopped);
        }
        let rows = journal.finish(output, &settings).because(Exit::Disk)?;
        let left_out = self.skipped + made.problems.len();
        let time = started.elapsed();
        Ok(Done { new: rows.len() - kept, rows, batches: made.batches, time, tokens: made.tokens, left_out })
    }

    /// All that shapes the answers. Weights and data by what is in them: the same folder may hold other ones tomorrow.
    fn settings(&self, ready: &Ready, adapters: &[PathBuf], work: &WorkArgs) -> Result<Map<String, Value>> {
        let (r, g) = (self.resolved, &self.generation);
        let contents = |dir: &PathBuf| identity::model(dir).map(|files| json!(files));
        let adapters = adapters.iter().map(contents).collect::<std::io::Result<Vec<_>>>().because(Exit::Model)?;
        let settings = json!({
            "version": 1,
            "model": contents(&r.model).because(Exit::Model)?,
            "adapter": adapters,
            "data": self.samples.fingerprint(),
            "dtype": r.dtype,
            "device": format!("{:?}", ready.model.device()),
            "image_max_pixels": r.budget.max,
            "image_min_pixels": r.budget.min,
            "default_system": self.profile.default_system,
            "skip_special_tokens": self.profile.skip_special_tokens,
            "do_sample": g.do_sample,
            "max_new_tokens": g.max_new_tokens,
            "temperature": g.temperature,
            "top_p": g.top_p,
            "top_k": g.top_k,
            "min_p": g.min_p,
            "stop": g.stop,
            "number_pictures": self.number_pictures,
            "repetition_penalty": g.repetition_penalty,
            "seed": g.seed,
            "batch_size": work.batch_size,
            "loss": !work.no_loss,
        });
        Ok(settings.as_object().cloned().unwrap_or_default())
    }

    fn tell(&self, done: &Done, output: &Path, metrics: &Map<String, Value>, as_json: bool) {
        let (samples, seconds) = (done.rows.len(), done.time.as_secs_f64());
        // A reader that has gone away does not undo the work.
        let mut out = std::io::stdout().lock();
        if as_json {
            let line = json!({"event": "done", "output": output, "samples": samples, "skipped": done.left_out,
                "tokens": done.tokens, "seconds": seconds, "metrics": metrics});
            let _ = writeln!(out, "{line}");
            return;
        }
        for (key, value) in metrics {
            let _ = writeln!(out, "{:<32} {:>12.4}", clean(key), value.as_f64().unwrap_or(f64::NAN));
        }
        let output = clean(&output.display().to_string());
        let _ = if done.new == 0 {
            writeln!(out, "{samples} answers were in {output} already; --fresh makes them anew")
        } else {
            let (tokens, left_out) = (done.tokens, done.left_out);
            writeln!(
                out,
                "{samples} answers ({tokens} tokens, {seconds:.1} s) in {output}; {left_out} samples left out"
            )
        };
    }
}

/// What is said while it goes on, and whether to go on: Ctrl-C and SIGTERM end it at the next token, a second one at once.
pub(super) struct Told {
    json: bool,
    pub stop: Arc<AtomicBool>,
    /// As the line calls the model; empty where there is one.
    pub model: String,
    total: usize,
    started: Instant,
    /// Answers at the start.
    before: Option<usize>,
}

impl Told {
    pub fn new(json: bool) -> Result<Self> {
        let stop = super::stop_flag()?;
        Ok(Self { json, stop, model: String::new(), total: 0, started: Instant::now(), before: None })
    }

    fn begin(&mut self, total: usize) {
        (self.total, self.started, self.before) = (total, Instant::now(), None);
    }

    /// After each batch, and once before the first.
    fn progress(&mut self, done: usize) {
        let seconds = self.started.elapsed().as_secs_f64();
        let new = done - *self.before.get_or_insert(done);
        if self.json {
            let mut line = json!({"event": "progress", "done": done, "total": self.total, "seconds": seconds});
            if !self.model.is_empty() {
                line["model"] = json!(self.model);
            }
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        } else if std::io::stderr().is_terminal() {
            let left = match new {
                0 => String::new(),
                new => format!(", {:.0} s left", seconds / new as f64 * (self.total - done.min(self.total)) as f64),
            };
            eprint!("\r\x1b[K{}{done}/{} answered, {seconds:.0} s{left}", self.head(), self.total);
        }
    }

    fn head(&self) -> String {
        if self.model.is_empty() { String::new() } else { format!("{}: ", clean(&self.model)) }
    }

    fn end(&self) {
        if !self.json && std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

/// For [`super::evaluate`]: a model is done.
pub(super) fn tell_model(told: &Told, done: &Done, output: &Path) -> Result<()> {
    let (samples, model) = (done.rows.len(), &told.model);
    let mut out = std::io::stdout().lock();
    if told.json {
        let line = json!({"event": "answered", "model": model, "output": output, "samples": samples, "skipped": done.left_out, "new": done.new});
        writeln!(out, "{line}")?;
    } else if done.new == 0 {
        writeln!(out, "{}: {samples} answers, made before", clean(model))?;
    } else {
        writeln!(out, "{}: {samples} answers in {:.1} s", clean(model), done.time.as_secs_f64())?;
    }
    out.flush().context("writing to standard output")
}
