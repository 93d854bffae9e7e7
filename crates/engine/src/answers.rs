//! Answers for samples of a data set, in batches. The prompt of a sample is everything but its last answer; its label is
//! that answer. [`answer_all`] fills the journal of `predict`; a training asks for batches at its evaluations
//! ([`crate::train::answer`]).
//!
//! Samples of like length share a batch, the longest first: little padding, a memory that is too small shows at once, and
//! what is left to do gets quicker towards the end. Which samples share a batch depends on the data alone, so a process
//! that goes on where another was killed computes the same batches, and the same answers.

use crate::commands::encode;
use crate::commands::score::label_loss;
use crate::generate::{Finish, Options, Prompt, Row, generate_rows};
use crate::model::Qwen2Vl;
use crate::train::batches::Source;
use anyhow::Result;
use lightbox_core::data::{Encoder, ImageRef, Problem, Samples};
use lightbox_core::evaluate::journal::Journal;
use lightbox_core::evaluate::predictions::Prediction;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::seed;
use lightbox_core::text::number_pictures;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

pub struct Work<'a> {
    pub model: &'a Qwen2Vl,
    pub samples: &'a Samples,
    pub encoder: Encoder<'a>,
    pub profile: &'a Profile,
    pub options: &'a Options,
    /// `Picture 1:` before the first picture, and so on.
    pub number_pictures: bool,
    pub batch_size: usize,
    /// The loss of the labels, too.
    pub loss: bool,
}

/// What was made, beside the answers in the journal.
#[derive(Default)]
pub struct Made {
    pub batches: usize,
    pub tokens: usize,
    pub problems: Vec<Problem>,
}

/// Answers what the journal does not have. `progress` hears how many answers are there, before the first batch and after
/// each. When `stop` is set, at the next token, the answers of whole batches stay in the journal.
///
/// # Errors
/// What libtorch or the journal throws; answers of earlier batches are kept.
pub fn answer_all(
    work: &Work,
    journal: &mut Journal,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize),
) -> Result<Made> {
    let mut made = Made::default();
    let mut go_on = || if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    progress(journal.rows().len());
    for batch in batches(work.samples, (0..work.samples.len()).collect(), work.batch_size) {
        if batch.iter().all(|&row| journal.rows().contains_key(&work.samples.index(row))) {
            continue;
        }
        let Some(rows) = answer(work, &batch, &mut go_on, &mut made)? else { break };
        journal.add(rows).because(Exit::Disk)?;
        made.batches += 1;
        progress(journal.rows().len());
    }
    Ok(made)
}

/// `rows` (positions in `samples`), batch by batch.
pub fn batches(samples: &Samples, mut rows: Vec<usize>, size: usize) -> Vec<Vec<usize>> {
    let length = |row: usize| samples.facts(row).map_or(0, |facts| facts.tokens);
    rows.sort_by_key(|&row| std::cmp::Reverse(length(row))); // stable: then the data's order
    rows.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// One batch. `go_on` is asked at each token and can end it. `None`: ended.
///
/// # Errors
/// What libtorch throws.
pub fn answer(
    work: &Work,
    batch: &[usize],
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
    made: &mut Made,
) -> Result<Option<Vec<Prediction>>> {
    let (model, tokenizer) = (work.model, work.encoder.tokenizer);
    let mut questions = Vec::with_capacity(batch.len());
    for &row in batch {
        match question(work, row) {
            Ok(question) => questions.push((row, question)),
            Err(problem) => made.problems.push(problem),
        }
    }
    if questions.is_empty() {
        return Ok(Some(vec![]));
    }
    // A draw is a function of seed and token: under one seed all samples would draw alike.
    let own = |&(row, _): &(usize, Question)| {
        let mut options = work.options.clone();
        options.generation.seed = seed::at(options.generation.seed, "predict", &[work.samples.index(row) as u64]);
        options
    };
    let options: Vec<Options> = questions.iter().map(own).collect();
    let rows: Vec<Row> =
        questions.iter().zip(&options).map(|((_, asked), options)| Row { prompt: &asked.prompt, options }).collect();
    let answers = generate_rows(model, tokenizer, &rows, None, &mut |_| go_on())?;
    if answers.iter().any(|a| a.finish == Finish::Cancelled) {
        return Ok(None);
    }
    let source = Source { samples: work.samples, encoder: work.encoder, multiple: 1 };
    let mut rows = Vec::with_capacity(answers.len());
    for ((row, asked), answer) in questions.into_iter().zip(answers) {
        if go_on().is_break() {
            return Ok(None);
        }
        made.tokens += answer.ids.len();
        let loss = if work.loss { Some(label_loss(model, &source, row)?) } else { None };
        rows.push(Prediction {
            prompt: tokenizer.decode(&asked.prompt.ids, false)?,
            predict: match work.profile.skip_special_tokens {
                true => answer.text,
                false => tokenizer.decode(&answer.ids, false)?,
            },
            label: format!("{}\n", asked.label), // the template's, as in LLaMA-Factory's file
            index: Some(work.samples.index(row)),
            images: asked.images,
            loss_sum: loss.map(|(sum, _)| sum),
            n_target_tokens: loss.map(|(_, n)| n),
        });
    }
    Ok(Some(rows))
}

/// A sample's question, encoded, its pictures, and the answer that the data has for it.
struct Question {
    prompt: Prompt,
    images: Vec<String>,
    label: String,
}

fn question(work: &Work, row: usize) -> Result<Question, Problem> {
    let Encoder { tokenizer, processor, budget, .. } = work.encoder;
    let index = work.samples.index(row);
    let sample = work.samples.dataset().get(index)?;
    let mut conversation = sample.conversation;
    let label = conversation.messages.pop().map(|m| m.content).unwrap_or_default();
    if work.number_pictures {
        number_pictures(&mut conversation);
    }
    let system = work.profile.default_system.as_deref();
    let images = sample.images.iter().map(ImageRef::describe).collect();
    match encode(tokenizer, processor, &conversation, &sample.images, budget, system) {
        Ok(prompt) => Ok(Question { prompt, images, label }),
        Err(e) => Err(Problem { index, origin: sample.origin, kind: "unreadable", reason: format!("{e:#}") }),
    }
}
