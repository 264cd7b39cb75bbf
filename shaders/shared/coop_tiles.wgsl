
// What is done with the tiles of a device, appended after coop_16x16 or coop_8x8. Expressions inside coopStore's arguments
// panic naga's SPIR-V writer, so they are let first; strides and pointers are multiples of 16 bytes.

@group(0) @binding(1) var<storage, read> left_matrix: array<f16>;
@group(0) @binding(2) var<storage, read> right_matrix: array<f16>;

fn load_left(at: u32) -> Left {
    if LEFT_ROWS {
        return coopLoadT<Left>(&left_matrix[at], params.left_stride);
    }
    return coopLoad<Left>(&left_matrix[at], params.left_stride);
}

fn load_right(at: u32) -> Right {
    if RIGHT_ROWS {
        return coopLoadT<Right>(&right_matrix[at], params.right_stride);
    }
    return coopLoad<Right>(&right_matrix[at], params.right_stride);
}

fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    return coopMultiplyAdd(a, b, c);
}

fn store_sums(sums: Sums, at: u32, stride: u32) {
    let value = sums;
    let place = &accumulated[at];
    coopStoreT(value, place, stride);
}
