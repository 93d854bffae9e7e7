//! Questions on the terminal.

use anyhow::{Result, anyhow};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::safe_text::clean_line;
use std::io::{BufRead, IsTerminal, Write};

/// Asks; without a terminal nothing is done that was not asked for with `--yes`.
pub fn confirmed(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(anyhow!("{question} There is no terminal to ask on: say --yes")).because(Exit::Usage);
    }
    let mut err = std::io::stderr();
    write!(err, "{} [y/N] ", clean_line(question, 500))?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
