//! The core of this module: turns → ids and labels, and what is cut away when a sample is too long
//! (LLaMA-Factory, `SupervisedDatasetProcessor._encode_data_example` and `infer_seqlen`).
//!
//! ```text
//! system block + question | answer | question | answer        one source and one target per turn
//! -100 …                  | ids    | -100 …   | ids           labels by default: answers, with <|im_end|> and its newline
//! ```
//! Read next: `template.rs` (the texts), `collate.rs` (rows → batch).
use super::template::{IMAGE_MARK, message_text, system_block};
use super::{Conversation, EncodeError, IGNORE_INDEX, Role, Tokenizer, image_tokens};
use crate::vision::Grid;
use std::ops::Range;
use std::sync::Arc;

/// The keys of a profile that decide about ids and labels.
#[derive(Debug, Clone)]
pub struct EncodeOptions {
    /// Most tokens of a sample; longer ones are cut turn by turn. LLaMA-Factory's default is 2048.
    pub cutoff_len: usize,
    /// All tokens are labels, pictures' too.
    pub train_on_prompt: bool,
    /// Only the last answer is a label, and the newest turns are the last to be cut. LLaMA-Factory refuses this together
    /// with `train_on_prompt`.
    pub mask_history: bool,
    /// `None`: the template's "You are a helpful assistant."; `Some("")`: no system block.
    pub default_system: Option<String>,
}

/// LLaMA-Factory's defaults.
impl Default for EncodeOptions {
    fn default() -> Self {
        Self { cutoff_len: 2048, train_on_prompt: false, mask_history: false, default_system: None }
    }
}

/// One encoded sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub input_ids: Vec<i64>,
    /// Same length; -100 where no loss is taken.
    pub labels: Vec<i64>,
    /// One per picture, in order; their pads in `input_ids` are complete.
    pub grids: Vec<Grid>,
    /// Text tokens cut away by `cutoff_len`.
    pub truncated: usize,
}

/// Training sample: ids and labels of every turn, cut to `cutoff_len` as LLaMA-Factory cuts, but never through a
/// picture: that is an error that says how many tokens are needed.
///
/// # Errors
/// See [`EncodeError`]; nothing is repaired silently.
pub fn encode_conversation(
    t: &Tokenizer,
    c: &Conversation,
    grids: &[Grid],
    o: &EncodeOptions,
) -> Result<Encoded, EncodeError> {
    let plan = plan(t, c, grids, o)?;
    if let Some(e) = plan.refused(grids, o) {
        return Err(e);
    }
    let (needed, total) = (plan.needed(), plan.kept());
    let mut input_ids = Vec::with_capacity(total);
    let mut labels = Vec::with_capacity(total);
    for part in &plan.parts {
        let ids = &part.piece.ids[..part.kept];
        input_ids.extend_from_slice(ids);
        labels.extend(ids.iter().map(|&id| if part.learn { id } else { IGNORE_INDEX }));
    }
    Ok(Encoded { input_ids, labels, grids: grids.to_vec(), truncated: needed - total })
}

/// A whole sample as tokens, and what becomes of them: sources and targets in turn.
pub(super) struct Plan {
    pub parts: Vec<Part>,
}

/// A source or a target.
pub(super) struct Part {
    pub piece: Piece,
    /// As many of its tokens, from the first on, are not cut away.
    pub kept: usize,
    /// Whether those are labels.
    pub learn: bool,
}

impl Plan {
    /// Tokens without a cut.
    pub fn needed(&self) -> usize {
        self.parts.iter().map(|part| part.piece.ids.len()).sum()
    }

    /// Tokens after the cut.
    pub fn kept(&self) -> usize {
        self.parts.iter().map(|part| part.kept).sum()
    }

    /// Why it cannot be trained on, cut as it is.
    pub fn refused(&self, grids: &[Grid], o: &EncodeOptions) -> Option<EncodeError> {
        let (needed, cutoff_len) = (self.needed(), o.cutoff_len);
        if self.parts.iter().any(|part| part.piece.loses_picture(part.kept)) {
            let image_tokens = grids.iter().filter_map(image_tokens).sum();
            return Some(EncodeError::TooLong { needed, image_tokens, cutoff_len });
        }
        // The first token is predicted from nothing, so a label there does not count.
        let mut before = 0;
        let counts = self.parts.iter().any(|part| {
            let first = before == 0;
            before += part.kept;
            part.learn && part.kept > usize::from(first)
        });
        (!counts).then_some(EncodeError::NoTarget { needed, cutoff_len })
    }
}

