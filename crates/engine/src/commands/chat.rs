//! `lightbox chat`: ask base or tuned model about pictures, once or in a conversation.

mod lines;

use self::lines::{IMAGE_COMMAND, Line, Lines};
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
use std::io::{Read, Write};
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
        let mut lines = Lines::open()?;
        if lines.is_terminal() {
            println!(
                "Ask. /image FILE adds a picture to the next question, /clear starts over, /exit ends; Ctrl-C stops an answer."
            );
        }
        loop {
            let line = match lines.next()? {
                Line::Text(line) => line,
                Line::Interrupted => {
                    println!("/exit or Ctrl-D ends.");
                    continue;
                }
                Line::End => break,
            };
            match line.trim() {
                "" => continue,
                "/exit" | "exit" => break,
                "/clear" | "clear" => {
                    self.conversation.messages.clear();
                    self.images.clear();
                    pictures.clear();
                    println!("The conversation is empty.");
                }
                command if command.split_whitespace().next() == Some(IMAGE_COMMAND) => {
                    match named_pictures(command[IMAGE_COMMAND.len()..].trim()) {
                        Ok(named) => {
                            pictures.extend(named);
                            println!("{} picture(s) wait for the next question.", pictures.len());
                        }
                        Err(e) => println!("{}.", clean(&format!("{e:#}"))),
                    }
                }
                command if command.starts_with('/') => {
                    println!("Unknown command. There are /image FILE, /clear and /exit.")
                }
                question => {
                    // A Ctrl-C that no answer heard must not stop this one.
                    self.interrupted.store(false, Ordering::Relaxed);
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

/// What stands behind `/image`: a name as it is, or several as a shell takes them, quoted where they hold blanks; terminals
/// paste the names of dropped files so.
fn named_pictures(text: &str) -> Result<Vec<ImageRef>> {
    if text.is_empty() {
        bail!("{IMAGE_COMMAND} needs the name of a picture");
    }
    let as_it_is = picture(Path::new(text));
    match shlex::split(text) {
        Some(names) if as_it_is.is_err() => names.iter().map(|name| picture(Path::new(name))).collect(),
        _ => as_it_is.map(|picture| vec![picture]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_named_plainly_or_as_a_shell_takes_them() {
        let temp = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = temp.path().join(name);
            std::fs::write(&path, "x").unwrap();
            path.display().to_string()
        };
        let (plain, blank, quote) = (make("a.png"), make("b c.png"), make("d'e.png"));
        let found = |text: &str| {
            let names = named_pictures(text).map_err(|e| e.to_string())?;
            Ok::<_, String>(names.iter().map(ImageRef::describe).collect::<Vec<_>>())
        };
        assert_eq!(found(&plain), Ok(vec![plain.clone()]));
        assert_eq!(found(&blank), Ok(vec![blank.clone()]));
        assert_eq!(found(&quote), Ok(vec![quote.clone()]));
        assert_eq!(found(&format!("'{blank}' {plain}")), Ok(vec![blank.clone(), plain.clone()]));
        assert_eq!(found(&blank.replace(' ', "\\ ")), Ok(vec![blank]));
        assert!(found("no/such.png").unwrap_err().contains("no/such.png"));
        assert!(found("").unwrap_err().contains("needs the name"));
    }
}
