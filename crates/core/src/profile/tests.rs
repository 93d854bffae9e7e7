//! Profiles as users write them: right, wrong and hostile.
use super::*;
use proptest::prelude::*;
use serde_yaml::Value;
use std::path::Path;

const TUTORIAL: &str = include_str!("../../../../profiles/medtrinity-qwen2vl-2b.yaml");

fn parse(text: &str) -> Result<Profile, ProfileError> {
    text.parse()
}

/// The messages of a profile that must be wrong.
fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(e) => e.problems.iter().map(ToString::to_string).collect(),
    }
}

fn with(overrides: &[&str]) -> Result<Profile, ProfileError> {
    Profile::parse("p.yaml", "", overrides)
}

/// All keys with their values.
fn settings(p: &Profile) -> Vec<(&'static str, Value)> {
    KEYS.iter().map(|key| (key.name, (key.write)(p))).collect()
}

#[test]
fn every_profile_of_the_repository_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        Profile::load::<&str>(&path, &[]).unwrap_or_else(|e| panic!("{e}"));
        loaded += 1;
    }
    assert!(loaded > 0);
}

#[test]
fn the_tutorials_profile_sets_what_the_tutorials_command_sets() {
    let p = parse(TUTORIAL).unwrap();
    assert_eq!((p.stage, p.finetuning_type, p.template), (Stage::Sft, FinetuningType::Lora, Some(Template::Qwen2Vl)));
    assert_eq!(
        (p.dataset.as_slice(), p.max_samples, p.cutoff_len),
        (["mllm_med".to_owned()].as_slice(), Some(100_000), 1024)
    );
    assert_eq!((p.per_device_train_batch_size, p.gradient_accumulation_steps, p.samples_per_update()), (2, 8, 16));
    assert_eq!((p.learning_rate, p.num_train_epochs, p.max_grad_norm, p.warmup_steps), (5e-5, 3.0, 1.0, 0.0));
    assert_eq!((p.lr_scheduler_type, p.optim), (SchedulerType::Cosine, Optim::AdamwTorch));
    assert_eq!((p.logging_steps, p.save_steps, p.plot_loss), (5.0, 100.0, true));
    assert_eq!(
        (p.lora_rank, p.effective_lora_alpha(), p.lora_dropout, p.lora_target.as_slice()),
        (8, 16, 0.0, ["all".to_owned()].as_slice())
    );
    assert_eq!((p.include_num_input_tokens_seen, p.bf16, p.do_train), (TokenCount::All, true, true));
    assert_eq!(
        p.origin("cutoff_len"),
        Origin::File { line: 1 + TUTORIAL.lines().position(|l| l.starts_with("cutoff_len")).unwrap() }
    );
    assert_eq!(p.origin("seed"), Origin::Default);
    let noted: Vec<String> = p.notes().iter().map(|note| note.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(noted, ["trust_remote_code", "preprocessing_num_workers", "ddp_timeout"]);
}

#[test]
fn defaults_are_those_of_llamafactory() {
    let golden = include_str!("../../../../tests/golden/llamafactory/defaults.tsv");
    let mut checked = 0;
    for (name, default) in golden.lines().map(|line| line.split_once('\t').unwrap()) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            assert!(
                other_keys::OtherKey::find(name)
                    .is_some_and(|key| key.is_default(&serde_yaml::from_str(default).unwrap())),
                "{name}: {default}"
            );
            continue;
        };
        // transformers turns an unset output_dir into this; an unset `packing` means false where packing is no default.
        let default = match name {
            "output_dir" => "trainer_output",
            "packing" => "false",
            _ => default,
        };
        let mut read = Profile::default();
        assert_eq!((key.read)(&mut read, &serde_yaml::from_str(default).unwrap()), Some(()), "{name}: {default}");
        assert_eq!((key.write)(&read), key.default(), "{name}");
        checked += 1;
    }
    assert_eq!(checked, KEYS.len() - 7, "all keys but our own seven are LLaMA-Factory's");
}

