//! The sources of files: where one is asked for, in which order, and what is known of each source.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::error::FetchError;
use crate::crds::{CatalogEntry, FileKey, Observatory, ReferenceLayout, ServerInfo, Url};
use crate::remote::{ByteRange, Hint, RemoteError, RemoteErrorKind, SourcePlace};

mod states;

#[cfg(test)]
pub(crate) use states::SourceHealth;
pub(super) use states::SourceStates;
#[cfg(test)]
pub(super) use states::{FIRST_PAUSE, LEFT_ALONE};
pub(crate) use states::{SourceStatus, WrongFile};

/// The time without a byte after which a tier is given up: others have what it has.
pub(super) const TIER_PATIENCE: Duration = Duration::from_secs(5);

/// A file at a source that may have it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The number of the source in the order of the settings.
    pub(super) number: usize,
    /// The URL of the file there.
    pub(super) url: Url,
    /// The layout of the source, if it has the file there.
    pub(super) layout: ReferenceLayout,
    /// The URL of the file in the other layout, as long as it is not known which one the source has.
    pub(super) other: Option<(ReferenceLayout, Url)>,
    /// Whether it is the tier, which may not have it, and whose failures are nobody's.
    pub(super) is_tier: bool,
}

impl Source {
    /// Whether the file may have this URL there.
    pub(super) fn has(&self, url: &str) -> bool {
        let other = self.other.iter().map(|(_, url)| url);
        std::iter::once(&self.url)
            .chain(other)
            .any(|own| own.as_str() == url)
    }

    /// The same source in the other layout, where it did not have the file in this one.
    pub(super) fn in_other_layout(&self, error: &RemoteError) -> Option<Self> {
        let (layout, url) = self.other.as_ref().filter(|_| is_absence(error))?;
        Some(Self {
            number: self.number,
            url: url.clone(),
            layout: *layout,
            other: None,
            is_tier: self.is_tier,
        })
    }
}

/// The places where a file may be had.
pub(super) struct Located {
    /// The entry of the catalog in force.
    pub(super) entry: CatalogEntry,
    /// Its sources in the order in which they are asked; one at least.
    pub(super) sources: Vec<Source>,
}

impl Inner {
    /// The catalog entry of a file, and its sources in order, those that are left alone last.
    ///
    /// Where no source is the server's, the current catalog will do; else it must be one of the server in force, or, where
    /// there is none, the server is left out.
    pub(super) async fn locate(self: &Arc<Self>, key: &FileKey) -> Result<Located, FetchError> {
        let current = self.catalogs.current(key.observatory);
        let info = match current {
            Some(info) if self.endpoints.own_url(key).is_some() => info,
            current => match (self.catalogs.in_force(key.observatory).wait().await, current) {
                (Ok(info), _) => info,
                (Err(_), Some(info)) if self.has_own_sources(key.observatory) => info,
                (Err(error), _) => return Err(error.about(key)),
            },
        };
        let entry = info.catalog().get(key.name.as_str());
        let entry = entry.ok_or_else(|| FetchError::not_in_catalog(key))?;
        let (mut sources, failure) = self.sources(key, Some(&info));
        if sources.is_empty() {
            return Err(failure.map_or_else(
                || FetchError::offline(key),
                |error| FetchError::remote(key, &error),
            ));
        }
        if let Some(error) = self.outage(key, &sources) {
            return Err(error);
        }
        self.probe_tier(key, &sources);
        self.order(key.observatory, &mut sources);
        let is_taken = |first: &Source| self.source_states.try_now(key.observatory, first.number);
        if !sources.first().is_some_and(is_taken) {
            // Another transfer tries it.
            self.order(key.observatory, &mut sources);
        }
        Ok(Located { entry, sources })
    }

    /// The failure of a file all of whose sources were found dead a moment ago, where that counts for all files.
    fn outage(&self, key: &FileKey, sources: &[Source]) -> Option<FetchError> {
        let outage = self.settings.outage;
        let failures = sources
            .iter()
            .map(|source| self.source_states.outage(key.observatory, source.number, outage));
        let last = failures.collect::<Option<Vec<_>>>()?.pop()?;
        let url = &sources.last()?.url;
        Some(FetchError::remote(key, &last).at(url))
    }

    /// Moves the sources that are left alone behind the others.
    fn order(&self, observatory: Observatory, sources: &mut [Source]) {
        sources.sort_by_cached_key(|source| self.source_states.is_left_alone(observatory, source.number));
    }

    /// Tries the tier in the background if it has failed and its time is over.
    fn probe_tier(self: &Arc<Self>, key: &FileKey, sources: &[Source]) {
        let observatory = key.observatory;
        let states = &self.source_states;
        let Some(tier) = sources.first().filter(|source| source.is_tier) else {
            return;
        };
        if !states.is_failing(observatory, tier.number) || !states.try_now(observatory, tier.number) {
            return;
        }
        let (inner, url, number) = (Arc::clone(self), tier.url.clone(), tier.number);
        self.tasks.spawn_on(
            async move {
                let first = ByteRange {
                    start: 0,
                    end: Some(1),
                };
                let asked = tokio::select! {
                    asked = inner.origin.get(&url, Some(first), None) => asked,
                    () = tokio::time::sleep(TIER_PATIENCE) => Err(silent(&url)),
                    () = inner.end.cancelled() => return,
                };
                match asked {
                    Err(error) if is_of_source(&error) => {
                        inner.source_states.note_failure(observatory, number, &error);
                    }
                    _ => inner.source_states.note_answer(observatory, number),
                }
            },
            &self.runtime,
        );
    }

