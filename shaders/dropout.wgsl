// dropout: every element is kept or dropped on its own.

fn unit(n: u32, c: u32, pixel: u32) -> u32 {
    return (n * params.channels + c) * params.pixels + pixel;
}
