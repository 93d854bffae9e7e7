//! Names and paths that come from data.
use super::naming;
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
