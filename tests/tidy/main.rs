//! The rules of the house that the compiler does not check: who may use whom, one stem per operator, what files hold.

mod docs;
mod layering;
mod operators;
mod source;
mod text;

/// Fails with one line per offence.
fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}
