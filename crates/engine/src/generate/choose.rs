//! Which token comes next: transformers' processors in transformers' order (generation/utils.py `_get_logits_processor`,
//! v5.17: repetition penalty, temperature, top-k, top-p, min-p), then the most likely one or a draw.
//!
//! A draw is a pure function of (seed, how many tokens the row has said): no generator is kept, so a row answers the same
//! whatever the rows beside it do, and at the same probabilities on every device.
//!
//! b rows · v vocabulary

use super::Options;
use lightbox_core::generation::Generation;
use lightbox_core::seed;
use tch::{Kind, Tensor};

/// A row that waits for its next token.
pub(super) struct Chooser<'a> {
    pub options: &'a Options,
    /// `[1, v]` bool, on the model's device: the ids of prompt and answer. `None`: there is no penalty on them.
    seen: Option<Tensor>,
}

impl<'a> Chooser<'a> {
    /// `ids`: the prompt. `vocabulary`: how many logits there are.
    pub fn new(options: &'a Options, ids: &[i64], vocabulary: i64, device: tch::Device) -> Self {
        let penalised = options.generation.repetition_penalty != 1.0;
        let seen = penalised.then(|| marks(&Tensor::from_slice(ids).view([1, -1]).to_device(device), vocabulary));
        Self { options, seen }
    }

    /// The row has said `id`.
    pub fn said(&mut self, id: i64) {
        if let Some(seen) = &self.seen {
            let _ = seen.narrow(1, id, 1).fill_(1);
        }
    }
}

/// Which ids occur: [b, s] i64 → [b, v] bool
fn marks(ids: &Tensor, vocabulary: i64) -> Tensor {
    let none = Tensor::zeros([ids.size()[0], vocabulary], (Kind::Bool, ids.device()));
    none.scatter_value(1, ids, 1)
}

/// The next token of every row; `step`: how many tokens each has said.
///
/// # Shape
/// logits [b, v] → [b] i64
pub(super) fn choose(logits: &Tensor, rows: &[&Chooser], step: usize) -> Tensor {
    let logits = logits.to_kind(Kind::Float);
    // Rows with one way of choosing go together; nearly always that is all of them.
    let same = |a: &Options, b: &Options| {
        let seedless =
            |o: &Options| Generation { seed: 0, stop: Vec::new(), max_new_tokens: 0, ..o.generation.clone() };
        seedless(a) == seedless(b) && a.vocab_limit == b.vocab_limit
    };
    let mut next: Vec<(usize, Tensor)> = Vec::with_capacity(rows.len());
    let mut start = 0;
    while start < rows.len() {
        let mut end = start + 1;
        while end < rows.len() && same(rows[start].options, rows[end].options) {
            end += 1;
        }
        let (from, n) = (start as i64, (end - start) as i64);
        next.push((start, choose_alike(&logits.narrow(0, from, n), &rows[start..end], step)));
        start = end;
    }
    let next: Vec<Tensor> = next.into_iter().map(|(_, ids)| ids).collect();
    Tensor::cat(&next, 0)
}

/// The same for rows that differ in nothing but their seeds.
fn choose_alike(scores: &Tensor, rows: &[&Chooser], step: usize) -> Tensor {
    let (options, o) = (rows[0].options, &rows[0].options.generation);
    let mut scores = scores.shallow_clone();
    let seen: Vec<&Tensor> = rows.iter().filter_map(|row| row.seen.as_ref()).collect();
    if !seen.is_empty() {
        scores = repetition_penalty(&scores, &Tensor::cat(&seen, 0), o.repetition_penalty);
    }
    if let Some(limit) = options.vocab_limit.filter(|l| *l < scores.size()[1]) {
        scores = scores.narrow(1, 0, limit);
    }
    if !o.do_sample {
        return scores.argmax(-1, false);
    }
    let draws: Vec<f64> = rows.iter().map(|row| uniform(row.options.generation.seed, step)).collect();
    draw(&probabilities(&scores, o), &Tensor::from_slice(&draws).view([-1, 1]))
}

/// What is drawn from: temperature, top-k, top-p, min-p, softmax. [b, v] fp32 → [b, v] fp32
fn probabilities(scores: &Tensor, o: &Generation) -> Tensor {
    let mut scores = scores.shallow_clone();
    if o.temperature != 1.0 {
        scores = &scores / o.temperature; // not in place: the scores may be the caller's
    }
    if o.top_k > 0 {
        scores = top_k(&scores, o.top_k);
    }
    if o.top_p < 1.0 {
        scores = top_p(&scores, o.top_p);
    }
    if o.min_p > 0.0 {
        scores = min_p(&scores, o.min_p);
    }
    scores.softmax(-1, Kind::Float)
}

