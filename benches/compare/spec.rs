// Shared by the crates beside this file: wgrad's model files with the sizes filled in, arguments of the command line, and
// the measurement itself. Only what the networks of run.py use is known.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use toml::{Table, Value};

/// A layer with the sizes that a framework asks for.
pub enum Layer {
    Conv { inputs: usize, outputs: usize, kernel: usize, stride: usize, padding: usize, groups: usize, bias: bool },
    BatchNorm { channels: usize },
    Relu,
    Relu6,
    MaxPool { kernel: usize, stride: usize, padding: usize },
    GlobalAvgPool,
    Flatten,
    Linear { inputs: usize, outputs: usize },
    Dropout { p: f64 },
    Residual { body: Vec<Layer>, shortcut: Vec<Layer> },
}

/// The command line of run.py.
pub struct Arguments {
    pub backend: String,
    pub model: String,
    pub input: [usize; 3],
    pub classes: usize,
    pub batch: usize,
    pub adam: bool,
    pub momentum: f64,
    pub steps: usize,
    pub warmup: usize,
}

impl Arguments {
    pub fn parse() -> Arguments {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let find = |name: &str| {
            let at = words.iter().position(|word| word == name);
            at.and_then(|at| words.get(at + 1)).cloned()
        };
        let number = |name: &str| find(name).and_then(|text| text.parse().ok());
        let sizes = find("--input").expect("--input C,H,W");
        let sizes: Vec<usize> = sizes.split(',').map(|size| size.parse().expect("a number")).collect();
        Arguments {
            backend: find("--backend").unwrap_or_default(),
            model: find("--model").expect("--model FILE"),
            input: sizes.try_into().expect("three sizes"),
            classes: number("--classes").unwrap_or(10),
            batch: number("--batch-size").unwrap_or(64),
            adam: find("--optimizer").is_some_and(|name| name == "adam"),
            momentum: find("--momentum").and_then(|text| text.parse().ok()).unwrap_or(0.9),
            steps: number("--steps").unwrap_or(10),
            warmup: number("--warmup").unwrap_or(3),
        }
    }

    /// The layers of the model file.
    pub fn layers(&self) -> Vec<Layer> {
        let text = std::fs::read_to_string(&self.model).expect("a model file");
        let table: Table = text.parse().expect("TOML");
        Reader { classes: self.classes }.layers(&table["layers"], &mut self.input.clone())
    }

    /// Images in -1..1 and labels.
    pub fn batch(&self) -> (Vec<f32>, Vec<i64>) {
        let pixels = self.batch * self.input.iter().product::<usize>();
        let image = |index: usize| (index.wrapping_mul(2654435761) % 2000) as f32 / 1000.0 - 1.0;
        let labels = (0..self.batch).map(|sample| (sample % self.classes) as i64).collect();
        ((0..pixels).map(image).collect(), labels)
    }
}

struct Reader {
    classes: usize,
}

impl Reader {
    /// The layers of a list, given the size [C, H, W] of what they are applied to, which becomes that of their output.
    fn layers(&self, list: &Value, size: &mut [usize; 3]) -> Vec<Layer> {
        let entries = list.as_array().expect("a list of layers");
        entries.iter().map(|entry| self.layer(entry, size)).collect()
    }

    fn layer(&self, entry: &Value, size: &mut [usize; 3]) -> Layer {
        let empty = Value::Table(Table::new());
        let (name, arguments) = match entry {
            Value::String(name) => (name.as_str(), &empty),
            entry => {
                let (name, arguments) = entry.as_table().and_then(|table| table.iter().next()).expect("a layer");
                (name.as_str(), arguments)
            }
        };
        let number = |name: &str, default: usize| match arguments.get(name) {
            Some(Value::String(_)) => self.classes,
            Some(value) => value.as_integer().expect("a number") as usize,
            None => default,
        };
        match name {
            "conv2d" => {
                let (kernel, outputs) = (number("kernel_size", 1), number("out_channels", 1));
                let (stride, padding) = (number("stride", 1), number("padding", 0));
                let bias = arguments.get("bias").and_then(Value::as_bool).unwrap_or(true);
                let inputs = size[0];
                *size = windows(*size, outputs, [kernel, stride, padding]);
                Layer::Conv { inputs, outputs, kernel, stride, padding, groups: number("groups", 1), bias }
            }
            "max_pool2d" => {
                let kernel = number("kernel_size", 1);
                let (stride, padding) = (number("stride", kernel), number("padding", 0));
                *size = windows(*size, size[0], [kernel, stride, padding]);
                Layer::MaxPool { kernel, stride, padding }
            }
            "global_avg_pool2d" => {
                *size = [size[0], 1, 1];
                Layer::GlobalAvgPool
            }
            "linear" => {
                let (inputs, outputs) = (size.iter().product(), number("out_features", 1));
                *size = [outputs, 1, 1];
                Layer::Linear { inputs, outputs }
            }
            "residual" => {
                let mut skipped = *size;
                let body = self.layers(&arguments["body"], size);
                let shortcut = arguments.get("shortcut").map(|list| self.layers(list, &mut skipped));
                Layer::Residual { body, shortcut: shortcut.unwrap_or_default() }
            }
            "batch_norm" => Layer::BatchNorm { channels: size[0] },
            "dropout" => Layer::Dropout { p: arguments["p"].as_float().expect("a probability") },
            "relu" => Layer::Relu,
            "relu6" => Layer::Relu6,
            "flatten" => Layer::Flatten,
            other => panic!("the layer {other} is not known here"),
        }
    }
}

fn windows([_, h, w]: [usize; 3], channels: usize, [kernel, stride, padding]: [usize; 3]) -> [usize; 3] {
    let count = |extent: usize| (extent + 2 * padding - kernel) / stride + 1;
    [channels, count(h), count(w)]
}

/// Times steps as `wgrad bench` does and prints the result as JSON; `step` returns once its loss is there.
pub fn measure(arguments: &Arguments, mut step: impl FnMut()) {
    step();
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut times: Vec<f64> = (0..arguments.warmup + arguments.steps)
        .map(|_| {
            let began = Instant::now();
            step();
            began.elapsed().as_secs_f64() * 1e3
        })
        .skip(arguments.warmup)
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    let found = serde_json::json!({
        "model": arguments.model,
        "device": arguments.backend,
        "batch_size": arguments.batch,
        "steps": times.len(),
        "ms_per_step": at(0.5),
        "ms_per_step_p10": at(0.1),
        "ms_per_step_p90": at(0.9),
        "img_per_s": arguments.batch as f64 / at(0.5) * 1e3,
        "peak_resident_bytes": peak_resident_bytes(),
        "first_step_unix_ms": first.as_secs_f64() * 1e3,
    });
    println!("{found}");
}

fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
