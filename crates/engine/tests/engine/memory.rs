//! What happens to an update when memory or a sample is missing: gradients of a [`Trainer`], with faults on purpose.

use crate::golden::{self, path};
use lightbox_core::data::Encoder;
use lightbox_core::exit::{Exit, code};
use lightbox_core::fault;
use lightbox_core::profile::Profile;
use lightbox_core::runs::commands::SampleNow;
use lightbox_core::runs::drive::{Beat, Computed, Flow, Trainee, Trouble};
use lightbox_core::runs::steps::StepPlan;
use lightbox_engine::setup::{self, Ready};
use lightbox_engine::train::batches::{Feed, Source};
use lightbox_engine::train::checkpoint::Base;
use lightbox_engine::train::order::Order;
use lightbox_engine::train::{Trained, data, fit::Fit, optim::Optimizer, trainer::Trainer};
use std::collections::BTreeSet;
use std::path::Path;
use tch::{Device, Tensor};
use torch_shim::optim::AdamW;

#[derive(Default)]
struct Ears {
    troubles: Vec<Trouble>,
    abandon_at: Option<u64>,
}

impl Beat for Ears {
    fn micro(&mut self, micro: u64) -> Flow {
        if self.abandon_at == Some(micro) { Flow::Abandon } else { Flow::Continue }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }
}

fn profile(dataset_dir: &Path, overrides: &[&str]) -> Profile {
    let text = "stage: sft\ndo_train: true\ntemplate: qwen2_vl\ndataset: demo\nimage_max_pixels: 50176\nfinetuning_type: full\n\
                max_steps: 2\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 3\ndevice: cpu\noutput_dir: unused\n";
    let mut all = vec![
        format!("model_name_or_path={}", path("models/tiny-tied").display()),
        format!("dataset_dir={}", dataset_dir.display()),
    ];
    all.extend(overrides.iter().map(|s| (*s).to_owned()));
    Profile::parse("test.yaml", text, &all).unwrap()
}

/// A trainer of all weights in fp32. `after_loading` happens when the samples have been checked.
fn with_trainer<T>(p: &Profile, after_loading: impl FnOnce(), work: impl FnOnce(&mut Trainer) -> T) -> T {
    tch::set_num_threads(1);
    let kind = Some(tch::Kind::Float);
    let Ready { model, tokenizer, processor, .. } =
        setup::load(&path("models/tiny-tied"), &[], kind, Device::Cpu).unwrap();
    let options = data::encode_options(p);
    let budget = data::pixel_budget(p);
    let encoder = Encoder { tokenizer: &tokenizer, processor: &processor, budget, options: &options };
    let samples = data::load(p, &encoder, &mut |_| {}).unwrap();
    after_loading();
    let plan = StepPlan::new(p, samples.train.len()).unwrap();
    let parameters = model.named_weights();
    for (_, t) in &parameters {
        let _ = t.set_requires_grad(true);
    }
    let adamw = AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, fused: false };
    let source = |samples| Source { samples, encoder, multiple: 8 };
    std::thread::scope(|scope| {
        let mut trainer = Trainer {
            answering: None,
            profile: p,
            base: Base::of(p).unwrap(),
            model,
            trained: Trained::Full,
            optimizer: Optimizer::new(parameters, adamw),
            attributes: None,
            feed: Feed::new(scope, source(&samples.train), Order::new(p, &plan), 2),
            eval: samples.eval.as_ref().map(source),
            threads: 1,
            fit: Fit::default(),
        };
        work(&mut trainer)
    })
}

fn demo() -> std::path::PathBuf {
    path("llamafactory/data")
}

fn gradients(trainer: &mut Trainer, k: u64, ears: &mut Ears) -> (Computed, Vec<Tensor>) {
    let computed = trainer.gradients(k, &BTreeSet::new(), ears).unwrap().unwrap();
    let grads = trainer.optimizer.values().filter(|t| t.grad().defined()).map(|t| t.grad().copy()).collect();
    trainer.discard().unwrap();
    (computed, grads)
}

fn furthest(a: &[Tensor], b: &[Tensor]) -> f64 {
    assert!(!a.is_empty() && a.len() == b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs().max().double_value(&[])).fold(0.0, f64::max)
}

