//! Parameter groups: settings that are not the same for all parameters.

use serde::{Deserialize, Serialize};

use super::range::{count, fail, not_negative, positive, require};
use super::theme::theme;
use crate::error::Result;
use crate::train::groups::{GroupOverride, GroupRules};

theme! {
/// Parameter groups.
#[command(next_help_heading = "Parameters")]
pub struct GroupSettings {
    /// Leave norms and biases without weight decay
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(hide_possible_values = true, value_name = "BOOL")]
    pub no_decay_on_norms_and_biases: Option<bool>,
    /// Factor on the learning rate of each block of layers for each block after it [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub layer_decay: Option<f64>,
    /// Do not train the parameters with these names; * stands for any characters. A batch norm that is frozen whole
    /// normalises by its running statistics and leaves them as they are
    #[arg(long, value_name = "PATTERN,...", value_delimiter = ',')]
    pub freeze: Option<Vec<String>>,
    /// Train all parameters from this epoch on (1: after the first)
    #[arg(long, value_name = "EPOCH", allow_negative_numbers = true)]
    pub unfreeze_at: Option<u32>,
    /// Settings by name, in a recipe file only: `[[group]]` tables of pattern, lr_factor, weight_decay and freeze
    #[arg(skip)]
    pub group: Option<Vec<GroupTable>>,
}
}

/// A `[[group]]` of a recipe file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupTable {
    /// Names of parameters, where `*` stands for any characters and `?` for one.
    pub pattern: String,
    /// Factor on the learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_factor: Option<f64>,
    /// Weight decay, instead of the recipe's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether they are not trained until `unfreeze_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<bool>,
}

impl GroupSettings {
    pub(super) fn rules(&self, weight_decay: f64) -> Result<GroupRules> {
        let mut overrides = vec![];
        for table in self.group.iter().flatten() {
            let GroupTable { pattern, lr_factor, weight_decay, freeze } = table;
            require(
                !pattern.is_empty(),
                "the pattern of a [[group]]",
                "empty",
                "names of parameters, such as head.*",
            )?;
            if lr_factor.is_none() && weight_decay.is_none() && freeze.is_none() {
                return fail(format!(
                    "[[group]] {pattern} says nothing: give lr_factor, weight_decay or freeze"
                ));
            }
            overrides.push(GroupOverride {
                pattern: pattern.clone(),
                lr_factor: lr_factor
                    .map(|factor| not_negative("lr_factor of a [[group]]", factor))
                    .transpose()?,
                weight_decay: weight_decay
                    .map(|decay| not_negative("weight_decay of a [[group]]", decay))
                    .transpose()?,
                freeze: freeze.unwrap_or(false),
            });
        }
        let frozen = self.freeze.iter().flatten();
        overrides.extend(frozen.map(|pattern| GroupOverride {
            pattern: pattern.clone(),
            freeze: true,
            ..Default::default()
        }));
        let layer_decay = self.layer_decay.map(|decay| positive("--layer-decay", decay)).transpose()?;
        if let Some(decay) = layer_decay {
            require(decay <= 1.0, "--layer-decay", decay, "above 0 and at most 1")?;
        }
        let no_decay_on_norms_and_biases = self.no_decay_on_norms_and_biases.unwrap_or(false);
        Ok(GroupRules { weight_decay, no_decay_on_norms_and_biases, layer_decay, overrides })
    }

    pub(super) fn unfreeze_at(&self) -> Result<Option<u32>> {
        let epoch = self.unfreeze_at.map(|epoch| count("--unfreeze-at", epoch)).transpose()?;
        let freezes = self.freeze.iter().flatten().next().is_some()
            || self.group.iter().flatten().any(|table| table.freeze == Some(true));
        if epoch.is_some() && !freezes {
            return fail(
                "--unfreeze-at goes with --freeze, or with freeze = true in a [[group]]; nothing is frozen",
            );
        }
        Ok(epoch)
    }

    /// Rules as settings.
    pub(super) fn of(rules: &GroupRules, unfreeze_at: Option<u32>) -> GroupSettings {
        let only_frozen =
            |rule: &&GroupOverride| rule.freeze && rule.lr_factor.is_none() && rule.weight_decay.is_none();
        let freeze: Vec<String> =
            rules.overrides.iter().filter(only_frozen).map(|rule| rule.pattern.clone()).collect();
        let group: Vec<GroupTable> = rules
            .overrides
            .iter()
            .filter(|rule| !only_frozen(rule))
            .map(|rule| GroupTable {
                pattern: rule.pattern.clone(),
                lr_factor: rule.lr_factor,
                weight_decay: rule.weight_decay,
                freeze: rule.freeze.then_some(true),
            })
            .collect();
        GroupSettings {
            no_decay_on_norms_and_biases: Some(rules.no_decay_on_norms_and_biases),
            layer_decay: rules.layer_decay,
            freeze: Some(freeze).filter(|patterns| !patterns.is_empty()),
            unfreeze_at,
            group: Some(group).filter(|tables| !tables.is_empty()),
        }
    }
}
