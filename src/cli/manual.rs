use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::report::say;
use crate::error::{Error, Result};
use crate::files;

/// The arguments of `wgrad completions`; bash looks for the script in `~/.local/share/bash-completion/completions/wgrad`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad completions bash")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// The arguments of `wgrad man`.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = "Example:\n  wgrad man man1")]
pub struct ManArgs {
    /// The folder for wgrad.1, wgrad-train.1 and so on
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `wgrad completions`
pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Cli::command(), "wgrad", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// `wgrad man`
pub(super) fn manual(args: &ManArgs) -> Result<()> {
    std::fs::create_dir_all(&args.folder).map_err(Error::io("create", &args.folder))?;
    let command = Cli::command();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut pages = vec![("wgrad".to_string(), command.clone())];
    pages.extend(commands.map(|subcommand| (format!("wgrad-{}", subcommand.get_name()), subcommand.clone())));
    for (name, command) in pages {
        let page = clap_mangen::Man::new(command.name(name.clone()).version(env!("CARGO_PKG_VERSION")));
        files::write_atomic(&args.folder.join(format!("{name}.1")), |mut file| page.render(&mut file))?;
    }
    Ok(())
}
