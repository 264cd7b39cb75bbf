use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::cache::CacheFolder;
use super::{TuneOptions, Verdict};
use crate::error::{Error, Result};
use crate::files;
use crate::gpu::Gpu;
use crate::graph::Tuning;
use crate::plan::shader_hash;

/// The configurations that were chosen for a device: what is kept between runs, exported and imported, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuningTable {
    /// The adapter's name.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    /// The version of wgrad.
    pub wgrad: String,
    /// A hash of all shaders: other kernels have other speeds.
    pub shaders: String,
    /// What was chosen, by [`crate::graph::TuningKey`] as text.
    pub choices: BTreeMap<String, TunedChoice>,
}

/// A configuration that was chosen, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedChoice {
    /// Its name.
    pub configuration: String,
    /// Whether it gives the same bits as the portable kernel.
    pub exact: bool,
    /// Whether all configurations were tried, not only as many as the time before a run allows.
    pub thorough: bool,
    /// Milliseconds when it was tried.
    pub ms: f64,
    /// Milliseconds of the default configuration.
    pub default_ms: f64,
}

impl TuningTable {
    /// An empty table for a device.
    pub fn new(adapter: &str, driver: &str) -> TuningTable {
        TuningTable {
            adapter: adapter.to_string(),
            driver: driver.to_string(),
            wgrad: env!("CARGO_PKG_VERSION").to_string(),
            shaders: format!("{:016x}", shader_hash()),
            choices: BTreeMap::new(),
        }
    }

    /// The table that is kept for a device; an empty one if there is none or it is of another driver or version.
    pub fn load(adapter: &str, driver: &str, cache: &CacheFolder) -> TuningTable {
        let empty = TuningTable::new(adapter, driver);
        let Some(content) = cache.read(&empty.file_name()) else { return empty };
        match serde_json::from_slice::<TuningTable>(&content) {
            Ok(table) if table.mismatch(&empty).is_none() => table,
            Ok(_) => empty,
            Err(_) => {
                let path = cache.path().join(empty.file_name());
                cache.note(format!("{} is damaged; kernels are tuned anew", path.display()));
                empty
            }
        }
    }

    /// Keeps the table for later runs.
    pub fn save(&self, cache: &CacheFolder) -> Result<()> {
        cache.write(&self.file_name(), self.to_json().as_bytes())
    }

    /// Writes the table to a file.
    pub fn export(&self, path: &Path) -> Result<()> {
        files::write_bytes(path, self.to_json())
    }

    /// Reads a table that was exported, which has to be of the same adapter, driver, version and kernels.
    pub fn import(path: &Path, gpu: &Gpu) -> Result<TuningTable> {
        let content = files::read(path)?;
        let table: TuningTable = serde_json::from_slice(&content)
            .map_err(|error| Error::file(path, format!("is not a table of tuned kernels: {error}")))?;
        match table.mismatch(&TuningTable::new(&gpu.name, &gpu.driver)) {
            None => Ok(table),
            Some(mismatch) => Err(Error::file(path, format!("{mismatch}; run wgrad tune on this device"))),
        }
    }

    /// Whether a key is decided, by as much as was asked for.
    pub(super) fn knows(&self, key: &str, options: TuneOptions) -> bool {
        self.choices.get(key).is_some_and(|choice| choice.thorough || options.budget.is_some())
    }

    /// Adds what a verdict says.
    pub(super) fn insert(&mut self, verdict: &Verdict, exact: bool, thorough: bool) {
        let ms = |name: Option<&str>| {
            let tried =
                verdict.tried.iter().find(|tried| name.is_none_or(|name| tried.configuration == name));
            tried.and_then(|tried| tried.ms).unwrap_or_default()
        };
        let choice = TunedChoice {
            configuration: verdict.chosen.clone(),
            exact,
            thorough,
            ms: ms(Some(&verdict.chosen)),
            default_ms: ms(None),
        };
        self.choices.insert(verdict.key.clone(), choice);
    }

    /// What lowering needs of it.
    pub fn tuning(&self) -> Tuning {
        let choices = self.choices.iter();
        Tuning {
            choices: choices.map(|(key, choice)| (key.clone(), choice.configuration.clone())).collect(),
            inexact: self.inexact_hash(),
        }
    }

    /// Whether a choice of it can change bits: it was made by `wgrad tune`.
    pub fn can_change_bits(&self) -> bool {
        self.choices.values().any(|choice| !choice.exact)
    }

    /// A hash of the choices that can change bits; empty if there are no such choices.
    fn inexact_hash(&self) -> String {
        let inexact = self.choices.iter().filter(|(_, choice)| !choice.exact);
        let lines: String =
            inexact.map(|(key, choice)| format!("{key} {}\n", choice.configuration)).collect();
        let mut sum = flate2::Crc::new();
        sum.update(lines.as_bytes());
        if lines.is_empty() { lines } else { format!("{:08x}", sum.sum()) }
    }

    fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a table of strings and numbers is JSON")
    }

    /// One file per device, whose driver and version are inside.
    fn file_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        format!("tuning-{}.json", self.adapter.chars().map(plain).take(60).collect::<String>())
    }

    fn mismatch(&self, device: &TuningTable) -> Option<String> {
        let facts = [
            ("the adapter", &self.adapter, &device.adapter),
            ("the driver", &self.driver, &device.driver),
            ("wgrad", &self.wgrad, &device.wgrad),
            ("kernels", &self.shaders, &device.shaders),
        ];
        let other = facts.into_iter().find(|(_, ours, theirs)| ours != theirs);
        other.map(|(what, ours, theirs)| format!("was tuned for {what} {ours}, this is {theirs}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TuningTable {
        let choice =
            TunedChoice { configuration: "a".into(), exact: true, thorough: true, ms: 1.5, default_ms: 2.0 };
        TuningTable {
            adapter: "A GPU".into(),
            driver: "1.2".into(),
            wgrad: "0".into(),
            shaders: "s".into(),
            choices: BTreeMap::from([("key".to_string(), choice)]),
        }
    }

    #[test]
    fn only_what_changes_bits_is_hashed() {
        let mut table = table();
        assert!(table.inexact_hash().is_empty() && !table.can_change_bits());
        let inexact =
            TunedChoice { configuration: "b".into(), exact: false, thorough: true, ms: 1.0, default_ms: 2.0 };
        table.choices.insert("other".into(), inexact);
        let hash = table.inexact_hash();
        assert!(!hash.is_empty() && table.can_change_bits());
        table.choices.get_mut("key").unwrap().configuration = "c".into();
        assert_eq!(table.inexact_hash(), hash, "an exact choice does not count");
        table.choices.get_mut("other").unwrap().configuration = "c".into();
        assert_ne!(table.inexact_hash(), hash);
    }

    #[test]
    fn tables_of_other_devices_drivers_and_kernels_are_told_apart() {
        let (own, mut other) = (table(), table());
        assert_eq!(own.mismatch(&other), None);
        other.driver = "1.3".into();
        assert_eq!(own.mismatch(&other).unwrap(), "was tuned for the driver 1.2, this is 1.3");
        assert_eq!(own.file_name(), "tuning-a-gpu.json");
    }
}
