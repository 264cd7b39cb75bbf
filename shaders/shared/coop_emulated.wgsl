
// Tiles of 4 x 4 that one invocation holds and multiplies alone, on any device: the tests run the addresses and the way
// out of shaders/cooperative.wgsl with it. A tile is a matrix of four rows (WGSL's columns).

const TILE: u32 = 4u;

alias Left = mat4x4<f32>;
alias Right = mat4x4<f32>;
alias Sums = mat4x4<f32>;

@group(0) @binding(1) var<storage, read> left_matrix: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> right_matrix: array<vec2<u32>>;

fn unpack_half(packed: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn load_left(at: u32) -> Left {
    let stride = params.left_stride / 4u;
    let i = at / 4u;
    let tile = Left(
        unpack_half(left_matrix[i]),
        unpack_half(left_matrix[i + stride]),
        unpack_half(left_matrix[i + 2u * stride]),
        unpack_half(left_matrix[i + 3u * stride]),
    );
    if LEFT_ROWS {
        return tile;
    }
    return transpose(tile);
}

fn load_right(at: u32) -> Right {
    let stride = params.right_stride / 4u;
    let i = at / 4u;
    let tile = Right(
        unpack_half(right_matrix[i]),
        unpack_half(right_matrix[i + stride]),
        unpack_half(right_matrix[i + 2u * stride]),
        unpack_half(right_matrix[i + 3u * stride]),
    );
    if RIGHT_ROWS {
        return tile;
    }
    return transpose(tile);
}

fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    // WGSL multiplies matrices of columns; with rows the factors change places.
    return b * a + c;
}

fn store_sums(sums: Sums, at: u32, stride: u32) {
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            accumulated[at + i * stride + j] = sums[i][j];
        }
    }
}
