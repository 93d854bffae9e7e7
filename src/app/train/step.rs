//! The next number up or down: in the steps in which people try values of that key.

use lightbox_core::profile::{Key, Kind, yaml_value};
use serde_yaml::Value;

/// How a key's number goes up and down.
enum Step {
    /// ×2 and ÷2.
    Double,
    /// By so much.
    By(f64),
    /// 1, 2, 5, 10, …
    Series,
}

fn rule(key: &str) -> Step {
    match key {
        "lora_rank" | "lora_alpha" | "per_device_train_batch_size" | "per_device_eval_batch_size" => Step::Double,
        "gradient_accumulation_steps" | "cutoff_len" | "max_new_tokens" => Step::Double,
        "image_max_pixels" | "image_min_pixels" => Step::Double,
        "lora_dropout" | "val_size" | "temperature" | "top_p" | "repetition_penalty" => Step::By(0.05),
        "adam_beta1" | "warmup_ratio" | "weight_decay" => Step::By(0.01),
        "adam_beta2" => Step::By(0.001),
        "num_train_epochs" | "seed" | "data_seed" | "save_total_limit" | "max_restarts" | "num_threads" => {
            Step::By(1.0)
        }
        "dataloader_num_workers" | "max_nonfinite_steps" | "preprocessing_num_workers" => Step::By(1.0),
        "top_k" => Step::By(10.0),
        _ => Step::Series,
    }
}

/// Where stepping begins from nothing.
fn first(key: &str) -> f64 {
    match key {
        "lora_alpha" => 16.0,
        "max_samples" => 1_000.0,
        "max_steps" | "eval_steps" => 100.0,
        "warmup_steps" => 10.0,
        "warmup_ratio" => 0.03,
        "save_total_limit" => 2.0,
        _ => 1.0,
    }
}

/// The value after `now`, in one line; `None`: there is none.
pub fn stepped(key: &Key, now: &Value, up: bool) -> Option<String> {
    let number = now.as_f64().filter(|x| *x > 0.0);
    let by = rule(key.name);
    let next = match (number, by) {
        (None, Step::By(step)) if !now.is_null() => now.as_f64()? + if up { step } else { -step },
        (None, _) if up => first(key.name),
        (None, _) => return None,
        (Some(x), Step::Double) => {
            if up {
                x * 2.0
            } else {
                (x / 2.0).floor()
            }
        }
        (Some(x), Step::By(step)) => x + if up { step } else { -step },
        (Some(x), Step::Series) => series(x, up),
    };
    // 0.1 + 0.05 is 0.15, not 0.15000000000000002
    let next: f64 = format!("{next:.10e}").parse().ok()?;
    let value = match key.kind {
        Kind::Integer if next.abs() < 1e15 => Value::from(next.round() as i64),
        Kind::Integer => return None,
        _ => Value::from(next),
    };
    (key.accepts(&value) && &value != now).then(|| yaml_value(&value))
}

/// The next of 1, 2, 5, 10, 20, …, at any size.
fn series(x: f64, up: bool) -> f64 {
    let exponent = x.log10().floor();
    let all = [-1.0, 0.0, 1.0].into_iter().flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powf(exponent + e)));
    let near = 1e-6 * x;
    let next = if up {
        all.filter(|y| *y > x + near).fold(f64::INFINITY, f64::min)
    } else {
        all.filter(|y| *y < x - near).fold(0.0, f64::max)
    };
    if next.is_finite() && next > 0.0 { next } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(key: &str, from: &str, up: bool, steps: usize) -> Vec<String> {
        let key = Key::find(key).unwrap();
        let mut value: Value = serde_yaml::from_str(from).unwrap();
        let mut all = Vec::new();
        for _ in 0..steps {
            let Some(next) = stepped(key, &value, up) else { break };
            value = serde_yaml::from_str(&next).unwrap();
            all.push(next);
        }
        all
    }

    #[test]
    fn numbers_step_as_people_try_them() {
        assert_eq!(walk("learning_rate", "5e-5", true, 4), ["0.0001", "0.0002", "0.0005", "0.001"]);
        assert_eq!(walk("learning_rate", "0.0001", false, 2), ["5e-05", "2e-05"]);
        assert_eq!(walk("lora_rank", "8", true, 2), ["16", "32"]);
        assert_eq!(walk("lora_rank", "2", false, 5), ["1"]);
        assert_eq!(walk("val_size", "0.0", true, 3), ["0.05", "0.1", "0.15"]);
        assert_eq!(walk("num_train_epochs", "3.0", true, 1), ["4.0"]);
        assert_eq!(walk("lora_dropout", "0.9", true, 9), ["0.95"]);
        assert_eq!(walk("max_samples", "null", true, 2), ["1000", "2000"]);
        assert_eq!(walk("max_steps", "-1", true, 2), ["100", "200"]);
        assert_eq!(walk("save_steps", "500.0", true, 1), ["1000.0"]);
    }

    proptest::proptest! {
        #[test]
        fn a_step_is_always_a_value_that_the_key_accepts(i in 0usize..lightbox_core::profile::KEYS.len(), x in 0.0f64..1e9, up: bool) {
            let key = &lightbox_core::profile::KEYS[i];
            if let Some(next) = stepped(key, &Value::from(x), up) {
                assert!(key.accepts(&serde_yaml::from_str(&next).unwrap()), "{}: {next}", key.name);
            }
        }
    }
}
