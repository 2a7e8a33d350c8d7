//! Vectors of f32 in registers, the building blocks of the kernels.
//!
//! Compilers vectorise simple loops by themselves, but neither reliably keep as many sums in
//! registers as there are, nor vectorise an exponential in every build.

/// Rows and columns of the squares that [`Lanes::transpose`] copies.
pub(super) const SQUARE: usize = 8;

/// A register of numbers. Every operation rounds once per lane, as IEEE 754 has it, so that a formula
/// gives the same bits with any number of lanes.
///
/// # Safety
/// Every function needs the instructions of its type; [`load`](Lanes::load) and
/// [`store`](Lanes::store) need [`COUNT`](Lanes::COUNT) numbers at the pointer.
pub(super) trait Lanes: Copy {
    /// The number of lanes.
    const COUNT: usize;
    /// Loads [`COUNT`](Self::COUNT) numbers.
    unsafe fn load(from: *const f32) -> Self;
    /// Stores [`COUNT`](Self::COUNT) numbers.
    unsafe fn store(self, to: *mut f32);
    /// Prefetches the cache line at `from` if the machine can; any pointer is allowed.
    unsafe fn fetch(from: *const f32);
    /// Copies a square of 8 × 8 numbers, given the start of each row, to its transpose, whose rows are
    /// `stride` numbers apart.
    unsafe fn transpose(from: [*const f32; SQUARE], to: *mut f32, stride: usize);
    /// One number in all lanes.
    unsafe fn splat(number: f32) -> Self;
    /// self · factor + sum, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self − other.
    unsafe fn sub(self, other: Self) -> Self;
    /// self · other.
    unsafe fn mul(self, other: Self) -> Self;
    /// self / other.
    unsafe fn div(self, other: Self) -> Self;
    /// `then` where self < other, else `otherwise`, also for NaN.
    unsafe fn if_less(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// √self.
    unsafe fn sqrt(self) -> Self;
    /// |self|.
    unsafe fn abs(self) -> Self;
    /// self, which must not be negative, with the sign of `other`.
    unsafe fn with_sign_of(self, other: Self) -> Self;
    /// The bits of self plus those of `other` shifted left by 23: self · 2^n if `other` ends in
    /// the bits of n.
    unsafe fn times_power(self, other: Self) -> Self;
    /// The numbers whose upper sixteen bits are the lower ones of self, and whose lower ones are zero.
    unsafe fn lower_half(self) -> Self;
    /// The numbers with the upper sixteen bits of self, and zeros below.
    unsafe fn upper_half(self) -> Self;
}

/// The upper sixteen bits.
const UPPER_HALF: i32 = !0xFFFF;

/// Portable lanes: four of them are a register of most machines.
pub(super) type Portable = [f32; 4];

/// Implements lane by lane.
macro_rules! lane_by_lane {
    ($($name:ident($self:ident $(, $arg:ident)*) = $body:expr;)+) => {
        $(#[inline(always)]
        unsafe fn $name(self $(, $arg: Self)*) -> Self {
            std::array::from_fn(|lane| {
                let $self = self[lane];
                $(let $arg = $arg[lane];)*
                $body
            })
        })+
    };
}

impl Lanes for Portable {
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four numbers are there; f32 needs no more alignment than they have.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    unsafe fn fetch(_from: *const f32) {}

