//! Fused graphs against the same graphs layer by layer: outputs, gradients and running statistics, in f64, f32 and on
//! every adapter; for the built-in networks and for small graphs in which a careless rule would go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::fusion::{fuse, fuse_gradients};
use wgrad::graph::{Graph, Mode, NodeKind, Step, TensorDesc, Value};
use wgrad::ops::{self, Epilogue, add::Add, batch_norm::Normalization};
use wgrad::plan::{Data, PageList, Program};
use wgrad::tensor::{CounterRng, DType, Purpose};
use wgrad::train::program::{Task, eval_graph, train_graph, unfused_graphs};
use wgrad::train::recipe::Precision;
use wgrad::train::weights;
use wgrad::{Result, cpu, gpu, models};

/// All that a run gives, by name.
type Outputs = BTreeMap<String, Vec<f64>>;

/// A graph whose gradients and statistics are outputs too, with data.
struct Case {
    host: Arc<Program>,
    device: Arc<Program>,
    floats: Vec<(String, Vec<f32>)>,
    classes: Vec<(String, Vec<i32>)>,
}

impl Case {
    fn new(mut graph: Graph) -> Case {
        for (parameter, gradient) in graph.gradients().clone() {
            let name = graph.nodes()[parameter.node].name.clone();
            graph.output(&format!("gradient of {name}"), gradient);
        }
        for update in graph.statistic_updates().to_vec() {
            let name = graph.nodes()[update.running.node].name.clone();
            graph.output(&format!("batch's {name}"), update.batch);
        }
        let (mut floats, mut classes) = (vec![], vec![]);
        for node in graph.nodes().iter().filter(|node| matches!(node.kind, NodeKind::Input)) {
            let (name, numel) = (node.name.clone(), node.outputs[0].numel());
            match node.outputs[0].dtype {
                DType::I32 => classes.push((name, (0..numel as i32).map(|i| i * 7 % 3).collect())),
                _ => floats.push((name.clone(), normal(&name, numel))),
            }
        }
        let program = |page| Arc::new(Program::new(vec![graph.clone()], None, page).expect("fits"));
        Case { host: program(u64::MAX), device: program(128 << 20), floats, classes }
    }

    /// Whether no weight is so large that it lies in parts on a GPU: its gradient is no output then, and tests/plan/split.rs
    /// is about it.
    fn is_whole(&self) -> bool {
        self.device.pages.parameters.tensors().iter().all(|(_, _, spans)| spans.len() == 1)
    }

