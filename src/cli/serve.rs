//! `lightbox serve`: its options, checked; the server is [`crate::serve`].

use crate::serve::models::name_of;
use crate::serve::{self, Config, Limits};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use lightbox_core::args::{Dtype, ModelArgs, ResolvedModel, parse_device, parse_size, parse_threads};
use lightbox_core::chat::ModelChoice;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::generation::AskOptions;
use lightbox_core::profile::Device;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const KEY_VARIABLE: &str = "LIGHTBOX_API_KEY";

/// Serve a model and its adapters to every program that speaks OpenAI's chat completions: POST /v1/chat/completions
/// (pictures, several turns, streaming), GET /v1/models, GET /health. Prints the address when the model is loaded, and a line
/// for each request on stderr. SIGTERM or Ctrl-C lets running answers finish; the exit code is 0 then.
#[derive(Args)]
pub struct ServeArgs {
    /// Base model: its folder, or its Hub name. Without it: the profile's, or the adapters' base model
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<PathBuf>,
    /// Adapter folder as a model of its own, called NAME (without NAME: as its folder); may be given several times
    #[arg(long, value_name = "[NAME=]DIR", value_parser = parse_adapter)]
    adapter: Vec<(String, PathBuf)>,
    /// Profile whose keys decide where no option does: model, dtype, device, threads, picture limits, and without --adapter its
    /// adapters, as one more model. How answers are chosen is the requests' business
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// What the base model is called [default: its name on the Hub, else its folder's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Compute in this type; auto: the checkpoint's on a GPU, f32 on a CPU
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// auto, cpu or cuda:N
    #[arg(long, value_parser = parse_device)]
    device: Option<Device>,
    /// Pictures with more pixels are made smaller first [default: 589824, or what the adapter was trained with]
    #[arg(long, value_name = "N")]
    image_max_pixels: Option<u64>,
    /// Pictures with fewer pixels are made larger first [default: 1024, or what the adapter was trained with]
    #[arg(long, value_name = "N")]
    image_min_pixels: Option<u64>,
    /// CPU threads of the model
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    num_threads: Option<usize>,
    /// Address to listen on. One that others can reach needs an API key
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port; 0: one that is free
    #[arg(long, value_name = "N", default_value_t = 8000, overrides_with = "port")]
    port: u16,
    /// Clients have to send this key. Others on this machine see options: LIGHTBOX_API_KEY=KEY in the environment is better
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// Listen on an address that others can reach, without a key: whoever reaches it may ask
    #[arg(long)]
    without_api_key: bool,
    /// Requests may name pictures below this folder, as file:///… or by path; may be given several times
    #[arg(long, value_name = "DIR")]
    allow_dir: Vec<PathBuf>,
    /// Requests that may be open at once; more are told to come back (429)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_waiting: u32,
    /// Largest request, pictures included
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    max_body: u64,
    /// Most pictures of a request
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_pictures: usize,
    /// Most tokens that a request may ask for
    #[arg(long, value_name = "N", default_value_t = 32_768)]
    max_tokens: usize,
    /// Give an answer up after so long, waiting included [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: Option<u32>,
    /// How long running answers may take after SIGTERM or Ctrl-C
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u32,
    /// The line with the address as JSON: event, url, port, models, pid
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ServeArgs) -> Result<Exit> {
    let (api_key, only_local_names) = args.access().because(Exit::Config)?;
    let Served { models, num_threads, image_pixels } = args.served().because(Exit::Config)?;
    let config = Config {
        address: SocketAddr::new(args.host, args.port),
        models,
        num_threads,
        image_pixels,
        api_key,
        only_local_names,
        allowed_dirs: args.allow_dir.clone(),
        limits: Limits {
            waiting: args.max_waiting as usize,
            body_bytes: usize::try_from(args.max_body).unwrap_or(usize::MAX),
            pictures: args.max_pictures,
            tokens: args.max_tokens,
            timeout: args.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        },
        grace: Duration::from_secs(args.grace.into()),
        json: args.json,
    };
    serve::run(config)
}

