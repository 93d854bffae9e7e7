//! One question to a loaded model, told token by token: what `chat` and `answer` have in common.

use crate::generate::{Finish, generate};
use crate::setup::Ready;
use anyhow::Result;
use lightbox_core::chat::tokens_per_second;
use lightbox_core::data::ImageRef;
use lightbox_core::profile::Profile;
use lightbox_core::text::Conversation;
use lightbox_core::vision::PixelBudget;
use std::ops::ControlFlow;
use std::time::Instant;

pub struct Question<'a> {
    /// Ends with the question.
    pub conversation: &'a Conversation,
    pub images: &'a [ImageRef],
    pub budget: PixelBudget,
    /// Its generation keys count.
    pub generation: &'a Profile,
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
pub fn ask(ready: &Ready, q: &Question, hear: &mut dyn FnMut(Heard) -> ControlFlow<()>) -> Result<Answer> {
    let started = Instant::now();
    let Ready { model, tokenizer, processor } = ready;
    let prompt = super::encode(tokenizer, processor, q.conversation, q.images, q.budget, None)?;
    let prompt_tokens = prompt.ids.len();
    let image_tokens = prompt.ids.iter().filter(|id| **id == tokenizer.image_pad).count();
    let mut answer = Answer {
        text: String::new(),
        ids: Vec::new(),
        prompt_tokens,
        finish: Finish::Cancelled,
        seconds: 0.0,
        first_token_seconds: None,
    };
    if hear(Heard::Started { prompt_tokens, image_tokens }).is_continue() {
        let options = super::options(q.generation, &model.config, tokenizer);
        let mut stream = tokenizer.stream();
        let answers = generate(model, tokenizer, &[&prompt], &options, &mut |_, id| {
            answer.first_token_seconds.get_or_insert_with(|| started.elapsed().as_secs_f64());
            let piece = stream.push(id);
            answer.text += &piece;
            hear(Heard::Text(&piece))
        })?;
        if let Some(told) = answers.into_iter().next() {
            (answer.ids, answer.finish) = (told.ids, told.finish);
        }
        let rest = stream.finish();
        if !rest.is_empty() {
            answer.text += &rest;
            // The answer is over; whether anyone still listens changes nothing.
            let _ = hear(Heard::Text(&rest));
        }
    }
    answer.seconds = started.elapsed().as_secs_f64();
    Ok(answer)
}
