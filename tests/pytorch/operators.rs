//! Forward and backward of every operator, on the CPU in f64 and in f32.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use wgrad::cpu::{Element, Session};
use wgrad::graph::{Graph, Mode, TensorDesc, Value};
use wgrad::ops;
use wgrad::ops::bce_with_logits::BceWithLogits;
use wgrad::ops::cross_entropy::CrossEntropy;
use wgrad::ops::mse::Mse;
use wgrad::ops::smooth_l1::SmoothL1;
use wgrad::plan::{PageList, Program};

use super::golden::{Golden, Tensor, files, fill, run};

/// One line of `scripts/golden_operators.py`.
#[derive(Debug, Deserialize)]
struct Case {
    id: String,
    op: String,
    args: serde_json::Map<String, serde_json::Value>,
    mode: String,
    inputs: Vec<String>,
    atol: BTreeMap<String, f64>,
}

#[test]
fn operators_agree_with_pytorch() {
    let (mut failures, mut passed, mut pending) = (vec![], 0, vec![]);
    for (stem, file) in files("operators") {
        let cases: Vec<Case> = serde_json::from_str(&file.metadata["cases"]).unwrap();
        assert!(!cases.is_empty(), "{stem} has no cases");
        if !ops::registry().iter().any(|operator| operator.name == stem) {
            pending.push(stem);
            continue;
        }
        for case in cases {
            let tensors = case_tensors(&file, &case.id);
            for result in [check::<f64>(&case, &tensors), check::<f32>(&case, &tensors)] {
                passed += usize::from(result.is_ok());
                failures.extend(result.map_err(|message| format!("{stem}/{}: {message}", case.id)).err());
            }
        }
    }
    println!("{passed} comparisons with PyTorch agree; pending: {pending:?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(pending.is_empty() || !ALL_ARE_HERE, "not in the registry: {pending:?}");
}

/// Whether a golden without an operator is a failure.
const ALL_ARE_HERE: bool = false;

fn case_tensors(file: &Golden, id: &str) -> BTreeMap<String, Tensor> {
    let prefix = format!("{id}/");
    let own = file.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?, tensor)));
    own.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
}

fn check<T: Element>(case: &Case, tensors: &BTreeMap<String, Tensor>) -> Result<(), String> {
    let program = Program::new(vec![build(case, tensors)?], None, 128 << 20).map_err(|e| e.to_string())?;
    let program = Arc::new(program);
    let mut session = Session::<T>::new(program.clone()).poisoned();
    let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
    fill(parameters, session.pages_mut(PageList::Parameters), tensors, "param.")?;
    fill(statistics, session.pages_mut(PageList::Statistics), tensors, "state.")?;
    let mut inputs: Vec<(&str, &Tensor)> = case
        .inputs
        .iter()
        .map(|name| name.as_str())
        .chain(["grad_output"])
        .map(|name| (name, &tensors[name]))
        .collect();
    let weight = weight(case);
    let weight_name = WEIGHTS.into_iter().find(|name| case.args.contains_key(*name));
    inputs.extend(weight_name.zip(weight.as_ref()));
    run(&mut session, &inputs);
    for (name, want) in tensors.iter().filter(|(name, _)| name.starts_with("want.")) {
        let got = match name.strip_prefix("want.state.") {
            Some(statistic) => updated(&program, &session, statistic)?,
            None => session.output(name).ok_or(format!("there is no {name}"))?.to_vec(),
        };
        let atol = case.atol.get(name).ok_or(format!("{name} has no tolerance"))?;
        want.compare(&got, *atol).map_err(|message| {
            format!("{name}{message} in {} with {:?}", std::any::type_name::<T>(), case.args)
        })?;
    }
    Ok(())
}

