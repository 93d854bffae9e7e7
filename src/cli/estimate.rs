//! `lightbox estimate`: what a training will need, before anything starts. All figures are [`lightbox_core::estimate`]'s;
//! here are only words.

use super::table::table;
use anyhow::Result;
use clap::Args;
use lightbox_core::estimate::{Disk, Estimate, Facts, MemoryNeed, Place, Steps, Time, Tokens, Verdict};
use lightbox_core::exit::{Because, Exit};
use lightbox_core::profile::Profile;
use lightbox_core::runs::progress::short_time;
use lightbox_core::runs::say::say;
use lightbox_core::safe_text::{clean, clean_line};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct EstimateArgs {
    /// Profile: a LLaMA-Factory YAML file
    #[arg(value_name = "PROFILE.yaml")]
    profile: PathBuf,
    /// Keys over those of the profile, e.g. per_device_train_batch_size=4
    #[arg(value_name = "key=value")]
    overrides: Vec<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &EstimateArgs) -> Result<Exit> {
    let profile = Profile::load(&args.profile, &args.overrides).because(Exit::Config)?;
    let facts = Facts::read(&profile).because(Exit::Config)?;
    let estimate = Estimate::of(&profile, &facts);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &estimate)?;
        writeln!(out)?;
    } else {
        out.write_all(human(&estimate).as_bytes())?;
    }
    for missing in &facts.missing {
        say(&format!("not known: {}", clean(missing)));
    }
    if let Some(bad) = facts.data.as_ref().and_then(|data| data.first_bad.as_ref()) {
        say(&format!("a sample cannot be used: {}; `lightbox data check` lists all", clean(bad)));
    }
    Ok(if facts.missing.is_empty() { Exit::Finished } else { Exit::Config })
}

fn human(e: &Estimate) -> String {
    let mut text = String::new();
    if let Some(memory) = &e.memory {
        text += &memory_text(memory, &e.device, e.trained_numbers);
    }
    if let Some(steps) = &e.steps {
        text += &steps_text(steps);
    }
    if let Some(tokens) = &e.tokens {
        text += &tokens_text(tokens);
    }
    if let Some(disk) = &e.disk {
        text += &disk_text(disk);
    }
    text + &time_text(e.time.as_ref())
}

fn memory_text(m: &MemoryNeed, device: &Place, trained: Option<u64>) -> String {
    let of_adapter = format!("trained ({} numbers), gradients, optimizer", trained.map_or("?".into(), grouped));
    let rows: Vec<Vec<String>> = [
        ("weights", m.parts.weights),
        (of_adapter.as_str(), m.parts.trained),
        ("activations", m.parts.activations),
        ("logits", m.parts.logits),
        ("process and workspace", m.parts.workspace),
        ("at the highest moment", m.parts.total),
    ]
    .into_iter()
    .map(|(name, bytes)| vec![format!("  {name}"), size(bytes)])
    .collect();
    let model = device.model.as_ref().map_or(String::new(), |model| format!(", {}", clean_line(model, 40)));
    let there = match (device.free_bytes, device.total_bytes) {
        (Some(free), Some(total)) => format!("{} of {} free", size(free), size(total)),
        _ if device.missing => "this GPU is not there".to_owned(),
        _ => "how much there is is not known".to_owned(),
    };
    let verdict = match m.verdict {
        Verdict::Fits => "fits",
        Verdict::Tight => {
            "tight: halving per_device_train_batch_size and doubling gradient_accumulation_steps makes room"
        }
        Verdict::TooLarge => {
            "does not fit: lower per_device_train_batch_size (and raise gradient_accumulation_steps), image_max_pixels or cutoff_len"
        }
        Verdict::Unknown => "whether it fits is not known",
    };
    format!(
        "Memory on {}{model}: {there}; {verdict}\n{}  computed, {:.0} % less to {:.0} % more; {} if every sample had cutoff_len tokens\n\n",
        device.name,
        table(&["", "#"], &rows).trim_start_matches('\n'),
        100.0 * m.uncertainty.0,
        100.0 * m.uncertainty.1,
        size(m.at_cutoff_bytes)
    )
}

