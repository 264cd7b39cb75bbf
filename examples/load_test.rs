//! Load for `wgrad serve`: requests at a fixed rate, or as fast as they are answered, and how long each took.
//!
//! ```text
//! wgrad serve runs/digits-cnn-1 &
//! cargo run --release --example load_test -- 127.0.0.1:8080 3.png --rate 200 --seconds 10 --json load.json
//! ```
//!
//! The load is open: request n is due at n / rate seconds, whether or not earlier ones have been answered, and its time
//! counts from when it was due. So a server that falls behind looks as slow as it is. With `--rate 0` each connection
//! asks again as soon as it has its answer, which gives the largest throughput.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

struct Settings {
    address: String,
    request: Vec<u8>,
    rate: f64,
    seconds: f64,
    connections: usize,
    json: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::parse(std::env::args().skip(1).collect())?;
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    let found: Result<Vec<Vec<f64>>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..settings.connections)
            .map(|_| scope.spawn(|| ask(&settings, begun, &next).map_err(|error| error.to_string())))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_string())?)
            .collect()
    });
    let elapsed = begun.elapsed().as_secs_f64();
    let mut times = found?.concat();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)] * 1e3;
    if times.is_empty() {
        return Err("no request was answered".into());
    }
    let throughput = times.len() as f64 / elapsed;
    let [p50, p90, p99, p999, most] = [0.5, 0.9, 0.99, 0.999, 1.0].map(at);
    println!("requests  per s     p50 ms    p90 ms    p99 ms    p99.9 ms  max ms");
    println!(
        "{:<10}{throughput:<10.1}{p50:<10.2}{p90:<10.2}{p99:<10.2}{p999:<10.2}{most:<10.2}",
        times.len()
    );
    if let Some(path) = &settings.json {
        let report = json!({
            "rate": settings.rate, "connections": settings.connections, "requests": times.len(),
            "seconds": elapsed, "per_second": throughput,
            "ms": { "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": most },
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}

impl Settings {
    fn parse(arguments: Vec<String>) -> Result<Settings, Box<dyn Error>> {
        let usage = "load_test HOST:PORT IMAGE [--rate N] [--seconds N] [--connections N] [--json FILE]";
        let [address, image, flags @ ..] = &arguments[..] else { return Err(usage.into()) };
        let image = std::fs::read(image)?;
        let head = format!(
            "POST /predict HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\n\r\n",
            image.len()
        );
        let request = [head.as_bytes(), &image].concat();
        let address = address.clone();
        let mut settings =
            Settings { address, request, rate: 200.0, seconds: 10.0, connections: 16, json: None };
        for pair in flags.chunks(2) {
            match pair {
                [flag, value] if flag == "--rate" => settings.rate = value.parse()?,
                [flag, value] if flag == "--seconds" => settings.seconds = value.parse()?,
                [flag, value] if flag == "--connections" => settings.connections = value.parse()?,
                [flag, value] if flag == "--json" => settings.json = Some(value.clone()),
                _ => return Err(usage.into()),
            }
        }
        Ok(settings)
    }
}

/// Takes the next request that is due until the time is over, on one connection; gives the seconds that each took.
fn ask(settings: &Settings, begun: Instant, next: &AtomicU64) -> Result<Vec<f64>, Box<dyn Error>> {
    let stream = TcpStream::connect(&settings.address)?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut times = vec![];
    loop {
        let due = match settings.rate > 0.0 {
            true => {
                let number = next.fetch_add(1, Ordering::Relaxed) as f64;
                begun + Duration::from_secs_f64(number / settings.rate)
            }
            false => Instant::now(),
        };
        if (due - begun).as_secs_f64() >= settings.seconds {
            return Ok(times);
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.get_mut().write_all(&settings.request)?;
        receive(&mut stream)?;
        times.push(due.elapsed().as_secs_f64());
    }
}

/// One answer, which must be a good one.
fn receive(stream: &mut BufReader<TcpStream>) -> Result<(), Box<dyn Error>> {
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("the server answers: {}", line.trim()).into());
    }
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(())
}
