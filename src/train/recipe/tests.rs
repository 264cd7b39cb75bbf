use std::path::Path;

use super::*;
use crate::data::DataSource;
use crate::error::Error;
use crate::optim::{Adam, Anneal, Curve, Sgd, Warmup};

fn parse(text: &str) -> Recipe {
    Recipe::parse(text, Path::new("r.toml")).unwrap()
}

fn resolve(text: &str) -> ResolvedRecipe {
    parse(text).resolve().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The error of reading or resolving a recipe, which must be of the kind that exits with 2, in the style of the house.
fn error_of(text: &str) -> String {
    let resolved = Recipe::parse(text, Path::new("r.toml")).and_then(Recipe::resolve);
    let error = resolved.expect_err(text);
    assert!(matches!(error, Error::Recipe(_)), "{error:?}");
    let message = error.to_string();
    assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
    message
}

#[test]
fn defaults_are_neutral_and_pytorchs() {
    let bare = resolve("");
    assert_eq!((bare.data, bare.model.as_str()), (DataSource::Digits, "digits-cnn"));
    assert_eq!((bare.length, bare.batch_size), (Length::Epochs(10), 64));
    let sgd = Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
    assert_eq!((bare.algorithm, bare.groups.weight_decay), (Algorithm::Sgd(sgd), 0.0));
    assert_eq!((bare.schedule.lr, bare.schedule.warmup), (1e-3, Warmup::NONE));
    assert_eq!(bare.schedule.curve, Curve::Constant);
    assert_eq!((bare.label_smoothing, bare.clip_norm), (0.0, None));
    assert_eq!((bare.shuffle, bare.normalize, bare.seed), (true, true, 0));
    assert_eq!((bare.device, bare.checkpoint_every, bare.log_every), (DeviceChoice::Auto, None, 10));

    assert_eq!(resolve("data = \"mnist:/x\"").model, "small-cnn");
    let adam = Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: false };
    let resolved = resolve("optimizer = \"adam\"");
    assert_eq!((resolved.algorithm, resolved.groups.weight_decay), (Algorithm::Adam(adam), 0.0));
    let resolved = resolve("optimizer = \"adamw\"");
    let adamw = Adam { decoupled: true, ..adam };
    assert_eq!((resolved.algorithm, resolved.groups.weight_decay), (Algorithm::Adam(adamw), 0.01));
    let one_cycle =
        Curve::OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, anneal: Anneal::Cosine };
    assert_eq!(resolve("schedule = \"one-cycle\"").schedule.curve, one_cycle);
}

#[test]
fn the_digits_recipe_applies_only_to_bare_commands() {
    let digits = Recipe::from_flags(Recipe::default(), None);
    assert_eq!(digits, Recipe::digits());
    let resolved = digits.resolve().unwrap();
    assert_eq!((resolved.data, resolved.model.as_str()), (DataSource::Digits, "digits-cnn"));
    assert!(resolved.label_smoothing > 0.0);

    let epochs = parse("epochs = 3");
    let resolved = Recipe::from_flags(epochs, None).resolve().unwrap();
    assert_eq!(resolved.length, Length::Epochs(3));
    assert_eq!(resolved.algorithm.name(), OptimizerName::AdamW);

    let data = parse("data = \"digits\"");
    assert_eq!(Recipe::from_flags(data.clone(), None), data);
    let model = parse("model = \"lenet5\"");
    assert_eq!(Recipe::from_flags(model.clone(), None), model);
    let file = parse("lr = 0.5");
    assert_eq!(Recipe::from_flags(Recipe::default(), Some(file.clone())), file);
}

#[test]
fn flags_come_before_the_file() {
    let file = parse("lr = 0.5\nmomentum = 0.9\nepochs = 7\nseed = 3\nshuffle = false");
    let flags = parse("lr = 0.25\nshuffle = true");
    let both = parse("lr = 0.25\nmomentum = 0.9\nepochs = 7\nseed = 3\nshuffle = true");
    assert_eq!(flags.over(file), both);
}

