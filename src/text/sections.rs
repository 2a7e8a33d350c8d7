//! Reads one long text in parallel: a segment is cut into sections, and each is read from a zero state after
//! some tokens before its own have warmed that state.

use std::ops::Range;

/// Tokens before a section that warm its state. On tinyshakespeare and the bundled tales, with sections of
/// 1,024 tokens, the mean is off by 3e-3 to 5e-3 nats after none, 1e-4 to 4e-4 after 16, 1e-5 to 2e-5 after
/// 64, 1e-6 to 4e-6 after 128, and at most 4e-7 after 256.
pub const WARM_UP: usize = 256;
/// The predictions of a section of a short segment, about, so that it has several;
const SHORT: usize = 1024;
/// those of a long one, which spends less on warming up.
const LONG: usize = 4096;
/// The predictions of a section of a sample, which is better the more sections it has,
const SAMPLED: usize = 256;
/// and the tokens before it: the mean is off by 4e-5 nats at most.
const SAMPLE_WARM_UP: usize = 64;
/// Sections of a segment before they become longer than [`SHORT`].
const FEW: usize = 32;

/// A range of a text that is read from a zero state. Every token but the first is predicted; the first
/// `warm_up` of these predictions don't count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The tokens that are read.
    pub range: Range<usize>,
    /// The predictions before those that count.
    pub warm_up: usize,
}

impl Section {
    /// All that is predicted.
    pub fn predicted(&self) -> usize {
        self.range.len().saturating_sub(1)
    }

    /// The predictions that count.
    pub fn counted(&self) -> usize {
        self.predicted() - self.warm_up
    }

    /// A segment in one section, as it is defined.
    pub const fn whole(segment: Range<usize>) -> Self {
        Self {
            range: segment,
            warm_up: 0,
        }
    }

    /// A segment in sections that count `length` predictions each, the last perhaps fewer. The tokens that warm the
    /// state are those from `seen` on.
    fn cut(
        seen: usize,
        segment: &Range<usize>,
        length: usize,
        warm_up: usize,
    ) -> impl Iterator<Item = Self> + use<> {
        let Range { start, end } = *segment;
        (start..end.saturating_sub(1))
            .step_by(length.max(1))
            .map(move |at| {
                let warm_up = warm_up.min(at - seen);
                Self {
                    range: at - warm_up..end.min(at.saturating_add(length).saturating_add(1)),
                    warm_up,
                }
            })
    }

    /// A segment in sections that may be read in parallel. They depend on its length alone.
    pub fn in_parallel(segment: &Range<usize>) -> Vec<Self> {
        Self::going_on(segment.start, segment)
    }

    /// A segment in sections that may be read in parallel, where the tokens from `seen` to its start were read before
    /// and warm the state.
    ///
    /// # Panics
    /// If `seen` is beyond the segment's start.
    pub fn going_on(seen: usize, segment: &Range<usize>) -> Vec<Self> {
        let predicted = segment.len().saturating_sub(1);
        let sections = (predicted / SHORT).clamp(1, FEW).max(predicted / LONG);
        Self::cut(seen, segment, predicted.div_ceil(sections), WARM_UP).collect()
    }

    /// A sample of `segments` that counts about `wanted` predictions: short sections, at least one, spread
    /// evenly. It depends on nothing else.
    pub fn sample(segments: &[Range<usize>], wanted: usize) -> Vec<Self> {
        let of_one = |(all, counted), section: Self| (all + 1, counted + section.counted());
        let (all, counted): (usize, usize) = Self::choices(segments).fold((0, 0), of_one);
        let share = wanted as f64 / counted.max(1) as f64;
        let count = (share * all as f64).round() as usize;
        let count = count.clamp(1, all.max(1)).min(all);
        let middle = |index: usize| (2 * index + 1) * all / (2 * count);
        let mut chosen = (0..count).map(middle).peekable();
        let sections = Self::choices(segments).enumerate();
        sections
            .filter(|(index, _)| chosen.next_if_eq(index).is_some())
            .map(|(_, section)| section)
            .collect()
    }

    /// The sections that a sample is chosen from.
    pub fn choices(segments: &[Range<usize>]) -> impl Iterator<Item = Self> {
        let cut =
            |segment: &Range<usize>| Self::cut(segment.start, segment, SAMPLED, SAMPLE_WARM_UP);
        segments.iter().flat_map(cut)
    }
}

/// The predictions that sections take in all, warm-up included.
pub fn predicted(sections: &[Section]) -> usize {
    sections.iter().map(Section::predicted).sum()
}

/// The predictions of sections that count.
pub fn counted(sections: &[Section]) -> usize {
    sections.iter().map(Section::counted).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tokens whose predictions count.
    fn targets(section: &Section) -> Range<usize> {
        section.range.start + section.warm_up + 1..section.range.end
    }

    #[test]
    fn a_short_segment_is_one_section_and_a_long_one_is_many() {
        assert_eq!(Section::in_parallel(&(7..2000)), [Section::whole(7..2000)]);
        for (len, count) in [(2049, 2), (13_250, 12), (100_001, 32), (10_000_001, 2441)] {
            let sections = Section::in_parallel(&(5..5 + len));
            assert_eq!(sections.len(), count, "{len}");
        }
        assert_eq!(Section::in_parallel(&(5..6)), []);
        assert_eq!(Section::in_parallel(&(5..5)), []);
    }

    #[test]
    fn a_sample_is_spread_over_the_text_and_has_its_size() {
        let text = 1000..1_001_001;
        let sample = Section::sample(std::slice::from_ref(&text), 8192);
        assert_eq!(sample.len(), 32);
        assert!(
            sample
                .iter()
                .all(|section| section.warm_up == SAMPLE_WARM_UP)
        );
        let starts: Vec<usize> = sample.iter().map(|section| section.range.start).collect();
        assert!(starts[0] < 40_000 && starts[31] > 960_000, "{starts:?}");
        let steps = starts.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(steps.clone().max() < steps.min().map(|least| least + 2 * SAMPLED));
        // Windows are sampled as a whole.
        let windows: Vec<Range<usize>> = (0..500).map(|at| at * 256..at * 256 + 257).collect();
        let sample = Section::sample(&windows, 2560);
        assert_eq!(sample.len(), 10);
        assert!(
            sample
                .iter()
                .all(|section| windows.contains(&section.range))
        );
        assert_eq!(Section::sample(&[], 10), []);
    }

    proptest! {
        #[test]
        fn every_prediction_counts_once_after_its_warm_up(start in 0usize..50, len in 0usize..200_000) {
            let segment = start..start + len;
            let sections = Section::in_parallel(&segment);
            let found = sections.iter().flat_map(targets);
            prop_assert!(found.eq(segment.start + 1..segment.end.max(segment.start + 1)));
            for section in sections {
                prop_assert_eq!(section.warm_up, WARM_UP.min(section.range.start + section.warm_up - start));
            }
        }

        #[test]
        fn a_sample_counts_what_is_wanted_and_nothing_twice(len in 0usize..100_000, wanted in 1usize..120_000) {
            let segments = [3..3 + len / 3, 3 + len / 3..3 + len];
            let sample = Section::sample(&segments, wanted);
            let all: usize = segments.iter().map(|segment| segment.len().saturating_sub(1)).sum();
            // Two sections are shorter than the others, and the number of sections is rounded.
            prop_assert!(counted(&sample).abs_diff(wanted.min(all)) <= 3 * SAMPLED);
            prop_assert!(sample.windows(2).all(|pair| targets(&pair[0]).end <= targets(&pair[1]).start + 1));
        }
    }
}