/// In [0, 1).
fn uniform(seed: u64, step: usize) -> f64 {
    // 53 bits: as many as a f64 holds.
    (seed::at(seed, "draw", &[step as u64]) >> 11) as f64 / (1u64 << 53) as f64
}

/// The first token whose probability, added to those before it, exceeds the row's draw.
///
/// # Shape
/// probabilities [b, v], draws [b, 1] f64 in [0, 1) → [b] i64
fn draw(probabilities: &Tensor, draws: &Tensor) -> Tensor {
    // f64: 150,000 sums in fp32 would lose what an unlikely token has.
    let sums = probabilities.cumsum(-1, Kind::Double);
    let last = sums.size()[1] - 1;
    let draws = draws.to_device(sums.device()) * sums.narrow(1, last, 1);
    let before = sums.le_tensor(&draws).sum_dim_intlist(&[-1i64][..], false, Kind::Int64); // [b]
    before.clamp_max(last)
}

/// Every id seen so far, in prompt and answer, once: s < 0 ? s·p : s/p.
fn repetition_penalty(scores: &Tensor, seen: &Tensor, penalty: f64) -> Tensor {
    let penalised = (scores * penalty).where_self(&scores.lt(0.0), &(scores / penalty));
    penalised.where_self(seen, scores)
}

/// Drops what is below the k-th score; ties stay.
fn top_k(scores: &Tensor, k: usize) -> Tensor {
    let k = (k as i64).min(scores.size()[1]);
    let (top, _) = scores.topk(k, -1, true, true);
    let threshold = top.narrow(-1, k - 1, 1);
    scores.masked_fill(&scores.less_tensor(&threshold), f64::NEG_INFINITY)
}

/// Keeps the smallest set of tokens whose probability exceeds p; at least one stays.
fn top_p(scores: &Tensor, p: f64) -> Tensor {
    let (sorted, order) = scores.sort(-1, false);
    let cumulative = sorted.softmax(-1, Kind::Float).cumsum(-1, Kind::Float);
    let drop = cumulative.le(1.0 - p);
    let last = drop.size()[1] - 1;
    let _ = drop.narrow(1, last, 1).fill_(0);
    scores.masked_fill(&drop.scatter(1, &order, &drop), f64::NEG_INFINITY)
}

