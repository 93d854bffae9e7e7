//! `sample_now`: the model writes during training, with the weights as they are.

use super::trainer::Trainer;
use crate::commands::{encode, options};
use crate::generate::{Prompt, generate};
use anyhow::{Result, bail};
use lightbox_core::data::{Encoder, ImageRef};
use lightbox_core::generation::{AskOptions, ModelDefaults};
use lightbox_core::profile::Stage;
use lightbox_core::runs::commands::SampleNow;
use lightbox_core::runs::drive::Sampled;
use lightbox_core::text::{Conversation, Message, Role, with_image_marks};
use std::ops::ControlFlow;
use std::time::Instant;

/// Tokens of an answer, if the request does not say how many.
const MAX_NEW_TOKENS: usize = 128;

/// A question: as people read it, its pictures, and as the model reads it.
type Question = (String, Vec<String>, Prompt);

/// Answers one question after the other, greedily, so that two checkpoints can be compared.
pub fn ask(trainer: &Trainer, request: &SampleNow) -> Result<Vec<Sampled>> {
    if trainer.profile.stage == Stage::Vision {
        bail!("stage: vision trains no language, so there is nothing to ask");
    }
    let questions = match &request.prompt {
        Some(prompt) => vec![given(trainer, prompt, &request.images)?],
        None => from_data(trainer, request.n.max(1))?,
    };
    let (model, tokenizer) = (&trainer.model, trainer.feed.source.encoder.tokenizer);
    let asked = AskOptions {
        do_sample: Some(false),
        max_new_tokens: Some(request.max_new_tokens.unwrap_or(MAX_NEW_TOKENS)),
        ..AskOptions::default()
    };
    let own = ModelDefaults::of(&trainer.base.folder)?;
    let generation = asked.settle(Some(trainer.profile), &own)?;
    let options = options(generation, &model.config, tokenizer);
    let mut answers = Vec::with_capacity(questions.len());
    for (prompt, images, encoded) in questions {
        let started = Instant::now();
        let answer = generate(model, tokenizer, &[&encoded], &options, &mut |_, _| ControlFlow::Continue(()))?;
        let ids = answer.into_iter().next().map(|a| a.ids).unwrap_or_default();
        answers.push(Sampled {
            prompt,
            images,
            text: tokenizer.decode(&ids, true)?,
            tokens: ids.len() as u64,
            dt_ms: started.elapsed().as_millis() as u64,
        });
    }
    Ok(answers)
}

fn given(trainer: &Trainer, prompt: &str, images: &[String]) -> Result<Question> {
    let Encoder { tokenizer, processor, budget, .. } = trainer.feed.source.encoder;
    let messages = vec![Message { role: Role::User, content: with_image_marks(prompt, images.len()) }];
    let conversation = Conversation { system: None, tools: None, messages };
    let pictures: Vec<ImageRef> = images.iter().map(|path| ImageRef::File(path.into())).collect();
    let system = trainer.profile.default_system.as_deref();
    let encoded = encode(tokenizer, processor, &conversation, &pictures, budget, system)?;
    Ok((prompt.to_owned(), images.to_vec(), encoded))
}

/// The questions of the first `n` evaluation samples, or training samples if there are none to evaluate on.
fn from_data(trainer: &Trainer, n: usize) -> Result<Vec<Question>> {
    let source = trainer.eval.as_ref().unwrap_or(&trainer.feed.source);
    let tokenizer = source.encoder.tokenizer;
    let question = |row: usize| {
        let (sample, pixel_values) = match source.samples.load(row, &source.encoder) {
            Ok(loaded) => loaded,
            Err(problem) => bail!("{}: {}", problem.origin, problem.reason),
        };
        let mut ids = sample.encoded.input_ids;
        // The last answer begins after `<|im_start|>assistant\n`, which is three tokens.
        let end = ids.iter().rposition(|id| *id == tokenizer.im_start).map_or(ids.len(), |at| at + 3);
        ids.truncate(end);
        let prompt = tokenizer.decode(&ids, true)?;
        let images = sample.images.iter().map(ImageRef::describe).collect();
        Ok((prompt, images, Prompt { ids, grids: sample.encoded.grids, pixel_values }))
    };
    (0..n.min(source.samples.len())).map(question).collect()
}
