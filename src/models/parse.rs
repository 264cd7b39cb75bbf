use std::collections::HashMap;

use toml::{Table, Value};

use super::blocks::Blocks;
use super::entry::{Entry, describe, scope};
use super::factors::FACTORS;
use super::{Concat, Join, Residual, Scale, Sequential, Wire, Wired, Wiring};
use crate::error::nearest;
use crate::ops::{self, Layer, LayerParser, unknown_argument};

/// How deep containers and blocks may nest; the TOML parser itself ends at 26.
const MAX_DEPTH: usize = 16;

/// How many layers a file may make, and how many values its blocks.
const MAX_LAYERS: usize = 10_000;
const MAX_VALUES: usize = 1_000_000;

/// Layers that hold others; all others are operators of the registry or made of some.
const CONTAINERS: [&str; 5] = ["concat", "graph", "residual", "scale", "sequential"];

/// Arguments that may be `"classes"`.
const COUNTS: [&str; 2] = ["out_features", "out_channels"];

/// Layers that hold no others, with their parsers.
fn plain_layers() -> impl Iterator<Item = (&'static str, LayerParser)> {
    ops::operators().into_iter().filter_map(|op| Some((op.name, op.layer?))).chain(FACTORS)
}

/// The names of all layers.
pub(super) fn layer_names() -> Vec<&'static str> {
    CONTAINERS.into_iter().chain(plain_layers().map(|(name, _)| name)).collect()
}

/// Makes layers from the entries of a model file; errors begin with the entry's position.
pub(super) struct Parser<'a> {
    blocks: &'a Blocks,
    classes: Option<usize>,
    /// Whether an argument was `"classes"`.
    pub(super) asked_for_classes: bool,
    depth: usize,
    layers: usize,
    budget: usize,
}

impl<'a> Parser<'a> {
    /// A parser that reads `"classes"` as this number.
    pub(super) fn new(blocks: &'a Blocks, classes: Option<usize>) -> Parser<'a> {
        Parser { blocks, classes, asked_for_classes: false, depth: 0, layers: 0, budget: MAX_VALUES }
    }

    /// The layers of a list, whose position is `at`.
    pub(super) fn layers(&mut self, value: &Value, at: &str) -> Result<Sequential, String> {
        let Value::Array(entries) = value else {
            return Err(format!("{at} is a list of layers, not {}", describe(value)));
        };
        let mut layers = Sequential::new();
        for (index, entry) in entries.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let entry = Entry::of(entry).map_err(|message| format!("{at}: {message}"))?;
            if entry.inputs.is_some() {
                return Err(format!("{at}: inputs are for the nodes of a graph"));
            }
            for count in 1..=entry.repeat {
                let layer = self.layer(&entry, &at)?;
                layers = match entry.name(count) {
                    Some(name) => layers.push_named(name, layer),
                    None => layers.push_boxed(layer),
                };
            }
        }
        Ok(layers)
    }

