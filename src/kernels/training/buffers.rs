//! Buffers that a pass needs for a while: taken from here and put back, so that a training step
//! allocates no array once the first has.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use super::super::{Layout, Packed, Stacked};

/// The buffers that are not in use. Their contents are left over from earlier uses.
#[derive(Debug, Default)]
pub struct Buffers {
    numbers: Stock<Vec<f32>>,
    packed: Stock<Packed>,
    stacked: Stock<Stacked>,
}

impl Buffers {
    /// No buffers yet.
    pub const fn new() -> Self {
        Self {
            numbers: Stock::new(),
            packed: Stock::new(),
            stacked: Stock::new(),
        }
    }

    /// `length` arbitrary numbers.
    pub(super) fn numbers(&self, length: usize) -> Loan<'_, Vec<f32>> {
        // Sizes are rounded up, so that lengths which change from step to step share buffers. A far
        // larger one is left for what needs it.
        let room = length.next_power_of_two();
        let fits = |buffer: &Vec<f32>| {
            let capacity = buffer.capacity();
            (room..=8 * room).contains(&capacity).then_some(capacity)
        };
        let mut loan = self.numbers.take(fits, || Vec::with_capacity(room));
        if cfg!(test) {
            // What is arbitrary must not matter.
            loan.clear();
            loan.resize(length, f32::NAN);
        }
        loan.resize(length, 0.0);
        loan
    }

    /// `length` zeros.
    pub(super) fn zeros(&self, length: usize) -> Loan<'_, Vec<f32>> {
        let mut loan = self.numbers(length);
        loan.fill(0.0);
        loan
    }

    /// A matrix of arbitrary numbers, in pairs if it is for products in bf16.
    pub(super) fn packed(&self, layout: Layout, columns: usize, pairs: bool) -> Loan<'_, Packed> {
        let fits = |packed: &Packed| {
            let same = packed.layout() == layout && packed.columns() == columns;
            (same && packed.pairs() == pairs).then_some(0)
        };
        let make = || Packed::zeros(layout, columns, pairs);
        #[allow(unused_mut, reason = "in tests")]
        let mut loan = self.packed.take(fits, make);
        #[cfg(test)]
        loan.spoil();
        loan
    }

    /// An arbitrary stack.
    pub(super) fn stacked(&self) -> Loan<'_, Stacked> {
        self.stacked.take(|_| Some(0), Stacked::default)
    }
}

/// The buffers of one type.
#[derive(Debug)]
struct Stock<T>(Mutex<Vec<T>>);

impl<T> Default for Stock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Stock<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The smallest buffer among those that fit, which have a size, or a new one.
    fn take(&self, fits: impl Fn(&T) -> Option<usize>, make: impl Fn() -> T) -> Loan<'_, T> {
        let found = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let sizes = all.iter().enumerate().rev();
            let sizes = sizes.filter_map(|(index, buffer)| Some((fits(buffer)?, index)));
            // Of several, the one that was put back last: it is the likeliest to be in the cache.
            let smallest = sizes.min_by_key(|&(size, _)| size);
            smallest.map(|(_, index)| all.remove(index))
        };
        Loan {
            buffer: Some(found.unwrap_or_else(make)),
            stock: self,
        }
    }
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Loan<'a, T> {
    /// Always there until it is dropped.
    buffer: Option<T>,
    stock: &'a Stock<T>,
}

impl<T> Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.buffer {
            Some(buffer) => buffer,
            None => unreachable!("a loan holds its buffer"),
        }
    }
}

impl<T> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.buffer {
            Some(buffer) => buffer,
            None => unreachable!("a loan holds its buffer"),
        }
    }
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        let mut all = self.stock.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(self.buffer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_a_similar_length() {
        let buffers = Buffers::new();
        let first = buffers.numbers(1000).as_ptr();
        assert_eq!(buffers.zeros(700)[..], [0.0; 700]);
        assert_eq!(buffers.numbers(1024).as_ptr(), first);
        assert_eq!(buffers.numbers(200).as_ptr(), first);
        let (one, two) = (buffers.numbers(1000), buffers.numbers(1000));
        assert_ne!(one.as_ptr(), two.as_ptr());
        assert_ne!(buffers.numbers(100).as_ptr(), first);
        assert!(buffers.numbers(0).is_empty());
    }
}
