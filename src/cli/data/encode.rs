//! `lightbox data encode`: what training sees.

use super::options::{EncodeOptionArgs, OnBadArg, RangeArgs, SourceArgs};
use anyhow::Result;
use clap::Args;
use lightbox_core::data::{Prepared, Problem};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean;
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

#[derive(Args)]
pub struct EncodeArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Model folder (tokenizer and picture settings; no weights are read)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    encode: EncodeOptionArgs,
    /// Samples that cannot be used
    #[arg(long, value_enum, default_value = "skip")]
    on_bad: OnBadArg,
    /// One JSON object a line: index, input_ids, labels, image_grid_thw, n_tokens, truncated
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    input_ids: &'a [i64],
    /// -100 where no loss is taken.
    labels: &'a [i64],
    /// One `[t, h, w]` a picture, in patches.
    image_grid_thw: &'a [[i64; 3]],
    n_tokens: usize,
    /// Tokens cut away by cutoff_len.
    truncated: usize,
}

pub fn run(args: EncodeArgs) -> Result<Exit> {
    let dataset = args.source.open()?;
    let model = args.encode.load(&args.model)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut good, mut bad) = (0usize, 0usize);
    let mut stopped: Option<Result<Problem, anyhow::Error>> = None;
    model.encoder().encode_all(&dataset, args.range.of(dataset.len()), &mut |_, result| {
        let written = match result {
            Ok(prepared) => {
                good += 1;
                if args.json { json(&mut out, &prepared) } else { human(&mut out, &prepared, model.tokenizer()) }
            }
            Err(problem) if args.on_bad == OnBadArg::Refuse => {
                stopped = Some(Ok(problem));
                return ControlFlow::Break(());
            }
            Err(problem) => {
                bad += 1;
                eprintln!("left out: sample {}, {}", problem.index, clean(&problem.to_string()));
                Ok(())
            }
        };
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                stopped = Some(Err(e));
                ControlFlow::Break(())
            }
        }
    });
    match stopped {
        Some(Ok(problem)) => {
            out.flush()?;
            Err(anyhow::anyhow!(
                "sample {}, {problem}; stopped here: --on-bad skip leaves such samples out",
                problem.index
            ))
            .because(Exit::Data)
        }
        Some(Err(e)) => Err(e),
        None => {
            out.flush()?;
            if bad > 0 {
                eprintln!("{good} samples encoded, {bad} left out");
            }
            Ok(Exit::Finished)
        }
    }
}

fn json(out: &mut impl Write, prepared: &Prepared) -> anyhow::Result<()> {
    let encoded = &prepared.encoded;
    let line = Line {
        index: prepared.index,
        input_ids: &encoded.input_ids,
        labels: &encoded.labels,
        image_grid_thw: &encoded.grids,
        n_tokens: encoded.input_ids.len(),
        truncated: encoded.truncated,
    };
    serde_json::to_writer(&mut *out, &line)?;
    Ok(out.write_all(b"\n")?)
}

fn human(out: &mut impl Write, prepared: &Prepared, tokenizer: &lightbox_core::text::Tokenizer) -> anyhow::Result<()> {
    let encoded = &prepared.encoded;
    let learned: Vec<i64> = encoded.labels.iter().copied().filter(|&label| label != -100).collect();
    writeln!(
        out,
        "sample {}: {} tokens, {} of them learned, {} cut away, picture grids {:?}",
        prepared.index,
        encoded.input_ids.len(),
        learned.len(),
        encoded.truncated,
        encoded.grids
    )?;
    writeln!(out, "[text]\n{}", clean(&folded(&tokenizer.decode(&encoded.input_ids, false)?)))?;
    writeln!(out, "[learned]\n{}\n", clean(&tokenizer.decode(&learned, false)?))?;
    Ok(())
}

/// Runs of picture tokens as one, with their number: hundreds of them would hide the text.
fn folded(text: &str) -> String {
    const PAD: &str = "<|image_pad|>";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(PAD) {
        out += &rest[..at];
        let run = &rest[at..];
        let mut end = 0;
        while run[end..].starts_with(PAD) {
            end += PAD.len();
        }
        out += &format!("{PAD}×{}", end / PAD.len());
        rest = &run[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #[test]
    fn runs_of_picture_tokens_are_folded() {
        assert_eq!(super::folded("a<|image_pad|><|image_pad|>b<|image_pad|>"), "a<|image_pad|>×2b<|image_pad|>×1");
    }
}
