//! What a frame showed where.
use crate::app::Action;
use crate::image::PictureId;
use lightbox_core::data::ImageRef;
use ratatui::layout::{Position, Rect};
use std::collections::HashMap;

#[derive(Debug, Default, Clone)]
pub struct Hits {
    /// Later ones lie over earlier ones.
    pub regions: Vec<Region>,
    pub lists: HashMap<&'static str, Seen>,
    pub pictures: Vec<Wish>,
    /// Where the cursor of a text field blinks.
    pub cursor: Option<(u16, u16)>,
    /// Place and time of the last click, which tells a double click; carried from frame to frame.
    pub clicked: Option<((u16, u16), u64)>,
}

/// A part of the screen that the mouse can do something with.
#[derive(Debug, Clone)]
pub struct Region {
    pub rect: Rect,
    pub click: Option<Action>,
    pub double: Option<Action>,
    pub wheel: Option<fn(isize) -> Action>,
    /// A click or drag at a column and row inside the rectangle.
    pub point: Option<fn(u16, u16) -> Action>,
}

/// A list as it was drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub area: Rect,
    /// The first visible row.
    pub offset: usize,
    /// All rows.
    pub rows: usize,
}

/// A picture that should be on the screen.
#[derive(Debug, Clone)]
pub struct Wish {
    pub id: PictureId,
    pub source: ImageRef,
    /// All the room there is for it; it is fitted in, with its shape kept.
    pub area: Rect,
}

impl Hits {
    /// Rows that a list shows at once; a guess before it was drawn.
    pub fn height(&self, list: &str) -> u16 {
        self.lists.get(list).map_or(10, |seen| seen.area.height)
    }

    pub fn rows(&self, list: &str) -> usize {
        self.lists.get(list).map_or(0, |seen| seen.rows)
    }

    pub fn offset(&self, list: &str) -> usize {
        self.lists.get(list).map_or(0, |seen| seen.offset)
    }

    pub fn is_double(&self, at: (u16, u16), now_ms: u64) -> bool {
        // as long as desktops allow between two clicks
        self.clicked.is_some_and(|(place, time)| place == at && now_ms.saturating_sub(time) < 400)
    }

    fn at(&self, at: (u16, u16)) -> impl Iterator<Item = &Region> {
        self.regions.iter().rev().filter(move |region| region.rect.contains(Position::from(at)))
    }

    pub fn click(&self, at: (u16, u16), again: bool) -> Option<Action> {
        let point = |region: &Region| region.point.map(|f| f(at.0 - region.rect.x, at.1 - region.rect.y));
        self.at(at).find_map(|region| {
            let double = if again { region.double.clone() } else { None };
            double.or_else(|| region.click.clone()).or_else(|| point(region))
        })
    }

    pub fn drag(&self, at: (u16, u16)) -> Option<Action> {
        self.at(at).find_map(|region| region.point.map(|f| f(at.0 - region.rect.x, at.1 - region.rect.y)))
    }

    pub fn wheel(&self, at: (u16, u16), by: isize) -> Option<Action> {
        self.at(at).find_map(|region| region.wheel.map(|f| f(by)))
    }
}