/// A file's settings that belong to a choice which the flags change must not stand in the way.
#[test]
fn changed_choices_set_aside_what_belonged_to_the_old() {
    let cases = [
        (
            "optimizer = \"adam\"",
            "momentum = 0.9\nnesterov = true\nlr = 0.1",
            "optimizer = \"adam\"\nlr = 0.1",
        ),
        ("optimizer = \"sgd\"", "momentum = 0.9", "optimizer = \"sgd\"\nmomentum = 0.9"),
        ("optimizer = \"adamw\"", "optimizer = \"adam\"\neps = 0.1", "optimizer = \"adamw\"\neps = 0.1"),
        ("momentum = 0.5", "momentum = 0.9", "momentum = 0.5"),
        (
            "schedule = \"exponential\"",
            "schedule = \"multi-step\"\nmilestones = [3]\ngamma = 0.5",
            "schedule = \"exponential\"\ngamma = 0.5",
        ),
        ("schedule = \"one-cycle\"", "warmup_steps = 5", "schedule = \"one-cycle\""),
        ("warmup_steps = 9", "warmup_share = 0.5", "warmup_steps = 9"),
        ("max_steps = 5", "epochs = 3", "max_steps = 5"),
        ("epochs = 5", "max_steps = 3", "epochs = 5"),
        ("", "max_steps = 3", "max_steps = 3"),
    ];
    for (flags, file, merged) in cases {
        let got = parse(flags).over(parse(file));
        assert_eq!(got, parse(merged), "{flags} over {file}");
        got.resolve().unwrap();
    }
}

#[test]
fn resolved_recipes_round_trip() {
    let recipes = [
        "",
        "data = \"cifar10:/data/c10\"\nmodel = \"nets/a.toml\"\ninit = \"w.safetensors\"\nbatch_size = 7",
        "momentum = 0.9\nnesterov = true\nweight_decay = 5e-4\nlr = 0.1\nclip_norm = 1.5\nmax_steps = 100",
        "dampening = 0.5\nmomentum = 0.3\nlabel_smoothing = 1.0\nseed = 9223372036854775807",
        "optimizer = \"adam\"\nbetas = [0.8, 0.95]\neps = 1e-5",
        "optimizer = \"adamw\"\nweight_decay = 0\ncheckpoint_every = 5\nlog_every = 1\nquiet = true",
        "schedule = \"step\"\nstep_size = 30\nwarmup_steps = 3",
        "schedule = \"multi-step\"\nmilestones = [10, 20]\ngamma = 0.3",
        "schedule = \"exponential\"\ngamma = 1.01",
        "schedule = \"cosine\"\nmin_lr = 1e-3\nlr = 0.3333333333333333\nwarmup_steps = 20",
        "schedule = \"one-cycle\"\npct_start = 0\ndiv_factor = 1\nfinal_div_factor = 1",
        "optimizer = \"rmsprop\"\nalpha = 0.9\nmomentum = 0.5\ncentered = true\neps = 1e-3",
        "optimizer = \"adagrad\"\nlr_decay = 0.1\ninitial_accumulator_value = 0.5",
        "optimizer = \"lamb\"\nbetas = [0.8, 0.9]\nclip_adaptive = 0.01",
        "optimizer = \"muon\"\nadjust_lr = \"match-rms-adamw\"\nns_steps = 3\nmuon_first_and_last = true",
        "optimizer = \"lion\"\nbetas = [0.95, 0.98]\nweight_decay = 0.1",
        "schedule = \"polynomial\"\npower = 2\nwarmup_steps = 3",
        "schedule = \"cosine\"\nwarmup_share = 0.05",
        "schedule = \"one-cycle\"\nanneal_strategy = \"linear\"",
        "[[group]]\npattern = \"0.*\"\nfreeze_after = 3",
        "schedule = \"warm-restarts\"\nt_0 = 5\nt_mult = 2\nmin_lr = 1e-5\nschedule_per = \"epoch\"",
        "schedule = \"reduce-on-plateau\"\nplateau_factor = 0.5\nplateau_patience = 2\nplateau_cooldown = 1",
        "clip_value = 0.5\nema_decay = 0.999\nema_warmup = true\nlayer_decay = 0.75\nunfreeze_at = 2\n\
         no_decay_on_norms_and_biases = true\nfreeze = [\"a.*\", \"b\"]\n[[group]]\npattern = \"head.*\"\n\
         lr_factor = 10.0\n[[group]]\npattern = \"*.bias\"\nweight_decay = 0.0\nfreeze = true",
        "device = 2\nshuffle = false\nnormalize = false",
        "[augment]\ncrop_padding = 4\nhorizontal_flip = 0.5\nauto_augment = \"rand-augment\"\nmixup_alpha = 0.2",
        "device = \"llvmpipe (LLVM 19, 256 bits)\"",
        include_str!("../../../recipes/digits.toml"),
    ];
    for text in recipes {
        let resolved = resolve(text);
        assert_eq!(resolved.to_recipe().resolve().unwrap(), resolved, "{text}");
        let saved = resolved.to_toml().unwrap();
        assert_eq!(Recipe::parse(&saved, Path::new("r.toml")).unwrap(), resolved.to_recipe(), "{saved}");
        assert_eq!(resolve(&saved).to_toml().unwrap(), saved);
    }
}

