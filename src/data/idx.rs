//! MNIST and Fashion-MNIST: four IDX files, gzipped or not.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::dataset::{Dataset, Parts};
use super::file::{bad, open, require_folder};
use super::split::{BYTE_SCALE, Images, Split};
use crate::error::{Error, Result};

/// Deflate cannot expand a byte to more than this, so a header that promises more is wrong.
const MOST_EXPANSION: u64 = 1032;

const CLASSES: usize = 10;

const FASHION: [&str; CLASSES] = [
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

pub(super) fn load_mnist(dir: &Path) -> Result<Dataset> {
    let classes = (0..CLASSES).map(|digit| digit.to_string()).collect();
    let origin =
        "the handwritten digits of LeCun, Cortes and Burges that most data set mirrors carry as \"MNIST\"";
    load(dir, "mnist", classes, origin)
}

pub(super) fn load_fashion_mnist(dir: &Path) -> Result<Dataset> {
    let classes = FASHION.map(String::from).to_vec();
    let origin = "Zalando Research's \"Fashion-MNIST\", which has the same file names as MNIST";
    load(dir, "fashion-mnist", classes, origin)
}

fn load(dir: &Path, name: &str, classes: Vec<String>, origin: &str) -> Result<Dataset> {
    let expected = format!(
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, \
         gzipped (.gz) or not: {origin}"
    );
    require_folder(dir, &expected)?;
    let (train, image) = load_split(dir, "train", &expected)?;
    let (test, test_image) = load_split(dir, "t10k", &expected)?;
    if image != test_image {
        let [[_, h, w], [_, test_h, test_w]] = [image, test_image];
        return Err(bad(dir, format!("training images are {w}x{h} but test images are {test_w}x{test_h}")));
    }
    Dataset::new(Parts { name: name.to_string(), train, test, classes, skipped: vec![] })
}

fn load_split(dir: &Path, part: &str, expected: &str) -> Result<(Split, [usize; 3])> {
    let images_path = find(dir, &format!("{part}-images"), 3, expected)?;
    let labels_path = find(dir, &format!("{part}-labels"), 1, expected)?;
    let images = read_idx::<3>(&images_path)?;
    let labels = read_idx::<1>(&labels_path)?;
    let [n, h, w] = images.dims;
    if n != labels.dims[0] {
        let message = format!("has {} labels but {} has {n} images", labels.dims[0], images_path.display());
        return Err(bad(&labels_path, message));
    }
    if let Some(sample) = labels.data.iter().position(|&label| usize::from(label) >= CLASSES) {
        let label = labels.data[sample];
        return Err(bad(
            &labels_path,
            format!("label {label} of sample {sample} is not in 0 to {}", CLASSES - 1),
        ));
    }
    let labels = labels.data.into_iter().map(i32::from).collect();
    let image = [1, h, w];
    Ok((Split::new(Images::U8 { data: Arc::new(images.data), scale: BYTE_SCALE }, labels, image)?, image))
}

/// The file under any of its usual names.
fn find(dir: &Path, stem: &str, rank: usize, expected: &str) -> Result<PathBuf> {
    for (dot, end) in [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")] {
        let path = dir.join(format!("{stem}{dot}idx{rank}-ubyte{end}"));
        if path.exists() {
            return Ok(path);
        }
    }
    Err(bad(dir, format!("has no {stem}-idx{rank}-ubyte[.gz]; expected {expected}")))
}

struct Idx<const RANK: usize> {
    dims: [usize; RANK],
    data: Vec<u8>,
}

fn read_idx<const RANK: usize>(path: &Path) -> Result<Idx<RANK>> {
    let (file, len) = open(path, "an IDX file")?;
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().map_err(Error::io("read", path))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        parse(path, MultiGzDecoder::new(reader), len.saturating_mul(MOST_EXPANSION))
    } else {
        parse(path, reader, len)
    }
}

/// Reads an IDX stream that cannot hold more than `most` bytes.
fn parse<const RANK: usize>(path: &Path, mut reader: impl Read, most: u64) -> Result<Idx<RANK>> {
    let mut magic = [0; 4];
    read_header(path, &mut reader, &mut magic)?;
    check_magic(path, magic, RANK)?;
    let mut dims = [0; RANK];
    for dim in &mut dims {
        let mut word = [0; 4];
        read_header(path, &mut reader, &mut word)?;
        *dim = u32::from_be_bytes(word) as usize;
    }
    let sizes = dims.map(|dim| dim.to_string()).join(" x ");
    if dims.contains(&0) {
        return Err(bad(path, format!("holds no data: its header says {sizes}")));
    }
    let header = 4 + 4 * RANK as u64;
    let expected = dims.iter().try_fold(1u64, |size, &dim| size.checked_mul(dim as u64));
    let Some(expected) = expected.filter(|&size| size <= most.saturating_sub(header)) else {
        return Err(bad(
            path,
            format!(
                "is truncated or damaged: its header promises {sizes} bytes, more than the file can hold; get it again"
            ),
        ));
    };
    // Memory grows with what comes out of the stream: a gzipped file may promise a thousand times its length.
    let mut data = Vec::new();
    reader.take(expected + 1).read_to_end(&mut data).map_err(|error| stream_error(path, error))?;
    match data.len() as u64 {
        len if len < expected => {
            Err(bad(path, format!("is truncated: {sizes} bytes expected, {len} are there; get it again")))
        }
        len if len > expected => {
            Err(bad(path, format!("is damaged: more bytes than the {sizes} of its header; get it again")))
        }
        _ => Ok(Idx { dims, data }),
    }
}

fn read_header(path: &Path, reader: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    reader.read_exact(bytes).map_err(|error| stream_error(path, error))
}

fn check_magic(path: &Path, magic: [u8; 4], rank: usize) -> Result<()> {
    let what = |rank| if rank == 3 { "images" } else { "labels" };
    match magic {
        [0, 0, 8, found] if usize::from(found) == rank => Ok(()),
        [0, 0, 8, found @ (1 | 3)] => Err(bad(
            path,
            format!("is an IDX file of {}, expected one of {}", what(found.into()), what(rank)),
        )),
        _ => Err(bad(
            path,
            format!(
                "is not an IDX file of {}: it starts with {magic:02x?} instead of [00, 00, 08, {rank:02x}]",
                what(rank)
            ),
        )),
    }
}

fn stream_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            bad(path, "is truncated: it ends before its header says; get it again")
        }
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            bad(path, format!("is damaged: {error}; get it again"))
        }
        _ => Error::io("read", path)(error),
    }
}
