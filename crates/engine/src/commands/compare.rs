//! `lightbox compare`: one question, or one about each picture of a folder, to several models that share a base. The base is
//! loaded once; adapters are put on and taken off.

use super::ask::{Question, ask_together};
use anyhow::{Result, anyhow};
use lightbox_core::args::CompareArgs;
use lightbox_core::data::ImageRef;
use lightbox_core::evaluate::table::{Asked, Format, Said, for_terminal, write};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::text::{Conversation, Message, Role, with_image_marks};
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

pub fn run(args: &CompareArgs) -> Result<Exit> {
    let variants = args.variants().because(Exit::Usage)?;
    let format = args.output.as_deref().map(Format::of).transpose().because(Exit::Usage)?;
    let questions = args.questions().because(Exit::Data)?;
    let mut resolved = args.model.resolve().because(Exit::Config)?;
    let variants = resolved.placed(variants);
    let stop = super::stop_flag()?;
    // Pictures and answers as the last adapter was trained with, for all models: only the weights differ.
    resolved.adapters.clear();
    let mut ready = super::load(&resolved)?;
    let generation =
        args.generate.options().settle(resolved.profile.as_ref(), &ready.defaults).because(Exit::Config)?;
    let conversation = |pictures: usize| Conversation {
        system: args.system.clone(),
        messages: vec![Message { role: Role::User, content: with_image_marks(&args.prompt, pictures) }],
        ..Conversation::default()
    };

    let models: Vec<String> = variants.iter().map(|v| v.name.clone()).collect();
    let unanswered = vec![None; variants.len()];
    let mut rows: Vec<Asked> = questions
        .iter()
        .map(|images| Asked { images: images.clone(), prompt: args.prompt.clone(), answers: unanswered.clone() })
        .collect();
    let stopped = || stop.load(Ordering::Relaxed);
    let told = std::io::stderr().is_terminal() && questions.len() > 1;
    for (nth, variant) in variants.iter().enumerate() {
        super::put_on(&mut ready.model, variant.adapter.as_deref())?;
        for (start, batch) in questions.chunks(args.batch_size).enumerate().map(|(i, b)| (i * args.batch_size, b)) {
            if stopped() {
                break;
            }
            let asked: Vec<(Conversation, Vec<ImageRef>)> = batch
                .iter()
                .map(|images| (conversation(images.len()), images.iter().cloned().map(ImageRef::File).collect()))
                .collect();
            let batch: Vec<Question> = asked
                .iter()
                .map(|(conversation, images)| Question {
                    conversation,
                    images,
                    budget: resolved.budget,
                    generation: &generation,
                    number_pictures: args.generate.number_pictures,
                })
                .collect();
            let answers = ask_together(&ready, &batch.iter().collect::<Vec<_>>(), None, &mut |_, _| {
                if stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            for (row, answer) in rows[start..].iter_mut().zip(answers) {
                row.answers[nth] = Some(said(&variant.name, answer)).filter(|said| said.finish_reason != "cancelled");
            }
            if told {
                eprint!("\r\x1b[K{}: {}/{}", variant.name, (start + batch.len()).min(rows.len()), rows.len());
            }
        }
    }
    if told {
        eprintln!();
    }
    tell(args, &models, &rows)?;
    if let (Some(path), Some(format)) = (&args.output, format) {
        write(path, format, &models, &rows).because(Exit::Disk)?;
    }
    if stopped() {
        return Err(anyhow!("stopped; what had been answered is kept")).because(Exit::Stopped);
    }
    let all = || rows.iter().flat_map(|row| row.answers.iter().flatten());
    let bad = all().filter(|said| said.error.is_some()).count();
    if bad > 0 {
        let why = all().find_map(|said| said.error.as_deref()).unwrap_or_default();
        let n = all().count();
        return Err(anyhow!("{bad} of {n} answers could not be had, the first because of this: {why}"))
            .because(Exit::Data);
    }
    Ok(Exit::Finished)
}

fn said(model: &str, answer: Result<super::ask::Answer>) -> Said {
    let model = model.to_owned();
    match answer {
        Ok(a) => {
            let finish_reason = serde_json::to_value(a.finish).ok().and_then(|v| v.as_str().map(str::to_owned));
            let finish_reason = finish_reason.unwrap_or_default();
            Said { model, text: a.text, error: None, tokens: a.ids.len(), finish_reason, seconds: a.seconds }
        }
        Err(error) => Said {
            model,
            text: String::new(),
            error: Some(format!("{error:#}")),
            tokens: 0,
            finish_reason: "error".into(),
            seconds: 0.0,
        },
    }
}

/// On standard output: JSON lines, or the answers for people, unless they stand in a table already.
fn tell(args: &CompareArgs, models: &[String], rows: &[Asked]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    for row in rows {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        } else if args.output.is_none() {
            writeln!(out, "{}", for_terminal(models, row, colour))?;
        }
    }
    if let (Some(path), false) = (&args.output, args.json) {
        let path = lightbox_core::safe_text::clean(&path.display().to_string());
        writeln!(out, "{} questions to {} models: {path}", rows.len(), models.len())?;
    }
    Ok(())
}
