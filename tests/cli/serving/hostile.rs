//! Requests of every wrong kind: each gets its answer, and the server goes on.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{Reply, Served, form, png, post};

/// An error is JSON that says what is wrong.
fn refused(reply: &Reply, status: u16, part: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let error = reply.json()["error"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_string();
    assert!(error.contains(part) && !error.ends_with('.'), "{part:?} is not in: {error}");
    assert_eq!(status == 503, reply.head.contains("retry-after: 1"), "{}", reply.head);
}

/// A PNG whose header claims other sizes than its pixels have, with the right checksum.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(8, 8);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

/// A PNG with a compressed chunk of 256 MiB of zeros before its pixels.
fn with_bomb(kind: &[u8; 4]) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    (0..256).for_each(|_| packed.write_all(&vec![0; 1 << 20]).unwrap());
    let head: &[u8] = if kind == b"iTXt" { b"name\0\x01\0\0\0" } else { b"name\0\0" };
    let chunk = [kind, head, &packed.finish().unwrap()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let length = (chunk.len() as u32 - 4).to_be_bytes();
    let mut bytes = png(8, 8);
    bytes.splice(33..33, [&length[..], &chunk, &crc.sum().to_be_bytes()].concat());
    bytes
}

#[test]
fn wrong_requests_are_refused() {
    let served = Served::digits("");
    let wrong = served.get("/predict");
    refused(&wrong, 405, "another method");
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    refused(&served.post("/health", "", b""), 405, "another method");
    refused(&served.get("/etc/passwd"), 404, "nothing here");
    refused(&served.get("/../../etc/passwd"), 404, "nothing here");
    for kind in
        ["text/html", "application/json", "application/x-www-form-urlencoded", "\u{1}", "multipart/mixed"]
    {
        let lines = format!("content-type: {kind}\r\n");
        let reply = served.post("/predict", &lines, &png(8, 8));
        if kind == "\u{1}" {
            assert_eq!(reply.status, 400, "{reply:?}");
        } else {
            refused(&reply, 415, "multipart/form-data");
        }
    }
    // A content encoding is none that anyone could unpack into anything.
    refused(&served.post("/predict", "content-encoding: gzip\r\n", &png(8, 8)), 415, "content encoding");
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let reply =
            served.exchange(format!("{method} /predict HTTP/1.1\r\nconnection: close\r\n\r\n").as_bytes());
        refused(&reply, 405, "another method");
    }
    for query in ["top=0", "top=-1", "top=x", "top=99999999999999999999"] {
        refused(&served.post(&format!("/predict?{query}"), "", &png(8, 8)), 400, "top must be a number");
    }
    refused(&served.post("/predict", "", b""), 400, "holds no image");
    served.stop();
}

#[test]
fn wrong_images_are_refused() {
    let served = Served::digits("");
    let good = png(8, 8);
    let send = |image: &[u8]| served.post("/predict", "content-type: image/png\r\n", image);
    for cut in [1, 8, 20, 33, 45, good.len() - 13] {
        refused(&send(&good[..cut]), 422, "the image: ");
    }
    refused(&send(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 422, "is not a known kind of image");
    refused(&send(&[0; 1000]), 422, "is not a known kind of image");
    // Bombs: by claim, by compression, by a side that grows when the other is resized.
    refused(&send(&claiming(0x7fff_ffff, 0x7fff_ffff)), 422, "the image: ");
    refused(&send(&claiming(16_384, 16_384)), 422, "is 16384x16384; at most");
    refused(&send(&claiming(100_000, 1)), 422, "at most 16384 pixels on a side");
    refused(&send(&claiming(8000, 8000)), 422, "cannot be decoded");
    refused(&send(b"P5 4000000000 4000000000 255\n"), 422, "the image: ");
    refused(
        &send(b"BM\xff\xff\xff\xff\0\0\0\0\x36\0\0\0\x28\0\0\0\xff\xff\xff\x7f\xff\xff\xff\x7f\x01\0\x18\0"),
        422,
        "the image: ",
    );
    // Text and colour profiles that unpack to much more than the picture.
    for kind in [b"zTXt", b"iTXt", b"iCCP"] {
        let bomb = with_bomb(kind);
        assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
        let reply = send(&bomb);
        assert!([200, 422].contains(&reply.status), "{reply:?}");
    }
    // Real pixels in a few bytes: within limits, so it is an image like others.
    let grey = send(&png(3000, 2000));
    assert_eq!(grey.status, 200, "{grey:?}");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 400 << 10, "{kib} KiB of memory were resident");
    }
    served.stop();
}

