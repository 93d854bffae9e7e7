//! What the model sees of one sample, for people: the text that its tokens spell, its pictures as so many tokens, what of
//! it is learnt, and what `cutoff_len` takes away. Made of the same parts as [`super::encode_conversation`], so that
//! nothing here can differ from training. Not here: pixels.

use super::encode::plan;
use super::stream::complete;
use super::{Conversation, EncodeError, EncodeOptions, Tokenizer};
use crate::vision::Grid;
use std::ops::Range;

/// A sample as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// All of the sample in order, what is cut away too. Their texts joined are the template's text (in Unicode's NFC, as
    /// the tokenizer has it).
    pub pieces: Vec<Piece>,
    /// One by one; pieces name ranges of them.
    pub tokens: Vec<SeenToken>,
    /// Tokens that are kept: the length of the training sample.
    pub n_tokens: usize,
    /// Tokens that loss is taken of: labels that are not -100.
    pub n_target: usize,
    /// Kept tokens of pictures.
    pub n_image: usize,
    /// Tokens that are cut away.
    pub cut: usize,
    /// Why training would refuse the sample although it can be encoded: a picture would be cut, or nothing is left to learn.
    pub refused: Option<EncodeError>,
}

/// Neighbouring tokens of one kind that fare alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub kind: PieceKind,
    /// A character whose bytes lie in two pieces stands in the second. For a picture: its pad, once.
    pub text: String,
    /// In [`Seen::tokens`].
    pub tokens: Range<usize>,
    /// Loss is taken of it. Never of what is cut away.
    pub trained: bool,
    /// False: cut away by `cutoff_len`.
    pub kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    Text,
    /// A token that is no text, such as `<|im_start|>`.
    Special,
    /// The pads of picture `picture` (from 0).
    Image {
        tokens: usize,
        grid: Grid,
        picture: usize,
    },
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenToken {
    pub id: i64,
    /// What it stands for; bytes that are no whole character as `\xE4`.
    pub text: String,
}

/// What the model sees of `c`, whose pictures have `grids`.
///
/// # Errors
/// As [`super::encode_conversation`], but a sample that is too long is no error: see [`Seen::refused`].
pub fn seen(t: &Tokenizer, c: &Conversation, grids: &[Grid], o: &EncodeOptions) -> Result<Seen, EncodeError> {
    let plan = plan(t, c, grids, o)?;
    let mut seen = Seen {
        pieces: Vec::new(),
        tokens: Vec::with_capacity(plan.needed()),
        n_tokens: plan.kept(),
        n_target: 0,
        n_image: 0,
        cut: plan.needed() - plan.kept(),
        refused: plan.refused(grids, o),
    };
    let mut joiner = Joiner { tokenizer: t, grids, seen: &mut seen, pending: Vec::new() };
    let mut picture = 0;
    for part in &plan.parts {
        let mut pictures = part.piece.pictures.iter().peekable();
        for (at, &id) in part.piece.ids.iter().enumerate() {
            let kept = at < part.kept;
            // A picture's range has its start and end marks around the pads.
            while pictures.peek().is_some_and(|range| at + 1 >= range.end) {
                pictures.next();
                picture += 1;
            }
            let of_picture = pictures.peek().filter(|range| at > range.start).map(|_| picture);
            joiner.push(id, of_picture, part.learn && kept, kept);
        }
        picture += pictures.count();
    }
    joiner.end_of_text();
    Ok(seen)
}

struct Joiner<'a> {
    tokenizer: &'a Tokenizer,
    grids: &'a [Grid],
    seen: &'a mut Seen,
    /// The beginning of a character whose end has not come yet.
    pending: Vec<u8>,
}

impl Joiner<'_> {
    fn push(&mut self, id: i64, picture: Option<usize>, trained: bool, kept: bool) {
        let special = self.tokenizer.special_text(id);
        let bytes = if special.is_some() { Vec::new() } else { self.tokenizer.text_bytes(id) };
        let kind = match (picture.and_then(|p| Some((p, *self.grids.get(p)?))), &special) {
            (Some((picture, grid)), _) => PieceKind::Image { tokens: 0, grid, picture },
            (None, Some(_)) => PieceKind::Special,
            (None, None) => PieceKind::Text,
        };
        if kind != PieceKind::Text {
            self.end_of_text();
        }
        self.seen.n_target += usize::from(trained);
        self.seen.n_image += usize::from(kept && picture.is_some());
        let at = self.seen.tokens.len();
        let text = special.clone().unwrap_or_else(|| spelled(&bytes));
        self.seen.tokens.push(SeenToken { id, text });

        let joins = |last: &&mut Piece| last.trained == trained && last.kept == kept && last.kind.joins(kind);
        let same_picture = |last: &Piece| matches!((last.kind, kind), (PieceKind::Image { picture: a, .. }, PieceKind::Image { picture: b, .. }) if a == b);
        // The second part of a picture that the cut goes through has no text of its own.
        let repeated = self.seen.pieces.last().is_some_and(same_picture);
        let index = match self.seen.pieces.last_mut().filter(joins) {
            Some(last) => {
                last.tokens.end = at + 1;
                self.seen.pieces.len() - 1
            }
            None => {
                self.seen.pieces.push(Piece { kind, text: String::new(), tokens: at..at + 1, trained, kept });
                self.seen.pieces.len() - 1
            }
        };
        let piece = &mut self.seen.pieces[index];
        match &mut piece.kind {
            PieceKind::Image { tokens, .. } => {
                *tokens += 1;
                if !repeated {
                    piece.text = special.unwrap_or_default();
                }
            }
            PieceKind::Special => piece.text += &special.unwrap_or_default(),
            PieceKind::Text => {
                self.pending.extend(bytes);
                let (text, used) = complete(&self.pending);
                self.pending.drain(..used);
                piece.text += &text;
            }
        }
    }

    /// A character that never got its end is shown as U+FFFD where it began.
    fn end_of_text(&mut self) {
        if !self.pending.is_empty() {
            let rest = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
            if let Some(last) = self.seen.pieces.last_mut() {
                last.text += &rest;
            }
        }
    }
}

impl PieceKind {
    fn joins(self, next: Self) -> bool {
        match (self, next) {
            (Self::Image { picture: a, .. }, Self::Image { picture: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }
}

/// Bytes of one token as text; those that are no whole character by their number.
fn spelled(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02X}");
        }
    }
    text
}