#[test]
fn every_key_is_documented_for_forms() {
    for key in KEYS {
        assert!(key.doc().ends_with(['.', ']', ')']), "{}: {}", key.name, key.doc());
        assert!(
            key.range == Range::ANY
                || key.default().is_null()
                || super::setting::Setting::read(&key.default()).is_none_or(|x| key.range.contains(x))
        );
        assert!(key.note.is_none() || key.doc().starts_with("LLaMA-Factory:"), "{}", key.name);
    }
    let rank = KEYS.iter().find(|key| key.name == "lora_rank").unwrap();
    assert_eq!(rank.allowed(), "a whole number, 1 or more");
    let samples = KEYS.iter().find(|key| key.name == "max_samples").unwrap();
    assert_eq!(samples.allowed(), "a whole number, 1 or more, or null");
}

#[test]
fn scalars_mean_what_they_mean_to_llamafactory() {
    let p = parse(
        "learning_rate: 5e-5\nweight_decay: 1\nmax_samples: 1_000\nseed: 010\nbf16: yes\nplot_loss: on\nfreeze_vision_tower: off\n\
         save_strategy: no\neval_strategy: 'no'\nreport_to: none\neval_steps: null\nmedia_dir: ~\ndataset: a, b,c\nlora_target: [q_proj, v_proj]\n\
         image_max_pixels: 1024*28*28\nimage_min_pixels: \"32*32\"\nrun_name: 2024\ninclude_num_input_tokens_seen: true\nmax_steps: 1e3\n\
         default_system: ''\ntop_p: .5\n",
    )
    .unwrap();
    assert_eq!((p.learning_rate, p.weight_decay, p.max_samples, p.seed, p.max_steps), (5e-5, 1.0, Some(1000), 8, 1000));
    assert_eq!((p.bf16, p.plot_loss, p.freeze_vision_tower), (true, true, false));
    assert_eq!(
        (p.save_strategy, p.eval_strategy, p.include_num_input_tokens_seen),
        (IntervalStrategy::No, IntervalStrategy::No, TokenCount::All)
    );
    assert_eq!((p.eval_steps, p.media_dir.as_deref(), p.default_system.as_deref()), (None, None, Some("")));
    assert_eq!(
        (p.dataset, p.lora_target),
        (vec!["a".to_owned(), "b".into(), "c".into()], vec!["q_proj".to_owned(), "v_proj".into()])
    );
    assert_eq!(
        (p.image_max_pixels, p.image_min_pixels, p.run_name.as_deref(), p.top_p),
        (802_816, 1024, Some("2024"), 0.5)
    );
}

#[test]
fn an_unknown_key_is_an_error_with_place_and_suggestion() {
    assert_eq!(
        errors("seed: 1\n\nlora_rnak: 8\n"),
        ["profile:3:1: `lora_rnak` is not a key of a profile; did you mean `lora_rank`?"]
    );
    assert_eq!(
        errors("- a\n"),
        ["profile:1:1: not valid YAML: invalid type: sequence, expected lines of the form `key: value`"]
    );
    assert_eq!(errors("qwertyuiop: 8"), ["profile:1:1: `qwertyuiop` is not a key of a profile"]);
    assert_eq!(
        errors("{\"Learning-Rate\": 1}"),
        ["profile:1:3: `Learning-Rate` is not a key of a profile; did you mean `learning_rate`?"]
    );
}

#[test]
fn every_misspelt_key_is_refused_and_the_right_one_suggested() {
    for key in KEYS {
        let letters: Vec<char> = key.name.chars().collect();
        let middle = letters.len() / 2;
        let mut dropped = letters.clone();
        dropped.remove(middle);
        let mut swapped = letters.clone();
        swapped.swap(middle, middle - 1);
        let mut doubled = letters.clone();
        doubled.insert(middle, letters[middle]);
        for misspelt in [dropped, swapped, doubled].map(String::from_iter) {
            if misspelt != key.name {
                let message = errors(&format!("{misspelt}: 1")).remove(0);
                assert!(message.ends_with(&format!("did you mean `{}`?", key.name)), "{message}");
            }
        }
    }
}

