// instance_norm: each sample's channels over all pixels; weight and bias per channel. The rest is in
// shared/sample_norm.wgsl.

fn parameter_index(channel: u32, pixel: u32) -> u32 {
    return channel;
}
