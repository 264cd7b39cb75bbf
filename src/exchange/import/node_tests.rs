//! ONNX's own tests of single nodes, as `scripts/onnx_nodes.py` writes them: each is run by wgrad's kernels on the CPU, with
//! its first input as images and the others as constants, and with all of them as images.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;

use super::super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, data_type};
use super::super::tensors::{Content, content};
use super::builder::{Builder, Held};
use super::node::Node;
use super::{build, constants, decode, layers};
use crate::cpu::Session;
use crate::graph::Step;
use crate::plan::{Data, PageList, Program};
use crate::tensor::{HostTensor, Layout};
use crate::train::weights;

/// What ONNX's own runner allows.
const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-7;

/// What came of a test, the best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Wrong(String),
    Passed,
    /// The first output is right, another one is not given.
    PassedByFirst,
    /// It is right of constants; of images it is refused.
    OfConstants(String),
    Refused(String),
}

/// `WGRAD_ONNX_NODES` names a folder of folders with a model, its inputs and its outputs.
#[test]
#[ignore = "needs ONNX's tests: scripts/onnx_nodes.py DIR, then WGRAD_ONNX_NODES=DIR"]
fn node_tests_pass_or_are_refused() {
    let folder = std::env::var_os("WGRAD_ONNX_NODES").expect("WGRAD_ONNX_NODES names a folder");
    let mut operators: BTreeMap<String, BTreeMap<String, Outcome>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        // Folders without a model are of tests without tensors.
        let Ok(bytes) = std::fs::read(folder.join("model.onnx")) else { continue };
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let operator = model.graph.as_ref().unwrap().node[0].op_type.clone().unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        operators.entry(operator).or_default().insert(name, outcome(&bytes, &folder));
    }
    assert!(!operators.is_empty(), "there are no tests");
    report(&operators);
}

/// Prints a line for each operator, and fails if a result is wrong.
fn report(operators: &BTreeMap<String, BTreeMap<String, Outcome>>) {
    let known: Vec<&str> =
        layers::OPERATORS.iter().map(|(name, _)| *name).chain(constants::OPERATORS).collect();
    let (mut sums, mut others, mut all_wrong) = ([0; 5], vec![], vec![]);
    for (operator, tests) in operators {
        if !known.contains(&operator.as_str()) {
            others.push(format!("{operator} ({})", tests.len()));
            continue;
        }
        let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
        let mut counts = [0; 5];
        for (name, outcome) in tests {
            match outcome {
                Outcome::Passed => counts[0] += 1,
                Outcome::PassedByFirst => counts[1] += 1,
                Outcome::OfConstants(why) => {
                    counts[2] += 1;
                    *refused.entry(why).or_default() += 1;
                }
                Outcome::Refused(why) => {
                    counts[3] += 1;
                    *refused.entry(why).or_default() += 1;
                }
                Outcome::Wrong(how) => {
                    counts[4] += 1;
                    all_wrong.push(format!("{name}: {how}"));
                }
            }
        }
        println!("{}", line(operator, counts));
        refused.iter().for_each(|(why, count)| println!("    {count} refused: {why}"));
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    println!("{}", line("in all", sums));
    println!("operators that are not read: {}", others.join(", "));
    assert!(all_wrong.is_empty(), "{}", all_wrong.join("\n"));
}

fn line(what: &str, [passed, by_first, of_constants, refused, wrong]: [usize; 5]) -> String {
    format!(
        "{what}: {passed} passed, {by_first} by their first output, {of_constants} of constants only, {refused} \
         refused, {wrong} wrong"
    )
}

/// Every way to give the inputs; one that is wrong is what counts, then one that passes.
fn outcome(bytes: &[u8], folder: &Path) -> Outcome {
    let model = match decode(bytes) {
        Ok(model) => model,
        Err(why) => return Outcome::Refused(why),
    };
    let count = model.graph.as_ref().map_or(0, |graph| graph.input.len());
    let ways = [1, count].into_iter().filter(|images| (1..=count).contains(images));
    let mut outcomes: Vec<Outcome> = ways.map(|images| run(model.clone(), folder, images)).collect();
    let of_constants = run(model, folder, 0);
    // A refusal is told by the first way that is to the point.
    outcomes.sort_by_key(|outcome| match outcome {
        Outcome::Wrong(_) => 0,
        Outcome::Passed => 1,
        Outcome::PassedByFirst => 2,
        Outcome::Refused(why) if !why.starts_with("reads a constant") => 3,
        _ => 4,
    });
    match (outcomes.into_iter().next(), of_constants) {
        (_, Outcome::Wrong(how)) => Outcome::Wrong(how),
        (Some(Outcome::Refused(why)), Outcome::Passed) => Outcome::OfConstants(why),
        (Some(of_images), _) => of_images,
        (None, of_constants) => of_constants,
    }
}

fn read(folder: &Path, name: &str, number: usize) -> TensorProto {
    let bytes = std::fs::read(folder.join(format!("{name}_{number}.pb"))).unwrap();
    TensorProto::decode(&bytes[..]).unwrap()
}

/// The test with its first `images` inputs as images, the others as constants; with its first output only, if it has more.
fn run(model: ModelProto, folder: &Path, images: usize) -> Outcome {
    let mut graph = model.graph.unwrap();
    let whole = evaluate(graph.clone(), folder, images);
    if graph.output.len() == 1 || !matches!(whole, Outcome::Refused(_)) {
        return whole;
    }
    graph.output.truncate(1);
    match evaluate(graph, folder, images) {
        Outcome::Passed => Outcome::PassedByFirst,
        Outcome::Wrong(how) => Outcome::Wrong(how),
        _ => whole,
    }
}

fn evaluate(mut graph: GraphProto, folder: &Path, images: usize) -> Outcome {
    // A node leaves out what it does not need, the files of its inputs do not.
    let names: Vec<String> = graph.input.iter().filter_map(|input| input.name.clone()).collect();
    let mut inputs: Vec<(String, HostTensor)> = vec![];
    for (number, name) in names.into_iter().enumerate() {
        let tensor = TensorProto { name: Some(name.clone()), ..read(folder, "input", number) };
        match content(&tensor, folder) {
            Ok(Content::Floats(floats)) if number < images && tensor.data_type == Some(data_type::FLOAT) => {
                inputs.push((name, floats));
            }
            Ok(_) if number < images => return Outcome::Refused("takes other numbers than f32".to_string()),
            Ok(_) => graph.initializer.push(tensor),
            Err(why) => return Outcome::Refused(why),
        }
    }
    let sizes: Vec<(String, Vec<usize>)> =
        inputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape.to_vec())).collect();
    let label = Node { proto: &graph.node[0], folder }.label();
    let mut builder = match build(&graph, folder, &sizes) {
        Ok(builder) => builder,
        Err(why) => return Outcome::Refused(why.replace(&format!("has the node {label}, which "), "")),
    };
    // What is left out on purpose is no result.
    if let Some(note) = builder.parts().2.first() {
        return Outcome::Refused(
            note.split_once("at the end ").map_or(note.clone(), |(_, left)| left.to_string()),
        );
    }
    for (number, output) in graph.output.iter().enumerate() {
        let name = output.name.clone().unwrap_or_default();
        let wanted = content(&read(folder, "output", number), folder).unwrap();
        let held = builder.held(&name).cloned();
        let found = match held {
            None => return Outcome::Refused("gives more than one output".to_string()),
            Some(Held::Floats(tensor)) => Content::Floats((*tensor).clone()),
            Some(Held::Ints(array)) => Content::Ints(array),
            Some(_) => match computed(&mut builder, &graph.node[0], &name, &inputs) {
                Ok(tensor) => Content::Floats(tensor),
                Err(why) => return Outcome::Refused(why),
            },
        };
        if let Some(wrong) = difference(&found, &wanted) {
            return Outcome::Wrong(format!("{images} images: {wrong}"));
        }
    }
    Outcome::Passed
}