#[test]
fn every_key_refuses_a_value_of_the_wrong_kind_with_line_key_and_what_is_allowed() {
    for key in KEYS {
        let wrong = match key.kind {
            Kind::Text | Kind::Path | Kind::List => "1.5",
            Kind::SchedulerKwargs => "{power: high}",
            _ => "perhaps",
        };
        let messages = errors(&format!("# {name}: 1\n{name}: {wrong}\n", name = key.name));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].starts_with(&format!("profile:2:1: `{}: ", key.name)), "{messages:?}");
        assert!(messages[0].ends_with(&format!("needs {}", key.allowed())), "{messages:?}");
        let null = parse(&format!("{}: null", key.name));
        assert_eq!(
            null.is_ok() || null.is_err_and(|e| !e.to_string().contains("null` is not allowed")),
            key.optional,
            "{}",
            key.name
        );
    }
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    for (text, range) in [
        ("lora_rank: 0", "a whole number, 1 or more"),
        ("lora_rank: -1", "a whole number, 1 or more"),
        ("lora_rank: 8.5", "a whole number, 1 or more"),
        ("image_max_pixels: 99999999999*99999999999", "a whole number, 1 or more"),
        ("learning_rate: -1e-5", "a number, 0 or more"),
        ("learning_rate: .nan", "a number, 0 or more"),
        ("learning_rate: .inf", "a number, 0 or more"),
        ("learning_rate: nan", "a number, 0 or more"),
        ("lora_dropout: 1", "a number, from 0 to below 1"),
        ("top_p: 0", "a number, from above 0 to 1"),
        ("num_train_epochs: 0", "a number, above 0"),
        ("eval_steps: 0", "a number, above 0, or null"),
        ("seed: -1", "a whole number"),
        ("device: cuda:x", "auto, cpu, cuda or cuda:N"),
        ("flash_attn: fa2", "one of auto, sdpa"),
        ("stage: dpo", "one of sft, vision"),
        ("dataset: a,,b", "names separated by commas, or null"),
        ("run_name: true", "a text (in quotes if it looks like a number or a boolean), or null"),
    ] {
        let messages = errors(text);
        assert!(messages[0].ends_with(&format!("is not allowed; needs {range}")), "{messages:?}");
    }
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let text = "lora_rank: many\nuse_dora: true\n\nmask_history: true\ntrain_on_prompt: true\nseed: 1\nseed: 2\n";
    let error = Profile::parse("my.yaml", text, &["cutoff_len=0", "oops"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "my.yaml:1:1: `lora_rank: many` is not allowed; needs a whole number, 1 or more\n\
         my.yaml:2:1: LLaMA-Factory's key `use_dora` is not supported by Lightbox yet; remove it or set it to its default, false\n\
         my.yaml:7:1: `seed` is set twice (first in line 6); remove one\n\
         override \"cutoff_len=0\": `cutoff_len: 0` is not allowed; needs a whole number, 1 or more\n\
         override \"oops\": is not of the form key=value\n\
         my.yaml:4:1: `mask_history` and `train_on_prompt` exclude each other"
    );
    assert_eq!(error.problems[0].key.as_deref(), Some("lora_rank"));
}

#[test]
fn a_value_that_could_not_be_read_causes_no_further_errors() {
    assert_eq!(errors("do_train: true\ndataset: 1.5\nmodel_name_or_path: m\ntemplate: qwen2_vl").len(), 1);
}

#[test]
fn broken_and_hostile_yaml_is_refused_with_its_line() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\nseed: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    for (text, message) in [
        ("seed: 1\n\tbf16: true\n", "tabs"),
        ("seed: 1\nlr_scheduler_kwargs:\n\tpower: 2\n", "never tabs"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: 1\n---\nseed: 2\n", "more than one document"),
        (bomb, "repetition limit"),
        (&format!("seed: {}1{}", "[".repeat(5000), "]".repeat(5000)), "recursion limit"),
        ("seed: !shell 1", "`seed: !shell` is not allowed"),
        ("lora_rank: 99999999999999999999", "not valid YAML"),
        ("1: 2", "`1` is not a key"),
        ("? [a]\n: 1", "`[…]` is not a key"),
        ("<<: {seed: 1}", "`<<` is not a key"),
        ("output_dir: saves/${name}", "write the value itself"),
        ("42", "expected lines of the form"),
        ("run_name: \"\\e[2J\\u0007\"\nseed: \"\\e[2J\"", "`seed: \\u{1b}[2J` is not allowed"),
    ] {
        let messages = errors(text);
        assert!(messages.iter().any(|m| m.contains(message)), "{text:.60}: {messages:?}");
        assert!(messages.iter().all(|m| m.chars().all(|c| !c.is_control())), "{messages:?}");
    }
    assert!(errors("seed: 1\n\tbf16: true\n")[0].starts_with("profile:2:"));
}

