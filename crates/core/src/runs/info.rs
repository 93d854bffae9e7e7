//! `run.json`: which run this is. Renaming, tagging and notes change only this file; the folder keeps its name.
use super::{RunDir, now_ms, read_json, write_json};
use crate::safe_text::clean_line;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

const VERSION: u32 = 1;
/// Characters of a name, a group or a tag that are kept.
const NAME_CHARS: usize = 120;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    pub v: u32,
    /// `2026-03-01-1432-receipts-k3f9`: date, slug of the name, 4 random characters. Never changes.
    pub id: String,
    /// What people call it: the profile's `run_name`, or the folder's name; may be changed.
    pub name: String,
    pub created_ms: u64,
    pub tags: Vec<String>,
    pub notes: String,
    pub group: Option<String>,
    pub parent: Option<Parent>,
    pub archived: bool,
    /// Program and version that made it.
    pub app: String,
}

/// Where a fork came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parent {
    pub run: String,
    pub dir: String,
    pub checkpoint: String,
}

impl RunInfo {
    /// # Errors
    /// Names the file: missing, or damaged.
    pub fn read(dir: &RunDir) -> io::Result<Self> {
        read_json(&dir.join(RunDir::INFO))
    }

    /// The file's, or a new one, which is written.
    ///
    /// # Errors
    /// A damaged file is not replaced: tags and notes may still be saved by hand.
    pub fn ensure(dir: &RunDir, name: Option<&str>) -> io::Result<Self> {
        let _guard = lock(dir)?;
        match Self::read(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let info = Self::new(dir, name)?;
                write_json(&dir.join(RunDir::INFO), &info)?;
                Ok(info)
            }
            known => known,
        }
    }

    /// Reads, changes and replaces the file, under a lock. Id and time of making stay as they are; names and tags become
    /// clean lines; an empty name is not taken, an empty or repeated tag left out.
    ///
    /// # Errors
    /// As [`RunInfo::read`]; also a file of a newer version, whose further fields would be lost.
    pub fn change(dir: &RunDir, change: impl FnOnce(&mut Self)) -> io::Result<Self> {
        let _guard = lock(dir)?;
        let before = Self::read(dir)?;
        if before.v > VERSION {
            let what = format!(
                "{} was written by a newer Lightbox ({}); change it with that one",
                dir.join(RunDir::INFO).display(),
                clean_line(&before.app, 60)
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let mut info = before.clone();
        change(&mut info);
        (info.v, info.id, info.created_ms) = (before.v, before.id, before.created_ms);
        info.name = line(&info.name).unwrap_or(before.name);
        info.group = info.group.as_deref().and_then(line);
        let mut tags = Vec::new();
        for tag in info.tags.iter().filter_map(|tag| line(tag)) {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        info.tags = tags;
        write_json(&dir.join(RunDir::INFO), &info)?;
        Ok(info)
    }

    fn new(dir: &RunDir, name: Option<&str>) -> io::Result<Self> {
        let created_ms = now_ms();
        let name = name.and_then(line).or_else(|| line(&dir.name())).unwrap_or_else(|| "run".into());
        let date: String = date_time(created_ms)
            .chars()
            .take(16)
            .filter(|&c| c != ':')
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        Ok(Self {
            v: VERSION,
            id: format!("{date}-{}-{}", slug(&name), random_word()?),
            name,
            created_ms,
            app: concat!("lightbox ", env!("CARGO_PKG_VERSION")).into(),
            ..Self::default()
        })
    }
}

/// One clean line that is not empty.
fn line(text: &str) -> Option<String> {
    let line = clean_line(text.trim(), NAME_CHARS);
    (!line.is_empty()).then_some(line)
}

/// Waits until no other program changes `run.json`. The lock has a file of its own, since `run.json` is replaced.
fn lock(dir: &RunDir) -> io::Result<File> {
    let path = dir.join(".run.json.lock");
    let open = File::options().write(true).create(true).truncate(false).mode(0o644).open(&path);
    let file = open.map_err(|e| io::Error::new(e.kind(), format!("locking {}: {e}", path.display())))?;
    // SAFETY: flock on a descriptor that is open; it touches no memory. It fails on some network file systems, which know
    // no locks: go on without.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    Ok(file)
}

/// Small letters, digits and single dashes, at most 40: a name for shells and file systems.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 40 {
            break;
        }
    }
    match slug.trim_end_matches('-') {
        "" => "run".into(),
        slug => slug.into(),
    }
}

