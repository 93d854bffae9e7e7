//! One question to a loaded model, told token by token: what `chat` and `answer` have in common.

use crate::generate::{Finish, Memory, Row, generate_rows};
use crate::setup::Ready;
use anyhow::Result;
use lightbox_core::chat::tokens_per_second;
use lightbox_core::data::ImageRef;
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
    pub fn tokens_per_second(&self) -> f64 {
        tokens_per_second(self.ids.len(), self.seconds, self.first_token_seconds.unwrap_or(self.seconds))
    }
}

/// # Errors
/// A picture that cannot be read; a conversation that does not end with a question; what libtorch throws.
pub fn ask(
    ready: &Ready,
    q: &Question,
    memory: &mut Memory,
    hear: &mut dyn FnMut(Heard) -> ControlFlow<()>,
) -> Result<Answer> {
    let started = Instant::now();
    let Ready { model, tokenizer, processor, .. } = ready;
    let mut conversation = q.conversation.clone();
    if q.number_pictures {
        number_pictures(&mut conversation);
    }
    let prompt = super::encode(tokenizer, processor, &conversation, q.images, q.budget, None)?;
    let prompt_tokens = prompt.ids.len();
    let image_tokens = prompt.ids.iter().filter(|id| **id == tokenizer.image_pad).count();
    let mut answer = Answer {
        text: String::new(),
        ids: Vec::new(),
        prompt_tokens,
        cached_tokens: 0,
        finish: Finish::Cancelled,
        seconds: 0.0,
        first_token_seconds: None,
    };
    if hear(Heard::Started { prompt_tokens, image_tokens }).is_continue() {
        let options = super::options(q.generation.clone(), &model.config, tokenizer);
        let row = Row { prompt: &prompt, options: &options };
        let told = generate_rows(model, tokenizer, &[row], Some(memory), &mut |said| {
            answer.first_token_seconds.get_or_insert_with(|| started.elapsed().as_secs_f64());
            hear(Heard::Text(said.text))
        })?;
        for told in told {
            (answer.ids, answer.text, answer.finish) = (told.ids, told.text, told.finish);
            answer.cached_tokens = told.cached;
        }
    }
    answer.seconds = started.elapsed().as_secs_f64();
    Ok(answer)
}