#[test]
fn files_that_are_no_profiles_are_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = temp.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Profile::load::<&str>(&path, &[]).map_err(|e| e.to_string())
    };
    assert!(
        write("ok.json", br#"{"seed": 7, "bf16": true, "lr_scheduler_kwargs": {}}"#)
            .is_ok_and(|p| p.seed == 7 && p.bf16)
    );
    assert!(
        write("bom.yaml", b"\xef\xbb\xbfseed: 7\r\nbf16: true\r\n")
            .is_ok_and(|p| p.seed == 7 && p.origin("bf16") == Origin::File { line: 2 })
    );
    assert!(write("empty.yaml", b"# nothing\n").is_ok());
    assert!(
        write("latin1.yaml", b"seed: 1\nrun_name: caf\xe9\n")
            .unwrap_err()
            .contains("latin1.yaml: is not UTF-8 text (line 2)")
    );
    assert!(write("nul.yaml", b"seed: \0\n").is_err());
    assert!(write("p.txt", b"seed: 1").unwrap_err().contains("a .yaml, .yml or .json file"));
    assert!(write("big.yaml", &vec![b'#'; (128 << 10) + 1]).unwrap_err().contains("at most 131072"));
    assert!(Profile::load::<&str>(temp.path(), &[]).is_err());
    std::fs::create_dir(temp.path().join("d.yaml")).unwrap();
    assert!(
        Profile::load::<&str>(&temp.path().join("d.yaml"), &[]).unwrap_err().to_string().contains("not a regular file")
    );
    assert!(
        Profile::load::<&str>(&temp.path().join("none.yaml"), &[])
            .unwrap_err()
            .to_string()
            .contains("none.yaml: cannot be read")
    );
}

#[test]
fn overrides_win_over_the_file_and_the_last_one_over_all() {
    let text = "learning_rate: 1e-3\nseed: many\nuse_dora: true\n";
    let words = [
        "learning_rate=1e-4",
        "learning_rate=2e-4",
        "seed=7",
        "dataset=a,b",
        "max_samples=",
        "image_max_pixels=512*512",
        "save_strategy=no",
        "run_name=a=b",
    ];
    let error = Profile::parse("p.yaml", text, &words).unwrap_err();
    assert_eq!(error.problems.len(), 2, "what the file says wrong stays wrong: {error}");
    let p = Profile::parse("p.yaml", "learning_rate: 1e-3", &words).unwrap();
    assert_eq!((p.learning_rate, p.seed, p.max_samples, p.image_max_pixels), (2e-4, 7, None, 262_144));
    assert_eq!((p.dataset.len(), p.save_strategy, p.run_name.as_deref()), (2, IntervalStrategy::No, Some("a=b")));
    assert_eq!(p.origin("learning_rate"), Origin::Override);
}

#[test]
fn overrides_reach_single_parameters_of_the_schedule() {
    let text = "lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}\n";
    let p = Profile::parse("p.yaml", text, &["lr_scheduler_kwargs.num_cycles=1.5"]).unwrap();
    let kwargs = p.lr_scheduler_kwargs.unwrap();
    assert_eq!((kwargs.min_lr_rate, kwargs.num_cycles), (Some(0.1), Some(1.5)));
    assert!(with(&["lr_scheduler_kwargs.cycles=2"]).is_err());
    assert!(with(&["seed.x=2"]).is_err());
    let json = parse("lr_scheduler_type: polynomial\nlr_scheduler_kwargs: '{\"power\": 2}'").unwrap();
    assert_eq!(json.lr_scheduler_kwargs.unwrap().power, Some(2.0));
}

