//! The shim on the CPU: the numbers against formulas written out in fp64, and every failure as an `Err`.
use tch::{Device, Kind, TchError, Tensor};
use torch_shim::optim::{AdamW, Group, clip_grad_norm};
use torch_shim::{autograd, cuda};

/// Tensors of several shapes with fixed, irregular values in about [-1, 1].
fn sample(salt: f64) -> Vec<Tensor> {
    [vec![3, 4], vec![7], vec![2, 1, 5]]
        .iter()
        .map(|shape: &Vec<i64>| {
            let n: i64 = shape.iter().product();
            (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 1.7 + salt).sin().to_kind(Kind::Float).reshape(shape)
        })
        .collect()
}

fn values(tensors: &[Tensor]) -> Vec<f32> {
    tensors.iter().flat_map(|t| Vec::<f32>::try_from(t.detach().flatten(0, -1)).unwrap()).collect()
}

/// AdamW as its paper writes it (Loshchilov and Hutter, 2019, algorithm 2), in fp64.
fn adamw_formula(options: &AdamW, params: &[f32], grads_of_step: impl Fn(u64) -> Vec<f32>, steps: u64) -> Vec<f64> {
    let mut p: Vec<f64> = params.iter().map(|x| f64::from(*x)).collect();
    let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    for t in 1..=steps {
        let correction = |beta: f64| 1.0 - beta.powi(t as i32);
        for (i, g) in grads_of_step(t).into_iter().map(f64::from).enumerate() {
            m[i] = options.beta1 * m[i] + (1.0 - options.beta1) * g;
            v[i] = options.beta2 * v[i] + (1.0 - options.beta2) * g * g;
            let (m_hat, v_hat) = (m[i] / correction(options.beta1), v[i] / correction(options.beta2));
            p[i] -= options.lr * (m_hat / (v_hat.sqrt() + options.eps) + options.weight_decay * p[i]);
        }
    }
    p
}

#[test]
fn adamw_fused_and_not_follow_the_formula_over_three_steps() {
    for fused in [false, true] {
        let options = AdamW { lr: 1e-2, weight_decay: 0.1, fused, ..AdamW::default() };
        // Parameters that require gradients: an update inside autograd would be refused by libtorch.
        let params: Vec<_> = sample(0.3).into_iter().map(|t| t.set_requires_grad(true)).collect();
        let want = adamw_formula(&options, &values(&params), |t| values(&sample(t as f64)), 3);
        let zeros = || params.iter().map(|p| p.detach().zeros_like()).collect::<Vec<_>>();
        let (exp_avgs, exp_avg_sqs) = (zeros(), zeros());
        for t in 1..=3 {
            let grads = sample(t as f64);
            let group = Group { params: &params, grads: &grads, exp_avgs: &exp_avgs, exp_avg_sqs: &exp_avg_sqs };
            options.step(&group, t).unwrap();
        }
        for (i, (got, want)) in values(&params).iter().zip(&want).enumerate() {
            assert!((f64::from(*got) - want).abs() < 2e-7, "fused {fused}, value {i}: {got} instead of {want}");
        }
    }
}

/// The bits that torch.optim.AdamW 2.11.0 gives: printed by `adamw_golden.py` beside this file.
const GOLDEN_PARAMS: [u32; 11] = [
    0xbf574802, 0x3ea5dcd9, 0xbf01bcc8, 0x3f1a1b94, 0xbe6a0b1d, 0x3f6f76ac, 0x3dc3a575, 0xbf3ba450, 0x3ed6c8a2,
    0xbee9674f, 0x3f355fa4,
];
const GOLDEN_LAST_NORM: u32 = 0x3ffff000;

/// `values()` of `adamw_golden.py`.
fn golden_input(multiplier: i64, offset: i64) -> Vec<Tensor> {
    let all: Vec<f32> = (0..11).map(|k| ((k * multiplier + offset) % 64 - 32) as f32 / 32.0).collect();
    vec![Tensor::from_slice(&all[..6]).reshape([2, 3]), Tensor::from_slice(&all[6..])]
}

#[test]
fn clipping_and_adamw_are_bit_equal_to_pytorch() {
    for fused in [false, true] {
        let options = AdamW { lr: 1e-2, weight_decay: 0.1, fused, ..AdamW::default() };
        let params = golden_input(37, 5);
        let zeros = || params.iter().map(Tensor::zeros_like).collect::<Vec<_>>();
        let (exp_avgs, exp_avg_sqs) = (zeros(), zeros());
        let mut norm = 0.0;
        for step in 1..=3 {
            let grads = golden_input(53, 29 * step as i64);
            norm = clip_grad_norm(&grads, 0.7).unwrap().double_value(&[]) as f32;
            let group = Group { params: &params, grads: &grads, exp_avgs: &exp_avgs, exp_avg_sqs: &exp_avg_sqs };
            options.step(&group, step).unwrap();
        }
        let bits: Vec<u32> = values(&params).iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, GOLDEN_PARAMS, "fused: {fused}");
        assert_eq!(norm.to_bits(), GOLDEN_LAST_NORM);
    }
}

#[test]
fn adamw_refuses_step_zero_and_lists_that_do_not_match() {
    let (params, grads) = (sample(0.0), sample(0.0));
    let group = |n| Group { params: &params, grads: &grads[..n], exp_avgs: &params, exp_avg_sqs: &params };
    assert!(matches!(AdamW::default().step(&group(2), 1), Err(TchError::Shape(_))));
    assert!(matches!(AdamW::default().step(&group(3), 0), Err(TchError::Torch(_))));
}

