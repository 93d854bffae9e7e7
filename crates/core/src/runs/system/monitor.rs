//! The machine for a screen while no run writes `system.jsonl`: GPUs, processors, memory, a folder's disk.
//!
//! Nothing here waits for anything but the driver and `/proc`; still, the caller puts it on a thread of its own, because a
//! driver can hang.
use super::first_number;
use super::gpus::Gpus;
use crate::runs::record::Gpu;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One look. What could not be measured is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Machine {
    pub gpus: Vec<Gpu>,
    /// Of all processors together, 0 to 100, since the look before; the first one has none.
    pub cpu_percent: Option<f64>,
    /// Processors that this process may use.
    pub cpus: usize,
    /// What cannot be had any more: caches that the kernel would give back are not counted.
    pub memory_used_bytes: Option<u64>,
    /// Of the machine, or of this container where that has less.
    pub memory_total_bytes: Option<u64>,
    /// Processes that want to run, on average over a minute.
    pub load_1min: Option<f64>,
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
}

/// Takes looks.
pub struct Monitor {
    folder: PathBuf,
    gpus: Gpus,
    /// Busy and all ticks at the look before.
    ticks: Option<(u64, u64)>,
}

impl Monitor {
    /// `folder`: whose disk is told.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), gpus: Gpus::find(), ticks: None }
    }

    pub fn look(&mut self) -> Machine {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let now = ticks(&text("/proc/stat"));
        let before = std::mem::replace(&mut self.ticks, now);
        let (memory_total_bytes, memory_used_bytes) = memory(&text("/proc/meminfo"), Path::new("/sys/fs/cgroup"));
        let space = crate::fs::space(&self.folder).ok();
        Machine {
            gpus: self.gpus.look(),
            cpu_percent: now.zip(before).and_then(|(now, before)| share(now, before)),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_used_bytes,
            memory_total_bytes,
            load_1min: first_number(&text("/proc/loadavg")),
            disk_free_bytes: space.as_ref().map(|space| space.free_bytes),
            disk_total_bytes: space.as_ref().map(|space| space.total_bytes),
        }
    }
}

/// The nearest folder above (or at) `path` that is there.
pub fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"))
}

/// Busy and all ticks of the first line of /proc/stat: user nice system idle iowait irq softirq steal …
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
    let all: u64 = numbers.iter().sum();
    let idle: u64 = numbers.get(3)? + numbers.get(4).copied().unwrap_or(0);
    Some((all.checked_sub(idle)?, all))
}

fn share(now: (u64, u64), before: (u64, u64)) -> Option<f64> {
    let (busy, all) = (now.0.checked_sub(before.0)?, now.1.checked_sub(before.1)?);
    (all > 0).then(|| crate::runs::round(100.0 * busy as f64 / all as f64, 1))
}

/// All and used memory, in bytes: the machine's, or the control group's (version 2; in a container the mounted top is the
/// own group) where that has a smaller limit.
fn memory(meminfo: &str, cgroup: &Path) -> (Option<u64>, Option<u64>) {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        first_number(line).map(|kib| kib as u64 * 1024)
    };
    let total = kib("MemTotal");
    let used = total.zip(kib("MemAvailable")).map(|(total, available)| total.saturating_sub(available));
    let bytes = |name: &str| std::fs::read_to_string(cgroup.join(name)).ok()?.trim().parse::<u64>().ok();
    match (bytes("memory.max"), bytes("memory.current")) {
        (Some(limit), Some(current)) if total.is_none_or(|total| limit < total) => {
            // pages of files that were read count there, and go when memory is wanted
            let stat = std::fs::read_to_string(cgroup.join("memory.stat")).unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
            (Some(limit), Some(current.saturating_sub(cache.unwrap_or(0))))
        }
        _ => (total, used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_processors_and_a_disk() {
        let temp = tempfile::tempdir().unwrap();
        let mut monitor = Monitor::new(temp.path());
        let first = monitor.look();
        assert_eq!(first.cpu_percent, None, "a share needs two looks");
        assert!(first.cpus > 0 && first.load_1min.is_some(), "{first:?}");
        let (total, used) = first.memory_total_bytes.zip(first.memory_used_bytes).unwrap();
        assert!(used < total, "{first:?}");
        assert!(first.disk_free_bytes <= first.disk_total_bytes && first.disk_total_bytes > Some(0), "{first:?}");
        assert!(monitor.look().cpu_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    }

    #[test]
    fn the_busy_share_leaves_waiting_for_disks_out() {
        let before = ticks("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3").unwrap();
        let after = ticks("cpu  160 0 90 860 90 0 0 0 7 0").unwrap();
        assert_eq!((before, share(after, before)), ((150, 1000), Some(50.0)));
        assert_eq!(share(before, before), None);
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn a_containers_limit_counts_where_it_is_smaller() {
        let meminfo = "MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:   12000 kB\n";
        let temp = tempfile::tempdir().unwrap();
        let machine = (Some(16000 * 1024), Some(4000 * 1024));
        assert_eq!(memory(meminfo, temp.path()), machine);
        let write = |name: &str, text: &str| std::fs::write(temp.path().join(name), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "900000\n");
        assert_eq!(memory(meminfo, temp.path()), machine);
        write("memory.max", "1000000\n");
        write("memory.stat", "anon 5\ninactive_file 300000\n");
        assert_eq!(memory(meminfo, temp.path()), (Some(1_000_000), Some(600_000)));
    }

    #[test]
    fn the_nearest_folder_of_a_path_that_is_not_there_yet_is_found() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&temp.path().join("not/yet")), temp.path());
        assert_eq!(nearest(temp.path()), temp.path());
    }

    #[test]
    fn gpus_of_a_file_are_shown_as_the_driver_would_show_them() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("gpus.json");
        let gpus = Gpus::File(file.clone());
        assert!(gpus.look().is_empty());
        std::fs::write(
            &file,
            r#"[{"name":"NVIDIA H100","util_percent":97},{"index":1,"processes":[{"pid":7,"kind":"both"}]}]"#,
        )
        .unwrap();
        let seen = gpus.look();
        assert_eq!((seen[0].name.as_str(), seen[0].util_percent), ("NVIDIA H100", Some(97)));
        assert_eq!((seen[1].index, seen[1].processes[0].pid, seen[1].processes[0].mem_bytes), (1, 7, None));
    }
}
