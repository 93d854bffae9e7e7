//! One row while it is answered: its tokens become text, and it knows when it has ended.

use super::{Answer, Finish, Options};
use lightbox_core::text::{StopStrings, StreamDecoder, Tokenizer};

pub(super) struct Speaker<'a> {
    options: &'a Options,
    pub answer: Answer,
    pub open: bool,
    /// Bytes to characters; `None` once the end has been said.
    stream: Option<StreamDecoder<'a>>,
    stops: StopStrings,
}

impl<'a> Speaker<'a> {
    pub fn new(options: &'a Options, tokenizer: &'a Tokenizer, cached: usize) -> Self {
        Self {
            options,
            answer: Answer { ids: Vec::new(), text: String::new(), finish: Finish::Length, cached },
            open: true,
            stream: Some(tokenizer.stream()),
            stops: StopStrings::new(&options.generation.stop),
        }
    }

    /// The next token.
    ///
    /// Returns the text that can be shown now.
    pub fn take(&mut self, id: i64) -> String {
        self.answer.ids.push(id);
        let piece = self.stream.as_mut().map_or_else(String::new, |stream| stream.push(id));
        let (mut text, stopped) = self.stops.push(&piece);
        if stopped || self.options.eos.contains(&id) {
            (self.open, self.answer.finish) = (false, Finish::Stop);
        } else if self.answer.ids.len() >= self.options.generation.max_new_tokens {
            self.open = false;
        }
        if !self.open && !stopped {
            // What was held back: half a character, or what might have become a stop text.
            let half = self.stream.take().map_or_else(String::new, StreamDecoder::finish);
            let (more, stopped) = self.stops.push(&half);
            text += &more;
            if !stopped {
                text += &std::mem::take(&mut self.stops).finish();
            }
        }
        self.answer.text += &text;
        text
    }

    /// Nobody wants to hear more.
    pub fn stop(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.answer.finish = Finish::Cancelled;
        }
    }
}