/// Drops what is less likely than p times the most likely token, which stays.
fn min_p(scores: &Tensor, p: f64) -> Tensor {
    let probabilities = scores.softmax(-1, Kind::Float);
    let best = probabilities.amax([-1i64], true);
    scores.masked_fill(&probabilities.less_tensor(&(best * p)), f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;

    fn golden(file: &str) -> impl Fn(&str) -> Tensor {
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tables").join(file);
        let weights = Weights::open_files(&[path]).unwrap();
        move |name| weights.get_any(name).unwrap()
    }

    /// tests/golden/tables/logits_processors.safetensors and min_p.safetensors, made by transformers' own processors.
    #[test]
    fn penalties_and_limits_are_those_of_transformers() {
        let get = golden("logits_processors.safetensors");
        let (scores, seen) = (get("scores"), get("input_ids"));
        let same = |ours: &Tensor, name: &str| assert!(ours.equal(&get(name)), "{name}");

        let x = repetition_penalty(&scores, &marks(&seen, scores.size()[1]), 1.3);
        same(&x, "rep1.3");
        let x = x / 0.7;
        same(&x, "rep1.3_temp0.7");
        let x = top_k(&x, 10);
        same(&x, "rep1.3_temp0.7_topk10");
        let x = top_p(&x, 0.8);
        same(&x, "rep1.3_temp0.7_topk10_topp0.8");
        same(&x.softmax(-1, Kind::Float), "probs");
        same(&top_p(&scores, 0.5), "topp0.5_only");
        same(&top_p(&scores, 0.001), "topp0.001_only");
        same(&top_k(&scores, 1), "topk1_only");
        same(&top_k(&get("ties"), 1), "ties_topk1");
        same(&top_p(&get("ties"), 0.3), "ties_topp0.3");
    }

    fn sampling(temperature: f64, top_k: usize, top_p: f64, min_p: f64) -> Generation {
        Generation { do_sample: true, temperature, top_k, top_p, min_p, ..Generation::greedy(1) }
    }

    #[test]
    fn all_steps_together_are_in_transformers_order() {
        let (get, min) = (golden("logits_processors.safetensors"), golden("min_p.safetensors"));
        let scores = get("scores");
        let same = |ours: &Tensor, name: &str| assert!(ours.equal(&min(name)), "{name}");
        same(&min_p(&scores, 0.1), "minp0.1_only");
        same(&min_p(&get("ties"), 1.0), "ties_minp1");
        same(&probabilities(&scores, &sampling(1.7, 30, 0.95, 0.05)), "temp1.7_topk30_topp0.95_minp0.05.probs");
        same(&probabilities(&scores, &sampling(0.5, 0, 1.0, 0.2)), "temp0.5_minp0.2.probs");
    }

    /// Chi-square of 40,000 draws against transformers' probabilities: a wrong order, a token that is never drawn or an edge
    /// that is off by one is far beyond the bound.
    #[test]
    fn draws_have_the_probabilities_that_transformers_computes() {
        let (get, min) = (golden("logits_processors.safetensors"), golden("min_p.safetensors"));
        let expected =
            Vec::<f64>::try_from(min("temp1.7_topk30_topp0.95_minp0.05.probs").get(1).to_kind(Kind::Double)).unwrap();
        let scores = get("scores").narrow(0, 1, 1);
        let seed: u64 = std::env::var("LIGHTBOX_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(2026);
        println!("seed {seed}; LIGHTBOX_TEST_SEED chooses another");
        let n = 40_000;
        let p = probabilities(&scores, &sampling(1.7, 30, 0.95, 0.05));
        let mut counts = vec![0u32; expected.len()];
        // Both ways of being another draw: another seed and another step.
        for chunk in 0..n / 1000 {
            let draws: Vec<f64> = (0..1000).map(|i| uniform(seed + chunk, i)).collect();
            let ids = draw(&p.expand([1000, -1], false), &Tensor::from_slice(&draws).view([-1, 1]));
            Vec::<i64>::try_from(ids).unwrap().into_iter().for_each(|id| counts[id as usize] += 1);
        }
        let (mut chi2, mut cells) = (0.0, 0);
        for (p, count) in expected.iter().zip(&counts) {
            if *p == 0.0 {
                assert_eq!(*count, 0, "a token was drawn that cannot be");
            } else {
                let wanted = p * n as f64;
                assert!(wanted > 5.0, "too rare a token for this test");
                chi2 += (f64::from(*count) - wanted).powi(2) / wanted;
                cells += 1;
            }
        }
        // Mean cells - 1, standard deviation √2(cells - 1): six of them are one seed in a hundred million.
        let freedom = f64::from(cells - 1);
        assert!(cells > 5 && chi2 < freedom + 6.0 * (2.0 * freedom).sqrt(), "chi-square {chi2} over {cells} tokens");
    }

    #[test]
    fn a_row_draws_the_same_whatever_is_beside_it() {
        let scores = golden("logits_processors.safetensors")("scores");
        let rows: Vec<Options> = (0..scores.size()[0] as u64)
            .map(|i| Options {
                generation: Generation {
                    seed: i % 3,
                    repetition_penalty: 1.0 + (i % 2) as f64,
                    ..sampling(1.5, 0, 0.9, 0.0)
                },
                eos: vec![],
                vocab_limit: None,
            })
            .collect();
        let choosers: Vec<Chooser> =
            rows.iter().map(|o| Chooser::new(o, &[1, 2, 3], scores.size()[1], tch::Device::Cpu)).collect();
        let together = choose(&scores, &choosers.iter().collect::<Vec<_>>(), 4);
        for (i, chooser) in choosers.iter().enumerate() {
            let alone = choose(&scores.narrow(0, i as i64, 1), &[chooser], 4);
            assert_eq!(alone.int64_value(&[0]), together.int64_value(&[i as i64]), "row {i}");
        }
        assert!(choosers.len() > 1);
    }

    #[test]
    fn the_ends_of_the_scale_draw_a_token_that_can_be() {
        let p = Tensor::from_slice(&[0.0f32, 0.25, 0.0, 0.75, 0.0]).view([1, -1]);
        let at = |u: f64| draw(&p, &Tensor::from_slice(&[u]).view([1, 1])).int64_value(&[0]);
        assert_eq!([at(0.0), at(0.2499), at(0.25), at(1.0 - f64::EPSILON / 2.0)], [1, 1, 3, 3]);
    }
}