#[test]
fn llamafactorys_other_keys_are_accepted_at_their_defaults_and_noted_where_harmless() {
    let p = parse("use_dora: false\nquantization_bit: null\nneat_packing: no\nvllm_gpu_util: 0.70\nenable_thinking: false\nvideo_fps: 1\n").unwrap();
    assert_eq!(
        p.notes(),
        [
            "`enable_thinking` has no effect: Qwen2-VL does not think",
            "`video_fps` has no effect: videos are not supported yet"
        ]
    );
    assert!(p.to_yaml().contains("video_fps: 1"));
    for text in
        ["quantization_bit: 4", "neat_packing: true", "deepspeed: ds.json", "fp16: true", "additional_target: merger"]
    {
        assert!(errors(text)[0].contains("is not supported by Lightbox yet; remove it or set it to its default"));
    }
}

#[test]
fn samples_to_answer_are_spread_evenly_and_bounded_unless_all_are_wanted() {
    let rows = |text: &str, n| parse(&format!("val_size: 0.1\n{text}")).unwrap().rows_to_answer(n);
    assert_eq!(rows("", 100), [0usize; 0], "nothing is answered unless it is asked for");
    let on = "predict_with_generate: true\n";
    assert_eq!(rows(&format!("{on}eval_generate_samples: 4\n"), 10), [0, 2, 5, 7]);
    assert_eq!(rows(on, 1000).len(), 32);
    assert_eq!(rows(on, 5), [0, 1, 2, 3, 4]);
    assert_eq!(rows(&format!("{on}eval_generate_samples: 0\n"), 1000), (0..1000).collect::<Vec<_>>());
    assert!(rows(on, 0).is_empty());
    for n in [33, 64, 100, 12_345] {
        let rows = rows(on, n);
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]) && rows[31] < n, "{n}: {rows:?}");
    }
    assert!(errors("predict_with_generate: true\n")[0].contains("needs samples to answer"));
    assert!(errors("val_size: 0.1\npredict_with_generate: perhaps\n")[0].contains("predict_with_generate"));
    for wrong in ["-1", "0.5", "null", "many"] {
        let told = errors(&format!("eval_generate_samples: {wrong}\n"));
        assert!(told[0].contains("eval_generate_samples"), "{wrong}: {told:?}");
    }
}

