//! The load on the institute, and the time, of a job that starts on many nodes at once, by where their files come from.
//!
//!     cargo run --release --example scale -- --nodes 1000 --uplink 10G
//!
//! A simulation: links are shared max-min fairly, and files come as crds-fs asks for them. docs/scale.md says what it takes for
//! granted and how well it agrees with measurements. `--tables` prints the tables of that page.

use std::process::ExitCode;

use clap::Parser;

mod arguments;
mod fluid;
mod job;
mod play;
mod rate;
mod site;
mod tables;

use arguments::Arguments;
use job::Job;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.tables {
        print!("{}", tables::page(&arguments.site(), &Job::real(1.0)));
    } else {
        let table = tables::one(&arguments.site(), &Job::real(arguments.sizes));
        print!("{}", tables::aligned(&table));
    }
    ExitCode::SUCCESS
}
