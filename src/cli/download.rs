use std::path::PathBuf;

use super::DownloadArgs;
use super::report::{bar, say};
use crate::error::Result;
use crate::fetch::Download;

/// `wgrad download`
pub(super) fn run(args: &DownloadArgs) -> Result<()> {
    let download = Download::named(&args.name)?;
    let folder = args.to.clone().unwrap_or_else(|| PathBuf::from("data").join(download.name));
    let bar = bar(0, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}", args.quiet);
    let fetched = download.fetch_into(&folder, &|file, done, total| {
        bar.set_message(file.to_string());
        bar.set_length(total.unwrap_or(done));
        bar.set_position(done);
    });
    bar.finish_and_clear();
    fetched?;
    if !args.quiet {
        let (name, folder) = (download.name, folder.display());
        say(format!("{name} is in {folder}: wgrad train --data {name}:{folder}"));
    }
    Ok(())
}
