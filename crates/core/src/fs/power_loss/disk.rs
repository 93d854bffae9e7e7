//! A disk in memory, and what may be on it after a power cut.
//!
//! The model: a file's bytes and length are safe after fsync of the file, names after fsync of their folder. Of all
//! that is not yet safe each change may be there or not, whatever came before or after it; bytes may also be there in
//! part (in sectors of 512 bytes) or be zeros under the new length.
use super::recorder::Op;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;

/// Files and folders by number; 0 is the root.
type Id = usize;

#[derive(Debug, Clone)]
enum Node {
    Dir(BTreeMap<String, Id>),
    File(Vec<u8>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Vec<Node>);

/// What a disk holds: files with their bytes, folders with none.
pub(super) type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Debug)]
pub(super) enum Step {
    Change(Change),
    /// Changes of this file or folder so far are safe.
    Sync(Id),
    Acknowledge,
}

#[derive(Debug)]
pub(super) enum Change {
    /// Names that appear (true) or go, all or none; safe with the last one's folder.
    Names(Vec<(Id, String, Id, bool)>),
    Data {
        file: Id,
        at: usize,
        bytes: Vec<u8>,
    },
    Length {
        file: Id,
        len: usize,
    },
}

/// What is left of a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Lost,
    Whole,
    /// Of bytes: those from `.0` to `.1`, and the length up to `.2`.
    Part(usize, usize, usize),
}

impl Change {
    /// Whose fsync makes it safe.
    pub(super) fn owner(&self) -> Option<Id> {
        match self {
            Self::Names(names) => names.last().map(|name| name.0),
            Self::Data { file, .. } | Self::Length { file, .. } => Some(*file),
        }
    }

    pub(super) fn fates(&self) -> Vec<Fate> {
        let mut fates = vec![Fate::Whole, Fate::Lost];
        if let Self::Data { at, bytes, .. } = self {
            let n = bytes.len();
            fates.push(Fate::Part(0, 0, n));
            let edges: Vec<usize> = (1..n).filter(|i| (at + i) % SECTOR == 0).collect();
            let mut edges: Vec<usize> = edges.first().into_iter().chain(edges.last()).copied().collect();
            edges.dedup();
            fates.extend(edges.into_iter().flat_map(|edge| [Fate::Part(0, edge, edge), Fate::Part(edge, n, n)]));
        }
        fates
    }
}

impl Disk {
    /// A folder as it is, all of it safe, and which file has which inode.
    pub(super) fn read(root: &Path) -> (Self, HashMap<u64, Id>) {
        let (mut disk, mut inodes) = (Self::default(), HashMap::new());
        disk.read_into(root, &mut inodes);
        (disk, inodes)
    }

