//! Which parameters share which settings: weight decay, learning rate, frozen or not.

use crate::error::{Error, Result, nearest};
use crate::graph::{Graph, ParameterGroup};
use crate::tensor::Shape;

/// Rules that give each parameter its [`ParameterGroup`], by its name and shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRules {
    /// Decay of all parameters that nothing below says otherwise of.
    pub weight_decay: f64,
    /// Whether parameters of less than two dimensions, and biases, have none (timm's `filter_bias_and_bn`).
    pub no_decay_on_norms_and_biases: bool,
    /// The factor on the learning rate of each [block] for each block after it; the last has the whole rate.
    pub layer_decay: Option<f64>,
    /// What is said of parameters by patterns; of several that give a parameter the same setting, the last counts.
    pub overrides: Vec<GroupOverride>,
    /// The epoch, from 0, from which on what is frozen from the start is trained; never if left open.
    pub unfreeze_at: Option<u32>,
}

/// Settings of the parameters whose names match a pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupOverride {
    /// A name of parameters, where `*` stands for any characters and `?` for one.
    pub pattern: String,
    /// Factor on the learning rate, besides the layer's.
    pub lr_factor: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// Whether they are not trained from the start, until [`GroupRules::unfreeze_at`].
    pub freeze: bool,
    /// The epoch, from 0, from which on they are not trained any more.
    pub freeze_after: Option<u32>,
}

impl GroupRules {
    /// The same weight decay on all parameters, and nothing else.
    pub fn with_weight_decay(weight_decay: f64) -> GroupRules {
        GroupRules { weight_decay, ..GroupRules::default() }
    }

    /// Which rules freeze in an epoch. While this stays the same, so does what is frozen.
    pub fn freezing(&self, epoch: u32) -> Vec<bool> {
        let thawed = self.unfreeze_at.is_some_and(|at| epoch >= at);
        let freezes = |rule: &GroupOverride| {
            rule.freeze && !thawed || rule.freeze_after.is_some_and(|after| epoch >= after)
        };
        self.overrides.iter().map(freezes).collect()
    }

    /// Whether a parameter is frozen in an epoch.
    pub fn is_frozen(&self, name: &str, epoch: u32) -> bool {
        let rules = self.overrides.iter().zip(self.freezing(epoch));
        rules.into_iter().any(|(rule, freezes)| freezes && matches(&rule.pattern, name))
    }

    /// The settings of each parameter of a graph, in order. What the graph has [frozen](Graph::freeze) keeps its value.
    ///
    /// # Errors
    /// If a pattern matches none, or if all are frozen.
    pub fn of(&self, graph: &Graph) -> Result<Vec<ParameterGroup>> {
        let parameters: Vec<(&str, &Shape)> = graph
            .parameters()
            .into_iter()
            .map(|value| (graph.nodes()[value.node].name.as_str(), graph.shape(value)))
            .collect();
        self.check(&parameters)?;
        let mut blocks: Vec<&str> = vec![];
        for block in parameters.iter().map(|(name, _)| block(name)) {
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
        let groups = parameters.iter().map(|&(name, shape)| {
            if graph.is_frozen(name) {
                return ParameterGroup { rate: 0.0, weight_decay: 0.0 };
            }
            let after = blocks.iter().rev().position(|known| *known == block(name)).unwrap_or(0);
            let rate = self.layer_decay.map_or(1.0, |decay| decay.powi(after as i32));
            self.group(name, shape, rate)
        });
        Ok(groups.collect())
    }

    fn group(&self, name: &str, shape: &Shape, mut rate: f64) -> ParameterGroup {
        let spared = self.no_decay_on_norms_and_biases && (shape.len() < 2 || name.ends_with("bias"));
        let mut weight_decay = if spared { 0.0 } else { self.weight_decay };
        let mut factor = 1.0;
        for rule in self.overrides.iter().filter(|rule| matches(&rule.pattern, name)) {
            factor = rule.lr_factor.unwrap_or(factor);
            weight_decay = rule.weight_decay.unwrap_or(weight_decay);
        }
        rate *= factor;
        ParameterGroup { rate: rate as f32, weight_decay: weight_decay as f32 }
    }

    fn check(&self, parameters: &[(&str, &Shape)]) -> Result<()> {
        let names = || parameters.iter().map(|(name, _)| *name);
        for GroupOverride { pattern, .. } in &self.overrides {
            if !names().any(|name| matches(pattern, name)) {
                let near = nearest(pattern, names()).map(|near| format!("; the nearest is \"{near}\""));
                let near = near.unwrap_or_default();
                return Err(Error::Recipe(format!("the pattern \"{pattern}\" matches no parameter{near}")));
            }
        }
        let changes = self.overrides.iter().filter_map(|rule| rule.freeze_after).chain(self.unfreeze_at);
        match [0].into_iter().chain(changes).find(|epoch| names().all(|name| self.is_frozen(name, *epoch))) {
            None => Ok(()),
            Some(0) => Err(Error::Recipe("every parameter is frozen: nothing would be trained".to_string())),
            Some(epoch) => Err(Error::Recipe(format!(
                "every parameter is frozen after {epoch} epochs: nothing would be trained then"
            ))),
        }
    }
}

/// The part of a parameter's name that stands for a layer in layer-wise decay: up to the first numbers in it
/// (`layer1.0.conv1.weight` is in `layer1.0`, `features.3.block.0.0.weight` in `features.3`), or the module's whole name
/// (`conv1.weight` is in `conv1`).
pub fn block(name: &str) -> &str {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    let mut end = 0;
    for part in module.split('.') {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        end += part.len() + usize::from(end > 0);
        if is_number {
            return &module[..end];
        }
    }
    module
}

/// Whether a name matches a pattern, where `*` stands for any characters and `?` for one.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last star is, and what it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Init, Mode};

