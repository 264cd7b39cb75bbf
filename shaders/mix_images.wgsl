// mix_images: each image with its partner, the next one of a pair; one invocation per element.
//
// images N,H,W,C   mix N,6 (share in the target, share of each pixel, box: left, right, top, bottom)   output N,H,W,C

struct Params {
    count: u32,
    images_count: u32,
    channels: u32,
    height: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<f32>;
@group(0) @binding(2) var<storage, read> mix: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= params.count {
        return;
    }
    let image = params.height * params.width * params.channels;
    let place = i / image;
    let other = select(place, place ^ 1u, (place ^ 1u) < params.images_count);
    let theirs = images[other * image + i % image];
    let column = f32(i / params.channels % params.width);
    let row = f32(i / params.channels / params.width % params.height);
    let first = 6u * place;
    let share = mix[first + 1u];
    let inside = mix[first + 2u] <= column && column < mix[first + 3u]
        && mix[first + 4u] <= row && row < mix[first + 5u];
    output[i] = select(fma(share, images[i], (1.0 - share) * theirs), theirs, inside);
}
