// layer_norm2d: each pixel over its channels, so that a pixel is a sample; weight and bias per channel. The rest is in
// shared/sample_norm.wgsl.

fn parameter_index(channel: u32, pixel: u32) -> u32 {
    return channel;
}
