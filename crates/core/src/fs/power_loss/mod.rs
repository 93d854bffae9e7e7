//! Proof by trying: what a power cut can leave of each protocol that writes, at each of its instants, is good enough.
//!
//! A protocol runs once in a real folder while [`recorder`] writes down its operations. Then, for each beginning of that
//! list, every combination of what had reached the disk ([`disk`]; a fixed random choice where there are too many) is laid
//! out as a folder, and the protocol's check is asked about it. Protocols that are wrong on purpose test the test.
mod checkpoint;
mod disk;
pub(in crate::fs) mod recorder;

use super::*;
use disk::{Change, Disk, Fate, Image, Step};
use recorder::acknowledge;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Different images per protocol.
const MOST_IMAGES: usize = 4096;

/// Given a folder and how much was acknowledged: what is wrong.
type Check<'a> = &'a dyn Fn(&Path, usize) -> Result<(), String>;

/// Tries all that a power cut can leave. How many images were checked, or the first bad one.
fn survives(setup: impl FnOnce(&Path), protocol: impl FnOnce(&Path), check: Check) -> Result<usize, String> {
    let temp = tempfile::tempdir().unwrap();
    setup(temp.path());
    let (mut before, inodes) = Disk::read(temp.path());
    let ops = recorder::record(temp.path(), protocol);
    let (steps, live) = before.steps(temp.path(), &ops, inodes);
    assert_eq!(live.image(), Disk::read(temp.path()).0.image(), "something was changed without crate::fs");

    let mut seen = HashSet::new();
    for cut in 0..=steps.len() {
        let done = &steps[..cut];
        let acknowledged = done.iter().filter(|step| matches!(step, Step::Acknowledge)).count();
        let share = (MOST_IMAGES - seen.len()) / (steps.len() + 1 - cut);
        let before_cut = seen.len();
        for fates in combinations(done, 4 * share) {
            let mut disk = before.clone();
            changes(done).zip(&fates).for_each(|((_, change), fate)| disk.apply(change, *fate));
            let image = disk.image();
            if seen.len() == before_cut + share || !seen.insert(digest(&(&image, acknowledged))) {
                continue;
            }
            look_at(&image, acknowledged, check).map_err(|what| {
                let lost: Vec<String> = changes(done)
                    .zip(&fates)
                    .filter(|(_, fate)| **fate != Fate::Whole)
                    .map(|((_, change), fate)| format!("{fate:?} of {change:.200?}"))
                    .collect();
                format!("power cut after operation {cut} ({acknowledged} acknowledged): {what}; {}", lost.join("; "))
            })?;
        }
    }
    Ok(seen.len())
}

/// [`survives`], for a protocol that has to.
fn prove(name: &str, setup: impl FnOnce(&Path), protocol: impl FnOnce(&Path), check: Check) {
    match survives(setup, protocol, check) {
        Ok(images) => println!("power loss: {name}: {images} images"),
        Err(what) => panic!("{name}: {what}"),
    }
}

fn changes(steps: &[Step]) -> impl Iterator<Item = (usize, &Change)> {
    steps
        .iter()
        .enumerate()
        .filter_map(|(i, step)| if let Step::Change(change) = step { Some((i, change)) } else { None })
}

/// A fate for each change: all combinations if there are at most `most`, else those where one change differs from all
/// others, and a choice.
fn combinations(done: &[Step], most: usize) -> Vec<Vec<Fate>> {
    let fates: Vec<Vec<Fate>> = changes(done)
        .map(|(i, change)| {
            let safe = done[i..].iter().any(|later| matches!(later, Step::Sync(id) if Some(*id) == change.owner()));
            if safe { vec![Fate::Whole] } else { change.fates() }
        })
        .collect();
    let whole: Vec<Fate> = vec![Fate::Whole; fates.len()];
    let all = fates.iter().try_fold(1usize, |product, fates| product.checked_mul(fates.len())).unwrap_or(usize::MAX);
    if all <= most {
        return fates.iter().enumerate().fold(vec![whole], |lists, (i, fates)| {
            lists.iter().flat_map(|list| fates.iter().map(move |&fate| with(list, i, fate))).collect()
        });
    }
    let least: Vec<Fate> = fates.iter().map(|fates| if fates.len() > 1 { Fate::Lost } else { Fate::Whole }).collect();
    let mut lists = vec![whole.clone(), least.clone()];
    for (i, fates) in fates.iter().enumerate().filter(|(_, fates)| fates.len() > 1) {
        for other in [&whole, &least] {
            lists.extend(fates.iter().map(|&fate| with(other, i, fate)));
        }
    }
    let chosen =
        |n: usize| fates.iter().enumerate().map(move |(i, fates)| fates[digest(&(n, i)) as usize % fates.len()]);
    lists.extend((lists.len()..most).map(|n| chosen(n).collect()));
    lists
}

fn with(list: &[Fate], i: usize, fate: Fate) -> Vec<Fate> {
    let mut list = list.to_vec();
    list[i] = fate;
    list
}

