//! The mapping of errors to errno, which is nowhere else.

use std::io;

use rustix::io::Errno;

use crate::fetch::{FetchError, FetchErrorKind};
use crate::remote::{RemoteError, RemoteErrorKind};
use crate::resolve::ResolveError;
use crate::store::StoreError;

use super::error::Error;

/// The errno with which a caller is answered.
pub(crate) fn errno(error: &Error) -> i32 {
    number(error).raw_os_error()
}

fn number(error: &Error) -> Errno {
    match error {
        Error::NotFound => Errno::NOENT,
        Error::Fetch(error) => fetch(error),
        Error::CatalogLoading(_) => Errno::TIMEDOUT,
        Error::Resolve(error) => resolve(error),
        Error::Store(error) => store(error),
        Error::ReadOnly => Errno::ROFS,
        Error::Immutable(_) | Error::NotPermitted(_) => Errno::PERM,
        Error::BadFile(_) | Error::NotLocked(_) => Errno::ACCESS,
        Error::Exists => Errno::EXIST,
        Error::NotEmpty => Errno::NOTEMPTY,
        Error::NotDirectory => Errno::NOTDIR,
        Error::IsDirectory => Errno::ISDIR,
        Error::Invalid(_) => Errno::INVAL,
        Error::Stale => Errno::STALE,
        Error::Unsupported(_) => Errno::OPNOTSUPP,
        Error::BadHandle => Errno::BADF,
        Error::NoAttribute => Errno::NODATA,
        Error::NoAttributes => Errno::NOSYS,
        Error::Local { source, .. } => system(source),
        // Of the system, not of the caller, who may have no other file open.
        Error::TooManyOpen { .. } => Errno::NFILE,
        Error::ShuttingDown => Errno::SHUTDOWN,
    }
}

fn system(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(match error.kind() {
        io::ErrorKind::NotFound => Errno::NOENT,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        io::ErrorKind::AlreadyExists => Errno::EXIST,
        io::ErrorKind::InvalidInput => Errno::INVAL,
        io::ErrorKind::StorageFull => Errno::NOSPC,
        _ => Errno::IO,
    })
}

fn store(error: &StoreError) -> Errno {
    match error {
        StoreError::NoSpace(_) => Errno::NOSPC,
        StoreError::Io { source, .. } => system(source),
        StoreError::InUse { .. } | StoreError::IsShared => Errno::BUSY,
        StoreError::Format { .. } | StoreError::NoState => Errno::IO,
        StoreError::Overridden(_) => Errno::EXIST,
        StoreError::ReadOnly => Errno::ROFS,
        StoreError::Wrong { .. } => Errno::BADMSG,
    }
}

fn fetch(error: &FetchError) -> Errno {
    match error.kind {
        FetchErrorKind::NotInCatalog => Errno::NOENT,
        FetchErrorKind::Unreachable => Errno::HOSTUNREACH,
        FetchErrorKind::TimedOut => Errno::TIMEDOUT,
        FetchErrorKind::Offline => Errno::NETDOWN,
        FetchErrorKind::Denied => Errno::ACCESS,
        FetchErrorKind::Gone => Errno::NODATA,
        FetchErrorKind::ServerTrouble => Errno::REMOTEIO,
        FetchErrorKind::Corrupt => Errno::BADMSG,
        FetchErrorKind::NoSpace => Errno::NOSPC,
        FetchErrorKind::ShuttingDown => Errno::SHUTDOWN,
        FetchErrorKind::Store => match error.source.as_deref() {
            Some(StoreError::ReadOnly) => Errno::ROFS,
            _ => Errno::IO,
        },
    }
}

fn resolve(error: &ResolveError) -> Errno {
    match error {
        ResolveError::UnknownContext { .. }
        | ResolveError::UnknownDataset { .. }
        | ResolveError::BadDatasetName(_)
        | ResolveError::NotComputable { .. }
        | ResolveError::Incomplete { .. } => Errno::NOENT,
        ResolveError::Fetch(error) => fetch(error),
        ResolveError::Remote(error) => remote(error),
        ResolveError::Offline { .. } => Errno::NETDOWN,
        ResolveError::Panicked { .. } => Errno::IO,
        ResolveError::ShuttingDown => Errno::SHUTDOWN,
    }
}

