//! Writes networks and operators in ONNX and PyTorch, with inputs and what wgrad's CPU path makes of them, for
//! `scripts/check_onnx.py`: `exchange DIR [NETWORK[:SIZE]...]`, or `exchange DIR operators`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wgrad::cpu::Session;
use wgrad::error::{Error, Result};
use wgrad::exchange::{Exported, onnx, onnx_graph, operators, pytorch};
use wgrad::files::write_atomic;
use wgrad::graph::{Graph, Mode, Step, Value};
use wgrad::models::{ModelSpec, built_in};
use wgrad::ops::registry;
use wgrad::plan::{Data, PageList, Program};
use wgrad::tensor::{CounterRng, HostTensor, Layout, Purpose, unit_f32};
use wgrad::train::RunModel;
use wgrad::train::weights::{self, TensorFile, Tensors};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        return Err(Error::Recipe("usage: exchange DIR [NETWORK[:SIZE]... | operators]".to_string()));
    };
    let named: Vec<String> = arguments.collect();
    if named == ["operators"] {
        return write_operators(&folder);
    }
    let all = || built_in().map(str::to_string).collect();
    for argument in if named.is_empty() { all() } else { named } {
        let (name, size) = argument.split_once(':').unwrap_or((&argument, "64"));
        let size = size.parse().map_err(|_| Error::Recipe(format!("{size} is no size")))?;
        write_network(name, size, &folder.join(name))?;
        println!("{argument}");
    }
    Ok(())
}

/// A network of 10 classes, unless it says how many, with weights that leave nothing out: no statistic is 0 or 1, no factor tiny.
fn write_network(name: &str, size: usize, folder: &Path) -> Result<()> {
    let spec = ModelSpec::load(name)?;
    let sizes = [[3, size, size], [3, 32, 32], [1, 28, 28], [1, 8, 8]];
    let model = sizes
        .iter()
        .find_map(|size| spec.bind(*size, 10).ok().filter(|model| model.graph(Mode::Eval, 1).is_ok()))
        .or_else(|| spec.unbound().ok());
    let model = model.ok_or_else(|| Error::Model(format!("\"{name}\" takes none of {sizes:?}")))?;
    let (mut graph, output) = model.graph(Mode::Eval, 9)?;
    let mut tensors = weights::initial(&graph, 0);
    for (name, tensor) in
        tensors.iter_mut().filter(|(_, tensor)| tensor.shape.len() != 4 && tensor.shape.len() != 2)
    {
        let noise = noise(name, tensor.data.len());
        tensor.data.iter_mut().zip(noise).for_each(|(value, noise)| *value += 0.3 * noise);
    }
    let about = RunModel {
        image: model.input(),
        classes: (0..graph.shape(output)[1]).map(|class| format!("class {class}")).collect(),
        normalization: None,
        resize: None,
        model: String::new(),
    };
    let exported = Exported { model: &model, tensors: &tensors, about: &about };
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    write(&folder.join("model.onnx"), &onnx(&exported, false)?)?;
    write(&folder.join("folded.onnx"), &onnx(&exported, true)?)?;
    write(&folder.join("model.py"), pytorch(&exported, "model.safetensors")?.as_bytes())?;
    TensorFile { tensors: tensors.clone(), ..Default::default() }.write(&folder.join("model.safetensors"))?;
    let [c, h, w] = model.input();
    let images =
        HostTensor::new([9, c, h, w], noise("images", 9 * c * h * w).map(|noise| 2.0 * noise).collect());
    let inputs = [("images".to_string(), images)];
    write_results(&mut graph, output, &inputs, &tensors, &folder.join("results.safetensors"))
}

/// The samples of all operators that can leave.
fn write_operators(folder: &Path) -> Result<()> {
    for operator in registry().iter().filter(|operator| operators().any(|name| name == operator.name)) {
        for sample in (operator.samples)() {
            let mut graph = Graph::new(Mode::Eval);
            let mut inputs = vec![];
            for (i, input) in sample.inputs.iter().enumerate() {
                let name = format!("input{i}");
                let value = graph.input(&name, input.desc());
                inputs
                    .push((value, (name, HostTensor::new(input.shape.clone(), input.floats(&sample.id, i)))));
            }
            let (values, inputs): (Vec<Value>, Vec<_>) = inputs.into_iter().unzip();
            let output = (sample.build)(&mut graph, &values)?[0];
            // What only training and fusion make has no form.
            let Ok(file) = onnx_graph(&graph, output, &Tensors::new()) else { continue };
            let folder = folder.join(&sample.id);
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
            write(&folder.join("model.onnx"), &file)?;
            write_results(&mut graph, output, &inputs, &Tensors::new(), &folder.join("results.safetensors"))?;
        }
    }
    Ok(())
}

/// Runs a graph and writes what it was given and what it made.
fn write_results(
    graph: &mut Graph,
    output: Value,
    inputs: &[(String, HostTensor)],
    tensors: &Tensors,
    path: &Path,
) -> Result<()> {
    let shape = graph.shape(output).clone();
    graph.output("logits", output);
    let program = Arc::new(Program::new(vec![graph.clone()], None, u64::MAX)?);
    let mut session: Session<f32> = Session::new(program.clone());
    let [parameters, statistics] = weights::all_pages(&program.pages, tensors);
    for (list, pages) in [(PageList::Parameters, parameters), (PageList::Statistics, statistics)] {
        session.pages_mut(list).iter_mut().zip(pages).for_each(|(own, page)| *own = page);
    }
    let physical: Vec<(&String, Vec<f32>)> = inputs
        .iter()
        .map(|(name, tensor)| (name, Layout::of(&tensor.shape).to_physical(&tensor.data)))
        .collect();
    let given: Vec<(&str, Data<'_, f32>)> =
        physical.iter().map(|(name, values)| (name.as_str(), Data::Real(values))).collect();
    session.run(0, &given, &Step::default());
    let made = session.output("logits").unwrap_or_default();
    let mut file = TensorFile { tensors: inputs.iter().cloned().collect(), ..Default::default() };
    let made = HostTensor::new(shape.clone(), Layout::of(&shape).to_logical(made));
    file.tensors.insert("logits".to_string(), made);
    file.write(path)
}

/// Numbers of -1..1, by a name.
fn noise(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let mut rng = CounterRng::new(0, Purpose::Sample, name, 0);
    (0..count).map(move |_| 2.0 * unit_f32(rand::Rng::next_u32(&mut rng)) - 1.0)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |file| file.write_all(bytes))
}
