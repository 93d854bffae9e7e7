//! `lightbox chat`: ask base or tuned model about pictures, once or in a conversation.

use super::ask::{Heard, Question, ask};
use crate::generate::{Finish, Memory};
use crate::setup::Ready;
use anyhow::Result;
use lightbox_core::args::{ChatArgs, ResolvedModel};
use lightbox_core::data::ImageRef;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::Generation;
use lightbox_core::safe_text::clean;
use lightbox_core::text::{Conversation, Message, Role, with_image_marks};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
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
    let mut waiting: Vec<PathBuf> = args.image.clone();
    if args.prompt.is_empty() {
        return chat.converse(waiting);
    }
    for prompt in &args.prompt {
        chat.ask(prompt, std::mem::take(&mut waiting))?;
    }
    Ok(Exit::Finished)
}

impl Chat<'_> {
    /// Asks one question with its pictures, and prints the answer. On an error the conversation stays as it was.
    fn ask(&mut self, question: &str, pictures: Vec<PathBuf>) -> Result<()> {
        let content = with_image_marks(question, pictures.len());
        let before = (self.conversation.messages.len(), self.images.len());
        self.conversation.messages.push(Message { role: Role::User, content });
        self.images.extend(pictures.into_iter().map(ImageRef::File));
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
    fn converse(&mut self, mut pictures: Vec<PathBuf>) -> Result<Exit> {
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
                    let path = PathBuf::from(command["/image".len()..].trim());
                    if path.is_file() {
                        pictures.push(path);
                        println!("{} picture(s) wait for the next question.", pictures.len());
                    } else {
                        println!("{}: there is no such file.", clean(&path.display().to_string()));
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
