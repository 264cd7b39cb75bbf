use crate::ops::views::{FLIP, FLIP_TRANSLATE, TRANSLATE, TestView};
use crate::train::recipe::names;

names! { "test-time augmentation",
/// Which views of an image are averaged when it is classified.
pub enum Tta {
    /// The image as it is.
    #[default]
    None = "none",
    /// The image and its mirror image.
    Flip = "flip",
    /// The image, and shifted by a pixel up and left, and down and right, edges reflected.
    Translate = "translate",
    /// The image and its mirror image, and both shifted by a pixel up and left, and down and right, as airbench94 does.
    FlipTranslate = "flip-translate",
}
}

impl Tta {
    /// The views, for [`crate::models::Model::averaging`].
    pub fn views(self) -> &'static [TestView] {
        match self {
            Tta::None => &[],
            Tta::Flip => FLIP,
            Tta::Translate => TRANSLATE,
            Tta::FlipTranslate => FLIP_TRANSLATE,
        }
    }

    /// What readers of a run's last evaluation should know; nothing if it is like those before.
    pub fn remark(self) -> Option<String> {
        (self != Tta::None).then(|| {
            let name = self.name();
            format!("by the mean of each image's views (--tta {name}); evaluations before are of the images as they are")
        })
    }
}