/// What options and profile name together.
struct Served {
    models: Vec<(String, ModelChoice)>,
    num_threads: Option<usize>,
    image_pixels: (Option<u64>, Option<u64>),
}

impl ServeArgs {
    /// The key, and whether only local names are answered.
    fn access(&self) -> Result<(Option<String>, bool)> {
        let key = match &self.api_key {
            Some(key) => Some(key.clone()),
            None => match std::env::var(KEY_VARIABLE) {
                Ok(key) => Some(key),
                Err(std::env::VarError::NotPresent) => None,
                Err(error) => return Err(error).context(KEY_VARIABLE),
            },
        };
        if key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic())) {
            bail!("the API key is empty, or has characters that a header cannot carry; use letters, digits and signs");
        }
        if key.is_none() && !self.host.is_loopback() && !self.without_api_key {
            bail!(
                "{} can be reached by others, and there is no API key: set {KEY_VARIABLE}, or say --without-api-key",
                self.host
            );
        }
        let only_local_names = key.is_none() && !self.without_api_key;
        Ok((key, only_local_names))
    }

    /// Folders checked as every command checks them; the base first, then the adapters.
    fn served(&self) -> Result<Served> {
        let resolve = |adapter: Option<&PathBuf>| {
            let args = ModelArgs {
                model: self.model.clone(),
                adapter: adapter.into_iter().cloned().collect(),
                profile: self.profile.clone(),
                dtype: self.dtype,
                device: self.device,
                image_max_pixels: self.image_max_pixels,
                image_min_pixels: self.image_min_pixels,
                num_threads: self.num_threads,
            };
            args.resolve()
        };
        let base = resolve(self.adapter.first().map(|(_, dir)| dir))?;
        // Without --profile the keys are those of an adapter's own run: they count for this adapter alone, in the worker.
        let given: Option<&ResolvedModel> = self.profile.as_ref().map(|_| &base);
        let num_threads = self.num_threads.or_else(|| given?.num_threads);
        let (image_min_pixels, image_max_pixels) = match given {
            Some(model) => (Some(model.budget.min), Some(model.budget.max)),
            None => (self.image_min_pixels, self.image_max_pixels),
        };
        let choice = ModelChoice {
            model: base.model.clone(),
            adapters: Vec::new(),
            dtype: given.map_or(self.dtype.unwrap_or_default(), |model| model.dtype),
            device: given.map_or(self.device.unwrap_or(Device::Auto), |model| model.device).to_string(),
        };
        choice.resolve(&AskOptions { image_max_pixels, image_min_pixels, ..AskOptions::default() })?;
        let name = self.name.clone().unwrap_or_else(|| name_of(&base.model));
        let mut models = vec![(name, choice.clone())];
        if self.adapter.is_empty() && !base.adapters.is_empty() {
            // Several are put on together, as in `chat`: one model.
            let names: Vec<String> = base.adapters.iter().map(|dir| name_of(dir)).collect();
            models.push((names.join("+"), ModelChoice { adapters: base.adapters.clone(), ..choice.clone() }));
        }
        for (name, dir) in &self.adapter {
            let real = |dir: &PathBuf| dir.canonicalize().unwrap_or_else(|_| dir.clone());
            let own = resolve(Some(dir))?.model;
            if real(&own) != real(&base.model) {
                return Err(anyhow!(
                    "the adapter {name} belongs to {}, but the base model is {}; one server has one base model",
                    own.display(),
                    base.model.display()
                ));
            }
            models.push((name.clone(), ModelChoice { adapters: vec![dir.clone()], ..choice.clone() }));
        }
        Ok(Served { models, num_threads, image_pixels: (image_min_pixels, image_max_pixels) })
    }
}

fn parse_adapter(word: &str) -> Result<(String, PathBuf), String> {
    let (name, dir) = match word.split_once('=') {
        Some((name, dir)) => (name.to_owned(), PathBuf::from(dir)),
        None => (name_of(word.as_ref()), PathBuf::from(word)),
    };
    if name.is_empty() || dir.as_os_str().is_empty() {
        return Err("NAME=DIR, or DIR alone".to_owned());
    }
    Ok((name, dir))
}
