//! The table `[augment]`: what it becomes, what it refuses, how flags and files go together.

use std::path::Path;

use super::{AugmentSettings, Recipe};
use crate::augment::{Augmentation, Auto, Crop, Mixing};
use crate::error::Error;

fn parse(text: &str) -> Recipe {
    Recipe::parse(text, Path::new("r.toml")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn table(text: &str) -> AugmentSettings {
    parse(&format!("[augment]\n{text}")).augment
}

#[test]
fn nothing_is_done_by_default() {
    let resolved = parse("").resolve().unwrap();
    assert_eq!(resolved.augmentation, Augmentation::NONE);
    assert!(!resolved.mixing.is_on());
    assert!(!resolved.to_toml().unwrap().contains("augment"));
}

#[test]
fn defaults_are_torchvisions_and_timms() {
    let resized = table("resized_crop_scale = [0.08, 1.0]").augmentation().unwrap().crop;
    assert_eq!(resized, Crop::Resized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] });
    let rand = table("auto_augment = \"rand-augment\"").augmentation().unwrap().auto;
    assert_eq!(rand, Some(Auto::RandAugment { num_ops: 2, magnitude: 9 }));
    let erasing = table("erasing = 0.5").augmentation().unwrap().erasing;
    assert_eq!((erasing.p, erasing.scale, erasing.ratio), (0.5, [0.02, 0.33], [0.3, 3.3]));
    let mixing = table("mixup_alpha = 0.2").mixing().unwrap();
    assert_eq!(mixing, Mixing { mixup_alpha: 0.2, cutmix_alpha: 0.0, mixup_prob: 1.0, switch_prob: 0.5 });
}

#[test]
fn wrong_settings_name_flag_and_range() {
    let cases = [
        ("horizontal_flip = 1.5", "--horizontal-flip is 1.5; it must be from 0 to 1"),
        ("crop_padding = 0", "--crop-padding is 0; it must be from 1 to 1024"),
        (
            "resized_crop_scale = [0.5, 0.1]",
            "--resized-crop-scale is 0.5,0.1; it must be two numbers in order",
        ),
        ("resized_crop_scale = [0.5, 1.1]", "above 0 and at most 1"),
        ("resized_crop_scale = [nan, 1.0]", "--resized-crop-scale is NaN"),
        ("crop_padding = 4\nresized_crop_scale = [0.5, 1.0]", "exclude each other"),
        ("horizontal_flip = 0.5\nalternating_flip = true", "exclude each other"),
        ("padding_mode = \"reflect\"", "--padding-mode goes with --crop-padding, which is not given"),
        ("num_ops = 3", "--num-ops goes with --auto-augment rand-augment"),
        (
            "auto_augment = \"trivial-augment-wide\"\nmagnitude = 3",
            "--magnitude goes with --auto-augment rand-augment",
        ),
        ("auto_augment = \"rand-augment\"\nmagnitude = 31", "--magnitude is 31; it must be from 0 to 30"),
        ("erasing_scale = [0.1, 0.2]", "--erasing-scale goes with --erasing"),
        ("mixup_prob = 0.5", "--mixup-prob goes with --mixup-alpha or --cutmix-alpha"),
        ("mixup_alpha = 0.5\nswitch_prob = 0.5", "--switch-prob goes with --mixup-alpha and --cutmix-alpha"),
        ("mixup_alpha = -1", "--mixup-alpha is -1; it must be at least 0"),
        ("hue = 0.6", "--hue is 0.6; it must be from 0 to 0.5"),
        ("brightness = 7", "--brightness is 7; it must be from 0 to 6"),
        ("degrees = 181", "--degrees is 181"),
        ("scale = [0.001, 1.0]", "--scale is 0.001; it must be at least 0.01"),
        ("cutout = 0", "--cutout is 0; it must be at least 1"),
    ];
    for (text, expected) in cases {
        let error = parse(&format!("[augment]\n{text}")).resolve().expect_err(text);
        assert!(matches!(error, Error::Recipe(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn unknown_names_are_matched_with_known_ones() {
    let cases = [
        (
            "[augment]\nhorizontal_filp = 0.5",
            "unknown setting \"horizontal_filp\" in [augment]; did you mean \"horizontal_flip\"?",
        ),
        ("horizontal_flip = 0.5", "unknown setting \"horizontal_flip\"; it belongs in the table [augment]"),
        ("[augmnet]\nhue = 0.5", "unknown setting \"augmnet\"; did you mean \"augment\"?"),
        (
            "[augment]\nauto_augment = \"trivial\"",
            "unknown policy \"trivial\"; did you mean \"trivial-augment-wide\"?",
        ),
    ];
    for (text, expected) in cases {
        let error = Recipe::parse(text, Path::new("r.toml")).expect_err(text).to_string();
        assert!(error.starts_with("r.toml") && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn flags_come_before_the_file_setting_by_setting() {
    let file = table("crop_padding = 4\npadding_mode = \"reflect\"\nhorizontal_flip = 0.5");
    let over = |flags: AugmentSettings| {
        let with = |augment: AugmentSettings| Recipe { augment, ..Recipe::default() };
        with(flags).over(with(file.clone())).augment
    };
    let merged = over(table("horizontal_flip = 0.1\ncutout = 8"));
    let want = table("crop_padding = 4\npadding_mode = \"reflect\"\nhorizontal_flip = 0.1\ncutout = 8");
    assert_eq!(merged, want);
    // What belongs to a crop that the flags replace goes with it.
    let merged = over(table("resized_crop_scale = [0.5, 1.0]"));
    assert_eq!(merged, table("resized_crop_scale = [0.5, 1.0]\nhorizontal_flip = 0.5"));
    merged.augmentation().unwrap();
}
