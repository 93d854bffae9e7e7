//! `lightbox runs compare`: which settings differ, and what became of them.

use super::facts::{self, Best, Curves};
use super::{find, words};
use crate::cli::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::runs::RunDir;
use lightbox_core::runs::checkpoints::settings_of;
use lightbox_core::runs::view::RunView;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

/// Most updates that the table of losses shows.
const ROWS: usize = 12;

#[derive(Args)]
pub struct CompareArgs {
    /// Folders, ids, names, or beginnings of ids or names
    #[arg(value_name = "RUN", num_args = 2.., required = true)]
    runs: Vec<String>,
    /// Write all losses into this file, too: a line per update, two columns per run
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Settings and whole curves as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    dir: String,
    state: String,
    step: u64,
    best: Option<Best>,
    /// Why its settings are not known.
    problem: Option<String>,
    #[serde(flatten)]
    curves: Curves,
}

#[derive(Debug, Serialize)]
struct Comparison {
    runs: Vec<Column>,
    /// By key, in the order of `runs`: those that are not the same everywhere. `null` where a run does not have it.
    settings: BTreeMap<String, Vec<Option<String>>>,
}

pub fn run(args: &CompareArgs) -> Result<Exit> {
    let dirs = args.runs.iter().map(|word| find(word)).collect::<Result<Vec<_>>>()?;
    let (runs, settings): (Vec<_>, Vec<_>) = dirs.iter().map(column).unzip();
    let comparison = Comparison { runs, settings: differing(&settings) };
    if let Some(path) = &args.csv {
        lightbox_core::fs::write_atomic(path, comparison.csv().as_bytes()).because(Exit::Disk)?;
    }
    super::answer(args.json, &comparison, &comparison.text())?;
    Ok(Exit::Finished)
}

fn column(dir: &RunDir) -> (Column, BTreeMap<String, String>) {
    let view = RunView::open_lenient(dir);
    let no_overrides: &[&str] = &[];
    let profile = Profile::load(&dir.join(RunDir::PROFILE), no_overrides);
    let problem = profile.as_ref().err().map(ToString::to_string);
    let column = Column {
        name: view.info.name,
        dir: dir.path().display().to_string(),
        state: words::status(view.state),
        step: view.written.step,
        best: facts::best(dir),
        problem,
        curves: Curves::read(dir),
    };
    (column, profile.map(|profile| settings_of(&profile)).unwrap_or_default())
}

fn differing(runs: &[BTreeMap<String, String>]) -> BTreeMap<String, Vec<Option<String>>> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(BTreeMap::keys).collect();
    let values = |key: &String| runs.iter().map(|run| run.get(key).cloned()).collect::<Vec<_>>();
    keys.into_iter()
        .map(|key| (key.clone(), values(key)))
        .filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}

impl Comparison {
    fn text(&self) -> String {
        let names: Vec<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        let mut text = String::new();
        if self.settings.is_empty() {
            text += "The settings are the same.\n";
        } else {
            let rows: Vec<Vec<String>> = self
                .settings
                .iter()
                .map(|(key, values)| {
                    let values = values.iter().map(|value| value.clone().unwrap_or_else(|| "–".into()));
                    std::iter::once(key.clone()).chain(values).collect()
                })
                .collect();
            text += &table(&[&["setting"], &names[..]].concat(), &rows);
        }
        for run in &self.runs {
            if let Some(problem) = &run.problem {
                text += &format!("{}: its settings are not known: {problem}\n", run.name);
            }
        }
        let numbers: Vec<String> = names.iter().map(|name| format!("{name}#")).collect();
        let mut head = vec!["loss"];
        head.extend(numbers.iter().map(String::as_str));
        text + "\n" + &table(&head, &self.losses())
    }

    fn losses(&self) -> Vec<Vec<String>> {
        let row = |label: String, cell: &dyn Fn(&Column) -> String| {
            std::iter::once(label).chain(self.runs.iter().map(cell)).collect::<Vec<String>>()
        };
        let steps = self.common_steps();
        let shown = steps.len().min(ROWS);
        let mut rows: Vec<Vec<String>> = (1..=shown)
            .map(|i| steps[i * steps.len() / shown - 1])
            .map(|step| row(format!("step {step}"), &|run| words::loss(run.curves.loss.get(&step).copied())))
            .collect();
        rows.push(row("last".into(), &|run| words::loss(run.curves.loss.last_key_value().map(|(_, loss)| *loss))));
        rows.push(row("best evaluation".into(), &|run| words::loss(run.best.map(|best| best.loss))));
        rows.push(row("at step".into(), &|run| run.best.map(|best| best.step.to_string()).unwrap_or_default()));
        rows.push(row("state".into(), &|run| format!("{} at {}", run.state, run.step)));
        rows
    }

    /// Updates that all runs have made.
    fn common_steps(&self) -> Vec<u64> {
        let Some((first, rest)) = self.runs.split_first() else { return Vec::new() };
        let in_all = |step: &&u64| rest.iter().all(|run| run.curves.loss.contains_key(step));
        first.curves.loss.keys().filter(in_all).copied().collect()
    }

    fn csv(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut csv = "step".to_owned();
        for run in &self.runs {
            csv +=
                &format!(",{},{}", quoted(&format!("{} loss", run.name)), quoted(&format!("{} eval_loss", run.name)));
        }
        csv.push('\n');
        let curves = || self.runs.iter().flat_map(|run| [&run.curves.loss, &run.curves.eval_loss]);
        let steps: BTreeSet<u64> = curves().flat_map(|curve| curve.keys().copied()).collect();
        for step in steps {
            csv += &step.to_string();
            for curve in curves() {
                csv.push(',');
                if let Some(loss) = curve.get(&step) {
                    // Writing to a String cannot fail.
                    let _ = write!(csv, "{loss}");
                }
            }
            csv.push('\n');
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, losses: &[(u64, f64)]) -> Column {
        Column {
            name: name.into(),
            dir: format!("/runs/{name}"),
            state: "finished".into(),
            step: losses.len() as u64,
            best: None,
            problem: None,
            curves: Curves { loss: losses.iter().copied().collect(), ..Curves::default() },
        }
    }

    #[test]
    fn only_settings_that_differ_are_shown() {
        let settings = |rate: &str, rank: Option<&str>| {
            let mut map = BTreeMap::from([("learning_rate".to_owned(), rate.to_owned()), ("seed".into(), "42".into())]);
            map.extend(rank.map(|rank| ("lora_rank".to_owned(), rank.to_owned())));
            map
        };
        let differing = differing(&[settings("1e-4", None), settings("5e-5", Some("16"))]);
        assert_eq!(differing.keys().collect::<Vec<_>>(), ["learning_rate", "lora_rank"]);
        assert_eq!(differing["lora_rank"], [None, Some("16".into())]);
    }

    #[test]
    fn losses_stand_at_updates_that_all_runs_made_and_all_of_them_in_the_csv() {
        let runs = vec![run("a", &[(1, 2.0), (2, 1.5)]), run("b", &[(2, 1.25), (3, 1.0)])];
        let comparison = Comparison { runs, settings: BTreeMap::new() };
        assert_eq!(comparison.common_steps(), [2]);
        assert_eq!(comparison.losses()[0], ["step 2", "1.5000", "1.2500"]);
        assert_eq!(
            comparison.csv(),
            "step,\"a loss\",\"a eval_loss\",\"b loss\",\"b eval_loss\"\n1,2,,,\n2,1.5,,1.25,\n3,,,1,\n"
        );
    }
}
