//! `lightbox data show`

use super::options::SourceArgs;
use anyhow::Result;
use clap::Args;
use lightbox_core::data::{ImageRef, Sample};
use lightbox_core::exit::Exit;
use lightbox_core::safe_text::{clean, clean_line};
use lightbox_core::text::Role;
use lightbox_core::vision;
use serde_json::{Value, json};
use std::io::Write;

#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Which sample, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: usize,
    /// The sample as read, as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: ShowArgs) -> Result<Exit> {
    let dataset = args.source.open()?;
    if args.index >= dataset.len() {
        return Err(anyhow::anyhow!(
            "there is no sample {}; the data set has {} (0 to {})",
            args.index,
            dataset.len(),
            dataset.len().saturating_sub(1)
        ));
    }
    let mut out = std::io::stdout().lock();
    let sample = match dataset.get(args.index) {
        Ok(sample) => sample,
        Err(problem) => {
            if args.json {
                writeln!(
                    out,
                    "{}",
                    json!({"index": problem.index, "origin": problem.origin, "problem": {"kind": problem.kind, "reason": problem.reason}})
                )?;
            } else {
                writeln!(out, "sample {} cannot be used: {}", args.index, clean(&problem.to_string()))?;
            }
            return Ok(Exit::Data);
        }
    };
    if args.json {
        serde_json::to_writer(&mut out, &as_json(args.index, &sample))?;
        writeln!(out)?;
        return Ok(Exit::Finished);
    }
    writeln!(out, "sample {} of {} · {}", args.index, dataset.len(), clean(&sample.origin))?;
    if let Some(system) = &sample.conversation.system {
        writeln!(out, "\n[system]\n{}", clean(system))?;
    }
    if let Some(tools) = &sample.conversation.tools {
        writeln!(out, "\n[tools]\n{}", clean(tools))?;
    }
    for message in &sample.conversation.messages {
        writeln!(out, "\n[{}]\n{}", role(message.role), clean(&message.content))?;
    }
    for (i, image) in sample.images.iter().enumerate() {
        let found = picture(image);
        let wide = matches!(found["mode"].as_str(), Some("I;16" | "I"));
        let what = match (&found["problem"], &found["format"]) {
            (Value::Object(problem), _) => {
                format!("cannot be used: {}", problem["reason"].as_str().unwrap_or_default())
            }
            (_, format) => format!(
                "{} {} x {}, mode {}, {} bytes{}",
                format.as_str().unwrap_or_default(),
                found["width"],
                found["height"],
                found["mode"].as_str().unwrap_or_default(),
                found["bytes"],
                if wide {
                    "\nvalues above 255 become white, as in LLaMA-Factory; `lightbox data slices` applies a window"
                } else {
                    ""
                }
            ),
        };
        writeln!(out, "\n[picture {}] {}\n{}", i + 1, clean_line(&image.describe(), 200), clean(&what))?;
    }
    if let Some(labels) = &sample.image_labels {
        writeln!(out, "\n[labels of {} picture tokens]", labels.len())?;
        for words in labels {
            writeln!(out, "{}", clean_line(&words.join(" "), 200))?;
        }
    }
    Ok(Exit::Finished)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Observation => "observation",
        Role::Function => "function",
    }
}

fn as_json(index: usize, sample: &Sample) -> Value {
    let messages: Vec<Value> =
        sample.conversation.messages.iter().map(|m| json!({"role": role(m.role), "content": m.content})).collect();
    json!({
        "index": index,
        "origin": sample.origin,
        "system": sample.conversation.system,
        "tools": sample.conversation.tools,
        "messages": messages,
        "images": sample.images.iter().map(picture).collect::<Vec<_>>(),
        "image_labels": sample.image_labels,
    })
}

/// Where the picture lies and what its header says.
fn picture(image: &ImageRef) -> Value {
    let path = match image {
        ImageRef::File(path) => json!(path),
        _ => Value::Null,
    };
    let problem = |kind: &str, reason: String| json!({"source": image.describe(), "path": path, "problem": {"kind": kind, "reason": reason}});
    match image.load() {
        Err(e) => problem(e.kind(), e.to_string()),
        Ok(bytes) => match vision::inspect(&bytes) {
            Err(e) => problem(e.kind(), e.to_string()),
            Ok(info) => json!({
                "source": image.describe(), "path": path, "bytes": bytes.len(), "format": info.format.name(),
                "width": info.width, "height": info.height, "mode": info.mode.name(),
            }),
        },
    }
}
