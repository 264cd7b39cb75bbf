// augment: images of a stored data set by index, cropped, flipped, turned, their colours changed, looked up, erased.
//
// images M,h,w,C (bytes, four to a word)   labels M   indices N   table C,256   parameters N,40   output N,H,W,C
//   forward   one invocation per pixel: geometry, table and erasing, where colours stay as they are
//   geometry  one invocation per pixel, which keeps its bytes in one word
//   colour    one workgroup per image: colour operations one after another, then table and erasing
//
// All is computed in whole numbers, as src/augment/ does on the host, where the row of parameters is described. An
// index that is no image's is padding: zeros, and the label -100.

const WORDS: u32 = 40u;
const FIRST_COLOUR: u32 = 14u;
const MOST_COLOURS: u32 = 12u;
const BLACK: i32 = 1;
const REFLECT: i32 = 2;
const NEAREST: i32 = 4;
const WEIGHT: u32 = 11u; // bits of a bilinear weight
const ONE: i32 = 16384; // in factors of blends
const SECTOR: i32 = 65536; // a sixth of the colour circle

// ColourOp
const BRIGHTNESS: i32 = 1;
const CONTRAST: i32 = 2;
const SATURATION: i32 = 3;
const HUE: i32 = 4;
const GREYSCALE: i32 = 5;
const SHARPNESS: i32 = 6;
const POSTERIZE: i32 = 7;
const SOLARIZE: i32 = 8;
const AUTOCONTRAST: i32 = 9;
const EQUALIZE: i32 = 10;

