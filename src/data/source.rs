use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, nearest};

/// Where a data set comes from: the value of `--data`. Written and read as a string, in recipes too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DataSource {
    /// The handwritten digits that are built in.
    Digits,
    /// The four IDX files of MNIST.
    Mnist(PathBuf),
    /// The four IDX files of Fashion-MNIST.
    FashionMnist(PathBuf),
    /// The binary version of CIFAR-10.
    Cifar10(PathBuf),
    /// The binary version of CIFAR-100, fine labels.
    Cifar100(PathBuf),
    /// Image files, one folder per class.
    Folder(PathBuf),
    /// A safetensors file with `train.images`, `train.labels`, `test.images` and `test.labels`.
    Tensors(PathBuf),
}

/// A kind of source that has a path: its name, what the path is, and how it is made.
struct Kind {
    name: &'static str,
    argument: &'static str,
    make: fn(PathBuf) -> DataSource,
}

const KINDS: [Kind; 6] = [
    Kind { name: "mnist", argument: "DIR", make: DataSource::Mnist },
    Kind { name: "fashion-mnist", argument: "DIR", make: DataSource::FashionMnist },
    Kind { name: "cifar10", argument: "DIR", make: DataSource::Cifar10 },
    Kind { name: "cifar100", argument: "DIR", make: DataSource::Cifar100 },
    Kind { name: "folder", argument: "DIR", make: DataSource::Folder },
    Kind { name: "tensors", argument: "FILE.safetensors", make: DataSource::Tensors },
];

impl DataSource {
    /// Every form that `--data` takes, for help texts.
    pub fn forms() -> Vec<String> {
        let with_path = KINDS.iter().map(|kind| format!("{}:{}", kind.name, kind.argument));
        std::iter::once("digits".to_string()).chain(with_path).collect()
    }

    /// The same source by its absolute path, so that a recorded run finds it from every folder.
    pub fn absolute(self) -> DataSource {
        let (name, path) = self.parts();
        let kind = KINDS.iter().find(|kind| kind.name == name);
        match (kind, path.and_then(|path| std::path::absolute(path).ok())) {
            (Some(kind), Some(path)) => (kind.make)(path),
            _ => self,
        }
    }

    fn parts(&self) -> (&'static str, Option<&PathBuf>) {
        match self {
            DataSource::Digits => ("digits", None),
            DataSource::Mnist(path) => ("mnist", Some(path)),
            DataSource::FashionMnist(path) => ("fashion-mnist", Some(path)),
            DataSource::Cifar10(path) => ("cifar10", Some(path)),
            DataSource::Cifar100(path) => ("cifar100", Some(path)),
            DataSource::Folder(path) => ("folder", Some(path)),
            DataSource::Tensors(path) => ("tensors", Some(path)),
        }
    }
}

impl FromStr for DataSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<DataSource> {
        let (name, path) = match text.split_once(':') {
            Some((name, path)) => (name, Some(path)),
            None => (text, None),
        };
        if name == "digits" {
            return match path {
                None => Ok(DataSource::Digits),
                Some(_) => Err(Error::Recipe(format!(
                    "data source {text:?}: the digits are built in and take no path; write just \"digits\""
                ))),
            };
        }
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else { return Err(unknown(text, name)) };
        match path {
            Some(path) if !path.is_empty() => Ok((kind.make)(PathBuf::from(path))),
            _ => Err(Error::Recipe(format!(
                "data source {text:?} lacks its path; write \"{}:{}\"",
                kind.name, kind.argument
            ))),
        }
    }
}

fn unknown(text: &str, name: &str) -> Error {
    let forms = DataSource::forms();
    let names = KINDS.iter().map(|kind| kind.name).chain(["digits"]);
    let close =
        nearest(name, names).and_then(|near| forms.iter().find(|form| form.split(':').next() == Some(near)));
    let suggestion = close.map_or(";".to_string(), |form| format!("; did you mean \"{form}\"?"));
    Error::Recipe(format!("unknown data source {text:?}{suggestion} known are {}", forms.join(", ")))
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, None) => f.write_str(name),
            (name, Some(path)) => write!(f, "{name}:{}", path.display()),
        }
    }
}

impl From<DataSource> for String {
    fn from(source: DataSource) -> String {
        source.to_string()
    }
}

impl TryFrom<String> for DataSource {
    type Error = Error;

    fn try_from(text: String) -> Result<DataSource> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_round_trips() {
        for form in DataSource::forms() {
            let source: DataSource = form.parse().unwrap();
            assert_eq!(source.to_string(), form);
            assert_eq!(
                serde_json::from_str::<DataSource>(&serde_json::to_string(&source).unwrap()).unwrap(),
                source
            );
        }
        assert_eq!("folder:C:\\pets".parse::<DataSource>().unwrap(), DataSource::Folder("C:\\pets".into()));
    }

    #[test]
    fn errors_say_what_to_write() {
        let cases = [
            (
                "mnits:/x",
                "unknown data source \"mnits:/x\"; did you mean \"mnist:DIR\"? known are digits, mnist:DIR",
            ),
            ("digit", "did you mean \"digits\"?"),
            ("cifar:/x", "did you mean \"cifar10"),
            ("", "unknown data source \"\"; known are digits"),
            ("/data/pets", "known are digits"),
            ("digits:/x", "take no path"),
            ("mnist", "write \"mnist:DIR\""),
            ("tensors:", "write \"tensors:FILE.safetensors\""),
        ];
        for (text, expected) in cases {
            let error = text.parse::<DataSource>().unwrap_err();
            assert!(matches!(error, Error::Recipe(_)));
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }
}
