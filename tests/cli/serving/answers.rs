//! What a server answers when all is well.

use serde_json::{Value, json};

use super::{DIGITS, Served, form, png, post};
use crate::Place;
use crate::files::write_pets;
use crate::gpu::HAS_ADAPTER;

#[test]
fn it_says_what_predict_says() {
    let served = Served::digits("");
    for name in ["3.png", "large.png"] {
        let predicted = DIGITS.ok(&format!("predict run {name} --device cpu --json --top 3")).json();
        let image = DIGITS.read(name);
        let multipart = "content-type: multipart/form-data; boundary=cut\r\n";
        let replies = [
            served.post("/predict", "content-type: image/png\r\n", &image),
            served.post("/predict", "content-type: application/octet-stream\r\n", &image),
            served.post("/predict", "", &image),
            served.post("/predict", multipart, &form("image", "", &image)),
            served.post("/predict", multipart, &form("upload", "; filename=\"a.png\"", &image)),
        ];
        for reply in replies {
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json()["top"], predicted[0]["top"], "{name}");
            let resized = if name == "3.png" { Value::Null } else { json!([40, 90]) };
            assert_eq!(reply.json()["resized_from"], resized);
        }
        let more = served.post("/predict?top=10", "", &image).json();
        assert_eq!(more["top"].as_array().unwrap().len(), 10);
        let sum: f64 =
            more["top"].as_array().unwrap().iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
    let ran = served.stop();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.starts_with("stopping when all that was accepted is answered"), "{ran:?}");
}

#[test]
fn pictures_are_resized_and_cropped_as_in_training() {
    let place = Place::new();
    write_pets(&place);
    place.ok("train --data folder:pets --model seed-cnn --image-size 16 --resize-size 20 --max-steps 2 --batch-size 4 --device cpu --out run --quiet");
    place.write("wide.png", png(70, 33));
    let predicted = place.ok("predict run wide.png --device cpu --json").json();
    let served = Served::start(&place, "--device cpu --addr 127.0.0.1:0");
    let reply = served.post("/predict", "", &place.read("wide.png"));
    assert_eq!(reply.json()["top"], predicted[0]["top"], "{reply:?}");
}

#[test]
fn machines_find_health_metrics_and_a_description() {
    let served = Served::digits("");
    let health = served.get("/health");
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["image"], json!([1, 8, 8]));
    assert_eq!(health.json()["classes"].as_array().unwrap().len(), 10);

    served.post("/predict", "", &png(8, 8));
    served.post("/predict", "", b"no image");
    let metrics = served.get("/metrics");
    assert!(metrics.head.contains("content-type: application/openmetrics-text"), "{metrics:?}");
    for line in [
        "wgrad_requests_total{path=\"/predict\",status=\"200\"} 1",
        "wgrad_requests_total{path=\"/predict\",status=\"422\"} 1",
        "wgrad_request_seconds_count{path=\"/predict\"} 2",
        "wgrad_batch_images_count 1",
        "wgrad_batch_images_sum 1",
        "wgrad_queue_images 0",
    ] {
        assert!(
            metrics.body.lines().any(|found| found.trim_end_matches(".0") == line),
            "{line}: {}",
            metrics.body
        );
    }

    let described = served.get("/openapi.json").json();
    assert!(described["openapi"].as_str().unwrap().starts_with("3."));
    let responses = &described["paths"]["/predict"]["post"]["responses"];
    for status in ["200", "400", "408", "413", "415", "422", "500", "503", "504"] {
        assert!(responses[status]["content"].is_object(), "{status}: {responses}");
    }
    // What is referred to is there.
    let text = described.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(described["components"]["schemas"][name].is_object(), "{name}");
    }
    assert_eq!(described["components"]["schemas"]["Answer"]["properties"]["top"]["type"], "array");
}

#[test]
fn people_get_a_page_that_loads_nothing() {
    let served = Served::digits("");
    let page = served.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
}

#[test]
fn a_connection_serves_many_requests_and_head_has_no_body() {
    use std::io::{Read, Write};
    let served = Served::digits("");
    let mut stream = served.connect();
    let requests = [post("/predict", "", &png(8, 8)), post("/predict", "", &png(9, 9))].concat();
    stream.write_all(&requests).unwrap();
    stream.write_all(b"HEAD /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_gpu_says_the_same() {
    if !*HAS_ADAPTER {
        return;
    }
    let [cpu, gpu] = ["cpu", "gpu"].map(|device| {
        let served = Served::start(&DIGITS, &format!("--addr 127.0.0.1:0 --device {device} --max-batch 4"));
        served.post("/predict?top=10", "", &png(8, 8)).json()["top"].as_array().unwrap().clone()
    });
    for guess in &cpu {
        let other = gpu.iter().find(|other| other["class"] == guess["class"]).unwrap();
        let apart = guess["probability"].as_f64().unwrap() - other["probability"].as_f64().unwrap();
        assert!(apart.abs() < 1e-5, "{guess} {other}");
    }
}

#[test]
fn addresses_that_are_taken_or_open_are_said() {
    let served = Served::digits("");
    DIGITS.fails(
        &format!("serve run --device cpu --addr {}", served.address),
        1,
        &["cannot listen on 127.0.0.1", "--addr"],
    );
    let open = Served::start(&DIGITS, "--device cpu --addr 0.0.0.0:0");
    open.stop().remarks(&["warning: 0.0.0.0", "is no loopback address"]);
    DIGITS.fails("serve nowhere", 1, &["nowhere", "there is no such folder"]);
}
