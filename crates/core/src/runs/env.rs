//! `env.json`: with what the newest attempt ran. The launcher writes how it was started, the worker what it found: program,
//! machine, GPU, and the few environment variables that change what is computed. No secrets: the variables are a fixed list.
use super::lock::WorkerInfo;
use super::{RunDir, system};
use serde_json::{Map, Value, json};
use std::io;

/// Variables that change what is computed, or how several processes find each other.
const TOLD: [&str; 14] = [
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_CUDA_ALLOC_CONF",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "NCCL_DEBUG",
    "NCCL_SOCKET_IFNAME",
    "NCCL_IB_DISABLE",
    "NCCL_P2P_DISABLE",
    "LIGHTBOX_FAULTS",
];

/// Adds the worker's part to what is there.
pub fn tell(dir: &RunDir, app: &str, worker: &WorkerInfo) -> io::Result<()> {
    let path = dir.join(RunDir::ENV);
    // A damaged file is only a lost note.
    let mut env: Map<String, Value> =
        std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let variables: Map<String, Value> =
        TOLD.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?.into()))).collect();
    let (driver, gpus) = system::installed();
    env.insert("v".into(), 1.into());
    env.insert(
        "worker".into(),
        json!({
            "app": app,
            "attempt": worker.attempt,
            "host": worker.host,
            "launcher": worker.launcher,
            "kernel": line("/proc/sys/kernel/osrelease"),
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "driver": driver,
            "gpus": gpus,
            "variables": variables,
        }),
    );
    crate::fs::write_atomic(&path, format!("{:#}\n", Value::Object(env)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launchers_part_stays_and_variables_outside_the_list_are_not_told() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RunDir::create(temp.path()).unwrap();
        std::fs::write(dir.join(RunDir::ENV), r#"{"launched": "setsid"}"#).unwrap();
        tell(&dir, "test 1", &WorkerInfo::this(3)).unwrap();
        let text = std::fs::read_to_string(dir.join(RunDir::ENV)).unwrap();
        let env: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&env["launched"], &env["worker"]["attempt"]), (&json!("setsid"), &json!(3)));
        assert!(env["worker"]["cpus"].as_u64().unwrap() > 0);
        assert!(!text.contains("CARGO") && !text.contains("TOKEN"), "{text}");
    }
}
