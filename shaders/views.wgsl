// views: forward copies a batch of images N,H,W,C into one view of it, flipped and shifted, reflected at the edges;
// average adds one view's share to the mean of all. An invocation does one element.

struct Params {
    count: u32,
    // The first element of the view.
    first: u32,
    C: u32, H: u32, W: u32,
    flip: u32,
    dy: i32, dx: i32,
    weight: f32,
    begins: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

// A place beside the edge, mirrored at the outermost pixel.
fn reflected(place: i32, size: u32) -> u32 {
    let last = i32(size) - 1;
    let inside = select(place, -place, place < 0);
    return u32(select(inside, 2 * last - inside, inside > last));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let c = i % params.C;
        let pixel = i / params.C;
        let x = pixel % params.W;
        let y = pixel / params.W % params.H;
        let n = pixel / params.W / params.H;
        let row = reflected(i32(y) + params.dy, params.H);
        let column = reflected(i32(select(x, params.W - 1u - x, params.flip != 0u)) + params.dx, params.W);
        output[params.first + i] = input[((n * params.H + row) * params.W + column) * params.C + c];
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn average(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i < params.count {
        let before = select(output[i], 0.0, params.begins != 0u);
        output[i] = fma(params.weight, input[params.first + i], before);
    }
}