/// Tokens of all turns, and which of them `o` keeps and learns.
pub(super) fn plan(t: &Tokenizer, c: &Conversation, grids: &[Grid], o: &EncodeOptions) -> Result<Plan, EncodeError> {
    check_turns(c)?;
    let pieces = encode_messages(t, c, grids, o.default_system.as_deref())?;
    let turns: Vec<Turn> = pieces.chunks_exact(2).map(|pair| Turn { source: &pair[0], target: &pair[1] }).collect();
    let kept = cut(&turns, o.cutoff_len, o.mask_history);
    let turns = kept.len();
    let kept = kept.into_iter().flat_map(|(source, target)| [source, target]);
    let parts = pieces.into_iter().zip(kept).enumerate().map(|(i, (piece, kept))| {
        let learn = if i % 2 == 0 { o.train_on_prompt } else { !o.mask_history || i / 2 + 1 == turns };
        Part { piece, kept, learn }
    });
    Ok(Plan { parts: parts.collect() })
}

/// Prompt for generation: everything up to and including `<|im_start|>assistant\n`. Earlier turns may be there; the last
/// message is the user's (or a tool's). Nothing is cut.
pub fn encode_prompt(
    t: &Tokenizer,
    c: &Conversation,
    grids: &[Grid],
    default_system: Option<&str>,
) -> Result<Vec<i64>, EncodeError> {
    if let Some(fault) = role_fault(c) {
        return Err(EncodeError::OddPrompt(fault));
    }
    if c.messages.len().is_multiple_of(2) {
        return Err(EncodeError::OddPrompt(format!("{} messages end with an answer or are none", c.messages.len())));
    }
    let pieces = encode_messages(t, c, grids, default_system)?;
    Ok(pieces.into_iter().flat_map(|p| p.ids).collect())
}

/// The ids of one message, and where pictures lie in them: from `<|vision_start|>` up to and including `<|vision_end|>`.
pub(super) struct Piece {
    pub ids: Vec<i64>,
    pub pictures: Vec<Range<usize>>,
}

impl Piece {
    /// Whether keeping only the first `len` ids takes something from a picture.
    fn loses_picture(&self, len: usize) -> bool {
        self.pictures.last().is_some_and(|p| p.end > len)
    }
}

/// A question and its answer.
struct Turn<'a> {
    source: &'a Piece,
    target: &'a Piece,
}

fn check_turns(c: &Conversation) -> Result<(), EncodeError> {
    if let Some(fault) = role_fault(c) {
        return Err(EncodeError::OddTurns(fault));
    }
    match c.messages.len() {
        0 => Err(EncodeError::OddTurns("there are no messages".into())),
        n if n % 2 == 1 => Err(EncodeError::OddTurns(format!("{n} messages, so the last question has no answer"))),
        _ => Ok(()),
    }
}

/// The first message whose role does not fit its place.
fn role_fault(c: &Conversation) -> Option<String> {
    let (i, message) = c.messages.iter().enumerate().find(|(i, m)| m.role.answers() != (i % 2 == 1))?;
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Observation => "observation",
        Role::Function => "function",
    };
    Some(format!("message {} has the role {role}", i + 1))
}

/// One piece per message; the system block belongs to the first. Each text is tokenised alone, as in LLaMA-Factory.
fn encode_messages(
    t: &Tokenizer,
    c: &Conversation,
    grids: &[Grid],
    default_system: Option<&str>,
) -> Result<Vec<Piece>, EncodeError> {
    let count = |mark: &str| c.messages.iter().map(|m| m.content.matches(mark).count()).sum::<usize>();
    for mark in EncodeError::UNSUPPORTED_MARKS {
        match count(mark) {
            0 => {}
            marks => return Err(EncodeError::UnsupportedMedia { mark, marks }),
        }
    }
    let marks = count(IMAGE_MARK);
    if marks != grids.len() {
        return Err(EncodeError::ImageCount { marks, images: grids.len() });
    }
    let sizes: Vec<usize> = grids
        .iter()
        .enumerate()
        .map(|(i, grid)| image_tokens(grid).ok_or(EncodeError::BadGrid { picture: i + 1, grid: *grid }))
        .collect::<Result<_, _>>()?;
    let mut sizes = sizes.as_slice();

    let system = system_block(c.system.as_deref(), default_system, c.tools.as_deref())?;
    let system = t.encode_again(&system).map_err(failed)?;
    check_pads(t, &system, 0, || "the system text or the tools".into())?;
    let mut pieces = Vec::with_capacity(c.messages.len());
    for (i, message) in c.messages.iter().enumerate() {
        let number = i + 1;
        let text = message_text(message, number)?;
        let ids = if message.role.answers() { t.encode(&text).map(Arc::from) } else { t.encode_again(&text) };
        let ids = ids.map_err(failed)?;
        let marks = message.content.matches(IMAGE_MARK).count();
        if check_pads(t, &ids, marks, || format!("message {number}"))? < marks {
            let reason = format!("an {IMAGE_MARK} mark lies in a part that the call does not keep");
            return Err(EncodeError::BadFunctionCall { message: number, reason });
        }
        let (own, rest) = sizes.split_at(marks);
        sizes = rest;
        let before: &[i64] = if i == 0 { &system } else { &[] };
        pieces.push(expand(t, before, &ids, own));
    }
    Ok(pieces)
}

