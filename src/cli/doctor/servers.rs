//! Checks of the servers of the observatories, and of the other places of files.

use std::time::Duration;

use super::check::Check;
use crate::cli::output;
use crate::crds::{FileName, Observatory, ServerInfo, Url, times};
use crate::fetch::remedy;
use crate::machine::shell_word;
use crate::remote::measure::Measure;
use crate::remote::{Hint, RemoteError};

/// A reply that takes longer than this is slow.
const SLOW: Duration = Duration::from_secs(2);

/// One server.
#[derive(Debug)]
pub(super) struct ServerFacts {
    pub(super) observatory: Observatory,
    pub(super) url: Url,
    /// Whether its host has an address; `None` where nobody is asked, or the host is one itself.
    pub(super) address: Option<Result<(), String>>,
    /// The answer; `None` where nobody is asked.
    pub(super) answer: Option<Result<(ServerInfo, Measure), RemoteError>>,
    /// The context of the calibration package that is installed, where there is one.
    pub(super) build: Option<Result<FileName, String>>,
    /// Whether nobody else describes the observatory.
    pub(super) is_needed: bool,
}

impl ServerFacts {
    /// The description that it gave.
    pub(super) fn info(&self) -> Option<&ServerInfo> {
        Some(&self.answer.as_ref()?.as_ref().ok()?.0)
    }

    /// The measurements of its answer.
    pub(super) fn measure(&self) -> Option<&Measure> {
        Some(&self.answer.as_ref()?.as_ref().ok()?.1)
    }
}

/// Another place of files.
#[derive(Debug)]
pub(super) struct SourceFacts {
    /// The setting that names it.
    pub(super) by: String,
    pub(super) url: Url,
    /// The time that it took to answer.
    pub(super) answer: Result<Duration, RemoteError>,
}

pub(super) fn checks(servers: &[ServerFacts], sources: &[SourceFacts]) -> Vec<Check> {
    let servers = servers.iter().map(server);
    servers.chain(sources.iter().map(source)).collect()
}

fn server(facts: &ServerFacts) -> Check {
    let (name, url) = (facts.observatory.as_str(), &facts.url);
    match &facts.answer {
        None => Check::ok(name, "no server is to be asked (offline)"),
        Some(Ok((info, measure))) => {
            let speed = speed(measure);
            let context = info.default_context().map_or("none", FileName::as_str);
            let files = output::files(info.catalog().len() as u64);
            let text = format!("{url} answers in {speed}: {files}, context {context}");
            if measure.whole > SLOW {
                Check::note(name, format!("{text} (slow)"))
            } else {
                Check::ok(name, text)
            }
        }
        Some(Err(error)) => failure(facts, error),
    }
}

fn speed(measure: &Measure) -> String {
    let millis =
        |time: Duration| Duration::from_millis(u64::try_from(time.as_millis().max(1)).unwrap_or(u64::MAX));
    let head = times::friendly(millis(measure.head));
    // Of little that comes at once a rate says nothing.
    let body = measure.whole.saturating_sub(measure.head);
    let bytes = u128::from(measure.bytes) * 1000;
    match body.as_millis() {
        time @ 20.. if measure.bytes > 64 << 10 => {
            let rate = u64::try_from(bytes / time).unwrap_or(u64::MAX);
            format!(
                "{head}, {} at {}/s",
                output::size(measure.bytes),
                output::size(rate)
            )
        }
        _ => head,
    }
}

fn failure(facts: &ServerFacts, error: &RemoteError) -> Check {
    let (observatory, url) = (facts.observatory, &facts.url);
    let advice = remedy::remedy(observatory, url.as_str(), error);
    let text = format!("{url}: {}; {advice}", error.message);
    let check = if facts.is_needed {
        Check::wrong(observatory.as_str(), text)
    } else {
        Check::note(
            observatory.as_str(),
            format!("{text} (a source describes {observatory} as well)"),
        )
    };
    check.mended_by(match remedy::server_setting(observatory, url.as_str(), error) {
        Some(setting) => format!("export CRDS_FS_SERVER={}", shell_word(&setting)),
        None if error.is_of_network() && error.hint != Some(Hint::Certificate) => DO_WITHOUT.to_owned(),
        None => look_closer(url),
    })
}

