//! The observatory and the context that a command works with, as a client with a connection would choose them.

use std::path::{Path, PathBuf};

use super::python::Packages;
use crate::cli::settings::{Environment, Settings};
use crate::cli::target::Opened;
use crate::crds::{BuildVersion, ContextSpec, FileName, LockFile, Observatory};
use crate::dataset::{self, Format};

/// A command that is about to run.
pub(in crate::cli) struct Job<'a> {
    /// The program and its arguments; nothing for those of a shell that is to come.
    pub(in crate::cli) command: &'a [String],
    /// The dataset files among them.
    pub(in crate::cli) files: &'a [PathBuf],
    /// The only files that may be used, if that is so.
    pub(in crate::cli) lock: Option<&'a LockFile>,
}

/// The observatory and the literal context, as far as they can be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct InForce {
    pub(in crate::cli) observatory: Option<Observatory>,
    pub(in crate::cli) context: Option<FileName>,
    /// A remark for the user about the choice.
    pub(in crate::cli) remark: Option<String>,
}

impl InForce {
    /// The observatory is that of the settings, if there is one only, else of the context that they name, of the lock, of the
    /// command's flags, of the first dataset file, or of the only calibration package of the command's Python. The context
    /// is that of the lock, else of the settings, else for JWST that of the installed release, else the latest.
    pub(in crate::cli) async fn find(
        job: &Job<'_>,
        target: &Opened,
        settings: &Settings,
        environment: &Environment,
    ) -> Self {
        let packages = Packages::of(job.command.first().map(String::as_str), environment);
        let Some(observatory) = observatory(job, target, settings, &packages) else {
            return Self::default();
        };
        if let Some(context) = job.lock.and_then(|lock| lock.contexts.get(&observatory)) {
            return Self {
                observatory: Some(observatory),
                context: Some(context.clone()),
                remark: None,
            };
        }
        let named = settings.context.as_ref().and_then(|spec| of(spec, observatory));
        // The mount's own default is what 'latest' means in it.
        let is_chosen = named.is_some() || target.has_own_context(observatory);
        let release = packages
            .jwst
            .filter(|_| observatory == Observatory::Jwst && !is_chosen);
        let mut remark = None;
        let mut context = None;
        if let Some(release) = release {
            match literal(target, &build(Observatory::Jwst, &release)).await {
                Ok(found) => context = Some(found),
                Err(why) => {
                    remark = Some(format!(
                        "the context of jwst {release} is not known ({why}): the latest one is used"
                    ));
                }
            }
        }
        if context.is_none() {
            let spec = named.unwrap_or_else(|| format!("{observatory}-latest"));
            match literal(target, &spec).await {
                Ok(found) => context = Some(found),
                Err(why) => {
                    remark = Some(format!(
                        "CRDS_CONTEXT is not set: the context is not known ({why})"
                    ));
                }
            }
        }
        Self {
            observatory: Some(observatory),
            context,
            remark,
        }
    }
}

/// The text of a context as one of this observatory, if it can be.
fn of(spec: &ContextSpec, observatory: Observatory) -> Option<String> {
    match (spec.observatory(), spec) {
        (Some(named), _) => (named == observatory).then(|| spec.to_string()),
        (None, ContextSpec::Symbolic(_)) => Some(format!("{observatory}-{spec}")),
        (None, ContextSpec::Literal(_)) => None,
    }
}

/// The context of a release of the calibration package of an observatory, as the client chooses it.
pub(in crate::cli) fn build(observatory: Observatory, release: &str) -> String {
    if release.contains("dev") {
        return format!("{observatory}-edit");
    }
    // Digits and dots, as the client asks for it.
    let end = release.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let release = release.get(..end.unwrap_or(release.len())).unwrap_or_default();
    match release.trim_end_matches('.').parse::<BuildVersion>() {
        Ok(version) => format!("{observatory}-build-{version}"),
        Err(_) => format!("{observatory}-latest"),
    }
}

async fn literal(target: &Opened, spec: &str) -> Result<FileName, String> {
    let spec = spec.parse::<ContextSpec>().map_err(|error| error.to_string())?;
    let found = target.context(&spec).await;
    found.map(|key| key.name).map_err(|failure| failure.to_string())
}

