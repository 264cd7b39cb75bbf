//! The supplied recipes, each on data of its kind.

use std::path::Path;

use crate::Place;
use crate::files::{write_cifar, write_mnist, write_pets};

/// Every recipe: it says what it is for, and a step and an evaluation work.
#[test]
fn every_recipe_does_a_step() {
    let place = Place::new();
    write_mnist(&place);
    write_cifar(&place);
    write_pets(&place);
    place.ok("train --data folder:pets --image-size 32 --model resnet18 --max-steps 1 --batch-size 8 --device cpu --out start");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let table = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut recipes: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    recipes.sort();
    assert!(recipes.len() >= 8, "{recipes:?}");
    for path in recipes {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let flags = match name {
            "digits" => "",
            "mnist" | "mnist-fast" => "--data mnist:mnist --batch-size 4",
            "fashion-mnist" => "--data fashion-mnist:mnist --batch-size 4",
            "cifar10" | "cifar10-fast" => "--data cifar10:cifar --batch-size 4",
            "folder" => "--data folder:pets --image-size 32 --batch-size 4",
            "fine-tune" => {
                "--data folder:pets --image-size 32 --batch-size 4 --pretrained start/model.safetensors"
            }
            other => panic!("this test has no data for recipes/{other}.toml"),
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let header: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        for part in ["wgrad train", "Expected", "easured"] {
            assert!(header.contains(part), "recipes/{name}.toml does not say \"{part}\": {header}");
        }
        assert!(table.contains(&format!("({name}.toml)")), "recipes/README.md has no {name}");
        place.write("recipe.toml", text);
        let ran = place.ok(&format!("train recipe.toml {flags} --device cpu --dry-run"));
        assert!(ran.out.contains("dry run: one step and the evaluation"), "{name}: {}", ran.out);
    }
}
