//! `--pretrained`: files, the hub, a head for other classes, and what does not fit.

use safetensors::SafeTensors;

use crate::Place;
use crate::files::{TINY, floats, serialize, write_tiny};
use crate::server::Server;

/// The weights of a run of the tiny network for three classes, as bytes of a file.
fn trained(place: &Place) -> Vec<u8> {
    write_tiny(place);
    place.ok(&format!("train {TINY} --max-steps 2 --out trained"));
    place.read("trained/model.safetensors")
}

/// The file with the head (`7.weight`, `7.bias`) for five classes instead of three.
fn for_five_classes(bytes: &[u8]) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let kept = ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"].map(|name| {
        let view = file.tensor(name).unwrap();
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        floats(name, view.shape(), &values)
    });
    let head = [floats("7.weight", &[5, 36], &[0.5; 180]), floats("7.bias", &[5], &[0.5; 5])];
    let tensors: Vec<_> = kept.into_iter().chain(head).collect();
    serialize(&tensors, None)
}

#[test]
fn a_head_for_other_classes_is_new_and_all_else_is_taken() {
    let place = Place::new();
    let bytes = trained(&place);
    place.write("five.safetensors", for_five_classes(&bytes));
    let ran = place.ok(&format!("train {TINY} --max-steps 1 --lr 0 --pretrained five.safetensors --out a"));
    assert_eq!(
        ran.err.trim(),
        "note: 7.weight, 7.bias start anew: the head of five.safetensors is for 5 classes, the data has 3"
    );
    assert!(ran.out.contains("init    5 of 7 tensors from five.safetensors"), "{}", ran.out);
    let after = place.read("a/model.safetensors");
    let [before, after] = [&bytes, &after].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    for name in ["0.weight", "1.weight", "1.bias"] {
        assert_eq!(before.tensor(name).unwrap().data(), after.tensor(name).unwrap().data(), "{name}");
    }
    // A head that fits is taken, too.
    let ran = place
        .ok(&format!("train {TINY} --max-steps 1 --lr 0 --pretrained trained/model.safetensors --out b"));
    assert_eq!(ran.err, "");
    assert!(ran.out.contains("init    7 of 7"), "{}", ran.out);
}

#[test]
fn what_does_not_fit_is_named() {
    let place = Place::new();
    let bytes = trained(&place);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let weight: Vec<f32> = bytemuck::pod_collect_to_vec(file.tensor("0.weight").unwrap().data());
    let tensors = [
        floats("conv.weight", &[4, 1, 3, 3], &weight),
        floats("1.weight", &[3], &[1.0; 3]),
        floats("1.bias", &[4], &[0.0; 4]),
        floats("1.running_mean", &[4], &[0.0; 4]),
    ];
    place.write("other.safetensors", serialize(&tensors, None));
    let line = format!("train {TINY} --max-steps 1 --out a --pretrained");
    place.fails(
        &format!("{line} other.safetensors"),
        1,
        &[
            "other.safetensors: does not fit the model: it has no 0.weight, 1.running_var",
            "it also has conv.weight; it has \"1.weight\" as [3], the model needs [4]; is it of another network?",
        ],
    );
    place.write("old.pth", b"PK\x03\x04 and so on");
    place.fails(
        &format!("{line} old.pth"),
        1,
        &["old.pth: cannot be read as a file of torch.save", "convert it: python -c"],
    );
    place.fails(&format!("{line} none.safetensors"), 1, &["cannot read none.safetensors"]);
    place.fails(
        &format!("{line} hf:resnet18"),
        2,
        &["\"hf:resnet18\" is no name on the hub; it is hf:OWNER/NAME"],
    );
    place.fails(&format!("{line} hf:a/../b"), 2, &["is no name on the hub"]);
    place.fails(
        &format!("{line} a.safetensors --init b.safetensors"),
        2,
        &["--init and --pretrained are both weights to start from; give one of them"],
    );
    assert!(!place.path("a").exists(), "nothing is left behind by a run that never began");
}

#[test]
fn weights_come_from_the_hub_once() {
    let place = Place::new();
    let bytes = trained(&place);
    let server = Server::new(&[("/me/tiny/resolve/main/model.safetensors", bytes.clone())]);
    let train = |name: &str, endpoint: &str| {
        let line = format!("train {TINY} --max-steps 1 --lr 0 --pretrained hf:me/{name} --out {name}");
        let mut command = place.command(&line);
        command.env("HF_ENDPOINT", endpoint).env("WGRAD_CACHE", place.path("cache"));
        crate::Ran::of(command.output())
    };
    // It stops in the middle, and goes on where it stopped.
    server.cut(Some(100));
    let ran = train("tiny", &server.address);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["cannot download http://", "/me/tiny/resolve/main/model.safetensors", "goes on from there"]);
    assert_eq!(place.read("cache/hub/me/tiny/model.safetensors.part"), bytes[..100]);
    server.cut(None);
    let ran = train("tiny", &server.address);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("init    7 of 7"), "{}", ran.out);
    let path = "/me/tiny/resolve/main/model.safetensors";
    assert_eq!(server.take_log(), [format!("{path} from 0"), format!("{path} from 100")]);
    assert_eq!(place.read("cache/hub/me/tiny/model.safetensors"), bytes);
    assert_eq!(std::fs::read_dir(place.path("cache/hub/me/tiny")).unwrap().count(), 1);
    // Then the net is not needed.
    std::fs::remove_dir_all(place.path("tiny")).unwrap();
    assert_eq!(train("tiny", "http://127.0.0.1:1").code, Some(0));
    let ran = train("other", "http://127.0.0.1:1");
    assert_eq!(ran.code, Some(1));
    ran.says(&[
        "cannot download http://127.0.0.1:1/me/other/resolve/main/model.safetensors: ",
        "without the net, put that file at ",
        "cache/hub/me/other/model.safetensors",
    ]);
}

#[test]
fn a_part_of_another_file_is_not_continued() {
    let place = Place::new();
    let bytes = trained(&place);
    let path = "/me/tiny/resolve/main/model.safetensors";
    let server = Server::new(&[(path, bytes.iter().rev().copied().collect())]);
    let run = |out: &str| {
        let line = format!("train {TINY} --max-steps 1 --pretrained hf:me/tiny --out {out}");
        let mut command = place.command(&line);
        command.env("HF_ENDPOINT", &server.address).env("WGRAD_CACHE", place.path("cache"));
        crate::Ran::of(command.output())
    };
    server.cut(Some(100));
    assert_eq!(run("a").code, Some(1));
    server.cut(None);
    server.replace(path, bytes.clone());
    let ran = run("a");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(place.read("cache/hub/me/tiny/model.safetensors"), bytes);
}
