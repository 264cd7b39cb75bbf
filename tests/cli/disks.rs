//! Disks that are full or read-only. They are mounted in a namespace of their own, which ends with the command.

#![cfg(unix)]

use crate::files::{TINY, write_tiny};
use crate::{Place, Ran};

/// Runs a shell script, in which `$wgrad` is the binary; in a namespace of its own only where there is `unshare`.
fn shell(place: &Place, isolated: bool, script: &str) -> Option<Ran> {
    let mut command = match isolated {
        true => {
            let mut command = place.program("unshare");
            command.args(["--map-root-user", "--mount", "sh"]);
            command
        }
        false => place.program("sh"),
    };
    let output = command.env("wgrad", env!("CARGO_BIN_EXE_wgrad")).args(["-c", script]).output();
    Some(Ran::of(Ok(output.ok()?)))
}

/// Whether this machine lets us mount something.
fn can_mount(place: &Place) -> bool {
    let tried = shell(place, true, "mkdir disk && mount -t tmpfs none disk");
    let can = tried.is_some_and(|tried| tried.code == Some(0));
    if !can {
        eprintln!("SKIPPED: nothing can be mounted here; full and read-only disks were not tested");
    }
    can
}

const DIGITS: &str = "train --device cpu --epochs 2 --checkpoint-every 3 --quiet";

#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    let place = Place::new();
    if !can_mount(&place) {
        return;
    }
    place.ok(&format!("{DIGITS} --out whole"));
    // Model, checkpoint and metrics are about 1.1 MB: there is room for the first ones, not for the next beside them.
    let script = format!(
        "mount -t tmpfs -o size=1500k none disk; $wgrad {DIGITS} --out disk/run; code=$?; \
         cp -r disk/run kept; exit $code"
    );
    let ran = shell(&place, true, &script).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["cannot write disk/run/", "No space left on device", "make room"]);
    place.ok("eval kept --device cpu");
    place.ok("resume kept");
    place.same_bits("whole", "kept");
}

#[test]
fn a_disk_without_any_room_is_an_error() {
    let place = Place::new();
    write_tiny(&place);
    if !can_mount(&place) {
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=8k none disk; cat /dev/zero > disk/filler 2> /dev/null; \
         $wgrad train {TINY} --max-steps 1 --quiet --out disk/run"
    );
    let ran = shell(&place, true, &script).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["disk/run", "No space left on device", "make room"]);
}

#[test]
fn a_read_only_disk_is_an_error() {
    let place = Place::new();
    write_tiny(&place);
    if !can_mount(&place) {
        return;
    }
    place.ok(&format!("train {TINY} --max-steps 2 --out disk/run"));
    place.write(
        "disk/run/recipe.toml",
        place.text("disk/run/recipe.toml").replace("max_steps = 2", "max_steps = 4"),
    );
    let before = place.contents("disk/run");
    let mount = "mount --bind disk disk && mount -o remount,bind,ro disk";
    for (line, parts) in [
        (
            format!("train {TINY} --max-steps 1 --out disk/new"),
            &["cannot create disk/new", "Read-only", "on another disk"][..],
        ),
        ("resume disk/run".to_string(), &["cannot write disk/run/metrics.jsonl", "Read-only"]),
        ("eval disk/run --device cpu --logits disk/x".to_string(), &["cannot write disk/x", "Read-only"]),
    ] {
        let ran = shell(&place, true, &format!("{mount} && $wgrad {line}")).unwrap();
        assert_eq!(ran.code, Some(1), "{line}: {ran:?}");
        ran.says(parts);
    }
    // Reading needs no room.
    let ran = shell(&place, true, &format!("{mount} && $wgrad eval disk/run --device cpu")).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(before == place.contents("disk/run"));
}

/// A limit on the size of files stands for a full disk where nothing can be mounted.
#[test]
fn a_limit_on_file_sizes_is_an_error() {
    let place = Place::new();
    // Blocks of 512 bytes: the model fits, the checkpoint does not. (An ignored signal makes it an error of `write`.)
    let script = format!("trap '' XFSZ; ulimit -f 800; exec $wgrad {DIGITS} --out run");
    let ran = shell(&place, false, &script).unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran.says(&["cannot write run/", "File too large"]);
    let names: Vec<String> = place.contents("run").into_iter().map(|(name, _)| name).collect();
    assert!(!names.iter().any(|name| name.contains(".next") || name.starts_with('.')), "{names:?}");
}
