//! Pictures that a request names: from the request itself (`data:` URLs) or from folders that `--allow-dir` opened. Nothing
//! is ever fetched from the network: a server that fetches what strangers name can be sent to places that only it reaches.
//!
//! Each picture is checked in full here and copied into a folder of the server's own, so the worker reads the bytes that
//! were checked, and a bad one is the client's fault (400) and not the worker's.

use super::error::ApiError;
use super::request::PictureIn;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lightbox_core::safe_text::clean_line;
use lightbox_core::vision;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// Largest picture file. Photographs of cameras have 2 to 15 MB.
const MAX_BYTES: u64 = 32 << 20;
/// Most pixels of a picture: a camera's, not a scanner's. Decoding takes 3 bytes for each.
const MAX_PIXELS: u64 = 50_000_000;

/// Some libraries leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where pictures may come from and where copies go.
pub struct Pictures {
    /// Real paths.
    allowed: Vec<PathBuf>,
    /// Only for this user; goes with the server.
    copies: TempDir,
    /// Most pictures of a request.
    pub most: usize,
}

impl Pictures {
    /// # Errors
    /// An allowed folder that is not there; no place for copies.
    pub fn new(allowed: &[PathBuf], most: usize) -> std::io::Result<Self> {
        let real = |dir: &PathBuf| {
            let named =
                |e: std::io::Error| std::io::Error::new(e.kind(), format!("--allow-dir {}: {e}", dir.display()));
            let real = dir.canonicalize().map_err(named)?;
            if real.is_dir() { Ok(real) } else { Err(named(std::io::ErrorKind::NotADirectory.into())) }
        };
        let allowed = allowed.iter().map(real).collect::<Result<_, _>>()?;
        Ok(Self { allowed, copies: tempfile::Builder::new().prefix("lightbox-serve-").tempdir()?, most })
    }

    /// A checked copy, which goes when it is dropped.
    ///
    /// # Errors
    /// 400: no picture, too large, not allowed. 500: the copy cannot be written.
    pub fn take(&self, picture: &PictureIn) -> Result<NamedTempFile, ApiError> {
        let refuse = |message: String| ApiError::field(&picture.param, message);
        let bytes = self.read(&picture.url).map_err(refuse)?;
        check(&bytes).map_err(refuse)?;
        let copy = || {
            let mut copy = NamedTempFile::new_in(self.copies.path())?;
            copy.write_all(&bytes)?;
            Ok(copy)
        };
        copy().map_err(|e: std::io::Error| {
            let message = format!("the picture cannot be kept for the worker: {e}; the server's disk needs a look");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "disk", message)
        })
    }

    fn read(&self, url: &str) -> Result<Vec<u8>, String> {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("data") => from_data_url(&url["data:".len()..]),
            Some("http" | "https" | "ftp") => {
                Err("pictures are not fetched from the network; send the picture itself, as \
                                                   data:image/png;base64,…"
                    .to_owned())
            }
            Some("file") => self.at_path(&path_of(&url["file:".len()..])?),
            _ => self.at_path(Path::new(url)),
        }
    }

    /// One message for "not there" and "not allowed": what else is on the disk is nobody's business.
    fn at_path(&self, path: &Path) -> Result<Vec<u8>, String> {
        if self.allowed.is_empty() {
            let way = "send the picture itself, as data:image/png;base64,… (or start the server with --allow-dir DIR)";
            return Err(format!("files of the server are not opened; {way}"));
        }
        let shown = clean_line(&path.display().to_string(), 100);
        let not_here = || format!("{shown}: there is no such picture file below the allowed folders");
        // A relative path means below an allowed folder; an absolute one stays what it is.
        let real = self.allowed.iter().find_map(|dir| dir.join(path).canonicalize().ok().filter(|p| self.allows(p)));
        let real = real.ok_or_else(not_here)?;
        // Without waiting (a pipe would), and not through a link that has come since.
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(|_| not_here())?;
        // A folder above it may have been exchanged meanwhile: what counts is what is open.
        let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| not_here())?;
        let meta = file.metadata().map_err(|_| not_here())?;
        if !self.allows(&opened) || !meta.is_file() {
            return Err(not_here());
        }
        if meta.len() > MAX_BYTES {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| format!("{shown}: {e}"))?;
        Ok(bytes)
    }

    fn allows(&self, real: &Path) -> bool {
        self.allowed.iter().any(|dir| real.starts_with(dir))
    }
}

/// `image/png;base64,…`
fn from_data_url(rest: &str) -> Result<Vec<u8>, String> {
    let form = "a data: URL looks like data:image/png;base64,…";
    let (kind, payload) = rest.split_once(',').ok_or(form)?;
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        return Err(format!("{form}; other encodings are not read"));
    }
    if payload.len() as u64 / 4 * 3 > MAX_BYTES {
        return Err(too_large());
    }
    BASE64.decode(payload).map_err(|e| format!("the data: URL is not valid base64: {e}"))
}

/// The path of `//host/path` or `/path`, percent-decoded.
fn path_of(rest: &str) -> Result<PathBuf, String> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
    };
    if !path.starts_with('/') {
        return Err("a file: URL looks like file:///folder/picture.png".to_owned());
    }
    let path = percent_encoding::percent_decode_str(path).decode_utf8().map_err(|_| "the file: URL is not UTF-8")?;
    Ok(PathBuf::from(path.as_ref()))
}

/// Sniffed and measured before a pixel is decoded; then decoded strictly.
fn check(bytes: &[u8]) -> Result<(), String> {
    let info = vision::inspect(bytes).map_err(|e| e.to_string())?;
    let pixels = u64::from(info.width) * u64::from(info.height);
    if pixels > MAX_PIXELS {
        let (most, has) = (MAX_PIXELS / 1_000_000, pixels / 1_000_000);
        return Err(format!(
            "the picture has {has} million pixels; at most {most} million are decoded, so scale it down"
        ));
    }
    vision::check(bytes).map(drop).map_err(|e| e.to_string())
}

fn too_large() -> String {
    format!("the picture has more than {} MiB; scale it down", MAX_BYTES >> 20)
}

#[cfg(test)]
mod tests;
