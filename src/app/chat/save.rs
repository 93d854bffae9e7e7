//! A conversation as Markdown, as JSON, or as a row of a data set.
use super::talk::{Answer, Side, Turn};
use super::{Effect, Msg, label};
use crate::app::messages::Level;
use crate::app::overlay::Item;
use crate::app::{Action, App, Effects};
use crate::input::paste::expand_home;
use crate::text::chat as text;
use lightbox_core::chat::Done;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Markdown,
    Json,
}

/// Asks for the form, then for the file.
pub fn choose(app: &mut App) -> Effects {
    if app.chat.sides[0].turns.is_empty() {
        app.say(Level::Info, app.t(text::NOTHING_SAID));
        return Vec::new();
    }
    let ask = |app: &App, name: &str, then: fn(String) -> Action| {
        let prompt = crate::app::overlay::Prompt {
            title: app.t(text::SAVE_TITLE).to_owned(),
            label: app.t(text::SAVE_LABEL).to_owned(),
            input: tui_input::Input::new(app.here.join(name).display().to_string()),
            error: None,
            then,
        };
        let open = crate::app::overlay::Overlay::Prompt(prompt);
        Action::Overlay(crate::app::overlay::Msg::Open(Box::new(open)))
    };
    let items = vec![
        Item {
            label: "Markdown".into(),
            detail: app.t(text::MARKDOWN_HELP).into(),
            action: ask(app, "chat.md", |path| Action::Chat(Msg::SaveTo(Format::Markdown, path))),
        },
        Item {
            label: "JSON".into(),
            detail: app.t(text::JSON_HELP).into(),
            action: ask(app, "chat.json", |path| Action::Chat(Msg::SaveTo(Format::Json, path))),
        },
    ];
    app.choose(app.t(text::SAVE_TITLE), items)
}

pub fn save(app: &mut App, format: Format, path: &str) -> Effects {
    let path = app.here.join(expand_home(path.trim()));
    let text = match format {
        Format::Markdown => markdown(app),
        Format::Json => pretty(&as_json(app)),
    };
    vec![crate::app::Effect::Chat(Effect::Save { path, text })]
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn sides(app: &App) -> &[Side] {
    &app.chat.sides[..app.chat.shown()]
}

pub fn markdown(app: &App) -> String {
    let mut out = String::from("# Chat\n");
    for side in sides(app) {
        if let Some(model) = &side.model {
            out += &format!("\nModel: `{}`\n", label(model));
        }
    }
    if let Some(system) = &app.chat.system {
        out += &format!("\nSystem: {system}\n");
    }
    for (i, turn) in app.chat.sides[0].turns.iter().enumerate() {
        out += &format!("\n## {}\n\n{}\n", i + 1, turn.question);
        for image in &turn.images {
            // angle brackets: a path may hold blanks and brackets
            out += &format!("\n![](<{}>)\n", image.display());
        }
        for side in sides(app) {
            let Some(turn) = side.turns.get(i) else { continue };
            let who = if app.chat.compare { format!("**{}**: ", label(&turn.model)) } else { String::new() };
            out += &match &turn.answer {
                Answer::Failed { error, .. } => format!("\n> {who}_{error}_\n"),
                _ => format!("\n> {who}{}\n", turn.said().trim().replace('\n', "\n> ")),
            };
        }
    }
    out
}

pub fn as_json(app: &App) -> Value {
    let turn = |turn: &Turn| {
        let mut row = json!({
            "question": turn.question,
            "images": turn.images,
            "model": turn.model.model,
            "adapters": turn.model.adapters,
        });
        match &turn.answer {
            Answer::Done(done) => {
                row["answer"] = json!(done.text);
                row["tokens"] = json!(done.tokens);
                row["prompt_tokens"] = json!(done.prompt_tokens);
                row["finish_reason"] = json!(done.finish);
                row["seconds"] = json!(done.seconds);
            }
            Answer::Failed { error, .. } => row["error"] = json!(error),
            _ => {}
        }
        row
    };
    let conversations: Vec<Value> = sides(app).iter().map(|side| side.turns.iter().map(turn).collect()).collect();
    json!({ "system": app.chat.system, "options": app.chat.options, "conversations": conversations })
}

/// The conversation of the chosen side as a row of `name`, in the layout of OpenAI's messages.
pub fn add_to_data_set(app: &mut App, name: &str) -> Effects {
    let name = name.trim().to_owned();
    if name.is_empty() {
        return Vec::new();
    }
    let dir = app.settings.last.dataset_dir.clone().map_or_else(|| app.here.join("data"), |dir| app.here.join(dir));
    let Some(row) = row(&app.chat.sides[app.chat.side()].turns, &app.here) else {
        app.say(Level::Info, app.t(text::NOTHING_SAID));
        return Vec::new();
    };
    vec![crate::app::Effect::Chat(Effect::AddToDataSet { dir, name, row: row.to_string() })]
}

/// `None`: nothing was answered.
pub fn row(turns: &[Turn], here: &Path) -> Option<Value> {
    let (mut messages, mut images): (Vec<Value>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for turn in turns {
        let Answer::Done(Done { text, .. }) = &turn.answer else { continue };
        let content = lightbox_core::text::with_image_marks(&turn.question, turn.images.len());
        messages.push(json!({"role": "user", "content": content}));
        messages.push(json!({"role": "assistant", "content": text}));
        images.extend(turn.images.iter().map(|image| here.join(image)));
    }
    (!messages.is_empty()).then(|| json!({"messages": messages, "images": images}))
}
