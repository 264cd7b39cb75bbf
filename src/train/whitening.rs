//! Filters that whiten small patches of the training images (`init = "whitening"`), as hlb-CIFAR10 and airbench94 begin.
//!
//! A patch of C channels and R x S pixels is a vector x of D = C R S numbers. With the eigenvectors v and eigenvalues l of
//! the mean of x x^T over all patches, the filters are v / sqrt(l + 5e-4) for all D of them and the same negated: 2 D
//! filters, whose first half has outputs that are uncorrelated and of equal size.

use rayon::prelude::*;

use super::weights::Tensors;
use crate::data::{Normalization, Split};
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, NodeKind};
use crate::tensor::Shape;

/// Most images that are looked at, as in airbench94.
const IMAGES: usize = 5000;

/// Added to each eigenvalue, as in airbench94: directions in which patches hardly differ are not blown up.
const EPS: f64 = 5e-4;

/// Most sweeps of rotations; a matrix of 27 rows takes about 8.
const SWEEPS: usize = 60;

/// Puts whitening filters of a split's images in the place of the weights of a graph that begin so.
///
/// # Errors
/// If a weight's shape is not that of such filters for these images.
pub fn start(
    tensors: &mut Tensors,
    graph: &Graph,
    split: &Split,
    normalization: Option<&Normalization>,
) -> Result<()> {
    for node in graph.nodes() {
        if !matches!(node.kind, NodeKind::Parameter(Init::Whitening)) {
            continue;
        }
        let Some(tensor) = tensors.get_mut(&node.name) else { continue };
        tensor.data = filters(&tensor.shape, split, normalization).map_err(|message| {
            Error::Model(format!("conv2d \"{}\": init = \"whitening\" {message}", node.name))
        })?;
    }
    Ok(())
}

/// Filters `[K, C, R, S]`, in row-major order.
fn filters(shape: &Shape, split: &Split, normalization: Option<&Normalization>) -> Result<Vec<f32>, String> {
    let image = split.image();
    let Some([k, c, r, s]) = shape.as_4d() else {
        return Err(format!("is for filters [K, C, R, S], the weight is {shape}"));
    };
    let patch = c * r * s;
    if c != image[0] || r > image[1] || s > image[2] {
        return Err(format!("is for the first layer: the weight is {shape}, images are {image:?}"));
    }
    if k != 2 * patch {
        return Err(format!(
            "needs out_channels = {} (2 x {c} x {r} x {s}), the weight is {shape}",
            2 * patch
        ));
    }
    let moments = moments([c, r, s], split, normalization).map_err(|error| format!("failed: {error}"))?;
    let (values, vectors) = eigen(moments, patch);
    let mut order: Vec<usize> = (0..patch).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let positive = order.into_iter().flat_map(|index| {
        // What is below zero is rounding: the moments are positive semidefinite.
        let value = if values[index] < 0.0 { 0.0 } else { values[index] };
        let scale = 1.0 / (value + EPS).sqrt();
        vectors.iter().map(move |row: &Vec<f64>| (row[index] * scale) as f32).collect::<Vec<f32>>()
    });
    let positive: Vec<f32> = positive.collect();
    if !positive.iter().all(|value| value.is_finite()) {
        return Err("needs images of finite pixels".to_string());
    }
    let negative = positive.iter().map(|value| -value).collect();
    Ok([positive, negative].concat())
}

/// The mean of x x^T over all patches x of up to [`IMAGES`] images that lie evenly in the split; x in the order C, R, S.
fn moments(
    [c, r, s]: [usize; 3],
    split: &Split,
    normalization: Option<&Normalization>,
) -> Result<Vec<Vec<f64>>> {
    let [_, height, width] = split.image();
    let count = split.len().min(IMAGES);
    let samples: Vec<u32> = (0..count).map(|index| (index * split.len() / count) as u32).collect();
    let patch = c * r * s;
    // Partial sums by fixed numbers of images, added up in order: the same bits with any number of threads.
    let sums = samples.par_chunks(64).map(|samples| {
        let pixels = split.pixels(samples, normalization)?;
        let mut sum = vec![0.0; patch * patch];
        let mut x = vec![0.0; patch];
        for image in pixels.chunks_exact(height * width * c) {
            for (top, left) in (0..=height - r).flat_map(|top| (0..=width - s).map(move |left| (top, left))) {
                for (index, x) in x.iter_mut().enumerate() {
                    let (channel, row, column) = (index / (r * s), index / s % r, index % s);
                    *x = f64::from(image[((top + row) * width + left + column) * c + channel]);
                }
                for (sums, a) in sum.chunks_exact_mut(patch).zip(&x) {
                    sums.iter_mut().zip(&x).for_each(|(sum, b)| *sum += a * b);
                }
            }
        }
        Ok(sum)
    });
    let sums: Vec<Vec<f64>> = sums.collect::<Result<_>>()?;
    let patches = (count * (height - r + 1) * (width - s + 1)) as f64;
    let mut total = vec![0.0; patch * patch];
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
    }
    Ok(total.chunks_exact(patch).map(|row| row.iter().map(|sum| sum / patches).collect()).collect())
}

