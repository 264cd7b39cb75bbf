#[test]
fn scratch() {
    let texts = [
        "input = [1,2",
        "layers = [1,2",
        "layers = [\"relu\"]\nlayers = 3",
        "input = [1,2,3]\nlayers = [{ conv2d = { kernel_size = 3 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3.5, kernel_size = 3 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = -3, kernel_size = 3 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = [1,2,3] } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = -1 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = 1, padding = \"sme\" } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = 1, init = \"sme\" } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = 1, init = {a=3} } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = 3, kernel_size = 1, bias = 1 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = \"clases\", kernel_size = 1, bias = 1 } }]",
        "input = [1,2,3]\nlayers = [{ conv2d = { out_channels = [1], kernel_size = 1, bias = 1 } }]",
    ];
    for text in texts {
        println!("{}", text.parse::<wgrad::models::ModelSpec>().unwrap_err());
    }
    for deep in [10, 16, 17, 30, 1000] {
        let text = format!(
            "layers = [{}\"relu\"{}]",
            "{ sequential = { layers = [".repeat(deep),
            "] } }".repeat(deep)
        );
        println!("{:?}", text.parse::<wgrad::models::ModelSpec>().err().map(|e| e.to_string()));
    }
}