    fn pages(program: &Program) -> [Vec<Vec<f32>>; 2] {
        let graph = &program.graphs[0];
        let mut tensors = weights::initial(graph, 1);
        // Affine parameters and statistics that are not 1 and 0 hide less.
        for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| tensor.shape.len() == 1) {
            let shift = normal(name, tensor.data.len());
            tensor.data.iter_mut().zip(shift).for_each(|(value, shift)| *value += 0.1 * shift.abs());
        }
        weights::all_pages(&program.pages, &tensors)
    }

    fn on_cpu<T: cpu::Element>(&self) -> Outputs {
        let convert = |values: &[f32]| values.iter().map(|x| T::of(f64::from(*x))).collect::<Vec<T>>();
        let mut session = cpu::Session::<T>::new(self.host.clone()).poisoned();
        for (list, pages) in
            [PageList::Parameters, PageList::Statistics].into_iter().zip(Case::pages(&self.host))
        {
            for (to, page) in session.pages_mut(list).iter_mut().zip(&pages) {
                to.copy_from_slice(&convert(page));
            }
        }
        let floats: Vec<Vec<T>> = self.floats.iter().map(|(_, values)| convert(values)).collect();
        let mut inputs: Vec<(&str, Data<'_, T>)> = vec![];
        inputs.extend(
            self.floats.iter().zip(&floats).map(|((name, _), data)| (&**name, Data::Real(&data[..]))),
        );
        inputs.extend(self.classes.iter().map(|(name, data)| (&**name, Data::Int(&data[..]))));
        session.run(0, &inputs, &Step::default());
        let names = self.host.graphs[0].outputs().keys();
        let output = |name: &String| session.output(name).unwrap_or(&[]).iter().map(|x| x.f64()).collect();
        names.map(|name| (name.clone(), output(name))).collect()
    }

    fn on_gpu(&self, gpu: &Arc<gpu::Gpu>) -> Result<Outputs> {
        let serially = &wgrad::selftest::serially;
        let mut session =
            pollster::block_on(gpu::Session::new(gpu.clone(), self.device.clone(), serially))?.poisoned();
        for (list, pages) in
            [PageList::Parameters, PageList::Statistics].into_iter().zip(Case::pages(&self.device))
        {
            session.write_pages(list, &pages);
        }
        let mut inputs: Vec<(&str, Data<'_, f32>)> = vec![];
        inputs.extend(self.floats.iter().map(|(name, data)| (&**name, Data::Real(&data[..]))));
        inputs.extend(self.classes.iter().map(|(name, data)| (&**name, Data::Int(&data[..]))));
        session.submit(0, &inputs, &Step::default())?;
        let outputs = pollster::block_on(session.collect(0))?.map(|finished| finished.outputs);
        let outputs = outputs.unwrap_or_default().into_iter();
        Ok(outputs.map(|(name, values)| (name, values.into_iter().map(f64::from).collect())).collect())
    }
}

fn normal(name: &str, count: usize) -> Vec<f32> {
    use rand_distr::{Distribution, StandardNormal};
    StandardNormal.sample_iter(CounterRng::new(3, Purpose::Sample, name, 0)).take(count).collect()
}

/// How far `got` is from what is wanted, over the largest magnitude, at worst; with the output's name.
fn worst(wanted: &Outputs, got: &Outputs) -> (f64, String) {
    assert_eq!(wanted.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    let error = |(name, wanted): (&String, &Vec<f64>)| {
        let differences =
            wanted.iter().zip(&got[name]).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
        let error = largest(differences) / (largest(wanted.iter().map(|x| x.abs())) + 1e-30);
        (error, name.clone())
    };
    wanted.iter().map(error).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are outputs")
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.max_by(f64::total_cmp).unwrap_or(0.0)
}

/// Compares on the CPU and on every adapter. In f32 and on GPUs the error may be 8 times that of the unfused graph in f32,
/// and `kinks` more: where a network is deep, some ReLU's argument is so near zero that rounding chooses its side.
fn check(name: &str, unfused: Graph, fused: Graph, kinks: f64, adapters: &[Arc<gpu::Gpu>]) -> Vec<String> {
    let (unfused, fused) = (Case::new(unfused), Case::new(fused));
    let reference = unfused.on_cpu::<f64>();
    let mut problems = vec![];
    let mut expect = |what: &str, got: &Outputs, allowed: f64| {
        let (error, output) = worst(&reference, got);
        if error.is_nan() || error > allowed {
            problems.push(format!("{name} {what}: {output} is off by {error:.1e}, allowed is {allowed:.1e}"));
        }
    };
    expect("in f64", &fused.on_cpu::<f64>(), 1e-12);
    let allowed = 8.0 * worst(&reference, &unfused.on_cpu::<f32>()).0 + 1e-6 + kinks;
    expect("in f32", &fused.on_cpu::<f32>(), allowed);
    for gpu in adapters.iter().filter(|_| fused.is_whole()) {
        expect("on a GPU", &fused.on_gpu(gpu).expect("runs"), allowed);
    }
    problems
}

fn adapters() -> Vec<Arc<gpu::Gpu>> {
    let adapters = pollster::block_on(gpu::adapters());
    let required = std::env::var_os("WGRAD_REQUIRE_GPU").is_some();
    assert!(!(required && adapters.is_empty()), "WGRAD_REQUIRE_GPU is set, but there is no adapter");
    let open = |adapter| Arc::new(pollster::block_on(gpu::Gpu::open(adapter)).expect("the adapter opens"));
    adapters.iter().map(open).collect()
}

#[test]
fn networks_compute_the_same() {
    let adapters = adapters();
    let mut problems = vec![];
    for name in models::built_in() {
        let image = match name {
            "seed-cnn" | "digits-cnn" | "small-cnn" => [1, 8, 8],
            "resnet50" => [3, 40, 40],
            // Its four pools leave nothing of less.
            "airbench94-cifar" => [3, 32, 32],
            // Batch norms over two values each have gradients that are nothing but rounding.
            "efficientnet_b0" => [3, 64, 64],
            _ if name.ends_with("-cifar") => [3, 16, 16],
            _ => [3, 32, 32],
        };
        let spec = models::ModelSpec::load(name).expect("built in");
        let model = spec.bind(image, 5).or_else(|_| spec.bind([1, 28, 28], 5)).expect("takes these images");
        // The larger ones are made of the same blocks.
        let parameters = models::summary(&model.graph(Mode::Eval, 1).expect("builds").0).parameters;
        if parameters > 12_000_000 && name != "resnet50" && std::env::var_os("WGRAD_FULL").is_none() {
            continue;
        }
        let task = Task {
            image: model.input(),
            classes: 5,
            batch_size: 2,
            label_smoothing: 0.1,
            precision: Precision::F32,
        };
        let [train, eval] = unfused_graphs(&model, &task).expect("builds").try_into().expect("two graphs");
        let fused = train_graph(&model, &task).expect("builds");
        problems.extend(check(name, train, fused, 2e-2, &adapters));
        let fused = eval_graph(&model, &task).expect("builds");
        problems.extend(check(&format!("{name} in evaluation"), eval, fused, 1e-5, &adapters));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A small graph over the input `x`, which returns what the loss is made of, and how many nodes fusion leaves of it.
struct Small {
    name: &'static str,
    build: fn(&mut Graph, Value) -> Result<Value>,
    left: &'static [&'static str],
}

fn layer(graph: &mut Graph, name: &str, arguments: &str, input: Value) -> Result<Value> {
    let operator = ops::registry().iter().find(|operator| operator.name == name).expect("registered");
    let parse = operator.layer.expect("a layer");
    let layer = parse(arguments.parse().expect("TOML")).expect("known arguments");
    let scope = format!("{name}{}", graph.nodes().len());
    graph.scope(scope, |graph| layer.build(graph, input))
}

fn bn(graph: &mut Graph, input: Value) -> Result<Value> {
    layer(graph, "batch_norm", "", input)
}

fn relu(graph: &mut Graph, input: Value) -> Result<Value> {
    layer(graph, "relu", "", input)
}

fn add(graph: &mut Graph, a: Value, b: Value) -> Result<Value> {
    graph.scope(format!("add{}", graph.nodes().len()), |graph| graph.apply1(Add::default(), &[a, b]))
}

const SMALL: &[Small] = &[
    Small { name: "norm and relu", build: |g, x| bn(g, x).and_then(|y| relu(g, y)), left: &["batch_norm"] },
    Small {
        name: "the norm is read twice",
        build: |g, x| {
            let y = bn(g, x)?;
            let z = relu(g, y)?;
            add(g, z, y)
        },
        left: &["batch_norm", "relu", "add"],
    },
    Small {
        name: "the norm is an output",
        build: |g, x| {
            let y = bn(g, x)?;
            g.output("kept", y);
            relu(g, y)
        },
        left: &["batch_norm", "relu"],
    },
    Small {
        name: "the sum is an output",
        build: |g, x| {
            let y = bn(g, x)?;
            let sum = add(g, y, x)?;
            g.output("kept", sum);
            relu(g, sum)
        },
        left: &["batch_norm", "relu"],
    },
    Small {
        name: "residual",
        build: |g, x| {
            let y = bn(g, x)?;
            let sum = add(g, y, x)?;
            relu(g, sum)
        },
        left: &["batch_norm"],
    },
    Small {
        name: "residual swapped",
        build: |g, x| {
            let y = bn(g, x)?;
            let sum = add(g, x, y)?;
            relu(g, sum)
        },
        left: &["batch_norm"],
    },
    Small {
        name: "both addends are norms",
        build: |g, x| {
            let (y, z) = (bn(g, x)?, bn(g, x)?);
            let sum = add(g, z, y)?;
            relu(g, sum)
        },
        left: &["batch_norm", "batch_norm"],
    },
    Small {
        name: "added to itself",
        build: |g, x| {
            let y = bn(g, x)?;
            let sum = add(g, y, y)?;
            relu(g, sum)
        },
        left: &["batch_norm", "add", "relu"],
    },
    Small {
        name: "the addend is broadcast",
        build: |g, x| {
            let y = bn(g, x)?;
            let pooled = layer(g, "global_avg_pool2d", "", x)?;
            let sum = add(g, y, pooled)?;
            relu(g, sum)
        },
        left: &["batch_norm", "global_avg_pool2d", "add", "relu"],
    },
    Small {
        name: "residual and silu",
        build: |g, x| {
            let y = bn(g, x)?;
            let sum = add(g, y, x)?;
            layer(g, "silu", "", sum)
        },
        left: &["batch_norm", "silu"],
    },
    Small {
        name: "a residual of a residual",
        build: |g, x| {
            let block = |g: &mut Graph, x| {
                let y = layer(g, "conv2d", "out_channels = 5\nkernel_size = 1", x)?;
                let y = bn(g, y)?;
                let sum = add(g, y, x)?;
                relu(g, sum)
            };
            let y = block(g, x)?;
            block(g, y)
        },
        left: &["conv2d", "batch_norm", "conv2d", "batch_norm"],
    },
    Small {
        name: "norms that are given statistics by convolutions, one of them read twice",
        build: |g, x| {
            let y = layer(g, "conv2d", "out_channels = 8\nkernel_size = 3\nbias = false", x)?;
            let y = bn(g, y).and_then(|y| relu(g, y))?;
            let z = layer(g, "conv2d", "out_channels = 8\nkernel_size = 1\ngroups = 8", y)?;
            let sum = bn(g, z).and_then(|z| add(g, z, y))?;
            let z = layer(g, "conv2d", "out_channels = 8\nkernel_size = 1", sum)?;
            bn(g, z).and_then(|y| add(g, y, z))
        },
        left: &["conv2d", "batch_norm", "conv2d", "batch_norm", "conv2d", "batch_norm"],
    },
    Small {
        name: "a pool and its rows",
        build: |g, x| {
            let y = layer(g, "global_avg_pool2d", "", x)?;
            layer(g, "flatten", "", y)
        },
        left: &["global_avg_pool2d"],
    },
    Small { name: "relu without norm", build: relu, left: &[] },
    Small {
        name: "silu without norm, whose result does not tell",
        build: |g, x| layer(g, "silu", "", x),
        left: &["silu"],
    },
    Small {
        name: "a product that is read twice",
        build: |g, x| {
            let y = relu(g, x)?;
            add(g, x, y)
        },
        left: &["relu", "add"],
    },
    Small {
        name: "linear and leaky_relu",
        build: |g, x| {
            let y = layer(g, "flatten", "", x)?;
            let y = layer(g, "linear", "out_features = 7", y)?;
            layer(g, "leaky_relu", "", y)
        },
        left: &["flatten", "linear"],
    },
    Small {
        name: "a negative slope",
        build: |g, x| bn(g, x).and_then(|y| layer(g, "leaky_relu", "negative_slope = -0.5", y)),
        left: &["batch_norm", "leaky_relu"],
    },
    Small {
        name: "norm of norm",
        build: |g, x| {
            let y = bn(g, x)?;
            let z = bn(g, y)?;
            let sum = add(g, z, y)?;
            layer(g, "leaky_relu", "", sum)
        },
        left: &["batch_norm", "batch_norm"],
    },
    Small {
        name: "hardswish, then relu",
        build: |g, x| {
            let y = bn(g, x)?;
            let z = layer(g, "hardswish", "", y)?;
            relu(g, z)
        },
        left: &["batch_norm", "relu"],
    },
];

fn operators(graph: &Graph) -> Vec<&'static str> {
    let ops = graph.nodes().iter().filter_map(|node| match &node.kind {
        NodeKind::Op(op) => Some(op.name()),
        _ => None,
    });
    ops.collect()
}

#[test]
fn small_graphs_are_fused_where_they_can_be() {
    let adapters = adapters();
    let mut problems = vec![];
    for Small { name, build, left } in SMALL {
        for mode in [Mode::Train, Mode::Eval] {
            let mut graph = Graph::new(mode);
            let x = graph.input("x", TensorDesc::f32([3, 6, 5, 3]));
            // A parameter in front, so that gradients flow through everything.
            let x = layer(&mut graph, "conv2d", "out_channels = 5\nkernel_size = 1\nbias = false", x)
                .expect(name);
            let y = build(&mut graph, x).expect(name);
            graph.output("y", y);
            let fused = fuse(graph.clone()).expect(name);
            if operators(&fused)[1..] != **left {
                problems.push(format!("{name}: {:?} are left, not {left:?}", operators(&fused)));
            }
            let (unfused, fused) =
                (with_gradients(graph), fuse_gradients(with_gradients(fused)).expect(name));
            problems.extend(check(name, unfused, fused, 0.0, &adapters));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn with_gradients(mut graph: Graph) -> Graph {
    let y = graph.outputs()["y"];
    let upstream = graph.input("upstream", graph.desc(y).clone());
    let parameters = graph.parameters();
    let gradients = ops::gradients_of(&mut graph, &[(y, upstream)], &parameters).expect("differentiable");
    for (parameter, gradient) in parameters.into_iter().zip(gradients) {
        if let Some(gradient) = gradient {
            graph.set_gradient(parameter, gradient);
        }
    }
    graph
}

#[test]
fn fusion_keeps_names_and_finds_nothing_twice() {
    let model = models::ModelSpec::load("resnet18-cifar").and_then(|spec| spec.unbound()).expect("built in");
    let task = Task {
        image: model.input(),
        classes: 10,
        batch_size: 2,
        label_smoothing: 0.0,
        precision: Precision::F32,
    };
    let fused = train_graph(&model, &task).expect("builds");
    let unfused = unfused_graphs(&model, &task).expect("builds").remove(0);
    let names = |graph: &Graph, values: Vec<Value>| -> Vec<String> {
        values.into_iter().map(|value| graph.nodes()[value.node].name.clone()).collect()
    };
    assert_eq!(names(&fused, fused.parameters()), names(&unfused, unfused.parameters()));
    assert_eq!(names(&fused, fused.statistics()), names(&unfused, unfused.statistics()));
    assert_eq!(fused.statistic_updates().len(), unfused.statistic_updates().len());
    assert_eq!(fused.outputs().keys().collect::<Vec<_>>(), unfused.outputs().keys().collect::<Vec<_>>());
    let norms = (0..fused.nodes().len()).filter_map(|node| fused.op_at::<Normalization>(node));
    let [all, active, added] = norms.fold([0; 3], |[all, active, added], op| {
        let relu = op.epilogue == Some(Epilogue::Relu);
        [all + 1, active + usize::from(relu), added + usize::from(op.residual)]
    });
    assert_eq!([all, active, added], [20, 17, 8], "norms, those with relu, those with a residual");
    let sums = operators(&fused).iter().filter(|name| **name == "add").count();
    assert_eq!(sums, 1, "sums of gradients: behind the stem, which has no residual");
    assert_eq!(operators(&fuse(fused.clone()).expect("fuses")), operators(&fused));
}
