//! From settings and random numbers to the parameters of one sample.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::affine::Matrix;
use super::auto::Drawn;
use super::colour::{Colour, ColourOp};
use super::parameters::{Edge, Parameters, Rectangle};
use super::{Affine, Augmentation, Crop, Erasing, Jitter};
use crate::tensor::{CounterRng, Purpose};

/// Attempts to draw a rectangle that fits, as in torchvision.
const ATTEMPTS: usize = 10;

impl Augmentation {
    /// What is done to a sample in an epoch: from images of `stored` height and width to those of `wanted`.
    ///
    /// Keyed by seed, epoch and the sample's number in its split, and by nothing else: neither batch size nor order nor
    /// what was drawn before.
    pub fn draw(
        &self,
        (seed, epoch, sample): (u64, u32, u32),
        stored: [usize; 2],
        wanted: [usize; 2],
    ) -> Parameters {
        let mut rng = CounterRng::of_pair(seed, Purpose::Augment, [epoch, sample]);
        let (crop, window, mut edge) = self.crop.draw(&mut rng, stored, wanted);
        let mut flips =
            [rng.random::<f64>() < self.horizontal_flip, rng.random::<f64>() < self.vertical_flip];
        if self.alternating_flip {
            // The same for a sample in all epochs: what changes is the epoch's parity.
            let mut fixed = CounterRng::of_pair(seed, Purpose::Augment, [u32::MAX, sample]);
            flips[0] ^= fixed.random::<bool>() ^ !epoch.is_multiple_of(2);
        }
        let mirrored = Matrix::axes(flips.map(|flip| if flip { -1.0 } else { 1.0 }), [0.0; 2]);
        let mut colours = vec![];
        let mut geometry = Matrix::IDENTITY;
        if self.affine != Affine::NONE {
            geometry = self.affine.draw(&mut rng, wanted);
        }
        if let Some(auto) = self.auto {
            for _ in 0..auto.count() {
                match auto.draw(&mut rng, wanted) {
                    Drawn::Nothing => {}
                    // What is done later is undone first.
                    Drawn::Geometry(matrix) => geometry = matrix.then(geometry),
                    Drawn::Colour(colour) => colours.push(colour),
                }
            }
        }
        if geometry != Matrix::IDENTITY && edge == Edge::Clamp {
            edge = Edge::Black;
        }
        let mut parameters = Parameters::new(geometry.then(mirrored).then(crop), window, edge, self.nearest);
        self.jitter.draw(&mut rng, &mut colours);
        if rng.random::<f64>() < self.greyscale {
            colours.push(Colour { op: ColourOp::Greyscale, value: 0 });
        }
        colours.into_iter().for_each(|colour| parameters.push(colour));
        if let Some(rectangle) = self.erasing.draw(&mut rng, wanted) {
            parameters.erase(0, rectangle);
        }
        if self.cutout > 0 {
            parameters.erase(1, rectangle_about(&mut rng, [self.cutout; 2], wanted));
        }
        parameters
    }
}

impl Crop {
    /// Where the crop's pixels lie in the image, the part of the image that is used, and what lies beyond it.
    fn draw(self, rng: &mut CounterRng, stored: [usize; 2], wanted: [usize; 2]) -> (Matrix, Rectangle, Edge) {
        let whole = Rectangle::whole(stored);
        match self {
            Crop::Centre => {
                let offset = [1, 0].map(|axis| centre_offset(stored[axis], wanted[axis]) as f64);
                (placed(offset, wanted, [1.0; 2]), whole, Edge::Clamp)
            }
            Crop::Padded { padding, reflect } => {
                let padding = i64::from(padding);
                let offset = [1, 0].map(|axis| {
                    let room = stored[axis] as i64 + 2 * padding - wanted[axis] as i64;
                    (rng.random_range(0..=room.max(0)) - padding) as f64
                });
                (placed(offset, wanted, [1.0; 2]), whole, if reflect { Edge::Reflect } else { Edge::Black })
            }
            Crop::Resized { scale, ratio } => {
                let window = resized(rng, stored, scale, ratio);
                let [columns, rows] = [window.columns, window.rows];
                let offset = [f64::from(columns[0]), f64::from(rows[0])];
                let size = [columns, rows].map(|[first, end]| f64::from(end - first));
                let factors = [size[0] / wanted[1] as f64, size[1] / wanted[0] as f64];
                (placed(offset, wanted, factors), window, Edge::Clamp)
            }
        }
    }
}

/// Where the middle of the first stored pixel is from the middle of a crop: its corner at `[x, y]` of the image, each of
/// the wanted pixels `factors` large.
fn placed([x, y]: [f64; 2], [height, width]: [usize; 2], [fx, fy]: [f64; 2]) -> Matrix {
    let middle = [x + 0.5 * fx * width as f64 - 0.5, y + 0.5 * fy * height as f64 - 0.5];
    Matrix::axes([fx, fy], middle)
}