#[test]
fn a_micro_batch_that_does_not_fit_is_split_and_the_gradients_stay_the_same() {
    let _random = golden::random_among_others();
    for weighting in ["micro_batch", "token"] {
        for plainly in ["true", "false"] {
            let weighting = format!("loss_weighting={weighting}");
            let plainly = format!("disable_gradient_checkpointing={plainly}");
            let p = profile(&demo(), &[&weighting, &plainly, "max_grad_norm=0"]);
            with_trainer(
                &p,
                || (),
                |trainer| {
                    let (whole, whole_grads) = gradients(trainer, 0, &mut Ears::default());
                    // The second micro-batch, then the second piece of one that is split already.
                    for (faults, splits) in [("micro#2=oom", 1), ("micro#1=oom;micro#3=oom", 2)] {
                        trainer.fit = Fit::default();
                        let _faults = fault::inject(faults).unwrap();
                        let mut ears = Ears::default();
                        let (split, grads) = gradients(trainer, 0, &mut ears);
                        let told = ears.troubles.iter().filter(|t| matches!(t, Trouble::Split { .. })).count();
                        assert_eq!(told, splits, "{faults}: {:?}", ears.troubles);
                        let loss = (split.loss - whole.loss).abs();
                        let far = furthest(&grads, &whole_grads);
                        assert!(
                            loss < 1e-6 * whole.loss.max(1.0) && far < 1e-5,
                            "{faults} {weighting} {plainly}: {loss:e} {far:e}"
                        );
                        assert_eq!(split.samples, whole.samples);
                    }
                    // It is remembered: the next update tries nothing in vain.
                    let mut ears = Ears::default();
                    gradients(trainer, 1, &mut ears);
                    assert_eq!(ears.troubles, []);
                },
            );
        }
    }
}

#[test]
fn a_single_row_that_does_not_fit_ends_the_run_with_its_sample_and_the_numbers() {
    let _random = golden::random_among_others();
    with_trainer(
        &profile(&demo(), &[]),
        || (),
        |trainer| {
            let _faults = fault::inject("micro#*=oom").unwrap();
            let error = trainer.gradients(0, &BTreeSet::new(), &mut Ears::default()).unwrap_err();
            let text = format!("{error:#}");
            assert_eq!(code(&error), Exit::OutOfMemory, "{text}");
            for part in ["on sample ", "image tokens). Needed 3.80 GiB, 1.60 GiB free", "image_max_pixels ≤ "] {
                assert!(text.contains(part), "{text}");
            }
            assert!(trainer.optimizer.values().all(|t| !t.grad().defined()), "no gradient is left behind");
        },
    );
}

#[test]
fn a_lost_device_ends_the_run() {
    let _random = golden::random_among_others();
    with_trainer(
        &profile(&demo(), &[]),
        || (),
        |trainer| {
            let _faults = fault::inject("micro#1=device").unwrap();
            let error = trainer.gradients(0, &BTreeSet::new(), &mut Ears::default()).unwrap_err();
            assert_eq!(code(&error), Exit::Device, "{error:#}");
        },
    );
}

#[test]
fn the_memory_probe_leaves_no_trace_in_the_first_update() {
    let _random = golden::random_among_others();
    let p = profile(&demo(), &["per_device_train_batch_size=1"]);
    let plain = with_trainer(&p, || (), |trainer| gradients(trainer, 0, &mut Ears::default()));
    let probed = with_trainer(
        &p,
        || (),
        |trainer| {
            let source = trainer.feed.source;
            assert!(!trainer.fit.largest(&trainer.feed.order, &source, 0, 2).is_empty(), "there is something to probe");
            trainer.probe(0, 2, &mut Ears::default()).unwrap();
            gradients(trainer, 0, &mut Ears::default())
        },
    );
    assert_eq!(plain.0.loss, probed.0.loss);
    assert_eq!(furthest(&plain.1, &probed.1), 0.0);
}

