//! Follows a log while it grows: only complete lines, a bounded part at a time, over replaced and cut files.
use super::record::Line;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Tail<T> {
    path: PathBuf,
    _record: PhantomData<T>,
}

impl<T: DeserializeOwned> Tail<T> {
    /// From the beginning of the file; it may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, _record: PhantomData }
    }

    /// Only the last `bytes` that are there now, and what comes.
    pub fn last(_path: PathBuf, _bytes: u64) -> io::Result<Self> {
        todo!()
    }

    /// The next complete lines, at most `max_lines` of them; empty if there is nothing new.
    pub fn poll(&mut self, _max_lines: usize) -> io::Result<Vec<Line<T>>> {
        let _ = &self.path;
        todo!()
    }

    /// Complete lines that could not be read so far.
    pub fn damaged(&self) -> u64 {
        todo!()
    }
}
