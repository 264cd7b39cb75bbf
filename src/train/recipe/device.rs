use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Which device to use: the value of `--device`. In recipes a string, or a number for an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best hardware GPU, or else the CPU path.
    #[default]
    Auto,
    /// The native CPU path.
    Cpu,
    /// The best adapter that wgpu offers, a software one included.
    Gpu,
    /// The adapter at this place in `wgrad devices`.
    Index(usize),
    /// The first adapter whose name contains this, in any case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<DeviceChoice> {
        let text = text.trim();
        Ok(match text.to_lowercase().as_str() {
            "" => {
                return Err(Error::Recipe(
                    "--device is empty; give auto, cpu, gpu, or an index or a name from `wgrad devices`"
                        .to_string(),
                ));
            }
            "auto" => DeviceChoice::Auto,
            "cpu" => DeviceChoice::Cpu,
            "gpu" => DeviceChoice::Gpu,
            _ => match text.parse() {
                Ok(index) => DeviceChoice::Index(index),
                Err(_) => DeviceChoice::Name(text.to_string()),
            },
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Gpu => f.write_str("gpu"),
            DeviceChoice::Index(index) => write!(f, "{index}"),
            DeviceChoice::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DeviceChoice, D::Error> {
        struct Choice;

        impl Visitor<'_> for Choice {
            type Value = DeviceChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", \"cpu\", \"gpu\", or an index or a name from `wgrad devices`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DeviceChoice, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, index: i64) -> Result<DeviceChoice, E> {
                let index = usize::try_from(index);
                index.map(DeviceChoice::Index).map_err(|_| E::custom("a device's index is 0 or more"))
            }

            fn visit_u64<E: de::Error>(self, index: u64) -> Result<DeviceChoice, E> {
                let index = usize::try_from(index);
                index.map(DeviceChoice::Index).map_err(|_| E::custom("no device has an index as large"))
            }
        }

        deserializer.deserialize_any(Choice)
    }
}
