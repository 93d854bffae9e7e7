//! Parts of a data set: which rows belong together, and which part each group goes to.
//!
//! Nothing here depends on the order of the rows. A group is known by its key; what is drawn for it is a hash of the key and
//! the seed; and groups are dealt out by size, then by what was drawn. Large groups come first, each into a part that has room
//! for it, by lot in proportion to the room; so a large group is as likely in `test` as its share says, and the small ones that
//! come last fill all parts to their shares.

use super::near::{Look, Looks};
use super::twins::{Key, Twins};
use crate::fs::safe_file_name;
use anyhow::{Result, anyhow, bail, ensure};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Parts and their shares of the rows: `train=0.9,val=0.05,test=0.05`.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub parts: Vec<(String, f64)>,
}

impl std::str::FromStr for Split {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let (name, share) =
                part.split_once('=').ok_or_else(|| anyhow!("\"{part}\" is no part; write train=0.9,test=0.1"))?;
            let (name, share) = (name.trim(), share.trim());
            ensure!(
                !name.is_empty() && safe_file_name(name) == name,
                "\"{name}\" is no name of a part: use letters, digits, '.', '_' and '-'"
            );
            ensure!(parts.iter().all(|(other, _)| other != name), "part \"{name}\" comes twice");
            let number = share.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
            let share = number.ok_or_else(|| anyhow!("{name}={share}: a share is a number above 0 and up to 1"))?;
            parts.push((name.to_owned(), share));
        }
        let sum: f64 = parts.iter().map(|(_, share)| share).sum();
        ensure!((sum - 1.0).abs() < 1e-6, "the shares add up to {sum}, not to 1");
        ensure!((2..=100).contains(&parts.len()), "a split has at least two parts, at most 100");
        Ok(Self { parts })
    }
}

/// The chosen rows and what ties them together. In memory are 12 bytes a row, 20 to 40 a group, and what [`Looks`] needs.
pub struct Groups {
    seed: u64,
    /// For each row another of its group, or itself; the roots are the smallest rows.
    parent: Vec<u32>,
    draws: Vec<u64>,
    by_key: Twins,
    looks: Option<Looks>,
    pub without_group: usize,
    /// Groups that became one because pictures in them look alike.
    pub joined: usize,
}

/// A row's part, and how many groups each part has.
pub struct Dealt {
    pub parts: Vec<u8>,
    pub groups: Vec<usize>,
    pub largest: usize,
}

impl Groups {
    /// `alike`: rows belong together when no more bits of their pictures' looks differ.
    pub fn new(seed: u64, alike: Option<u32>) -> Self {
        let looks = alike.map(Looks::new);
        Self {
            seed,
            parent: Vec::new(),
            draws: Vec::new(),
            by_key: Twins::default(),
            looks,
            without_group: 0,
            joined: 0,
        }
    }

    /// The next row: `content` stands for the row itself (equal rows are one group), `keys` for the groups it is in.
    pub fn add(&mut self, content: Key, keys: Option<&[Key]>, looks: &[Look]) {
        let row = self.parent.len() as u32;
        self.parent.push(row);
        let keys = match keys {
            Some([]) => {
                self.without_group += 1;
                &[content][..]
            }
            Some(keys) => keys,
            None => &[content],
        };
        self.draws.push(keys.iter().map(|key| key.draw(self.seed)).min().unwrap_or_default());
        for key in keys {
            if let Some(other) = self.by_key.find_or_add(*key, row) {
                self.join(row, other);
            }
        }
        let Some(index) = &mut self.looks else { return };
        let mut similar: Vec<u32> = looks.iter().flat_map(|look| index.similar(look)).collect();
        looks.iter().for_each(|look| index.add(*look, row));
        similar.sort_unstable();
        similar.dedup();
        for other in similar {
            self.joined += usize::from(self.join(row, other));
        }
    }

