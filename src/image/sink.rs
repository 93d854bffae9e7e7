//! Layer two: real pixels over the half blocks. A sink knows one way of showing them; [`Shown`] knows what is on the screen
//! and tells the sink only what changed.
//!
//! The loop, after every event:
//! 1. `terminal.draw`: the views draw half blocks and return wishes, (picture, rect), none for what an overlay covers. At the
//!    end of the closure: `for rect in shown.stale(&wishes, sink) { rewrite(frame.buffer_mut(), rect) }`. Then `end_frame`.
//! 2. `shown.reconcile(&wishes, &store, sink, &mut out)`, then `screen.send(&mut out)`.
//! 3. While `sink.pending()`: when the terminal's backlog is small, `sink.next_chunk(&mut out, 16 KB)` and `send`, and again
//!    some 15 ms later at most; keys and frames come in between.
//! 4. After `frame::clear`, a resize, a suspension: `shown.forget(sink)`, and reconcile again after 150 ms without a further resize.
//! 5. Before leaving: nothing, `guard::restore` deletes what there is.

use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;

use super::store::Store;
use super::{Picture, PictureId};
use crate::term::{Caps, Graphics, Mux};

pub trait PixelSink {
    /// Shows a picture at these cells as soon as it has been sent. Once a rect; the same picture may have several.
    fn show(&mut self, out: &mut Vec<u8>, picture: &Picture, at: Rect);
    /// Takes all showings of a picture away.
    fn hide(&mut self, out: &mut Vec<u8>, id: PictureId);
    fn hide_all(&mut self, out: &mut Vec<u8>);
    /// The screen was cleared: nothing is shown and nothing that was sent can be relied on.
    fn forget(&mut self);
    /// Is something still to be encoded or sent?
    fn pending(&self) -> bool;
    /// Sends some more, about `budget` bytes (one piece at least where there is one).
    fn next_chunk(&mut self, out: &mut Vec<u8>, budget: usize);
    /// A cell has another size in pixels now (the font was changed); comes before [`Self::forget`].
    fn cell_changed(&mut self, _cell_px: (u16, u16)) {}
    /// Can pictures only be removed by writing over them? Then [`Shown::stale`] is not empty.
    fn leaves_traces(&self) -> bool {
        false
    }
}

