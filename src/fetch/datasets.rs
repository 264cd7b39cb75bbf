use std::path::{Path, PathBuf};

use super::{File, archive, fetch};
use crate::error::{Error, Result};
use crate::fields;

/// The environment variable that names an address to take all files from, in place of their homes.
const MIRROR: &str = "WGRAD_MIRROR";

/// A data set that can be downloaded.
#[derive(Debug)]
pub struct Download {
    /// Its name, which is also that of its `--data` source.
    pub name: &'static str,
    /// Addresses that end in the files' names, the first one first.
    homes: &'static [&'static str],
    /// Names and MD5 of its files.
    files: &'static [(&'static str, &'static str)],
    /// If the one file is an archive: what of it is unpacked, with each file's bytes.
    unpacked: &'static [(&'static str, u64)],
}

/// The homes and checksums are those of torchvision, and of the home page of CIFAR for its binary version.
const DOWNLOADS: [Download; 4] = [
    Download {
        name: "mnist",
        homes: &["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"],
        files: &[
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ],
        unpacked: &[],
    },
    Download {
        name: "fashion-mnist",
        homes: &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
        files: &[
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ],
        unpacked: &[],
    },
    Download {
        name: "cifar10",
        homes: &["https://www.cs.toronto.edu/~kriz/"],
        files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")],
        unpacked: &[
            ("data_batch_1.bin", 30_730_000),
            ("data_batch_2.bin", 30_730_000),
            ("data_batch_3.bin", 30_730_000),
            ("data_batch_4.bin", 30_730_000),
            ("data_batch_5.bin", 30_730_000),
            ("test_batch.bin", 30_730_000),
            ("batches.meta.txt", 61),
        ],
    },
    Download {
        name: "cifar100",
        homes: &["https://www.cs.toronto.edu/~kriz/"],
        files: &[("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")],
        unpacked: &[("train.bin", 153_700_000), ("test.bin", 30_740_000), ("fine_label_names.txt", 1050)],
    },
];

/// All data sets that can be downloaded.
pub fn downloads() -> &'static [Download] {
    &DOWNLOADS
}

impl Download {
    /// The data set of this name.
    pub fn named(name: &str) -> Result<&'static Download> {
        DOWNLOADS.iter().find(|download| download.name == name).ok_or_else(|| {
            let names = DOWNLOADS.each_ref().map(|download| download.name);
            let hint = fields::hint(name, &names);
            Error::Recipe(format!("there is no data set \"{name}\" to download; {hint}"))
        })
    }

    /// Puts the data set's files into `folder`; those that are there and right are left alone. `progress` is told the
    /// file, its bytes so far and, if known, of all.
    pub fn fetch_into(&self, folder: &Path, progress: &dyn Fn(&str, u64, Option<u64>)) -> Result<()> {
        if !self.unpacked.is_empty() && archive::is_unpacked(folder, self.unpacked) {
            return Ok(());
        }
        for (name, md5) in self.files {
            let path = folder.join(name);
            self.fetch_file(name, md5, &path, progress)?;
            if !self.unpacked.is_empty() {
                archive::unpack(&path, folder, self.unpacked)?;
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn fetch_file(
        &self,
        name: &str,
        md5: &str,
        path: &PathBuf,
        progress: &dyn Fn(&str, u64, Option<u64>),
    ) -> Result<()> {
        let mirror = std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty());
        let given = mirror.as_deref().map(|mirror| [mirror]);
        let homes = given.as_ref().map_or(self.homes, |mirror| &mirror[..]);
        let mut result = Ok(());
        for home in homes {
            let url = format!("{}/{name}", home.trim_end_matches('/'));
            let file = File { url: &url, path, md5: Some(md5) };
            result = fetch(&file, &|done, total| progress(name, done, total));
            // Another home may have what this one has not; a full disk stays full.
            if !matches!(result, Err(Error::Download { .. })) {
                break;
            }
        }
        result
    }
}