    /// Whether they were of different groups.
    fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
        a != b
    }

    fn root(&mut self, mut row: u32) -> u32 {
        while self.parent[row as usize] != row {
            let above = self.parent[self.parent[row as usize] as usize];
            self.parent[row as usize] = above; // halves the way for those who come later
            row = above;
        }
        row
    }

    /// Deals all rows out to parts with these shares.
    ///
    /// # Errors
    /// A part that would get nothing.
    pub fn deal(mut self, split: &Split) -> Result<Dealt> {
        let rows = self.parent.len();
        let mut groups: HashMap<u32, (usize, u64)> = HashMap::new();
        for row in 0..rows as u32 {
            let root = self.root(row);
            let (size, draw) = groups.entry(root).or_insert((0, u64::MAX));
            *size += 1;
            *draw = (*draw).min(self.draws[row as usize]);
        }
        let mut order: Vec<(u32, (usize, u64))> = groups.into_iter().collect();
        order.sort_unstable_by_key(|&(root, (size, draw))| (Reverse(size), draw, root));
        let mut room: Vec<f64> = split.parts.iter().map(|(_, share)| share * rows as f64).collect();
        let mut dealt = Dealt { parts: vec![0; rows], groups: vec![0; room.len()], largest: 0 };
        dealt.largest = order.first().map_or(0, |&(_, (size, _))| size);
        // From here on a root's entry in `parts` is that of its group.
        for &(root, (size, draw)) in &order {
            let part = draw_part(&room, size as f64, draw);
            room[part] -= size as f64;
            dealt.groups[part] += 1;
            dealt.parts[root as usize] = part as u8;
        }
        for row in 0..rows as u32 {
            let root = self.root(row);
            dealt.parts[row as usize] = dealt.parts[root as usize];
        }
        if let Some(empty) = dealt.groups.iter().position(|groups| *groups == 0) {
            let (name, share) = &split.parts[empty];
            bail!(
                "part \"{name}\" ({share}) would get none of {rows} rows in {} groups, the largest of {}; nothing was written: give it a larger share, or group less",
                order.len(),
                dealt.largest
            );
        }
        Ok(dealt)
    }
}

/// By lot among the parts that have room, in proportion to it; where none has, the one with the most.
fn draw_part(room: &[f64], size: f64, draw: u64) -> usize {
    const ROUNDING: f64 = 1e-6;
    let fits = |part: &usize| room[*part] + ROUNDING >= size;
    let fitting: Vec<usize> = (0..room.len()).filter(fits).collect();
    let most = || (0..room.len()).max_by(|a, b| room[*a].total_cmp(&room[*b])).unwrap_or_default();
    // The order of groups follows `draw`; the lot must not.
    let lot = (draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1u64 << 53) as f64;
    let mut at = lot * fitting.iter().map(|part| room[*part]).sum::<f64>();
    for part in &fitting {
        at -= room[*part];
        if at < 0.0 {
            return *part;
        }
    }
    fitting.last().copied().unwrap_or_else(most)
}

