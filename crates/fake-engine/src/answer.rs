//! `lightbox-fake-engine answer`: the Chat screen's worker without a model. Queue, `stop` and replies are the real ones
//! (`lightbox_core::chat::serve`); the answer says what was asked, word by word:
//!
//! ```text
//! checkpoint-40 with 2 pictures answers: What is this?
//! ```
//! (the base model is called by its folder's name, several adapters by theirs with `+` between them)
//!
//! - `LIGHTBOX_FAKE_TOKEN_MS` (0): a word takes so long
//! - `LIGHTBOX_FAKE_LOAD_MS` (0): so does loading a model, or changing its adapter
//! - `LIGHTBOX_FAKE_DIE_ON`: a question with this word in it ends the process, as a crash would

use crate::number;
use anyhow::{Context, Result, anyhow};
use lightbox_core::args::Dtype;
use lightbox_core::chat::serve::{self, Respondent, Voice};
use lightbox_core::chat::{Ask, AskOptions, Done, Finish, Loading, ModelChoice, Reply, tokens_per_second};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::ModelDefaults;
use lightbox_core::runs::say::say;
use lightbox_core::text::{IMAGE_MARK, StopStrings};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub fn run() -> Result<Exit> {
    serve::stdio(|| Ok(Echo::default()))
}

#[derive(Default)]
struct Echo {
    held: Option<ModelChoice>,
}

impl Respondent for Echo {
    fn ready(&self) -> Reply {
        let version = concat!("lightbox-fake-engine ", env!("CARGO_PKG_VERSION")).to_owned();
        Reply::Ready { version, devices: vec!["cpu".into()] }
    }

    fn load(&mut self, model: &ModelChoice, voice: &Voice) -> Result<Reply> {
        let seconds = self.hold(model, &AskOptions::default(), voice)?;
        Ok(loaded(model, seconds.unwrap_or(0.0)))
    }

    fn unload(&mut self) {
        self.held = None;
    }

    fn answer(&mut self, ask: &Ask, voice: &Voice) -> Result<Done> {
        if let Some(seconds) = self.hold(&ask.model, &ask.options, voice)? {
            voice.tell(&loaded(&ask.model, seconds));
        }
        let started = Instant::now();
        let images: Vec<_> = ask.conversation.messages.iter().flat_map(|message| &message.images).collect();
        if let Some(gone) = images.iter().find(|path| !path.is_file()) {
            return Err(anyhow!("{}: there is no such picture", gone.display())).because(Exit::Data);
        }
        let last = ask.conversation.messages.last().context("the conversation is empty: there is no question")?;
        let question = last.content.replace(IMAGE_MARK, " ");
        if let Ok(word) = std::env::var("LIGHTBOX_FAKE_DIE_ON")
            && question.split_whitespace().any(|w| w == word)
        {
            say(&format!("the question says {word}, so the fake engine dies, as it was told"));
            std::process::exit(Exit::Internal as i32);
        }
        let pictures = match images.len() {
            1 => "1 picture".to_owned(),
            n => format!("{n} pictures"),
        };
        let full = format!("{} with {pictures} answers: {question}", speaker(&ask.model));
        let said: usize = ask.conversation.messages.iter().map(|m| m.content.split_whitespace().count()).sum();
        let (prompt_tokens, image_tokens) = (said + 16 * images.len(), 16 * images.len());

        let generation = ask.options.settle(None, &ModelDefaults::of(&ask.model.model)?)?;
        let mut stops = StopStrings::new(&generation.stop);
        let mut done = Done::unsaid(ask.id, prompt_tokens, Finish::Stop);
        let mut listened = voice.started(prompt_tokens, image_tokens);
        for word in full.split_whitespace() {
            if listened.is_break() {
                done.finish = Finish::Cancelled;
                break;
            }
            if done.tokens == generation.max_new_tokens {
                done.finish = Finish::Length;
                break;
            }
            sleep(Duration::from_millis(number("LIGHTBOX_FAKE_TOKEN_MS", 0)));
            done.first_token_seconds.get_or_insert_with(|| started.elapsed().as_secs_f64());
            let (piece, ended) = stops.push(&if done.tokens == 0 { word.to_owned() } else { format!(" {word}") });
            listened = voice.text(&piece);
            done.text += &piece;
            done.tokens += 1;
            if ended {
                break;
            }
        }
        let rest = stops.finish();
        if !rest.is_empty() {
            let _ = voice.text(&rest);
            done.text += &rest;
        }
        done.seconds = started.elapsed().as_secs_f64();
        let first = done.first_token_seconds.unwrap_or(done.seconds);
        done.tokens_per_second = tokens_per_second(done.tokens, done.seconds, first);
        Ok(done)
    }

    fn explain(&self, error: &anyhow::Error) -> (String, Option<String>) {
        (format!("{error:#}"), None)
    }
}

impl Echo {
    /// Seconds that it took; `None`: the model was there already.
    fn hold(&mut self, model: &ModelChoice, options: &AskOptions, voice: &Voice) -> Result<Option<f64>> {
        model.resolve(options).because(Exit::Config)?;
        let what = match &self.held {
            Some(held) if held == model => return Ok(None),
            _ if model.adapters.len() > 1 => Loading::Merge,
            Some(held) if held.adapters.len() < 2 && held.base() == model.base() => Loading::Adapter,
            _ => Loading::Base,
        };
        voice.tell(&Reply::Loading { model: model.clone(), what });
        let started = Instant::now();
        sleep(Duration::from_millis(number("LIGHTBOX_FAKE_LOAD_MS", 0)));
        self.held = Some(model.clone());
        Ok(Some(started.elapsed().as_secs_f64()))
    }
}

fn loaded(model: &ModelChoice, seconds: f64) -> Reply {
    let (device, dtype) = ("cpu".to_owned(), Dtype::F32);
    Reply::Loaded { model: model.clone(), seconds, device, dtype, memory_bytes: 1 << 30 }
}

/// The folder names of the adapters, or of the base model.
fn speaker(model: &ModelChoice) -> String {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).display().to_string();
    match model.adapters.as_slice() {
        [] => name(&model.model),
        adapters => adapters.iter().map(|path| name(path)).collect::<Vec<_>>().join("+"),
    }
}
