//! `system.jsonl`: GPUs (through NVML, where there is one) and this process's memory and CPU, the disk's free space; one
//! line a second, in a ring of files.
use super::RunDir;

/// Samples and writes. Whatever cannot be measured is left out; a disk that cannot be written costs lines, never time.
pub struct SystemLog {}

impl SystemLog {
    pub fn open(_dir: &RunDir, _attempt: u32) -> Self {
        todo!()
    }

    /// One line.
    pub fn sample(&mut self) {
        todo!()
    }
}