/// The command after which no server is asked.
const DO_WITHOUT: &str = "export CRDS_FS_OFFLINE=1";

/// The command that shows more where no setting mends it.
fn look_closer(url: &Url) -> String {
    format!("curl -sSv -o /dev/null {}", shell_word(url.as_str()))
}

fn source(facts: &SourceFacts) -> Check {
    let (by, url) = (facts.by.as_str(), &facts.url);
    match &facts.answer {
        Ok(time) => {
            let time = Duration::from_millis(u64::try_from(time.as_millis().max(1)).unwrap_or(u64::MAX));
            Check::ok(by, format!("{url} answers in {}", times::friendly(time)))
        }
        Err(error) => {
            let remedy = if by.starts_with("CRDS_") && !by.starts_with("CRDS_FS_") {
                format!("unset {by}")
            } else {
                look_closer(url)
            };
            Check::wrong(by, format!("{url}: {}", error.message)).mended_by(remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use crate::remote::RemoteErrorKind;

    fn facts(answer: Result<(ServerInfo, Measure), RemoteError>) -> ServerFacts {
        ServerFacts {
            observatory: Observatory::Roman,
            url: Url::new("https://crds.example/roman"),
            address: Some(Ok(())),
            answer: Some(answer),
            build: None,
            is_needed: true,
        }
    }

    fn measure(whole: u64) -> Measure {
        Measure {
            date: None,
            head: Duration::from_millis(30),
            whole: Duration::from_millis(whole),
            bytes: 2 << 20,
        }
    }

    #[test]
    fn an_answer_is_told_with_its_speed() {
        let info = ServerInfo::empty(Observatory::Roman);
        let check = server(&facts(Ok((info.clone(), measure(530)))));
        assert_eq!(check.state, State::Ok);
        assert!(
            check.message.contains("in 30ms, 2.0 MiB at 4.0 MiB/s"),
            "{check:?}"
        );
        assert_eq!(server(&facts(Ok((info, measure(3000))))).state, State::Note);
        let nobody = ServerFacts {
            answer: None,
            ..facts(Err(RemoteError::offline("x")))
        };
        assert_eq!(server(&nobody).state, State::Ok);
    }

    #[test]
    fn a_server_beside_sources_is_not_needed() {
        let beside = ServerFacts {
            is_needed: false,
            ..facts(Err(RemoteError::new(RemoteErrorKind::TimedOut, "x", "no")))
        };
        assert_eq!(server(&beside).state, State::Note);
    }

    #[test]
    fn the_setting_that_mends_a_failure_is_given() {
        let error = |hint| {
            RemoteError::new(RemoteErrorKind::Unreachable, "https://crds.example/roman", "no").with_hint(hint)
        };
        for (hint, remedy) in [
            (
                Hint::NotHttps,
                "export CRDS_FS_SERVER=roman=http://crds.example/roman",
            ),
            (
                Hint::OtherObservatory(Observatory::Hst),
                "export CRDS_FS_SERVER=hst=https://crds.example/roman",
            ),
            (
                Hint::Certificate,
                "curl -sSv -o /dev/null https://crds.example/roman",
            ),
            (Hint::NobodyListens, "export CRDS_FS_OFFLINE=1"),
        ] {
            let check = server(&facts(Err(error(hint))));
            assert_eq!(check.state, State::Wrong);
            assert_eq!(check.remedy.as_deref(), Some(remedy));
        }
    }

    #[test]
    fn sources_that_lead_nowhere() {
        let url = Url::new("file:///nowhere");
        let source_of = |by: &str| SourceFacts {
            by: by.into(),
            url: url.clone(),
            answer: Err(RemoteError::new(
                RemoteErrorKind::NotFound,
                "file:///nowhere",
                "it is not there",
            )),
        };
        let check = source(&source_of("CRDS_REFERENCE_URI"));
        assert_eq!(
            (check.state, check.remedy.as_deref()),
            (State::Wrong, Some("unset CRDS_REFERENCE_URI"))
        );
        let well = SourceFacts {
            answer: Ok(Duration::ZERO),
            ..source_of("--source")
        };
        assert!(source(&well).message.contains("1ms"));
    }
}
