//! What the Models screen needs from outside: what there is ([`scan`], [`inspect`]), and what changes it ([`work`]).
mod headers;
mod inspect;
mod scan;
mod work;

use super::Back;
use super::tasks::Runner;
use crate::app::Action;
use crate::app::models::{Effect, Msg};
use lightbox_core::hub::Client;
use lightbox_core::safe_text::clean_line;
use std::io::Read;
use std::path::Path;

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
            Effect::Scan(places) => self.back.spawn(move || {
                let (entries, disk) = scan::scan(&places);
                Action::Models(Msg::Found(entries, disk))
            }),
            Effect::Add(path) => self.back.spawn(move || {
                let known = inspect::holds(&path).and_then(|_| std::fs::canonicalize(&path).ok());
                Action::Models(Msg::Added(known.ok_or(path)))
            }),
            Effect::List { job, title, repo, revision } => {
                let task =
                    self.tasks.start(title, move |ctx| work::list(ctx, job, Client::from_env(), &repo, &revision));
                self.began(job, task);
            }
            Effect::Download { job, title, repo, revision } => {
                let work = move |ctx: &mut _| work::download(ctx, job, Client::from_env(), &repo, &revision);
                let task = self.tasks.start(title, work);
                self.began(job, task);
            }
            Effect::Export { job, title, args } => {
                let work = move |ctx: &mut _| work::export(ctx, job, std::env::current_exe(), &args);
                let task = self.tasks.start(title, work);
                self.began(job, task);
            }
            Effect::Remove { title, entry } => drop(self.tasks.start(title, move |_| work::remove(&entry))),
            Effect::Read(title, path) => self.back.spawn(move || {
                let text = read(&path).map_err(|e| clean_line(&format!("{}: {e}", path.display()), 300));
                Action::Models(Msg::Readme(title, text))
            }),
        }
    }

    fn began(&self, job: u64, task: u64) {
        self.back.send(Action::Models(Msg::Began(job, task)));
    }
}

/// Nobody reads more of a text than this, and a hostile one may have no end.
const MAX_TEXT: u64 = 1 << 20;

/// The beginning of a text file.
fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
