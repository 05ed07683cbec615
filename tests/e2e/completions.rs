//! Completion in bash.

use std::process::Command;

use crate::outputs::done;
use crate::rig::program;

/// Asks the script for the last of these words.
fn completed(script: &str, words: &[&str]) -> String {
    let (last, previous) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{script}\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _crds__fs crds-fs '{last}' '{previous}'; echo \"${{COMPREPLY[*]}}\""
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &ask, "bash"]).args(words);
    done(&bash.output().unwrap())
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let script = done(&program().args(["completions", "bash"]).output().unwrap());
    for (words, expected) in [
        (&["crds-fs", "verif"][..], "verify\n"),
        (&["crds-fs", "verify", "--rep"], "--repair\n"),
        (&["crds-fs", "mount", "--prefetch", ""], "rules none\n"),
        (&["crds-fs", "mount", "--bestrefs-as", "l"], "link\n"),
        (&["crds-fs", "mount", "--observatory", "r"], "roman\n"),
        (
            &["crds-fs", "run", "--context", "jwst"],
            "jwst-latest jwst-edit\n",
        ),
        (
            &["crds-fs", "diff", "--server", "roman"],
            "roman=https://roman-crds.stsci.edu\n",
        ),
    ] {
        assert_eq!(completed(&script, words), expected, "{words:?}");
    }
}