    #[test]
    fn patterns() {
        let cases = [
            ("head.*", "head.weight", true),
            ("head.*", "ahead.weight", false),
            ("*.bias", "layer1.0.bias", true),
            ("*", "", true),
            ("a?c*e", "abcde", true),
            ("a?c*e", "abcdef", false),
            ("**x", "yyx", true),
            ("", "a", false),
            ("layer*.conv?.weight", "layer4.1.conv2.weight", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn blocks() {
        let cases = [
            ("conv1.weight", "conv1"),
            ("layer1.0.conv1.weight", "layer1.0"),
            ("features.3.block.0.0.weight", "features.3"),
            ("3.body.0.weight", "3"),
            ("fc.bias", "fc"),
            ("weight", ""),
        ];
        for (name, expected) in cases {
            assert_eq!(block(name), expected, "{name}");
        }
    }

    #[test]
    fn rules_give_each_parameter_its_settings() {
        let mut graph = Graph::new(Mode::Train);
        for (name, shape) in [
            ("0.weight", vec![8, 3, 3, 3]),
            ("1.weight", vec![8]),
            ("1.bias", vec![8]),
            ("4.weight", vec![9, 8]),
        ] {
            graph.parameter(name, shape, Init::Default).unwrap();
        }
        let mut rules = GroupRules {
            weight_decay: 0.1,
            no_decay_on_norms_and_biases: true,
            layer_decay: Some(0.5),
            ..GroupRules::default()
        };
        let get = |rules: &GroupRules, graph: &Graph| -> Vec<(f32, f32)> {
            rules.of(graph).unwrap().iter().map(|group| (group.rate, group.weight_decay)).collect()
        };
        assert_eq!(get(&rules, &graph), [(0.25, 0.1), (0.5, 0.0), (0.5, 0.0), (1.0, 0.1)]);
        let rule = |pattern: &str, lr_factor, weight_decay| GroupOverride {
            pattern: pattern.to_string(),
            lr_factor,
            weight_decay,
            ..GroupOverride::default()
        };
        rules.overrides = vec![rule("*", Some(2.0), None), rule("1.*", Some(0.0), Some(0.3))];
        assert_eq!(get(&rules, &graph), [(0.5, 0.1), (0.0, 0.3), (0.0, 0.3), (2.0, 0.1)]);
        rules.overrides = vec![GroupOverride { freeze: true, ..rule("0.*", None, None) }];
        graph.freeze(["0.weight".to_string()].into());
        assert_eq!(get(&rules, &graph)[0], (0.0, 0.0));
        rules.overrides = vec![rule("5.weight", None, None)];
        let message = rules.of(&graph).unwrap_err().to_string();
        assert!(
            message.starts_with("the pattern \"5.weight\" matches no parameter; the nearest is"),
            "{message}"
        );
        rules.overrides = vec![GroupOverride { freeze: true, ..rule("*", None, None) }];
        assert!(rules.of(&graph).unwrap_err().to_string().starts_with("every parameter is frozen:"));
        rules.overrides = vec![GroupOverride { freeze_after: Some(2), ..rule("*", None, None) }];
        assert!(rules.of(&graph).unwrap_err().to_string().contains("is frozen after 2 epochs"));
    }

    #[test]
    fn rules_freeze_in_their_epochs() {
        let rule = |pattern: &str, freeze, freeze_after| GroupOverride {
            pattern: pattern.to_string(),
            freeze,
            freeze_after,
            ..GroupOverride::default()
        };
        let overrides = vec![rule("a", true, None), rule("b", false, Some(3)), rule("c", true, Some(4))];
        let rules = GroupRules { overrides, unfreeze_at: Some(2), ..GroupRules::default() };
        let frozen = |epoch| ["a", "b", "c"].map(|name| rules.is_frozen(name, epoch));
        assert_eq!(frozen(0), [true, false, true]);
        assert_eq!(frozen(1), [true, false, true]);
        assert_eq!(frozen(2), [false, false, false]);
        assert_eq!(frozen(3), [false, true, false]);
        assert_eq!(frozen(4), [false, true, true]);
        assert_eq!(rules.freezing(2), rules.freezing(2));
        assert_ne!(rules.freezing(2), rules.freezing(3));
    }
}
