//! How files are written here, and which paths are safe.
//!
//! [`write_atomic`] is the only way a file that others read is replaced; [`append_line`] the only way a log grows.
//! [`resolve_under`] and [`safe_file_name`] stand between names that come from data and the disk.
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes`, whole or not at all, whatever happens to the process or the machine: a temporary file in
/// the same folder, fsync, rename, fsync of the folder. Mode 0644 as far as the umask allows.
///
/// # Errors
/// Names the file. The old content is still there then, and no temporary file is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        let dir = parent(path);
        // mode 0644 goes through open(2), which applies the umask; the default of tempfile is 0600
        let mut file =
            tempfile::Builder::new().prefix(".tmp-").permissions(Permissions::from_mode(0o644)).tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        sync_dir(dir)
    };
    write().map_err(|e| naming("writing", path, e))
}

/// A new file that is written piece by piece; [`OutFile::finish`] waits until it is on the disk. Mode 0644 as far as the
/// umask allows. An existing file is replaced by an empty one.
#[derive(Debug)]
pub struct OutFile {}

impl OutFile {
    pub fn create(_path: &Path) -> io::Result<Self> {
        todo!()
    }

    /// fsync.
    pub fn finish(self) -> io::Result<()> {
        todo!()
    }
}

impl Write for OutFile {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        todo!()
    }

    fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
}

/// `rename(2)`; not durable before [`sync_dir`] of the folder.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(_path: &Path) -> io::Result<()> {
    todo!()
}

/// Removes a folder with all that is in it; one that is not there is no error. Symlinks are removed, not followed.
pub fn remove_dir_all(_path: &Path) -> io::Result<()> {
    todo!()
}

pub fn create_dir_all(_path: &Path) -> io::Result<()> {
    todo!()
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For us (without what is reserved for root).
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_inodes: u64,
}

pub fn space(_dir: &Path) -> io::Result<Space> {
    Err(ErrorKind::Unsupported.into())
}

/// Really takes `bytes` in `dir` for a moment: quotas and thin file systems are found out, too.
///
/// # Errors
/// As a write would fail.
pub fn try_reserve(_dir: &Path, _bytes: u64) -> io::Result<()> {
    todo!()
}

/// No space, no quota, no inodes, a read-only or too small file system: the user can mend it, and then it works.
pub fn is_full(_error: &io::Error) -> bool {
    todo!()
}

/// Makes renames and new files in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // some network and FUSE file systems have no fsync for folders; nothing more can be done there
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// Appends `line` and a newline with one write, so that a reader, or a second writer, never sees half of it. If the file
/// ends in a torn line (a crash, a full disk), a newline goes first: only the torn line is lost.
///
/// # Errors
/// Names the file. A line with a newline in it is refused.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let append = || {
        if line.contains('\n') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a line of a log cannot hold a newline"));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let torn = match file.seek(SeekFrom::End(-1)) {
            Ok(_) => {
                let mut last = [0];
                file.read_exact(&mut last)?;
                last != *b"\n"
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => false, // empty: nothing is before its end
            Err(e) => return Err(e),
        };
        file.write_all(format!("{}{line}\n", if torn { "\n" } else { "" }).as_bytes())
    };
    append().map_err(|e| naming("appending to", path, e))
}

/// The real path of `path` (relative to `root`, or absolute), if it lies under `root` after all symlinks are followed.
///
/// # Errors
/// `PermissionDenied` with both places if it leads outside; `NotFound` and others as the system gives them.
pub fn resolve_under(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let real_root = root.canonicalize().map_err(|e| naming("resolving", root, e))?;
    let joined = real_root.join(path);
    let real = joined.canonicalize().map_err(|e| naming("resolving", &joined, e))?;
    if real.starts_with(&real_root) {
        return Ok(real);
    }
    let what = format!("{} leads outside {}, to {}", path.display(), root.display(), real.display());
    Err(io::Error::new(ErrorKind::PermissionDenied, what))
}

/// A file name (without extension) for an id that comes from data: one plain component on every file system, at most
/// 130 bytes. Different ids give different names, except where only letter case differs (the caller's to notice, since
/// some file systems fold it); open the file with `create_new` all the same.
///
/// Letters, digits, `.`, `_` and `-` stay, all else becomes `_`; dots at either end and what is behind 120 bytes go; names
/// that DOS reserved get a `_` in front. If anything changed, `-` and 8 hex digits of the id's SHA-256 follow.
///
/// ```
/// use lightbox_core::fs::safe_file_name;
/// assert_eq!(safe_file_name("scan_01.a"), "scan_01.a");
/// assert_eq!(safe_file_name("../../etc/passwd"), "_.._etc_passwd-3754d6cb");
/// ```
pub fn safe_file_name(id: &str) -> String {
    const MAX_BYTES: usize = 120;
    let plain: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect();
    let mut name = plain.trim_start_matches('.').to_owned();
    name.truncate(MAX_BYTES); // ASCII only, so every byte is a boundary
    let mut name = name.trim_end_matches('.').to_owned();
    if name.is_empty() || is_reserved(&name) {
        name.insert(0, '_');
    }
    if name != id {
        let digest = Sha256::digest(id.as_bytes());
        name.push('-');
        name.extend(digest.iter().take(4).map(|byte| format!("{byte:02x}")));
    }
    name
}

