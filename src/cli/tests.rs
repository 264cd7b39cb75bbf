use std::path::Path;

use clap::CommandFactory;

use super::*;
use crate::fields::fields_of;
use crate::train::recipe::{AugmentSettings, DeviceChoice, Length, OptimizerName, Recipe, ScheduleName};

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

fn train(line: &str) -> TrainArgs {
    match parse(&format!("wgrad train {line}")) {
        Ok(Command::Train(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_setting_of_a_recipe_has_a_flag_and_the_reverse() {
    let command = Cli::command();
    let train = command.find_subcommand("train").unwrap();
    let mut flags: Vec<String> =
        train.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_string).collect();
    // What a command is asked to do once is no setting of a run.
    flags.retain(|flag| !["dry-run", "json", "ui"].contains(&flag.as_str()));
    let positive = ["shuffle", "normalize"];
    // The tables of a recipe file have no flag.
    let mut settings: Vec<String> = Recipe::keys()
        .iter()
        .filter(|name| **name != "group")
        .chain(fields_of::<AugmentSettings>())
        .map(|name| if positive.contains(name) { format!("no-{name}") } else { name.replace('_', "-") })
        .collect();
    flags.sort();
    settings.sort();
    assert_eq!(flags, settings);
}

#[test]
fn the_help_names_all_built_in_models_and_data_sources() {
    let command = Cli::command();
    let train = command.find_subcommand("train").unwrap();
    let help = |flag: &str| {
        let arg = train.get_arguments().find(|arg| arg.get_long() == Some(flag)).unwrap();
        arg.get_help().unwrap().to_string()
    };
    let models: Vec<&str> = crate::models::built_in().collect();
    assert!(help("model").contains(&format!("({})", models.join(", "))), "{}", help("model"));
    for form in crate::data::DataSource::forms() {
        assert!(help("data").contains(&form), "{form}: {}", help("data"));
    }
}

#[test]
fn every_command_has_an_example_that_parses() {
    let command = Cli::command();
    let shown = || command.get_subcommands().filter(|command| !command.is_hide_set());
    for part in shown().chain([&command]) {
        let help = part.get_after_help().unwrap_or_else(|| panic!("{} has no example", part.get_name()));
        let help = help.to_string();
        let (_, examples) = help.split_once("Example:\n").unwrap();
        for example in examples.lines() {
            // In the overview, two or more spaces come before what the example does.
            let line = example.trim().split("   ").next().unwrap().split("  ").next().unwrap();
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn every_flag_reaches_the_recipe() {
    let args = train(
        "r.toml --data cifar10:/c --image-size 224 --resize-size 256 --skip-bad --cache f --model lenet5 --init w.safetensors --pretrained p.safetensors --no-shuffle --no-normalize --max-steps 5 \
         --batch-size 7 --micro-batch-size 3 --memory-limit 2GiB --recompute never --optimizer adamw --lr 1e-2 --momentum 0.9 --dampening 0.1 --nesterov --betas 0.8,0.95 \
         --eps 1e-5 --alpha 0.9 --centered --lr-decay 0.5 --initial-accumulator-value 0.1 --ns-steps 4 --adjust-lr match-rms-adamw --muon-first-and-last --clip-adaptive 0.5 --weight-decay 0.1 --label-smoothing 0.1 --clip-norm 2 --clip-value 3 --ema-decay 0.9 --ema-warmup --no-decay-on-norms-and-biases --layer-decay 0.9 \
         --freeze a.*,b --unfreeze-at 2 --schedule multi-step --warmup-steps 3 \
         --min-lr 1e-4 --step-size 4 --gamma 0.5 --milestones 10,20 --pct-start 0.2 --div-factor 10 --anneal-strategy linear --warmup-share 0.1 \
         --final-div-factor 100 --schedule-per epoch --power 2 --t-0 5 --t-mult 2 --plateau-factor 0.5 --plateau-patience 3 \
         --plateau-threshold 1e-3 --plateau-cooldown 2 --eval-every 20 --tta flip --monitor test_ece \
         --min-delta 0.01 --patience 3 --keep-best 2 --keep-last 4 --max-time 1h --overfit-one-batch --precision f16 --seed 9 --device gpu --cooperative --out runs/x --checkpoint-every 50 --log-every 5 --tensorboard --quiet",
    );
    assert_eq!(args.recipe.as_deref(), Some(Path::new("r.toml")));
    let got = toml::Table::try_from(args.flags).unwrap();
    let want: toml::Table = "data = 'cifar10:/c'\nimage_size = 224\nresize_size = 256\nskip_bad = true\ncache = 'f'\nmodel = 'lenet5'\ninit = 'w.safetensors'\npretrained = 'p.safetensors'\nshuffle = false\n\
        normalize = false\nmax_steps = 5\nbatch_size = 7\nmicro_batch_size = 3\nmemory_limit = '2GiB'\nrecompute = 'never'\noptimizer = 'adamw'\nlr = 1e-2\nmomentum = 0.9\n\
        dampening = 0.1\nnesterov = true\nbetas = [0.8, 0.95]\neps = 1e-5\nalpha = 0.9\ncentered = true\nlr_decay = 0.5\ninitial_accumulator_value = 0.1\nns_steps = 4\nadjust_lr = 'match-rms-adamw'\nmuon_first_and_last = true\nclip_adaptive = 0.5\nweight_decay = 0.1\n\
        label_smoothing = 0.1\nclip_norm = 2.0\nclip_value = 3.0\nema_decay = 0.9\nema_warmup = true\nno_decay_on_norms_and_biases = true\n\
        layer_decay = 0.9\nfreeze = ['a.*', 'b']\nunfreeze_at = 2\nschedule = 'multi-step'\nwarmup_steps = 3\nmin_lr = 1e-4\n\
        step_size = 4\ngamma = 0.5\nmilestones = [10, 20]\npct_start = 0.2\ndiv_factor = 10.0\nanneal_strategy = 'linear'\nwarmup_share = 0.1\n\
        final_div_factor = 100.0\nschedule_per = 'epoch'\npower = 2.0\nt_0 = 5\nt_mult = 2\nplateau_factor = 0.5\n\
        plateau_patience = 3\nplateau_threshold = 1e-3\nplateau_cooldown = 2\neval_every = 20\ntta = 'flip'\nmonitor = 'test_ece'\n\
        min_delta = 0.01\npatience = 3\nkeep_best = 2\nkeep_last = 4\nmax_time = '1h'\noverfit_one_batch = true\nprecision = 'f16'\nseed = 9\ndevice = 'gpu'\ncooperative = true\nout = 'runs/x'\ncheckpoint_every = 50\nlog_every = 5\ntensorboard = true\n\
        quiet = true"
        .parse()
        .unwrap();
    assert_eq!(got, want);
    assert_eq!(want.len() + 2, Recipe::keys().len(), "all but epochs and group");
    assert_eq!(train("--epochs 3").flags.length.epochs, Some(3));
}

#[test]
fn every_flag_of_augmentation_reaches_the_recipe() {
    let args = train(
        "--crop-padding 4 --padding-mode reflect --resized-crop-scale 0.08,1 --resized-crop-ratio 0.75,1.3 \
         --horizontal-flip 0.5 --vertical-flip 0.1 --alternating-flip --degrees 10 --translate 0.1,0.2 --scale 0.9,1.1 \
         --shear 5 --interpolation nearest --auto-augment rand-augment --num-ops 3 --magnitude 7 --brightness 0.1 \
         --contrast 0.2 --saturation 0.3 --hue 0.4 --greyscale 0.5 --erasing 0.25 --erasing-scale 0.1,0.2 \
         --erasing-ratio 0.5,2 --cutout 8 --mixup-alpha 0.8 --cutmix-alpha 1 --mixup-prob 0.9 --switch-prob 0.4",
    );
    let got = toml::Table::try_from(args.flags).unwrap();
    let want: toml::Table = "[augment]\ncrop_padding = 4\npadding_mode = 'reflect'\nresized_crop_scale = [0.08, 1.0]\n\
        resized_crop_ratio = [0.75, 1.3]\nhorizontal_flip = 0.5\nvertical_flip = 0.1\nalternating_flip = true\n\
        degrees = 10.0\ntranslate = [0.1, 0.2]\nscale = [0.9, 1.1]\nshear = 5.0\ninterpolation = 'nearest'\n\
        auto_augment = 'rand-augment'\nnum_ops = 3\nmagnitude = 7\nbrightness = 0.1\ncontrast = 0.2\n\
        saturation = 0.3\nhue = 0.4\ngreyscale = 0.5\nerasing = 0.25\nerasing_scale = [0.1, 0.2]\n\
        erasing_ratio = [0.5, 2.0]\ncutout = 8\nmixup_alpha = 0.8\ncutmix_alpha = 1.0\nmixup_prob = 0.9\n\
        switch_prob = 0.4"
        .parse()
        .unwrap();
    assert_eq!(got, want);
    assert_eq!(want["augment"].as_table().unwrap().len(), fields_of::<AugmentSettings>().len());
}

#[test]
fn bare_flags_leave_everything_open() {
    assert_eq!(train("").flags, Recipe::default());
    assert_eq!(train("").resolve().unwrap(), Recipe::digits().resolve().unwrap());
}

#[test]
fn switches_can_be_turned_off_again() {
    let recipe = train("--no-shuffle=false --nesterov=false --quiet=true").flags;
    assert_eq!(
        (recipe.input.shuffle, recipe.optimizer.nesterov, recipe.run.quiet),
        (Some(true), Some(false), Some(true))
    );
    assert_eq!(train("--nesterov r.toml").recipe.as_deref(), Some(Path::new("r.toml")));
}

#[test]
fn flags_and_file_are_resolved_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    std::fs::write(&path, "optimizer = \"adam\"\nepochs = 3\nlr = 0.5\nschedule = \"cosine\"").unwrap();
    let line = format!("{} --lr 0.25 --max-steps 8", path.display());
    let resolved = train(&line).resolve().unwrap();
    assert_eq!((resolved.schedule.lr, resolved.length), (0.25, Length::Steps(8)));
    assert_eq!(resolved.algorithm.name(), OptimizerName::Adam);
    assert_eq!(resolved.to_recipe().schedule.schedule, Some(ScheduleName::Cosine));

    let missing = train("no/such/recipe.toml").resolve().unwrap_err();
    assert_eq!(exit_code(&missing), 1);
    assert!(missing.to_string().starts_with("cannot read no/such/recipe.toml: "));
    let bad = train("--lr -1").resolve().unwrap_err();
    assert_eq!(
        (exit_code(&bad), bad.to_string().as_str()),
        (2, "--lr is -1; it must be at least 0 and finite")
    );
    assert_eq!(train("--lr nan").resolve().map_err(|error| exit_code(&error)), Err(2));
}

#[test]
fn names_are_those_of_recipes() {
    for name in OptimizerName::ALL {
        assert_eq!(train(&format!("--optimizer {}", name.name())).flags.optimizer.optimizer, Some(name));
        assert_eq!(serde_json::to_value(name).unwrap(), name.name());
    }
    for name in ScheduleName::ALL {
        assert_eq!(train(&format!("--schedule {}", name.name())).flags.schedule.schedule, Some(name));
        assert_eq!(serde_json::to_value(name).unwrap(), name.name());
    }
}

#[test]
fn the_other_commands() {
    let Ok(Command::Eval(eval)) =
        parse("wgrad eval runs/a --data digits --logits l --device 1 --batch-size 9")
    else {
        panic!("eval")
    };
    assert_eq!((eval.device, eval.batch_size), (DeviceChoice::Index(1), Some(9)));
    let Ok(Command::Predict(predict)) =
        parse("wgrad predict runs/a 1.png 2.png --top 2 --json --device llvmpipe")
    else {
        panic!("predict")
    };
    assert_eq!((predict.images.len(), predict.top, predict.json), (2, 2, true));
    assert_eq!(predict.device, DeviceChoice::Name("llvmpipe".to_string()));
    let Ok(Command::Inspect(inspect)) =
        parse("wgrad inspect m.toml --input 3,32,32 --classes 5 --json --plan")
    else {
        panic!("inspect")
    };
    assert_eq!((inspect.input, inspect.classes, inspect.batch_size), (Some([3, 32, 32]), Some(5), 64));
    let Ok(Command::Bench(bench)) = parse("wgrad bench --model lenet5 --batch-size 8 --steps 3") else {
        panic!("bench")
    };
    assert_eq!((bench.batch_size, bench.steps, bench.device), (8, 3, DeviceChoice::Auto));
    for line in ["resume runs/a", "devices --json", "selftest --json", "eval runs/a", "predict runs/a 1.png"]
    {
        parse(&format!("wgrad {line}")).unwrap();
    }
}

#[test]
fn bad_flags_are_refused_in_one_line_with_exit_code_2() {
    let cases = [
        ("train --learning-rate 1", "unexpected argument '--learning-rate' found; "),
        ("train --epoch 1", "tip: a similar argument exists: '--epochs'"),
        ("train --epochs 1 --max-steps 2", "'--epochs <N>' cannot be used with '--max-steps <N>'"),
        ("train --lr fast", "invalid value 'fast' for '--lr <X>': invalid float literal"),
        ("train --epochs -3", "invalid value '-3' for '--epochs <N>': -3 is not in 0..=4294967295"),
        (
            "train --optimizer sdg",
            "[possible values: sgd, adam, adamw, rmsprop, adagrad, lion, lamb, muon]; --help lists all",
        ),
        ("train --schedule onecycle", "tip: a similar value exists: 'one-cycle'"),
        ("train --data mnits:/x", "unknown data source \"mnits:/x\"; did you mean \"mnist:DIR\"?"),
        ("train --betas 0.9", "expected two numbers, such as 0.9,0.999"),
        ("train --milestones 1,b", "invalid value 'b' for '--milestones <N,...>'"),
        ("train --no-shuffle=maybe", "invalid value 'maybe' for '--no-shuffle[=<BOOL>]'"),
        ("train a.toml b.toml", "unexpected argument 'b.toml' found"),
        ("predict runs/a", "required arguments were not provided: <IMAGE>..."),
        ("predict runs/a 1.png --top 0", "invalid value '0' for '--top <K>'"),
        ("bench --batch-size 3", "not provided: --model <MODEL>"),
        ("inspect m --input 3,32", "expected channels, height and width, such as 3,32,32"),
        ("inspect m --input 3,32,0", "expected channels"),
        ("tarin", "unrecognized subcommand 'tarin'; tip: a similar subcommand exists: 'train'"),
    ];
    for (line, expected) in cases {
        let error = parse(&format!("wgrad {line}")).expect_err(line);
        let message = one_line(&error);
        assert!(message.starts_with("error: ") && message.contains(expected), "{line}: {message}");
        assert!(!message.contains('\n') && message.ends_with("; --help lists all"), "{message}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn help_and_version_succeed() {
    for line in ["--help", "--version", "train --help", "help predict"] {
        let error = parse(&format!("wgrad {line}")).unwrap_err();
        assert_eq!((error.exit_code(), error.use_stderr()), (0, false), "{line}");
    }
    let version = parse("wgrad --version").unwrap_err().to_string();
    assert_eq!(version.trim(), concat!("wgrad ", env!("CARGO_PKG_VERSION")));
    assert_eq!(parse("wgrad").unwrap_err().exit_code(), 2);
}

#[test]
fn exit_codes_tell_the_kind_of_error() {
    let interrupted = Error::Interrupted { step: 3, run: "runs/a".into() };
    let codes = [
        Error::Recipe(String::new()),
        interrupted,
        Error::Data(String::new()),
        Error::NoDevice(String::new()),
    ];
    assert_eq!(codes.each_ref().map(exit_code), [2, 130, 1, 1]);
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    manual::manual(&ManArgs { folder: folder.path().join("man1") }).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
    let command = Cli::command();
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = format!("wgrad-{}", subcommand.get_name());
        assert!(read(&format!("{name}.1")).contains(&format!(".TH {name} 1")), "{name}");
    }
    assert!(read("wgrad-train.1").contains("weight\\-decay"));
    assert!(read("wgrad.1").contains("wgrad\\-train"), "{}", read("wgrad.1"));
}