    fn layer(&mut self, entry: &Entry<'_>, at: &str) -> Result<Box<dyn Layer>, String> {
        self.layers += 1;
        if self.layers > MAX_LAYERS {
            return Err(format!("{at}: the file makes more than {MAX_LAYERS} layers"));
        }
        let Entry { layer: name, arguments, .. } = entry;
        let block = self.blocks.expand(name, arguments, &mut self.budget);
        if block.is_none() && !CONTAINERS.contains(name) {
            return self.plain(name, arguments.clone(), at);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("{at}: containers nest deeper than {MAX_DEPTH}"));
        }
        let at = format!("{at}.{name}");
        let layer = match block {
            Some(layers) => {
                let layers = layers.map_err(|message| format!("{at}: {message}"))?;
                Box::new(self.layers(&layers, &format!("{at}.layers"))?)
            }
            None => self.container(name, arguments, &at)?,
        };
        self.depth -= 1;
        Ok(layer)
    }

    fn container(&mut self, name: &str, arguments: &Table, at: &str) -> Result<Box<dyn Layer>, String> {
        let known: &[&str] = match name {
            "concat" => &["branches", "names"],
            "graph" => &["nodes"],
            "residual" => &["body", "shortcut", "names"],
            "scale" => &["by"],
            _ => &["layers"],
        };
        if let Some(unknown) = arguments.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("{at}: {}", unknown_argument(unknown, known)));
        }
        let (first, at_first) = (known[0], format!("{at}.{}", known[0]));
        let layers = arguments.get(first).ok_or_else(|| format!("{at}: needs the argument \"{first}\""))?;
        if layers.as_array().is_some_and(Vec::is_empty) {
            return Err(format!("{at_first} is empty"));
        }
        let names =
            arguments.get("names").map(|names| scopes(names).map_err(|error| format!("{at}.names {error}")));
        let names = names.transpose()?;
        Ok(match name {
            "concat" => Box::new(self.concat(layers, names, &at_first)?),
            "graph" => Box::new(self.wired(layers, &at_first)?),
            "residual" => {
                let body = self.layers(layers, &at_first)?;
                let shortcut = arguments.get("shortcut");
                let shortcut = shortcut.map(|layers| self.layers(layers, &format!("{at}.shortcut")));
                let residual = Residual::new(body).shortcut(shortcut.transpose()?.unwrap_or_default());
                Box::new(match names.map(<[String; 2]>::try_from) {
                    None => residual,
                    Some(Ok(names)) => residual.names(names),
                    Some(Err(names)) => {
                        return Err(format!(
                            "{at}.names: body and shortcut have two names, not {}",
                            names.len()
                        ));
                    }
                })
            }
            "scale" => Box::new(Scale::new(self.layers(layers, &at_first)?)),
            _ => Box::new(self.layers(layers, &at_first)?),
        })
    }

    /// The nodes of a `graph`: an entry's `inputs` are names of nodes before it, or `"input"`; without them it reads the
    /// node before it.
    fn wired(&mut self, value: &Value, at: &str) -> Result<Wired, String> {
        let Value::Array(entries) = value else {
            return Err(format!("{at} is a list of nodes, not {}", describe(value)));
        };
        let mut wired = Wired::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (index, value) in entries.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let entry = Entry::of(value).map_err(|message| format!("{at}: {message}"))?;
            let name = entry.name(1).unwrap_or_else(|| index.to_string());
            let before = if index == 0 { Wire::Input } else { Wire::Node(index - 1) };
            let inputs = match entry.inputs {
                None => vec![before],
                Some(inputs) => wires(inputs, &places).map_err(|message| format!("{at}.inputs {message}"))?,
            };
            let (join, count) = (Join::of(entry.layer), inputs.len());
            if entry.repeat != 1 || !join.map_or(count == 1, |join| join.takes(count)) {
                return Err(format!("{at}: {} takes other than {count} inputs, or is repeated", entry.layer));
            }
            let layer = match join {
                Some(join) if entry.arguments.is_empty() => Wiring::Join(join),
                Some(_) => return Err(format!("{at}: {} has no arguments in a graph", entry.layer)),
                None => Wiring::Layer(self.layer(&entry, &at)?),
            };
            if places.insert(name.clone(), index).is_some() {
                return Err(format!("{at}: there are two nodes \"{name}\""));
            }
            wired = wired.push(name, layer, inputs);
        }
        Ok(wired)
    }

    fn concat(&mut self, value: &Value, names: Option<Vec<String>>, at: &str) -> Result<Concat, String> {
        let Value::Array(branches) = value else {
            return Err(format!("{at} is a list of lists of layers, not {}", describe(value)));
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != branches.len()) {
            return Err(format!("{at} are {}, names are {}", branches.len(), names.len()));
        }
        branches.iter().enumerate().try_fold(Concat::new(), |concat, (index, layers)| {
            let branch = self.layers(layers, &format!("{at}[{index}]"))?;
            Ok(match &names {
                Some(names) => concat.branch_named(&names[index], branch),
                None => concat.branch(branch),
            })
        })
    }

    fn plain(&mut self, name: &str, mut arguments: Table, at: &str) -> Result<Box<dyn Layer>, String> {
        let Some((_, parse)) = plain_layers().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = layer_names().into_iter().chain(self.blocks.names()).collect();
            return Err(match nearest(&name.to_lowercase(), names.iter().copied()) {
                Some(near) => format!("{at}: there is no layer \"{name}\"; did you mean \"{near}\"?"),
                None => format!(
                    "{at}: there is no layer \"{name}\"; there are {} (docs/model-files.md says how to write blocks)",
                    names.join(", ")
                ),
            });
        };
        let fail = |message: String| format!("{at}.{name}: {message}");
        self.fill_in_classes(&mut arguments).map_err(fail)?;
        for (argument, value) in &arguments {
            check_number(value).map_err(|message| fail(format!("{argument} is {value}, which {message}")))?;
        }
        parse(arguments).map_err(fail)
    }

    fn fill_in_classes(&mut self, arguments: &mut Table) -> Result<(), String> {
        for count in COUNTS {
            if arguments.get(count).and_then(Value::as_str) == Some("classes") {
                self.asked_for_classes = true;
                let missing = || format!("{count} is \"classes\"; give the file classes = ... or a data set");
                let classes = self.classes.ok_or_else(missing)?;
                arguments.insert(count.to_string(), Value::Integer(classes as i64));
            }
        }
        Ok(())
    }
}

/// Refuses numbers whose products could overflow in a shape rule, and NaN and infinity.
fn check_number(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Integer(number) if i32::try_from(*number).is_err() => Err("is too large"),
        Value::Float(number) if !number.is_finite() => Err("is not a finite number"),
        Value::Array(values) => values.iter().try_for_each(check_number),
        Value::Table(table) => table.values().try_for_each(check_number),
        _ => Ok(()),
    }
}

/// What a node of a graph reads.
fn wires(value: &Value, places: &HashMap<String, usize>) -> Result<Vec<Wire>, String> {
    let names = value.as_array().ok_or_else(|| format!("is a list of names, not {}", describe(value)))?;
    let wire = |name: &Value| match name.as_str() {
        Some("input") => Ok(Wire::Input),
        Some(name) if places.contains_key(name) => Ok(Wire::Node(places[name])),
        _ => Err(format!("has {name}, which is no node before this one")),
    };
    names.iter().map(wire).collect()
}

/// Makes a layer that holds no others from its name and arguments.
pub(crate) fn layer(name: &str, arguments: Table) -> Result<Box<dyn Layer>, String> {
    Parser::new(&Blocks::default(), None).plain(name, arguments, name)
}

/// Names of branches, in a list.
fn scopes(value: &Value) -> Result<Vec<String>, String> {
    let Value::Array(names) = value else {
        return Err(format!("is a list of names, not {}", describe(value)));
    };
    names.iter().map(|name| scope(name).map(str::to_string)).collect()
}