#[test]
fn devices() {
    let cases = [
        ("\"auto\"", DeviceChoice::Auto),
        ("\"CPU\"", DeviceChoice::Cpu),
        ("\"gpu\"", DeviceChoice::Gpu),
        ("\"1\"", DeviceChoice::Index(1)),
        ("1", DeviceChoice::Index(1)),
        ("\"Radeon RX\"", DeviceChoice::Name("Radeon RX".to_string())),
    ];
    for (written, choice) in cases {
        assert_eq!(resolve(&format!("device = {written}")).device, choice);
    }
}

#[test]
fn the_folder_is_not_saved_with_the_run() {
    let resolved = resolve("out = \"runs/a\"");
    assert_eq!(resolved.out.as_deref(), Some(Path::new("runs/a")));
    assert_eq!(resolved.to_recipe().run.out, resolved.out);
    assert!(!resolved.to_toml().unwrap().contains("runs/a"));
}

#[test]
fn recipes_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let error = Recipe::load(&path).unwrap_err();
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error:?}");
    std::fs::write(&path, "lr = 0.5").unwrap();
    assert_eq!(Recipe::load(&path).unwrap(), parse("lr = 0.5"));
    assert_eq!(ResolvedRecipe::load(&path).unwrap(), resolve("lr = 0.5"));
}

