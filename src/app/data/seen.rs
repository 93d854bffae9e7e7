//! What the model sees of a sample, prepared for a screen: clean texts and how each is to look.

use lightbox_core::data::{Problem, Sample};
use lightbox_core::safe_text::{clean, clean_line};
use lightbox_core::text::{PieceKind, Seen};
use std::path::PathBuf;

/// Whether the detail shows what the model sees, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeenMode {
    #[default]
    Off,
    Text,
    /// One token a line.
    Tokens,
}

/// Where to look for a model and for the settings that samples are encoded with; the first that is there counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenBy {
    pub models: Vec<PathBuf>,
    pub profile: Option<PathBuf>,
    /// The folder that a profile's paths are relative to.
    pub here: PathBuf,
    /// The demo's folder.
    pub demo: PathBuf,
    /// Chosen on this screen, instead of the profile's.
    pub cutoff_len: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SeenView {
    pub parts: Vec<Part>,
    pub tokens: Vec<Token>,
    /// Tokens that are kept; of them of pictures, and learnt.
    pub n_tokens: usize,
    pub n_image: usize,
    pub n_target: usize,
    /// Tokens that are cut away.
    pub cut: usize,
    pub cutoff_len: usize,
    /// Why training would leave the sample out.
    pub refused: Option<String>,
    /// Whose tokens these are, and the profile with the settings, if it was one.
    pub model: String,
    pub profile: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String, Look),
    /// The tokens of picture `number` (from 1), `across` × `down`.
    Picture {
        number: usize,
        tokens: usize,
        across: i64,
        down: i64,
        look: Look,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub text: String,
    pub look: Look,
}

/// How a token fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Read, not learnt.
    Context,
    /// A token that is no text.
    Special,
    Trained,
    Picture,
    Cut,
}

impl SeenView {
    pub fn new(seen: &Seen, cutoff_len: usize, model: String, profile: Option<String>) -> Self {
        let mut looks = vec![Look::Context; seen.tokens.len()];
        let mut parts = Vec::new();
        for piece in &seen.pieces {
            let look = match piece.kind {
                _ if !piece.kept => Look::Cut,
                PieceKind::Image { .. } => Look::Picture,
                _ if piece.trained => Look::Trained,
                PieceKind::Special => Look::Special,
                PieceKind::Text => Look::Context,
            };
            looks.get_mut(piece.tokens.clone()).into_iter().for_each(|looks| looks.fill(look));
            parts.push(match piece.kind {
                // Patches are merged two by two in both directions.
                PieceKind::Image { tokens, grid: [_, h, w], picture } => {
                    Part::Picture { number: picture + 1, tokens, across: w / 2, down: h / 2, look }
                }
                _ => Part::Text(clean(&piece.text), look),
            });
        }
        let tokens = seen.tokens.iter().zip(looks);
        Self {
            parts,
            tokens: tokens.map(|(t, look)| Token { id: t.id, text: clean_line(&t.text, 80), look }).collect(),
            n_tokens: seen.n_tokens,
            n_image: seen.n_image,
            n_target: seen.n_target,
            cut: seen.cut,
            cutoff_len,
            refused: seen.refused.as_ref().map(|why| clean_line(&why.to_string(), 500)),
            model,
            profile,
        }
    }
}

/// Characters of a sample that are shown: more would take longer to lay out than a frame may.
const SHOWN: usize = 40_000;

impl super::open::Shown {
    pub fn new(index: usize, sample: Sample) -> Self {
        use super::open::Who;
        use lightbox_core::text::Role;
        let c = sample.conversation;
        let system = c.system.filter(|text| !text.is_empty()).map(|text| (Who::System, text));
        let tools = c.tools.filter(|text| !text.is_empty()).map(|text| (Who::Tools, text));
        let messages = c.messages.into_iter().map(|message| {
            let who = match message.role {
                Role::User => Who::User,
                Role::Assistant => Who::Assistant,
                Role::Observation => Who::Observation,
                Role::Function => Who::Function,
            };
            (who, message.content)
        });
        let (mut turns, mut room, mut more) = (Vec::new(), SHOWN, 0);
        for (who, text) in system.into_iter().chain(tools).chain(messages) {
            let chars = text.chars().count();
            if room > 0 {
                let end = text.char_indices().nth(room).map_or(text.len(), |(end, _)| end);
                turns.push((who, clean(&text[..end])));
            }
            more += chars.saturating_sub(room);
            room = room.saturating_sub(chars);
        }
        Self { index, origin: clean_line(&sample.origin, 500), images: sample.images, turns, more, problem: None }
    }

    pub fn bad(problem: &Problem) -> Self {
        Self {
            index: problem.index,
            origin: clean_line(&problem.origin, 500),
            images: Vec::new(),
            turns: Vec::new(),
            more: 0,
            problem: Some(format!("{}: {}", problem.kind, clean(&problem.reason))),
        }
    }

    /// As text, for the clipboard.
    pub fn text(&self) -> String {
        let turns: Vec<&str> = self.turns.iter().map(|(_, text)| text.as_str()).collect();
        turns.join("\n\n") + self.problem.as_deref().unwrap_or_default()
    }
}