fn remote(error: &RemoteError) -> Errno {
    match error.kind {
        RemoteErrorKind::Unreachable => Errno::HOSTUNREACH,
        RemoteErrorKind::TimedOut => Errno::TIMEDOUT,
        RemoteErrorKind::Offline => Errno::NETDOWN,
        RemoteErrorKind::Denied => Errno::ACCESS,
        RemoteErrorKind::NotFound => Errno::NODATA,
        RemoteErrorKind::Interrupted
        | RemoteErrorKind::NoSuchRange
        | RemoteErrorKind::Busy
        | RemoteErrorKind::Server
        | RemoteErrorKind::Protocol
        | RemoteErrorKind::Rpc => Errno::REMOTEIO,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn fetching(kind: FetchErrorKind) -> Error {
        Error::Fetch(FetchError {
            kind,
            subject: "jwst/x.fits".into(),
            url: None,
            message: "why".into(),
            remedy: None,
            hint: None,
            source: None,
        })
    }

    fn asking(kind: RemoteErrorKind) -> Error {
        Error::Resolve(ResolveError::Remote(RemoteError::new(
            kind,
            "http://crds.test",
            "why",
        )))
    }

    fn absent(text: &str) -> (String, String) {
        (text.into(), text.into())
    }

    /// The rows of the table of errors that users are promised, by the name of the number.
    #[test]
    fn every_row_of_the_table() {
        let (dataset, text) = absent("X");
        let full = io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        for (error, expected) in [
            (Error::NotFound, Errno::NOENT),
            (fetching(FetchErrorKind::NotInCatalog), Errno::NOENT),
            (
                Error::Resolve(ResolveError::UnknownDataset { dataset, text }),
                Errno::NOENT,
            ),
            (fetching(FetchErrorKind::Unreachable), Errno::HOSTUNREACH),
            (asking(RemoteErrorKind::Unreachable), Errno::HOSTUNREACH),
            (fetching(FetchErrorKind::TimedOut), Errno::TIMEDOUT),
            (asking(RemoteErrorKind::TimedOut), Errno::TIMEDOUT),
            (
                Error::CatalogLoading(crate::crds::Observatory::Jwst),
                Errno::TIMEDOUT,
            ),
            (fetching(FetchErrorKind::Offline), Errno::NETDOWN),
            (asking(RemoteErrorKind::Offline), Errno::NETDOWN),
            (fetching(FetchErrorKind::Denied), Errno::ACCESS),
            (asking(RemoteErrorKind::Denied), Errno::ACCESS),
            (Error::BadFile("bad".into()), Errno::ACCESS),
            (Error::NotLocked("x".into()), Errno::ACCESS),
            (fetching(FetchErrorKind::Gone), Errno::NODATA),
            (asking(RemoteErrorKind::NotFound), Errno::NODATA),
            (fetching(FetchErrorKind::ServerTrouble), Errno::REMOTEIO),
            (asking(RemoteErrorKind::Busy), Errno::REMOTEIO),
            (asking(RemoteErrorKind::Server), Errno::REMOTEIO),
            (asking(RemoteErrorKind::Protocol), Errno::REMOTEIO),
            (asking(RemoteErrorKind::Rpc), Errno::REMOTEIO),
            (fetching(FetchErrorKind::Corrupt), Errno::BADMSG),
            (fetching(FetchErrorKind::NoSpace), Errno::NOSPC),
            (
                Error::local("write", std::path::Path::new("x"))(full),
                Errno::NOSPC,
            ),
            (fetching(FetchErrorKind::ShuttingDown), Errno::SHUTDOWN),
            (Error::Resolve(ResolveError::ShuttingDown), Errno::SHUTDOWN),
            (Error::ShuttingDown, Errno::SHUTDOWN),
            (Error::ReadOnly, Errno::ROFS),
            (Error::NotPermitted("no"), Errno::PERM),
            (Error::NoAttributes, Errno::NOSYS),
            (Error::Unsupported("no"), Errno::OPNOTSUPP),
        ] {
            assert_eq!(errno(&error), expected.raw_os_error(), "{error:?}");
        }
    }

    #[test]
    fn an_error_of_the_system_keeps_its_number() {
        let source = Arc::new(io::Error::from_raw_os_error(Errno::DQUOT.raw_os_error()));
        let error = Error::Local {
            doing: "write",
            path: "x".into(),
            source,
        };
        assert_eq!(errno(&error), Errno::DQUOT.raw_os_error());
        let error = Error::local("open", std::path::Path::new("x"))(io::ErrorKind::PermissionDenied.into());
        assert_eq!(errno(&error), Errno::ACCESS.raw_os_error());
    }
}
