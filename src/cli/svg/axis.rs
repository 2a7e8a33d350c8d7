//! An axis of a plot, labelled with round numbers.

use indicatif::HumanCount;

/// The allowed steps between numbers, times a power of ten.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];

/// The extent of an axis and the step between its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The lowest number on it, a multiple of `step`.
    pub from: f64,
    /// The highest number, another multiple of `step`.
    pub to: f64,
    /// 1, 2 or 5 times a power of ten.
    pub step: f64,
}

impl Axis {
    /// An axis that covers `least` to `most` with about so many steps.
    pub fn new(least: f64, most: f64, steps: f64) -> Self {
        let step = round_step((most - least) / steps);
        let from = (least / step).floor() * step;
        let to = (most / step).ceil() * step;
        Self {
            from,
            // All values are equal.
            to: if to > from { to } else { from + step },
            step,
        }
    }

    /// The round numbers, the lowest first.
    pub fn ticks(&self) -> Vec<f64> {
        let first = (self.from / self.step).round();
        let count = ((self.to - self.from) / self.step).round() as u64;
        (0..=count)
            .map(|i| (first + i as f64) * self.step)
            .collect()
    }

    /// Formats a number of the axis with as many decimals as the step, or with separators if it is large.
    pub fn label(&self, tick: f64) -> String {
        let digits = (-self.step.log10().floor()).max(0.0) as usize;
        if tick >= 10_000.0 && digits == 0 {
            return HumanCount(tick.round() as u64).to_string();
        }
        format!("{tick:.digits$}")
    }

    /// The position of a number on the axis, from 0 to 1.
    pub fn fraction(&self, number: f64) -> f64 {
        (number - self.from) / (self.to - self.from)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let ten = 10_f64.powf(least.log10().floor());
    let all = ROUND.map(|factor| factor * ten);
    let found = all.into_iter().find(|&step| step >= least * (1.0 - 1e-9));
    found.unwrap_or(10.0 * ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_not_smaller_than_asked() {
        let asked = [0.3, 1.0, 1.1, 2.1, 5.1, 0.021, 700.0];
        let want = [0.5, 1.0, 2.0, 5.0, 10.0, 0.05, 1000.0];
        for (asked, want) in asked.into_iter().zip(want) {
            let have = round_step(asked);
            assert!((have / want - 1.0).abs() < 1e-9, "{asked}: {have}");
        }
        assert_eq!(round_step(0.0), 1.0);
        assert_eq!(round_step(f64::NAN), 1.0);
    }

    #[test]
    fn an_axis_holds_what_it_was_made_for_and_little_more() {
        for (least, most) in [(0.0, 16.3), (11.2, 20.9), (3.001, 3.004), (-2.0, 1000.0)] {
            let axis = Axis::new(least, most, 8.0);
            assert!(axis.from <= least && axis.to >= most, "{axis:?}");
            assert!(axis.from > least - axis.step, "{axis:?}");
            assert!(axis.to < most + axis.step, "{axis:?}");
            let ticks = axis.ticks();
            assert!((4..=10).contains(&ticks.len()), "{ticks:?}");
            assert!((ticks[ticks.len() - 1] - axis.to).abs() < 1e-6 * axis.step);
            assert_eq!(axis.fraction(axis.from), 0.0);
            assert_eq!(axis.fraction(axis.to), 1.0);
        }
    }

    #[test]
    fn an_axis_of_one_number_is_an_axis() {
        let axis = Axis::new(5.0, 5.0, 8.0);
        assert_eq!(axis.ticks(), [5.0, 6.0]);
    }

    #[test]
    fn numbers_on_an_axis_have_the_digits_that_tell_them_apart() {
        let labels = |least, most| {
            let axis = Axis::new(least, most, 4.0);
            let ticks = axis.ticks().into_iter();
            ticks.map(|tick| axis.label(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels(0.0, 20.0), ["0", "5", "10", "15", "20"]);
        assert_eq!(labels(0.0, 0.7), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
    }
}
