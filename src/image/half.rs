use super::Picture;
use crate::term::caps::Colours;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub fn draw(_picture: &Picture, _area: Rect, _buf: &mut Buffer, _colours: Colours) {}
