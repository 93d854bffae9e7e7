//! Where the questions of a conversation come from: a terminal, with a line that can be edited, earlier ones (Up) and names
//! of pictures (Tab after `/image`); or a file or a pipe, line by line.

use anyhow::Result;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::io::{BufRead, IsTerminal};

/// Comes before the name of a picture.
pub const IMAGE_COMMAND: &str = "/image";

pub enum Lines {
    Terminal(Box<Editor<PictureNames, MemHistory>>),
    Piped,
}

/// What was entered.
pub enum Line {
    /// Without the end of the line; a text that was pasted may have several.
    Text(String),
    /// Ctrl-C, which throws away what was begun.
    Interrupted,
    /// Ctrl-D, or the end of the file.
    End,
}

impl Lines {
    /// Standard input.
    pub fn open() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Piped);
        }
        let mut editor = Editor::with_history(Config::default(), MemHistory::new())?;
        editor.set_completion_type(CompletionType::List);
        editor.set_helper(Some(PictureNames(FilenameCompleter::new())));
        Ok(Self::Terminal(Box::new(editor)))
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    pub fn next(&mut self) -> Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(error.into()),
            },
            Self::Piped => {
                let mut line = String::new();
                Ok(if std::io::stdin().lock().read_line(&mut line)? == 0 { Line::End } else { Line::Text(line) })
            }
        }
    }
}

/// Completes the names of files, where one is meant.
pub struct PictureNames(FilenameCompleter);

impl Completer for PictureNames {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with(IMAGE_COMMAND) { self.0.complete_path(line, pos) } else { Ok((pos, vec![])) }
    }
}

impl Helper for PictureNames {}
impl Highlighter for PictureNames {}
impl Validator for PictureNames {}
impl Hinter for PictureNames {
    type Hint = String;
}
