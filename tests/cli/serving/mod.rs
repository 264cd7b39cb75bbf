//! `wgrad serve`, over real sockets.

mod answers;
mod hostile;
mod load;

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::sync::LazyLock;
use std::time::Duration;

use image::{GrayImage, ImageFormat, Luma};
use serde_json::Value;

use crate::{Place, Ran};

/// A folder with a run on digits, which the tests only read, and two pictures.
static DIGITS: LazyLock<Place> = LazyLock::new(|| {
    let place = Place::new();
    place.ok("train --device cpu --max-steps 30 --out run --quiet");
    place.write("3.png", png(8, 8));
    place.write("large.png", png(90, 40));
    place
});

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    let picture = GrayImage::from_fn(width, height, |x, y| Luma([(x * 30 + y * 17) as u8]));
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A server that ends with the test.
struct Served {
    child: Child,
    address: SocketAddr,
}

/// An answer as it came over the wire.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Served {
    fn start(place: &Place, flags: &str) -> Served {
        let mut child = place.start(&format!("serve run {flags}"));
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some((_, address)) = line.trim().split_once("http://") else {
            panic!("{line} {:?}", Ran::of(child.wait_with_output()))
        };
        Served { child, address: address.parse().unwrap() }
    }

    fn digits(flags: &str) -> Served {
        Served::start(&DIGITS, &format!("--device cpu --addr 127.0.0.1:0 {flags}"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes as they are and takes what comes until the end.
    fn exchange(&self, request: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A server that has heard enough may hang up before everything is sent.
        let _ = stream.write_all(request);
        let mut bytes = vec![];
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_string() }
    }

    fn get(&self, path: &str) -> Reply {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes())
    }

    /// Posts a body with further lines in the header.
    fn post(&self, path: &str, lines: &str, body: &[u8]) -> Reply {
        self.exchange(&post(path, &format!("connection: close\r\n{lines}"), body))
    }

    /// Asks it to end, and gives what it has said since it started.
    fn stop(mut self) -> Ran {
        self.signal("TERM");
        let ran = Ran {
            code: self.child.wait().unwrap().code(),
            out: String::new(),
            err: std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap(),
        };
        ran.never_panicked();
        ran
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole request.
fn post(path: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\n{lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn form(name: &str, more: &str, image: &[u8]) -> Vec<u8> {
    let head = format!("--cut\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
    [head.as_bytes(), image, b"\r\n--cut--\r\n"].concat()
}
