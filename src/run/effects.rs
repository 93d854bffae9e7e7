//! Effects that concern the terminal, or the program as a whole.
use super::Loop;
use crate::app::action::Effect;
use crate::app::messages::Level;
use crate::app::{Action, App};
use crate::link::Links;
use crate::term::{guard, osc};
use anyhow::Result;
use lightbox_core::runs::registry;
use std::path::Path;
use std::process::Command;

impl Loop {
    pub(super) fn perform(&mut self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Copy(text) => match osc::copy(&text, &self.app.caps) {
                Ok(sequence) => self.stage.send(&sequence)?,
                Err(why) => self.app.say(Level::Warning, why),
            },
            Effect::Notify(text) => {
                let sequence = osc::notify("Lightbox", &text, &self.app.caps);
                self.stage.send(&sequence)?;
            }
            Effect::Edit(path, action) => {
                if let Some(events) = self.events.take() {
                    guard::end_reader(events);
                }
                let edited = self.stage.outside(&mut self.app, || edit(&path))?;
                self.resize()?;
                match edited {
                    Ok(()) => self.act(*action)?,
                    Err(why) => self.act(Action::Say(Level::Error, why))?,
                }
            }
            Effect::Suspend => self.suspend()?,
            Effect::Redraw => self.stage.forget(&mut self.app)?,
            Effect::Mouse => self.stage.set_mouse(self.app.settings.mouse)?,
            Effect::SaveSettings => save_settings(&self.app, &self.links),
            // the links have done the others
            _ => {}
        }
        Ok(())
    }
}

/// $VISUAL, else $EDITOR, else vi, as git and others ask for it.
fn edit(path: &Path) -> Result<(), String> {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let mut words = shlex::split(&editor).unwrap_or_else(|| vec![editor.clone()]).into_iter();
    let program = words.next().unwrap_or_else(|| "vi".to_owned());
    let status = Command::new(&program).args(words).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}; the text is as it was saved")),
        Err(e) => Err(format!("{program}: {e}; set EDITOR to an editor of this machine")),
    }
}

fn save_settings(app: &App, links: &Links) {
    let (settings, lang) = (app.settings.clone(), app.lang());
    links.back.spawn(move || match registry::state_dir().map(|dir| settings.save(&dir)) {
        Some(Err(e)) => Action::Say(Level::Warning, crate::text::common::SETTINGS_NOT_SAVED.fill(lang, &[&e])),
        _ => Action::All(Vec::new()),
    });
}
