//! Assigns colours to words.

use std::collections::BTreeMap;

use crate::cli::svg::{COLORS, GREY};

/// The most groups: as many as there are distinguishable colours.
const MOST: usize = COLORS.len();

/// A group of words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group's name in the legend.
    pub name: String,
    /// The colour, in SVG's syntax.
    pub color: &'static str,
}

/// Groups of words, each with a colour.
pub struct Groups {
    /// The groups, in the order of the legend.
    pub all: Vec<Group>,
    /// The group of each word, as an index into `all`.
    pub of: Vec<usize>,
}

fn colored(names: impl IntoIterator<Item = String>) -> Vec<Group> {
    let named = names.into_iter().zip(COLORS);
    named.map(|(name, color)| Group { name, color }).collect()
}

impl Groups {
    /// Groups by number of letters. If there are many lengths, the shortest words share a group, and so
    /// do the longest.
    pub fn of_lengths(lengths: &[usize]) -> Self {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        let (shortest, longest) = (sorted[0], sorted[sorted.len() - 1]);
        // Start at the length of the first few words, so that no colour is spent on one odd word.
        let first = sorted[sorted.len() / 25];
        let last = longest.min(first + MOST - 1);
        let name = |length: usize| {
            let plural = if length == 1 { "" } else { "s" };
            match length {
                _ if length == first && shortest < first => format!("≤ {length} letter{plural}"),
                _ if length == last && longest > last => format!("≥ {length} letters"),
                _ => format!("{length} letter{plural}"),
            }
        };
        Self {
            all: colored((first..=last).map(name)),
            of: lengths
                .iter()
                .map(|&length| length.clamp(first, last) - first)
                .collect(),
        }
    }

    /// Groups by name: the most frequent names in alphabetical order, then all others together.
    pub fn of_names(names: &[String]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
        let mut kept: Vec<(&str, usize)> = counts.into_iter().collect();
        if kept.len() > MOST {
            kept.sort_by_key(|&(_, count)| std::cmp::Reverse(count)); // of equals the first
            kept.truncate(MOST - 1);
            kept.sort_unstable();
        }
        let kept: Vec<String> = kept.into_iter().map(|(name, _)| name.to_owned()).collect();
        let others = kept.len();
        let group = |name: &String| kept.iter().position(|kept| kept == name);
        let of: Vec<usize> = names
            .iter()
            .map(|name| group(name).unwrap_or(others))
            .collect();
        let mut all = colored(kept);
        if of.contains(&others) {
            all.push(Group {
                name: "others".to_owned(),
                color: GREY,
            });
        }
        Self { all, of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &Groups) -> Vec<&str> {
        groups.all.iter().map(|group| group.name.as_str()).collect()
    }

    #[test]
    fn every_length_has_its_colour_while_there_are_enough() {
        let groups = Groups::of_lengths(&[3, 5, 3, 4]);
        assert_eq!(names(&groups), ["3 letters", "4 letters", "5 letters"]);
        assert_eq!(groups.of, [0, 2, 0, 1]);
        let lengths: Vec<usize> = (1..=100).map(|i| 5 + i % 9).chain([1, 40]).collect();
        let groups = Groups::of_lengths(&lengths);
        assert_eq!(groups.all.len(), MOST);
        assert_eq!(names(&groups)[0], "≤ 5 letters");
        assert_eq!(names(&groups)[MOST - 1], "≥ 12 letters");
        assert_eq!(groups.of[100], 0);
        assert_eq!(groups.of[101], MOST - 1);
    }

    #[test]
    fn rare_names_are_others() {
        let few = ["b", "a", "b"].map(str::to_owned);
        let groups = Groups::of_names(&few);
        assert_eq!(names(&groups), ["a", "b"]);
        assert_eq!(groups.of, [1, 0, 1]);
        let mut many: Vec<String> = ('a'..='z').map(String::from).collect();
        many.extend(["y", "z"].map(str::to_owned));
        let groups = Groups::of_names(&many);
        assert_eq!(
            names(&groups),
            ["a", "b", "c", "d", "e", "y", "z", "others"]
        );
        assert_eq!(groups.all[7].color, GREY);
        assert_eq!(groups.of[5], 7);
        assert_eq!(groups.of[27], 6);
    }
}
