use std::sync::Mutex;

use rayon::prelude::*;

use super::gemm::Multiply;
use crate::graph::{Gemm, Host};

/// Threads by rayon, products by the kernels of `cpu/gemm.rs`.
#[derive(Debug, Default)]
pub struct Threads<T> {
    /// Memory given back by `with_scratch`, for the next call.
    scratch: Mutex<Vec<Vec<T>>>,
}

/// Below this many elements, starting threads costs more than they save.
const SERIAL: usize = 8192;

impl<T: Multiply> Host<T> for Threads<T> {
    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn gemm(&self, gemm: Gemm<'_, T>) {
        super::gemm::gemm(gemm);
    }

    fn for_each_chunk(&self, data: &mut [T], chunk: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
        if data.len() <= chunk {
            work(0, data);
        } else {
            data.par_chunks_mut(chunk).enumerate().for_each(|(i, data)| work(i, data));
        }
    }

    fn for_each_chunk_pair(
        &self,
        (first, first_chunk): (&mut [T], usize),
        (second, second_chunk): (&mut [T], usize),
        work: &(dyn Fn(usize, &mut [T], &mut [T]) + Sync),
    ) {
        assert_eq!(first.len().div_ceil(first_chunk), second.len().div_ceil(second_chunk), "as many chunks");
        if first.len().max(second.len()) <= SERIAL {
            let pairs = first.chunks_mut(first_chunk).zip(second.chunks_mut(second_chunk));
            pairs.enumerate().for_each(|(i, (a, b))| work(i, a, b));
        } else {
            let pairs = first.par_chunks_mut(first_chunk).zip(second.par_chunks_mut(second_chunk));
            pairs.enumerate().for_each(|(i, (a, b))| work(i, a, b));
        }
    }

    fn with_scratch(&self, len: usize, work: &mut dyn FnMut(&mut [T])) {
        let pool = || self.scratch.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut buffer = take_fitting(&mut pool(), len);
        if buffer.len() < len {
            buffer = vec![T::zero(); len];
        }
        work(&mut buffer[..len]);
        pool().push(buffer);
    }
}

/// The smallest buffer that is large enough, or the largest.
fn take_fitting<T>(pool: &mut Vec<Vec<T>>, len: usize) -> Vec<T> {
    let fitting = pool.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
    let best = fitting.min_by_key(|(_, buffer)| buffer.len());
    let best = best.or(pool.iter().enumerate().max_by_key(|(_, buffer)| buffer.len()));
    let best = best.map(|(index, _)| index);
    best.map(|index| pool.swap_remove(index)).unwrap_or_default()
}
