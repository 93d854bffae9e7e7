//! What a profile names by its name on a Hub and is not on this machine: asked about once, then loaded by the command that
//! a user would type.

use super::ask::confirmed;
use super::hub::{coded, files};
use super::runs::words::size;
use anyhow::{Context, Result, anyhow};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::hub::{HubError, Offer, Wanted};
use lightbox_core::profile::{Profile, Secret};
use lightbox_core::runs::say::say;
use lightbox_core::runs::system::nearest;
use lightbox_core::safe_text::clean_line;
use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// Sees to it that all that the profile names is here. `yes`: it may be loaded without a question.
///
/// # Errors
/// Nobody may be asked, or said no; then nothing was loaded. What is named is nowhere, or does not come.
pub fn ensure(profile: &Profile, yes: bool) -> Result<()> {
    let missing = profile.missing().because(Exit::Config)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !yes && !std::io::stdin().is_terminal() {
        return Err(refusal(&missing)).because(Exit::Config);
    }
    let token = profile.hf_hub_token.as_ref().map(Secret::expose);
    let offer = |wanted: &Wanted| {
        coded(wanted.offer(token)).with_context(|| format!("{wanted} is not on this machine, and cannot be loaded"))
    };
    let offers = missing.iter().map(offer).collect::<Result<Vec<_>>>()?;
    let question = question(&offers)?;
    if yes {
        say(&clean_line(&question, 1000));
    } else if !confirmed(&question)? {
        return Err(anyhow!("nothing was loaded, so nothing was started")).because(Exit::Stopped);
    }
    missing.iter().try_for_each(|wanted| load(wanted, token))?;
    match profile.missing().because(Exit::Config)?.first() {
        None => Ok(()),
        Some(wanted) => {
            Err(anyhow!("{wanted} was loaded, but is not whole in the cache; is something removing files there?"))
                .because(Exit::Failed)
        }
    }
}

/// Where nobody can be asked.
fn refusal(missing: &[Wanted]) -> anyhow::Error {
    let names: Vec<String> = missing.iter().map(Wanted::to_string).collect();
    let commands: Vec<String> = missing.iter().map(|wanted| format!("\n  {}", wanted.command())).collect();
    let (are, them) = if missing.len() == 1 { ("is", "it") } else { ("are", "them") };
    anyhow!(
        "{} {are} not on this machine, and there is no terminal to ask on: say --yes, or load {them} first:{}",
        names.join(" and "),
        commands.concat()
    )
}

/// `model org/m (12 files, 4.4 GB) is not on this machine: load 4.4 GB into CACHE, where 80 GB are free?`
fn question(offers: &[Offer]) -> Result<String> {
    let about = |offer: &Offer| {
        let part = offer.part.as_ref().map_or(String::new(), |part| format!("{part}, "));
        let repo = &offer.listing.repo;
        format!("{repo} ({part}{}, {})", files(offer.files), size(offer.bytes))
    };
    let names: Vec<String> = offers.iter().map(about).collect();
    let are = if offers.len() == 1 { "is" } else { "are" };
    let need = offers.iter().map(|offer| offer.missing_bytes).sum();
    // one cache for all, but for a profile with `cache_dir`, whose data sets are small beside its models
    let cache = coded(offers.first().map_or_else(lightbox_core::hub::cache_dir, |offer| offer.wanted.cache()))?;
    let free = lightbox_core::fs::space(nearest(&cache)).context("the Hub's cache").because(Exit::Disk)?.free_bytes;
    if need > free {
        return coded(Err(HubError::NoSpace { dir: cache, need, free }));
    }
    let (names, cache) = (names.join(" and "), cache.display());
    Ok(format!("{names} {are} not on this machine: load {} into {cache}, where {} are free?", size(need), size(free)))
}

/// Runs the command that loads it. It shows how far it is, and ends well at Ctrl-C, which reaches it by itself.
fn load(wanted: &Wanted, token: Option<&str>) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program's own file").because(Exit::CannotStart)?;
    let mut command = Command::new(program);
    // its last line is the folder, which is nothing for our own output
    command.args(wanted.arguments()).arg("--yes").stdin(Stdio::null()).stdout(Stdio::null());
    command.envs(wanted.cache.iter().map(|dir| ("HF_HUB_CACHE", dir.as_os_str().to_owned())));
    command.envs(token.map(|token| ("HF_TOKEN", token)));
    // SAFETY: only system calls between fork and exec. Whoever ends this program ends the download.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        })
    };
    // SAFETY: plain system calls. Ctrl-C is for the download, and its end is waited for.
    let before = unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let ended = command.spawn().and_then(|mut child| child.wait());
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGINT, before) };
    let ended = ended.context("cannot start the download").because(Exit::CannotStart)?;
    if ended.success() {
        return Ok(());
    }
    let exit = match ended.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Exit::from_code(code),
        // a second Ctrl-C
        None if ended.signal() == Some(libc::SIGINT) => Exit::Stopped,
        None => Exit::Failed,
    };
    let said = anyhow!("{wanted} did not come whole, so nothing was started; the same command goes on there");
    Err(said).because(exit)
}