#[test]
fn samples_left_out_leave_the_mean_over_the_micro_batches_that_remain() {
    let _random = golden::random_among_others();
    with_trainer(
        &profile(&demo(), &["per_device_train_batch_size=1", "max_grad_norm=0"]),
        || (),
        |trainer| {
            let all = gradients(trainer, 0, &mut Ears::default()).0.samples;
            let (first, rest) = (all[0] as u64, &all[1..]);
            let fewer = trainer.gradients(0, &[first].into(), &mut Ears::default()).unwrap().unwrap();
            trainer.discard().unwrap();
            assert_eq!(fewer.samples, rest);
            let single = |keep: usize, trainer: &mut Trainer| {
                let skip = all.iter().map(|i| *i as u64).filter(|i| *i != keep as u64).collect();
                let one = trainer.gradients(0, &skip, &mut Ears::default()).unwrap().unwrap();
                trainer.discard().unwrap();
                one.loss
            };
            let mean = (single(rest[0], trainer) + single(rest[1], trainer)) / 2.0;
            assert!((fewer.loss - mean).abs() < 1e-6, "{} {mean}", fewer.loss);
            let none = all.iter().map(|i| *i as u64).collect();
            let nothing = trainer.gradients(0, &none, &mut Ears::default()).unwrap().unwrap();
            assert!(nothing.samples.is_empty() && nothing.loss == 0.0 && nothing.grad_norm == 0.0);
        },
    );
}

/// A copy of the demo data whose pictures may be removed.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn remove_pictures(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            remove_pictures(&path);
        } else if path.extension().is_some_and(|e| e == "png" || e == "jpg" || e == "jpeg" || e == "webp") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn pictures_that_vanish_in_mid_run_are_left_out_and_told_or_end_the_run() {
    let _random = golden::random_among_others();
    for policy in ["skip", "refuse"] {
        let temp = tempfile::tempdir().unwrap();
        copy(&demo(), temp.path());
        let policy_key = format!("on_bad_sample={policy}");
        let p = profile(temp.path(), &[&policy_key]);
        with_trainer(
            &p,
            || remove_pictures(temp.path()),
            |trainer| {
                let mut ears = Ears::default();
                let outcome = trainer.gradients(0, &BTreeSet::new(), &mut ears);
                if policy == "refuse" {
                    let error = outcome.unwrap_err();
                    assert_eq!(code(&error), Exit::Data, "{error:#}");
                    assert!(error.to_string().contains("sample "), "{error:#}");
                    return;
                }
                let computed = outcome.unwrap().unwrap();
                assert!(!ears.troubles.is_empty());
                for trouble in &ears.troubles {
                    let Trouble::Sample { index, kind, .. } = trouble else { panic!("{trouble:?}") };
                    assert!(!computed.samples.contains(index), "{index}");
                    assert_eq!(kind, "image_missing");
                }
                assert_eq!(computed.images, 0);
                assert_eq!(computed.samples.len() + ears.troubles.len(), 12);
            },
        );
    }
}

#[test]
fn an_update_is_abandoned_at_a_safe_point_and_can_be_made_again() {
    let _random = golden::random_among_others();
    with_trainer(
        &profile(&demo(), &[]),
        || (),
        |trainer| {
            let plain = gradients(trainer, 0, &mut Ears::default());
            let mut ears = Ears { abandon_at: Some(1), ..Ears::default() };
            assert!(trainer.gradients(0, &BTreeSet::new(), &mut ears).unwrap().is_none());
            let again = gradients(trainer, 0, &mut Ears::default());
            assert_eq!(plain.0.loss, again.0.loss);
            assert_eq!(furthest(&plain.1, &again.1), 0.0);
        },
    );
}

#[test]
fn the_model_answers_in_the_middle_of_training() {
    let _random = golden::random_among_others();
    with_trainer(
        &profile(&demo(), &[]),
        || (),
        |trainer| {
            let request = SampleNow { n: 2, max_new_tokens: Some(3), ..SampleNow::default() };
            let answers = trainer.sample(&request).unwrap();
            assert_eq!(answers.len(), 2);
            assert!(answers.iter().all(|a| (1..=3).contains(&a.tokens) && !a.prompt.is_empty()), "{answers:?}");
            let request = SampleNow { prompt: Some("hi".into()), images: vec!["/nowhere.png".into()], ..request };
            assert!(format!("{:#}", trainer.sample(&request).unwrap_err()).contains("/nowhere.png"));
        },
    );
}
