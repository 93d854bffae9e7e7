//! `lightbox chat`: ask base or tuned model about pictures, once or in a conversation.

use super::ask::{Heard, Question, ask};
use crate::generate::{Finish, Memory};
use crate::setup::Ready;
use anyhow::{Context, Result, anyhow, bail};
use lightbox_core::args::{ChatArgs, ResolvedModel};
use lightbox_core::data::{ImageRef, MAX_IMAGE_BYTES};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::hub;
use lightbox_core::safe_text::clean;
use lightbox_core::text::{Conversation, Message, Role, with_image_marks};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A conversation so far.
struct Chat<'a> {
    ready: &'a Ready,
    resolved: &'a ResolvedModel,
    args: &'a ChatArgs,
    generation: Generation,
    conversation: Conversation,
    /// What the model has read of it.
    memory: Memory,
    images: Vec<ImageRef>,
    /// Ctrl-C: stops the answer, not the program.
    interrupted: Arc<AtomicBool>,
}

pub fn run(args: &ChatArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let pictures = pictures(args)?;
    let ready = super::load(&resolved)?;
    let generation =
        args.generate.options().settle(resolved.profile.as_ref(), &ready.defaults).because(Exit::Config)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let conversation = Conversation { system: args.system.clone(), ..Conversation::default() };
    let mut chat = Chat {
        ready: &ready,
        resolved: &resolved,
        args,
        generation,
        conversation,
        memory: Memory::default(),
        images: vec![],
        interrupted,
    };
    let mut waiting = pictures;
    if args.prompt.is_empty() {
        return chat.converse(waiting);
    }
    for prompt in &args.prompt {
        chat.ask(prompt, std::mem::take(&mut waiting))?;
    }
    Ok(Exit::Finished)
}

/// The pictures of the first question, found before a model is loaded.
fn pictures(args: &ChatArgs) -> Result<Vec<ImageRef>> {
    let from_stdin = args.image.iter().filter(|path| path.as_os_str() == "-").count();
    if from_stdin > 0 && args.prompt.is_empty() {
        return Err(anyhow!("--image - needs --prompt: without one the questions are read from standard input"))
            .because(Exit::Usage);
    }
    if from_stdin > 1 {
        return Err(anyhow!("--image - is given {from_stdin} times; standard input holds one picture"))
            .because(Exit::Usage);
    }
    let one = |path: &PathBuf| if path.as_os_str() == "-" { picture_from_stdin() } else { picture(path) };
    args.image.iter().map(one).collect::<Result<_>>().because(Exit::Data)
}

fn picture_from_stdin() -> Result<ImageRef> {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that it is too much, and an endless stream ends here.
    std::io::stdin().lock().take(MAX_IMAGE_BYTES + 1).read_to_end(&mut bytes).context("standard input")?;
    match bytes.len() as u64 {
        0 => bail!("standard input is empty; it should hold a picture"),
        n if n > MAX_IMAGE_BYTES => bail!("standard input: pictures above {MAX_IMAGE_BYTES} bytes are refused"),
        _ => Ok(ImageRef::Bytes(bytes.into())),
    }
}

/// A file here, or one of the Hub's cache.
fn picture(path: &Path) -> Result<ImageRef> {
    match path.to_str().filter(|text| text.starts_with(hub::SCHEME)) {
        Some(address) => Ok(ImageRef::File(hub::cached_file(address)?)),
        None if path.is_file() => Ok(ImageRef::File(path.to_owned())),
        None => bail!("{}: there is no such file", path.display()),
    }
}

impl Chat<'_> {
    /// Asks one question with its pictures, and prints the answer. On an error the conversation stays as it was.
    fn ask(&mut self, question: &str, pictures: Vec<ImageRef>) -> Result<()> {
        let content = with_image_marks(question, pictures.len());
        let before = (self.conversation.messages.len(), self.images.len());
        self.conversation.messages.push(Message { role: Role::User, content });
        self.images.extend(pictures);
        let answered = self.answer();
        if answered.is_err() {
            self.conversation.messages.truncate(before.0);
            self.images.truncate(before.1);
        }
        answered
    }

    fn answer(&mut self) -> Result<()> {
        let question = Question {
            conversation: &self.conversation,
            images: &self.images,
            budget: self.resolved.budget,
            generation: &self.generation,
            number_pictures: self.args.generate.number_pictures,
        };
        let mut out = std::io::stdout().lock();
        let answer = ask(self.ready, &question, &mut self.memory, &mut |heard| {
            if let Heard::Text(piece) = heard
                && !self.args.json
            {
                // A reader that has gone away ends the answer.
                if write!(out, "{}", clean(piece)).and_then(|()| out.flush()).is_err() {
                    return ControlFlow::Break(());
                }
            }
            if self.interrupted.swap(false, Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if self.args.json {
            let timing = json!({
                "seconds": answer.seconds,
                "first_token_seconds": answer.first_token_seconds.unwrap_or(answer.seconds),
                "tokens_per_second": answer.tokens_per_second(),
            });
            writeln!(
                out,
                "{}",
                json!({"text": answer.text, "token_ids": answer.ids, "prompt_tokens": answer.prompt_tokens, "cached_tokens": answer.cached_tokens, "finish_reason": answer.finish, "timing": timing})
            )?;
        } else {
            let note = match answer.finish {
                Finish::Stop => "",
                Finish::Length => "  [cut: --max-new-tokens]",
                Finish::Cancelled => "  [stopped]",
            };
            writeln!(out, "{note}")?;
        }
        self.conversation.messages.push(Message { role: Role::Assistant, content: answer.text });
        Ok(())
    }

    /// Reads questions from standard input until it ends.
    fn converse(&mut self, mut pictures: Vec<ImageRef>) -> Result<Exit> {
        signal_hook::flag::register(signal_hook::consts::SIGINT, self.interrupted.clone())?;
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            println!(
                "Ask. /image FILE adds a picture to the next question, /clear starts over, /exit ends; Ctrl-C stops an answer."
            );
        }
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if terminal {
                print!("> ");
                std::io::stdout().flush()?;
            }
            let Some(line) = lines.next() else { break };
            let line = line?;
            match line.trim() {
                "" => continue,
                "/exit" | "exit" => break,
                "/clear" | "clear" => {
                    self.conversation.messages.clear();
                    self.images.clear();
                    pictures.clear();
                    println!("The conversation is empty.");
                }
                command if command.starts_with("/image") => {
                    match picture(Path::new(command["/image".len()..].trim())) {
                        Ok(picture) => {
                            pictures.push(picture);
                            println!("{} picture(s) wait for the next question.", pictures.len());
                        }
                        Err(e) => println!("{}.", clean(&format!("{e:#}"))),
                    }
                }
                command if command.starts_with('/') => {
                    println!("Unknown command. There are /image FILE, /clear and /exit.")
                }
                question => {
                    if let Err(e) = self.ask(question, std::mem::take(&mut pictures)) {
                        println!(
                            "{}. The question was not asked; the conversation is as before.",
                            clean(&format!("{e:#}"))
                        );
                    }
                }
            }
        }
        Ok(Exit::Finished)
    }
}