    fn read_into(&mut self, path: &Path, inodes: &mut HashMap<u64, Id>) -> Id {
        let id = self.0.len();
        if path.is_dir() {
            self.0.push(Node::Dir(BTreeMap::new()));
            for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
                let child = self.read_into(&entry.path(), inodes);
                self.dir(id).insert(entry.file_name().into_string().unwrap(), child);
            }
        } else {
            inodes.insert(std::fs::metadata(path).unwrap().ino(), id);
            self.0.push(Node::File(std::fs::read(path).unwrap()));
        }
        id
    }

    fn dir(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.0[id] {
            Node::Dir(names) => names,
            Node::File(_) => panic!("{id} is a file"),
        }
    }

    fn file(&mut self, id: Id) -> &mut Vec<u8> {
        match &mut self.0[id] {
            Node::File(bytes) => bytes,
            Node::Dir(_) => panic!("{id} is a folder"),
        }
    }

    fn add(&mut self, node: Node) -> Id {
        self.0.push(node);
        self.0.len() - 1
    }

    /// The folder that `path` (relative to the root) lies in, and its name there. The root itself has none.
    fn place(&mut self, path: &Path) -> (Id, String) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (self.find(path.parent().unwrap()), name)
    }

    fn find(&mut self, path: &Path) -> Id {
        path.iter().fold(0, |dir, name| self.dir(dir)[name.to_str().unwrap()])
    }

    pub(super) fn apply(&mut self, change: &Change, fate: Fate) {
        if fate == Fate::Lost {
            return;
        }
        match change {
            Change::Names(names) => {
                for (dir, name, node, there) in names {
                    let dir = self.dir(*dir);
                    if *there {
                        dir.insert(name.clone(), *node);
                    } else if dir.get(name) == Some(node) {
                        dir.remove(name);
                    }
                }
            }
            Change::Length { file, len } => self.file(*file).resize(*len, 0),
            Change::Data { file, at, bytes } => {
                let (from, to, extent) =
                    if let Fate::Part(a, b, c) = fate { (a, b, c) } else { (0, bytes.len(), bytes.len()) };
                let content = self.file(*file);
                content.resize(content.len().max(at + extent), 0);
                content[at + from..at + to].copy_from_slice(&bytes[from..to]);
            }
        }
    }

    pub(super) fn image(&self) -> Image {
        let mut image = Image::new();
        self.image_of(0, Path::new(""), &mut image);
        image
    }

    fn image_of(&self, id: Id, path: &Path, image: &mut Image) {
        match &self.0[id] {
            Node::File(bytes) => drop(image.insert(path.to_owned(), Some(bytes.clone()))),
            Node::Dir(names) => {
                image.insert(path.to_owned(), None);
                names.iter().for_each(|(name, child)| self.image_of(*child, &path.join(name), image));
            }
        }
    }

    /// What was recorded in `root`, as steps on this disk. Makes what is new, still without names and bytes; returns the
    /// disk that results if nothing is lost, too.
    pub(super) fn steps(&mut self, root: &Path, ops: &[Op], mut inodes: HashMap<u64, Id>) -> (Vec<Step>, Disk) {
        let mut live = self.clone();
        let mut steps = Vec::new();
        let inside = |path: &Path| path.strip_prefix(root).ok().map(Path::to_owned);
        for op in ops {
            let mut change = |live: &mut Disk, change: Change| {
                live.apply(&change, Fate::Whole);
                steps.push(Step::Change(change));
            };
            match op {
                Op::Acknowledge => steps.push(Step::Acknowledge),
                Op::Open { path, inode, made, emptied } => {
                    let Some(path) = inside(path) else { continue };
                    if *made {
                        let id = self.add(Node::File(Vec::new()));
                        live.add(Node::File(Vec::new()));
                        inodes.insert(*inode, id);
                        let (dir, name) = live.place(&path);
                        change(&mut live, Change::Names(vec![(dir, name, id, true)]));
                    } else if *emptied {
                        change(&mut live, Change::Length { file: inodes[inode], len: 0 });
                    }
                }
                Op::Append { inode, bytes } => {
                    let Some(&file) = inodes.get(inode) else { continue };
                    let at = live.file(file).len();
                    change(&mut live, Change::Data { file, at, bytes: bytes.clone() });
                }
                Op::SetLen { inode, len } => {
                    let Some(&file) = inodes.get(inode) else { continue };
                    change(&mut live, Change::Length { file, len: *len as usize });
                }
                Op::Sync { inode } => steps.extend(inodes.get(inode).map(|&file| Step::Sync(file))),
                Op::SyncDir { path } => steps.extend(inside(path).map(|path| Step::Sync(live.find(&path)))),
                Op::MakeDir { path } => {
                    let Some(path) = inside(path) else { continue };
                    let id = self.add(Node::Dir(BTreeMap::new()));
                    live.add(Node::Dir(BTreeMap::new()));
                    let (dir, name) = live.place(&path);
                    change(&mut live, Change::Names(vec![(dir, name, id, true)]));
                }
                Op::Remove { path } => {
                    let Some(path) = inside(path) else { continue };
                    let (id, (dir, name)) = (live.find(&path), live.place(&path));
                    change(&mut live, Change::Names(vec![(dir, name, id, false)]));
                }
                Op::Rename { from, to } => {
                    let (Some(from), Some(to)) = (inside(from), inside(to)) else { continue };
                    let id = live.find(&from);
                    let ((dir, name), (to_dir, to_name)) = (live.place(&from), live.place(&to));
                    change(&mut live, Change::Names(vec![(dir, name, id, false), (to_dir, to_name, id, true)]));
                }
            }
        }
        (steps, live)
    }
}
