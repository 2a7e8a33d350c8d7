//! Adam, element by element, and the sum of squares for gradient clipping.

use super::lanes::{Lanes, unrolled};
use super::matrix::PANEL;

/// Numbers whose squares are summed in f32: few enough that rounding stays below that of the
/// gradients themselves.
const SUMMED_AT_ONCE: usize = 128 * PANEL;

/// A segment of a parameter with its gradient and moments, all of one length.
#[derive(Debug)]
pub struct AdamPiece<'a> {
    pub weight: &'a mut [f32],
    pub gradient: &'a [f32],
    /// First moments m.
    pub first: &'a mut [f32],
    /// Second moments v.
    pub second: &'a mut [f32],
    /// The largest second moments (AMSGrad), or empty.
    pub largest: &'a mut [f32],
}

/// The factors of one step; see [`kernels::training::Adam`](super::training::Adam).
#[derive(Clone, Copy, Debug)]
pub struct AdamFactors {
    /// The factor of gradient clipping.
    pub scale: f32,
    /// Weight decay added to the gradient: 0 if it is decoupled.
    pub decay: f32,
    /// The weight's factor under decoupled weight decay: 1 if it is not decoupled.
    pub save: f32,
    /// 1 − β₁.
    pub of_first: f32,
    /// β₂.
    pub keep_second: f32,
    /// 1 − β₂.
    pub of_second: f32,
    /// α / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / √(1 − β₂ᵗ).
    pub root: f32,
    /// ε.
    pub epsilon: f32,
}

/// One step of Adam.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn adam<V: Lanes>(piece: AdamPiece, by: &AdamFactors) {
    let AdamPiece {
        weight,
        gradient,
        first,
        second,
        largest,
    } = piece;
    let length = weight.len();
    assert_eq!(gradient.len(), length, "gradients");
    assert!(first.len() == length && second.len() == length, "moments");
    let amsgrad = !largest.is_empty();
    assert!(!amsgrad || largest.len() == length, "largest moments");
    let whole = length - length % V::COUNT;
    // SAFETY: `at` stays within the lengths, which have been checked; the caller
    // vouches for the instructions.
    unsafe {
        for at in (0..whole).step_by(V::COUNT) {
            let largest = amsgrad.then(|| largest.as_mut_ptr().add(at));
            update::<V>(
                weight.as_mut_ptr().add(at),
                gradient.as_ptr().add(at),
                [first.as_mut_ptr().add(at), second.as_mut_ptr().add(at)],
                largest,
                by,
            );
        }
        // A remainder shorter than a register goes through a padded one.
        let rest = length - whole;
        let mut scratch = [[0.0_f32; PANEL]; 5];
        if rest > 0 {
            let largest = &mut largest[whole * usize::from(amsgrad)..];
            let parts: [&[f32]; 5] = [
                &weight[whole..],
                &gradient[whole..],
                &first[whole..],
                &second[whole..],
                &*largest,
            ];
            for (scratch, part) in scratch.iter_mut().zip(parts) {
                scratch[..part.len()].copy_from_slice(part);
            }
            let [w, g, m, v, x] = &mut scratch;
            update::<V>(
                w.as_mut_ptr(),
                g.as_ptr(),
                [m.as_mut_ptr(), v.as_mut_ptr()],
                amsgrad.then_some(x.as_mut_ptr()),
                by,
            );
            weight[whole..].copy_from_slice(&w[..rest]);
            first[whole..].copy_from_slice(&m[..rest]);
            second[whole..].copy_from_slice(&v[..rest]);
            largest.copy_from_slice(&x[..largest.len()]);
        }
    }
}

/// Updates one register of weights.
///
/// # Safety
/// `V::COUNT` numbers stand at every pointer, and the machine has the instructions of `V`.
#[inline(always)]
unsafe fn update<V: Lanes>(
    weight: *mut f32,
    gradient: *const f32,
    [first, second]: [*mut f32; 2],
    largest: Option<*mut f32>,
    by: &AdamFactors,
) {
    // SAFETY: the caller's.
    unsafe {
        let (w, g) = (V::load(weight), V::load(gradient).mul(V::splat(by.scale)));
        let g = w.mul_add(V::splat(by.decay), g);
        let m = V::load(first);
        let m = g.sub(m).mul_add(V::splat(by.of_first), m);
        m.store(first);
        let v = V::load(second).mul(V::splat(by.keep_second));
        let v = g.mul(g).mul_add(V::splat(by.of_second), v);
        v.store(second);
        let v = if let Some(largest) = largest {
            let before = V::load(largest);
            let now = before.if_less(v, v, before);
            now.store(largest);
            now
        } else {
            v
        };
        let below = v.sqrt().mul_add(V::splat(by.root), V::splat(by.epsilon));
        let change = m.mul(V::splat(by.rate)).div(below);
        w.mul(V::splat(by.save)).sub(change).store(weight);
    }
}

/// Adds Σ x² to `sum`: in f32 within segments and in f64 across them, in the same order for any
/// number of lanes.
///
/// # Safety
/// The machine has the instructions of `V`, `FULL` of which are a panel.
#[inline(always)]
pub(super) unsafe fn add_squares<V: Lanes, const FULL: usize>(values: &[f32], sum: &mut f64) {
    const { assert!(FULL * V::COUNT == PANEL, "these fill a panel") };
    for segment in values.chunks(SUMMED_AT_ONCE) {
        let mut lanes = [0.0_f32; PANEL];
        let (panels, rest) = segment.as_chunks::<PANEL>();
        // SAFETY: the loads and stores stay within a panel; the caller vouches for the instructions.
        unsafe {
            let mut sums = [V::splat(0.0); FULL];
            for panel in panels {
                unrolled::<FULL>(|part| {
                    let x = V::load(panel.as_ptr().add(part * V::COUNT));
                    sums[part] = x.mul_add(x, sums[part]);
                });
            }
            unrolled::<FULL>(|part| sums[part].store(lanes.as_mut_ptr().add(part * V::COUNT)));
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane = x.mul_add(*x, *lane);
        }
        *sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
}
