//! Vectors of f32 in registers, which the products are written with.
//!
//! Loops over slices vectorise by themselves, and the cells are written so. Products need more: as
//! many sums as there are registers must stay there, which no compiler promises for arrays.

/// Numbers side by side.
///
/// # Safety
/// Every function needs the instructions of its type; [`load`](Lanes::load) and
/// [`store`](Lanes::store) need [`COUNT`](Lanes::COUNT) numbers at the pointer.
pub(super) trait Lanes: Copy {
    /// How many.
    const COUNT: usize;
    /// Reads.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes.
    unsafe fn store(self, to: *mut f32);
    /// One number in all lanes.
    unsafe fn splat(number: f32) -> Self;
    /// self · factor + sum, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
}

/// Any processor's: four lanes are a register of NEON and SSE.
pub(super) type Portable = [f32; 4];

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
    unsafe fn splat(number: f32) -> Self {
        [number; 4]
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane].mul_add(factor[lane], sum[lane]))
    }
}

/// Implements [`Lanes`] by x86 intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($name:ident, $count:literal, $load:ident, $store:ident, $splat:ident, $mul_add:ident) => {
        pub(super) use std::arch::x86_64::$name;

        impl Lanes for $name {
            const COUNT: usize = $count;

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's; the load needs no alignment.
                unsafe { std::arch::x86_64::$load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's; the store needs no alignment.
                unsafe { std::arch::x86_64::$store(to, self) }
            }

            #[inline(always)]
            unsafe fn splat(number: f32) -> Self {
                // SAFETY: the caller's.
                unsafe { std::arch::x86_64::$splat(number) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
                // SAFETY: the caller's.
                unsafe { std::arch::x86_64::$mul_add(self, factor, sum) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86!(
    __m256,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
x86!(
    __m512,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);

/// `body(0)` … `body(N − 1)`, N ≤ 12, one after the other in the code: with a loop the compiler
/// may decide that sums which are indexed by its counter must stand in memory.
#[inline(always)]
pub(super) fn unrolled<const N: usize>(mut body: impl FnMut(usize)) {
    const { assert!(N <= 12, "as many as are written below") };
    macro_rules! at {
        ($($index:literal)*) => { $(if $index < N { body($index) })* };
    }
    at!(0 1 2 3 4 5 6 7 8 9 10 11);
}
