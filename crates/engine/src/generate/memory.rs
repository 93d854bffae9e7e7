//! What is kept from one question to the next: keys and values of the conversation so far. The next turn repeats all of it, so
//! only what is new has to be read.

use super::Prompt;
use crate::model::KvCache;
use lightbox_core::vision::Grid;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One conversation, as the model has read it. It belongs to the weights that computed it: whoever changes them, or what
/// lies on them, begins with an empty one.
#[derive(Default)]
pub struct Memory {
    /// Tokens of `cache`.
    ids: Vec<i64>,
    pictures: Vec<Picture>,
    cache: Option<KvCache>,
}

/// A picture as the model gets it: the same file under another pixel limit is another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Picture {
    grid: Grid,
    pixels: u64,
}

/// How much of a prompt is in the cache.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub tokens: usize,
    /// So many pictures lie in those tokens.
    pub pictures: usize,
}

impl Memory {
    /// Gives away the cache, cut to what `prompt` has in common with it. The last token of a prompt is never known: its
    /// logits are wanted.
    pub(super) fn recall(&mut self, prompt: &Prompt, image_pad: i64) -> Option<(KvCache, Known)> {
        let mut cache = self.cache.take()?;
        let known = common(&self.ids, &self.pictures, &prompt.ids, &pictures(prompt), image_pad);
        cache.truncate(known.tokens as i64);
        (known.tokens > 0).then_some((cache, known))
    }

    /// Keeps what was computed for `prompt` and the tokens that were said after it.
    pub(super) fn keep(&mut self, cache: KvCache, prompt: &Prompt, said: &[i64]) {
        self.ids = prompt.ids.iter().chain(said).copied().take(cache.len() as usize).collect();
        self.pictures = pictures(prompt);
        self.cache = Some(cache);
    }
}

/// The pictures of a prompt, in order.
fn pictures(prompt: &Prompt) -> Vec<Picture> {
    let patches = |grid: &Grid| grid.iter().product::<i64>() as usize;
    let all: usize = prompt.grids.iter().map(patches).sum();
    let patch_len = prompt.pixel_values.len().checked_div(all).unwrap_or(0);
    let mut rest = prompt.pixel_values.as_slice();
    let picture = |grid: &Grid| {
        let (own, others) = rest.split_at((patches(grid) * patch_len).min(rest.len()));
        rest = others;
        let mut hash = DefaultHasher::new();
        own.iter().for_each(|x| x.to_bits().hash(&mut hash));
        Picture { grid: *grid, pixels: hash.finish() }
    };
    prompt.grids.iter().map(picture).collect()
}

/// The longest common beginning, cut before the first picture that differs or is not whole in it.
fn common(old: &[i64], old_pictures: &[Picture], new: &[i64], new_pictures: &[Picture], pad: i64) -> Known {
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tokens = same.min(new.len().saturating_sub(1));
    let mut at = 0;
    for (i, picture) in new_pictures.iter().enumerate() {
        let Some(start) = new[at..].iter().position(|id| *id == pad).map(|start| at + start) else { break };
        let end = new[start..].iter().position(|id| *id != pad).map_or(new.len(), |len| start + len);
        if start >= tokens {
            return Known { tokens, pictures: i };
        }
        if end > tokens || old_pictures.get(i) != Some(picture) {
            return Known { tokens: start, pictures: i };
        }
        at = end;
    }
    Known { tokens, pictures: new_pictures.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_prompts_share_ends_before_another_picture() {
        let picture = |pixels| Picture { grid: [1, 2, 4], pixels };
        let (a, b) = ([picture(1), picture(2)], [picture(1), picture(3)]);
        // 9 is the picture token.
        let old = [1, 9, 9, 2, 9, 9, 3, 4];
        let known = |new: &[i64], pictures: &[Picture]| {
            let known = common(&old, &a, new, pictures, 9);
            (known.tokens, known.pictures)
        };
        assert_eq!(known(&[1, 9, 9, 2, 9, 9, 3, 4, 5], &a), (8, 2));
        assert_eq!(known(&[1, 9, 9, 2, 9, 9, 3, 4], &a), (7, 2), "the last token is read again");
        assert_eq!(known(&[1, 9, 9, 2, 9, 9, 7, 4, 5], &a), (6, 2));
        assert_eq!(known(&[1, 9, 9, 2, 9, 9, 3, 4, 5], &b), (4, 1), "another second picture");
        assert_eq!(known(&[1, 9, 9, 2, 9, 9, 9, 4, 5], &a), (4, 1), "a larger second picture");
        assert_eq!(known(&[1, 9, 9, 3, 9, 9], &a), (3, 1));
        assert_eq!(known(&[2, 9, 9], &a[..1]), (0, 0));
        // A picture token that the model said itself stands for no picture.
        let said = common(&old, &[], &old, &a, 9);
        assert_eq!((said.tokens, said.pictures), (1, 0));
    }
}