#[test]
fn unreadable_recipes_name_the_line() {
    let cases = [
        ("lr = 0.1\nbatch-size = 3", "r.toml: unknown setting \"batch-size\"; did you mean \"batch_size\"?"),
        ("no_shuffle = true", "did you mean \"shuffle\"?"),
        (
            "[[group]]\npattern = \"a\"\nfreeze = true\n[[group]]\npattern = \"b\"\nlr_facto = 2.0",
            "unknown setting \"lr_facto\" in [[group]]; did you mean \"lr_factor\"?",
        ),
        ("[[group]]\nzzz = 1", "it takes pattern, lr_factor, weight_decay, freeze"),
        ("wieght_decay = 1.0", "did you mean \"weight_decay\"?"),
        (
            "zzz = 1",
            "it takes data, model, init, image_size, resize_size, skip_bad, cache, pretrained, shuffle, normalize, epochs",
        ),
        (
            "seed = 1\nlr = \"fast\"",
            "r.toml line 2 (`lr = \"fast\"`): invalid type: string \"fast\", expected a number",
        ),
        (
            "epochs = -1",
            "line 1 (`epochs = -1`): invalid value: integer `-1`, expected a whole number from 0 to",
        ),
        ("epochs = 1.5", "expected a whole number"),
        ("betas = [0.9]", "array of length 2"),
        (
            "optimizer = \"sdg\"",
            "unknown optimizer \"sdg\"; it takes sgd, adam, adamw, rmsprop, adagrad, lion, lamb, muon",
        ),
        ("schedule = \"onecycle\"", "unknown schedule \"onecycle\"; did you mean \"one-cycle\"?"),
        (
            "data = \"mnits:/x\"",
            "line 1 (`data = \"mnits:/x\"`): unknown data source \"mnits:/x\"; did you mean",
        ),
        ("device = \"\"", "--device is empty"),
        ("device = -1", "a device's index is 0 or more"),
        ("device = true", "expected \"auto\", \"cpu\", \"gpu\", or an index"),
        ("lr = 1\nlr = 2", "r.toml line 2"),
        ("lr 0.1", "r.toml line 1 (`lr 0.1`)"),
        ("seed = 1\nepochs = [", "r.toml line 2"),
        ("shuffle = 1", "expected a boolean"),
        ("[[group]]\nlr_factor = 1", "missing field `pattern`"),
    ];
    for (text, expected) in cases {
        let message = error_of(text);
        assert!(message.starts_with("r.toml") && message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn values_out_of_range_name_flag_and_range() {
    let cases = [
        ("lr = -1", "--lr is -1; it must be at least 0 and finite"),
        ("lr = nan", "--lr is NaN; it must be at least 0"),
        ("lr = inf", "--lr is inf; it must be"),
        ("lr = 1e39", "and finite"),
        ("momentum = -0.1", "--momentum is -0.1; it must be at least 0"),
        ("dampening = nan", "--dampening is NaN"),
        ("nesterov = true", "--nesterov needs a --momentum above 0 and no --dampening"),
        ("nesterov = true\nmomentum = 0.9\ndampening = 0.1", "not 0.9 and 0.1"),
        (
            "optimizer = \"adam\"\nbetas = [0.9, 1.0]",
            "--betas is 1; it must be two numbers of at least 0 and less than 1",
        ),
        ("optimizer = \"adam\"\nbetas = [-0.1, 0.5]", "--betas is -0.1"),
        ("optimizer = \"adam\"\nbetas = [0.9, 0.9999999999]", "--betas is 0.9999999999"),
        ("optimizer = \"adam\"\neps = 0", "--eps is 0; it must be above"),
        ("batch_size = 0", "--batch-size is 0; it must be at least 1"),
        ("epochs = 0", "--epochs is 0; it must be at least 1"),
        ("max_steps = 0", "--max-steps is 0; it must be at least 1"),
        ("epochs = 1\nmax_steps = 5", "--epochs and --max-steps exclude each other"),
        ("log_every = 0", "--log-every is 0"),
        ("checkpoint_every = 0", "--checkpoint-every is 0"),
        ("weight_decay = -1", "--weight-decay is -1"),
        ("label_smoothing = 1.5", "--label-smoothing is 1.5; it must be from 0 to 1"),
        ("clip_norm = 0", "--clip-norm is 0; it must be above 0"),
        ("clip_norm = inf", "--clip-norm is inf"),
        ("model = \"\"", "--model is empty"),
        ("schedule = \"step\"", "--schedule step needs --step-size"),
        ("schedule = \"step\"\nstep_size = 0", "--step-size is 0; it must be at least 1"),
        ("schedule = \"step\"\nstep_size = 2\ngamma = -1", "--gamma is -1; it must be above 0"),
        ("schedule = \"exponential\"", "--schedule exponential needs --gamma"),
        ("schedule = \"multi-step\"", "--schedule multi-step needs --milestones"),
        ("schedule = \"multi-step\"\nmilestones = []", "--schedule multi-step needs --milestones"),
        ("schedule = \"multi-step\"\nmilestones = [5, 5]", "--milestones is 5,5; it must be increasing"),
        ("schedule = \"multi-step\"\nmilestones = [0, 5]", "--milestones is 0,5; it must be increasing"),
        (
            "schedule = \"cosine\"\nmin_lr = 0.01",
            "--min-lr is 0.01; it must be from 0 to --lr, which is 0.001",
        ),
        ("schedule = \"cosine\"\nmin_lr = nan", "--min-lr is NaN"),
        ("schedule = \"warm-restarts\"", "--schedule warm-restarts needs --t-0"),
        ("schedule = \"warm-restarts\"\nt_0 = 0", "--t-0 is 0; it must be at least 1"),
        ("schedule = \"polynomial\"\npower = 0", "--power is 0; it must be above 0"),
        (
            "schedule = \"reduce-on-plateau\"\nplateau_factor = 1",
            "--plateau-factor is 1; it must be at least 0 and less",
        ),
        ("optimizer = \"rmsprop\"\nalpha = 1", "--alpha is 1; it must be at least 0 and less than 1"),
        ("optimizer = \"adagrad\"\nlr_decay = -1", "--lr-decay is -1; it must be at least 0"),
        (
            "optimizer = \"adagrad\"\ninitial_accumulator_value = -1",
            "--initial-accumulator-value is -1; it must be at least 0",
        ),
        ("schedule = \"one-cycle\"\npct_start = 1.1", "--pct-start is 1.1; it must be from 0 to 1"),
        ("schedule = \"one-cycle\"\ndiv_factor = 0.5", "--div-factor is 0.5; it must be at least 1"),
        (
            "schedule = \"one-cycle\"\nfinal_div_factor = 0.01",
            "--final-div-factor is 0.01; it must be at least 1 /",
        ),
        (
            "max_steps = 10\nwarmup_steps = 10",
            "--warmup-steps is 10, but the run has 10 steps; it must be less",
        ),
    ];
    for (text, expected) in cases {
        let message = error_of(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
    let mut seed = Recipe::default();
    seed.run.seed = Some(u64::MAX);
    let seed = seed.resolve().unwrap_err();
    assert!(seed.to_string().starts_with("--seed is 18446744073709551615; it must be at most 92"), "{seed}");
}

#[test]
fn parameter_groups_clipping_and_averages_have_ranges() {
    let cases = [
        ("clip_value = 0", "--clip-value is 0; it must be above 0"),
        ("clip_norm = 1\nclip_value = 2", "--clip-norm is 1 and --clip-value is 2; clip in one way"),
        ("ema_decay = 1", "--ema-decay is 1; it must be at least 0 and less than 1"),
        ("clip_value = 1\nclip_adaptive = 2", "--clip-value is 1 and --clip-adaptive is 2; clip in one way"),
        ("optimizer = \"muon\"\nns_steps = 0", "--ns-steps is 0; it must be at least 1"),
        ("optimizer = \"muon\"\nmomentum = 1", "--momentum is 1; it must be at least 0 and less than 1"),
        ("ema_warmup = true", "--ema-warmup goes with --ema-decay"),
        ("layer_decay = 1.5", "--layer-decay is 1.5; it must be above 0 and at most 1"),
        ("unfreeze_at = 2", "--unfreeze-at goes with --freeze"),
        ("freeze = [\"a\"]\nunfreeze_at = 0", "--unfreeze-at is 0; it must be at least 1"),
        ("[[group]]\npattern = \"a\"", "[[group]] a says nothing"),
        (
            "[[group]]\npattern = \"a\"\nlr_factor = -1",
            "lr_factor of a [[group]] is -1; it must be at least 0",
        ),
    ];
    for (text, expected) in cases {
        let message = error_of(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn settings_that_do_not_apply_are_refused() {
    let cases = [
        (
            "optimizer = \"adam\"\nmomentum = 0.9",
            "--momentum goes with --optimizer sgd, rmsprop or muon, not with adam",
        ),
        (
            "optimizer = \"adamw\"\nnesterov = true",
            "--nesterov goes with --optimizer sgd or muon, not with adamw",
        ),
        (
            "betas = [0.9, 0.99]",
            "--betas goes with --optimizer adam, adamw, lion, lamb or muon, not with sgd",
        ),
        ("gamma = 0.5", "--gamma goes with --schedule step, multi-step or exponential, not with constant"),
        (
            "schedule = \"step\"\nstep_size = 1\nmin_lr = 0",
            "--min-lr goes with --schedule cosine, warm-restarts or reduce-on-plateau, not with step",
        ),
        ("schedule = \"cosine\"\nmilestones = [1]", "--milestones goes with --schedule multi-step"),
        ("schedule = \"cosine\"\npct_start = 0.3", "--pct-start goes with --schedule one-cycle"),
        (
            "optimizer = \"lion\"\neps = 1e-8",
            "--eps goes with --optimizer adam, adamw, rmsprop, adagrad, lamb or muon, not with lion",
        ),
        ("alpha = 0.9", "--alpha goes with --optimizer rmsprop, not with sgd"),
        ("schedule = \"cosine\"\nt_0 = 5", "--t-0 goes with --schedule warm-restarts, not with cosine"),
        (
            "schedule = \"reduce-on-plateau\"\nschedule_per = \"step\"",
            "--schedule-per goes with schedules that count",
        ),
        ("warmup_steps = 5\nwarmup_share = 0.1", "--warmup-steps and --warmup-share both say"),
        ("warmup_share = 1", "--warmup-share is 1; it must be"),
        ("anneal_strategy = \"linear\"", "--anneal-strategy goes with --schedule one-cycle, not with"),
        (
            "anneal_strategy = \"line\"\nschedule = \"one-cycle\"",
            "unknown anneal strategy \"line\"; did you mean",
        ),
        (
            "[[group]]\npattern = \"a\"\nfreeze_after = 0",
            "freeze_after of a [[group]] is 0; it must be at least 1",
        ),
        ("schedule = \"one-cycle\"\nwarmup_steps = 5", "--warmup-steps goes with schedules that do not rise"),
    ];
    for (text, expected) in cases {
        let message = error_of(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn steps_are_counted_over_the_run() {
    assert_eq!(resolve("epochs = 3").total_steps(44).unwrap(), 132);
    assert_eq!(resolve("max_steps = 5").total_steps(44).unwrap(), 5);
    let fails = |text, per_epoch| resolve(text).total_steps(per_epoch).unwrap_err().to_string();
    let warmup = fails("epochs = 3\nwarmup_steps = 132", 44);
    assert_eq!(warmup, "--warmup-steps is 132, but the run has 132 steps; it must be less");
    assert!(resolve("epochs = 3\nwarmup_steps = 131").total_steps(44).is_ok());
    assert!(fails("epochs = 4294967295", 2).contains("the run would have 8589934590 steps"));
    assert!(fails("schedule = \"exponential\"\ngamma = 2", 44).contains("the learning rate would grow to"));
}

/// Every field is written somewhere: none is forgotten between a recipe and a resolved one.
#[test]
fn every_setting_reaches_some_resolved_recipe() {
    let recipes = [
        "image_size = 8\ncache = \"c\"\nout = \"o\"\ninit = \"i\"\nclip_norm = 1\ncheckpoint_every = 1\nschedule = \"step\"\nstep_size = 1",
        "optimizer = \"muon\"\nclip_adaptive = 0.1",
        "optimizer = \"adam\"\nschedule = \"multi-step\"\nmilestones = [1]\nmax_steps = 3",
        "schedule = \"cosine\"\nmicro_batch_size = 8\nmemory_limit = \"1GiB\"\nrecompute = \"never\"",
        "schedule = \"one-cycle\"\neval_every = 5\npatience = 2\nmax_time = \"2m\"",
        "optimizer = \"rmsprop\"\nschedule = \"warm-restarts\"\nt_0 = 1",
        "optimizer = \"adagrad\"\nschedule = \"polynomial\"\nclip_value = 1\nema_decay = 0.9\npretrained = \"p\"",
        "layer_decay = 0.5\nfreeze = [\"a\"]\nunfreeze_at = 1\n[[group]]\npattern = \"b\"\nlr_factor = 1",
        "schedule = \"reduce-on-plateau\"",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for text in recipes {
        let table = toml::Table::try_from(resolve(text).to_recipe()).unwrap();
        seen.extend(table.keys().cloned());
    }
    let known: std::collections::BTreeSet<String> =
        Recipe::keys().iter().map(|name| name.to_string()).collect();
    assert_eq!(seen, known);
}
