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
    /// Settings by name, in a recipe file only: `[[group]]` tables of pattern, lr_factor, weight_decay, freeze and
    /// freeze_after
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
    /// The epoch from which on they are not trained any more (1: after the first).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_after: Option<u32>,
}

impl GroupTable {
    fn rule(&self) -> Result<GroupOverride> {
        let GroupTable { pattern, lr_factor, weight_decay, freeze, freeze_after } = self;
        require(
            !pattern.is_empty(),
            "the pattern of a [[group]]",
            "empty",
            "names of parameters, such as head.*",
        )?;
        let says =
            lr_factor.is_some() || weight_decay.is_some() || freeze.is_some() || freeze_after.is_some();
        if !says {
            return fail(format!(
                "[[group]] {pattern} says nothing: give lr_factor, weight_decay, freeze or freeze_after"
            ));
        }
        let not_negative = |of: &str, value: &Option<f64>| {
            value.map(|value| not_negative(&format!("{of} of a [[group]]"), value)).transpose()
        };
        let freeze_after =
            freeze_after.map(|epoch| count("freeze_after of a [[group]]", epoch)).transpose()?;
        Ok(GroupOverride {
            pattern: pattern.clone(),
            lr_factor: not_negative("lr_factor", lr_factor)?,
            weight_decay: not_negative("weight_decay", weight_decay)?,
            freeze: freeze.unwrap_or(false),
            freeze_after,
        })
    }

    /// A rule as a table.
    fn of(rule: &GroupOverride) -> GroupTable {
        let GroupOverride { pattern, lr_factor, weight_decay, freeze, freeze_after } = rule.clone();
        GroupTable { pattern, lr_factor, weight_decay, freeze: freeze.then_some(true), freeze_after }
    }
}

impl GroupSettings {
    pub(super) fn rules(&self, weight_decay: f64) -> Result<GroupRules> {
        let tables = self.group.iter().flatten();
        let mut overrides = tables.map(GroupTable::rule).collect::<Result<Vec<GroupOverride>>>()?;
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
        let unfreeze_at = self.unfreeze_at()?;
        Ok(GroupRules { weight_decay, no_decay_on_norms_and_biases, layer_decay, overrides, unfreeze_at })
    }

    fn unfreeze_at(&self) -> Result<Option<u32>> {
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
    pub(super) fn of(rules: &GroupRules) -> GroupSettings {
        let only_frozen = |rule: &&GroupOverride| {
            let GroupOverride { freeze, lr_factor, weight_decay, freeze_after, .. } = rule;
            *freeze && lr_factor.is_none() && weight_decay.is_none() && freeze_after.is_none()
        };
        let freeze: Vec<String> =
            rules.overrides.iter().filter(only_frozen).map(|rule| rule.pattern.clone()).collect();
        let tables = rules.overrides.iter().filter(|rule| !only_frozen(rule));
        let group: Vec<GroupTable> = tables.map(GroupTable::of).collect();
        GroupSettings {
            no_decay_on_norms_and_biases: Some(rules.no_decay_on_norms_and_biases),
            layer_decay: rules.layer_decay,
            freeze: Some(freeze).filter(|patterns| !patterns.is_empty()),
            unfreeze_at: rules.unfreeze_at,
            group: Some(group).filter(|tables| !tables.is_empty()),
        }
    }
}
