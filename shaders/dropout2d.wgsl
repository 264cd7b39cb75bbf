// dropout2d: every channel of every sample is kept or dropped as a whole.

fn unit(n: u32, c: u32, pixel: u32) -> u32 {
    return n * params.channels + c;
}
