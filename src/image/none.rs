//! For terminals without pixels: half blocks are all there is.

use ratatui::layout::Rect;

use super::sink::PixelSink;
use super::{Picture, PictureId};

#[derive(Debug, Default)]
pub struct NoPixels;

impl PixelSink for NoPixels {
    fn show(&mut self, _: &mut Vec<u8>, _: &Picture, _: Rect) {}
    fn hide(&mut self, _: &mut Vec<u8>, _: PictureId) {}
    fn hide_all(&mut self, _: &mut Vec<u8>) {}
    fn forget(&mut self) {}
    fn pending(&self) -> bool {
        false
    }
    fn next_chunk(&mut self, _: &mut Vec<u8>, _: usize) {}
}