/// Four characters that nobody mistakes for one another.
fn random_word() -> io::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    Ok(random_bytes::<4>()?.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

pub(super) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| io::Error::new(e.kind(), format!("reading /dev/urandom: {e}")))?;
    Ok(bytes)
}

/// `2026-03-01 14:32:05`, UTC.
pub(super) fn date_time(ms: u64) -> String {
    let seconds = ms / 1000;
    // Days to a date, in years that begin in March, so that the leap day comes last (Howard Hinnant's civil_from_days).
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let dir = RunDir::create(folder.path().join("My Receipts")).unwrap();
        (folder, dir)
    }

    #[test]
    fn a_new_run_is_named_after_its_profile_or_folder_and_keeps_its_id() {
        let (_folder, dir) = run();
        let info = RunInfo::ensure(&dir, None).unwrap();
        assert_eq!(info.name, "My Receipts");
        assert_eq!(info.id.len(), "2026-03-01-1432-my-receipts-k3f9".len(), "{}", info.id);
        assert!(info.id[15..].starts_with("-my-receipts-"), "{}", info.id);
        assert_eq!(RunInfo::ensure(&dir, Some("other")).unwrap(), info);
        std::fs::remove_file(dir.join(RunDir::INFO)).unwrap();
        let again = RunInfo::ensure(&dir, Some("Zweiter\nVersuch")).unwrap();
        assert_eq!(again.name, "Zweiter␤Versuch");
        assert_ne!(again.id, info.id);
    }

    #[test]
    fn changes_are_cleaned_and_cannot_touch_the_identity() {
        let (_folder, dir) = run();
        let before = RunInfo::ensure(&dir, None).unwrap();
        let after = RunInfo::change(&dir, |i| {
            i.id = "other".into();
            i.created_ms = 0;
            i.name = format!(" a\x1b[2J{}", "x".repeat(500));
            i.tags = ["b", " a ", "b", "", "two\nlines"].map(String::from).into();
            i.notes = "first\nsecond".into();
        })
        .unwrap();
        assert_eq!((&after.id, after.created_ms), (&before.id, before.created_ms));
        assert!(after.name.starts_with("a\\u{1b}[2Jxxx") && after.name.ends_with('…'), "{}", after.name);
        assert_eq!(after.tags, ["b", "a", "two␤lines"]);
        assert_eq!(RunInfo::read(&dir).unwrap(), after);
        assert_eq!(RunInfo::change(&dir, |i| i.name = " ".into()).unwrap().name, after.name);
    }

    #[test]
    fn no_change_of_many_writers_is_lost() {
        let (_folder, dir) = run();
        RunInfo::ensure(&dir, None).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let dir = &dir;
                scope.spawn(move || {
                    for n in 0..10 {
                        RunInfo::change(dir, |i| i.tags.push(format!("{writer}-{n}"))).unwrap();
                    }
                });
            }
        });
        assert_eq!(RunInfo::read(&dir).unwrap().tags.len(), 80);
    }

    #[test]
    fn a_damaged_or_newer_file_is_not_replaced() {
        let (_folder, dir) = run();
        for (text, says) in [("{\"name\": \"a", "damaged"), ("{\"v\": 2, \"app\": \"lightbox 9\"}", "newer")] {
            std::fs::write(dir.join(RunDir::INFO), text).unwrap();
            let error = RunInfo::change(&dir, |i| i.archived = true).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("run.json"), "{error}");
            assert_eq!(std::fs::read_to_string(dir.join(RunDir::INFO)).unwrap(), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_798_761_599, "2026-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date_time(seconds * 1000), date);
        }
    }

    #[test]
    fn slugs_are_short_and_plain() {
        assert_eq!(slug("  Größe: 7B / LoRA!"), "gr-e-7b-lora");
        assert_eq!(slug("请"), "run");
        assert_eq!(slug(&"abc ".repeat(50)).len(), 39, "40, less the dash at the end");
    }
}