/// What the graph makes of the inputs, as the file sees it.
fn computed(
    builder: &mut Builder<'_>,
    node: &NodeProto,
    name: &str,
    inputs: &[(String, HostTensor)],
) -> Result<HostTensor, String> {
    // As what reads the output would see it.
    let reader = NodeProto { input: vec![name.to_string()], ..node.clone() };
    let wire = builder.view(&Node { proto: &reader, folder: Path::new("") }, 0)?;
    let (mut graph, tensors) = (builder.parts().0.clone(), builder.parts().1);
    let shape = graph.shape(wire.value).clone();
    graph.output("made", wire.value);
    let program = Program::new(vec![graph], None, u64::MAX).map_err(|error| error.to_string())?;
    let program = Arc::new(program);
    let mut session: Session<f32> = Session::new(program.clone());
    let [parameters, statistics] = weights::all_pages(&program.pages, tensors);
    for (list, pages) in [(PageList::Parameters, parameters), (PageList::Statistics, statistics)] {
        session.pages_mut(list).iter_mut().zip(pages).for_each(|(own, page)| *own = page);
    }
    let ids = (0..).map(|number| if number == 0 { "input".to_string() } else { format!("input{number}") });
    let physical: Vec<(String, Vec<f32>)> = ids
        .zip(inputs)
        .map(|(id, (_, tensor))| (id, Layout::of(&tensor.shape).to_physical(&tensor.data)))
        .collect();
    let given: Vec<(&str, Data<'_, f32>)> =
        physical.iter().map(|(id, values)| (id.as_str(), Data::Real(values))).collect();
    session.run(0, &given, &Step::default());
    let made = session.output("made").unwrap_or_default();
    // Physical order is that of channels last.
    let data = if wire.last { made.to_vec() } else { Layout::of(&shape).to_logical(made) };
    Ok(HostTensor::new(wire.seen, data))
}

/// How a result differs from what is wanted, if it does.
fn difference(found: &Content, wanted: &Content) -> Option<String> {
    match (found, wanted) {
        (Content::Floats(found), Content::Floats(wanted)) if found.shape == wanted.shape => {
            let close = |a: f32, b: f32| {
                a == b || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs() || (a.is_nan() && b.is_nan())
            };
            let mut pairs = found.data.iter().zip(&wanted.data);
            pairs.find(|(a, b)| !close(**a, **b)).map(|(a, b)| format!("{a} for {b}"))
        }
        (Content::Floats(found), Content::Floats(wanted)) => {
            Some(format!("{} for {}", found.shape, wanted.shape))
        }
        (Content::Ints(found), Content::Ints(wanted)) if found == wanted => None,
        _ => Some(format!("{found:?} for {wanted:?}")),
    }
}
