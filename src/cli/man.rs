//! `crds-fs man`: the manual pages, made of the help texts.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::{Failure, output};

/// Write the manual pages, crds-fs(1) and one for each command, or print the first of them
///
/// Install them for yourself: crds-fs man ~/.local/share/man/man1
///
/// Read one at once: crds-fs man | man -l -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The directory to write them to, made if it is missing.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Writes or prints the pages of `program`, the whole command line.
pub(super) fn run(args: &Args, program: clap::Command) -> Result<(), Failure> {
    let Some(directory) = &args.directory else {
        let mut out = std::io::stdout().lock();
        let written = Man::new(program).render(&mut out).and_then(|()| out.flush());
        return Ok(written.map_err(output::OutputError::from)?);
    };
    let failed = |path: &Path, error| Failure::because(format!("cannot write {}", path.display()), error);
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for page in pages(program) {
        let path = directory.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)
            .and_then(|()| fs::write(&path, &text))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The page of the program, and those of its commands.
fn pages(mut program: clap::Command) -> Vec<Man> {
    // Gives each command its full name.
    program.build();
    let is_shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    let commands: Vec<_> = program.get_subcommands().filter(is_shown).cloned().collect();
    std::iter::once(program).chain(commands).map(Man::new).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::CommandLine;

    #[test]
    fn each_command_has_a_page_with_its_options() {
        let there = tempfile::tempdir().unwrap();
        let directory = there.path().join("man1");
        let args = Args {
            directory: Some(directory.clone()),
        };
        run(&args, CommandLine::command()).unwrap();
        let command = CommandLine::command();
        let mut names: BTreeSet<_> = command
            .get_subcommands()
            .map(|command| format!("crds-fs-{}.1", command.get_name()))
            .collect();
        names.insert("crds-fs.1".to_owned());
        let written = fs::read_dir(&directory).unwrap();
        let written: BTreeSet<_> = written
            .map(|page| page.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(written, names);
        let page = fs::read_to_string(directory.join("crds-fs-mount.1")).unwrap();
        assert!(
            page.contains("crds\\-fs\\-mount 1") || page.contains("crds-fs-mount 1"),
            "{page}"
        );
        assert!(page.contains("\\-\\-keep\\-free"));
    }
}
