//! Writes down what [`super::super::op`] does on this thread.
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// One operation that succeeded, or an acknowledgement.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::fs) enum Op {
    Open {
        path: PathBuf,
        inode: u64,
        made: bool,
        /// It is empty now.
        emptied: bool,
    },
    Append {
        inode: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        inode: u64,
        len: u64,
    },
    Sync {
        inode: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    /// The protocol has told its caller that what it did so far is safe.
    Acknowledge,
}

thread_local! {
    static LOG: RefCell<Option<Vec<Op>>> = const { RefCell::new(None) };
}

pub(in crate::fs) fn note(op: impl FnOnce() -> Op) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            log.push(op());
        }
    });
}

/// From here on, what went before counts as promised.
pub(super) fn acknowledge() {
    note(|| Op::Acknowledge);
}

/// What `protocol` does, in `root`.
pub(super) fn record(root: &Path, protocol: impl FnOnce(&Path)) -> Vec<Op> {
    LOG.set(Some(Vec::new()));
    protocol(root);
    LOG.take().unwrap_or_default()
}
