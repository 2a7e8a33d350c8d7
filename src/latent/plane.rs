//! Principal component analysis: the plane that explains most of the variance of a cloud of points.

use crate::config::Sampling;
use crate::generate::sampling::Sampler;

/// Directions that are iterated together. More than two, so that the first two converge
/// quickly even if a few more have nearly the same variance.
const BLOCK: usize = 12;
/// The most iterations. Each reduces the error by the ratio of two variances.
const ROUNDS: usize = 1000;
/// The most sweeps of [`eigen`], which needs about eight.
const SWEEPS: usize = 60;
/// An axis has converged once the covariance turns it by less than this.
const EXACT: f64 = 1e-9;

/// The plane of the two directions in which points vary most.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// The mean of the points (Z).
    mean: Vec<f64>,
    /// Orthogonal unit vectors (Z), that of more variance first. The entry farthest from zero
    /// is positive, so that the same points always give the same picture.
    axes: [Vec<f64>; 2],
    /// The fractions of the points' variance that the axes explain, each in 0…1.
    pub explained: [f64; 2],
}

impl Plane {
    /// The plane of points (N, each Z). If they vary in fewer than two directions, the remaining axes
    /// are zero and explain nothing.
    ///
    /// # Panics
    /// If there is no point, or their lengths differ.
    pub fn of(points: &[&[f32]]) -> Self {
        let size = points[0].len();
        let mut mean = vec![0.0; size];
        for point in points {
            assert_eq!(point.len(), size, "points of one space");
            for (mean, &x) in mean.iter_mut().zip(*point) {
                *mean += f64::from(x) / points.len() as f64;
            }
        }
        let centred: Vec<Vec<f64>> = points
            .iter()
            .map(|point| centre(point, &mean).collect())
            .collect();
        let whole: f64 = centred.iter().flatten().map(|x| x * x).sum::<f64>() / points.len() as f64;
        let (axes, variances) = principal(&centred, size, whole);
        Self {
            mean,
            axes,
            explained: variances.map(|variance| variance / whole.max(f64::MIN_POSITIVE)),
        }
    }

    /// The coordinates of a point (Z) on the plane.
    pub fn project(&self, point: &[f32]) -> [f64; 2] {
        let centred: Vec<f64> = centre(point, &self.mean).collect();
        [0, 1].map(|axis| dot(&centred, &self.axes[axis]))
    }

    /// The point (Z) of the plane with these coordinates.
    pub fn point(&self, [x, y]: [f64; 2]) -> Vec<f32> {
        let axes = self.axes[0].iter().zip(&self.axes[1]);
        let point = self.mean.iter().zip(axes);
        point
            .map(|(mean, (first, second))| (mean + x * first + y * second) as f32)
            .collect()
    }
}

fn centre<'a>(point: &'a [f32], mean: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    point.iter().zip(mean).map(|(&x, mean)| f64::from(x) - mean)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The two directions of most variance of centred points, and the variances: orthogonal iteration
/// with a Rayleigh-Ritz step (Golub & Van Loan, Matrix Computations, 8.2), which never forms the
/// covariance (Z, Z) and so is fast for any Z.
fn principal(points: &[Vec<f64>], size: usize, whole: f64) -> ([Vec<f64>; 2], [f64; 2]) {
    let none = ([vec![0.0; size], vec![0.0; size]], [0.0; 2]);
    if whole <= f64::MIN_POSITIVE {
        return none;
    }
    let mut block = begin(size);
    for _ in 0..ROUNDS {
        orthonormal(&mut block);
        let images: Vec<Vec<f64>> = block.iter().map(|v| covariance(points, v)).collect();
        let inner: Vec<Vec<f64>> = block
            .iter()
            .map(|v| images.iter().map(|image| dot(v, image)).collect())
            .collect();
        let (values, vectors) = eigen(inner);
        let mix = |of: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let combine = |weights: &Vec<f64>| combination(weights, of, size);
            vectors.iter().map(combine).collect()
        };
        let (ritz, turned) = (mix(&block), mix(&images));
        let residual = |i: usize| {
            let off = turned[i]
                .iter()
                .zip(&ritz[i])
                .map(|(x, v)| x - values[i] * v);
            off.map(|x| x * x).sum::<f64>().sqrt()
        };
        let wanted = ritz.len().min(2);
        let found = (0..wanted).all(|i| residual(i) < EXACT * whole);
        if found {
            return first_two(&ritz, &values, size, whole);
        }
        block = turned;
    }
    // Two directions with nearly the same variance: either serves.
    orthonormal(&mut block);
    let variance = |v: &Vec<f64>| dot(v, &covariance(points, v));
    let values: Vec<f64> = block.iter().map(variance).collect();
    first_two(&block, &values, size, whole)
}