    #[inline(always)]
    unsafe fn transpose(from: [*const f32; SQUARE], to: *mut f32, stride: usize) {
        for column in 0..SQUARE {
            for (row, from) in from.iter().enumerate() {
                // SAFETY: the caller's.
                unsafe { *to.add(column * stride + row) = *from.add(column) };
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        [number; 4]
    }

    lane_by_lane! {
        mul_add(x, factor, sum) = x.mul_add(factor, sum);
        add(x, other) = x + other;
        sub(x, other) = x - other;
        mul(x, other) = x * other;
        div(x, other) = x / other;
        if_less(x, other, then, otherwise) = if x < other { then } else { otherwise };
        sqrt(x) = x.sqrt();
        abs(x) = x.abs();
        with_sign_of(x, other) = x.copysign(other);
        times_power(x, other) = f32::from_bits(x.to_bits().wrapping_add(other.to_bits() << 23));
        lower_half(x) = f32::from_bits(x.to_bits() << 16);
        upper_half(x) = f32::from_bits(x.to_bits() & UPPER_HALF as u32);
    }
}

/// Implements [`Lanes`] by intrinsics.
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_feature = "simd128"
))]
macro_rules! by_intrinsics {
    ($name:ident, $count:literal, load: $load:ident, store: $store:ident, splat: $splat:ident,
        fetch($from:ident): $fetch:expr, transpose: $transpose:path,
        $($method:ident($self:ident $(, $arg:ident)*) = $body:expr;)+) => {
        impl Lanes for $name {
            const COUNT: usize = $count;

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's; the load needs no alignment.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's; the store needs no alignment.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn fetch($from: *const f32) {
                $fetch
            }

            #[inline(always)]
            unsafe fn transpose(from: [*const f32; SQUARE], to: *mut f32, stride: usize) {
                // SAFETY: the caller's.
                unsafe { $transpose(from, to, stride) }
            }

            #[inline(always)]
            unsafe fn splat(number: f32) -> Self {
                // SAFETY: the caller's.
                unsafe { $splat(number) }
            }

            $(#[inline(always)]
            unsafe fn $method(self $(, $arg: Self)*) -> Self {
                let $self = self;
                // SAFETY: the caller's.
                unsafe { $body }
            })+
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _CMP_LT_OQ, _MM_HINT_T1, _mm_loadu_ps, _mm_prefetch, _mm256_add_epi32,
        _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256,
        _mm256_castps128_ps256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_div_ps, _mm256_fmadd_ps,
        _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_or_ps, _mm256_set1_epi32,
        _mm256_set1_ps, _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_sqrt_ps, _mm256_storeu_ps,
        _mm256_sub_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm512_add_epi32, _mm512_add_ps,
        _mm512_and_si512, _mm512_andnot_si512, _mm512_castps_si512, _mm512_castsi512_ps,
        _mm512_cmp_ps_mask, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
        _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
        _mm512_sqrt_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::{Lanes, SQUARE, UPPER_HALF};

    /// The sign bit.
    const SIGN: i32 = i32::MIN;

    /// Prefetches into the second-level cache.
    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: every x86-64 has SSE; fetching ahead reads nothing that the program sees, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    /// [`Lanes::transpose`] by AVX.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn transpose(from: [*const f32; SQUARE], to: *mut f32, stride: usize) {
        // SAFETY: the caller's.
        unsafe {
            for column in [0, 4] {
                // Rows r and r + 4 are halves of one register, so that nothing crosses the halves any more.
                macro_rules! half {
                    ($row:literal) => {{
                        let low = _mm_loadu_ps(from[$row].add(column));
                        let high = _mm_loadu_ps(from[$row + 4].add(column));
                        _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
                    }};
                }
                let (a, b, c, d) = (half!(0), half!(1), half!(2), half!(3));
                let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (low_2, high_2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let to = to.add(column * stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(low, low_2));
                _mm256_storeu_ps(to.add(stride), _mm256_shuffle_ps::<0xee>(low, low_2));
                _mm256_storeu_ps(to.add(2 * stride), _mm256_shuffle_ps::<0x44>(high, high_2));
                _mm256_storeu_ps(to.add(3 * stride), _mm256_shuffle_ps::<0xee>(high, high_2));
            }
        }
    }

    by_intrinsics! {
        __m256, 8, load: _mm256_loadu_ps, store: _mm256_storeu_ps, splat: _mm256_set1_ps,
        fetch(from): prefetch(from), transpose: transpose,
        mul_add(x, factor, sum) = _mm256_fmadd_ps(x, factor, sum);
        add(x, other) = _mm256_add_ps(x, other);
        sub(x, other) = _mm256_sub_ps(x, other);
        mul(x, other) = _mm256_mul_ps(x, other);
        div(x, other) = _mm256_div_ps(x, other);
        if_less(x, other, then, otherwise) =
            _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(x, other));
        sqrt(x) = _mm256_sqrt_ps(x);
        abs(x) = _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_set1_epi32(SIGN)), x);
        with_sign_of(x, other) = _mm256_or_ps(
            x,
            _mm256_and_ps(_mm256_castsi256_ps(_mm256_set1_epi32(SIGN)), other),
        );
        times_power(x, other) = _mm256_castsi256_ps(_mm256_add_epi32(
            _mm256_castps_si256(x),
            _mm256_slli_epi32::<23>(_mm256_castps_si256(other)),
        ));
        lower_half(x) =
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x)));
        upper_half(x) =
            _mm256_and_ps(_mm256_castsi256_ps(_mm256_set1_epi32(UPPER_HALF)), x);
    }

    by_intrinsics! {
        __m512, 16, load: _mm512_loadu_ps, store: _mm512_storeu_ps, splat: _mm512_set1_ps,
        fetch(from): prefetch(from), transpose: transpose,
        mul_add(x, factor, sum) = _mm512_fmadd_ps(x, factor, sum);
        add(x, other) = _mm512_add_ps(x, other);
        sub(x, other) = _mm512_sub_ps(x, other);
        mul(x, other) = _mm512_mul_ps(x, other);
        div(x, other) = _mm512_div_ps(x, other);
        if_less(x, other, then, otherwise) =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, other), otherwise, then);
        sqrt(x) = _mm512_sqrt_ps(x);
        abs(x) = _mm512_castsi512_ps(_mm512_andnot_si512(
            _mm512_set1_epi32(SIGN),
            _mm512_castps_si512(x),
        ));
        with_sign_of(x, other) = _mm512_castsi512_ps(_mm512_or_si512(
            _mm512_castps_si512(x),
            _mm512_and_si512(_mm512_set1_epi32(SIGN), _mm512_castps_si512(other)),
        ));
        times_power(x, other) = _mm512_castsi512_ps(_mm512_add_epi32(
            _mm512_castps_si512(x),
            _mm512_slli_epi32::<23>(_mm512_castps_si512(other)),
        ));
        lower_half(x) =
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(x)));
        upper_half(x) = _mm512_castsi512_ps(_mm512_and_si512(
            _mm512_set1_epi32(UPPER_HALF),
            _mm512_castps_si512(x),
        ));
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use std::arch::x86_64::{__m256, __m512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{
        float32x4_t, vabsq_f32, vaddq_f32, vaddq_u32, vandq_u32, vbslq_f32, vcltq_f32, vdivq_f32,
        vdupq_n_f32, vdupq_n_u32, vfmaq_f32, vld1q_f32, vmulq_f32, vreinterpretq_f32_f64,
        vreinterpretq_f32_u32, vreinterpretq_f64_f32, vreinterpretq_u32_f32, vshlq_n_u32,
        vsqrtq_f32, vst1q_f32, vsubq_f32, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64,
    };

    use super::{Lanes, SQUARE, UPPER_HALF};

    /// [`Lanes::transpose`] by four squares of four.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn transpose(from: [*const f32; SQUARE], to: *mut f32, stride: usize) {
        for (row, column) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            // SAFETY: the caller's.
            unsafe {
                let [a, b, c, d] = [row, row + 1, row + 2, row + 3];
                let a = vld1q_f32(from[a].add(column));
                let b = vld1q_f32(from[b].add(column));
                let c = vld1q_f32(from[c].add(column));
                let d = vld1q_f32(from[d].add(column));
                let (even, odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
                let (even, odd) = (vreinterpretq_f64_f32(even), vreinterpretq_f64_f32(odd));
                let (even_2, odd_2) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
                let (even_2, odd_2) = (vreinterpretq_f64_f32(even_2), vreinterpretq_f64_f32(odd_2));
                let to = to.add(column * stride + row);
                vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(even, even_2)));
                vst1q_f32(
                    to.add(stride),
                    vreinterpretq_f32_f64(vtrn1q_f64(odd, odd_2)),
                );
                vst1q_f32(
                    to.add(2 * stride),
                    vreinterpretq_f32_f64(vtrn2q_f64(even, even_2)),
                );
                vst1q_f32(
                    to.add(3 * stride),
                    vreinterpretq_f32_f64(vtrn2q_f64(odd, odd_2)),
                );
            }
        }
    }

    by_intrinsics! {
        float32x4_t, 4, load: vld1q_f32, store: vst1q_f32, splat: vdupq_n_f32,
        // Stable Rust has no intrinsic for it.
        fetch(_from): (), transpose: transpose,
        mul_add(x, factor, sum) = vfmaq_f32(sum, x, factor);
        add(x, other) = vaddq_f32(x, other);
        sub(x, other) = vsubq_f32(x, other);
        mul(x, other) = vmulq_f32(x, other);
        div(x, other) = vdivq_f32(x, other);
        if_less(x, other, then, otherwise) = vbslq_f32(vcltq_f32(x, other), then, otherwise);
        sqrt(x) = vsqrtq_f32(x);
        abs(x) = vabsq_f32(x);
        with_sign_of(x, other) = vbslq_f32(vdupq_n_u32(1 << 31), other, x);
        times_power(x, other) = vreinterpretq_f32_u32(vaddq_u32(
            vreinterpretq_u32_f32(x),
            vshlq_n_u32::<23>(vreinterpretq_u32_f32(other)),
        ));
        lower_half(x) = vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(x)));
        upper_half(x) = vreinterpretq_f32_u32(vandq_u32(
            vreinterpretq_u32_f32(x),
            vdupq_n_u32(UPPER_HALF as u32),
        ));
    }
}
#[cfg(target_arch = "aarch64")]
pub(super) use std::arch::aarch64::float32x4_t;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use std::arch::wasm32::{
        f32x4_abs, f32x4_add, f32x4_demote_f64x2_zero, f32x4_div, f32x4_lt, f32x4_mul, f32x4_splat,
        f32x4_sqrt, f32x4_sub, f64x2_add, f64x2_mul, f64x2_promote_low_f32x4, i32x4_add, i32x4_shl,
        i32x4_shuffle, i32x4_splat, v128, v128_and, v128_bitselect, v128_load, v128_store,
    };

    use super::{Lanes, Portable, SQUARE, UPPER_HALF};

    /// # Safety
    /// Four numbers are there.
    #[inline(always)]
    unsafe fn load(from: *const f32) -> v128 {
        // SAFETY: the caller's; the load needs no alignment.
        unsafe { v128_load(from.cast()) }
    }

    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn store(to: *mut f32, numbers: v128) {
        // SAFETY: as above.
        unsafe { v128_store(to.cast(), numbers) }
    }

    /// x · factor + sum of the first two lanes. The product of two f32 is exact in f64, and so is nearly every sum, so
    /// that all but one in some hundred million are those of a fused multiply-add.
    #[inline(always)]
    fn two(x: v128, factor: v128, sum: v128) -> v128 {
        let product = f64x2_mul(f64x2_promote_low_f32x4(x), f64x2_promote_low_f32x4(factor));
        f32x4_demote_f64x2_zero(f64x2_add(product, f64x2_promote_low_f32x4(sum)))
    }

    #[inline(always)]
    fn upper(x: v128) -> v128 {
        i32x4_shuffle::<2, 3, 2, 3>(x, x)
    }

    by_intrinsics! {
        v128, 4, load: load, store: store, splat: f32x4_splat,
        fetch(_from): (), transpose: Portable::transpose,
        mul_add(x, factor, sum) = i32x4_shuffle::<0, 1, 4, 5>(
            two(x, factor, sum),
            two(upper(x), upper(factor), upper(sum)),
        );
        add(x, other) = f32x4_add(x, other);
        sub(x, other) = f32x4_sub(x, other);
        mul(x, other) = f32x4_mul(x, other);
        div(x, other) = f32x4_div(x, other);
        if_less(x, other, then, otherwise) = v128_bitselect(then, otherwise, f32x4_lt(x, other));
        sqrt(x) = f32x4_sqrt(x);
        abs(x) = f32x4_abs(x);
        with_sign_of(x, other) = v128_bitselect(other, x, i32x4_splat(i32::MIN));
        times_power(x, other) = i32x4_add(x, i32x4_shl(other, 23));
        lower_half(x) = i32x4_shl(x, 16);
        upper_half(x) = v128_and(x, i32x4_splat(UPPER_HALF));
    }
}
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use std::arch::wasm32::v128;

/// `body(0)` … `body(N − 1)`, N ≤ 12, one after the other in the code: in a loop, the compiler
/// may decide to store sums that are indexed by its counter in memory.
#[inline(always)]
pub(super) fn unrolled<const N: usize>(mut body: impl FnMut(usize)) {
    const { assert!(N <= 12, "as many as are written below") };
    macro_rules! at {
        ($($index:literal)*) => { $(if $index < N { body($index) })* };
    }
    at!(0 1 2 3 4 5 6 7 8 9 10 11);
}

/// [`unrolled`] where compilers that optimize for size would call the body.
macro_rules! unrolled_in_place {
    ($count:expr, |$index:ident| $body:expr) => {{
        const { assert!($count <= 12, "as many as are written below") };
        unrolled_in_place!($count, $index, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    }};
    ($count:expr, $index:ident, $body:expr, $($number:literal)*) => {{
        $(if $number < $count {
            let $index = $number;
            $body;
        })*
    }};
}
pub(super) use unrolled_in_place;
