// layer_norm: each sample over all of its elements, with a weight and a bias for each. These are [C, H, W] in memory,
// unlike the images; rows of a matrix are samples of one pixel. The rest is in shared/sample_norm.wgsl.

fn parameter_index(channel: u32, pixel: u32) -> u32 {
    return channel * params.pixels + pixel;
}
