//! `lightbox chat`: ask base or tuned model about pictures, once or in a conversation.

use crate::generate::{Finish, generate};
use crate::setup::Ready;
use anyhow::Result;
use lightbox_core::args::{ChatArgs, ResolvedModel};
use lightbox_core::data::ImageRef;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean;
use lightbox_core::text::{Conversation, Message, Role};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A conversation so far.
struct Chat<'a> {
    ready: &'a Ready,
    resolved: &'a ResolvedModel,
    args: &'a ChatArgs,
    conversation: Conversation,
    images: Vec<ImageRef>,
    /// Ctrl-C: stops the answer, not the program.
    interrupted: Arc<AtomicBool>,
}

pub fn run(args: &ChatArgs) -> Result<Exit> {
    let resolved = args.model.resolve().because(Exit::Config)?;
    let ready = super::load(&resolved)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let conversation = Conversation { system: args.system.clone(), ..Conversation::default() };
    let mut chat = Chat { ready: &ready, resolved: &resolved, args, conversation, images: vec![], interrupted };
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
        // As LLaMA-Factory: pictures that no <image> names stand before the text, in order.
        let marks = question.matches("<image>").count();
        let content = format!("{}{question}", "<image>".repeat(pictures.len().saturating_sub(marks)));
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
        let started = Instant::now();
        let prompt = super::encode(
            &self.ready.tokenizer,
            &self.ready.processor,
            &self.conversation,
            &self.images,
            self.resolved.budget,
            None,
        )?;
        let prompt_tokens = prompt.ids.len();
        let options = super::options(
            &self.args.generate.over(self.resolved.profile.as_ref()),
            &self.ready.model.config,
            &self.ready.tokenizer,
        );
        let mut stream = self.ready.tokenizer.stream();
        let mut first_token = None;
        let mut out = std::io::stdout().lock();
        let answers = generate(&self.ready.model, &self.ready.tokenizer, &[&prompt], &options, &mut |_, id| {
            first_token.get_or_insert_with(|| started.elapsed());
            if !self.args.json && !options.eos.contains(&id) {
                // A reader that has gone away ends the answer.
                let text = clean(&stream.push(id));
                if write!(out, "{text}").and_then(|()| out.flush()).is_err() {
                    return ControlFlow::Break(());
                }
            }
            if self.interrupted.swap(false, Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let answer = &answers[0];
        let text = self.ready.tokenizer.decode(&answer.ids, true)?;
        if self.args.json {
            let first = first_token.map_or(seconds, |d| d.as_secs_f64());
            let decode_seconds = seconds - first;
            let timing = json!({
                "seconds": seconds,
                "first_token_seconds": first,
                "tokens_per_second": if decode_seconds > 0.0 { (answer.ids.len().saturating_sub(1)) as f64 / decode_seconds } else { 0.0 },
            });
            writeln!(
                out,
                "{}",
                json!({"text": text, "token_ids": answer.ids, "prompt_tokens": prompt_tokens, "finish_reason": answer.finish, "timing": timing})
            )?;
        } else {
            let note = match answer.finish {
                Finish::Stop => "",
                Finish::Length => "  [cut: --max-new-tokens]",
                Finish::Cancelled => "  [stopped]",
            };
            writeln!(out, "{}{note}", clean(&stream.finish()))?;
        }
        self.conversation.messages.push(Message { role: Role::Assistant, content: text });
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
