//! The calibration packages of the Python that a command runs with, found by looking at files, without running anything.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::settings::Environment;

/// So much of a script is read for its first lines, in bytes.
const HEAD: u64 = 4096;

/// Versions of installed calibration packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Packages {
    pub(in crate::cli) jwst: Option<String>,
    pub(in crate::cli) romancal: Option<String>,
}

impl Packages {
    /// Those that `program` would import: of the Python that it is, or that its first line names; else of the environment
    /// that is active, else of the Python of the search path.
    pub(in crate::cli) fn of(program: Option<&str>, environment: &Environment) -> Self {
        let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
        let own = program.and_then(|program| interpreter(program, path));
        if let Some(own) = own {
            return Self::beside(&own);
        }
        let active = ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .iter()
            .find_map(|name| environment.get(*name))
            .map(|prefix| Path::new(prefix).join("bin/python"));
        let on_path = || ["python", "python3"].iter().find_map(|name| find(name, path));
        active
            .or_else(on_path)
            .map(|python| Self::beside(&python))
            .unwrap_or_default()
    }

    /// Those installed for an interpreter. Environments have links to an interpreter elsewhere: their own packages first.
    fn beside(interpreter: &Path) -> Self {
        let resolved = interpreter.canonicalize().ok();
        let places = [Some(interpreter), resolved.as_deref()];
        let found = places.into_iter().flatten().map(Self::below);
        found
            .into_iter()
            .find(|packages| *packages != Self::default())
            .unwrap_or_default()
    }

    /// Those in the library of `PREFIX/bin/python`.
    fn below(interpreter: &Path) -> Self {
        let mut packages = Self::default();
        let Some(prefix) = interpreter.parent().and_then(Path::parent) else {
            return packages;
        };
        let entries = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
        for library in entries(prefix.join("lib")) {
            if !library.file_name().to_string_lossy().starts_with("python3") {
                continue;
            }
            for entry in entries(library.path().join("site-packages")) {
                let name = entry.file_name();
                if let Some((package, version)) = distribution(&name) {
                    match package {
                        "jwst" => packages.jwst = Some(version.to_owned()),
                        "romancal" => packages.romancal = Some(version.to_owned()),
                        _ => {}
                    }
                }
            }
        }
        packages
    }
}

/// Package and version in the name of a directory that pip makes: `jwst-1.18.0.dist-info`.
fn distribution(name: &OsStr) -> Option<(&str, &str)> {
    name.to_str()?.strip_suffix(".dist-info")?.split_once('-')
}

/// The Python that a program is, or that runs it.
fn interpreter(program: &str, path: &str) -> Option<PathBuf> {
    let program = find(program, path)?;
    if is_python(&program) {
        return Some(program);
    }
    let mut head = Vec::new();
    File::open(&program)
        .ok()?
        .take(HEAD)
        .read_to_end(&mut head)
        .ok()?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut words = lines.next()?.strip_prefix("#!")?.split_whitespace();
    let first = Path::new(words.next()?);
    if is_python(first) {
        return find(first.to_str()?, path);
    }
    if first.file_name() == Some(OsStr::new("env")) {
        let named = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        return find(named, path).filter(|found| is_python(found));
    }
    // A path that is too long for the first line, as pip writes it: #!/bin/sh, '''exec' /the/path/python "$0" "$@"
    let exec = lines.next()?.strip_prefix("'''exec' ")?;
    let named = exec.strip_suffix(" \"$0\" \"$@\"")?.trim_matches('"');
    find(named, path).filter(|found| is_python(found))
}

/// A program as a shell finds it.
fn find(program: &str, path: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is_program);
    }
    let directories = path.split(':').filter(|directory| !directory.is_empty());
    directories
        .map(|directory| Path::new(directory).join(program))
        .find(is_program)
}

/// Whether the name is that of a Python interpreter: `python`, `python3`, `python3.12`.
fn is_python(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    let version = name.and_then(|name| name.strip_prefix("python"));
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with an environment of Python, and a script of it.
    fn environment() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("env/bin");
        fs::create_dir_all(&bin).unwrap();
        for package in ["jwst-1.18.0", "jwst_extra-2.0", "romancal-0.17.0.dev3+gabc"] {
            let packages = root.path().join("env/lib/python3.12/site-packages");
            fs::create_dir_all(packages.join(format!("{package}.dist-info"))).unwrap();
        }
        program(&bin.join("python3"), "");
        root
    }

    fn program(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn packages_are_those_of_the_commands_own_python() {
        let root = environment();
        let bin = root.path().join("env/bin");
        let python = bin.join("python3");
        let both = Packages {
            jwst: Some("1.18.0".into()),
            romancal: Some("0.17.0.dev3+gabc".into()),
        };
        let search: Environment = [("PATH".to_owned(), bin.display().to_string())].into();
        let empty = Environment::new();
        for (text, environment) in [
            (format!("#!{}\nimport jwst\n", python.display()), &empty),
            ("#!/usr/bin/env python3\n".to_owned(), &search),
            ("#!/usr/bin/env -S python3 -u\n".to_owned(), &search),
            (
                format!(
                    "#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n",
                    python.display()
                ),
                &empty,
            ),
        ] {
            let script = root.path().join("strun");
            program(&script, &text);
            assert_eq!(Packages::of(script.to_str(), environment), both, "{text}");
        }
        assert_eq!(Packages::of(python.to_str(), &empty), both);
        assert_eq!(Packages::of(Some("python3"), &search), both);
        assert_eq!(Packages::of(Some("no-such-command"), &search), both);
        assert_eq!(Packages::of(Some("no-such-command"), &empty), Packages::default());
        let script = root.path().join("script");
        program(&script, "#!/bin/sh\npython3\n");
        let active: Environment = [(
            "VIRTUAL_ENV".to_owned(),
            root.path().join("env").display().to_string(),
        )]
        .into();
        assert_eq!(Packages::of(script.to_str(), &active), both);
    }
}
