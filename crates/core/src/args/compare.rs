//! Options of `compare`: one question, or one about each picture of a folder, to several models.

use super::evaluate::{positive, variants};
use super::{GenerateArgs, ModelArgs, Variant};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// `lightbox compare`
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub generate: GenerateArgs,
    /// The question
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// System text [default: the template's]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Picture of the question; several belong to one question
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    pub image: Vec<PathBuf>,
    /// Ask about every picture of this folder, one after the other
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Ask the base model alone, too (this is the default)
    #[arg(long, overrides_with = "no_base")]
    pub base: bool,
    /// Only the adapters; the first is what the others are compared with
    #[arg(long)]
    pub no_base: bool,
    /// Write a table: .md (with the pictures and the differences in bold), .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Questions answered at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub batch_size: usize,
    /// One JSON object a question: images, prompt, answers
    #[arg(long)]
    pub json: bool,
}

/// What a folder of pictures is looked through for.
const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp"];

impl CompareArgs {
    /// # Errors
    /// As [`variants`].
    pub fn variants(&self) -> Result<Vec<Variant>> {
        variants(!self.no_base || self.base, &self.model.adapter)
    }

    /// The pictures of each question, by name, `slice-2` before `slice-10`.
    ///
    /// # Errors
    /// A file or folder that is not there; a folder without pictures.
    pub fn questions(&self) -> Result<Vec<Vec<PathBuf>>> {
        let Some(dir) = &self.images else {
            if let Some(gone) = self.image.iter().find(|path| !path.is_file()) {
                bail!("{}: there is no such file", gone.display());
            }
            return Ok(vec![self.image.clone()]);
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).with_context(|| format!("{}: cannot be read", dir.display()))? {
            let path = entry?.path();
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
            if PICTURES.contains(&ending.as_str()) && path.is_file() {
                found.push(path);
            }
        }
        if found.is_empty() {
            bail!("{}: holds no picture ({})", dir.display(), PICTURES.join(", "));
        }
        found.sort_by_cached_key(|path| natural(path));
        Ok(found.into_iter().map(|path| vec![path]).collect())
    }
}

/// A key that sorts numbers within names by their value: digits as (length, digits).
fn natural(path: &Path) -> Vec<(usize, String)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts: Vec<(bool, String)> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some((digits, part)) if *digits == c.is_ascii_digit() => part.push(c),
            _ => parts.push((c.is_ascii_digit(), c.into())),
        }
    }
    let key = |(digits, part): (bool, String)| {
        let value = part.trim_start_matches('0').to_owned();
        // words first by themselves, numbers by how many digits they have
        if digits { (value.len() + 1, value) } else { (0, part) }
    };
    parts.into_iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_a_folder_come_in_the_order_that_people_count_in() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["slice-10.png", "slice-2.PNG", "slice-01.jpg", "notes.txt", "b.webp"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("folder.png")).unwrap();
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: CompareArgs,
        }
        let of = |images: &Path| {
            let cli = ["x", "--model", "m", "--prompt", "p", "--images", images.to_str().unwrap()];
            <Cli as clap::Parser>::parse_from(cli).args.questions()
        };
        let names: Vec<String> =
            of(dir.path()).unwrap().iter().map(|q| q[0].file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["b.webp", "slice-01.jpg", "slice-2.PNG", "slice-10.png"]);
        let empty = dir.path().join("folder.png");
        assert!(of(&empty).unwrap_err().to_string().contains("holds no picture"));
        assert!(of(&dir.path().join("gone")).is_err());
    }
}