/// The sink for this terminal. Call it at start-up, after the probe and before any thread (viuer is asked here, see there).
pub fn sink_for(caps: &Caps) -> Box<dyn PixelSink> {
    match caps.graphics {
        // Forced by hand inside tmux: a raw kitty sequence does not get through, and would put pictures where tmux's
        // panes are not. Placeholders would be the way; half blocks are what there is.
        Graphics::Kitty if matches!(caps.multiplexer, Some(Mux::Tmux | Mux::Screen)) => Box::new(super::none::NoPixels),
        Graphics::Kitty => Box::new(super::kitty::Kitty::new(caps.ssh)),
        Graphics::Iterm | Graphics::Sixel => match super::viuer::Viuer::prepare(caps) {
            Some(sink) => Box::new(sink),
            None => Box::new(super::none::NoPixels),
        },
        Graphics::None => Box::new(super::none::NoPixels),
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
pub struct Shown {
    shown: Vec<(PictureId, Rect)>,
}

impl Shown {
    /// Makes the screen show the wishes; nothing is sent when nothing changed. A wish whose pixels the store does not have
    /// yet is tried again with the next call.
    pub fn reconcile(
        &mut self,
        wishes: &[(PictureId, Rect)],
        store: &Store,
        sink: &mut dyn PixelSink,
        out: &mut Vec<u8>,
    ) {
        let gone: Vec<PictureId> = self.gone(wishes).map(|(id, _)| id).collect();
        for &id in &gone {
            if self.shown.iter().any(|(shown, _)| *shown == id) {
                sink.hide(out, id);
                self.shown.retain(|(shown, _)| *shown != id);
            }
        }
        for &(id, at) in wishes {
            if at.is_empty() || self.shown.contains(&(id, at)) {
                continue;
            }
            if let Some(picture) = store.of_cells(id, (at.width, at.height)) {
                sink.show(out, picture, at);
                self.shown.push((id, at));
            }
        }
    }

    /// Cells that must be sent again, because a picture lies on them that nothing else removes. To be asked before
    /// [`Self::reconcile`], with the same wishes.
    pub fn stale(&self, wishes: &[(PictureId, Rect)], sink: &dyn PixelSink) -> Vec<Rect> {
        if !sink.leaves_traces() {
            return Vec::new();
        }
        self.gone(wishes).map(|(_, at)| at).collect()
    }

    pub fn forget(&mut self, sink: &mut dyn PixelSink) {
        self.shown.clear();
        sink.forget();
    }

    fn gone(&self, wishes: &[(PictureId, Rect)]) -> impl Iterator<Item = (PictureId, Rect)> {
        self.shown.iter().filter(|shown| !wishes.contains(shown)).copied()
    }
}

/// Sends these cells with the next frame even if ratatui believes that they are unchanged.
pub fn rewrite(buf: &mut Buffer, rect: Rect) {
    for position in rect.intersection(buf.area).positions() {
        buf[position].set_diff_option(CellDiffOption::AlwaysUpdate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::test_picture;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl PixelSink for Log {
        fn show(&mut self, _: &mut Vec<u8>, picture: &Picture, at: Rect) {
            self.0.push(format!("show {} {},{}", picture.id.0, at.x, at.y));
        }
        fn hide(&mut self, _: &mut Vec<u8>, id: PictureId) {
            self.0.push(format!("hide {}", id.0));
        }
        fn hide_all(&mut self, _: &mut Vec<u8>) {}
        fn forget(&mut self) {
            self.0.push("forget".into());
        }
        fn pending(&self) -> bool {
            false
        }
        fn next_chunk(&mut self, _: &mut Vec<u8>, _: usize) {}
        fn leaves_traces(&self) -> bool {
            true
        }
    }

    #[test]
    fn only_what_changed_is_told_to_the_sink() {
        let mut store = Store::default();
        let (mut shown, mut sink, mut out) = (Shown::default(), Log::default(), Vec::new());
        let (a, b) = ((PictureId(1), Rect::new(5, 2, 4, 2)), (PictureId(2), Rect::new(20, 2, 4, 2)));
        let moved = (PictureId(1), Rect::new(6, 2, 4, 2));
        let mut turn = |wishes: &[(PictureId, Rect)], store: &Store| {
            let stale = shown.stale(wishes, &sink);
            shown.reconcile(wishes, store, &mut sink, &mut out);
            (std::mem::take(&mut sink.0).join(", "), stale)
        };
        assert_eq!(turn(&[a], &store).0, "", "not decoded yet");
        store.insert((4, 4), test_picture(1, (4, 2), (10, 20)));
        store.insert((4, 4), test_picture(2, (4, 2), (10, 20)));
        assert_eq!(turn(&[a], &store).0, "show 1 5,2");
        assert_eq!(turn(&[a], &store), (String::new(), vec![]));
        assert_eq!(turn(&[a, b], &store).0, "show 2 20,2");
        assert_eq!(turn(&[moved, b], &store), ("hide 1, show 1 6,2".into(), vec![a.1]));
        assert_eq!(turn(&[moved, a, b], &store).0, "show 1 5,2", "twice on one screen");
        assert_eq!(turn(&[a, b], &store), ("hide 1, show 1 5,2".into(), vec![moved.1]));
        assert_eq!(turn(&[], &store), ("hide 2, hide 1".into(), vec![b.1, a.1]));
        assert_eq!(turn(&[a], &store).0, "show 1 5,2");
        shown.forget(&mut sink);
        shown.reconcile(&[a], &store, &mut sink, &mut out);
        assert_eq!(sink.0.join(", "), "forget, show 1 5,2");
    }

    #[test]
    fn rewritten_cells_are_sent_although_they_did_not_change() {
        let before = Buffer::empty(Rect::new(0, 0, 6, 3));
        let mut after = before.clone();
        assert_eq!(before.diff(&after).len(), 0);
        rewrite(&mut after, Rect::new(4, 1, 9, 9));
        assert_eq!(before.diff(&after).len(), 4);
    }
}
