//! Gradients of every operator by central differences in f64, in mid-graph; and NaN passes through every operator.

use wgrad::{ops, selftest};

#[test]
fn gradients_agree_with_central_differences_and_nan_passes() {
    let mut failures = vec![];
    for operator in ops::registry() {
        let samples = selftest::samples(operator);
        assert!(!samples.is_empty(), "{} has no samples", operator.name);
        for sample in samples {
            assert!(sample.id.starts_with(&format!("{}/", operator.name)), "{} is misnamed", sample.id);
            failures.extend(selftest::check_on_host(&sample).err());
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
