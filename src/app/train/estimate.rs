//! What a training will need: facts about model, data and machine, read beside the loop when a key changes that they rest
//! on, and the arithmetic on them after each change.

use super::{App, Effects, effect};
use lightbox_core::estimate::{Estimate, Facts};
use lightbox_core::profile::Profile;
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct State {
    facts: Option<Arc<Facts>>,
    /// A reading is on its way; the next one waits for it, so that fast typing reads a disk once and not ten times.
    pub reading: bool,
    /// Neither model nor data could be read, and for which profile that was.
    error: Option<(String, String)>,
    pub estimate: Option<Estimate>,
}

#[derive(Debug, Clone)]
pub enum Msg {
    /// What was read, or why nothing was; and what it was read for.
    Facts(Result<Arc<Facts>, String>, String),
}

#[derive(Debug)]
pub enum Effect {
    Read(Box<Profile>, String),
}

impl State {
    /// Why there is no estimate.
    pub fn error(&self) -> Option<&str> {
        self.error.as_ref().map(|(why, _)| why.as_str())
    }

    /// What could not be read.
    pub fn missing(&self) -> &[String] {
        self.facts.as_ref().map_or(&[], |facts| &facts.missing)
    }

    /// Samples that could not be used, and what is wrong with the first.
    pub fn first_bad(&self) -> Option<(usize, &str)> {
        let data = self.facts.as_ref()?.data.as_ref()?;
        Some((data.bad, data.first_bad.as_deref()?)).filter(|(bad, _)| *bad > 0)
    }

    /// The facts that a figure rests on are those of this profile.
    fn take(&mut self, profile: &Profile) {
        if let Some(facts) = &self.facts
            && facts.fits(profile)
        {
            self.estimate = Some(Estimate::of(profile, facts));
        }
    }
}

/// The keys that facts are read by, in a form that can be compared.
fn asked(profile: &Profile) -> String {
    let p = profile;
    format!(
        "{:?} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {} {:?}",
        p.model_name_or_path,
        p.adapter_name_or_path,
        p.create_new_adapter,
        p.dataset_dir,
        p.media_dir,
        p.dataset,
        p.eval_dataset,
        p.max_samples,
        p.default_system,
        p.seed,
        p.output_dir
    )
}

/// After each change of the profile.
pub fn refresh(app: &mut App) -> Effects {
    let train = &mut app.train;
    let Some(profile) = train.draft.profile() else { return Vec::new() };
    let state = &mut train.estimate;
    state.take(profile);
    let (asked, named) = (asked(profile), profile.model_name_or_path.is_some() || !profile.dataset.is_empty());
    let known = state.facts.as_ref().is_some_and(|facts| facts.fits(profile));
    let failed = state.error.as_ref().is_some_and(|(_, for_what)| *for_what == asked);
    if known || failed || state.reading || !named {
        return Vec::new();
    }
    state.reading = true;
    vec![effect(super::Effect::Estimate(Effect::Read(Box::new(profile.clone()), asked)))]
}

/// Reads everything again: files may have changed.
pub fn again(app: &mut App) -> Effects {
    (app.train.estimate.facts, app.train.estimate.error) = (None, None);
    refresh(app)
}

pub fn update(app: &mut App, msg: Msg) -> Effects {
    let Msg::Facts(read, asked) = msg;
    let state = &mut app.train.estimate;
    state.reading = false;
    match read {
        Ok(facts) => (state.facts, state.error) = (Some(facts), None),
        Err(why) => (state.error, state.estimate) = (Some((why, asked)), None),
    }
    refresh(app)
}
