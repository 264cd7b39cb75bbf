use wgrad::models::ModelSpec;
use wgrad::train::{Device, benchmark, program::Task};
fn main() -> wgrad::Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let image = [a[2].parse().unwrap(), a[3].parse().unwrap(), a[3].parse().unwrap()];
    let task = Task { image, classes: 10, batch_size: a[4].parse().unwrap(), label_smoothing: 0.0 };
    let model = ModelSpec::load(&a[1])?.bind(image, 10)?;
    let device = pollster::block_on(Device::open(&a[5].clone().into()))?;
    let n: usize = a[6].parse().unwrap();
    let b = pollster::block_on(benchmark(&model, &task, &device, n / 3, n))?;
    println!("{:.2} ms first {:.0} gflops {:.1}", b.ms_per_step, b.ms_to_first_step, b.gflop_per_s);
    for (l, t) in &b.kernels {
        println!("{t:9.3} {l}");
    }
    Ok(())
}