    /// The URL at which a file is looked for first, as far as it is known without asking anybody.
    pub(super) fn first_url(&self, key: &FileKey) -> Option<Url> {
        let info = self.catalogs.current(key.observatory);
        let (mut sources, _) = self.sources(key, info.as_deref());
        self.order(key.observatory, &mut sources);
        // The tier may not have the file.
        let other = sources.iter().find(|source| !source.is_tier);
        other.or(sources.first()).map(|source| source.url.clone())
    }

    /// Whether files of this observatory come from places that the user names.
    pub(super) fn has_own_sources(&self, observatory: Observatory) -> bool {
        let sources = self.endpoints.sources(observatory);
        sources.iter().any(|(_, place)| **place != SourcePlace::Server)
    }

    /// The states of the sources of an observatory's files, in the order of the settings.
    pub(super) fn source_statuses(&self, observatory: Observatory) -> Vec<SourceStatus> {
        let tier = self.endpoints.tier().map(|(number, _)| number);
        let places = self.endpoints.sources(observatory).into_iter();
        places
            .map(|(number, place)| SourceStatus {
                is_tier: tier == Some(number),
                ..self.source_states.status(observatory, number, place.to_string())
            })
            .collect()
    }

    /// The sources of a file in the order of the settings. Without a description of the server, or where it does not tell
    /// the file's place, those that need none; and the reason.
    fn sources(&self, key: &FileKey, info: Option<&ServerInfo>) -> (Vec<Source>, Option<RemoteError>) {
        let (mut sources, mut failure) = (Vec::new(), None);
        let tier = self.endpoints.tier().map(|(number, _)| number);
        for (number, place) in self.endpoints.sources(key.observatory) {
            let of_server = match (place, info) {
                (SourcePlace::Server, Some(info)) => self.endpoints.server_file_url(info, &key.name),
                (SourcePlace::Server, None) => self.endpoints.own_url(key).map(Ok),
                _ => None,
            };
            match of_server {
                Some(Ok(url)) => sources.push(Source {
                    number,
                    url,
                    layout: ReferenceLayout::Flat,
                    other: None,
                    is_tier: false,
                }),
                Some(Err(error)) => failure = Some(error.into()),
                None => {
                    let is_tier = tier == Some(number);
                    let layout = self.source_states.layout(key.observatory, number);
                    let mut urls = place.file_urls(key, layout).into_iter();
                    if let Some((layout, url)) = urls.next() {
                        let other = urls.next();
                        sources.push(Source {
                            number,
                            url,
                            layout,
                            other,
                            is_tier,
                        });
                    }
                }
            }
        }
        (sources, failure)
    }
}

/// The failure of a tier that does not answer.
fn silent(url: &Url) -> RemoteError {
    let message = format!("no answer for {} s", TIER_PATIENCE.as_secs());
    RemoteError::new(RemoteErrorKind::TimedOut, url, message)
}

/// Whether a failure says that a source does not have a file. A bucket that may not be listed denies what is not there.
pub(super) fn is_absence(error: &RemoteError) -> bool {
    let is_absent = matches!(error.kind, RemoteErrorKind::NotFound | RemoteErrorKind::Denied);
    is_absent && !is_of_source(error)
}

/// Whether a failure is one of the source, not of the one file that was asked for.
pub(super) fn is_of_source(error: &RemoteError) -> bool {
    match error.kind {
        _ if matches!(error.hint, Some(Hint::NoBucket | Hint::Credentials)) => true,
        _ if error.hint == Some(Hint::Behind) => false,
        RemoteErrorKind::Unreachable
        | RemoteErrorKind::TimedOut
        | RemoteErrorKind::Interrupted
        | RemoteErrorKind::Busy
        | RemoteErrorKind::Server
        | RemoteErrorKind::Protocol => true,
        RemoteErrorKind::Denied
        | RemoteErrorKind::NotFound
        | RemoteErrorKind::NoSuchRange
        | RemoteErrorKind::Rpc
        | RemoteErrorKind::Offline => false,
    }
}

/// The bytes of a file that came from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// The URL of the source.
    pub url: Url,
    /// The number of bytes.
    pub bytes: u64,
}

/// Counts bytes of a file that came from `url`.
pub(super) fn add_served(served: &mut Vec<Served>, url: &Url, bytes: u64) {
    if bytes == 0 {
        return;
    }
    match served.iter_mut().find(|source| source.url == *url) {
        Some(source) => source.bytes += bytes,
        None => served.push(Served {
            url: url.clone(),
            bytes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_source_and_of_a_file() {
        let failure = |kind, hint: Option<Hint>| {
            let error = RemoteError::new(kind, "s3://bucket/x", "told to fail");
            let error = hint.map_or(error.clone(), |hint| error.with_hint(hint));
            (is_of_source(&error), is_absence(&error))
        };
        for (kind, hint, of_source, absent) in [
            (RemoteErrorKind::NotFound, None, false, true),
            (RemoteErrorKind::Denied, None, false, true),
            (RemoteErrorKind::NotFound, Some(Hint::NoBucket), true, false),
            (RemoteErrorKind::Denied, Some(Hint::Credentials), true, false),
            (RemoteErrorKind::Server, None, true, false),
            (RemoteErrorKind::Server, Some(Hint::Behind), false, false),
            (RemoteErrorKind::TimedOut, Some(Hint::Behind), false, false),
            (RemoteErrorKind::NoSuchRange, None, false, false),
        ] {
            assert_eq!(
                failure(kind, hint.clone()),
                (of_source, absent),
                "{kind:?} {hint:?}"
            );
        }
    }
}
