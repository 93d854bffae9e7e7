//! What the tests of downloads have in common: a Hub on this machine, a folder for one test, and the program in it.

use crate::content;
use crate::server::Server;
use lightbox_core::hub::{self, Client, Filters, HubError, Listing, Source};
use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub const WEIGHTS: &str = "model.safetensors";

/// Names and contents.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

pub struct Rig {
    pub server: Server,
    temp: tempfile::TempDir,
    pub weights: Vec<u8>,
}

impl Rig {
    /// A Hub of these files and, last, of so many bytes of weights.
    pub fn new(server: impl FnOnce(Files<'_>) -> Server, files: Files<'_>, bytes: usize) -> Self {
        let weights = content(7, bytes);
        let server = server(&[files, &[(WEIGHTS, &weights)]].concat());
        Self { weights, ..Self::without_weights(server) }
    }

    pub fn without_weights(server: Server) -> Self {
        Self { server, temp: tempfile::tempdir().unwrap(), weights: Vec::new() }
    }

    /// With a model whose files are small, empty, in a folder, and large.
    pub fn model(server: impl FnOnce(Files<'_>) -> Server) -> Self {
        Self::new(server, &[("config.json", b"{}\n"), ("empty.txt", b""), ("sub/a b.txt", b"text")], 3_000_000)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The program's cache, and the client's.
    pub fn cache(&self) -> PathBuf {
        self.path("hf/hub")
    }

    /// Without a token.
    pub fn client_of(&self, source: Source) -> Client {
        Client::of(source, &self.server.url, &self.cache()).unwrap().with_pause(Duration::from_millis(2))
    }

    /// `lightbox` with these arguments, and the fake engine.
    pub fn command(&self, args: &[&str]) -> Command {
        let lightbox = env!("CARGO_BIN_EXE_lightbox");
        let engine = Path::new(lightbox).with_file_name("lightbox-fake-engine");
        assert!(engine.exists(), "{} is missing: run `cargo build` first", engine.display());
        let mut command = clean(lightbox, &self.server.url, self.temp.path());
        command.args(args).env("LIGHTBOX_ENGINE", engine);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

/// All files of a listing.
pub fn load(listing: &Listing) -> Result<PathBuf, HubError> {
    hub::download(listing, &Filters::default(), &mut |_| Continue(()))
}

/// A program in `folder` that knows this Hub, and no login, cache or proxy of whoever runs the tests.
pub fn clean(program: &str, hub: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for name in [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "USE_MODELSCOPE_HUB",
        "MODELSCOPE_API_TOKEN",
        "LIGHTBOX_FAULTS",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", hub).env("MODELSCOPE_ENDPOINT", hub);
    command.env("HF_HOME", folder.join("hf")).env("LIGHTBOX_STATE", folder.join("state"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
