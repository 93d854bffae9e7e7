//! `lightbox predict`: answers for a whole data set. The prompt of a sample is everything but its last answer.

use crate::generate::{Prompt, generate};
use crate::setup::Ready;
use crate::train::data::tell_left_out;
use anyhow::{Context, Result};
use lightbox_core::args::PredictArgs;
use lightbox_core::data::{Dataset, Problem};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::text::number_pictures;
use lightbox_core::vision::PixelBudget;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub fn run(args: &PredictArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    let ready = super::load(&resolved)?;
    let asked = args.generate.options();
    let generation = asked.settle(Some(&profile), &ready.defaults).because(Exit::Config)?;
    let options = super::options(generation, &ready.model.config, &ready.tokenizer);
    let dataset = Dataset::open(&crate::train::dataset_options(&profile, &profile.dataset)).because(Exit::Data)?;

    // Batches of neighbours in the data set: only one batch's pictures are ever in memory.
    let started = Instant::now();
    let mut out = Output::create(&args.output)?;
    let mut problems: Vec<Problem> = Vec::new();
    let (mut answered, mut tokens) = (0, 0);
    let indices: Vec<usize> = (0..dataset.len()).collect();
    for batch in indices.chunks(args.batch_size.max(1)) {
        let mut questions = Vec::with_capacity(batch.len());
        for &index in batch {
            match question(
                &dataset,
                index,
                &ready,
                resolved.budget,
                profile.default_system.as_deref(),
                asked.number_pictures,
            ) {
                Ok((prompt, label)) => questions.push((index, prompt, label)),
                Err(problem) => problems.push(problem),
            }
        }
        if !questions.is_empty() {
            let prompts: Vec<&Prompt> = questions.iter().map(|(_, prompt, _)| prompt).collect();
            let keep_going = &mut |_, _| ControlFlow::Continue(());
            let answers = generate(&ready.model, &ready.tokenizer, &prompts, &options, keep_going)?;
            for ((index, prompt, label), answer) in questions.iter().zip(answers) {
                tokens += answer.ids.len();
                let predict = match profile.skip_special_tokens {
                    true => answer.text,
                    false => ready.tokenizer.decode(&answer.ids, false)?,
                };
                let prompt = ready.tokenizer.decode(&prompt.ids, false)?;
                out.line(&json!({"index": index, "prompt": prompt, "predict": predict, "label": label}))?;
            }
        }
        answered += questions.len();
        if std::io::stderr().is_terminal() {
            eprint!("\r{answered}/{} answered, {:.0} s", dataset.len(), started.elapsed().as_secs_f64());
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    tell_left_out(&problems);
    out.finish()?;

    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let skipped = problems.len();
        println!(
            "{}",
            json!({"output": args.output, "samples": answered, "skipped": skipped, "tokens": tokens, "seconds": seconds})
        );
    } else {
        println!(
            "{answered} answers ({tokens} tokens, {seconds:.1} s) in {}; {} samples left out",
            args.output.display(),
            problems.len()
        );
    }
    Ok(Exit::Finished)
}

/// A sample's question, encoded, and the answer that the data has for it.
fn question(
    dataset: &Dataset,
    index: usize,
    ready: &Ready,
    budget: PixelBudget,
    system: Option<&str>,
    numbered: bool,
) -> Result<(Prompt, String), Problem> {
    let sample = dataset.get(index)?;
    let mut conversation = sample.conversation;
    let label = conversation.messages.pop().map(|m| m.content).unwrap_or_default();
    if numbered {
        number_pictures(&mut conversation);
    }
    match super::encode(&ready.tokenizer, &ready.processor, &conversation, &sample.images, budget, system) {
        Ok(prompt) => Ok((prompt, label)),
        Err(e) => Err(Problem { index, origin: sample.origin, kind: "unreadable", reason: format!("{e:#}") }),
    }
}

/// The file of answers, whole or not at all: a reader never sees half of it.
struct Output {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let partial = PathBuf::from(name);
        let file = File::create(&partial).with_context(|| format!("{}: cannot be written", partial.display()));
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file.because(Exit::Disk)?), partial })
    }

    fn line(&mut self, row: &Value) -> Result<()> {
        writeln!(self.file, "{row}")
            .with_context(|| format!("{}: cannot be written", self.partial.display()))
            .because(Exit::Disk)
    }

    fn finish(mut self) -> Result<()> {
        let mut close = || -> std::io::Result<()> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.partial, &self.path)
        };
        close().with_context(|| format!("{}: cannot be written", self.path.display())).because(Exit::Disk)
    }
}
