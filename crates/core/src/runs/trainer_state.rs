//! `trainer_state.json`: where a run stands and its log so far, as the HF Trainer keeps it (`trainer_callback.py`,
//! `TrainerState`) in each checkpoint and at the end. A resumed run reads it back.
use crate::python_json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;

/// One entry of `log_history`: a log line, an evaluation, or the totals at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    pub step: u64,
    /// Before clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_input_tokens_seen: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Everything else, e.g. `train_runtime` or `eval_samples_per_second`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The whole file. Field names are the file's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainerState {
    pub best_global_step: Option<u64>,
    pub best_metric: Option<f64>,
    pub best_model_checkpoint: Option<String>,
    /// Epochs done, with the share of the one begun.
    pub epoch: f64,
    /// Updates between evaluations.
    pub eval_steps: u64,
    /// Updates done.
    pub global_step: u64,
    pub is_hyper_param_search: bool,
    pub is_local_process_zero: bool,
    pub is_world_process_zero: bool,
    pub log_history: Vec<LogEntry>,
    pub logging_steps: u64,
    /// Updates in the whole run.
    pub max_steps: u64,
    pub num_input_tokens_seen: u64,
    pub num_train_epochs: u64,
    pub save_steps: u64,
    /// What the Trainer's callbacks keep; see [`TrainerState::set_control`].
    pub stateful_callbacks: Value,
    pub total_flos: f64,
    pub train_batch_size: Option<u64>,
    pub trial_name: Option<String>,
    pub trial_params: Option<Value>,
}

impl Default for TrainerState {
    fn default() -> Self {
        let mut state = Self {
            best_global_step: None,
            best_metric: None,
            best_model_checkpoint: None,
            epoch: 0.0,
            eval_steps: 500,
            global_step: 0,
            is_hyper_param_search: false,
            is_local_process_zero: true,
            is_world_process_zero: true,
            log_history: Vec::new(),
            logging_steps: 500,
            max_steps: 0,
            num_input_tokens_seen: 0,
            num_train_epochs: 0,
            save_steps: 500,
            stateful_callbacks: Value::Null,
            total_flos: 0.0,
            train_batch_size: None,
            trial_name: None,
            trial_params: None,
        };
        state.set_control(false);
        state
    }
}

impl TrainerState {
    /// The Trainer's control flags at the moment of saving: `finished` after the last update.
    pub fn set_control(&mut self, finished: bool) {
        self.stateful_callbacks = json!({"TrainerControl": {
            "args": {
                "should_epoch_stop": false,
                "should_evaluate": false,
                "should_log": false,
                "should_save": true,
                "should_training_stop": finished,
            },
            "attributes": {},
        }});
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or is not such a file; the message names it.
    pub fn read(path: &Path) -> io::Result<Self> {
        let at = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        serde_json::from_slice(&std::fs::read(path).map_err(at)?).map_err(|e| at(e.into()))
    }

    /// The file's text: sorted keys, indented by 2, as the Trainer writes it. Non-finite numbers become `null`.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(python_json::sorted(self, 2)? + "\n")
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        crate::fs::write_atomic(path, self.to_json()?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `trainer_state.json` of a LLaMA-Factory 0.9.5 run (9 steps on a tiny model).
    const GOLDEN: &str = include_str!("../../../../tests/golden/llamafactory/out-main/trainer_state.json");

    #[test]
    fn the_trainers_file_reads_and_writes_back_byte_by_byte() {
        let state: TrainerState = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!((state.global_step, state.max_steps, state.log_history.len()), (9, 9, 10));
        assert_eq!(state.log_history[3].learning_rate, Some(0.001900968867902419));
        assert_eq!(state.to_json().unwrap(), GOLDEN);
    }

    #[test]
    fn a_state_made_here_has_the_trainers_keys() {
        let golden: Value = serde_json::from_str(GOLDEN).unwrap();
        let mut state = TrainerState::default();
        state.set_control(true);
        let ours: Value = serde_json::from_str(&state.to_json().unwrap()).unwrap();
        let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&golden));
        assert_eq!(ours["stateful_callbacks"], golden["stateful_callbacks"]);
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("trainer_state.json");
        std::fs::write(&path, &GOLDEN[..300]).unwrap();
        assert!(TrainerState::read(&path).unwrap_err().to_string().contains("trainer_state.json"));
    }
}
