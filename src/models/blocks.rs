//! Templates of model files: lists of layers with arguments, and their expansion.

use indexmap::IndexMap;
use toml::{Table, Value};

use super::entry::describe;
use crate::ops::unknown_argument;

/// The table `blocks` of a model file.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    blocks: IndexMap<String, Block>,
}

/// A list of layers in which `"$name"` stands for the argument `name`.
#[derive(Clone, Debug)]
struct Block {
    arguments: Vec<String>,
    defaults: Table,
    layers: Value,
}

impl Blocks {
    /// Reads the table; `taken` are names of layers.
    pub(super) fn parse(value: &Value, taken: &[&str]) -> Result<Blocks, String> {
        let Value::Table(table) = value else {
            return Err(format!("blocks is a table of blocks, not {}", describe(value)));
        };
        let mut blocks = IndexMap::new();
        for (name, value) in table {
            if taken.contains(&name.as_str()) {
                return Err(format!("blocks.{name}: there is a layer of this name; give the block another"));
            }
            let block = Block::parse(value).map_err(|message| format!("blocks.{name}{message}"))?;
            blocks.insert(name.clone(), block);
        }
        Ok(Blocks { blocks })
    }

    /// The names of the blocks.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.blocks.keys().map(String::as_str)
    }

    /// The layers of a block, with these arguments; none if there is no such block. Takes their size from `budget`.
    pub(super) fn expand(
        &self,
        name: &str,
        arguments: &Table,
        budget: &mut usize,
    ) -> Option<Result<Value, String>> {
        self.blocks.get(name).map(|block| block.expand(arguments, budget))
    }
}

impl Block {
    fn parse(value: &Value) -> Result<Block, String> {
        let Value::Table(table) = value else {
            return Err(format!(" is a table with layers, not {}", describe(value)));
        };
        const KNOWN: [&str; 3] = ["arguments", "defaults", "layers"];
        if let Some(unknown) = table.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!(": {}", unknown_argument(unknown, &KNOWN)));
        }
        let layers = table.get("layers").ok_or(": layers = [...] is missing")?.clone();
        let arguments = match table.get("arguments") {
            None => vec![],
            Some(value) => names(value).ok_or_else(|| {
                format!(".arguments is a list of names, such as [\"channels\", \"stride\"], not {value}")
            })?,
        };
        let defaults = match table.get("defaults") {
            None => Table::new(),
            Some(Value::Table(defaults)) => defaults.clone(),
            Some(other) => return Err(format!(".defaults is a table of arguments, not {}", describe(other))),
        };
        let known: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Some(unknown) = defaults.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!(".defaults: {}", unknown_argument(unknown, &known)));
        }
        Ok(Block { arguments, defaults, layers })
    }

    fn expand(&self, given: &Table, budget: &mut usize) -> Result<Value, String> {
        let known: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if let Some(unknown) = given.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(unknown_argument(unknown, &known));
        }
        let value = |name: &str| given.get(name).or_else(|| self.defaults.get(name));
        if let Some(missing) = known.iter().find(|name| value(name).is_none()) {
            return Err(format!("needs the argument \"{missing}\""));
        }
        let argument =
            |name: &str| value(name).ok_or_else(|| format!("\"${name}\" {}", unknown_argument(name, &known)));
        // Blocks in blocks can grow without end.
        let size = size(&self.layers, &argument)?;
        *budget = budget.checked_sub(size).ok_or("the file's blocks make too many layers")?;
        substitute(&self.layers, &argument)
    }
}

fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_string)).collect()
}

/// The argument that a string stands for: `$stride` for `stride`.
fn argument_name(text: &str) -> Option<&str> {
    text.strip_prefix('$')
}

/// What `$name` stands for.
type Argument<'a, 'b> = &'b dyn Fn(&str) -> Result<&'a Value, String>;

/// How many values [`substitute`] makes.
fn size(value: &Value, argument: Argument<'_, '_>) -> Result<usize, String> {
    match value {
        Value::String(text) => argument_name(text).map_or(Ok(1), |name| Ok(count(argument(name)?))),
        Value::Array(values) => values.iter().try_fold(1, |sum, value| Ok(sum + size(value, argument)?)),
        Value::Table(table) => table.values().try_fold(1, |sum, value| Ok(sum + size(value, argument)?)),
        _ => Ok(1),
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Table(table) => 1 + table.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// The value with arguments in place of their names; what was put in stays as it is.
fn substitute(value: &Value, argument: Argument<'_, '_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match argument_name(text) {
            Some(name) => argument(name)?.clone(),
            None => value.clone(),
        },
        Value::Array(values) => {
            let values = values.iter().map(|value| substitute(value, argument));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Value::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.clone(), substitute(value, argument)?)));
            Value::Table(entries.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}
