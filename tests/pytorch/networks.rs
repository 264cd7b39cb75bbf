//! Whole networks: names and shapes of all that is stored, and outputs in evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;

use wgrad::cpu::{Element, Session};
use wgrad::graph::Mode;
use wgrad::models::{Model, ModelSpec};
use wgrad::plan::{PageList, Program};
use wgrad::tensor::Shape;

use super::golden::{Golden, Tensor, files, fill, run};

fn model(name: &str, file: &Golden) -> Model {
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
    for (name, file) in files("networks") {
        evaluate::<f64>(&name, &file);
        evaluate::<f32>(&name, &file);
    }
}

fn evaluate<T: Element>(name: &str, file: &Golden) {
    let images: Tensor = file.tensors["images"].first();
    let (mut graph, logits) = model(name, file).graph(Mode::Eval, images.shape()[0]).unwrap();
    graph.output("logits", logits);
    let program = Arc::new(Program::new(vec![graph], None, 128 << 20).unwrap());
    let mut session = Session::<T>::new(program.clone()).poisoned();
    let (parameters, statistics) = (&program.pages.parameters, &program.pages.statistics);
    fill(parameters, session.pages_mut(PageList::Parameters), &file.tensors, "want.final.").unwrap();
    fill(statistics, session.pages_mut(PageList::Statistics), &file.tensors, "want.final.").unwrap();
    run(&mut session, &[("images", &images)]);
    let atol: BTreeMap<String, f64> = serde_json::from_str(&file.metadata["atol"]).unwrap();
    let want = "want.logits_eval";
    let compared = file.tensors[want].compare(session.output("logits").unwrap(), atol[want]);
    compared.unwrap_or_else(|message| panic!("{name}: logits{message}"));
}
