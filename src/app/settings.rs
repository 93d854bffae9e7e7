//! What the user chose for the workbench itself; kept in `settings.yaml` in the state folder.
use crate::text::Lang;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `None`: the locale's.
    pub language: Option<Lang>,
    pub theme: ThemeChoice,
    pub images: ImageChoice,
    pub mouse: bool,
    /// The first-start tour was finished or left.
    pub tour_seen: bool,
    /// Where the tour stands: the workbench may be left and opened again in its middle.
    pub tour_at: usize,
    /// Where the last session was, so that the next begins there.
    pub last: Last,
    /// Folders of models and adapters that the user added to the list of models.
    pub models: Vec<PathBuf>,
    /// Folders that the workbench exported; only these it offers to remove.
    pub exports: Vec<PathBuf>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Last {
    pub profile: Option<PathBuf>,
    pub dataset_dir: Option<PathBuf>,
    pub model: Option<PathBuf>,
    pub adapter: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// Dark or light by the terminal's background, its 16 colours where that is not known.
    #[default]
    Auto,
    Terminal,
    Dark,
    Light,
    /// No colours at all.
    Mono,
}

impl ThemeChoice {
    pub const ALL: [Self; 5] = [Self::Auto, Self::Terminal, Self::Dark, Self::Light, Self::Mono];
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageChoice {
    /// Pixels where the terminal can.
    #[default]
    Auto,
    Blocks,
    Off,
}

impl ImageChoice {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Blocks, Self::Off];
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            language: None,
            theme: ThemeChoice::Auto,
            images: ImageChoice::Auto,
            mouse: true,
            tour_seen: false,
            tour_at: 0,
            last: Last::default(),
            models: Vec::new(),
            exports: Vec::new(),
        }
    }
}

impl Settings {
    pub const FILE: &str = "settings.yaml";

    /// The file's; with what is wrong if it cannot be read. A file that is not there means defaults.
    pub fn load(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(Self::FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Default::default(),
            Err(e) => return (Self::default(), Some(format!("{}: {e}; going on with defaults", path.display()))),
        };
        match serde_yaml::from_str(&text) {
            Ok(settings) => (settings, None),
            Err(e) => (Self::default(), Some(format!("{}: {e}; going on with defaults", path.display()))),
        }
    }

    /// # Errors
    /// Names the file.
    pub fn save(&self, folder: &Path) -> std::io::Result<()> {
        lightbox_core::fs::create_dir_all(folder)?;
        let yaml = serde_yaml::to_string(self).map_err(std::io::Error::other)?;
        lightbox_core::fs::write_atomic(&folder.join(Self::FILE), yaml.as_bytes())
    }
}

/// The one after this, round and round.
pub fn next<T: Copy + PartialEq>(all: &[T], now: T) -> T {
    let at = all.iter().position(|x| *x == now).map_or(0, |i| (i + 1) % all.len());
    all[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_saved_and_a_damaged_file_is_told() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(temp.path()), (Settings::default(), None));
        let settings = Settings { language: Some(Lang::Zh), theme: ThemeChoice::Light, ..Settings::default() };
        settings.save(temp.path()).unwrap();
        assert_eq!(Settings::load(temp.path()), (settings, None));
        std::fs::write(temp.path().join(Settings::FILE), "theme: 7\n").unwrap();
        let (settings, wrong) = Settings::load(temp.path());
        assert_eq!(settings, Settings::default());
        assert!(wrong.unwrap().contains("settings.yaml"));
    }
}
