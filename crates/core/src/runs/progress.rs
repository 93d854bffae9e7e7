//! The progress line of a training: at most 80 columns of plain text, for a terminal or a log.

/// What the line shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    pub total_steps: u64,
    pub loss: Option<f64>,
    pub lr: f64,
    /// Before clipping.
    pub grad_norm: Option<f64>,
    pub tokens_per_second: Option<f64>,
    /// Memory held on the device.
    pub mem_bytes: Option<u64>,
    pub seconds_left: Option<f64>,
}

/// Terminals are at least this wide.
const WIDTH: usize = 80;

/// `  42/1250   3%  loss 1.8342  lr 4.99e-5  norm 0.91  1234 tok/s  10.3 GiB  left 1h23m`
///
/// What does not fit into 80 columns is left out: memory first, then gradient norm, rate and speed.
pub fn progress_line(p: &Progress) -> String {
    let total = p.total_steps.to_string();
    // Rounded down: 100 % means done.
    let percent = if p.total_steps == 0 { 100 } else { u128::from(p.step) * 100 / u128::from(p.total_steps) };
    // Fields in order, each with how gladly it is given up (0: never).
    let mut fields: Vec<(u8, String)> =
        vec![(0, format!("{:>width$}/{total} {percent:>3}%", p.step, width = total.len()))];
    if let Some(loss) = p.loss {
        fields.push((0, format!("loss {loss:.4}")));
    }
    fields.push((2, format!("lr {:.2e}", p.lr)));
    if let Some(norm) = p.grad_norm {
        fields.push((3, format!("norm {norm:.2}")));
    }
    if let Some(speed) = p.tokens_per_second {
        fields.push((1, format!("{speed:.0} tok/s")));
    }
    if let Some(bytes) = p.mem_bytes {
        fields.push((4, format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64)));
    }
    if let Some(seconds) = p.seconds_left {
        fields.push((0, format!("left {}", short_time(seconds))));
    }
    loop {
        let line = fields.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("  ");
        let dispensable =
            fields.iter().enumerate().filter(|(_, field)| field.0 > 0).max_by_key(|(_, field)| field.0).map(|(i, _)| i);
        match dispensable {
            Some(i) if line.len() > WIDTH => drop(fields.remove(i)),
            // Only numbers beyond all bounds are still too long here.
            _ => return line.chars().take(WIDTH).collect(),
        }
    }
}

/// Is this a line of [`progress_line`]? A viewer that draws its own leaves those of the log out.
pub fn is_progress_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let steps = words.next().and_then(|word| word.split_once('/'));
    let number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    steps.is_some_and(|(step, total)| number(step) && number(total))
        && words.next().and_then(|word| word.strip_suffix('%')).is_some_and(number)
}

/// A time in two units: `45s`, `12m05s`, `1h23m`, `3d04h`.
pub fn short_time(seconds: f64) -> String {
    // `as` saturates, and turns NaN into 0.
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_all_there_is_when_it_fits() {
        let p = Progress {
            step: 42,
            total_steps: 1250,
            loss: Some(1.83421),
            lr: 4.987e-5,
            grad_norm: Some(0.912),
            tokens_per_second: Some(1234.4),
            mem_bytes: None,
            seconds_left: Some(4980.0),
        };
        assert_eq!(progress_line(&p), "  42/1250   3%  loss 1.8342  lr 4.99e-5  norm 0.91  1234 tok/s  left 1h23m");
        assert_eq!(progress_line(&Progress { total_steps: 9, ..Progress::default() }), "0/9   0%  lr 0.00e0");
    }

    #[test]
    fn the_line_never_exceeds_80_columns_and_keeps_step_loss_and_time() {
        for x in [0.0, 1.0, 1e9, f64::NAN, f64::INFINITY] {
            for steps in [1, 99_999, u64::MAX] {
                let p = Progress {
                    step: steps,
                    total_steps: steps,
                    loss: Some(x),
                    lr: 5e-5,
                    grad_norm: Some(x),
                    tokens_per_second: Some(x),
                    mem_bytes: Some(79 << 30),
                    seconds_left: Some(x),
                };
                let line = progress_line(&p);
                assert!(line.len() <= WIDTH, "{} columns: {line}", line.len());
                assert!(line.contains("100%") && line.contains("loss") && line.contains("left"), "{line}");
                assert!(is_progress_line(&line), "{line}");
            }
        }
        for other in ["", "12 samples to train on", "1/2", "1/2 samples", "/ 3%", "a/b 3%", "resumed at step 3/4 5%"] {
            assert!(!is_progress_line(other), "{other:?}");
        }
    }

    #[test]
    fn a_run_is_at_100_percent_only_when_it_is_done() {
        assert!(progress_line(&Progress { step: 999, total_steps: 1000, ..Progress::default() }).contains(" 99%"));
    }
}
