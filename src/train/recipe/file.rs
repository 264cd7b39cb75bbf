//! Recipe files.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::{
    AugmentSettings, ControlSettings, GroupSettings, GroupTable, InputSettings, LengthSettings,
    OptimizerSettings, Recipe, ResolvedRecipe, RunSettings, ScheduleSettings,
};
use crate::error::{Error, Result};
use crate::fields;

const DIGITS: &str = include_str!("../../../recipes/digits.toml");

/// The one theme that is a table.
const AUGMENT: &str = "augment";

/// The tables of parameter groups.
const GROUP: &str = "group";

/// The tables of a recipe file.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Tables {
    augment: AugmentSettings,
}

impl Recipe {
    /// The recipe of `wgrad train` without arguments: the built-in digits.
    pub fn digits() -> Recipe {
        Recipe::parse(DIGITS, Path::new("recipes/digits.toml")).expect("a test resolves the digits recipe")
    }

    /// Reads a recipe file.
    pub fn load(path: &Path) -> Result<Recipe> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Recipe::parse(&text, path)
    }

    /// Reads the text of a recipe file; errors name `path` and the line.
    pub fn parse(text: &str, path: &Path) -> Result<Recipe> {
        let fail = |error: toml::de::Error| {
            let message = plain(error.message());
            Error::Recipe(format!("{}{}: {message}", path.display(), place(text, error.span())))
        };
        let table: toml::Table = toml::from_str(text).map_err(fail)?;
        let mut known = Recipe::keys();
        known.push(AUGMENT);
        if let Some(name) = table.keys().find(|name| !known.contains(&name.as_str())) {
            let hint = match fields::fields_of::<AugmentSettings>().contains(&name.as_str()) {
                true => format!("it belongs in the table [{AUGMENT}]"),
                false => fields::hint(name, &known),
            };
            return Err(unknown(path, name, "", &hint));
        }
        if let Some(augment) = table.get(AUGMENT) {
            refuse_unknown::<AugmentSettings>(augment, "[augment]", path)?;
        }
        for group in table.get(GROUP).and_then(|groups| groups.as_array()).into_iter().flatten() {
            refuse_unknown::<GroupTable>(group, "[[group]]", path)?;
        }
        // Each theme takes its own keys: read one by one, they say in which line an error is.
        Ok(Recipe {
            input: toml::from_str(text).map_err(fail)?,
            length: toml::from_str(text).map_err(fail)?,
            optimizer: toml::from_str(text).map_err(fail)?,
            schedule: toml::from_str(text).map_err(fail)?,
            control: toml::from_str(text).map_err(fail)?,
            run: toml::from_str(text).map_err(fail)?,
            groups: toml::from_str(text).map_err(fail)?,
            augment: toml::from_str::<Tables>(text).map_err(fail)?.augment,
        })
    }

    /// The keys of recipe files, but for those of the table `[augment]`.
    pub fn keys() -> Vec<&'static str> {
        let themes = [
            fields::fields_of::<InputSettings>(),
            fields::fields_of::<LengthSettings>(),
            fields::fields_of::<OptimizerSettings>(),
            fields::fields_of::<ScheduleSettings>(),
            fields::fields_of::<ControlSettings>(),
            fields::fields_of::<RunSettings>(),
            fields::fields_of::<GroupSettings>(),
        ];
        themes.concat()
    }
}

/// Refuses names in a table that are none of `T`'s; what is no table is left for its own reader.
fn refuse_unknown<T: DeserializeOwned>(value: &toml::Value, place: &str, path: &Path) -> Result<()> {
    let Some(field) = value.as_table().and_then(fields::unknown_field::<T>) else { return Ok(()) };
    let hint = fields::hint(field.name, field.known);
    Err(unknown(path, field.name, &format!(" in {place}"), &hint))
}

fn unknown(path: &Path, name: &str, place: &str, hint: &str) -> Error {
    let path = path.display();
    Error::Recipe(format!(
        "{path}: unknown setting \"{name}\"{place}; {hint} (docs/recipes.md; a later wgrad may know more)"
    ))
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipe> {
        Recipe::parse(text, Path::new("recipe"))
    }
}

impl ResolvedRecipe {
    /// The text of `recipe.toml` in a run's folder: a recipe file that resolves to these settings, but for `out`.
    pub fn to_toml(&self) -> Result<String> {
        let mut recipe = self.to_recipe();
        recipe.run.out = None;
        let text = toml::to_string(&recipe);
        let text = text.map_err(|error| Error::Recipe(format!("the recipe cannot be saved: {error}")))?;
        Ok(format!("# The settings of a wgrad run. `wgrad train` takes this file as a recipe.\n{text}"))
    }

    /// Reads the `recipe.toml` of a run's folder, or any recipe file, with defaults for what it leaves open.
    pub fn load(path: &Path) -> Result<ResolvedRecipe> {
        Recipe::load(path)?.resolve()
    }
}

/// ` line 3 ("lr = true")`
fn place(text: &str, span: Option<Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return String::new() };
    let line = before.matches('\n').count();
    let content = text.lines().nth(line).unwrap_or_default().trim();
    format!(" line {} (`{content}`)", line + 1)
}

/// A message of the TOML reader in one line and in the words of users.
fn plain(message: &str) -> String {
    let types = [
        ("expected f64", "expected a number"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
    ];
    let message = message.trim().replace('\n', ", ");
    types.iter().fold(message, |message, (from, to)| message.replace(from, to))
}
