//! One entry of a list of layers: a layer with its arguments, its name and how often it stands there.

use toml::{Table, Value};

/// How often one entry may stand in its list.
const MAX_REPEAT: i64 = 1000;

/// An entry of a list of layers.
pub(super) struct Entry<'a> {
    /// The layer's name.
    pub(super) layer: &'a str,
    pub(super) arguments: Table,
    name: Option<&'a str>,
    /// How many such layers.
    pub(super) repeat: usize,
    /// What it reads, in a container `graph`.
    pub(super) inputs: Option<&'a Value>,
}

impl<'a> Entry<'a> {
    /// Reads a name, or a table with one layer and perhaps `name` and `repeat`.
    pub(super) fn of(entry: &'a Value) -> Result<Entry<'a>, String> {
        const FORM: &str =
            "a layer is a name or a table with one key, such as { linear = { out_features = 10 } }";
        let table = match entry {
            Value::String(layer) => {
                return Ok(Entry { layer, arguments: Table::new(), name: None, repeat: 1, inputs: None });
            }
            Value::Table(table) => table,
            other => return Err(format!("{FORM}, not {}", describe(other))),
        };
        let mut keys = table.iter().filter(|(key, _)| !["name", "repeat", "inputs"].contains(&key.as_str()));
        let (layer, arguments) = match (keys.next(), keys.next()) {
            (Some((layer, Value::Table(arguments))), None) => (layer, arguments.clone()),
            (Some((layer, other)), None) => {
                return Err(format!("the arguments of {layer} are a table, not {}", describe(other)));
            }
            (Some((first, _)), Some((second, _))) => {
                return Err(format!("{FORM}; this one has \"{first}\" and \"{second}\""));
            }
            (None, _) => return Err(format!("{FORM}; this one is empty")),
        };
        let repeat = match table.get("repeat") {
            None => 1,
            Some(Value::Integer(times)) if (0..=MAX_REPEAT).contains(times) => *times as usize,
            Some(other) => return Err(format!("repeat is {other}; expected an integer in 0..={MAX_REPEAT}")),
        };
        let name = table.get("name").map(scope).transpose().map_err(|message| format!("name {message}"))?;
        if let Some(name) = name.filter(|name| repeat > 1 && !name.contains("{}")) {
            return Err(format!(
                "\"{name}\" is the name of {repeat} layers; {{}} in it stands for the number of each"
            ));
        }
        Ok(Entry { layer, arguments, name, repeat, inputs: table.get("inputs") })
    }

    /// The name of the layer's tensors for the `count`th of the repeated layers; none if that is the position.
    pub(super) fn name(&self, count: usize) -> Option<String> {
        self.name.map(|name| name.replace("{}", &count.to_string()))
    }
}

/// A name of tensors; the empty one adds nothing.
pub(super) fn scope(value: &Value) -> Result<&str, String> {
    let name = value.as_str().ok_or_else(|| format!("is a string, not {}", describe(value)))?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let is_part = |part: &str| !part.is_empty() && part.chars().all(allowed);
    if name.is_empty() || name.replace("{}", "1").split('.').all(is_part) {
        return Ok(name);
    }
    Err(format!("is {value}; names have letters, digits, _ and -, with dots between them"))
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
