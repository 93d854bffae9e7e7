//! Pictures for the terminal.
pub mod half;

use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PictureId(pub u64);

#[derive(Debug)]
pub struct Picture {
    pub id: PictureId,
    pub size: (u32, u32),
    pub cells: (u16, u16),
    pub blocks: Vec<[u8; 3]>,
}

#[derive(Debug, Default)]
pub struct Store {
    all: std::collections::HashMap<PictureId, Result<Arc<Picture>, String>>,
}

impl Store {
    pub fn get(&self, id: PictureId) -> Option<&Result<Arc<Picture>, String>> {
        self.all.get(&id)
    }
    pub fn insert(&mut self, id: PictureId, picture: Result<Arc<Picture>, String>) {
        self.all.insert(id, picture);
    }
}
