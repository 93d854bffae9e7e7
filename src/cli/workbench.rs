//! `lightbox` without a command: the workbench in the current folder.

use crate::app::Screen;
use crate::run::{self, Options};
use crate::text::Lang;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use lightbox_core::exit::{Because, Exit};
use std::io::IsTerminal;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct WorkbenchArgs {
    /// Open on this screen
    #[arg(long, value_enum)]
    screen: Option<ScreenName>,
    /// Language of the workbench [default: the settings', else the locale's]
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// Leave the mouse to the terminal
    #[arg(long)]
    no_mouse: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScreenName {
    Data,
    Train,
    Runs,
    Chat,
    Models,
}

pub fn run(args: &WorkbenchArgs) -> Result<ExitCode> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        let why = || -> Result<()> {
            bail!("the workbench needs a terminal; `lightbox --help` lists the commands that do not")
        };
        why().because(Exit::Usage)?;
    }
    run::workbench(&Options {
        screen: args.screen.map(|screen| match screen {
            ScreenName::Data => Screen::Data,
            ScreenName::Train => Screen::Train,
            ScreenName::Runs => Screen::Runs,
            ScreenName::Chat => Screen::Chat,
            ScreenName::Models => Screen::Models,
        }),
        language: args.lang,
        no_mouse: args.no_mouse,
        demo: None,
    })
}
