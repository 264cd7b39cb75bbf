//! Blocks, names and repeated entries of model files.

use wgrad::graph::Mode;
use wgrad::models::ModelSpec;

use super::errors::message;
use super::stored;

/// The message for a file with a block `b` of these lines, and this list of layers.
fn blocks(block: &str, text: &str) -> String {
    message(&format!("input = [3, 8, 8]\nlayers = [{text}]\n[blocks.b]\n{block}"))
}

/// A block with one argument.
const TAKES_K: &str = "arguments = [\"k\"]\nlayers = [{ max_pool2d = { kernel_size = \"$k\" } }]";

#[test]
fn blocks_names_and_repeats_that_are_wrong() {
    let cases = [
        (TAKES_K, "\"b\"", "layers[0].b: needs the argument \"k\""),
        (TAKES_K, "{ b = { kk = 1 } }", "layers[0].b: has no argument \"kk\"; did you mean \"k\"?"),
        (
            TAKES_K,
            "{ b = { k = 1.5 } }",
            "layers[0].b.layers[0].max_pool2d: kernel_size is 1.5; expected an integer or [h, w]",
        ),
        (TAKES_K, "\"bb\"", "layers[0]: there is no layer \"bb\"; did you mean \"b\"?"),
        (
            "arguments = [\"k\"]\nlayers = [{ conv2d = { out_channels = \"$kk\" } }]",
            "{ b = { k = 1 } }",
            "layers[0].b: \"$kk\" has no argument \"kk\"; did you mean \"k\"?",
        ),
        ("layers = [\"b\"]", "\"b\"", "containers nest deeper than 16"),
        ("layer = []", "\"relu\"", "blocks.b: has no argument \"layer\"; did you mean \"layers\"?"),
        ("arguments = []", "\"relu\"", "blocks.b: layers = [...] is missing"),
        (
            "arguments = 3\nlayers = []",
            "\"relu\"",
            "blocks.b.arguments is a list of names, such as [\"channels\", \"stride\"], not 3",
        ),
        (
            "defaults = { k = 1 }\nlayers = []",
            "\"relu\"",
            "blocks.b.defaults: has no argument \"k\"; it takes none",
        ),
        (
            "layers = []\n[blocks.relu]",
            "\"relu\"",
            "blocks.relu: there is a layer of this name; give the block another",
        ),
        (
            TAKES_K,
            "{ name = \"a b\", relu = {} }",
            "layers[0]: name is \"a b\"; names have letters, digits, _ and -, with dots between them",
        ),
        (TAKES_K, "{ name = 3, relu = {} }", "layers[0]: name is a string, not an integer"),
        (
            TAKES_K,
            "{ repeat = 2, name = \"a\", relu = {} }",
            "layers[0]: \"a\" is the name of 2 layers; {} in it stands for the number of each",
        ),
        (TAKES_K, "{ repeat = -1, relu = {} }", "layers[0]: repeat is -1; expected an integer in 0..=1000"),
        (
            TAKES_K,
            "{ residual = { body = [\"relu\"], names = [\"a\"] } }",
            "layers[0].residual.names: body and shortcut have two names, not 1",
        ),
        (
            TAKES_K,
            "{ concat = { branches = [[], []], names = [\"a\"] } }",
            "layers[0].concat.branches are 2, names are 1",
        ),
        (
            TAKES_K,
            "{ concat = { branches = [[]], names = \"a\" } }",
            "layers[0].concat.names is a list of names, not a string",
        ),
        (
            TAKES_K,
            "{ repeat = 100, sequential = { layers = [{ repeat = 1000, relu = {} }] } }",
            "the file makes more than 10000 layers",
        ),
    ];
    for (block, text, wanted) in cases {
        let message = blocks(block, text);
        assert!(message.starts_with("model \"model\": ") && message.ends_with(wanted), "{message}");
    }
}

#[test]
fn factors_that_do_not_fit_and_blocks_that_grow_without_end() {
    assert_eq!(
        blocks(TAKES_K, "{ scale = { by = [{ b = { k = 2 } }] } }"),
        "scale \"0\": [2, 3, 4, 4] cannot scale [2, 3, 8, 8]; the layers in by end in [N, C, 1, 1]"
    );
    // Each block holds the one before twice, with a list of layers that doubles.
    let doubling: String = (1..16)
        .map(|i| {
            let pair = "{ sequential = { layers = \"$x\" } }, { sequential = { layers = \"$x\" } }";
            let last = i - 1;
            format!("[blocks.b{i}]\narguments = [\"x\"]\nlayers = [{{ b{last} = {{ x = [{pair}] }} }}]\n")
        })
        .collect();
    let bomb = format!(
        "input = [3, 8, 8]\nlayers = [{{ b15 = {{ x = [\"relu\"] }} }}]\n[blocks.b0]\narguments = [\"x\"]\nlayers = \
         \"$x\"\n{doubling}"
    );
    let message = message(&bomb);
    assert!(message.contains("too many layers") || message.contains("deeper than 16"), "{message}");
}

#[test]
fn blocks_make_the_names_that_they_are_given() {
    let text = r#"
        input = [3, 8, 8]
        layers = [
          { name = "stem", conv2d = { out_channels = 4, kernel_size = 1, bias = false } },
          { repeat = 2, name = "stage{}", stage = { channels = 4 } },
          { repeat = 0, conv2d = { out_channels = 4, kernel_size = 1 } },
          { name = "", stage = { channels = 5, shortcut = [{ conv2d = { out_channels = 5, kernel_size = 1, bias = false } }] } },
          { concat = { names = ["", "b"], branches = [[{ name = "c", batch_norm = {} }], ["batch_norm"]] } },
        ]
        [blocks.stage]
        arguments = ["channels", "shortcut"]
        defaults = { shortcut = [] }
        layers = [{ name = "", residual = { names = ["inner.body", ""], body = [
          { conv2d = { out_channels = "$channels", kernel_size = 1, bias = false } },
        ], shortcut = "$shortcut" } }]
    "#;
    let model = text.parse::<ModelSpec>().unwrap().unbound().unwrap();
    let (graph, _) = model.graph(Mode::Eval, 1).unwrap();
    let names: Vec<String> = stored(&graph).into_keys().filter(|name| name.ends_with("weight")).collect();
    assert_eq!(
        names,
        [
            "0.weight",
            "4.b.0.weight",
            "4.c.weight",
            "inner.body.0.weight",
            "stage1.inner.body.0.weight",
            "stage2.inner.body.0.weight",
            "stem.weight",
        ]
    );
}
