use super::*;
use crate::fault::{at_each_visit, inject};
use std::os::unix::fs::PermissionsExt;

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
fn whichever_operation_fails_the_file_is_old_or_new_and_nothing_else_is_left() {
    for action in ["error:ENOSPC", "error:EDQUOT", "error:EIO", "error:EROFS", "error:EMFILE", "short"] {
        let kind = if action == "short" { "fs.write" } else { "fs" };
        let visits = at_each_visit(kind, action, |n| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state.json");
            std::fs::write(&path, b"old").unwrap();
            let result = write_atomic(&path, b"new");
            let content = std::fs::read(&path).unwrap();
            assert!(content == b"new" || (content == b"old" && result.is_err()), "{action} at {n}: {result:?}");
            assert_eq!(names(dir.path()), ["state.json"], "{action} at {n}");
            let named = result.map_or_else(|e| e.to_string().matches("state.json").count(), |()| 1);
            assert!(named == 1 || n == 5, "{action} at {n}: named once");
        });
        assert_eq!(visits, if action == "short" { 1 } else { 5 }, "{action}: open, write, sync, rename, sync_dir");
    }
}

#[test]
fn a_large_content_is_written_piece_by_piece_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("a"), dir.path().join("b"));
    let content: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let mut file = OutFile::create(&path).unwrap();
    content.chunks(999).for_each(|part| file.write_all(part).unwrap());
    file.finish().unwrap();
    copy(&path, &other).unwrap();
    assert_eq!(std::fs::read(&other).unwrap(), content);
    let error = write_atomic_by(&other, |_| Err(ErrorKind::InvalidData.into())).unwrap_err();
    assert_eq!((error.kind(), std::fs::read(&other).unwrap().len()), (ErrorKind::InvalidData, content.len()));
    let error = copy(&dir.path().join("missing"), &other).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    OutFile::create(&path).unwrap().finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"", "an existing file is emptied");
    write_replacing(&path, b"now").unwrap();
    assert_eq!((std::fs::read(&path).unwrap(), names(dir.path()).len()), (b"now".to_vec(), 2));
}

#[test]
fn a_line_that_could_not_be_written_whole_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    let mut log = append_open(&path).unwrap();
    log.append(b"one\n").unwrap();
    {
        let _faults = inject("fs.write#1=short;fs.write#2=error:ENOSPC").unwrap();
        let error = log.append(b"two\n").unwrap_err();
        assert!(is_full(&error) && error.to_string().contains("log.jsonl"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
    }
    {
        let _faults = inject("fs.write#1=short;fs.write#2=error:EIO;fs.set_len=error:EIO").unwrap();
        assert!(log.append(b"two\n").unwrap_err().to_string().contains("its beginning stays"));
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntw");
    }
    log.append(b"three\n").unwrap();
    log.sync().unwrap();
    assert_eq!((std::fs::read(&path).unwrap(), log.len()), (b"one\nthree\n".to_vec(), 10));
    assert_eq!(append_open(&path).unwrap().len(), 10);
}

#[test]
fn folders_are_made_and_removed_and_links_in_them_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    create_dir_all(&deep).unwrap();
    create_dir_all(&deep).unwrap();
    std::fs::write(dir.path().join("kept"), "x").unwrap();
    std::fs::create_dir(dir.path().join("also")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("also"), deep.join("link")).unwrap();
    std::fs::write(deep.join("file"), "x").unwrap();
    remove_dir_all(&dir.path().join("a")).unwrap();
    remove_dir_all(&dir.path().join("a")).unwrap();
    remove_file(&dir.path().join("a")).unwrap();
    let mut left = names(dir.path());
    left.sort();
    assert_eq!(left, ["also", "kept"]);
    let error = create_dir_all(&dir.path().join("kept/below")).unwrap_err();
    assert!(error.to_string().contains("kept"), "{error}");
    let error = rename(&dir.path().join("no"), &dir.path().join("where")).unwrap_err();
    assert!(error.to_string().contains("/no to ") && error.kind() == ErrorKind::NotFound, "{error}");
}
