//! Decoded pictures, least recently used ones dropped, and what could not be decoded. A picture is kept per area, because
//! its pixels and blocks are made for one; until the right one is there, the one for another area stands in.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Picture, PictureId};

/// Resident memory is promised to stay near 60 MB without pictures; this much comes on top with them.
pub const DEFAULT_BYTES: usize = 48 << 20;

/// Failures are small; this many are remembered.
const FAILURES: usize = 1000;

#[derive(Debug)]
pub struct Store {
    limit: usize,
    bytes: usize,
    clock: u64,
    pictures: HashMap<(PictureId, (u16, u16)), Entry>,
    failures: HashMap<PictureId, String>,
}

#[derive(Debug)]
struct Entry {
    picture: Arc<Picture>,
    used: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl Store {
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, clock: 0, pictures: HashMap::new(), failures: HashMap::new() }
    }

    /// The picture decoded for this area; counts as a use.
    pub fn get(&mut self, id: PictureId, area: (u16, u16)) -> Option<Arc<Picture>> {
        self.clock += 1;
        let entry = self.pictures.get_mut(&(id, area))?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.picture))
    }

    /// As [`Self::get`] for drawing, which changes nothing: the picture for this area, else the sharpest for another.
    pub fn peek(&self, id: PictureId, area: (u16, u16)) -> Option<&Arc<Picture>> {
        if let Some(entry) = self.pictures.get(&(id, area)) {
            return Some(&entry.picture);
        }
        let others = self.pictures.iter().filter(|((other, _), _)| *other == id);
        others.map(|(_, entry)| &entry.picture).max_by_key(|picture| picture.blocks.len())
    }

    /// A picture of exactly these cells, whatever area it was asked for.
    pub fn of_cells(&self, id: PictureId, cells: (u16, u16)) -> Option<&Arc<Picture>> {
        let mut all = self.pictures.iter().filter(|((other, _), _)| *other == id).map(|(_, entry)| &entry.picture);
        all.find(|picture| picture.cells == cells && picture.has_pixels())
    }

    /// Keeps a picture for the area it was asked for. One that is larger than the limit is kept alone.
    pub fn insert(&mut self, area: (u16, u16), picture: Picture) {
        self.clock += 1;
        self.failures.remove(&picture.id);
        self.bytes += picture.bytes();
        let key = (picture.id, area);
        let entry = Entry { picture: Arc::new(picture), used: self.clock };
        if let Some(old) = self.pictures.insert(key, entry) {
            self.bytes -= old.picture.bytes();
        }
        while self.bytes > self.limit && self.pictures.len() > 1 {
            let Some((&oldest, _)) = self.pictures.iter().min_by_key(|(_, entry)| entry.used) else { break };
            if let Some(entry) = self.pictures.remove(&oldest) {
                self.bytes -= entry.picture.bytes();
            }
        }
    }

    /// Remembers why a picture cannot be shown, so that it is not tried with every frame.
    pub fn fail(&mut self, id: PictureId, reason: String) {
        if self.failures.len() >= FAILURES {
            self.failures.clear();
        }
        self.failures.insert(id, reason);
    }

    pub fn failure(&self, id: PictureId) -> Option<&str> {
        self.failures.get(&id).map(String::as_str)
    }

    /// Forgets everything: the cell size changed, or the data was read anew.
    pub fn clear(&mut self) {
        self.pictures.clear();
        self.failures.clear();
        self.bytes = 0;
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::test_picture;

    const AREA: (u16, u16) = (4, 4);

    #[test]
    fn the_least_recently_used_picture_goes_first() {
        let one = test_picture(1, (4, 2), (10, 20)).bytes();
        let mut store = Store::new(2 * one);
        store.insert(AREA, test_picture(1, (4, 2), (10, 20)));
        store.insert(AREA, test_picture(2, (4, 2), (10, 20)));
        assert!(store.get(PictureId(1), AREA).is_some());
        store.insert(AREA, test_picture(3, (4, 2), (10, 20)));
        assert!(store.get(PictureId(1), AREA).is_some() && store.get(PictureId(2), AREA).is_none());
        assert_eq!(store.bytes(), 2 * one);
        store.insert(AREA, test_picture(3, (4, 2), (10, 20)));
        assert_eq!(store.bytes(), 2 * one, "the same picture again is not counted twice");
        store.insert(AREA, test_picture(4, (40, 20), (10, 20)));
        assert!(store.get(PictureId(4), AREA).is_some(), "one too large is still shown");
        assert!(store.get(PictureId(3), AREA).is_none());
        store.clear();
        assert_eq!(store.bytes(), 0);
    }

    #[test]
    fn a_picture_for_another_area_stands_in_for_drawing_only() {
        let mut store = Store::default();
        store.insert((2, 2), test_picture(1, (2, 1), (10, 20)));
        store.insert(AREA, test_picture(1, (4, 2), (10, 20)));
        assert!(store.get(PictureId(1), (9, 9)).is_none());
        assert_eq!(store.peek(PictureId(1), (9, 9)).unwrap().cells, (4, 2));
        assert_eq!(store.peek(PictureId(1), (2, 2)).unwrap().cells, (2, 1));
        assert!(store.of_cells(PictureId(1), (2, 1)).is_some() && store.of_cells(PictureId(1), (9, 9)).is_none());
        assert!(store.peek(PictureId(7), AREA).is_none());
    }

    #[test]
    fn failures_are_remembered_until_they_succeed() {
        let mut store = Store::default();
        store.fail(PictureId(1), "broken".into());
        assert_eq!(store.failure(PictureId(1)), Some("broken"));
        store.insert(AREA, test_picture(1, (4, 2), (10, 20)));
        assert_eq!(store.failure(PictureId(1)), None);
    }
}
