//! How the settings of a recipe are declared: once, as key of recipe files, flag of `wgrad train`, and its help.

/// Settings that belong together, each of which may be left open.
pub(super) trait Theme: Sized {
    /// These settings, and `base`'s where they are open.
    fn over(self, base: Self) -> Self;
}

/// Declares a theme of a recipe. A field's name is the key in recipe files and, with `-` for `_`, the flag; its comment
/// is the flag's help.
macro_rules! theme {
    ($(#[$about:meta])* pub struct $name:ident {
        $($(#[$about_field:meta])* pub $field:ident: Option<$type:ty>,)*
    }) => {
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, clap::Args)]
        $(#[$about])*
        pub struct $name {
            $(
                $(#[$about_field])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl super::theme::Theme for $name {
            fn over(self, base: $name) -> $name {
                $name { $($field: self.$field.or(base.$field),)* }
            }
        }
    };
}

/// Declares an enum whose variants are names in flags and recipes; an unknown name is answered with the nearest.
macro_rules! names {
    ($what:literal, $(#[$about:meta])* pub enum $name:ident {
        $($(#[$about_variant:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$about_variant])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: [$name; [$($text),*].len()] = [$($name::$variant),*];

            /// As flags and recipes have it.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                let known = $name::ALL.map($name::name);
                $name::ALL.into_iter().find(|name| name.name() == text).ok_or_else(|| {
                    let hint = crate::fields::hint(&text, &known);
                    serde::de::Error::custom(format!("unknown {} \"{text}\"; {hint}", $what))
                })
            }
        }

        impl clap::ValueEnum for $name {
            fn value_variants<'a>() -> &'a [$name] {
                &$name::ALL
            }

            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                Some(clap::builder::PossibleValue::new(self.name()))
            }
        }
    };
}

pub(in crate::train) use names;
pub(super) use theme;

/// The value of a flag that says the opposite of its setting: `--no-shuffle` is `shuffle = false`.
pub(super) fn not(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(false),
        "false" => Ok(true),
        _ => Err("expected true or false".to_string()),
    }
}

/// Two numbers with a comma between them.
pub(super) fn pair(text: &str) -> Result<[f64; 2], String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let pair = numbers.and_then(|numbers| <[f64; 2]>::try_from(numbers).ok());
    pair.ok_or_else(|| "expected two numbers, such as 0.9,0.999".to_string())
}
