//! One question to a loaded model, told token by token: what `chat` and `answer` have in common.

use crate::generate::{Finish, Memory, Options, Prompt, Row, generate_rows};
use crate::setup::Ready;
use anyhow::{Result, anyhow, bail};
use lightbox_core::chat::tokens_per_second;
use lightbox_core::data::ImageRef;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::text::{Conversation, number_pictures};
use lightbox_core::vision::PixelBudget;
use std::ops::ControlFlow;
use std::time::Instant;

pub struct Question<'a> {
    /// Ends with the question.
    pub conversation: &'a Conversation,
    pub images: &'a [ImageRef],
    pub budget: PixelBudget,
    pub generation: &'a Generation,
    /// `Picture 1: ` before the first one, and so on.
    pub number_pictures: bool,
}

/// What is told while the model answers.
pub enum Heard<'a> {
    /// The question is encoded; now the model reads it.
    Started { prompt_tokens: usize, image_tokens: usize },
    /// One more token, and the text that it completes: whole characters, often none. All joined are the answer's text.
    Text(&'a str),
}

pub struct Answer {
    pub text: String,
    /// The end-of-sequence token is among them.
    pub ids: Vec<i64>,
    pub prompt_tokens: usize,
    /// Those of the prompt that the question before left in memory.
    pub cached_tokens: usize,
    pub finish: Finish,
    /// From reading the pictures to the last token.
    pub seconds: f64,
    /// `None`: there is no token.
    pub first_token_seconds: Option<f64>,
}

impl Answer {
    fn unsaid(prompt_tokens: usize) -> Self {
        Self {
            text: String::new(),
            ids: Vec::new(),
            prompt_tokens,
            cached_tokens: 0,
            finish: Finish::Cancelled,
            seconds: 0.0,
            first_token_seconds: None,
        }
    }

    pub fn tokens_per_second(&self) -> f64 {
        tokens_per_second(self.ids.len(), self.seconds, self.first_token_seconds.unwrap_or(self.seconds))
    }
}

/// One question. What `memory` knows of it is not read again.
///
/// # Errors
/// A picture that cannot be read; a conversation that does not end with a question; what libtorch throws.
pub fn ask(
    ready: &Ready,
    q: &Question,
    memory: &mut Memory,
    hear: &mut dyn FnMut(Heard) -> ControlFlow<()>,
) -> Result<Answer> {
    let mut answers = ask_together(ready, &[q], Some(memory), &mut |_, heard| hear(heard))?;
    answers.pop().unwrap_or_else(|| bail!("a question without an answer"))
}

/// Several questions as one batch; `hear` is told the number of each.
///
/// Returns an answer for each question, or why it cannot be asked; the others are.
///
/// # Errors
/// What libtorch throws.
pub fn ask_together(
    ready: &Ready,
    questions: &[&Question],
    memory: Option<&mut Memory>,
    hear: &mut dyn FnMut(usize, Heard) -> ControlFlow<()>,
) -> Result<Vec<Result<Answer>>> {
    let started = Instant::now();
    let encoded: Vec<Result<(Prompt, Options)>> = questions.iter().map(|q| encode(ready, q)).collect();
    let mut answers: Vec<Result<Answer>> = Vec::with_capacity(questions.len());
    // The questions of the batch: those that can be asked, and that someone still waits for.
    let (mut asked, mut rows) = (Vec::new(), Vec::new());
    for (number, question) in encoded.iter().enumerate() {
        let (prompt, options) = match question {
            Ok(question) => question,
            Err(_) => {
                answers.push(Err(anyhow!("not asked")));
                continue;
            }
        };
        let image_tokens = prompt.ids.iter().filter(|id| **id == ready.tokenizer.image_pad).count();
        let prompt_tokens = prompt.ids.len();
        answers.push(Ok(Answer::unsaid(prompt_tokens)));
        if hear(number, Heard::Started { prompt_tokens, image_tokens }).is_continue() {
            asked.push(number);
            rows.push(Row { prompt, options });
        }
    }
    let told = generate_rows(&ready.model, &ready.tokenizer, &rows, memory, &mut |said| {
        let number = asked[said.row];
        if let Ok(answer) = &mut answers[number] {
            answer.seconds = started.elapsed().as_secs_f64();
            answer.first_token_seconds.get_or_insert(answer.seconds);
        }
        hear(number, Heard::Text(said.text))
    })?;
    for (number, told) in asked.iter().zip(told) {
        if let Ok(answer) = &mut answers[*number] {
            (answer.ids, answer.text, answer.finish) = (told.ids, told.text, told.finish);
            answer.cached_tokens = told.cached;
        }
    }
    drop(rows);
    for (answer, question) in answers.iter_mut().zip(encoded) {
        if let Err(why) = question {
            *answer = Err(why);
        }
    }
    Ok(answers)
}

fn encode(ready: &Ready, q: &Question) -> Result<(Prompt, Options)> {
    let mut conversation = q.conversation.clone();
    if q.number_pictures {
        number_pictures(&mut conversation);
    }
    let prompt = super::encode(&ready.tokenizer, &ready.processor, &conversation, q.images, q.budget, None)?;
    let (tokens, most) = (prompt.ids.len(), ready.model.config.text.max_position_embeddings);
    if tokens as i64 > most {
        let error = anyhow!(
            "the question has {tokens} tokens, pictures and earlier turns included, and this model reads at most {most}: \
             ask with fewer or smaller pictures, or fewer turns"
        );
        return Err(error).because(Exit::Data);
    }
    Ok((prompt, super::options(q.generation.clone(), &ready.model.config, &ready.tokenizer)))
}