#[test]
fn clipping_scales_large_gradients_to_the_norm_and_leaves_small_ones_as_they_are() {
    let norm_of = |t: &[Tensor]| values(t).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let grads = sample(0.5);
    let before = values(&grads);
    let norm = norm_of(&grads);

    let reported = clip_grad_norm(&grads, norm * 2.0).unwrap();
    assert!((reported.double_value(&[]) - norm).abs() < 1e-6);
    assert_eq!(values(&grads), before, "below the limit not a bit may change");

    let _norm_before = clip_grad_norm(&grads, norm / 3.0).unwrap();
    assert!((norm_of(&grads) - norm / 3.0).abs() < 1e-6);
    let ratio = values(&grads)[5] / before[5];
    assert!((f64::from(ratio) - 1.0 / 3.0).abs() < 1e-6, "the direction stays");
}

#[test]
fn backward_starts_from_the_given_gradient() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0]).set_requires_grad(true);
    let y = &x * &x;
    autograd::backward(&[&y], &[Tensor::from_slice(&[10.0f32, 0.0, -1.0])], false).unwrap();
    assert_eq!(Vec::<f32>::try_from(x.grad()).unwrap(), [20.0, 0.0, -6.0]);
}

#[test]
fn a_segment_recomputed_by_hand_gives_the_gradients_of_plain_autograd() {
    let weight = sample(0.7).remove(0).set_requires_grad(true); // [3, 4]
    let segment = |h: &Tensor| h.matmul(&weight).gelu("none");
    let input = || sample(0.2).remove(0).tr().contiguous().set_requires_grad(true); // [4, 3]
    let loss = |h: &Tensor| h.square().sum(Kind::Float);

    let plain = input();
    loss(&segment(&plain)).backward();
    let want = (values(&[plain.grad()]), values(&[weight.grad()]));
    autograd::set_grad(&weight, None).unwrap();
    assert!(!weight.grad().defined());

    let kept = input();
    let out = tch::no_grad(|| segment(&kept)).set_requires_grad(true);
    loss(&out).backward();
    autograd::backward(&[segment(&kept)], &[out.grad()], false).unwrap();
    assert_eq!((values(&[kept.grad()]), values(&[weight.grad()])), want);
}

#[test]
fn grad_returns_none_for_an_unused_input_and_leaves_dot_grad_alone() {
    let x = Tensor::from_slice(&[2.0f32]).set_requires_grad(true);
    let unused = Tensor::from_slice(&[5.0f32]).set_requires_grad(true);
    let y = x.pow_tensor_scalar(3);
    let grads = autograd::grad(&[&y], &[y.ones_like()], &[&x, &unused], false).unwrap();
    assert_eq!(grads[0].as_ref().map(|g| g.double_value(&[0])), Some(12.0));
    assert!(grads[1].is_none());
    assert!(!x.grad().defined());
}

#[test]
fn errors_of_libtorch_come_back_short_and_in_words() {
    let x = Tensor::from_slice(&[1.0f32, 2.0]).set_requires_grad(true);
    let error = autograd::backward(&[&x * 2.0], &[Tensor::from_slice(&[1.0f32])], false).unwrap_err().to_string();
    assert!(error.contains("shape") && !error.contains("Exception raised from"), "{error}");
    let error = autograd::backward(&[&x], &[] as &[Tensor], false).unwrap_err().to_string();
    assert!(error.contains("[1, 0]"), "{error}");

    let from_tch = x.f_matmul(&Tensor::ones([3, 3], (Kind::Float, Device::Cpu))).unwrap_err().to_string();
    let brief = torch_shim::without_backtrace(&from_tch);
    assert!(brief.contains("cannot be multiplied") && !brief.contains("frame #"), "{brief}");
}

#[test]
fn without_a_gpu_every_cuda_call_is_an_error_and_loading_says_why() {
    let loaded = cuda::load();
    assert_eq!(cuda::load(), loaded, "the first answer stays");
    if tch::Cuda::is_available() {
        let _on_gpu = Tensor::ones([1 << 20], (Kind::Float, Device::Cuda(0)));
        cuda::synchronize(0).unwrap();
        let stats = cuda::memory_stats(0).unwrap();
        assert!(stats.allocated >= 4 << 20 && stats.allocated_peak >= stats.allocated, "{stats:?}");
        assert!(stats.total >= stats.free && stats.free > 0, "{stats:?}");
        return;
    }
    if let Err(reason) = loaded {
        assert!(reason.to_string().contains(".so"), "{reason}");
    }
    for result in
        [cuda::memory_stats(0).map(drop), cuda::reset_peak_memory(0), cuda::empty_cache(), cuda::synchronize(0)]
    {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("no CUDA device"), "{error}");
    }
    assert!(cuda::memory_stats(1000).unwrap_err().to_string().contains("1000"));
}

#[test]
fn deterministic_mode_refuses_an_operation_without_a_deterministic_kernel() {
    let scatter = || {
        let index = Tensor::from_slice(&[0i64, 0]);
        Tensor::zeros([4], (Kind::Float, Device::Cpu)).f_put_(&index, &Tensor::from_slice(&[1.0f32, 2.0]), false)
    };
    assert!(scatter().is_ok());
    // SAFETY: other tests of this process neither read nor write the environment.
    unsafe { torch_shim::set_deterministic(true) }.unwrap();
    let error = scatter().unwrap_err().to_string();
    assert!(error.contains("deterministic"), "{error}");
    unsafe { torch_shim::set_deterministic(false) }.unwrap();
    assert!(scatter().is_ok());
}

#[test]
fn precision_switches_reach_libtorch() {
    for allow in [true, false] {
        torch_shim::set_tf32(allow).unwrap();
        torch_shim::set_bf16_reduction(allow).unwrap();
        assert_eq!((torch_shim::tf32(), torch_shim::bf16_reduction()), (allow, allow));
    }
}
