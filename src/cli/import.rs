use std::path::{Path, PathBuf};

use clap::Args;

use super::report::say;
use crate::data::DataSource;
use crate::error::Result;
use crate::exchange;
use crate::train::Run;
use crate::train::recipe::Recipe;

/// The arguments of `wgrad import`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad import resnet18.onnx --data folder:pets --out runs/resnet18")]
pub struct ImportArgs {
    /// The ONNX file of a classifier
    #[arg(value_name = "FILE.onnx")]
    pub file: PathBuf,
    /// The data set that `wgrad eval` tests it on, as in `wgrad train` [default: digits]
    #[arg(long, value_name = "SOURCE")]
    pub data: Option<DataSource>,
    /// The folder of the run [default: the first free of runs/NAME-1, runs/NAME-2, ...]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `wgrad import`
pub(super) fn run(args: &ImportArgs) -> Result<()> {
    let imported = exchange::import(&args.file)?;
    imported.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let mut recipe = Recipe::default();
    recipe.input.model = Some(args.file.display().to_string());
    recipe.input.data = args.data.clone().map(DataSource::absolute);
    let recipe = recipe.resolve()?.to_toml()?;
    let run = match &args.out {
        Some(path) => Run::create(path)?,
        None => {
            let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("imported");
            Run::create_numbered(Path::new("runs"), stem)?
        }
    };
    let about = &imported.about;
    run.write_model(about, &imported.weights.tensors, 0)?;
    run.write_recipe(&recipe, &about.model)?;
    say(format!(
        "{}: {} classes, {} tensors; `wgrad eval`, `predict` and `export` take {}",
        args.file.display(),
        about.classes.len(),
        imported.weights.tensors.len(),
        run.path.display()
    ));
    Ok(())
}
