//! The command `crds-fs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crds_fs::main()
}
