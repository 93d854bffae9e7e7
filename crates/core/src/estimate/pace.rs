//! How fast earlier runs of this user on this machine were: the only source of an estimate of time.
use crate::profile::Profile;
use crate::runs::lock::WorkerInfo;
use crate::runs::record::{Metric, Step};
use crate::runs::tail::Tail;
use crate::runs::{RunDir, registry};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The pace of one earlier run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pace {
    pub run: String,
    /// The model's folder, with links resolved.
    pub model: PathBuf,
    /// `cpu`, `cuda:0`, …
    pub device: String,
    pub tokens_per_second: f64,
    /// Updates that this is the mean of.
    pub updates: usize,
    /// Settings that change the pace, as that run had them ([`settings`]).
    pub settings: Vec<(&'static str, String)>,
}

/// Runs that are looked at, the newest ones.
const RUNS: usize = 50;
/// The end of a run's metrics: about 150 updates.
const TAIL: u64 = 64 << 10;
/// The newest updates of a run that count.
const UPDATES: usize = 64;
/// One update says little: the first one of an attempt warms caches.
const FEWEST: usize = 3;

/// Keys whose value changes how many tokens a second are computed.
pub fn settings(p: &Profile) -> Vec<(&'static str, String)> {
    vec![
        ("finetuning_type", format!("{:?}", p.finetuning_type).to_lowercase()),
        ("bf16", (p.bf16 || p.pure_bf16).to_string()),
        ("disable_gradient_checkpointing", p.disable_gradient_checkpointing.to_string()),
        ("freeze_vision_tower", p.freeze_vision_tower.to_string()),
        ("per_device_train_batch_size", p.per_device_train_batch_size.to_string()),
        ("num_threads", p.num_threads.map_or("all".to_owned(), |n| n.to_string())),
    ]
}

/// The model's folder without links, so that two spellings of it are equal.
fn model_of(profile: &Profile) -> PathBuf {
    let named = || PathBuf::from(profile.model_name_or_path.as_deref().unwrap_or_default());
    let dir = profile.model_folder().unwrap_or_else(|_| named());
    std::fs::canonicalize(&dir).unwrap_or(dir)
}

/// The paces of all runs in the registry that ran on this machine.
pub fn earlier() -> Vec<Pace> {
    let host = WorkerInfo::this(0).host;
    registry::all().unwrap_or_default().iter().take(RUNS).filter_map(|dir| of(dir, &host)).collect()
}

/// The pace of a run; `None`: of another machine, too short, or not readable.
pub fn of(dir: &RunDir, host: &str) -> Option<Pace> {
    let worker = WorkerInfo::read(dir).ok().filter(|worker| worker.host == host)?;
    let no_overrides: &[&str] = &[];
    let profile = Profile::load(&dir.join(RunDir::PROFILE), no_overrides).ok()?;
    let steps = newest_steps(&dir.join(RunDir::METRICS))?;
    let seconds = steps.iter().map(|step| step.dt_ms.total).sum::<f64>() / 1e3;
    let tokens: u64 = steps.iter().map(|step| step.tokens).sum();
    (steps.len() >= FEWEST && seconds > 0.0 && tokens > 0).then(|| Pace {
        run: dir.name(),
        model: model_of(&profile),
        device: worker.device.unwrap_or_default(),
        tokens_per_second: tokens as f64 / seconds,
        updates: steps.len(),
        settings: settings(&profile),
    })
}

/// The last updates of the last attempt, without its first one.
fn newest_steps(metrics: &Path) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut begun = false;
    for line in Tail::<Metric>::last(metrics.to_owned(), TAIL).ok()?.poll(usize::MAX).ok()? {
        match line.record {
            Metric::Header(_) => {
                steps.clear();
                begun = true;
            }
            Metric::Step(step) if !std::mem::take(&mut begun) => steps.push(step),
            _ => {}
        }
    }
    steps.drain(..steps.len().saturating_sub(UPDATES));
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::log::RunLog;
    use crate::runs::record::{Header, StepTime};

    #[test]
    fn the_pace_of_a_run_is_of_its_last_attempt_on_this_machine() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path().join("run")).unwrap();
        let attempt = |updates: std::ops::Range<u64>, total| {
            let mut log = RunLog::open(&dir, Header::new("test")).unwrap();
            for step in updates {
                let dt_ms = StepTime { total, ..StepTime::default() };
                log.metric(&Metric::Step(Step { tokens: 500, dt_ms, ..Step::new(step, 1.0, 1.0) })).unwrap();
            }
            log.sync(std::time::Duration::from_secs(30)).unwrap();
        };
        attempt(1..50, 9000.0);
        attempt(50..52, 250.0);
        std::fs::write(dir.join(RunDir::PROFILE), "model_name_or_path: /models/2b\nbf16: true\n").unwrap();
        let worker = WorkerInfo { device: Some("cuda:0".into()), ..WorkerInfo::this(2) };
        worker.write(&dir).unwrap();
        assert_eq!(of(&dir, &worker.host), None, "one update behind the first says little");
        attempt(52..60, 250.0);
        let pace = of(&dir, &worker.host).unwrap();
        assert_eq!((pace.updates, pace.tokens_per_second, pace.device.as_str()), (7, 2000.0, "cuda:0"));
        assert!(pace.settings.contains(&("bf16", "true".to_owned())), "{pace:?}");
        assert_eq!(pace.model, PathBuf::from("/models/2b"));
        assert_eq!(of(&dir, "another machine"), None);
    }
}