/// The initial directions, the same each time.
fn begin(size: usize) -> Vec<Vec<f64>> {
    let config = Sampling::new(0);
    let mut random = Sampler::new(&config, &[], 0);
    (0..BLOCK.min(size))
        .map(|_| (0..size).map(|_| f64::from(random.normal())).collect())
        .collect()
}

fn first_two(
    axes: &[Vec<f64>],
    values: &[f64],
    size: usize,
    whole: f64,
) -> ([Vec<f64>; 2], [f64; 2]) {
    // What rounding leaves is not a direction.
    let holds = |&axis: &usize| axis < axes.len() && values[axis] > 1e-12 * whole;
    let axis = |axis: usize| match Some(axis).filter(holds) {
        Some(axis) => (upright(&axes[axis]), values[axis]),
        None => (vec![0.0; size], 0.0),
    };
    let ((first, x), (second, y)) = (axis(0), axis(1));
    ([first, second], [x, y])
}

/// The axis or its opposite, whichever has its entry farthest from zero positive.
fn upright(axis: &[f64]) -> Vec<f64> {
    let farthest = axis
        .iter()
        .fold(0.0_f64, |far, &x| if x.abs() > far.abs() { x } else { far });
    axis.iter().map(|x| x * farthest.signum()).collect()
}

/// The covariance of centred points times a vector (Z).
fn covariance(points: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    let mut image = vec![0.0; vector.len()];
    for point in points {
        let along = dot(point, vector) / points.len() as f64;
        for (image, x) in image.iter_mut().zip(point) {
            *image += along * x;
        }
    }
    image
}

fn combination(weights: &[f64], of: &[Vec<f64>], size: usize) -> Vec<f64> {
    let mut sum = vec![0.0; size];
    for (weight, vector) in weights.iter().zip(of) {
        for (sum, x) in sum.iter_mut().zip(vector) {
            *sum += weight * x;
        }
    }
    sum
}

/// Orthonormalizes vectors (Gram & Schmidt, applied twice against rounding); those that depend on
/// earlier ones become zero.
fn orthonormal(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        for _ in 0..2 {
            for other in &*before {
                let along = dot(vector, other);
                for (x, other) in vector.iter_mut().zip(other) {
                    *x -= along * other;
                }
            }
        }
        let left = dot(vector, vector).sqrt();
        let scale = if left > 1e-12 * length {
            1.0 / left
        } else {
            0.0
        };
        for x in vector.iter_mut() {
            *x *= scale;
        }
    }
}