/// Eigenvalues and eigenvectors (as columns) of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut a: Vec<Vec<f64>>, n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|row| (0..n).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    let pairs: Vec<(usize, usize)> = (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))).collect();
    for _ in 0..SWEEPS {
        let rest: f64 = pairs.iter().map(|(p, q)| a[*p][*q].abs()).sum();
        let size: f64 = (0..n).map(|p| a[p][p].abs()).sum();
        if rest <= 1e-15 * size {
            break;
        }
        for &(p, q) in &pairs {
            if a[p][q] == 0.0 {
                continue;
            }
            // The angle that makes a[p][q] zero, the smaller of the two.
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
            let turn = (cosine, tangent * cosine);
            for row in a.iter_mut().chain(&mut vectors) {
                (row[p], row[q]) = rotated(turn, row[p], row[q]);
            }
            for column in 0..n {
                (a[p][column], a[q][column]) = rotated(turn, a[p][column], a[q][column]);
            }
        }
    }
    ((0..n).map(|index| a[index][index]).collect(), vectors)
}

fn rotated((cosine, sine): (f64, f64), p: f64, q: f64) -> (f64, f64) {
    (cosine * p - sine * q, sine * p + cosine * q)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::Images;
    use crate::tensor::{CounterRng, Purpose};

    /// Images whose neighbouring pixels and channels are alike.
    fn split(count: usize, image: [usize; 3]) -> Split {
        let len = count * image.iter().product::<usize>();
        let shape = Shape::from(vec![len]);
        let mut noise = Init::Uniform(1.0).sample(&shape, &mut CounterRng::new(3, Purpose::Init, "noise", 0));
        for index in 2..len {
            noise[index] = 0.4 * noise[index] + 0.5 * noise[index - 1] - 0.2 * noise[index - 2];
        }
        Split::new(Images::F32(Arc::new(noise)), vec![0; count], image).unwrap()
    }

    #[test]
    fn a_matrix_is_its_eigenvalues_and_eigenvectors() {
        let matrix = moments([3, 2, 2], &split(70, [3, 5, 6]), None).unwrap();
        let (values, vectors) = eigen(matrix.clone(), 12);
        for p in 0..12 {
            for q in 0..12 {
                let product = |weights: &dyn Fn(usize) -> f64| -> f64 {
                    (0..12).map(|k| vectors[p][k] * weights(k) * vectors[q][k]).sum()
                };
                assert!((product(&|k| values[k]) - matrix[p][q]).abs() < 1e-13);
                assert!((product(&|_| 1.0) - f64::from(u8::from(p == q))).abs() < 1e-13);
            }
        }
        assert_eq!(eigen(vec![vec![2.5]], 1), (vec![2.5], vec![vec![1.0]]));
    }

    #[test]
    fn filtered_patches_are_white() {
        let split = split(70, [3, 5, 6]);
        let shape = Shape::from([24, 3, 2, 2]);
        let weight = filters(&shape, &split, None).unwrap();
        assert!(weight[..144].iter().zip(&weight[144..]).all(|(a, b)| *a == -b));
        let matrix = moments([3, 2, 2], &split, None).unwrap();
        let filter = |k: usize| &weight[k * 12..][..12];
        for (p, q) in (0..12).flat_map(|p| (0..12).map(move |q| (p, q))) {
            let pairs = (0..144).map(|i| {
                f64::from(filter(p)[i / 12]) * matrix[i / 12][i % 12] * f64::from(filter(q)[i % 12])
            });
            let moment: f64 = pairs.sum();
            // l / (l + eps) on the diagonal.
            let white = if p == q { 0.9..1.0 + 1e-6 } else { -1e-5..1e-5 };
            assert!(white.contains(&moment), "{p} {q}: {moment}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let split = split(4, [3, 5, 6]);
        let message = |shape: &[usize]| filters(&Shape::from(shape.to_vec()), &split, None).unwrap_err();
        assert!(message(&[23, 3, 2, 2]).starts_with("needs out_channels = 24 (2 x 3 x 2 x 2)"));
        assert!(message(&[8, 1, 2, 2]).starts_with("is for the first layer"));
        assert!(message(&[24, 3]).starts_with("is for filters [K, C, R, S]"));
    }
}
