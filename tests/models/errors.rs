//! One clear message for everything that can be wrong with a model file.

use wgrad::Error;
use wgrad::graph::Mode;
use wgrad::models::{ModelSpec, built_in};

/// The message for a model that is wrong on its own or for an image of its input.
pub fn message(text: &str) -> String {
    let built = text.parse::<ModelSpec>().and_then(|spec| spec.unbound()?.graph(Mode::Train, 2));
    built.map(drop).expect_err(text).to_string()
}

/// The message for a file with this list of layers.
fn layers(text: &str) -> String {
    message(&format!("input = [3, 8, 8]\nlayers = [{text}]"))
}

#[test]
fn layers_and_arguments_that_do_not_exist() {
    let cases = [
        ("\"rellu\"", "model \"model\": layers[0]: there is no layer \"rellu\"; did you mean \"relu\"?"),
        (
            "\"relu\", \"BatchNorm2d\"",
            "model \"model\": layers[1]: there is no layer \"BatchNorm2d\"; did you mean \"batch_norm\"?",
        ),
        (
            "{ conv = { out_channels = 8 } }",
            "model \"model\": layers[0]: there is no layer \"conv\"; did you mean \"conv2d\"?",
        ),
        (
            "{ conv2d = { out_channels = 8, kernel_size = 3, stridde = 2 } }",
            "model \"model\": layers[0].conv2d: has no argument \"stridde\"; did you mean \"stride\"?",
        ),
        ("{ relu = { p = 1 } }", "model \"model\": layers[0].relu: has no argument \"p\"; it takes none"),
        (
            "{ max_pool2d = { kernel_size = 2, zz = 1 } }",
            "model \"model\": layers[0].max_pool2d: has no argument \"zz\"; it takes kernel_size, stride, padding, \
             dilation, ceil_mode",
        ),
        (
            "{ residual = { bodies = [] } }",
            "model \"model\": layers[0].residual: has no argument \"bodies\"; did you mean \"body\"?",
        ),
        (
            "{ residual = { body = [\"relu\", { residual = { body = [\"relu\"], shortcut = [\"rellu\"] } }] } }",
            "model \"model\": layers[0].residual.body[1].residual.shortcut[0]: there is no layer \"rellu\"; did you \
             mean \"relu\"?",
        ),
        (
            "{ concat = { branches = [[], [\"rellu\"]] } }",
            "model \"model\": layers[0].concat.branches[1][0]: there is no layer \"rellu\"; did you mean \"relu\"?",
        ),
        (
            "{ sequential = { layers = [\"relu\", \"rellu\"] } }",
            "model \"model\": layers[0].sequential.layers[1]: there is no layer \"rellu\"; did you mean \"relu\"?",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(layers(text), wanted);
    }
    let unlike = layers("\"xyz\"");
    assert!(
        unlike.starts_with("model \"model\": layers[0]: there is no layer \"xyz\"; there are concat, "),
        "{unlike}"
    );
}

#[test]
fn arguments_that_are_missing_or_of_a_wrong_type() {
    let conv = |arguments: &str| {
        let text = layers(&format!("{{ conv2d = {{ out_channels = 8, kernel_size = 3, {arguments} }} }}"));
        text.strip_prefix("model \"model\": layers[0].conv2d: ").map(str::to_string).unwrap_or(text)
    };
    let cases = [
        ("stride = 1.5", "stride is 1.5; expected an integer or [h, w]"),
        ("stride = [1, 2, 3]", "stride is [1, 2, 3]; expected an integer or [h, w]"),
        ("stride = -1", "stride is -1; expected an integer or [h, w]"),
        (
            "padding = \"valid\"",
            "padding is \"valid\"; expected an integer, [h, w], [top, left, bottom, right] or \"same\"",
        ),
        ("groups = \"2\"", "groups is \"2\"; expected an integer of at least 0"),
        ("groups = -2", "groups is -2; expected an integer of at least 0"),
        ("groups = 2147483648", "groups is 2147483648, which is too large"),
        ("padding = [1, 99999999999]", "padding is [1, 99999999999], which is too large"),
        ("bias = 1", "bias is 1; expected a boolean"),
        ("bias = nan", "bias is nan, which is not a finite number"),
        (
            "init = \"he\"",
            "init is \"he\"; expected one of `default`, `kaiming_uniform`, `kaiming_uniform_fan_out`, \
             `kaiming_normal`, `kaiming_normal_fan_out`, `xavier_uniform`, `xavier_normal`, `trunc_normal`, `dirac`, \
             `whitening`",
        ),
        (
            "stride = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
            "stride is [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...; expected an integer or [h, w]",
        ),
    ];
    for (arguments, wanted) in cases {
        assert_eq!(conv(arguments), wanted, "{arguments}");
    }
    let cases = [
        ("\"conv2d\"", "model \"model\": layers[0].conv2d: needs the argument \"out_channels\""),
        ("{ residual = {} }", "model \"model\": layers[0].residual: needs the argument \"body\""),
        ("\"concat\"", "model \"model\": layers[0].concat: needs the argument \"branches\""),
        ("{ sequential = { layers = [] } }", "model \"model\": layers[0].sequential.layers is empty"),
        ("{ concat = { branches = [] } }", "model \"model\": layers[0].concat.branches is empty"),
        ("{ residual = { body = [] } }", "model \"model\": layers[0].residual.body is empty"),
        (
            "{ residual = { body = \"relu\" } }",
            "model \"model\": layers[0].residual.body is a list of layers, not a string",
        ),
        (
            "{ concat = { branches = [\"relu\"] } }",
            "model \"model\": layers[0].concat.branches[0] is a list of layers, not a string",
        ),
        (
            "{ concat = { branches = 3 } }",
            "model \"model\": layers[0].concat.branches is a list of lists of layers, not an integer",
        ),
        (
            "{ linear = { out_features = 8, bias = 0.5 } }",
            "model \"model\": layers[0].linear: bias is 0.5; expected a boolean",
        ),
        (
            "{ elu = { alpha = \"big\" } }",
            "model \"model\": layers[0].elu: alpha is \"big\"; expected a number",
        ),
        ("{ relu = 3 }", "model \"model\": layers[0]: the arguments of relu are a table, not an integer"),
    ];
    for (text, wanted) in cases {
        assert_eq!(layers(text), wanted);
    }
}

#[test]
fn entries_that_are_no_layers() {
    let form = "a layer is a name or a table with one key, such as { linear = { out_features = 10 } }";
    let cases = [
        ("3", ", not an integer"),
        ("[\"relu\"]", ", not a list"),
        ("true", ", not a boolean"),
        ("{}", "; this one is empty"),
        ("{ conv2d = { out_channels = 8 }, relu = {} }", "; this one has \"conv2d\" and \"relu\""),
    ];
    for (text, end) in cases {
        assert_eq!(layers(text), format!("model \"model\": layers[0]: {form}{end}"));
    }
}

#[test]
fn files_that_are_wrong_as_a_whole() {
    let input = "it must be [channels, height, width], three numbers of at least 1 and together less than 2^30 elements";
    let cases = [
        ("", "layers = [...] is missing".to_string()),
        ("layers = []", "layers is empty".to_string()),
        ("layers = 3", "layers is a list of layers, not an integer".to_string()),
        ("inputs = [1, 2, 3]", "a model file has no key \"inputs\"; did you mean \"input\"?".to_string()),
        (
            "zzz = 1",
            "a model file has no key \"zzz\"; there are input, classes, example, layers, \
         blocks"
                .to_string(),
        ),
        ("input = 28\nlayers = [\"relu\"]", format!("input is 28; {input}")),
        ("input = [28, 28]\nlayers = [\"relu\"]", format!("input is [28, 28]; {input}")),
        ("input = [1, 28, 0]\nlayers = [\"relu\"]", format!("input is [1, 28, 0]; {input}")),
        ("input = [1, -28, 28]\nlayers = [\"relu\"]", format!("input is [1, -28, 28]; {input}")),
        ("input = [1, 28, 28.0]\nlayers = [\"relu\"]", format!("input is [1, 28, 28.0]; {input}")),
        ("input = [1, 32768, 32768]\nlayers = [\"relu\"]", format!("input is [1, 32768, 32768]; {input}")),
        (
            "input = [1, 2147483647, 2147483647]\nlayers = [\"relu\"]",
            format!("input is [1, 2147483647, 2147483647]; {input}"),
        ),
        ("classes = 0\nlayers = [\"relu\"]", "classes is 0; it must be a number of at least 1".to_string()),
        (
            "example = { classes = \"ten\" }\nlayers = [\"relu\"]",
            "example.classes is \"ten\"; it must be a number of at least 1".to_string(),
        ),
        (
            "example = 3\nlayers = [\"relu\"]",
            "example is a table of input and classes, not an integer".to_string(),
        ),
        (
            "example = { image = 3 }\nlayers = [\"relu\"]",
            "example has no key \"image\"; there are input, classes".to_string(),
        ),
        (
            "input = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out_features = \"classes\" } }]",
            "layers[1].linear: out_features is \"classes\"; give the file classes = ... or a data set"
                .to_string(),
        ),
        (
            "input = [1, 8, 8]\nlayers = [\"flatten\", { linear = { out_features = \"clases\" } }]",
            "layers[1].linear: out_features is \"clases\"; expected an integer of at least 0".to_string(),
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(message(text), format!("model \"model\": {wanted}"), "{text}");
    }
    assert_eq!(
        message("layers = [\"relu\"]"),
        "model \"model\" takes images of any size; give it input = [C, H, W] or a data set"
    );
}

#[test]
fn syntax_errors_have_lines_and_deep_nesting_an_end() {
    let cases = [
        ("input = [1, 2", "model \"model\": line 1, column 14: unclosed array, expected `]`"),
        ("\n\nlayers = [\"relu\"]\nlayers = 3", "model \"model\": line 4, column 1: duplicate key"),
        ("a\0b = \u{fffd}", "model \"model\": line 1"),
    ];
    for (text, wanted) in cases {
        assert!(message(text).starts_with(wanted), "{}", message(text));
    }
    let nested = |depth: usize| {
        let (open, close) = ("{ sequential = { layers = [", "] } }");
        layers(&format!("{}\"rellu\"{}", open.repeat(depth), close.repeat(depth)))
    };
    assert!(nested(16).ends_with("there is no layer \"rellu\"; did you mean \"relu\"?"));
    assert!(nested(17).ends_with(": containers nest deeper than 16"));
    assert!(nested(100).ends_with(": cannot recurse further; max recursion depth met"));
    assert!(nested(100_000).ends_with(": cannot recurse further; max recursion depth met"));
}

#[test]
fn shapes_that_a_layer_cannot_take() {
    let cases = [
        (
            "{ conv2d = { out_channels = 4, kernel_size = 9 } }",
            "conv2d \"0\": the window spans 9 pixels, but the input's height is 8 with padding ([2, 3, 8, 8])",
        ),
        (
            "\"relu\", { residual = { body = [{ conv2d = { out_channels = 4, kernel_size = 3 } }] } }",
            "residual \"1\": the body makes [2, 4, 6, 6] and the shortcut, which is the identity, [2, 3, 8, 8]; only \
             equal shapes are added",
        ),
        (
            "{ residual = { body = [{ conv2d = { out_channels = 3, kernel_size = 8 } }], shortcut = [\"relu\"] } }",
            "residual \"0\": the body makes [2, 3, 1, 1] and the shortcut [2, 3, 8, 8]; only equal shapes are added",
        ),
        (
            "{ concat = { branches = [[], [{ max_pool2d = { kernel_size = 2 } }]] } }",
            "concat \"0\": inputs may differ only in their channels, the first is [2, 3, 8, 8], input 2 is [2, 3, 4, 4]",
        ),
        (
            "{ residual = { body = [{ conv2d = { out_channels = 5, kernel_size = 1, groups = 2 } }] } }",
            "conv2d \"0.body.0\": groups 2 must divide the 3 input channels ([2, 3, 8, 8]) and the 5 filters",
        ),
        (
            "{ conv2d = { out_channels = 0, kernel_size = 1 } }",
            "conv2d \"0\": the output would be empty ([2, 0, 8, 8] from [2, 3, 8, 8], [0, 3, 1, 1], [0])",
        ),
        (
            "\"flatten\", { linear = { out_features = 2147483647 } }",
            "model has a tensor \"1.weight\" [2147483647, 192] of 2^30 elements or more",
        ),
        (
            "{ conv2d = { out_channels = 2147483647, kernel_size = 2147483647 } }",
            "model has a tensor \"0.weight\" [2147483647, 3, 2147483647, 2147483647] of 2^30 elements or more",
        ),
        (
            "{ conv2d = { out_channels = 4, kernel_size = 1, padding = 2147483647 } }",
            "conv2d \"0\": the output [2, 4, 4294967302, 4294967302] has 2^30 elements or more; use a smaller batch",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(layers(text), wanted);
    }
}

#[test]
fn names_and_files_that_are_not_there_or_foreign() {
    let load = |path: &str| ModelSpec::load(path).expect_err(path);
    assert_eq!(
        load("resnet19").to_string(),
        "model \"resnet19\" is neither built in nor a file; did you mean \"resnet18\"?"
    );
    assert_eq!(
        load("missing/xyz.toml").to_string(),
        format!(
            "model \"missing/xyz.toml\" is neither built in nor a file; built in are {}; docs/model-files.md says \
             how to write one",
            built_in().collect::<Vec<_>>().join(", ")
        )
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(&folder.path().to_string_lossy()), Error::Io { action: "read", .. }));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let binary = write("binary.toml", &[0xff; 10]);
    assert_eq!(load(&binary).to_string(), format!("{binary}: is no text; a model file is TOML"));
    let large = write("large.toml", &[b' '; (1 << 20) + 1]);
    let wanted = format!("{large}: is larger than 1 MiB, which a model file never is");
    assert_eq!(load(&large).to_string(), wanted);
    let wrong = write("wrong.toml", b"layers = 3");
    let wanted = format!("model \"{wrong}\": layers is a list of layers, not an integer");
    assert_eq!(load(&wrong).to_string(), wanted);
}
