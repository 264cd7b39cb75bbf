use toml::{Table, Value};

use super::{Concat, Residual, Sequential};
use crate::error::nearest;
use crate::ops::{self, Layer, unknown_argument};

/// How deep containers may nest; the TOML parser itself ends at 26.
const MAX_DEPTH: usize = 16;

/// Layers that hold others; all others are operators of the registry.
const CONTAINERS: [&str; 3] = ["concat", "residual", "sequential"];

/// Arguments that may be `"classes"`.
const COUNTS: [&str; 2] = ["out_features", "out_channels"];

/// Makes layers from the entries of a model file; errors begin with the entry's position.
pub(super) struct Parser {
    classes: Option<usize>,
    /// Whether an argument was `"classes"`.
    pub(super) asked_for_classes: bool,
    depth: usize,
}

impl Parser {
    /// A parser that reads `"classes"` as this number.
    pub(super) fn new(classes: Option<usize>) -> Parser {
        Parser { classes, asked_for_classes: false, depth: 0 }
    }

    /// The layers of a list, whose position is `at`.
    pub(super) fn layers(&mut self, value: &Value, at: &str) -> Result<Sequential, String> {
        let Value::Array(entries) = value else {
            return Err(format!("{at} is a list of layers, not {}", describe(value)));
        };
        let mut layers = Sequential::new();
        for (index, entry) in entries.iter().enumerate() {
            layers = layers.push_boxed(self.layer(entry, &format!("{at}[{index}]"))?);
        }
        Ok(layers)
    }

    fn layer(&mut self, entry: &Value, at: &str) -> Result<Box<dyn Layer>, String> {
        let (name, arguments) = name_and_arguments(entry).map_err(|message| format!("{at}: {message}"))?;
        if CONTAINERS.contains(&name) {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(format!("{at}: containers nest deeper than {MAX_DEPTH}"));
            }
            let layer = self.container(name, &arguments, at)?;
            self.depth -= 1;
            return Ok(layer);
        }
        self.operator(name, arguments, at)
    }

    fn container(&mut self, name: &str, arguments: &Table, at: &str) -> Result<Box<dyn Layer>, String> {
        let at = format!("{at}.{name}");
        let known: &[&str] = match name {
            "concat" => &["branches"],
            "residual" => &["body", "shortcut"],
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
        Ok(match name {
            "concat" => Box::new(self.concat(layers, &at_first)?),
            "residual" => {
                let body = self.layers(layers, &at_first)?;
                let shortcut = arguments.get("shortcut");
                let shortcut = shortcut.map(|layers| self.layers(layers, &format!("{at}.shortcut")));
                Box::new(Residual::new(body).shortcut(shortcut.transpose()?.unwrap_or_default()))
            }
            _ => Box::new(self.layers(layers, &at_first)?),
        })
    }

    fn concat(&mut self, value: &Value, at: &str) -> Result<Concat, String> {
        let Value::Array(branches) = value else {
            return Err(format!("{at} is a list of lists of layers, not {}", describe(value)));
        };
        branches.iter().enumerate().try_fold(Concat::new(), |concat, (index, layers)| {
            Ok(concat.branch(self.layers(layers, &format!("{at}[{index}]"))?))
        })
    }

    fn operator(&mut self, name: &str, mut arguments: Table, at: &str) -> Result<Box<dyn Layer>, String> {
        let layers = || ops::registry().iter().filter_map(|op| Some((op.name, op.layer?)));
        let Some((_, parse)) = layers().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = CONTAINERS.into_iter().chain(layers().map(|(known, _)| known)).collect();
            return Err(match nearest(&name.to_lowercase(), names.iter().copied()) {
                Some(near) => format!("{at}: there is no layer \"{name}\"; did you mean \"{near}\"?"),
                None => format!("{at}: there is no layer \"{name}\"; there are {}", names.join(", ")),
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

fn name_and_arguments(entry: &Value) -> Result<(&str, Table), String> {
    const FORM: &str =
        "a layer is a name or a table with one key, such as { linear = { out_features = 10 } }";
    match entry {
        Value::String(name) => Ok((name, Table::new())),
        Value::Table(table) => {
            let mut keys = table.iter();
            match (keys.next(), keys.next()) {
                (Some((name, Value::Table(arguments))), None) => Ok((name, arguments.clone())),
                (Some((name, other)), None) => {
                    Err(format!("the arguments of {name} are a table, not {}", describe(other)))
                }
                (Some((first, _)), Some((second, _))) => {
                    Err(format!("{FORM}; this one has \"{first}\" and \"{second}\""))
                }
                (None, _) => Err(format!("{FORM}; this one is empty")),
            }
        }
        other => Err(format!("{FORM}, not {}", describe(other))),
    }
}

/// The type of a TOML value, in words.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
