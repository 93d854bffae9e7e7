//! What takes long: opening, searching, checking and measuring. Each tells how far it is, and ends when it is cancelled.
use super::model::Models;
use crate::app::Action;
use crate::app::data::open::Measured;
use crate::app::data::seen::SeenBy;
use crate::app::data::{Msg, SetId, Source};
use crate::app::tasks::Progress;
use crate::link::tasks::Ctx;
use lightbox_core::data::query::Query;
use lightbox_core::data::{self, Dataset, DatasetOptions, Journal, Problem, Search};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is found is sent in portions: for each the screen is drawn anew.
const EVERY: Duration = Duration::from_millis(100);
/// Samples that are measured: enough for percentiles, and done in seconds.
const MEASURED: usize = 20_000;

pub fn open(source: &Source, ctx: &mut Ctx) -> anyhow::Result<Dataset> {
    let options = DatasetOptions {
        dataset_dir: source.dir.clone(),
        media_dir: None,
        names: vec![source.name.clone()],
        max_samples: None,
        seed: 42,
        mix: Default::default(),
    };
    Dataset::open_watched(&options, &mut |done, total| {
        ctx.report(|| Progress { done, total, bytes: true, note: String::new() })
    })
}

pub fn search(
    set: Arc<Dataset>,
    id: SetId,
    number: u64,
    query: Query,
    ctx: &mut Ctx,
) -> anyhow::Result<Option<Action>> {
    let back = ctx.back().clone();
    let mut search = match Search::new(set, query) {
        Ok(search) => search,
        Err(e) => return Ok(Some(Action::Data(Msg::Searched(id, number, Err(format!("{e:#}")))))),
    };
    let (mut found, mut sent) = (Vec::new(), None::<Instant>);
    search.run(&mut |step| {
        found.extend_from_slice(step.found);
        // The first match is shown at once.
        if sent.map_or(!found.is_empty(), |sent| sent.elapsed() >= EVERY) {
            sent = Some(Instant::now());
            back.send(Action::Data(Msg::Matches(id, number, std::mem::take(&mut found), step.done)));
        }
        ctx.progress(step.done as u64, step.total as u64)
    });
    back.send(Action::Data(Msg::Matches(id, number, found, search.done())));
    Ok(Some(Action::Data(Msg::Searched(id, number, Ok(())))))
}

pub fn check(
    set: Arc<Dataset>,
    id: SetId,
    models: &Models,
    by: &SeenBy,
    ctx: &mut Ctx,
) -> anyhow::Result<Option<Action>> {
    let back = ctx.back().clone();
    // Without a model lengths are not checked; what is wrong with a model is said where its tokens are shown.
    let model = models.get(by).ok().flatten();
    let encoder = model.as_ref().map(|model| model.encoder());
    let (mut found, mut sent, mut looked): (Vec<Problem>, _, _) = (Vec::new(), Instant::now(), 0);
    // One that was stopped goes on, here or with `lightbox data check`; where nothing can be kept, it begins anew.
    let range = 0..set.len();
    let key = Journal::key("check", &set, encoder.as_ref(), &format!("{range:?}"));
    let mut journal = Journal::of_command("check", &key).ok();
    let report = data::check(&set, range, encoder.as_ref(), journal.as_mut(), &mut |step| {
        found.extend_from_slice(step.problems);
        looked = step.done;
        if sent.elapsed() >= EVERY {
            sent = Instant::now();
            back.send(Action::Data(Msg::Problems(id, std::mem::take(&mut found), step.done)));
        }
        ctx.progress(step.done as u64, step.total as u64)
    });
    if let Some(journal) = journal.filter(|_| report.complete) {
        journal.remove()?;
    }
    back.send(Action::Data(Msg::Problems(id, found, looked)));
    Ok(Some(Action::Data(Msg::Checked(id, report.complete))))
}

pub fn stats(
    set: Arc<Dataset>,
    id: SetId,
    models: &Models,
    by: &SeenBy,
    ctx: &mut Ctx,
) -> anyhow::Result<Option<Action>> {
    let model = models.get(by).ok().flatten();
    let encoder = model.as_ref().map(|model| model.encoder());
    let stats = data::stats_spread(&set, MEASURED, encoder.as_ref(), &mut |step| -> ControlFlow<()> {
        ctx.progress(step.done as u64, step.total as u64)
    });
    let cutoff_len = model.as_ref().map(|model| model.options.cutoff_len);
    let measured = Measured { stats, of: set.len(), cutoff_len };
    Ok(Some(Action::Data(Msg::Measured(id, Ok(Arc::new(measured))))))
}