/// The case's operator, with an output for every wanted tensor under its name.
fn build(case: &Case, tensors: &BTreeMap<String, Tensor>) -> Result<Graph, String> {
    let mut graph = Graph::new(if case.mode == "train" { Mode::Train } else { Mode::Eval });
    let inputs: Vec<Value> =
        case.inputs.iter().map(|name| graph.input(name, tensors[name].desc.clone())).collect();
    let output = apply(case, &mut graph, &inputs)?;
    graph.output("want.output", output);
    let shape = graph.shape(output);
    let grad_output = &tensors["grad_output"];
    if shape != grad_output.shape() {
        return Err(format!("the output is {shape}, PyTorch has {}", grad_output.shape()));
    }
    let grad_output = graph.input("grad_output", grad_output.desc.clone());
    let named_inputs = case.inputs.iter().cloned().zip(inputs);
    let parameters = graph.parameters().into_iter();
    let parameters = parameters.map(|value| (graph.nodes()[value.node].name.clone(), value));
    let mut wanted: Vec<(String, Value)> =
        named_inputs.chain(parameters).map(|(name, value)| (format!("want.grad.{name}"), value)).collect();
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
    let operator = ops::registry().iter().find(|operator| operator.name == case.op).unwrap();
    let applied = match (case.op.as_str(), operator.layer) {
        ("add", _) => graph.apply1(ops::add::Add::default(), inputs),
        ("mul", _) => graph.apply1(ops::mul::Mul::default(), inputs),
        ("concat", _) => graph.apply1(ops::concat::Concat, inputs),
        ("cross_entropy" | "mse" | "bce_with_logits" | "smooth_l1", _) => {
            return apply_loss(case, graph, inputs);
        }
        (_, Some(parse)) => {
            let arguments = toml::Table::try_from(&case.args).map_err(|error| error.to_string())?;
            parse(arguments)?.build(graph, inputs[0])
        }
        (name, None) => return Err(format!("this test does not know how to build {name}")),
    };
    applied.map_err(|error| error.to_string())
}

/// A loss, with the weights among its arguments as an input.
fn apply_loss(case: &Case, graph: &mut Graph, inputs: &[Value]) -> Result<Value, String> {
    let mut arguments = case.args.clone();
    let mut inputs = inputs.to_vec();
    for name in WEIGHTS {
        if arguments.remove(name).is_some() {
            let weight = weight(case).ok_or(format!("{name} must be a list of numbers"))?;
            inputs.push(graph.input(name, weight.desc));
        }
    }
    let beta = arguments.get("beta").and_then(|beta| beta.as_f64()).unwrap_or(1.0) as f32;
    let reduction = match arguments.get("reduction") {
        Some(reduction) => serde_json::from_value(reduction.clone()).map_err(|error| error.to_string())?,
        None => ops::Reduction::Mean,
    };
    let applied = match case.op.as_str() {
        "cross_entropy" => {
            let arguments = serde_json::Value::Object(arguments);
            let op: CrossEntropy = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
            graph.apply(op, &inputs)
        }
        "mse" => graph.apply(Mse::default().reduction(reduction), &inputs),
        "smooth_l1" => graph.apply(SmoothL1::new(beta).reduction(reduction), &inputs),
        _ => graph.apply(BceWithLogits::default().reduction(reduction), &inputs),
    };
    Ok(applied.map_err(|error| error.to_string())?[0])
}

/// The arguments of losses that are tensors.
const WEIGHTS: [&str; 2] = ["weight", "pos_weight"];

/// The weights among a case's arguments.
fn weight(case: &Case) -> Option<Tensor> {
    let numbers = WEIGHTS.iter().find_map(|name| case.args.get(*name))?.as_array()?;
    let floats: Vec<f32> = numbers.iter().filter_map(|number| Some(number.as_f64()? as f32)).collect();
    Some(Tensor { desc: TensorDesc::f32([floats.len()]), floats, ints: vec![] })
}

/// A running statistic after the step.
fn updated<T: Element>(program: &Program, session: &Session<T>, name: &str) -> Result<Vec<T>, String> {
    let graph = &program.graphs[0];
    let mut updates = graph.statistic_updates().iter();
    let update = updates.find(|update| graph.nodes()[update.running.node].name == name);
    let update = update.ok_or(format!("{name} is not updated"))?;
    let span = program.pages.span(graph, update.running);
    let running = &session.pages(PageList::Statistics)[span.page][span.offset..span.offset + span.len];
    let batch = session.output(&format!("batch.{name}")).ok_or("the batch's statistic is no output")?;
    let momentum = T::of(f64::from(update.momentum));
    Ok(running.iter().zip(batch).map(|(running, batch)| *running + momentum * (*batch - *running)).collect())
}