struct Params {
    pixels: u32,   // N H W
    height: u32,
    width: u32,
    channels: u32,
    in_height: u32,
    in_width: u32,
    stored: u32,   // M
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<i32>;
@group(0) @binding(3) var<storage, read> indices: array<i32>;
@group(0) @binding(4) var<storage, read> table: array<f32>;
@group(0) @binding(5) var<storage, read> parameters: array<i32>;
@group(0) @binding(6) var<storage, read_write> output: array<u32>; // the bits of f32, which nothing flushes to zero
@group(0) @binding(7) var<storage, read_write> output_labels: array<i32>;
@group(0) @binding(8) var<storage, read_write> kept: array<u32>; // the bytes of a pixel in a word

var<workgroup> histogram: array<atomic<u32>, 768>;
var<workgroup> lookup: array<u32, 768>;
var<workgroup> grey_sum: atomic<u32>;

fn word(place: u32, index: u32) -> i32 {
    return parameters[WORDS * place + index];
}

// Where the columns or rows of the window stand for `at`; -1 where there is black.
fn tap(at: i32, ends: i32, edge: i32, length: u32) -> i32 {
    let first = ends & 0xffff;
    let last = i32(u32(ends) >> 16u) - 1;
    var inside = at;
    if at < first || at > last {
        if edge == BLACK {
            return -1;
        }
        if edge == REFLECT {
            inside = select(2 * last, 2 * first, at < first) - at;
        }
        inside = max(min(inside, last), first);
    }
    return min(max(inside, 0), i32(length) - 1);
}

// One byte of image `image`; black where a coordinate is -1.
fn byte_of(image: u32, x: i32, y: i32, channel: u32) -> u32 {
    if x < 0 || y < 0 {
        return 0u;
    }
    let at = ((image * params.in_height + u32(y)) * params.in_width + u32(x)) * params.channels + channel;
    return (images[at / 4u] >> (8u * (at % 4u))) & 0xffu;
}

// Where a pixel of the output is taken from.
struct Taps {
    image: u32,
    xs: vec2<i32>,
    ys: vec2<i32>,
    weights: vec4<u32>, // of (x0, y0), (x1, y0), (x0, y1), (x1, y1), times 2^22
}

fn taps_of(pixel: u32) -> Taps {
    let place = pixel / (params.height * params.width);
    let u = 2 * i32(pixel % params.width) + 1 - i32(params.width);
    let v = 2 * i32(pixel / params.width % params.height) + 1 - i32(params.height);
    let x = word(place, 2u) + word(place, 0u) * u + word(place, 1u) * v;
    let y = word(place, 5u) + word(place, 3u) * u + word(place, 4u) * v;
    let columns = word(place, 6u);
    let rows = word(place, 7u);
    let flags = word(place, 8u);
    let edge = flags & 3;
    var found = Taps(u32(indices[place]), vec2<i32>(), vec2<i32>(), vec4<u32>(1u << (2u * WEIGHT), 0u, 0u, 0u));
    if (flags & NEAREST) != 0 {
        found.xs.x = tap((x + 0x8000) >> 16u, columns, edge, params.in_width);
        found.ys.x = tap((y + 0x8000) >> 16u, rows, edge, params.in_height);
        return found;
    }
    found.xs = vec2<i32>(
        tap(x >> 16u, columns, edge, params.in_width),
        tap((x >> 16u) + 1, columns, edge, params.in_width),
    );
    found.ys = vec2<i32>(
        tap(y >> 16u, rows, edge, params.in_height),
        tap((y >> 16u) + 1, rows, edge, params.in_height),
    );
    let fx = (u32(x) & 0xffffu) >> (16u - WEIGHT);
    let fy = (u32(y) & 0xffffu) >> (16u - WEIGHT);
    let rest = vec2<u32>(1u << WEIGHT) - vec2<u32>(fx, fy);
    found.weights = vec4<u32>(rest.x * rest.y, fx * rest.y, rest.x * fy, fx * fy);
    return found;
}

// A byte of the transformed image.
fn sampled(taps: Taps, channel: u32) -> u32 {
    var sum = (1u << (2u * WEIGHT - 1u)) + taps.weights.x * byte_of(taps.image, taps.xs.x, taps.ys.x, channel);
    if taps.weights.y != 0u {
        sum += taps.weights.y * byte_of(taps.image, taps.xs.y, taps.ys.x, channel);
    }
    if taps.weights.z != 0u {
        sum += taps.weights.z * byte_of(taps.image, taps.xs.x, taps.ys.y, channel);
    }
    if taps.weights.w != 0u {
        sum += taps.weights.w * byte_of(taps.image, taps.xs.y, taps.ys.y, channel);
    }
    return sum >> (2u * WEIGHT);
}

fn holds(ends: i32, at: u32) -> bool {
    return (u32(ends) & 0xffffu) <= at && at < (u32(ends) >> 16u);
}

// Whether a pixel of the output becomes 0.
fn is_erased(pixel: u32) -> bool {
    let place = pixel / (params.height * params.width);
    let x = pixel % params.width;
    let y = pixel / params.width % params.height;
    return holds(word(place, 9u), x) && holds(word(place, 10u), y)
        || holds(word(place, 11u), x) && holds(word(place, 12u), y);
}

// The invocation with an image's first pixel does its label too.
fn gather_label(pixel: u32) {
    let area = params.height * params.width;
    if pixel % area == 0u {
        let image = u32(indices[pixel / area]);
        output_labels[pixel / area] = select(-100, labels[min(image, params.stored - 1u)], image < params.stored);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pixel = flat_index(group, groups, local);
    if pixel >= params.pixels {
        return;
    }
    gather_label(pixel);
    let taps = taps_of(pixel);
    let dark = taps.image >= params.stored || is_erased(pixel);
    for (var channel = 0u; channel < params.channels; channel++) {
        var value = 0.0;
        if !dark {
            value = table[256u * channel + sampled(taps, channel)];
        }
        output[pixel * params.channels + channel] = bitcast<u32>(value);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn geometry(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let pixel = flat_index(group, groups, local);
    if pixel >= params.pixels {
        return;
    }
    gather_label(pixel);
    let taps = taps_of(pixel);
    var bytes = 0u;
    if taps.image < params.stored {
        for (var channel = 0u; channel < params.channels; channel++) {
            bytes |= sampled(taps, channel) << (8u * channel);
        }
    }
    kept[pixel] = bytes;
}

fn unpacked(bytes: u32) -> vec3<i32> {
    return vec3<i32>((vec3<u32>(bytes) >> vec3<u32>(0u, 8u, 16u)) & vec3<u32>(0xffu));
}

fn packed(pixel: vec3<i32>) -> u32 {
    let bytes = vec3<u32>(pixel) << vec3<u32>(0u, 8u, 16u);
    return bytes.x | bytes.y | bytes.z;
}

fn grey(pixel: vec3<i32>) -> i32 {
    return (19589 * pixel.r + 38470 * pixel.g + 7471 * pixel.b) >> 16u;
}

// factor pixel + (1 - factor) other, rounded down, where other is in sixteenths
fn blend(pixel: vec3<i32>, other: vec3<i32>, factor: i32) -> vec3<i32> {
    let sum = 16 * factor * pixel + (ONE - factor) * other;
    return max(min(sum >> vec3<u32>(18u), vec3<i32>(255)), vec3<i32>(0));
}

fn shift_hue(pixel: vec3<i32>, shift: i32) -> vec3<i32> {
    let high = max(max(pixel.r, pixel.g), pixel.b);
    let low = min(min(pixel.r, pixel.g), pixel.b);
    let range = high - low;
    if range == 0 {
        return pixel;
    }
    var hue = 4 * SECTOR + (pixel.r - pixel.g) * SECTOR / range;
    if high == pixel.r {
        hue = (pixel.g - pixel.b) * SECTOR / range;
    } else if high == pixel.g {
        hue = 2 * SECTOR + (pixel.b - pixel.r) * SECTOR / range;
    }
    hue = (hue + shift + 6 * SECTOR) % (6 * SECTOR);
    let part = (range * (hue % SECTOR) + SECTOR / 2) >> 16u;
    let falling = high - part;
    let rising = low + part;
    switch hue / SECTOR {
        case 0: { return vec3<i32>(high, rising, low); }
        case 1: { return vec3<i32>(falling, high, low); }
        case 2: { return vec3<i32>(low, high, rising); }
        case 3: { return vec3<i32>(low, falling, high); }
        case 4: { return vec3<i32>(rising, low, high); }
        default: { return vec3<i32>(high, low, falling); }
    }
}

// The pixel at `at` of an image that begins at `first`: the image is in `output` if `moved`, else in `kept`.
fn current(moved: bool, first: u32, at: u32) -> u32 {
    if moved {
        return output[first * params.channels + at];
    }
    return kept[first + at];
}

fn keep(moved: bool, first: u32, at: u32, bytes: u32) {
    if moved {
        output[first * params.channels + at] = bytes;
    } else {
        kept[first + at] = bytes;
    }
}

// The weighted mean of a pixel and its neighbours, in sixteenths.
fn blurred(moved: bool, first: u32, at: u32) -> vec3<i32> {
    var sum = 4 * unpacked(current(moved, first, at));
    for (var tap = 0u; tap < 9u; tap++) {
        sum += unpacked(current(moved, first, at + (tap / 3u) * params.width + tap % 3u - params.width - 1u));
    }
    return 16 * ((2 * sum + 13) / 26);
}

// One operation on one pixel; `mean` is the image's mean grey in sixteenths.
fn changed(op: i32, value: i32, moved: bool, first: u32, at: u32, mean: i32) -> u32 {
    let bytes = current(moved, first, at);
    let pixel = unpacked(bytes);
    let coloured = params.channels == 3u;
    var result = pixel;
    switch op {
        case BRIGHTNESS: { result = blend(pixel, vec3<i32>(0), value); }
        case CONTRAST: { result = blend(pixel, vec3<i32>(mean), value); }
        case SATURATION: { result = select(pixel, blend(pixel, vec3<i32>(16 * grey(pixel)), value), coloured); }
        case HUE: { result = select(pixel, shift_hue(pixel, value), coloured); }
        case GREYSCALE: { result = select(pixel, vec3<i32>(grey(pixel)), coloured); }
        case SHARPNESS: {
            let x = at % params.width;
            let y = at / params.width;
            if x > 0u && y > 0u && x + 1u < params.width && y + 1u < params.height {
                result = blend(pixel, blurred(moved, first, at), value);
            }
        }
        case POSTERIZE: { result = pixel & vec3<i32>(value); }
        case SOLARIZE: { result = select(pixel, 255 - pixel, pixel >= vec3<i32>(value)); }
        case AUTOCONTRAST, EQUALIZE: {
            let found = vec3<u32>(pixel);
            result = vec3<i32>(vec3<u32>(lookup[found.r], lookup[256u + found.g], lookup[512u + found.b]));
        }
        default: {}
    }
    return packed(select(vec3<i32>(result.r, 0, 0), result, coloured));
}

// Counts the image's bytes, and adds up its grey.
fn count_bytes(local: u32, moved: bool, first: u32, area: u32) {
    for (var i = local; i < 768u; i += WORKGROUP_SIZE) {
        atomicStore(&histogram[i], 0u);
    }
    if local == 0u {
        atomicStore(&grey_sum, 0u);
    }
    workgroupBarrier();
    var sum = 0u;
    for (var at = local; at < area; at += WORKGROUP_SIZE) {
        let pixel = unpacked(current(moved, first, at));
        sum += u32(select(pixel.r, grey(pixel), params.channels == 3u));
        for (var channel = 0u; channel < params.channels; channel++) {
            atomicAdd(&histogram[256u * channel + u32(pixel[channel])], 1u);
        }
    }
    atomicAdd(&grey_sum, sum);
    workgroupBarrier();
}

// The table of one channel for AUTOCONTRAST or EQUALIZE.
fn fill_lookup(op: i32, channel: u32, area: u32) {
    let first = 256u * channel;
    var low = 255u;
    var high = 0u;
    for (var byte = 0u; byte < 256u; byte++) {
        if atomicLoad(&histogram[first + byte]) > 0u {
            low = min(low, byte);
            high = byte;
        }
    }
    let span = high - min(low, high);
    let step = (area - atomicLoad(&histogram[first + high])) / 255u;
    var below = 0u;
    for (var byte = 0u; byte < 256u; byte++) {
        var value = byte;
        if op == EQUALIZE && step > 0u {
            value = (below + step / 2u) / step;
        }
        if op == AUTOCONTRAST && span > 0u {
            value = (byte - min(byte, low)) * 255u / span;
        }
        lookup[first + byte] = min(value, 255u);
        below += atomicLoad(&histogram[first + byte]);
    }
}

fn mean_grey(area: u32) -> i32 {
    let sum = atomicLoad(&grey_sum);
    return i32(16u * (sum / area) + 16u * (sum % area) / area);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn colour(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let area = params.height * params.width;
    let dispatched = flat_group(group, groups);
    // All invocations of surplus workgroups go along to the barriers with nothing to do.
    let place = min(dispatched, params.pixels / area - 1u);
    let first = place * area;
    let count = select(0u, min(u32(word(place, 13u)), MOST_COLOURS), dispatched == place);
    var moved = false;
    for (var i = 0u; i < count; i++) {
        let op = word(place, FIRST_COLOUR + 2u * i);
        let value = word(place, FIRST_COLOUR + 2u * i + 1u);
        var mean = 0;
        if op == CONTRAST || op == AUTOCONTRAST || op == EQUALIZE {
            count_bytes(local, moved, first, area);
            if op == CONTRAST {
                mean = mean_grey(area);
            } else if local < params.channels {
                fill_lookup(op, local, area);
            }
            workgroupBarrier();
        }
        for (var at = local; at < area; at += WORKGROUP_SIZE) {
            keep(!moved, first, at, changed(op, value, moved, first, at, mean));
        }
        moved = !moved;
        storageBarrier();
        workgroupBarrier();
    }
    if moved {
        for (var at = local; at < area; at += WORKGROUP_SIZE) {
            keep(false, first, at, current(true, first, at));
        }
    }
    storageBarrier();
    workgroupBarrier();
    let dark = u32(indices[place]) >= params.stored;
    for (var at = local; at < area && dispatched == place; at += WORKGROUP_SIZE) {
        let pixel = unpacked(kept[first + at]);
        let zero = dark || is_erased(first + at);
        for (var channel = 0u; channel < params.channels; channel++) {
            let value = select(table[256u * channel + u32(pixel[channel])], 0.0, zero);
            output[(first + at) * params.channels + channel] = bitcast<u32>(value);
        }
    }
}
