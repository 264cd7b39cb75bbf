//! Whole networks: names and shapes of all that is stored, and outputs in evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::graph::Mode;
use wgrad::models::{Model, ModelSpec};
use wgrad::plan::Program;
use wgrad::tensor::Shape;

use super::device::{Device, devices};
use super::golden::{Golden, Tensor, files, pages};

pub fn model(name: &str, file: &Golden) -> Model {
    ModelSpec::parse(name, &file.metadata["model"]).unwrap().unbound().unwrap()
}

#[test]
fn names_and_shapes_are_those_of_a_state_dict() {
    for (name, file) in files("networks") {
        let (graph, _) = model(&name, &file).graph(Mode::Train, 2).unwrap();
        let stored = graph.parameters().into_iter().chain(graph.statistics());
        let ours: BTreeMap<&str, &Shape> =
            stored.map(|value| (graph.nodes()[value.node].name.as_str(), graph.shape(value))).collect();
        let initial = file.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix("init.")?, t)));
        let theirs: BTreeMap<&str, &Shape> = initial.map(|(name, tensor)| (name, tensor.shape())).collect();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn trained_networks_evaluate_as_in_pytorch() {
    for device in devices() {
        for (name, file) in files("networks") {
            evaluate(&device, &name, &file).unwrap_or_else(|error| panic!("{name} on {device}: {error}"));
        }
    }
}

fn evaluate(device: &Device, name: &str, file: &Golden) -> Result<(), String> {
    let images: Tensor = file.tensors["images"].at(0);
    let (mut graph, logits) = model(name, file).graph(Mode::Eval, images.shape()[0]).unwrap();
    graph.output("logits", logits);
    let program = Arc::new(Program::new(vec![graph], None, 128 << 20).unwrap());
    let parameters = pages(&program.pages.parameters, &file.tensors, "want.final.")?;
    let statistics = pages(&program.pages.statistics, &file.tensors, "want.final.")?;
    let outputs = device.run(&program, [&parameters, &statistics], &[("images", &images)])?;
    let atol: BTreeMap<String, f64> = serde_json::from_str(&file.metadata["atol"]).unwrap();
    let want = "want.logits_eval";
    file.tensors[want].compare(&outputs["logits"], atol[want]).map_err(|message| format!("logits{message}"))
}