#[test]
fn combinations_that_llamafactory_refuses_are_refused() {
    for (text, message) in [
        ("do_train: true\nmodel_name_or_path: m\ntemplate: qwen2_vl", "`do_train` needs `dataset`"),
        ("do_train: true\ndataset: a\ntemplate: qwen2_vl", "needs `model_name_or_path`"),
        ("do_train: true\ndataset: a\nmodel_name_or_path: m", "`template: qwen2_vl` is missing"),
        ("do_eval: true", "`do_eval` needs data"),
        ("eval_strategy: steps", "`eval_strategy` needs data"),
        ("eval_on_start: true", "`eval_on_start` needs"),
        ("eval_dataset: a\nval_size: 0.1", "exclude each other"),
        ("val_size: 1", "share below 1 or a whole number above 1"),
        ("val_size: 2.5", "share below 1 or a whole number above 1"),
        ("mask_history: true\ntrain_on_prompt: true", "exclude each other"),
        ("packing: true", "`packing: true` is not supported"),
        ("ignore_pad_token_for_loss: false", "would train on padding"),
        ("stage: vision", "`stage: vision` trains whole weights"),
        ("streaming: true", "`streaming` needs `max_steps`"),
        ("streaming: true\nmax_steps: 5\nmax_samples: 9", "`streaming` and `max_samples` exclude each other"),
        ("streaming: true\nmax_steps: 5\nval_size: 0.1", "`val_size` must be a whole number"),
        ("image_max_pixels: 100", "must not be larger"),
        ("adapter_name_or_path: a\nfinetuning_type: full", "needs `finetuning_type: lora`"),
        ("lora_target: null", "names no module"),
        ("freeze_language_model: true", "nothing is left to train"),
        ("pure_bf16: true\nbf16: true", "exclude each other"),
        ("use_cpu: true\ndevice: cuda:0", "contradict"),
        ("logging_steps: 2.5", "`logging_steps` must be a share below 1 or a whole number"),
        ("warmup_steps: 1.5", "`warmup_steps` must be a share below 1 or a whole number"),
        ("max_steps: 0", "would train nothing"),
        ("lr_scheduler_type: cosine_with_min_lr", "needs `min_lr` or `min_lr_rate`"),
        ("lr_scheduler_kwargs: {power: 2}", "has no parameter `power`"),
        ("dataset: a,b\ninterleave_probs: 0.9,0.1", "`interleave_probs` needs `mix_strategy:"),
        ("dataset: a\nmix_strategy: interleave_over\ninterleave_probs: 0.9,0.1", "one share for each name"),
    ] {
        let messages = errors(text);
        assert_eq!(messages.len(), 1, "{text}: {messages:?}");
        assert!(messages[0].contains(message), "{text}: {messages:?}");
    }
    for text in [
        "val_size: 0.1\ndo_eval: true",
        "val_size: 100",
        "dataset: a,b\nmix_strategy: interleave_once\ninterleave_probs: 0.9,0.1",
        "dataset: a,b\nmix_strategy: interleave_under\ninterleave_probs: [0.9, 0.1]",
        "freeze_language_model: true\nfreeze_vision_tower: false",
        "save_steps: 0.1\nwarmup_ratio: 0.03",
    ] {
        parse(text).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn secrets_are_neither_shown_nor_written() {
    let p = parse("hf_hub_token: hf_abc\nseed: 3").unwrap();
    assert_eq!(p.hf_hub_token.as_ref().map(Secret::expose), Some("hf_abc"));
    assert_eq!(p.to_yaml(), "seed: 3\n");
    assert!(!format!("{p:?}").contains("hf_abc"));
}

#[test]
fn written_profiles_quote_what_yaml_1_1_would_misread() {
    let p = with(&[
        "save_strategy=no",
        "learning_rate=5e-5",
        "run_name='010'",
        "default_system=''",
        "media_dir='on'",
        "num_train_epochs=3",
        "eval_dataset=[yes]",
    ])
    .unwrap();
    let yaml = p.to_yaml();
    for line in [
        "save_strategy: 'no'",
        "learning_rate: 5e-05",
        "run_name: '010'",
        "default_system: ''",
        "media_dir: 'on'",
        "num_train_epochs: 3.0",
        "eval_dataset: 'yes'",
    ] {
        assert!(yaml.lines().any(|l| l == line), "no line {line:?} in\n{yaml}");
    }
}

#[test]
fn the_tutorials_profile_survives_being_written() {
    let p = parse(TUTORIAL).unwrap();
    let again = parse(&p.to_yaml()).unwrap();
    assert_eq!(settings(&again), settings(&p));
    assert_eq!(again.to_yaml(), p.to_yaml());
}

proptest! {
    #[test]
    fn profiles_read_back_as_they_were_written(
        learning_rate in 1e-12f64..1.0,
        seed: u64,
        max_steps in 1i64..,
        run_name in "\\PC{0,20}",
        // Names end at commas, and blanks around them (any script's) do not belong to them.
        dataset in prop::collection::vec("[^\\pC\\pZ,]([^\\pC,]{0,8}[^\\pC\\pZ,])?", 0..4),
        default_system in prop::option::of("(?s).{0,40}"),
        lora_alpha: Option<u64>,
        power in prop::option::of(0.0f64..9.0),
    ) {
        // OmegaConf's interpolation, refused by the reader.
        prop_assume!(!dataset.iter().chain(&default_system).chain([&run_name]).any(|s| s.contains("${")));
        let p = Profile {
            learning_rate, seed, max_steps, lora_alpha, dataset, default_system,
            run_name: Some(run_name),
            lr_scheduler_type: SchedulerType::Polynomial,
            lr_scheduler_kwargs: Some(crate::runs::schedule::SchedulerKwargs { power, lr_end: Some(0.0), ..Default::default() }),
            ..Profile::default()
        };
        let yaml = p.to_yaml();
        let again = parse(&yaml).map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}")))?;
        prop_assert_eq!(settings(&again), settings(&p), "{}", yaml);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,200}", word in "(?s).{0,40}") {
        let _ = Profile::parse("p.yaml", &text, &[&word]);
        let _ = Profile::parse("p.yaml", &format!("lora_rank: {text}"), &[format!("seed={word}")]);
    }
}
