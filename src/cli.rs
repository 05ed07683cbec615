//! The command line: one file per subcommand, which parses arguments, calls the layers below, and prints.
//!
//! Exit status 0 is done, 1 failed, 2 wrong usage, 3 something changed (`--check` alone). To add a subcommand: a file with `Args` and
//! `run(Args) -> Result<(), Failure>`, and a variant of [`Command`].

mod allocator;
mod bestrefs;
mod cache_dirs;
mod cache_rules;
mod client;
mod completions;
mod context;
mod contexts;
mod daemon_main;
mod demo;
mod diff;
mod directories;
mod doctor;
mod env;
mod evict;
pub(crate) mod failure;
mod fetch;
mod files_report;
mod flags;
mod hold;
mod lock_files;
mod logging;
mod man;
mod mount;
mod mount_helper;
pub(crate) mod output;
mod ready_message;
mod reference_filter;
mod rule_source;
mod run;
mod selection;
mod serve;
mod settings;
mod status;
mod suggestions;
mod target;
mod umount;
mod upkeep;
mod verify;
mod wiring;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

pub(crate) use failure::Failure;

/// The name of the program.
const NAME: &str = "crds-fs";

/// The CRDS cache as a file system: every rule and reference of HST, JWST and Roman, fetched when opened.
#[derive(Debug, Parser)]
#[command(
    name = NAME,
    version,
    about,
    max_term_width = 110,
    arg_required_else_help = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Mount(mount::Args),
    Umount(umount::Args),
    Env(env::Args),
    Status(status::Args),
    Run(run::Args),
    Fetch(fetch::Args),
    Hold(hold::Args),
    Release(hold::ReleaseArgs),
    Evict(evict::Args),
    Verify(verify::Args),
    Bestrefs(bestrefs::Args),
    Contexts(contexts::Args),
    Context(context::Args),
    Diff(diff::Args),
    Serve(serve::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the command that the process's arguments ask for.
///
/// No thread exists when a subcommand starts, so that it may fork; one that needs an async runtime makes its own.
pub fn main() -> ExitCode {
    if mount_helper::is_called(std::env::args_os().next().as_deref()) {
        return mount_helper::main();
    }
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // Help and version are not errors; clap knows which of the two streams to use.
            let status = u8::from(error.use_stderr()) * failure::USAGE;
            return match error.print() {
                Ok(()) => {
                    run::hint(&error);
                    settings::tell_variable(&error);
                    ExitCode::from(status)
                }
                Err(_) => ExitCode::from(failure::FAILED),
            };
        }
    };
    let outcome = match command {
        Command::Demo(args) => demo::run(&args),
        Command::Mount(args) => mount::run(&args),
        Command::Bestrefs(args) => match bestrefs::run(args) {
            Ok(status) => return ExitCode::from(status),
            Err(failure) => Err(failure),
        },
        Command::Completions(args) => completions::run(&args, CommandLine::command()),
        Command::Doctor(args) => match doctor::run(&args) {
            Ok(status) => return ExitCode::from(status),
            Err(failure) => Err(failure),
        },
        Command::Env(args) => env::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Contexts(args) => contexts::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Evict(args) => evict::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Release(args) => hold::release(&args),
        Command::Man(args) => man::run(&args, CommandLine::command()),
        Command::Run(args) => match run::run(&args) {
            Ok(status) => return ExitCode::from(status),
            Err(failure) => Err(failure),
        },
        Command::Serve(args) => serve::run(args),
        Command::Status(args) => status::run(&args),
        Command::Umount(args) => umount::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            ExitCode::from(failure.status())
        }
    }
}
