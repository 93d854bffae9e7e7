//! `lightbox serve`: a model behind OpenAI's chat completions.
//!
//! ```text
//! client ──HTTP──► http (connections, limits, keys) ─► chat ─► desk ──JSON lines──► lightbox-engine answer
//!                                                       │ request: the body, read strictly
//!                                                       │ pictures: checked and copied
//! ```
//! This program links no libtorch; the worker is the Chat screen's ([`crate::link::answer`]). Read next: `chat.rs`, which is
//! one request from its first byte to its last. docs/guide.md says what a client can rely on.

mod chat;
mod desk;
mod error;
mod http;
mod log;
pub mod models;
mod pictures;
mod request;

use anyhow::{Context, Result, anyhow};
use desk::Desk;
use lightbox_core::chat::ModelChoice;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::say::say;
use models::Models;
use pictures::Pictures;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

/// Requests that are read and whose pictures are decoded at once; the model is slower than that.
const PREPARING: usize = 2;

/// All that the command line decides, checked.
pub struct Config {
    pub address: SocketAddr,
    /// Names and models; the first is loaded at the start.
    pub models: Vec<(String, ModelChoice)>,
    /// CPU threads of the model; `None`: the worker decides.
    pub num_threads: Option<usize>,
    /// Pixel limits for all requests: least, most. `None`: those that the model was trained with.
    pub image_pixels: (Option<u64>, Option<u64>),
    /// `None`: whoever reaches the address may ask.
    pub api_key: Option<String>,
    /// Refuse requests for host names other than localhost: a web page could come under such a name. See `http.rs`.
    pub only_local_names: bool,
    pub allowed_dirs: Vec<PathBuf>,
    pub limits: Limits,
    /// How long running answers may take after a signal.
    pub grace: Duration,
    /// The line that says where it listens is JSON.
    pub json: bool,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Open requests, the one that is answered included.
    pub waiting: usize,
    pub body_bytes: usize,
    /// Of one request.
    pub pictures: usize,
    /// Of one answer.
    pub tokens: usize,
    /// From the head of a request to the end of its answer.
    pub timeout: Option<Duration>,
}

/// What every request needs.
pub struct Server {
    desk: Arc<Desk>,
    models: Models,
    pictures: Pictures,
    preparing: Arc<Semaphore>,
    limits: Limits,
    image_pixels: (Option<u64>, Option<u64>),
    api_key: Option<String>,
    only_local_names: bool,
}

/// Serves until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// The address is taken, a folder is not there, the worker cannot be started or the model not loaded; with the exit code.
pub fn run(config: Config) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(serve(config));
    // A picture may still be decoded for a client that is gone.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config) -> Result<Exit> {
    // First of all, so that no signal is missed.
    let mut end = End::new()?;
    let models = Models::new(config.models, log::unix_seconds()).map_err(|e| anyhow!(e)).because(Exit::Config)?;
    let first = models.first().context("there is no model to serve").because(Exit::Config)?.clone();
    let pictures = Pictures::new(&config.allowed_dirs, config.limits.pictures).because(Exit::Config)?;
    let listener = TcpListener::bind(config.address).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", config.address)).because(Exit::Config)?;
    let address = listener.local_addr()?;

    let desk = Desk::new(first, config.num_threads, config.limits.waiting);
    let started = tokio::select! {
        started = desk.start() => started,
        () = end.asked() => {
            desk.close();
            return Ok(Exit::Finished);
        }
    };
    if let Err(error) = started {
        desk.close();
        return Err(error);
    }
    announce(&address, &models, config.json)?;
    let server = Arc::new(Server {
        desk: desk.clone(),
        models,
        pictures,
        preparing: Arc::new(Semaphore::new(PREPARING)),
        limits: config.limits,
        image_pixels: config.image_pixels,
        api_key: config.api_key,
        only_local_names: config.only_local_names,
    });
    let open = http::accept(listener, server, end.asked()).await;
    let grace = config.grace;
    say(&format!(
        "ending: no new requests; running answers have {} s, a second signal ends them at once",
        grace.as_secs()
    ));
    let cut = tokio::select! {
        () = open.shutdown() => false,
        () = tokio::time::sleep(grace) => true,
        () = end.asked() => true,
    };
    if cut {
        say("warning: answers that were still running were cut off");
    }
    desk.close();
    Ok(Exit::Finished)
}

/// Where it listens: on stdout, so that scripts that asked for port 0 can read it.
fn announce(address: &SocketAddr, models: &Models, json: bool) -> Result<()> {
    use std::io::Write;
    let (url, names) = (format!("http://{address}/v1"), models.names());
    let line = if json {
        let pid = std::process::id();
        serde_json::json!({"event": "listening", "url": url, "port": address.port(), "models": names, "pid": pid})
            .to_string()
    } else {
        lightbox_core::safe_text::clean_line(&format!("listening on {url} · models: {}", names.join(", ")), 1000)
    };
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("the address cannot be printed")
}

/// The signals that ask for the end.
struct End([Signal; 3]);

impl End {
    fn new() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            // The terminal is gone.
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