fn observatory(
    job: &Job<'_>,
    target: &Opened,
    settings: &Settings,
    packages: &Packages,
) -> Option<Observatory> {
    let only = match (&settings.observatories[..], target.observatories()) {
        ([only], _) | (_, [only]) => Some(*only),
        _ => None,
    };
    let of_lock = || {
        let mut contexts = job.lock?.contexts.keys();
        contexts.next().filter(|_| contexts.next().is_none()).copied()
    };
    let of_flags = || {
        let flags = job.command.iter().filter_map(|word| word.strip_prefix("--"));
        let mut named =
            flags.filter_map(|flag| Observatory::ALL.into_iter().find(|known| known.as_str() == flag));
        named.next()
    };
    let of_files = || {
        let header = dataset::read(job.files.first()?, None).ok()?;
        Some(header.observatory())
    };
    let of_packages = || match (&packages.jwst, &packages.romancal) {
        (Some(_), None) => Some(Observatory::Jwst),
        (None, Some(_)) => Some(Observatory::Roman),
        _ => None,
    };
    only.or_else(|| settings.context.as_ref()?.observatory())
        .or_else(of_lock)
        .or_else(of_flags)
        .or_else(of_files)
        .or_else(of_packages)
}

/// The dataset files among the arguments of a command: those that are there, by their names; of an association its members.
pub(in crate::cli) fn dataset_files(arguments: &[String]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for argument in arguments {
        let value = match argument.split_once('=') {
            Some((_, value)) if argument.starts_with('-') => value,
            _ => argument,
        };
        let path = Path::new(value);
        if !path.is_file() {
            continue;
        }
        if value.ends_with("_asn.json") {
            files.extend(members(path));
        } else if matches!(
            Format::of_name(path),
            Some(Format::Fits | Format::Asdf | Format::Geis)
        ) {
            files.push(path.to_owned());
        }
    }
    files.sort();
    files.dedup();
    files
}

/// The files that an association names and that lie beside it.
fn members(association: &Path) -> Vec<PathBuf> {
    let read = || -> Option<Vec<PathBuf>> {
        let file = dataset::open_regular(association).ok()?;
        let text = dataset::read_text(&file, 16 << 20).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).ok()?;
        let directory = association.parent().unwrap_or(Path::new(""));
        let products = value.get("products")?.as_array()?.iter();
        let members = products
            .filter_map(|product| product.get("members")?.as_array())
            .flatten();
        let names = members.filter_map(|member| member.get("expname")?.as_str());
        Some(
            names
                .map(|name| directory.join(name))
                .filter(|path| path.is_file())
                .collect(),
        )
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_context_that_the_client_asks_for() {
        for (release, spec) in [
            ("1.18.0", "jwst-build-1.18.0"),
            ("1.18.1.dev12+g1234", "jwst-edit"),
            ("1.18.0rc1", "jwst-build-1.18.0"),
            ("nonsense", "jwst-latest"),
        ] {
            assert_eq!(build(Observatory::Jwst, release), spec);
        }
    }

    #[test]
    fn a_context_of_the_settings_is_one_of_the_observatory_or_none() {
        for (spec, expected) in [
            ("jwst_1322.pmap", Some("jwst_1322.pmap")),
            ("latest", Some("jwst-latest")),
            ("2026-01-01", Some("jwst-2026-01-01")),
            ("hst-latest", None),
        ] {
            let spec: ContextSpec = spec.parse().unwrap();
            assert_eq!(of(&spec, Observatory::Jwst).as_deref(), expected, "{spec}");
        }
    }

    #[test]
    fn dataset_files_are_found_among_arguments() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        for name in ["a_uncal.fits", "b.asdf", "c.txt", "d.json", "e_cal.fits"] {
            std::fs::write(path(name), "").unwrap();
        }
        let members =
            r#"{"products": [{"members": [{"expname": "e_cal.fits"}, {"expname": "not-here.fits"}]}]}"#;
        std::fs::write(path("x_asn.json"), members).unwrap();
        let arguments = [
            "calwebb".to_owned(),
            format!("--input={}", path("b.asdf")),
            path("a_uncal.fits"),
            path("a_uncal.fits"),
            path("c.txt"),
            path("d.json"),
            path("missing.fits"),
            path("x_asn.json"),
        ];
        let found: Vec<String> = dataset_files(&arguments)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(found, [path("a_uncal.fits"), path("b.asdf"), path("e_cal.fits")]);
    }
}
