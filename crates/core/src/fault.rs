//! Faults on purpose, for tests of the real programs: `LIGHTBOX_FAULTS="fs#17=error:ENOSPC;checkpoint.manifest=abort"`.
//!
//! Each entry is `point[#n]=action`: at the n-th time (1 if not given; `*`: each time; `N+`: from then on) that the
//! program comes by `point`, do `action`: `abort` (die at once, as by kill -9), `stop` (SIGSTOP oneself), `panic`, `sleep:MS`, `error:NAME`
//! (an errno), or a word that the point itself understands (`nan`, `inf`, `oom`, `device`). Without the variable a point costs one
//! atomic load.
//!
//! Points: `fs` (each operation of [`crate::fs`]), `fs.KIND`, `checkpoint.PLACE`, `state.replace`, `log.line`, `step.loss`, `step.grad`, `micro`.
use std::io;

/// Comes by `point`. A word that the point itself must act on.
pub fn at(_point: &str) -> Option<String> {
    None
}

/// Comes by a point where an operation can fail.
pub fn io(_point: &str) -> io::Result<()> {
    Ok(())
}
