//! Did the kernel's out-of-memory killer strike? A killed worker looks the same otherwise.

use std::path::{Path, PathBuf};

/// Processes killed for lack of memory so far: in this control group, or where those do not count, on this machine.
/// `None` if nobody counts.
pub fn kills() -> Option<u64> {
    count(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn count(proc: &Path, cgroup: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let files = groups.lines().flat_map(|line| counters(line, cgroup));
    files.chain([proc.join("vmstat")]).find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
}

/// Files that may count for a line of /proc/self/cgroup: `0::/path` (version 2) or `4:memory:/path` (version 1). In a
/// container the path can be one of the host, and the mounted top is the own group.
fn counters(line: &str, cgroup: &Path) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(kind), Some(path)) = (parts.next(), parts.next(), parts.next()) else { return Vec::new() };
    let path = path.trim_start_matches('/');
    let (root, name) = match kind {
        "" => (cgroup.to_owned(), "memory.events"),
        kind if kind.split(',').any(|k| k == "memory") => (cgroup.join("memory"), "memory.oom_control"),
        _ => return Vec::new(),
    };
    vec![root.join(path).join(name), root.join(name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> Option<u64> {
        let temp = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        count(&temp.path().join("proc"), &temp.path().join("sys"))
    }

    #[test]
    fn kills_are_read_from_either_kind_of_control_group() {
        let v2 = ("proc/self/cgroup", "0::/user.slice/a:b\n");
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(system(&[v2, ("sys/user.slice/a:b/memory.events", events)]), Some(2));
        assert_eq!(system(&[v2, ("sys/memory.events", events)]), Some(2), "in a container");
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n");
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        assert_eq!(system(&[v1, ("sys/memory/docker/1/memory.oom_control", control)]), Some(7));
    }

    #[test]
    fn without_control_groups_the_machine_counts_and_without_that_nobody() {
        assert_eq!(system(&[("proc/self/cgroup", "0::/\n"), ("proc/vmstat", "nr_free 1\noom_kill 4\n")]), Some(4));
        assert_eq!(system(&[("proc/self/cgroup", "garbage\n:::\n")]), None);
        assert_eq!(system(&[]), None);
    }
}
