//! `crds-fs completions`: completion of the command line for shells.

use clap_complete::Shell;

use super::{Failure, output};

/// Print the script with which a shell completes crds-fs's commands, options and values
///
/// bash: crds-fs completions bash > ~/.local/share/bash-completion/completions/crds-fs
///
/// zsh: crds-fs completions zsh > ~/.zfunc/_crds-fs (a directory of $fpath)
///
/// fish: crds-fs completions fish > ~/.config/fish/completions/crds-fs.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

/// Prints the script for `program`, the whole command line.
pub(super) fn run(args: &Args, mut program: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, super::NAME, &mut script);
    if args.shell == Shell::Bash {
        script = with_reachable_cases(&String::from_utf8(script)?).into_bytes();
    }
    Ok(output::write(&script)?)
}

/// The script for bash with its cases under the names that it looks for: of a program with a hyphen in its name, as `clap_complete`
/// 4.6 writes it, it finds no command's options.
fn with_reachable_cases(script: &str) -> String {
    let looked_for = super::NAME.replace('-', "__");
    script.replace(&looked_for.replace("__", "__subcmd__"), &looked_for)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, ValueEnum as _};

    use super::*;
    use crate::cli::CommandLine;

    #[test]
    fn each_shell_completes_each_command() {
        CommandLine::command().debug_assert();
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut CommandLine::command(), "crds-fs", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in CommandLine::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
            assert!(script.contains("keep-free"), "{shell}");
            // Of elvish and PowerShell no values are written.
            let has_values = matches!(shell, Shell::Bash | Shell::Zsh | Shell::Fish);
            let missing = ["jwst-latest", "roman=https", "rules"]
                .into_iter()
                .find(|value| has_values && !script.contains(value));
            assert_eq!(missing, None, "{shell}");
        }
    }
}
