//! The model file as text.

use toml::{Table, Value as Toml};

use super::builder::{Builder, INPUT, Wire};

/// Arguments that may be the number of classes.
const COUNTS: [&str; 2] = ["out_features", "out_channels"];

/// A node of the container `graph`.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) layer: String,
    pub(super) arguments: Table,
    pub(super) inputs: Vec<String>,
}

impl Builder<'_> {
    /// The model file; the last layer with parameters has `"classes"` if all that follows leaves their number.
    pub(super) fn text(&self, output: &Wire, [c, h, w]: [usize; 3], classes: usize) -> String {
        let head = self.head(output, classes);
        let mut lines = String::new();
        let mut before = INPUT;
        for (number, entry) in self.entries.iter().enumerate() {
            let mut arguments = entry.arguments.clone();
            if head == Some(number) {
                let count = COUNTS.into_iter().find(|count| arguments.contains_key(*count));
                arguments.extend(count.map(|count| (count.to_string(), Toml::from("classes"))));
            }
            let (id, layer) = (Toml::from(entry.id.as_str()), &entry.layer);
            let inputs = match &entry.inputs[..] {
                [only] if only == before => String::new(),
                inputs => format!("inputs = {}, ", Toml::from(inputs.to_vec())),
            };
            let arguments = Toml::Table(arguments);
            lines += &format!("    {{ name = {id}, {inputs}{layer} = {arguments} }},\n");
            before = &entry.id;
        }
        // What is not last is named once more: a model gives what its last layer makes.
        if before != output.id {
            lines += &format!(
                "    {{ name = \"output\", inputs = [{}], multiply = {{ factor = 1.0 }} }},\n",
                Toml::from(output.id.as_str())
            );
        }
        format!(
            "# Imported from ONNX: nodes named by their parameters.\nexample = {{ input = [{c}, {h}, {w}], classes = \
             {classes} }}\nlayers = [\n  {{ name = \"\", graph = {{ nodes = [\n{lines}  ] }} }},\n]\n"
        )
    }

    /// The entry that makes as many features as there are classes, if nothing behind it has parameters.
    fn head(&self, output: &Wire, classes: usize) -> Option<usize> {
        let mut id = output.id.as_str();
        loop {
            let number = self.entries.iter().position(|entry| entry.id == id)?;
            let entry = &self.entries[number];
            let [input] = &entry.inputs[..] else { return None };
            let count = COUNTS.into_iter().find_map(|count| entry.arguments.get(count));
            match count.and_then(Toml::as_integer) {
                Some(count) => return (count == classes as i64).then_some(number),
                None if ["batch_norm", "layer_norm", "layer_norm2d"].contains(&entry.layer.as_str()) => {
                    return None;
                }
                None => id = input,
            }
        }
    }
}