#[test]
fn wrong_forms_are_refused() {
    let served = Served::digits("");
    let multipart = "content-type: multipart/form-data; boundary=cut\r\n";
    let good = form("image", "", &png(8, 8));
    refused(
        &served.post("/predict", "content-type: multipart/form-data\r\n", &good),
        400,
        "the form is damaged",
    );
    refused(&served.post("/predict", multipart, &good[..good.len() - 20]), 400, "the form is damaged");
    refused(&served.post("/predict", multipart, b"--cut"), 400, "the form is damaged");
    refused(&served.post("/predict", multipart, b"--cut\r\n\r\n\r\n--cut--\r\n"), 400, "");
    refused(&served.post("/predict", multipart, &form("text", "", b"hello")), 400, "has no file");
    refused(&served.post("/predict", multipart, &form("image", "", b"")), 400, "holds no image");
    refused(&served.post("/predict", multipart, &form("image", "", b"hello")), 422, "the image: ");
    served.stop();
}

#[test]
fn what_is_no_http_is_refused() {
    let served = Served::digits("");
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /predict HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ] {
        let reply = served.exchange(request);
        assert!([0, 400].contains(&reply.status), "{reply:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    assert_eq!(served.exchange(long.as_bytes()).status, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    assert_eq!(served.exchange(many.as_bytes()).status, 431);
    let path = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(70_000));
    assert_eq!(served.exchange(path.as_bytes()).status, 414);
    assert!([0, 400].contains(&served.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status));
    assert_eq!(served.get("/health").status, 200);
    served.stop();
}

#[test]
fn bodies_are_limited() {
    let served = Served::digits("");
    let announced = b"POST /predict HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999\r\n\r\nhello";
    refused(&served.exchange(announced), 413, "larger than 16 MiB");
    refused(&served.post("/predict", "", &vec![1; 17 << 20]), 413, "larger than 16 MiB");
    let mut chunked = b"POST /predict HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend(b"100000\r\n");
        chunked.extend(vec![0; 1 << 20]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    refused(&served.exchange(&chunked), 413, "larger than 16 MiB");
    assert_eq!(served.post("/predict", "", &png(8, 8)).status, 200);
    served.stop();
}

#[test]
fn slow_clients_are_let_go_and_stop_nobody() {
    let served = Served::digits("--timeout-s 1");
    let request = post("/predict", "", &png(8, 8));
    let body = request.len() - 20;
    // In the middle of the header, in the middle of the body, and nothing at all.
    let mut slow: Vec<_> = [5, body, 0]
        .map(|sent| {
            let mut stream = served.connect();
            stream.write_all(&request[..sent]).unwrap();
            stream
        })
        .into();
    let begun = Instant::now();
    assert_eq!(served.post("/predict", "", &png(8, 8)).status, 200);
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    let mut texts = vec![];
    for stream in &mut slow {
        let mut text = String::new();
        // It may be reset rather than closed.
        let _ = stream.read_to_string(&mut text);
        texts.push(text);
    }
    let waited = begun.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    assert!(texts[1].starts_with("HTTP/1.1 408") && texts[1].contains("longer than 1 s"), "{texts:?}");
    // One that drips is late too.
    let mut drip = served.connect();
    let begun = Instant::now();
    for byte in &request {
        if drip.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        if begun.elapsed() > Duration::from_secs(8) {
            panic!("a client that drips is served");
        }
    }
    assert_eq!(served.get("/health").status, 200);
    served.stop();
}

#[test]
fn a_body_in_pieces_of_one_byte_is_a_body() {
    let served = Served::digits("");
    let mut request =
        b"POST /predict HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    png(8, 8).into_iter().for_each(|byte| request.extend([b'1', b'\r', b'\n', byte, b'\r', b'\n']));
    request.extend(b"0\r\nx-trailer: nobody reads it\r\n\r\n");
    assert_eq!(served.exchange(&request).status, 200);
    served.stop();
}

#[test]
fn clients_that_never_read_are_let_go() {
    const REQUESTS: usize = 20_000;
    let served = Served::digits("--timeout-s 1");
    let mut stream = served.connect();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // More answers than the buffers between both hold; the server may stop to read, too.
    let _ = stream.write_all(&b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".repeat(REQUESTS));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(served.get("/health").status, 200);
    let mut answers = vec![];
    // It may be reset rather than closed.
    let _ = stream.read_to_end(&mut answers);
    let count = answers.windows(15).filter(|bytes| bytes == b"HTTP/1.1 200 OK").count();
    assert!((1..REQUESTS / 2).contains(&count), "{count} answers were kept for a client that does not read");
    served.stop();
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let served = Served::digits("--max-delay-ms 50");
    let request = post("/predict", "", &png(8, 8));
    for sent in [10, request.len() - 5, request.len()] {
        for _ in 0..20 {
            served.connect().write_all(&request[..sent]).unwrap();
        }
    }
    assert_eq!(served.post("/predict", "", &png(8, 8)).status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let metrics = served.get("/metrics").body;
    assert!(metrics.contains("wgrad_queue_images 0"), "{metrics}");
    served.stop();
}