/// Device names of DOS and Windows, with or without an extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || matches!(stem.as_bytes(), [b'C', b'O', b'M', b'0'..=b'9'] | [b'L', b'P', b'T', b'0'..=b'9'])
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn naming(doing: &str, path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{doing} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn writing_replaces_the_whole_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"a long first version").unwrap();
        write_atomic(&path, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        assert_eq!(names(dir.path()), ["state.json"]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let as_created =
            { File::create(dir.path().join("other")).unwrap().metadata().unwrap().permissions().mode() & 0o777 };
        assert_eq!(mode, 0o644 & as_created, "0644, less what the umask takes");
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::create_dir(&path).unwrap(); // a file cannot be renamed over a folder
        let error = write_atomic(&path, b"x").unwrap_err();
        assert!(error.to_string().contains("state.json"), "{error}");
        assert_eq!(names(dir.path()), ["state.json"], "no temporary file is left");
        let error = write_atomic(&dir.path().join("missing/state.json"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn appended_lines_stay_whole_even_after_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        append_line(&path, "one").unwrap();
        std::fs::write(&path, b"one\n{\"to").unwrap();
        append_line(&path, "two").unwrap();
        append_line(&path, "").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n{\"to\ntwo\n\n");
        let error = append_line(&path, "a\nb").unwrap_err();
        assert!(error.to_string().contains("log.jsonl") && error.kind() == ErrorKind::InvalidInput, "{error}");
    }

    #[test]
    fn paths_that_lead_outside_are_refused_through_symlinks_too() {
        let dir = tempfile::tempdir().unwrap();
        let (root, secret) = (dir.path().join("root"), dir.path().join("secret.png"));
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a.png"), b"").unwrap();
        std::fs::write(&secret, b"").unwrap();
        std::os::unix::fs::symlink(&secret, root.join("link.png")).unwrap();
        std::os::unix::fs::symlink("sub/a.png", root.join("inside.png")).unwrap();
        let inside = root.canonicalize().unwrap().join("sub/a.png");
        for path in ["sub/a.png", "sub/../sub/a.png", "inside.png", inside.to_str().unwrap()] {
            assert_eq!(resolve_under(&root, Path::new(path)).unwrap(), inside, "{path}");
        }
        for path in ["../secret.png", "link.png", secret.to_str().unwrap(), "/etc/passwd", ".."] {
            let error = resolve_under(&root, Path::new(path)).unwrap_err();
            assert!(
                error.kind() == ErrorKind::PermissionDenied && error.to_string().contains("leads outside"),
                "{path}: {error}"
            );
        }
        assert_eq!(resolve_under(&root, Path::new("none.png")).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn hostile_ids_become_plain_names() {
        let long = "x".repeat(300);
        for (id, start) in [
            ("../../x", "_.._x-"),
            ("/etc/x", "_etc_x-"),
            ("C:\\x", "C__x-"),
            ("a\0b", "a_b-"),
            (long.as_str(), "xxxx"),
            ("CON", "_CON-"),
            ("com1.png", "_com1.png-"),
            ("end.", "end-"),
            (".hidden", "hidden-"),
            ("", "_-"),
            ("..", "_-"),
            ("é", "_-"),
            ("e\u{301}", "e_-"),
        ] {
            let name = safe_file_name(id);
            assert!(name.starts_with(start) && name.len() <= 130, "{id:?}: {name}");
        }
        assert_ne!(safe_file_name("a/b"), safe_file_name("a:b"), "what was changed differs by its hash");
        assert_eq!(safe_file_name("PMC123_fig-1.jpg"), "PMC123_fig-1.jpg");
    }

    proptest! {
        #[test]
        fn any_id_gives_one_safe_component(id in any::<String>()) {
            let name = safe_file_name(&id);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            prop_assert!(!name.is_empty() && !name.starts_with('.') && !name.ends_with('.') && name.len() <= 130 && !is_reserved(&name));
            prop_assert_eq!(Path::new(&name).components().count(), 1);
        }
    }
}
