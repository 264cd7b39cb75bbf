//! A server on this machine, as far as downloads need one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Serves files until the process ends.
pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// The connection ends after this many bytes of a body.
    cut: Option<usize>,
    /// First byte of each answer, or its status if it is none.
    log: Vec<String>,
}

impl Server {
    pub fn new(files: &[(&str, Vec<u8>)]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that is gone needs no answer.
                let _ = answer(stream, &shared);
            }
        });
        Server { address, state }
    }

    pub fn cut(&self, after: Option<usize>) {
        self.state.lock().unwrap().cut = after;
    }

    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().files.insert(name.to_string(), bytes);
    }

    /// What was asked for since this was last called: `path from byte`.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (mut path, mut from, mut if_range) = (String::new(), None, None);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap_or_default().to_string();
        }
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "range" => {
                    from = value.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().ok()
                }
                "if-range" => if_range = Some(value.to_string()),
                _ => {}
            }
        }
    }
    let mut state = state.lock().unwrap();
    let Some(bytes) = state.files.get(&path).cloned() else {
        state.log.push(format!("{path} missing"));
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let tag = format!(
        "\"{:x}\"",
        bytes.iter().fold(bytes.len() as u64, |hash, byte| hash * 31 % (1 << 40) + u64::from(*byte))
    );
    let from = from.filter(|_| if_range.is_none_or(|wanted| wanted == tag));
    state.log.push(format!("{path} from {}", from.unwrap_or(0)));
    let status = match from {
        Some(from) if from >= bytes.len() => {
            return write!(stream, "HTTP/1.1 416 Beyond\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Some(from) => {
            format!("206 Partial\r\nContent-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len())
        }
        None => "200 OK".to_string(),
    };
    let body = &bytes[from.unwrap_or(0)..];
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: {tag}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body[..state.cut.unwrap_or(body.len()).min(body.len())])
}
