//! `wgrad download`: checksums, interrupted downloads, archives, no net.

use std::cell::RefCell;

use md5::{Digest, Md5};
use wgrad::fetch::{File, fetch};

use crate::server::Server;
use crate::{Place, Ran};

fn download(place: &Place, server: &str, line: &str) -> Ran {
    let ran = Ran::of(place.command(&format!("download {line}")).env("WGRAD_MIRROR", server).output());
    ran.never_panicked();
    ran
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_is_kept() {
    let place = Place::new();
    let server = Server::new(&[("/train-images-idx3-ubyte.gz", vec![7; 1000])]);
    let ran = download(&place, &server.address, "mnist --to m");
    assert_eq!(ran.code, Some(1));
    ran.says(&["train-images-idx3-ubyte.gz: came with another MD5 than it should have; it was not kept"]);
    assert_eq!(std::fs::read_dir(place.path("m")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_download_goes_on() {
    let place = Place::new();
    let server = Server::new(&[("/train-images-idx3-ubyte.gz", (0..=255).cycle().take(5000).collect())]);
    server.cut(Some(1234));
    let ran = download(&place, &server.address, "mnist --to m");
    assert_eq!(ran.code, Some(1));
    ran.says(&[
        "cannot download http://",
        "train-images-idx3-ubyte.gz",
        "put that file at m/train-images-idx3-ubyte.gz",
    ]);
    assert_eq!(place.read("m/train-images-idx3-ubyte.gz.part").len(), 1234);
    server.cut(Some(1000));
    download(&place, &server.address, "mnist --to m");
    assert_eq!(place.read("m/train-images-idx3-ubyte.gz.part").len(), 2234);
    assert_eq!(
        server.take_log(),
        ["/train-images-idx3-ubyte.gz from 0", "/train-images-idx3-ubyte.gz from 1234"]
    );
}

#[test]
fn a_missing_file_and_a_missing_net_are_said() {
    let place = Place::new();
    let server = Server::new(&[]);
    let ran = download(&place, &server.address, "cifar10");
    assert_eq!(ran.code, Some(1));
    ran.says(&[
        "cifar-10-binary.tar.gz: the server answers with status 404",
        "data/cifar10/cifar-10-binary.tar.gz",
    ]);
    let ran = download(&place, "http://127.0.0.1:1", "cifar100 --to c");
    assert_eq!(ran.code, Some(1));
    ran.says(&[
        "cannot download http://127.0.0.1:1/cifar-100-binary.tar.gz: ",
        "without the net, put that file at c/",
    ]);
    place.fails(
        "download cifar11",
        2,
        &["there is no data set \"cifar11\" to download; did you mean \"cifar10"],
    );
}

/// The files of data sets cannot be had here, so this is one of its own.
#[test]
fn a_file_of_the_right_checksum_is_kept_and_not_asked_for_again() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let md5: String = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let server = Server::new(&[("/a/b", bytes.clone())]);
    let (url, path) = (format!("{}/a/b", server.address), place.path("deep/b"));
    let file = File { url: &url, path: &path, md5: Some(&md5) };
    server.cut(Some(70_000));
    fetch(&file, &|_, _| {}).unwrap_err();
    server.cut(None);
    let seen = RefCell::new(vec![]);
    fetch(&file, &|done, total| seen.borrow_mut().push((done, total))).unwrap();
    let seen = seen.into_inner();
    assert_eq!((seen[0], seen[seen.len() - 1]), ((70_000, Some(100_000)), (100_000, Some(100_000))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(place.path("deep")).unwrap().count(), 1);
    assert_eq!(server.take_log(), ["/a/b from 0", "/a/b from 70000"]);
    fetch(&file, &|_, _| {}).unwrap();
    assert!(server.take_log().is_empty());
    // A whole part that was not renamed, as after a power cut.
    std::fs::rename(&path, place.path("deep/b.part")).unwrap();
    fetch(&file, &|_, _| {}).unwrap();
    assert_eq!(
        (std::fs::read(&path).unwrap(), server.take_log()),
        (bytes, vec!["/a/b from 100000".to_string()])
    );
    std::fs::write(&path, "damaged").unwrap();
    fetch(&file, &|_, _| {}).unwrap();
    assert_eq!(server.take_log(), ["/a/b from 0"]);
}
