//! A resumed run makes some updates again: those between the checkpoint and the crash. Here they are compared with what
//! the log says of the first time, so that every resume tests the promise that it is exact.

use super::super::record::{Event, Metric, Step};
use super::super::{RunDir, log};
use std::collections::BTreeMap;
use std::io;

/// The old log's updates behind the checkpoint.
#[derive(Debug, Default)]
pub struct Verify {
    from_step: u64,
    old: BTreeMap<u64, Step>,
    compared: u64,
    first_diff: Option<u64>,
    max_rel_diff: f64,
}

impl Verify {
    /// What was logged behind `from_step`; the newest attempt's word counts. To be read before this attempt logs.
    pub fn read(dir: &RunDir, from_step: u64) -> io::Result<Self> {
        let path = dir.join(RunDir::METRICS);
        if !path.exists() {
            return Ok(Self::default());
        }
        let lines = log::read::<Metric>(&path)?.lines;
        let steps = lines.into_iter().filter_map(|line| match line.record {
            Metric::Step(step) if step.step > from_step => Some((step.step, step)),
            _ => None,
        });
        Ok(Self { from_step, old: steps.collect(), ..Self::default() })
    }

    /// Compares update `new` with the old one. The verdict, once the last old one is reached.
    pub fn compare(&mut self, new: &Step) -> Option<Event> {
        let old = self.old.remove(&new.step)?;
        self.compared += 1;
        let same = old.loss_bits == new.loss_bits
            && old.samples_hash == new.samples_hash
            && old.grad_norm.map(f64::to_bits) == new.grad_norm.map(f64::to_bits);
        if !same {
            self.first_diff.get_or_insert(new.step);
        }
        if let (Some(a), Some(b)) = (old.loss, new.loss) {
            self.max_rel_diff = self.max_rel_diff.max((a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE));
        }
        // An old attempt may have gaps (dropped records); what is left behind this step decides.
        self.old.range(new.step..).next().is_none().then(|| Event::ResumeVerified {
            from_step: self.from_step,
            steps: self.compared,
            exact: self.first_diff.is_none(),
            first_diff: self.first_diff,
            max_rel_diff: self.max_rel_diff,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: f32) -> Step {
        Step { samples_hash: "a".into(), ..Step::new(step, loss, 1.0) }
    }

    fn verify(old: &[Step]) -> Verify {
        Verify { from_step: 10, old: old.iter().map(|s| (s.step, s.clone())).collect(), ..Verify::default() }
    }

    #[test]
    fn equal_updates_are_exact_and_told_at_the_last_one() {
        let mut v = verify(&[step(11, 1.5), step(12, 1.25)]);
        assert_eq!(v.compare(&step(11, 1.5)), None);
        let event = v.compare(&step(12, 1.25));
        assert_eq!(
            event,
            Some(Event::ResumeVerified { from_step: 10, steps: 2, exact: true, first_diff: None, max_rel_diff: 0.0 })
        );
        assert_eq!(v.compare(&step(13, 1.0)), None);
    }

    #[test]
    fn the_first_difference_is_named_be_it_a_bit_or_a_sample() {
        let mut v = verify(&[step(11, 1.5), step(12, 1.25)]);
        v.compare(&Step { samples_hash: "b".into(), ..step(11, 1.5) });
        let Some(Event::ResumeVerified { exact, first_diff, max_rel_diff, .. }) =
            v.compare(&step(12, 1.25f32.next_up()))
        else {
            panic!("no verdict")
        };
        assert_eq!((exact, first_diff), (false, Some(11)));
        assert!(max_rel_diff > 0.0 && max_rel_diff < 1e-6);
    }
}
