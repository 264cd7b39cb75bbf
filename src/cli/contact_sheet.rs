//! A sheet of pictures with words under them.

use font8x8::legacy::{BASIC_LEGACY, LATIN_LEGACY};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// Pixels of a letter's side.
const LETTER: u32 = 8;
/// Pixels between two lines of words, and around pictures.
const GAP: u32 = 3;
/// Letters that a column has room for at least.
const LEAST_LETTERS: u32 = 12;
/// Small pictures are enlarged to about this many pixels, by whole numbers.
const LEAST_SIDE: u32 = 96;
/// Large pictures are reduced to this many pixels.
const MOST_SIDE: u32 = 256;

const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([20; 3]);

/// A picture and the lines under it.
pub(super) struct Cell {
    pub(super) picture: RgbImage,
    pub(super) lines: Vec<String>,
}

/// Draws rows of cells under a line of headings. All pictures of a sheet are enlarged alike, without blurring.
pub(super) fn draw(headings: &[String], rows: &[Vec<Cell>]) -> RgbImage {
    let cells = || rows.iter().flatten();
    let longest = cells().map(|cell| cell.picture.width().max(cell.picture.height())).max().unwrap_or(1);
    let rows: Vec<Vec<(RgbImage, &[String])>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| (fit(&cell.picture, longest), &cell.lines[..])).collect())
        .collect();
    let pictures = || rows.iter().flatten();
    let widest = pictures().map(|(picture, _)| picture.width()).max().unwrap_or(0);
    let tallest = pictures().map(|(picture, _)| picture.height()).max().unwrap_or(0);
    let lines = pictures().map(|(_, lines)| lines.len()).max().unwrap_or(0) as u32;
    let column = widest.max(LEAST_LETTERS * LETTER) + 2 * GAP;
    let row_height = tallest + lines * (LETTER + GAP) + 3 * GAP;
    let top = LETTER + 3 * GAP;
    let columns = headings.len() as u32;
    let mut sheet = RgbImage::from_pixel(columns * column + GAP, top + rows.len() as u32 * row_height, PAPER);
    let letters = ((column - GAP) / LETTER) as usize;
    for (x, heading) in (0..).map(|place| place * column + GAP).zip(headings) {
        write(&mut sheet, [x, GAP], heading, letters);
    }
    for (y, row) in (0..).map(|place| top + place * row_height).zip(&rows) {
        for (x, (picture, lines)) in (0..).map(|place| place * column + GAP).zip(row) {
            imageops::replace(&mut sheet, picture, x.into(), y.into());
            let below = (0..).map(|line| y + picture.height() + GAP + line * (LETTER + GAP));
            for (y, line) in below.zip(*lines) {
                write(&mut sheet, [x, y], line, letters);
            }
        }
    }
    sheet
}

/// The picture at the size that suits a sheet whose longest side is `longest` pixels.
fn fit(picture: &RgbImage, longest: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    if longest > MOST_SIDE {
        let part = |side: u32| (side * MOST_SIDE).div_ceil(longest).max(1);
        return imageops::resize(picture, part(width), part(height), FilterType::Triangle);
    }
    enlarged(picture, longest, LEAST_SIDE)
}

/// As many whole times as large as make a side of `longest` pixels one of `least` or more, without blurring.
pub(super) fn enlarged(picture: &RgbImage, longest: u32, least: u32) -> RgbImage {
    let factor = least.div_ceil(longest.max(1)).max(1);
    imageops::resize(picture, picture.width() * factor, picture.height() * factor, FilterType::Nearest)
}

/// Writes as many letters of a line as there is room for; what is cut off ends in two points.
fn write(sheet: &mut RgbImage, [x, y]: [u32; 2], line: &str, letters: usize) {
    let cut = line.chars().count() > letters;
    let shown = line.chars().take(if cut { letters.saturating_sub(2) } else { letters });
    for (place, letter) in (0..).zip(shown.chain("..".chars().filter(|_| cut))) {
        for (row, bits) in (0..).zip(glyph(letter)) {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                if let Some(pixel) = sheet.get_pixel_mut_checked(x + place * LETTER + column, y + row) {
                    *pixel = INK;
                }
            }
        }
    }
}

/// A letter's rows from the top, the leftmost pixel in the lowest bit; a question mark for what the font lacks.
fn glyph(letter: char) -> [u8; 8] {
    let code = letter as usize;
    let latin = code.checked_sub(0xA0).and_then(|place| LATIN_LEGACY.get(place));
    *BASIC_LEGACY.get(code).or(latin).unwrap_or(&BASIC_LEGACY['?' as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(side: [u32; 2], line: &str) -> Cell {
        Cell {
            picture: RgbImage::from_pixel(side[0], side[1], Rgb([9, 8, 7])),
            lines: vec![line.to_string()],
        }
    }

    #[test]
    fn pictures_are_enlarged_by_whole_numbers_and_reduced_if_large() {
        assert_eq!(fit(&cell([8, 6], "").picture, 8).dimensions(), (96, 72));
        assert_eq!(fit(&cell([100, 50], "").picture, 100).dimensions(), (100, 50));
        assert_eq!(fit(&cell([1024, 1], "").picture, 1024).dimensions(), (256, 1));
    }

    #[test]
    fn words_stay_in_their_column() {
        let long = "a name that is much too long for its column";
        let headings = ["original".to_string()];
        let sheet = draw(&headings, &[vec![cell([8, 8], long)]]);
        let short = draw(&headings, &[vec![cell([8, 8], "cat")]]);
        assert_eq!(sheet.dimensions(), short.dimensions());
        assert_ne!(sheet, short);
        assert_eq!(glyph('\u{4e2d}'), glyph('?'));
        assert_ne!(glyph('é'), glyph('?'));
    }
}
