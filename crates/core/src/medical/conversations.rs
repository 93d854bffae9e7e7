//! Slices as a data set: what each picture is asked, and how it is answered. Both are templates ([`super::row`]).

use super::row::{Row, Template};
use super::slices::SliceOptions;
use crate::data::questions::{Asked, Place, Questions};
use crate::text::Lang;
use anyhow::{anyhow, bail};
use serde_json::json;
use std::collections::BTreeMap;

/// What pictures are asked and how it is answered, when all texts are known to be fine.
pub struct Conversations<'a> {
    questions: &'a Questions,
    seed: u64,
    /// By their texts.
    templates: BTreeMap<&'a str, Template>,
    answer: Option<Template>,
}

impl<'a> Conversations<'a> {
    /// `None`: no question is put.
    ///
    /// # Errors
    /// A template that cannot be filled; questions that need an answer or a folder, and an answer that needs a question.
    pub fn of(o: &'a SliceOptions) -> anyhow::Result<Option<Self>> {
        let template = |text: &str| Template::new(text, &o.keep).map_err(|e| anyhow!(e));
        let answer = o.answer.as_deref().map(template).transpose()?;
        let Some(questions) = &o.questions else {
            if answer.is_some() {
                bail!("an answer needs its --question");
            }
            return Ok(None);
        };
        if o.out.is_none() {
            bail!("a question makes a data set: say where with --out");
        }
        if questions.goes_by_caption() && answer.is_none() {
            bail!(
                "these questions go by the language of the answers, and there are none: take en or zh, or give --answer"
            );
        }
        let templates = questions.texts().into_iter().map(|text| Ok((text, template(text)?)));
        let templates = templates.collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { questions, seed: o.question_seed, templates, answer }))
    }

    /// The sample of a row, the `i`-th; `None` where the row has no value for a name in question or answer.
    pub fn sample(&self, i: usize, row: &Row, asked: &mut Asked) -> Option<serde_json::Value> {
        let answer = self.answer.as_ref().map_or(Some(String::new()), |answer| answer.fill(row))?;
        // The picture is the id, without its format: a PNG is asked what the JPEG is asked.
        let id = row.image.rsplit_once('.').map_or(row.image.as_str(), |(stem, _)| stem);
        let lang = Lang::of(&answer);
        let text = self.questions.of(Place { id: Some(id), row: i }, self.seed, lang);
        let question = format!("<image>{}", self.templates.get(text)?.fill(row)?);
        asked.add(if answer.is_empty() { Lang::of(text) } else { lang }, text);
        Some(json!({
            "messages": [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}],
            "images": [row.image],
        }))
    }
}