#[cfg(test)]
mod tests {
    use super::super::twins::key_of;
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Split {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_read_and_wrong_ones_refused_in_words() {
        assert_eq!(split("train=0.9, test=0.1").parts, [("train".into(), 0.9), ("test".into(), 0.1)]);
        for (text, words) in [
            ("train", "train=0.9,test=0.1"),
            ("train=0.9,test=0.2", "add up to 1.1"),
            ("train=1", "two parts"),
            ("a=0.5,a=0.5", "comes twice"),
            ("a=x,b=1", "above 0"),
            ("a=nan,b=1", "above 0"),
            ("a=0,b=1", "above 0"),
            ("../a=0.5,b=0.5", "no name"),
            ("=0.5,b=0.5", "no name"),
        ] {
            let message = text.parse::<Split>().unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    /// Rows as (content, group); the part of each.
    fn deal(rows: &[(u32, Option<u32>)], seed: u64, split: &Split) -> Result<Vec<u8>> {
        let mut groups = Groups::new(seed, None);
        for (content, group) in rows {
            let keys: Vec<Key> = group.iter().map(|group| key_of("group", &group.to_string())).collect();
            groups.add(key_of("content", &content.to_string()), Some(&keys), &[]);
        }
        groups.deal(split).map(|dealt| dealt.parts)
    }

    fn counts(parts: &[u8], n: usize) -> Vec<usize> {
        (0..n).map(|part| parts.iter().filter(|p| usize::from(**p) == part).count()).collect()
    }

    proptest! {
        #[test]
        fn a_group_is_in_one_part_shares_are_kept_and_the_order_of_rows_means_nothing(
            rows in prop::collection::vec((0u32..500, prop::option::weighted(0.8, 0u32..40)), 40..300),
            seed in any::<u64>(),
            turn in 0usize..300,
        ) {
            let split = split("train=0.7,val=0.2,test=0.1");
            let Ok(parts) = deal(&rows, seed, &split) else { return Ok(()) };
            let mut of_group = HashMap::new();
            for ((content, group), part) in rows.iter().zip(&parts) {
                let name = group.map_or_else(|| format!("row {content}"), |group| format!("group {group}"));
                prop_assert_eq!(*of_group.entry(name).or_insert(*part), *part);
            }
            let mut sizes: HashMap<String, usize> = HashMap::new();
            for (content, group) in &rows {
                let name = group.map_or_else(|| format!("row {content}"), |group| format!("group {group}"));
                *sizes.entry(name).or_default() += 1;
            }
            let largest = sizes.values().max().copied().unwrap_or_default();
            for (count, (name, share)) in counts(&parts, 3).into_iter().zip(&split.parts) {
                let off = (count as f64 - share * rows.len() as f64).abs();
                prop_assert!(off <= largest as f64 + 1.0, "{} is off by {} rows, the largest group has {}", name, off, largest);
            }
            // The same rows in another order.
            let mut turned = rows.clone();
            turned.rotate_left(turn % rows.len());
            turned.reverse();
            let again = deal(&turned, seed, &split).unwrap();
            for (row, part) in turned.iter().zip(&again) {
                let before = rows.iter().position(|other| other == row).unwrap();
                prop_assert_eq!(*part, parts[before]);
            }
        }
    }

    #[test]
    fn single_rows_meet_the_shares_exactly_and_another_seed_gives_another_split() {
        let rows: Vec<(u32, Option<u32>)> = (0..1000).map(|i| (i, None)).collect();
        let split = split("train=0.9,val=0.05,test=0.05");
        let parts = deal(&rows, 42, &split).unwrap();
        assert_eq!(counts(&parts, 3), [900, 50, 50]);
        assert_eq!(deal(&rows, 42, &split).unwrap(), parts);
        let other = deal(&rows, 43, &split).unwrap();
        assert_eq!(counts(&other, 3), [900, 50, 50]);
        assert_ne!(other, parts);
    }

    /// Were they dealt by size alone, `test` would never see a patient with many pictures.
    #[test]
    fn large_groups_come_into_every_part_as_often_as_its_share_says() {
        let rows: Vec<(u32, Option<u32>)> = (0..2000).map(|i| (i, Some(if i < 1000 { i / 50 } else { i }))).collect();
        let split = split("train=0.8,test=0.2");
        let in_test =
            |seed| deal(&rows, seed, &split).unwrap().iter().step_by(50).take(20).filter(|p| **p == 1).count();
        let sum: usize = (0..100).map(in_test).sum();
        // 20 large groups in each of 100 splits: 400 expected; the room for eight in `test` makes it vary less than a coin would.
        assert!((320..480).contains(&sum), "{sum} of 2000");
    }

    #[test]
    fn pictures_that_look_alike_join_their_groups() {
        let look = |bits: u64| Look::from_bits([bits, 0, 0, 0]);
        let mut groups = Groups::new(42, Some(2));
        let key = |name: &str| key_of("group", name);
        let mut add = |group: &str, bits: u64| {
            groups.add(key(&format!("content {group} {bits}")), Some(&[key(group)]), &[look(bits)]);
        };
        add("a", 0b0);
        add("b", 0b11);
        add("c", 0b1111);
        add("d", u64::MAX);
        for i in 0..20 {
            add(&format!("e{i}"), (u64::MAX / 3) ^ (0b111 << (3 * i)));
        }
        assert_eq!(groups.joined, 2);
        let dealt = groups.deal(&split("train=0.5,test=0.5")).unwrap();
        assert_eq!(dealt.largest, 3);
        assert!(dealt.parts[0] == dealt.parts[1] && dealt.parts[1] == dealt.parts[2]);
    }

    #[test]
    fn a_part_without_rows_is_refused() {
        let message =
            deal(&[(1, None), (2, None)], 42, &split("train=0.9,val=0.05,test=0.05")).unwrap_err().to_string();
        assert!(message.contains("nothing was written") && message.contains("2 rows in 2 groups"), "{message}");
    }
}