fn failed(e: anyhow::Error) -> EncodeError {
    EncodeError::Tokenizer(format!("{e:#}"))
}

/// How many image pads there are; more than `marks`, or a video pad, were written in the text itself.
fn check_pads(t: &Tokenizer, ids: &[i64], marks: usize, place: impl Fn() -> String) -> Result<usize, EncodeError> {
    let count = |pad| ids.iter().filter(|&&id| id == pad).count();
    if count(t.video_pad) > 0 {
        return Err(EncodeError::SpecialToken { place: place(), token: "<|video_pad|>" });
    }
    match count(t.image_pad) {
        pads if pads > marks => Err(EncodeError::SpecialToken { place: place(), token: "<|image_pad|>" }),
        pads => Ok(pads),
    }
}

/// Repeats the k-th image pad `sizes[k]` times, behind the ids `before`.
fn expand(t: &Tokenizer, before: &[i64], ids: &[i64], sizes: &[usize]) -> Piece {
    let mut sizes = sizes.iter();
    let mut piece = Piece { ids: before.to_vec(), pictures: Vec::new() };
    for &id in ids {
        match sizes.as_slice() {
            [size, ..] if id == t.image_pad => {
                let start = piece.ids.len();
                piece.ids.extend(std::iter::repeat_n(t.image_pad, *size));
                piece.pictures.push(start.saturating_sub(1)..start + size + 1);
                sizes.next();
            }
            _ => piece.ids.push(id),
        }
    }
    piece
}

/// How many source and target tokens of each turn stay. Turns are served in order, with `newest_first` from the last to
/// the first; once the budget is spent, the others vanish whole.
fn cut(turns: &[Turn], cutoff_len: usize, newest_first: bool) -> Vec<(usize, usize)> {
    let mut kept = vec![(0, 0); turns.len()];
    let mut budget = cutoff_len;
    for i in 0..turns.len() {
        if budget == 0 {
            break;
        }
        let i = if newest_first { turns.len() - 1 - i } else { i };
        let (source, target) = infer_seqlen(turns[i].source.ids.len(), turns[i].target.ids.len(), budget);
        kept[i] = (source, target);
        budget -= source + target;
    }
    kept
}

/// LLaMA-Factory's `infer_seqlen`: shares `budget` (> 0) between a source and a target that may be too long for it.
pub(crate) fn infer_seqlen(source_len: usize, target_len: usize, budget: usize) -> (usize, usize) {
    let max_target_len = if target_len * 2 < budget {
        budget
    } else if source_len * 2 < budget {
        budget - source_len
    } else {
        // in f64 as Python computes it, so that rounding falls the same way
        (budget as f64 * (target_len as f64 / (source_len + target_len) as f64)) as usize
    };
    let target = max_target_len.min(target_len);
    (budget.saturating_sub(target).min(source_len), target)
}

#[cfg(test)]
mod tests {
    use super::infer_seqlen;

    /// Observed in LLaMA-Factory 0.9.5.
    #[test]
    fn a_turn_that_is_too_long_is_shared_as_in_llamafactory() {
        for (source, target, budget, expected) in [
            (800, 300, 1024, (724, 300)),
            (1000, 100, 1024, (924, 100)),
            (1000, 600, 1024, (640, 384)),
            (100, 2000, 1024, (100, 924)),
            (600, 600, 1024, (512, 512)),
            (10, 5, 100, (10, 5)),
            (0, 0, 1, (0, 0)),
        ] {
            assert_eq!(infer_seqlen(source, target, budget), expected, "({source}, {target}, {budget})");
        }
    }
}
