//! The demo's model, data and profile, made by the command that a user would type: it keeps what is finished and goes on
//! where it was interrupted.
use super::tasks::Runner;
use crate::app::Action;
use crate::app::tour::Msg;
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub fn make(tasks: &Runner, title: String, dir: PathBuf) {
    let back = tasks.back().clone();
    tasks.start(title, move |ctx| {
        let made = (|| {
            let program = std::env::current_exe().context("cannot find this program's own file")?;
            let mut command = Command::new(program);
            command.args(["demo", "--headless", "--prepare", "--quick", "--dir"]).arg(&dir);
            let piped = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = piped.spawn().context("cannot start the demo")?;
            loop {
                if let Some(status) = child.try_wait()? {
                    if status.success() {
                        return Ok(());
                    }
                    let mut said = String::new();
                    if let Some(mut stderr) = child.stderr.take() {
                        std::io::Read::read_to_string(&mut stderr, &mut said)?;
                    }
                    bail!("{}", said.lines().last().unwrap_or("the demo could not be written"));
                }
                if ctx.is_cancelled() {
                    child.kill()?;
                    child.wait()?;
                    bail!("cancelled");
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })();
        back.send(Action::Tour(Msg::Made(made.as_ref().copied().map_err(|e: &anyhow::Error| format!("{e:#}")))));
        made.map(|()| None)
    });
}
