//! What the train screen needs from outside: files ([`files`]), whether a run can be started and its start ([`start`]),
//! what it needs from a Hub ([`load`]), and what an estimate rests on.

mod files;
mod load;
mod start;
#[cfg(test)]
mod tests;

use super::Back;
use super::tasks::Runner;
use crate::app::Action;
use crate::app::train::load::Effect as Of;
use crate::app::train::{Effect, Msg, estimate};
use lightbox_core::data::dataset_info::DatasetInfo;
use lightbox_core::estimate::Facts;
use std::path::Path;
use std::sync::Arc;

#[derive(Debug)]
pub struct Link {
    back: Back,
    tasks: Runner,
}

impl Link {
    pub fn new(back: Back, tasks: Runner) -> Self {
        Self { back, tasks }
    }

    pub fn run(&mut self, effect: Effect) {
        match effect {
            Effect::Datasets(dir, key) => {
                self.back.spawn(move || Action::Train(Msg::Datasets(key, datasets(&dir))));
            }
            Effect::Files(effect) => self.back.spawn(move || files::run(effect)),
            Effect::Start(effect) => start::run(&self.back, &self.tasks, effect),
            Effect::Load(Of::Load { title, lacks }) => {
                self.tasks.start(title, move |ctx| load::load(ctx, &lacks));
            }
            Effect::Estimate(estimate::Effect::Read(profile, asked)) => self.back.spawn(move || {
                let read = Facts::read(&profile).map(Arc::new).map_err(|e| format!("{e:#}"));
                Action::Train(Msg::Estimate(estimate::Msg::Facts(read, asked)))
            }),
        }
    }
}

/// Names in `dataset_info.json`, with the file that each reads.
fn datasets(dir: &Path) -> Result<Vec<(String, String)>, String> {
    let info = DatasetInfo::load(dir).map_err(|e| format!("{e:#}"))?;
    let detail = |name: &str| {
        let raw = info.raw(name);
        let source = ["file_name", "hf_hub_url", "ms_hub_url"];
        let said = source.iter().find_map(|key| raw?.get(key)?.as_str());
        said.unwrap_or_default().to_owned()
    };
    Ok(info.names().map(|name| (name.to_owned(), detail(name))).collect())
}