/// Eigenvalues of a symmetric matrix in descending order, and its unit eigenvectors, by Jacobi's
/// rotations (Golub & Van Loan, 8.5).
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..size)
        .map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..size {
            for q in p + 1..size {
                let scale = (matrix[p][p] * matrix[q][q]).abs().sqrt();
                let off = matrix[p][q];
                if off.abs() <= f64::EPSILON * scale || off.abs() < f64::MIN_POSITIVE {
                    continue;
                }
                turned = true;
                let tau = (matrix[q][q] - matrix[p][p]) / (2.0 * off);
                let tangent = tau.signum() / (tau.abs() + tau.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                rotate(
                    &mut matrix,
                    &mut vectors,
                    (p, q),
                    (cosine, tangent * cosine),
                );
            }
        }
        if !turned {
            break;
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
    let values = order.iter().map(|&i| matrix[i][i]).collect();
    let vectors = order.iter().map(|&i| vectors[i].clone()).collect();
    (values, vectors)
}

/// Rotates rows and columns p and q of the matrix, and the vectors p and q, by one angle.
fn rotate(
    matrix: &mut [Vec<f64>],
    vectors: &mut [Vec<f64>],
    (p, q): (usize, usize),
    (cosine, sine): (f64, f64),
) {
    let turn = |x: f64, y: f64| (cosine * x - sine * y, sine * x + cosine * y);
    for row in matrix.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    for k in 0..matrix.len() {
        (matrix[p][k], matrix[q][k]) = turn(matrix[p][k], matrix[q][k]);
        (vectors[p][k], vectors[q][k]) = turn(vectors[p][k], vectors[q][k]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn the_axes_of_an_ellipse_are_found_in_closed_form() {
        // Points ± 3 along (4, 3)/5 and ± 1 across it, around (10, 20).
        let (along, across) = ([2.4, 1.8], [-0.6, 0.8]);
        let points: Vec<Vec<f32>> = [along, across]
            .iter()
            .flat_map(|d: &[f32; 2]| [1.0, -1.0].map(|s| vec![10.0 + s * d[0], 20.0 + s * d[1]]))
            .collect();
        let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
        let plane = Plane::of(&points);
        assert!(near(plane.explained[0], 0.9) && near(plane.explained[1], 0.1));
        let [x, y] = plane.project(&[10.0 + 2.4, 20.0 + 1.8]);
        assert!(near(x, 3.0) && near(y, 0.0), "{x} {y}");
        let there = plane.point([3.0, 1.0]);
        let want = [10.0 + 2.4 - 0.6, 20.0 + 1.8 + 0.8];
        assert!(
            there.iter().zip(want).all(|(&a, b)| near(f64::from(a), b)),
            "{there:?}"
        );
        let [x, y] = plane.project(&[10.0 - 0.6, 20.0 + 0.8]);
        assert!(near(x, 0.0) && near(y, 1.0), "{x} {y}");
    }

    #[test]
    fn the_two_longest_of_many_axes_are_found_to_the_last_digits() {
        // Independent coordinates whose deviations are known, with a third nearly as long.
        let mut numbers = Numbers::new(3);
        let size = 40;
        let points: Vec<Vec<f32>> = (0..500)
            .map(|_| {
                let mut point = numbers.vector(size, 1.0);
                point[17] *= 5.0;
                point[4] *= 4.0;
                point[30] *= 3.9;
                point
            })
            .collect();
        let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
        let plane = Plane::of(&points);
        let centred: Vec<Vec<f64>> = points
            .iter()
            .map(|point| centre(point, &plane.mean).collect())
            .collect();
        let matrix: Vec<Vec<f64>> = (0..size)
            .map(|i| {
                let unit: Vec<f64> = (0..size).map(|j| f64::from(u8::from(i == j))).collect();
                covariance(&centred, &unit)
            })
            .collect();
        let (values, vectors) = eigen(matrix);
        let whole: f64 = values.iter().sum();
        for axis in 0..2 {
            assert!(near(plane.explained[axis], values[axis] / whole));
            let cosine = dot(&plane.axes[axis], &vectors[axis]).abs();
            assert!(near(cosine, 1.0), "{cosine}");
        }
        // The picture does not flip.
        assert!(plane.axes[0][17] > 0.9, "{:?}", plane.axes[0]);
    }

    #[test]
    fn eigenvectors_solve_the_equation() {
        let mut numbers = Numbers::new(9);
        let half: Vec<f64> = numbers.vector(49, 1.0).into_iter().map(f64::from).collect();
        let matrix: Vec<Vec<f64>> = (0..7)
            .map(|i| (0..7).map(|j| half[7 * i + j] + half[7 * j + i]).collect())
            .collect();
        let (values, vectors) = eigen(matrix.clone());
        assert!(values.is_sorted_by(|a, b| a >= b));
        for (value, vector) in values.iter().zip(&vectors) {
            for (row, x) in matrix.iter().zip(vector) {
                assert!((dot(row, vector) - value * x).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn points_on_a_line_or_in_one_place_have_no_second_axis() {
        let points: [&[f32]; 3] = [&[0.0, 0.0, 1.0], &[1.0, 2.0, 1.0], &[2.0, 4.0, 1.0]];
        let plane = Plane::of(&points);
        assert!(near(plane.explained[0], 1.0) && plane.explained[1] == 0.0);
        assert!(near(plane.project(points[2])[0], 5.0_f64.sqrt()));
        let same = Plane::of(&[&[1.0, 2.0][..]; 4]);
        assert_eq!(same.explained, [0.0, 0.0]);
        assert_eq!(same.project(&[7.0, 7.0]), [0.0, 0.0]);
        let single = Plane::of(&[&[1.0_f32][..], &[3.0][..]]);
        assert!(near(single.explained[0], 1.0) && near(single.project(&[3.0])[0], 1.0));
    }
}
