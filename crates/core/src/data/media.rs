//! Where a picture's bytes come from, and how they are fetched without trusting the data set.
//!
//! Paths in data sets are written by strangers: a path may be missing, a FIFO that never answers, `/dev/zero`, or a
//! file of many gigabytes. [`ImageRef::load`] opens without blocking, looks at what it opened, and only then reads.

use super::parquet::ParquetTable;
use super::problem::{Fault, kind};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A picture file larger than this is refused. The largest plausible one, an uncompressed 16-bit RGB TIFF of
/// 40 megapixels, has 240 MB.
pub const MAX_IMAGE_BYTES: u64 = 256 << 20;

/// Where a picture's bytes come from. Paths were resolved against `media_dir` when the sample was read.
#[derive(Debug, Clone)]
pub enum ImageRef {
    /// A file that existed when the sample was read.
    File(PathBuf),
    Bytes(Arc<[u8]>),
    /// Inside a parquet file: picture number `nth` of row `row`, fetched when asked for, so that a prepared data set
    /// does not hold all pictures in memory.
    Stored {
        table: Arc<ParquetTable>,
        row: usize,
        nth: usize,
    },
    /// Not found at any of the places that were tried.
    Missing {
        given: String,
        tried: Vec<PathBuf>,
    },
}

/// Why a picture's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("\"{given}\" not found; tried {}", list(.tried))]
    Missing { given: String, tried: Vec<PathBuf> },
    #[error("{}: {what}, not a regular file", .path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    #[error("{}: {bytes} bytes; pictures above {MAX_IMAGE_BYTES} bytes are refused", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Parquet(String),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", then ")
}

impl MediaError {
    /// Stable short name, as in [`super::Problem::kind`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => kind::IMAGE_MISSING,
            Self::NotAFile { .. } => kind::IMAGE_NOT_A_FILE,
            Self::TooLarge { .. } => kind::IMAGE_TOO_LARGE,
            Self::Io { .. } => kind::IMAGE_UNREADABLE,
            Self::Parquet(_) => kind::BAD_PARQUET,
        }
    }
}

impl From<MediaError> for Fault {
    fn from(e: MediaError) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl ImageRef {
    /// The picture's encoded bytes; regular files only, at most [`MAX_IMAGE_BYTES`]. A network file system may fail once
    /// and then be well again: such an error counts from its third time on.
    pub fn load(&self) -> Result<Cow<'_, [u8]>, MediaError> {
        let mut again = 2;
        loop {
            match self.try_load() {
                Err(MediaError::Io { source, .. }) if source.raw_os_error() == Some(libc::EIO) && again > 0 => {
                    again -= 1
                }
                outcome => return outcome,
            }
        }
    }

    fn try_load(&self) -> Result<Cow<'_, [u8]>, MediaError> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::File(path) => read_regular_file(path).map(Cow::Owned),
            Self::Stored { table, row, nth } => table.image(*row, *nth).map(Cow::Owned),
            Self::Missing { given, tried } => Err(MediaError::Missing { given: given.clone(), tried: tried.clone() }),
        }
    }

    /// The file's bytes; regular files only, with a size cap, so that a FIFO or /dev/zero cannot hang or fill memory.
    pub fn read(&self) -> Result<Cow<'_, [u8]>, String> {
        self.load().map_err(|e| e.to_string())
    }

    /// A short name for people: the path, or where in the parquet file the picture lies.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes(bytes) => format!("{} bytes in memory", bytes.len()),
            Self::Stored { table, row, nth: 0 } => format!("inside {}", table.origin(*row)),
            Self::Stored { table, row, nth } => format!("inside {}, picture {}", table.origin(*row), nth + 1),
            Self::Missing { given, .. } => format!("{given} (missing)"),
        }
    }

    /// LLaMA-Factory's rule (`data/converter.py`, `_find_medias`): the path joined to `media_dir`; if there is no such
    /// file, the path as given, relative to the working directory. Absolute paths and `..` are taken as they are.
    /// `beside`: a further folder to look in, for pictures that lie beside the parquet file that names them.
    pub(super) fn resolve(given: &str, media_dir: &Path, beside: Option<&Path>) -> Result<Self, Fault> {
        if let Some((scheme, _)) = given.split_once(':')
            && ["http", "https", "ftp", "data", "s3", "gs", "hf"].contains(&scheme.to_ascii_lowercase().as_str())
        {
            return Err(Fault::new(
                kind::IMAGE_URL,
                format!("picture \"{}\" is a URL; download it and name the local file", shorten(given)),
            ));
        }
        // A NUL would make every system call fail with a message that does not say why.
        if given.is_empty() || given.contains('\0') {
            return Err(Fault::new(kind::IMAGE_MISSING, format!("picture path {given:?} is not a path")));
        }
        let given_path = Path::new(given.strip_prefix("file://").unwrap_or(given));
        let mut tried = vec![media_dir.join(given_path)];
        tried.extend(beside.map(|folder| folder.join(given_path)));
        tried.push(given_path.to_path_buf());
        tried.dedup();
        // `exists`, not `is_file`: a folder or a FIFO is there, and is told apart from a missing file when it is read.
        match tried.iter().find(|path| path.exists()) {
            Some(path) => Ok(Self::File(path.clone())),
            None => Ok(Self::Missing { given: given.to_owned(), tried }),
        }
    }
}

