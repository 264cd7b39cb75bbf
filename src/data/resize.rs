//! Images of any size made one size: `torchvision.transforms.v2.Resize(size, antialias=True)` and `CenterCrop`.

use image::DynamicImage;
use image::imageops::FilterType;

use crate::augment::centre_offset;

/// The middle part of `[height, width]` of an image whose shorter side is made `shorter` pixels long; that must be at
/// least as long as either side of the part.
pub(super) fn resized_middle(whole: DynamicImage, shorter: usize, part: [usize; 2]) -> DynamicImage {
    let size = [whole.height(), whole.width()].map(|length| length as usize);
    let [height, width] = size_with_shorter(size, shorter);
    // A triangle as wide as what it shrinks: linear interpolation with antialiasing.
    let resized = match size == [height, width] {
        true => whole,
        false => whole.resize_exact(width as u32, height as u32, FilterType::Triangle),
    };
    let [top, left] =
        [(height, part[0]), (width, part[1])].map(|(length, part)| centre_offset(length, part) as u32);
    resized.crop_imm(left, top, part[1] as u32, part[0] as u32)
}

/// A size whose shorter side is made `shorter`; the longer side is rounded down, as torchvision does.
pub(super) fn size_with_shorter(size: [usize; 2], shorter: usize) -> [usize; 2] {
    let shortest = size[0].min(size[1]).max(1);
    size.map(|length| if length == shortest { shorter } else { shorter.saturating_mul(length) / shortest })
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// Made by scripts/golden_augment.py.
    const GOLDENS: &[u8] = include_bytes!("../../tests/goldens/resize.safetensors");

    /// Channels last.
    fn bytes(file: &SafeTensors, name: &str) -> (Vec<u8>, [usize; 3]) {
        let tensor = file.tensor(name).unwrap();
        let &[c, h, w] = tensor.shape() else { panic!("{name}: {:?}", tensor.shape()) };
        let places = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| channel * h * w + pixel));
        (places.map(|place| tensor.data()[place]).collect(), [c, h, w])
    }

    #[test]
    fn sizes_are_torchvisions_and_pixels_within_one_grey_level() {
        let file = SafeTensors::deserialize(GOLDENS).unwrap();
        let cases = ["97x131-32-28", "131x97-40-40", "17x23-40-35", "64x64-32-31", "30x301-24-24"];
        assert_eq!(file.len(), 2 * cases.len());
        for case in cases {
            let (pixels, [channels, height, width]) = bytes(&file, &format!("{case}/image"));
            let (want, [_, crop, _]) = bytes(&file, &format!("{case}/resized"));
            let shorter = case.split('-').nth(1).unwrap().parse().unwrap();
            let (width, height) = (width as u32, height as u32);
            let whole: DynamicImage = match channels {
                1 => image::GrayImage::from_raw(width, height, pixels).unwrap().into(),
                _ => image::RgbImage::from_raw(width, height, pixels).unwrap().into(),
            };
            let got = resized_middle(whole, shorter, [crop, crop]).into_bytes();
            assert_eq!(got.len(), want.len(), "{case}");
            let worst = got.iter().zip(&want).map(|(got, want)| got.abs_diff(*want)).max();
            assert!(worst <= Some(1), "{case}: {worst:?}");
        }
    }
}
