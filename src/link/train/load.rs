//! What a profile names of a Hub and is not here: what loading it would be, and the loading, by `lightbox download`.

use crate::app::Action;
use crate::app::train::Msg as Of;
use crate::app::train::load::{Item, Lacks, Msg, Token};
use crate::app::train::start::Obstacle;
use crate::link::data::loaded;
use crate::link::tasks::Ctx;
use anyhow::{Context, Result};
use lightbox_core::hub::{Offer, Wanted, What};
use lightbox_core::profile::{Profile, Secret};
use lightbox_core::runs::system::nearest;
use std::process::Command;

/// `None`: all is here. Asks the Hub for sizes.
///
/// # Errors
/// What cannot be loaded, with its key.
pub fn lacks(profile: &Profile) -> Result<Option<Lacks>, Vec<Obstacle>> {
    let in_the_way = |key: &str, message: String| Obstacle { key: key.to_owned(), message };
    let missing = profile.missing().map_err(|e| vec![in_the_way("dataset", e.to_string())])?;
    let token = profile.hf_hub_token.as_ref().map(Secret::expose);
    let (mut items, mut obstacles) = (Vec::new(), Vec::new());
    for wanted in missing {
        match wanted.offer(token) {
            Ok(offer) => items.push(item(&offer)),
            Err(e) => obstacles
                .push(in_the_way(key(&wanted), format!("{wanted} is not on this machine, and cannot be loaded: {e}"))),
        }
    }
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let Some(first) = items.first() else { return Ok(None) };
    let cache = first.wanted.cache().map_err(|e| vec![in_the_way("cache_dir", e.to_string())])?;
    let free = lightbox_core::fs::space(nearest(&cache)).ok().map(|space| space.free_bytes);
    Ok(Some(Lacks { items, cache, free, token: token.map(|token| Token(token.to_owned())) }))
}

fn item(offer: &Offer) -> Item {
    let part = offer.part.as_ref().map_or(String::new(), |part| format!(" ({part})"));
    Item {
        wanted: offer.wanted.clone(),
        name: format!("{}{part}", offer.listing.repo),
        files: offer.files,
        bytes: offer.bytes,
        missing: offer.missing_bytes,
    }
}

fn key(wanted: &Wanted) -> &'static str {
    match wanted.what {
        What::Model => "model_name_or_path",
        What::Adapter => "adapter_name_or_path",
        What::Data(_) => "dataset",
    }
}

/// One after the other. Whatever ends it, what came stays, and the next time goes on there.
pub fn load(ctx: &mut Ctx, lacks: &Lacks) -> Result<Option<Action>> {
    for item in &lacks.items {
        let wanted = &item.wanted;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        command.args(wanted.arguments()).args(["--json", "--yes"]);
        command.envs(wanted.cache.iter().map(|dir| ("HF_HUB_CACHE", dir.as_os_str().to_owned())));
        command.envs(lacks.token.iter().map(|token| ("HF_TOKEN", &token.0)));
        loaded(command, ctx).with_context(|| item.name.clone())?;
    }
    Ok(Some(Action::Train(Of::Load(Msg::Loaded))))
}
