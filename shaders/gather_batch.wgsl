// gather_batch: images and labels of a stored data set by index; an invocation does four elements.
//
// images M,H,W,C (bytes, four to a word, or f32)   labels M   indices N   table C,256   output N,H,W,C
//   bytes   each byte becomes table[channel, byte]
//   floats  copied
// An index that is no image's is padding: zeros, and the label -100.

struct Params {
    count: u32,    // elements of the output
    image: u32,    // elements of an image
    channels: u32,
    stored: u32,   // M
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>; // bytes, or the bits of f32
@group(0) @binding(2) var<storage, read> labels: array<i32>;
@group(0) @binding(3) var<storage, read> indices: array<i32>;
@group(0) @binding(4) var<storage, read> table: array<f32>;
@group(0) @binding(5) var<storage, read_write> output_labels: array<i32>;

// The image of a place in the batch; a negative index becomes too large a number.
fn image_of(place: u32) -> u32 {
    return u32(indices[place]);
}

// What byte `at` of all images means; bytes of one pixel are its channels.
fn meaning(at: u32) -> f32 {
    let byte = (images[at / 4u] >> (8u * (at % 4u))) & 0xffu;
    return table[256u * (at % params.channels) + byte];
}

// The invocation with an image's first element does its label too.
fn gather_label(element: u32) {
    if element % params.image == 0u {
        let place = element / params.image;
        let image = image_of(place);
        output_labels[place] = select(-100, labels[min(image, params.stored - 1u)], image < params.stored);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn bytes(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = 4u * flat_index(group, groups, local);
    var values = vec4<f32>();
    for (var i = 0u; i < min(4u, params.count - min(first, params.count)); i++) {
        let element = first + i;
        let image = image_of(element / params.image);
        if image < params.stored {
            values[i] = meaning(image * params.image + element % params.image);
        }
        gather_label(element);
    }
    store4(first, values, params.count - min(first, params.count));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn floats(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = 4u * flat_index(group, groups, local);
    var values = vec4<f32>();
    for (var i = 0u; i < min(4u, params.count - min(first, params.count)); i++) {
        let element = first + i;
        let image = image_of(element / params.image);
        if image < params.stored {
            values[i] = bitcast<f32>(images[image * params.image + element % params.image]);
        }
        gather_label(element);
    }
    store4(first, values, params.count - min(first, params.count));
}