fn steps_text(s: &Steps) -> String {
    let answers = match s.answers {
        0 => String::new(),
        n => format!(
            "Answers: {} evaluation samples at each of {} evaluations; their time comes on top\n\n",
            grouped(n as u64),
            grouped(s.evaluations)
        ),
    };
    format!(
        "Steps: {} updates, {} an epoch, {} epochs; {} samples in an update, {} to train on, {} to evaluate on; {} updates of warm-up\n\n",
        grouped(s.total),
        grouped(s.per_epoch),
        trim(s.epochs),
        s.samples_per_update,
        grouped(s.samples as u64),
        grouped(s.eval_samples as u64),
        grouped(s.warmup)
    ) + &answers
}

fn tokens_text(t: &Tokens) -> String {
    let mut text = format!(
        "Tokens: {:.0} a sample (longest {}, {:.0} of them in pictures), {:.0} an update, {} in all, with padding\n  from {} samples of the data, ±{:.1} % on the mean\n",
        t.mean,
        t.longest,
        t.mean_in_pictures,
        t.per_update,
        grouped(t.total as u64),
        t.looked_at,
        200.0 * t.uncertainty
    );
    for (share, what) in [
        (t.cut_share, "lose text at cutoff_len"),
        (t.left_out_share, "are left out because cutoff_len would cut a picture"),
        (t.bad_share, "cannot be used"),
    ] {
        if share > 0.0 {
            text += &format!("  {:.1} % of the samples {what}\n", 100.0 * share);
        }
    }
    text + "\n"
}

fn disk_text(d: &Disk) -> String {
    let free = d.free_bytes.map_or("unknown".to_owned(), size);
    let verdict = match d.verdict {
        Verdict::Fits => "enough",
        Verdict::Tight | Verdict::TooLarge => "not enough: set save_total_limit, or save_only_model, or free some",
        Verdict::Unknown => "whether that is enough is not known",
    };
    format!(
        "Disk: {} ({} checkpoints of {}, {} of them at a time; result {}; logs {} at most), {free} free: {verdict}\n  computed\n\n",
        size(d.total_bytes),
        grouped(d.checkpoints_written),
        size(d.checkpoint_bytes),
        grouped(d.checkpoints_held),
        size(d.result_bytes),
        size(d.logs_bytes)
    )
}

fn time_text(time: Option<&Time>) -> String {
    let Some(t) = time else {
        return "Time: not known before the first run with this model on this device\n".to_owned();
    };
    let differ = match t.differ.as_slice() {
        [] => String::new(),
        keys => format!("; they had other {}", keys.join(", ")),
    };
    let runs: Vec<String> = t.runs.iter().take(3).map(|run| clean_line(run, 40)).collect();
    format!(
        "Time: {}{}, {} an update, {:.0} tokens a second; evaluations and checkpoints come on top\n  measured in {} earlier run{} ({}{}){differ}\n",
        short_time(t.seconds),
        match t.runs.len() {
            1 => String::new(),
            _ => format!(" ({} to {})", short_time(t.between.0), short_time(t.between.1)),
        },
        if t.seconds_per_update < 10.0 {
            format!("{:.2}s", t.seconds_per_update)
        } else {
            short_time(t.seconds_per_update)
        },
        t.tokens_per_second,
        t.runs.len(),
        if t.runs.len() == 1 { "" } else { "s" },
        runs.join(", "),
        if t.runs.len() > 3 { ", …" } else { "" }
    )
}

fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= (1u64 << 30) as f64 => format!("{:.2} GiB", b / (1u64 << 30) as f64),
        b => format!("{:.1} MiB", b / (1u64 << 20) as f64),
    }
}

/// `1,234,567`
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let place = |(i, digit): (usize, char)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        [comma.then_some(','), Some(digit)].into_iter().flatten()
    };
    digits.chars().enumerate().flat_map(place).collect()
}

/// Two decimals, without zeros at the end.
fn trim(x: f64) -> String {
    let text = format!("{x:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([grouped(7), grouped(1234), grouped(9_232_384)], ["7", "1,234", "9,232,384"]);
        assert_eq!([trim(3.0), trim(0.5), trim(12.346)], ["3", "0.5", "12.35"]);
        assert_eq!([size(3 << 20), size(5 << 30)], ["3.0 MiB", "5.00 GiB"]);
    }

    #[test]
    fn without_a_measurement_time_is_not_guessed() {
        assert!(time_text(None).contains("not known before the first run"));
    }
}