/// The first 80 characters, for messages: a `data:` URI may have megabytes.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// Opens a file that strangers named, with its length, without waiting for the other end of a FIFO.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), MediaError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => {
            MediaError::Missing { given: path.display().to_string(), tried: vec![path.to_path_buf()] }
        }
        _ => MediaError::Io { path: path.to_path_buf(), source },
    };
    // O_NONBLOCK: opening a FIFO without a writer would wait for ever. It has no effect on regular files.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "a folder" } else { "a pipe, socket or device" };
        return Err(MediaError::NotAFile { path: path.to_path_buf(), what });
    }
    Ok((file, meta.len()))
}

fn read_regular_file(path: &Path) -> Result<Vec<u8>, MediaError> {
    let (file, len) = open_regular(path)?;
    if len > MAX_IMAGE_BYTES {
        return Err(MediaError::TooLarge { path: path.to_path_buf(), bytes: len });
    }
    let mut bytes = Vec::with_capacity(len as usize);
    // `take`: the file may grow while it is read.
    let read = file.take(MAX_IMAGE_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| MediaError::Io { path: path.to_path_buf(), source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(result: Result<Cow<'_, [u8]>, MediaError>) -> &'static str {
        result.expect_err("an error").kind()
    }

    #[test]
    fn a_fifo_a_folder_and_a_device_are_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo.png");
        let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: `name` is a NUL-terminated path that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert_eq!(fault(ImageRef::File(path.into()).load()), kind::IMAGE_NOT_A_FILE, "{}", path.display());
        }
    }

    #[test]
    fn a_file_above_the_size_limit_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.png");
        File::create(&path).unwrap().set_len(MAX_IMAGE_BYTES + 1).unwrap(); // sparse: takes no space
        assert_eq!(fault(ImageRef::File(path).load()), kind::IMAGE_TOO_LARGE);
    }

    #[test]
    fn a_missing_picture_names_every_place_that_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let image = ImageRef::resolve("no/such.png", dir.path(), None).unwrap();
        let message = image.read().unwrap_err();
        assert!(message.contains(&dir.path().join("no/such.png").display().to_string()), "{message}");
        assert!(message.ends_with(", then no/such.png"), "{message}");
    }

    #[test]
    fn media_dir_comes_before_the_working_directory_and_absolute_paths_are_accepted() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), b"here").unwrap(); // the crate has a Cargo.toml as well
        let ImageRef::File(found) = ImageRef::resolve("Cargo.toml", dir.path(), None).unwrap() else { panic!() };
        assert_eq!(found, dir.path().join("Cargo.toml"));
        let ImageRef::File(found) = ImageRef::resolve("src/lib.rs", dir.path(), None).unwrap() else { panic!() };
        assert_eq!(found, Path::new("src/lib.rs"));
        let absolute = dir.path().join("Cargo.toml");
        let found = ImageRef::resolve(absolute.to_str().unwrap(), Path::new("elsewhere"), None).unwrap();
        assert_eq!(found.read().unwrap().as_ref(), b"here");
    }

    #[test]
    fn urls_are_refused() {
        for url in ["http://a/b.png", "HTTPS://a/b.png", "data:image/png;base64,AAAA", "s3://bucket/x.png"] {
            let fault = ImageRef::resolve(url, Path::new("."), None).unwrap_err();
            assert_eq!(fault.kind, kind::IMAGE_URL);
        }
    }
}
