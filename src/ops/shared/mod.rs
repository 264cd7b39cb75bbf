//! What operators have in common: samples and layers as the registry knows them, geometry of windows and tiles, and the
//! cores of families whose members differ in a formula.

pub(crate) mod average;
pub(crate) mod batch_norm_grad;
pub(crate) mod batch_norm_host;
pub(crate) mod binary;
pub(crate) mod broadcast;
pub(crate) mod convolution;
pub(crate) mod convolution_grouped;
pub(crate) mod convolution_host;
pub(crate) mod convolution_lower;
pub(crate) mod cooperative;
pub(crate) mod cross_entropy_host;
pub(crate) mod depthwise_host;
pub(crate) mod epilogue;
pub(crate) mod gemm_tile;
pub(crate) mod layer;
pub(crate) mod mask;
pub(crate) mod matrix;
pub(crate) mod panels;
pub(crate) mod partials;
pub(crate) mod pointwise_loss;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod reduction;
pub(crate) mod sample;
pub(crate) mod sample_norm;
pub(crate) mod sample_norm_host;
pub(crate) mod simd;
pub(crate) mod statistics;
pub(crate) mod sweep;
pub(crate) mod unary;
pub(crate) mod weight_sums;
pub(crate) mod window;
