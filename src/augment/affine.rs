//! Where the pixels of an augmented image are taken from.

/// `(x, y) -> (m0 x + m1 y + m2, m3 x + m4 y + m5)`; both sides are counted from the middle of their image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix(pub(super) [f64; 6]);

impl Matrix {
    pub(super) const IDENTITY: Matrix = Matrix([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// First `self`, then `next`.
    pub(super) fn then(self, next: Matrix) -> Matrix {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, next.0);
        Matrix([
            p * a + q * d,
            p * b + q * e,
            p * c + q * f + r,
            s * a + t * d,
            s * b + t * e,
            s * c + t * f + u,
        ])
    }

    /// Scales and shifts each axis.
    pub(super) fn axes([x, y]: [f64; 2], [dx, dy]: [f64; 2]) -> Matrix {
        Matrix([x, 0.0, dx, 0.0, y, dy])
    }

    /// torchvision's `_get_inverse_affine_matrix`: where the pixels of an image come from that is rotated by `degrees`
    /// (clockwise), scaled and sheared (degrees) about `centre` and shifted.
    pub(super) fn inverse_affine(
        centre: [f64; 2],
        degrees: f64,
        translate: [f64; 2],
        scale: f64,
        shear: [f64; 2],
    ) -> Matrix {
        let radians = std::f64::consts::PI / 180.0;
        let (angle, [sx, sy]) = (degrees * radians, shear.map(|shear| shear * radians));
        let (sin, cos, tan) = (libm::sin, libm::cos, libm::tan);
        let a = cos(angle - sy) / cos(sy);
        let b = -cos(angle - sy) * tan(sx) / cos(sy) - sin(angle);
        let c = sin(angle - sy) / cos(sy);
        let d = -sin(angle - sy) * tan(sx) / cos(sy) + cos(angle);
        let [m0, m1, m3, m4] = [d, -b, -c, a].map(|element| element / scale);
        let [x, y] = [centre[0] + translate[0], centre[1] + translate[1]];
        Matrix([m0, m1, centre[0] - m0 * x - m1 * y, m3, m4, centre[1] - m3 * x - m4 * y])
    }

    /// As the operator takes it: from twice the place from the middle to pixels of 2^16 counted from the first one's
    /// middle, where `centre` is the middle of the image in pixels from its corner. A number is lost beyond 2^31, so
    /// that shears by almost 90 degrees are cut.
    pub(super) fn words(self) -> [i32; 6] {
        let half = |element: f64| libm::rint(element * 32768.0) as i32;
        let whole = |element: f64| libm::rint(element * 65536.0) as i32;
        let [a, b, c, d, e, f] = self.0;
        [half(a), half(b), whole(c), half(d), half(e), whole(f)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_compose() {
        let by = |degrees| Matrix::inverse_affine([0.0; 2], degrees, [0.0; 2], 1.0, [0.0; 2]);
        let twice = by(30.0).then(by(30.0)).0;
        for (got, want) in twice.into_iter().zip(by(60.0).0) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        let there_and_back = by(17.0).then(by(-17.0)).0;
        for (got, want) in there_and_back.into_iter().zip(Matrix::IDENTITY.0) {
            assert!((got - want).abs() < 1e-12);
        }
    }
}