/// How far in from its beginning the middle part of a length begins; `CenterCrop` rounds halves to even numbers.
pub(crate) fn centre_offset(length: usize, part: usize) -> i64 {
    libm::rint((length as f64 - part as f64) / 2.0) as i64
}

/// `RandomResizedCrop.get_params`.
fn resized(rng: &mut CounterRng, [height, width]: [usize; 2], scale: [f64; 2], ratio: [f64; 2]) -> Rectangle {
    let (h, w) = (height as f64, width as f64);
    for _ in 0..ATTEMPTS {
        let [target, aspect] = area_and_aspect(rng, h * w, scale, ratio);
        let (cw, ch) = (libm::rint(libm::sqrt(target * aspect)), libm::rint(libm::sqrt(target / aspect)));
        if (1.0..=w).contains(&cw) && (1.0..=h).contains(&ch) {
            return anywhere(rng, [ch as u32, cw as u32], [height, width]);
        }
    }
    // The middle, as near to the wanted shapes as it can be.
    let [low, high] = ratio;
    let (cw, ch) = match w / h {
        actual if actual < low => (w, libm::rint(w / low)),
        actual if actual > high => (libm::rint(h * high), h),
        _ => (w, h),
    };
    let [left, top] = [(w - cw) / 2.0, (h - ch) / 2.0].map(|offset| offset as u32);
    Rectangle { columns: [left, left + cw as u32], rows: [top, top + ch as u32] }
}

/// An area within a share of the whole, and a ratio that is uniform in its logarithm.
fn area_and_aspect(rng: &mut CounterRng, area: f64, scale: [f64; 2], ratio: [f64; 2]) -> [f64; 2] {
    let target = area * uniform(rng, scale);
    [target, libm::exp(uniform(rng, ratio.map(libm::log)))]
}

fn uniform(rng: &mut CounterRng, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// A rectangle of this size wholly in the image.
fn anywhere(rng: &mut CounterRng, size: [u32; 2], image: [usize; 2]) -> Rectangle {
    let [rows, columns] = [0, 1].map(|axis| {
        let first = rng.random_range(0..=(image[axis] as u32).saturating_sub(size[axis]));
        [first, first + size[axis]]
    });
    Rectangle { columns, rows }
}

/// A rectangle of this size whose centre is anywhere in the image, cut at its borders.
pub(super) fn rectangle_about(rng: &mut CounterRng, size: [u32; 2], image: [usize; 2]) -> Rectangle {
    let [rows, columns] = [0, 1].map(|axis| {
        let length = image[axis] as i64;
        let first = rng.random_range(0..length.max(1)) - i64::from(size[axis] / 2);
        [first, first + i64::from(size[axis])].map(|end| end.clamp(0, length) as u32)
    });
    Rectangle { columns, rows }
}

impl Affine {
    fn draw(&self, rng: &mut CounterRng, [height, width]: [usize; 2]) -> Matrix {
        let mut within = |most: f64| uniform(rng, [-most, most]);
        let degrees = within(self.degrees);
        let translate = [self.translate[0] * width as f64, self.translate[1] * height as f64]
            .map(|most| libm::rint(within(most)));
        let shear = within(self.shear);
        let scale = uniform(rng, self.scale);
        Matrix::inverse_affine([0.0; 2], degrees, translate, scale, [shear, 0.0])
    }
}

impl Jitter {
    fn draw(&self, rng: &mut CounterRng, colours: &mut Vec<Colour>) {
        let mut order = [0, 1, 2, 3];
        order.shuffle(rng);
        let strengths = [self.brightness, self.contrast, self.saturation, self.hue];
        let ops = [ColourOp::Brightness, ColourOp::Contrast, ColourOp::Saturation];
        for which in order {
            let most = strengths[which];
            let drawn = uniform(rng, [-most, most]);
            if most > 0.0 {
                colours.push(match ops.get(which) {
                    // As ColorJitter has it: uniform from max(0, 1 - most).
                    Some(op) if most > 1.0 => Colour::blend(*op, (drawn / most + 1.0) * 0.5 * (1.0 + most)),
                    Some(op) => Colour::blend(*op, 1.0 + drawn),
                    None => Colour::hue(drawn),
                });
            }
        }
    }
}

impl Erasing {
    /// `RandomErasing.get_params`.
    fn draw(&self, rng: &mut CounterRng, image: [usize; 2]) -> Option<Rectangle> {
        if rng.random::<f64>() >= self.p {
            return None;
        }
        let [height, width] = image.map(|length| length as f64);
        (0..ATTEMPTS).find_map(|_| {
            let [area, aspect] = area_and_aspect(rng, height * width, self.scale, self.ratio);
            let [h, w] = [area * aspect, area / aspect].map(|square| libm::rint(libm::sqrt(square)));
            (h < height && w < width).then(|| anywhere(rng, [h as u32, w as u32], image))
        })
    }
}
