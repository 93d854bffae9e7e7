//! The profile as YAML: a field of many lines over the form. What is typed is the draft at once, so problems and estimate
//! follow each letter; all of it is one step of undo in the form.

use super::{changed, files};
use crate::app::cursor::Move;
use crate::app::{App, Effects};
use crate::input::Key as Pressed;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui_textarea::{CursorMove, TextArea};

/// Name of the text in [`crate::view::Hits`].
pub const LIST: &str = "train-yaml";

#[derive(Debug)]
pub struct Yaml {
    pub area: TextArea<'static>,
    /// The text when the pane was opened is a step of undo already.
    begun: bool,
}

/// Opens the pane, at a line (from 1) or at the chosen key.
pub fn open(app: &mut App, line: Option<usize>) -> Effects {
    let train = &mut app.train;
    let of_key = || train.row().and_then(|row| Some(train.draft.entry(row.name())?.lines.start));
    let row = line.map(|line| line.saturating_sub(1)).or_else(of_key).unwrap_or(0);
    // a line that ends with \r would show it; YAML takes both
    let mut area = TextArea::new(train.draft.text().split('\n').map(|l| l.trim_end_matches('\r').to_owned()).collect());
    area.move_cursor(CursorMove::Jump(row.min(u16::MAX.into()) as u16, 0));
    area.set_tab_length(2);
    (train.yaml, train.field, train.searching) = (Some(Yaml { area, begun: false }), None, false);
    Vec::new()
}

pub fn close(app: &mut App) -> Effects {
    let key = app.train.yaml.take().and_then(|yaml| {
        let row = yaml.area.cursor().0;
        app.train.draft.entries().iter().find(|entry| entry.lines.contains(&row)).map(|entry| entry.key.clone())
    });
    if let Some(key) = key {
        app.train.show(&key);
    }
    changed(app)
}

pub fn key(app: &mut App, event: KeyEvent) -> Option<Effects> {
    let height = app.hits.height(LIST);
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        KeyCode::Esc => return Some(close(app)),
        // what is global everywhere is global here, and saving is saving
        KeyCode::F(_) => return None,
        KeyCode::Char('s' | 'p' | 'o' | 't' | 'g' | 'l' | 'z' | 'c') if control => return None,
        KeyCode::PageUp => move_by(app, Move::Page(-1), height),
        KeyCode::PageDown => move_by(app, Move::Page(1), height),
        KeyCode::Home if control => move_by(app, Move::Home, height),
        KeyCode::End if control => move_by(app, Move::End, height),
        _ => {
            let yaml = app.train.yaml.as_mut()?;
            let pressed = Pressed::of(&event);
            // undo as in the form, and as in every other editor
            let typed = match pressed.code {
                KeyCode::Char('y') if control => yaml.area.redo(),
                _ => yaml.area.input(event),
            };
            if typed {
                return Some(typed_text(app));
            }
        }
    }
    Some(Vec::new())
}

fn typed_text(app: &mut App) -> Effects {
    let Some(yaml) = app.train.yaml.as_mut() else { return Vec::new() };
    let text = yaml.area.lines().join("\n");
    match std::mem::replace(&mut yaml.begun, true) {
        false => app.train.draft.replace(text),
        true => app.train.draft.retype(text),
    }
    changed(app)
}

fn move_by(app: &mut App, to: Move, height: u16) {
    let Some(yaml) = app.train.yaml.as_mut() else { return };
    let at = yaml.area.cursor();
    let (row, column) = (at.0, at.1);
    let mut cursor = crate::app::cursor::Cursor { at: row, len: yaml.area.lines().len() };
    cursor.go(to, height);
    yaml.area.move_cursor(CursorMove::Jump(cursor.at.min(u16::MAX.into()) as u16, column.min(u16::MAX.into()) as u16));
}

pub fn scroll(app: &mut App, n: isize) -> Effects {
    move_by(app, Move::By(n), 1);
    Vec::new()
}

/// A click at a column and row of the text's area.
pub fn click(app: &mut App, x: u16, y: u16) -> Effects {
    let row = app.hits.offset(LIST) + usize::from(y);
    let Some(yaml) = app.train.yaml.as_mut() else { return Vec::new() };
    let line = yaml.area.lines().get(row).cloned().unwrap_or_default();
    let mut columns = 0;
    let column = line.chars().take_while(|c| {
        columns += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
        columns <= usize::from(x)
    });
    let column = column.count();
    yaml.area.move_cursor(CursorMove::Jump(row.min(u16::MAX.into()) as u16, column.min(u16::MAX.into()) as u16));
    Vec::new()
}

pub fn paste(app: &mut App, pasted: &str) -> Effects {
    let Some(yaml) = app.train.yaml.as_mut() else { return Vec::new() };
    // no editor takes control codes, and no YAML has them
    let lines = pasted.replace("\r\n", "\n").replace('\r', "\n");
    let text: String = lines.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    if yaml.area.insert_str(text) { typed_text(app) } else { Vec::new() }
}

/// The text in $EDITOR.
pub fn edit_outside(app: &mut App) -> Effects {
    app.train.yaml = None;
    let text = app.train.draft.text().to_owned();
    vec![super::effect(super::Effect::Files(files::Effect::WriteDraft(text)))]
}
