//! `lightbox report`: what files of answers are worth, side by side. `lightbox evaluate` ends with the same.

use super::table::table;
use crate::app::settings::Settings;
use crate::text::Lang;
use anyhow::{Context, Result, anyhow};
use lightbox_core::args::{ReportArgs, ReportOptions};
use lightbox_core::data::ImageRef;
use lightbox_core::evaluate::classes::Classes;
use lightbox_core::evaluate::comparison::{Answers, Comparison, Row, Sample};
use lightbox_core::evaluate::predictions;
use lightbox_core::evaluate::report::{self, Picture};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::runs::registry;
use lightbox_core::safe_text::clean;
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn run(args: &ReportArgs) -> Result<Exit> {
    let named: Vec<(String, PathBuf)> = args.files.iter().map(|word| name_and_file(word)).collect();
    if let Some((name, _)) =
        named.iter().enumerate().find_map(|(i, n)| named[..i].iter().any(|m| m.0 == n.0).then_some(n))
    {
        return Err(anyhow!("two files would be called {name}; give them names: NAME=FILE")).because(Exit::Usage);
    }
    make(&named, &args.report, &args.output_dir, args.json, &mut |sample| {
        sample.images.iter().map(|path| read(&ImageRef::File(path.into()))).collect()
    })
}

/// `NAME=FILE`, or a file that is named by its folder where its own name says nothing.
fn name_and_file(word: &str) -> (String, PathBuf) {
    if let Some((name, file)) = word.split_once('=')
        && !name.is_empty()
        && !Path::new(word).exists()
    {
        return (name.to_owned(), file.into());
    }
    let path = Path::new(word);
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let own = text(path.file_stem()).unwrap_or_else(|| word.to_owned());
    let folder = text(path.parent().and_then(Path::file_name));
    (if own == "generated_predictions" { folder.unwrap_or(own) } else { own }, path.to_owned())
}

/// A picture's file, for the report.
pub fn read(image: &ImageRef) -> Picture {
    image.read().map(|bytes| bytes.into_owned())
}

/// Compares files of answers, writes the report and says the essence.
///
/// # Errors
/// A file that holds no answers, or answers to other data; the file of classes; writing.
pub fn make(
    named: &[(String, PathBuf)],
    options: &ReportOptions,
    dir: &Path,
    as_json: bool,
    pictures: &mut dyn FnMut(&Sample) -> Vec<Picture>,
) -> Result<Exit> {
    let classes = options.classes.as_deref().map(Classes::load).transpose().because(Exit::Config)?;
    let answers = named
        .iter()
        .map(|(model, file)| Ok(Answers { model: model.clone(), rows: predictions::read(file)? }))
        .collect::<Result<Vec<_>>>()
        .because(Exit::Data)?;
    let comparison = Comparison::new(&answers, classes.as_ref(), options.bootstrap_seed).because(Exit::Data)?;
    let lang = options.lang.unwrap_or_else(workbench_language);
    let files = report::write(dir, lang, &comparison, options.show, pictures)
        .context("the report could not be written; the answers are still there")
        .because(Exit::Disk)?;
    if as_json {
        let line = json!({"event": "report", "files": files, "models": comparison.models,
            "samples": comparison.samples.len(), "measures": comparison.measures});
        println!("{line}");
        return Ok(Exit::Finished);
    }
    let mut head = vec![format!("{} samples", comparison.samples.len())];
    head.extend(comparison.models.iter().map(|m| format!("{}#", clean(m))));
    let line = |row: &Row| -> Vec<String> {
        let values = row.values.iter().map(|e| e.map_or("—".to_owned(), |e| report::estimate(row, &e, Lang::En)));
        std::iter::once(row.title.clone()).chain(values).collect()
    };
    let rows: Vec<Vec<String>> = comparison.measures.iter().map(line).collect();
    print!("{}", table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows));
    for file in &files {
        println!("{}", clean(&file.display().to_string()));
    }
    Ok(Exit::Finished)
}

/// The settings', else the locale's.
fn workbench_language() -> Lang {
    let settings = registry::state_dir().map(|dir| Settings::load(&dir).0).unwrap_or_default();
    settings.language.unwrap_or_else(|| Lang::of_locale(|name| std::env::var(name).ok()))
}
