use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use toml::{Table, Value};

use super::blocks::Blocks;
use super::entry::describe;
use super::parse::{Parser, layer_names};
use super::{Model, zoo};
use crate::error::{Error, Result, nearest};
use crate::graph::{self, Mode};
use crate::tensor::Shape;

/// Longest model file that is read: a foreign file named by mistake is not.
const MAX_BYTES: u64 = 1 << 20;

/// A model file, checked as far as that goes without the size of its input.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    name: String,
    text: String,
    layers: Value,
    blocks: Blocks,
    own: Sizes,
    example: Sizes,
}

/// Size of the images and number of classes, as far as known.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    input: Option<[usize; 3]>,
    classes: Option<usize>,
}

impl ModelSpec {
    /// A built-in model by its name, or a model file by its path.
    pub fn load(name_or_path: &str) -> Result<ModelSpec> {
        if let Some(text) = zoo::text(name_or_path) {
            return ModelSpec::parse(name_or_path, text);
        }
        let path = Path::new(name_or_path);
        if !path.exists() {
            let names: Vec<&str> = zoo::built_in().collect();
            let hint = match nearest(name_or_path, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    format!("built in are {}; docs/model-files.md says how to write one", names.join(", "))
                }
            };
            return Err(Error::Model(format!("\"{name_or_path}\" is neither built in nor a file; {hint}")));
        }
        ModelSpec::parse(name_or_path, &read(path)?)
    }

    /// Reads the text of a model file; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<ModelSpec> {
        parse(name, text).map_err(|message| wrong(name, &message))
    }

    /// The built-in's name or the file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The model for a data set of `classes` classes with images of channels, height and width `input`.
    pub fn bind(&self, input: [usize; 3], classes: usize) -> Result<Model> {
        let differ = |what: String| Err(Error::Model(format!("\"{}\" {what}", self.name)));
        match (self.own.input, self.own.classes) {
            (Some(own), _) if own != input => {
                differ(format!("takes images of {own:?}, those of the data set are {input:?}"))
            }
            (_, Some(own)) if own != classes => {
                differ(format!("is for {own} classes, the data set has {classes}"))
            }
            _ => self.build(input, Some(classes)),
        }
    }

    /// The model for the sizes that the file itself names, for use without a data set.
    pub fn unbound(&self) -> Result<Model> {
        let classes = self.own.classes.or(self.example.classes);
        match self.own.input.or(self.example.input) {
            Some(input) => self.build(input, classes),
            None => Err(Error::Model(format!(
                "\"{}\" takes images of any size; give it input = [C, H, W] or a data set",
                self.name
            ))),
        }
    }

    /// The names of the tensors whose shape depends on the number of classes, for images of channels, height and width
    /// `input`: the head, which differs from data set to data set.
    pub fn head(&self, input: [usize; 3]) -> Result<Vec<String>> {
        let shapes = |classes| -> Result<Vec<(String, Shape)>> {
            let (graph, _) = self.build(input, Some(classes))?.graph(Mode::Eval, 1)?;
            let stored = graph.parameters().into_iter().chain(graph.statistics());
            let named =
                |value: graph::Value| (graph.nodes()[value.node].name.clone(), graph.shape(value).clone());
            Ok(stored.map(named).collect())
        };
        // Two numbers that no group of channels is likely to mind.
        let pairs = shapes(64)?.into_iter().zip(shapes(128)?);
        Ok(pairs.filter(|(one, other)| one.1 != other.1).map(|((name, _), _)| name).collect())
    }

    fn build(&self, input: [usize; 3], classes: Option<usize>) -> Result<Model> {
        let fail = |message: String| wrong(&self.name, &message);
        let mut parser = Parser::new(&self.blocks, classes);
        let layers = parser.layers(&self.layers, "layers").map_err(fail)?;
        let mut source = String::new();
        if self.own.input.is_none() {
            source += &format!("input = {input:?}\n");
        }
        if let Some(classes) = classes.filter(|_| self.own.classes.is_none() && parser.asked_for_classes) {
            source += &format!("classes = {classes}\n");
        }
        source += &self.text;
        Ok(Model { name: self.name.clone(), input, layers, source: Some(source), views: &[] })
    }
}

impl FromStr for ModelSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<ModelSpec> {
        ModelSpec::parse("model", text)
    }
}

/// What is wrong with a file, in one line: names and values in it may have several.
fn wrong(name: &str, message: &str) -> Error {
    Error::Model(format!("\"{name}\": {}", message.replace(['\n', '\r'], " ")))
}

fn read(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut bytes = vec![];
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, "is larger than 1 MiB, which a model file never is"));
    }
    String::from_utf8(bytes).map_err(|_| Error::file(path, "is no text; a model file is TOML"))
}

fn parse(name: &str, text: &str) -> Result<ModelSpec, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| syntax_error(text, &error))?;
    check_keys(&table, &["input", "classes", "example", "layers", "blocks"], "a model file")?;
    let own = sizes(&table, "")?;
    let example = match table.get("example") {
        None => Sizes::default(),
        Some(Value::Table(example)) => {
            check_keys(example, &["input", "classes"], "example")?;
            sizes(example, "example.")?
        }
        Some(other) => {
            return Err(format!("example is a table of input and classes, not {}", describe(other)));
        }
    };
    let layers = table.get("layers").ok_or("layers = [...] is missing")?.clone();
    let blocks = table.get("blocks").map(|blocks| Blocks::parse(blocks, &layer_names()));
    let blocks = blocks.transpose()?.unwrap_or_default();
    // How many classes there are matters only to `bind`.
    let parsed = Parser::new(&blocks, Some(1)).layers(&layers, "layers")?;
    if parsed.is_empty() {
        return Err("layers is empty".to_string());
    }
    Ok(ModelSpec { name: name.to_string(), text: text.to_string(), layers, blocks, own, example })
}

fn check_keys(table: &Table, known: &[&str], whose: &str) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(match nearest(key, known.iter().copied()) {
            Some(near) => format!("{whose} has no key \"{key}\"; did you mean \"{near}\"?"),
            None => format!("{whose} has no key \"{key}\"; there are {}", known.join(", ")),
        }),
    }
}

fn sizes(table: &Table, prefix: &str) -> Result<Sizes, String> {
    let input = table.get("input").map(|value| {
        image_size(value).ok_or(format!(
            "{prefix}input is {value}; it must be [channels, height, width], three numbers of at least 1 and together \
             less than 2^30 elements"
        ))
    });
    let classes = table.get("classes").map(|value| {
        positive(value).ok_or(format!("{prefix}classes is {value}; it must be a number of at least 1"))
    });
    Ok(Sizes { input: input.transpose()?, classes: classes.transpose()? })
}

fn image_size(value: &Value) -> Option<[usize; 3]> {
    let dims: Option<Vec<usize>> = value.as_array()?.iter().map(positive).collect();
    let dims: [usize; 3] = dims?.try_into().ok()?;
    let elements = dims.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))?;
    (elements < 1 << 30).then_some(dims)
}

fn positive(value: &Value) -> Option<usize> {
    let value = i32::try_from(value.as_integer()?).ok()?;
    usize::try_from(value).ok().filter(|value| *value > 0)
}

fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
            format!("line {line}, column {column}: {message}")
        }
        None => message,
    }
}
