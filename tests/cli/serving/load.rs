//! Many requests at once, too many, and the end in the middle of them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::{Served, png, post};

#[test]
fn many_at_once_share_batches_and_get_their_own_answers() {
    let served = Served::digits("--max-delay-ms 20 --max-batch 8");
    let images: Vec<Vec<u8>> = (5..15).map(|side| png(side, side)).collect();
    let alone: Vec<_> = images.iter().map(|image| served.post("/predict", "", image).json()).collect();
    std::thread::scope(|scope| {
        for round in 0..100 {
            let (served, image, alone) = (&served, &images[round % 10], &alone[round % 10]);
            scope.spawn(move || assert_eq!(&served.post("/predict", "", image).json(), alone));
        }
    });
    let metrics = served.get("/metrics").body;
    let number = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(number("wgrad_batch_images_sum"), 110.0);
    assert!(number("wgrad_batch_images_count") < 80.0, "{metrics}");
    served.stop();
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let served = Served::digits("--max-delay-ms 400 --max-queue 2");
    let (good, busy) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let reply = served.post("/predict", "", &png(8, 8));
                match reply.status {
                    200 => good.fetch_add(1, Ordering::Relaxed),
                    503 => {
                        assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
                        assert!(reply.json()["error"].as_str().unwrap().contains("too many images wait"));
                        busy.fetch_add(1, Ordering::Relaxed)
                    }
                    _ => panic!("{reply:?}"),
                };
            });
        }
    });
    let (good, busy) = (good.into_inner(), busy.into_inner());
    assert!(good >= 2 && busy > 0 && good + busy == 12, "{good} {busy}");
    assert_eq!(served.post("/predict", "", &png(8, 8)).status, 200);
    served.stop();
}

/// What became of a request.
enum Outcome {
    Answered {
        last: bool,
    },
    /// The server no longer listens.
    Refused,
}

/// One request on a connection that may be open already. Panics if the request is lost.
fn ask(served: &Served, open: &mut Option<BufReader<TcpStream>>, request: &[u8]) -> Outcome {
    let fresh = open.is_none();
    if fresh {
        match TcpStream::connect(served.address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                *open = Some(BufReader::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Outcome::Refused,
            Err(error) => panic!("connecting: {error}"),
        }
    }
    let stream = open.as_mut().unwrap();
    // What the kernel accepts in the instant in which the listener closes is reset before the server has seen it.
    let unseen = |error: &std::io::Error| fresh && error.kind() == ErrorKind::ConnectionReset;
    match stream.get_mut().write_all(request) {
        Err(error) if unseen(&error) => return Outcome::Refused,
        sent => sent.expect("the request is sent"),
    }
    let (mut length, mut last) = (0, false);
    for (number, line) in (0..).zip(stream.by_ref().lines()) {
        let line = match line {
            Err(error) if number == 0 && unseen(&error) => return Outcome::Refused,
            line => line.expect("the answer comes").to_ascii_lowercase(),
        };
        assert!(number > 0 || line == "http/1.1 200 ok", "{line}");
        if line.is_empty() {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("the whole answer comes");
            assert!(body.ends_with(b"}"), "{body:?}");
            return Outcome::Answered { last };
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        last |= line == "connection: close";
    }
    panic!("the request is lost: the connection ended before its answer");
}

#[test]
fn the_end_under_load_loses_no_request() {
    for delay in [0, 30] {
        let mut served = Served::digits(&format!("--max-delay-ms {delay}"));
        let (answered, ending) = (AtomicU32::new(0), AtomicBool::new(false));
        let request = post("/predict", "", &png(8, 8));
        std::thread::scope(|scope| {
            for worker in 0..16 {
                let (served, request, answered, ending) = (&served, &request, &answered, &ending);
                scope.spawn(move || {
                    let mut open = None;
                    loop {
                        match ask(served, &mut open, request) {
                            Outcome::Refused => return,
                            Outcome::Answered { last } => {
                                answered.fetch_add(1, Ordering::Relaxed);
                                // Half of the clients make a connection for each request. They stop before the
                                // server does: the system accepts connections that the server no longer sees.
                                if worker % 2 == 0 && ending.load(Ordering::SeqCst) {
                                    return;
                                }
                                if last || worker % 2 == 0 {
                                    open = None;
                                }
                            }
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(300));
            ending.store(true, Ordering::SeqCst);
            served.signal("INT");
        });
        assert!(answered.into_inner() > 16);
        assert_eq!(served.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_request_that_is_half_sent_at_the_end_is_answered() {
    let mut served = Served::digits("");
    let request = post("/predict", "", &png(8, 8));
    let mut stream = served.connect();
    stream.write_all(&request[..request.len() - 10]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    served.signal("TERM");
    std::thread::sleep(Duration::from_millis(600));
    stream.write_all(&request[request.len() - 10..]).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}
