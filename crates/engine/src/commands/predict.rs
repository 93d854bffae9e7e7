//! `lightbox predict`: answers for a whole data set. The prompt of a sample is everything but its last answer.

use crate::generate::generate;
use anyhow::{Context, Result};
use lightbox_core::args::PredictArgs;
use lightbox_core::data::{Dataset, Problem};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::text::Conversation;
use serde_json::json;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Instant;

pub fn run(args: &PredictArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let profile = args.data.over(resolved.profile.as_ref()).because(Exit::Config)?;
    let ready = super::load(&resolved)?;
    let options = super::options(&args.generate.over(Some(&profile)), &ready);
    let dataset = Dataset::open(&crate::train::dataset_options(&profile, &profile.dataset)).because(Exit::Data)?;

    // Readable questions first: a bad sample is named and counted, and the others are answered.
    let mut problems: Vec<Problem> = Vec::new();
    let mut questions = Vec::new();
    for index in 0..dataset.len() {
        let sample = match dataset.get(index) {
            Ok(s) => s,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let mut messages = sample.conversation.messages.clone();
        let label = messages.pop().map(|m| m.content).unwrap_or_default();
        let conversation = Conversation { messages, ..sample.conversation.clone() };
        match super::encode(&ready, &conversation, &sample.images, resolved.budget, profile.default_system.as_deref()) {
            Ok(prompt) => questions.push((index, prompt, label)),
            Err(e) => {
                problems.push(Problem { index, origin: sample.origin, kind: "unreadable", reason: format!("{e:#}") })
            }
        }
    }
    super::score::report(&problems);

    // Neighbours in length share a batch, so little is spent on padding; the file is in the data set's order again.
    let mut order: Vec<usize> = (0..questions.len()).collect();
    order.sort_by_key(|i| questions[*i].1.ids.len());
    let started = Instant::now();
    let mut answers: Vec<String> = vec![String::new(); questions.len()];
    let (mut done, mut tokens) = (0, 0);
    for rows in order.chunks(args.batch_size.max(1)) {
        let prompts: Vec<_> = rows
            .iter()
            .map(|i| {
                std::mem::replace(
                    &mut questions[*i].1,
                    crate::generate::Prompt { ids: vec![], grids: vec![], pixel_values: vec![] },
                )
            })
            .collect();
        let batch =
            generate(&ready.model, &ready.tokenizer, &prompts, &options, &mut |_, _| ControlFlow::Continue(()))?;
        for ((row, prompt), answer) in rows.iter().zip(prompts).zip(batch) {
            tokens += answer.ids.len();
            answers[*row] = ready.tokenizer.decode(&answer.ids, profile.skip_special_tokens)?;
            questions[*row].1.ids = prompt.ids;
        }
        done += rows.len();
        if std::io::stderr().is_terminal() {
            eprint!("\r{done}/{} answered, {:.0} s", questions.len(), started.elapsed().as_secs_f64());
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }

    let file = std::fs::File::create(&args.output)
        .with_context(|| format!("{}: cannot be written", args.output.display()))
        .because(Exit::Disk)?;
    let mut out = BufWriter::new(file);
    for ((index, prompt, label), predict) in questions.iter().zip(&answers) {
        let prompt = ready.tokenizer.decode(&prompt.ids, false)?;
        writeln!(out, "{}", json!({"index": index, "prompt": prompt, "predict": predict, "label": label}))?;
    }
    out.flush().with_context(|| format!("{}: cannot be written", args.output.display())).because(Exit::Disk)?;

    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        println!(
            "{}",
            json!({"output": args.output, "samples": questions.len(), "skipped": problems.len(), "tokens": tokens, "seconds": seconds})
        );
    } else {
        println!(
            "{} answers ({tokens} tokens, {seconds:.1} s) in {}; {} samples left out",
            questions.len(),
            args.output.display(),
            problems.len()
        );
    }
    Ok(Exit::Finished)
}
