//! How many facts a model told right about head phantoms.

use super::phantom::Lesion;
use super::report::Facts;

/// A fact that an answer can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    Lesion,
    Side,
    Level,
    Size,
    Density,
}

impl Fact {
    pub const ALL: [Self; 5] = [Self::Lesion, Self::Side, Self::Level, Self::Size, Self::Density];

    /// Key in JSON reports.
    pub fn key(self) -> &'static str {
        match self {
            Self::Lesion => "lesion",
            Self::Side => "side",
            Self::Level => "level",
            Self::Size => "size",
            Self::Density => "density",
        }
    }
}

/// `right` of `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub right: usize,
    pub total: usize,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.total += 1;
    }

    /// Share in 0..=1; 0 when nothing was counted.
    pub fn rate(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.right as f64 / self.total as f64 }
    }
}

impl std::ops::Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { right: self.right + other.right, total: self.total + other.total }
    }
}

/// Counts over a held-out set. Presence counts for every phantom; side, level, size and density for those that have a
/// lesion, where a missed lesion is wrong in all four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    facts: [Count; Fact::ALL.len()],
    /// Phantoms of which every fact was told right.
    pub all: Count,
}

impl Score {
    pub fn add(&mut self, truth: Option<Lesion>, said: Facts) {
        let truth = Facts::from(truth);
        let right = [
            truth.lesion == said.lesion,
            truth.side == said.side,
            truth.level == said.level,
            truth.size == said.size,
            truth.density == said.density,
        ];
        let told = if truth.lesion == Some(true) { right.len() } else { 1 };
        for (count, &right) in self.facts.iter_mut().zip(&right[..told]) {
            count.add(right);
        }
        self.all.add(truth == said);
    }

    pub fn fact(&self, fact: Fact) -> Count {
        self.facts[fact as usize]
    }

    /// All facts of all phantoms together: the demo's one number.
    pub fn accuracy(&self) -> Count {
        self.facts.iter().fold(Count::default(), |sum, &count| sum + count)
    }
}

impl std::ops::Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { facts: std::array::from_fn(|i| self.facts[i] + other.facts[i]), all: self.all + other.all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::words::{Density, Level, Side, Size};

    const LESION: Lesion =
        Lesion { side: Side::Left, level: Level::Upper, size: Size::Small, density: Density::Increased };

    #[test]
    fn a_perfect_answer_scores_everything() {
        let mut score = Score::default();
        score.add(Some(LESION), Facts::from(Some(LESION)));
        score.add(None, Facts::from(None));
        assert_eq!(score.accuracy(), Count { right: 6, total: 6 });
        assert_eq!(score.all, Count { right: 2, total: 2 });
        assert_eq!(score.fact(Fact::Side), Count { right: 1, total: 1 }, "a phantom without a lesion has no side");
    }

    #[test]
    fn a_missed_lesion_is_wrong_in_every_fact() {
        let mut score = Score::default();
        score.add(Some(LESION), Facts::from(None));
        assert_eq!(score.accuracy(), Count { right: 0, total: 5 });
    }

    #[test]
    fn saying_nothing_is_wrong() {
        let mut score = Score::default();
        score.add(None, Facts::default());
        score.add(Some(LESION), Facts::default());
        assert_eq!((score.accuracy(), score.all.right), (Count { right: 0, total: 6 }, 0));
    }

    #[test]
    fn one_wrong_fact_spoils_only_itself_and_the_whole() {
        let mut score = Score::default();
        score.add(Some(LESION), Facts { size: Some(Size::Large), ..Facts::from(Some(LESION)) });
        assert_eq!(
            (score.accuracy(), score.fact(Fact::Size).right, score.all.right),
            (Count { right: 4, total: 5 }, 0, 0)
        );
        let twice = score + score;
        assert_eq!(twice.accuracy(), Count { right: 8, total: 10 });
        assert_eq!(Score::default().accuracy().rate(), 0.0);
    }
}
