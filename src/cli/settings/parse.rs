//! Texts as values. The caller puts the name of the flag or variable before the text of an error.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::civil::date;
use nix::unistd::{Group, User};

use crate::crds::{ContextSpec, FileKind, Observatory};
use crate::remote::{EndpointError, ServerSetting, SourceError, SourceSetting, TierError, TierSetting};
use crate::serve::LogFormat;
use crate::tree::BestrefsAs;

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands beside texts that can be wrong"
)]
pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn from_str<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|error: T::Err| {
        let why = error.to_string();
        if why.contains(text.trim()) {
            why
        } else {
            format!("'{text}': {why}")
        }
    })
}

/// A default context: a `.pmap`, or a name or date that means one (spec/crds-service 5).
pub(super) fn context(text: &str) -> Result<ContextSpec, String> {
    let spec: ContextSpec = from_str(text)?;
    let whole = match &spec {
        ContextSpec::Literal(name) => name.kind() == FileKind::Pmap,
        ContextSpec::Symbolic(symbolic) => symbolic.part.is_none(),
    };
    if whole {
        Ok(spec)
    } else {
        Err(format!(
            "'{spec}' is a part of a context; a default context is a .pmap"
        ))
    }
}

/// Truth values as the Python client reads them (spec/crds-service 8.2).
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text.trim() {
        "1" | "true" | "t" | "True" | "TRUE" | "T" => Ok(true),
        "0" | "false" | "f" | "False" | "FALSE" | "F" => Ok(false),
        _ => Err(format!(
            "'{text}' is neither true (1, true, t) nor false (0, false, f)"
        )),
    }
}

/// A number of bytes: `4096`, `100G`, `1.5T`, in powers of 1024; `GB` and `GiB` are `G`.
pub(in crate::cli) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size such as 500M, 100G or 1.5T");
    let text = text.trim();
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit)
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 6 || (number.contains('.') && (fraction.is_empty() || power == 0)) {
        return Err(wrong());
    }
    let unit = 1_u128 << (10 * power);
    let whole: u128 = whole.parse().map_err(|_| wrong())?;
    let fraction: u128 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    let bytes = whole
        .checked_mul(unit)
        .and_then(|whole| whole.checked_add(fraction * unit / 1_000_000));
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or_else(wrong)
}

/// The most bytes in the cache: as [`size`], but not nothing.
pub(super) fn cache_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err(format!(
            "'{text}' leaves no room for any file: give a size such as 100G, or leave it out for no limit"
        )),
        bytes => Ok(bytes),
    }
}

/// A user by number or by name.
pub(super) fn user(text: &str) -> Result<u32, String> {
    id(text, "user", |name| {
        let user = User::from_name(name).map_err(|errno| errno.to_string())?;
        Ok(user.map(|user| user.uid.as_raw()))
    })
}

/// A group by number or by name.
pub(super) fn group(text: &str) -> Result<u32, String> {
    id(text, "group", |name| {
        let group = Group::from_name(name).map_err(|errno| errno.to_string())?;
        Ok(group.map(|group| group.gid.as_raw()))
    })
}

fn id(text: &str, what: &str, find: impl FnOnce(&str) -> Result<Option<u32>, String>) -> Result<u32, String> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match find(text) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!("there is no {what} '{text}' on this machine")),
        Err(why) => Err(format!("the {what} '{text}' cannot be looked up: {why}")),
    }
}

/// A time span with units: `10min`, `1h 30s`; zero needs none. Months and years are those of a common year.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    match text.parse::<u64>() {
        Ok(0) => return Ok(Duration::ZERO),
        Ok(number) => {
            return Err(format!(
                "'{text}' has no unit: write {number}s, {number}min or {number}h"
            ));
        }
        Err(_) => {}
    }
    text.parse::<Span>()
        .and_then(|span| span.to_duration(date(2001, 1, 1)))
        .and_then(Duration::try_from)
        .map_err(|_| format!("'{text}' is not a time span such as 30s, 10min or 2h"))
}

/// A time limit: as [`duration`], but not nothing, with which everything fails.
pub(super) fn time_limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit.is_zero() {
        return Err(format!(
            "'{text}' leaves no time for anything: give a time span such as 30s or 5min"
        ));
    }
    Ok(limit)
}

pub(super) fn jobs(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err(format!("'{text}' is not a number from 1 to 256")),
    }
}

pub(super) fn streams(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err(format!("'{text}' is not a number from 1 to 64")),
    }
}

pub(super) fn bestrefs_as(text: &str) -> Result<BestrefsAs, String> {
    match text.trim() {
        "link" => Ok(BestrefsAs::Link),
        "file" => Ok(BestrefsAs::File),
        _ => Err(format!("'{text}' is neither link nor file")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.trim() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("'{text}' is neither text nor json")),
    }
}

/// The number of times that a switch is given that may be given twice.
pub(super) fn times(text: &str) -> Result<u8, String> {
    match text.trim() {
        "2" => Ok(2),
        once => truth(once)
            .map(u8::from)
            .map_err(|why| format!("{why}, nor 2, which is twice")),
    }
}

pub(super) fn umask(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text.trim(), 8) {
        Ok(mask @ 0..=0o777) => Ok(mask),
        _ => Err(format!("'{text}' is not a mask of permission bits such as 022")),
    }
}

pub(super) fn observatories(text: &str) -> Result<Vec<Observatory>, String> {
    let mut list = Vec::new();
    for name in text
        .split([',', ':'])
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let observatory = from_str(name)?;
        if !list.contains(&observatory) {
            list.push(observatory);
        }
    }
    if list.is_empty() {
        Err("it names no observatory".into())
    } else {
        Ok(list)
    }
}

/// A server. The text may hold a password, which no error repeats.
pub(super) fn server(text: &str) -> Result<ServerSetting, String> {
    text.trim()
        .parse()
        .map_err(|error: EndpointError| error.to_string())
}

/// A source of files. The text may hold a password, which no error repeats.
pub(super) fn source(text: &str) -> Result<SourceSetting, String> {
    text.parse().map_err(|error: SourceError| error.to_string())
}

/// The tier. The text may hold a password, which no error repeats.
pub(super) fn tier(text: &str) -> Result<TierSetting, String> {
    text.parse().map_err(|error: TierError| error.to_string())
}

/// Whether a URL stands for "no server" (spec/crds-service 8.1).
pub(in crate::cli) fn is_serverless(url: &str) -> bool {
    url.contains("serverless") || url.contains("server-less")
}
