use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::theme::names;
use crate::error::{Error, Result};

/// A number of bytes: the value of `--memory-limit`, such as `512MiB` or `1.5GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

names! { "way to recompute",
/// Whether activations that are cheap to make again are kept for the backward pass: the value of `--recompute`. No result
/// depends on it.
pub enum Recompute {
    /// On the CPU they are recomputed, on a GPU before a step would have to be split into micro-batches.
    #[default]
    Auto = "auto",
    /// They are recomputed where that needs less memory.
    Always = "always",
    /// They are kept.
    Never = "never",
}
}

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for MemorySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<MemorySize> {
        let trimmed = text.trim();
        let lower = trimmed.to_lowercase();
        let unit = UNITS.iter().find(|(unit, _)| lower.ends_with(&unit.to_lowercase()));
        let (number, factor) = unit.map_or((trimmed, 1), |(unit, factor)| {
            (trimmed[..trimmed.len() - unit.len()].trim_end(), *factor)
        });
        let bytes = number.parse::<f64>().map(|number| number * factor as f64);
        match bytes {
            Ok(bytes) if (1.0..9e18).contains(&bytes) => Ok(MemorySize(bytes as u64)),
            _ => Err(Error::Recipe(format!(
                "--memory-limit is \"{text}\"; give a number of bytes with a unit, such as 512MiB or 1.5GB"
            ))),
        }
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
            .expect("every number is a multiple of one byte");
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MemorySize, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        let cases = [("512MiB", 512 << 20), (" 1.5 GB ", 1_500_000_000), ("2gib", 2 << 30), ("1000", 1000)];
        for (text, bytes) in cases {
            let size: MemorySize = text.parse().unwrap();
            assert_eq!(size, MemorySize(bytes), "{text}");
            assert_eq!(size.to_string().parse::<MemorySize>().unwrap(), size, "{size}");
        }
        assert_eq!(MemorySize(3 << 30).to_string(), "3GiB");
        for text in ["", "MiB", "-1GB", "0", "nan", "inf TiB", "12 parsecs", "99999999TiB"] {
            assert!(text.parse::<MemorySize>().is_err(), "{text}");
        }
    }
}
