//! Settings changed while a run goes on, each with the update it holds from. What holds at update k is a pure function
//! of the list, so a resumed run makes the same updates again.
use super::RunDir;
use serde::{Deserialize, Serialize};
use std::io;

/// A change; the only settings that may be changed in mid-run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "key", content = "value", rename_all = "snake_case")]
pub enum Edit {
    /// Multiplies the schedule's learning rate.
    LrScale(f64),
    /// Updates in the whole run.
    MaxSteps(u64),
    SaveSteps(u64),
    EvalSteps(u64),
    LoggingSteps(u64),
    /// Leave this sample (index in the data set) out from now on.
    SkipSample(u64),
}
