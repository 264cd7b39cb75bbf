// mish: y = x tanh(log(1 + exp(x))), for any shape.

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> grad_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// Above this, y = x to the last bit; exp(x) squared would overflow soon.
const LARGE = 20.0;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let x = input[i];
        let e = exp(x);
        let n = e * (e + 2.0);
        output[i] = select(x * (n / (n + 2.0)), x, x > LARGE);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let x = input[i];
        let e = exp(x);
        let n = e * (e + 2.0);
        let slope = n / (n + 2.0) + x * (4.0 * e * (e + 1.0)) / ((n + 2.0) * (n + 2.0));
        output[i] = grad_output[i] * select(slope, 1.0, x > LARGE);
    }
}
