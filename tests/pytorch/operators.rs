//! Forward and backward of every operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use wgrad::graph::{Graph, Mode, TensorDesc, Value};
use wgrad::ops::{self, Reduction};
use wgrad::ops::{
    bce_with_logits::BceWithLogits, cross_entropy::CrossEntropy, mse::Mse, smooth_l1::SmoothL1,
};
use wgrad::plan::Program;

use super::device::{Device, Outputs, devices};
use super::golden::{Golden, Tensor, files, pages};

/// One line of `scripts/golden_operators.py`.
#[derive(Clone, Debug, Deserialize)]
struct Case {
    id: String,
    op: String,
    args: serde_json::Map<String, serde_json::Value>,
    mode: String,
    inputs: Vec<String>,
    atol: BTreeMap<String, f64>,
}

/// The tensors of a case, without its name.
type Tensors = BTreeMap<String, Tensor>;

#[test]
fn operators_agree_with_pytorch() {
    let devices = devices();
    let (mut failures, mut passed) = (vec![], 0);
    for (stem, file) in files("operators") {
        let cases: Vec<Case> = serde_json::from_str(&file.metadata["cases"]).unwrap();
        assert!(!cases.is_empty(), "{stem} has no cases");
        assert!(
            ops::registry().iter().any(|operator| operator.name == stem),
            "{stem} is not in the registry"
        );
        for case in cases {
            let (case, tensors) = with_weights_as_inputs(case.clone(), tensors_of(&file, &case.id));
            for device in &devices {
                let result = check(&case, &tensors, device);
                passed += usize::from(result.is_ok());
                let fail = |message| format!("{stem}/{} on {device}: {message}, {:?}", case.id, case.args);
                failures.extend(result.map_err(fail).err());
            }
        }
    }
    println!("{passed} comparisons with PyTorch agree");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn tensors_of(file: &Golden, id: &str) -> Tensors {
    let prefix = format!("{id}/");
    let own = file.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?, tensor)));
    own.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
}

/// Class weights are arguments in PyTorch and inputs here.
fn with_weights_as_inputs(mut case: Case, mut tensors: Tensors) -> (Case, Tensors) {
    for name in ["weight", "pos_weight"] {
        let Some(values) = case.args.remove(name) else { continue };
        let floats: Vec<f32> = serde_json::from_value(values).unwrap();
        let desc = TensorDesc::f32([floats.len()]);
        tensors.insert(name.to_string(), Tensor { desc, floats, ints: vec![] });
        case.inputs.push(name.to_string());
    }
    (case, tensors)
}

fn check(case: &Case, tensors: &Tensors, device: &Device) -> Result<(), String> {
    let program = Program::new(vec![build(case, tensors)?], None, 128 << 20).map_err(|e| e.to_string())?;
    let program = Arc::new(program);
    let parameters = pages(&program.pages.parameters, tensors, "param.")?;
    let statistics = pages(&program.pages.statistics, tensors, "state.")?;
    let names = case.inputs.iter().map(String::as_str).chain(["grad_output"]);
    let inputs: Vec<(&str, &Tensor)> = names.map(|name| (name, &tensors[name])).collect();
    let mut got = device.run(&program, [&parameters, &statistics], &inputs)?;
    update_statistics(&program.graphs[0], tensors, &mut got);
    for (name, want) in tensors.iter().filter(|(name, _)| name.starts_with("want.")) {
        let got = got.get(name).ok_or(format!("there is no {name}"))?;
        let atol = case.atol.get(name).ok_or(format!("{name} has no tolerance"))?;
        want.compare(got, *atol).map_err(|message| format!("{name}{message}"))?;
    }
    Ok(())
}

/// The case's operator, with an output for every wanted tensor under its name.
fn build(case: &Case, tensors: &Tensors) -> Result<Graph, String> {
    let mut graph = Graph::new(if case.mode == "train" { Mode::Train } else { Mode::Eval });
    let inputs: Vec<Value> =
        case.inputs.iter().map(|name| graph.input(name, tensors[name].desc.clone())).collect();
    let output = apply(case, &mut graph, &inputs)?;
    graph.output("want.output", output);
    let (shape, grad_output) = (graph.shape(output), &tensors["grad_output"]);
    if shape != grad_output.shape() {
        return Err(format!("the output is {shape}, PyTorch has {}", grad_output.shape()));
    }
    let grad_output = graph.input("grad_output", grad_output.desc.clone());
    let parameters = graph.parameters().into_iter();
    let parameters = parameters.map(|value| (graph.nodes()[value.node].name.clone(), value));
    let sources = case.inputs.iter().cloned().zip(inputs).chain(parameters);
    let mut wanted: Vec<(String, Value)> =
        sources.map(|(name, value)| (format!("want.grad.{name}"), value)).collect();
    wanted.retain(|(name, _)| tensors.contains_key(name));
    let wrt: Vec<Value> = wanted.iter().map(|(_, value)| *value).collect();
    let grads = ops::gradients_of(&mut graph, &[(output, grad_output)], &wrt).map_err(|e| e.to_string())?;
    for ((name, _), grad) in wanted.iter().zip(grads) {
        graph.output(name, grad.ok_or(format!("there is no {name}"))?);
    }
    for update in graph.statistic_updates().to_vec() {
        let name = graph.nodes()[update.running.node].name.clone();
        graph.output(&format!("batch.{name}"), update.batch);
    }
    Ok(graph)
}

fn apply(case: &Case, graph: &mut Graph, inputs: &[Value]) -> Result<Value, String> {
    let reduction: Reduction = match case.args.get("reduction") {
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| error.to_string())?,
        None => Reduction::Mean,
    };
    let beta = case.args.get("beta").and_then(serde_json::Value::as_f64).unwrap_or(1.0) as f32;
    let operator = ops::registry().iter().find(|operator| operator.name == case.op).unwrap();
    let applied = match (case.op.as_str(), operator.layer) {
        ("add", _) => graph.apply(ops::add::Add::default(), inputs),
        ("bce_with_logits", _) => graph.apply(BceWithLogits::default().reduction(reduction), inputs),
        ("concat", _) => graph.apply(ops::concat::Concat, inputs),
        ("cross_entropy", _) => graph.apply(arguments::<CrossEntropy>(case)?, inputs),
        ("mse", _) => graph.apply(Mse::default().reduction(reduction), inputs),
        ("mul", _) => graph.apply(ops::mul::Mul::default(), inputs),
        ("smooth_l1", _) => graph.apply(SmoothL1::new(beta).reduction(reduction), inputs),
        (_, Some(parse)) => parse(arguments(case)?)?.build(graph, inputs[0]).map(|value| vec![value]),
        (name, None) => return Err(format!("this test does not know how to build {name}")),
    };
    applied.map(|outputs| outputs[0]).map_err(|error| error.to_string())
}

fn arguments<T: DeserializeOwned>(case: &Case) -> Result<T, String> {
    serde_json::from_value(case.args.clone().into()).map_err(|error| error.to_string())
}

/// Adds the running statistics after the step, which a session updates only together with parameters.
fn update_statistics(graph: &Graph, tensors: &Tensors, outputs: &mut Outputs) {
    for update in graph.statistic_updates() {
        let name = &graph.nodes()[update.running.node].name;
        let running = tensors[&format!("state.{name}")].floats.iter().map(|x| f64::from(*x));
        let pairs = running.zip(&outputs[&format!("batch.{name}")]);
        let momentum = f64::from(update.momentum);
        let updated = pairs.map(|(running, batch)| running + momentum * (batch - running)).collect();
        outputs.insert(format!("want.state.{name}"), updated);
    }
}