/// The same in every run of the tests.
fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn look_at(image: &Image, acknowledged: usize, check: Check) -> Result<(), String> {
    let temp = tempfile::tempdir().unwrap();
    for (path, content) in image.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
        match content {
            Some(bytes) => std::fs::write(temp.path().join(path), bytes).unwrap(),
            None => std::fs::create_dir(temp.path().join(path)).unwrap(),
        }
    }
    check(temp.path(), acknowledged)
}

/// Longer than two sectors, and different in each.
fn version(n: usize) -> Vec<u8> {
    (0..200).flat_map(|i| format!("{n}:{i};").into_bytes()).collect()
}

fn old_version(root: &Path) {
    std::fs::write(root.join("file"), version(0)).unwrap();
}

/// One of the versions, whole, and none older than what was acknowledged.
fn is_a_version(root: &Path, acknowledged: usize) -> Result<(), String> {
    let content = std::fs::read(root.join("file")).map_err(|e| e.to_string())?;
    match (0..=3).find(|&n| content == version(n)) {
        Some(n) if n >= acknowledged => Ok(()),
        Some(n) => Err(format!("version {n}, though {acknowledged} was acknowledged")),
        None => Err(format!("a mixture of {} bytes", content.len())),
    }
}

/// Replaces the file three times.
fn three_times(write: impl Fn(&Path, &[u8])) -> impl FnOnce(&Path) {
    move |root| {
        for n in 1..=3 {
            write(&root.join("file"), &version(n));
            acknowledge();
        }
    }
}

#[test]
fn a_replaced_file_is_old_or_new_after_a_power_cut() {
    let protocol = three_times(|path, bytes| write_atomic(path, bytes).unwrap());
    prove("write_atomic", old_version, protocol, &is_a_version);
}

#[test]
fn wrong_ways_to_replace_a_file_are_found_out() {
    let no_sync = three_times(|path, bytes| {
        write_replacing(path, bytes).unwrap();
        sync_dir(parent(path)).unwrap();
    });
    let found = survives(old_version, no_sync, &is_a_version).unwrap_err();
    assert!(found.contains("a mixture"), "{found}");

    let no_sync_of_the_folder = three_times(|path, bytes| {
        let temp = path.with_extension("tmp");
        let mut file = OutFile::create(&temp).unwrap();
        file.write_all(bytes).unwrap();
        file.finish().unwrap();
        rename(&temp, path).unwrap();
    });
    let found = survives(old_version, no_sync_of_the_folder, &is_a_version).unwrap_err();
    assert!(found.contains("version 0, though 1"), "{found}");

    let in_place = three_times(|path, bytes| {
        let mut file = OutFile::create(path).unwrap();
        file.write_all(bytes).unwrap();
        file.finish().unwrap();
    });
    let found = survives(old_version, in_place, &is_a_version).unwrap_err();
    assert!(found.contains("a mixture"), "{found}");
}

const LINES: usize = 4;

fn line(n: usize) -> String {
    format!("{{\"line\":{n},\"text\":\"{}\"}}", "x".repeat(300))
}

/// Acknowledged lines are there in order, what else is there is one of the lines or visibly damaged, and the next attempt
/// can append.
fn log_is_readable(root: &Path, acknowledged: usize) -> Result<(), String> {
    let path = root.join("log.jsonl");
    if !path.exists() && acknowledged == 0 {
        return Ok(());
    }
    append_line(&path, "{\"line\":99}").map_err(|e| e.to_string())?;
    let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
    let lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    for (i, found) in lines.iter().enumerate() {
        let valid = serde_json::from_slice::<serde_json::Value>(found).is_ok();
        let known = (0..LINES).any(|n| line(n).as_bytes() == *found) || *found == b"{\"line\":99}";
        if (i < acknowledged && line(i).as_bytes() != *found) || (valid && !known) {
            return Err(format!("line {i} is {:?}", String::from_utf8_lossy(found)));
        }
    }
    if lines.len() < 2 || lines[lines.len() - 2] != b"{\"line\":99}" { Err("no new line".to_owned()) } else { Ok(()) }
}

/// Two lines for each fsync.
fn logging(root: &Path, sync: bool) {
    let mut log = append_open(&root.join("log.jsonl")).unwrap();
    for n in 0..LINES {
        log.append(format!("{}\n", line(n)).as_bytes()).unwrap();
        if n % 2 == 1 {
            if sync {
                log.sync().unwrap();
            }
            (0..2).for_each(|_| acknowledge());
        }
    }
}

#[test]
fn lines_of_a_log_stay_after_their_fsync_and_torn_ones_cost_nothing_else() {
    prove("log", |_| (), |root| logging(root, true), &log_is_readable);
}

#[test]
fn a_log_without_fsync_is_found_out() {
    let found = survives(|_| (), |root| logging(root, false), &log_is_readable).unwrap_err();
    assert!(found.contains("line 0 is"), "{found}");
}
