//! The faults, and what an open ends with under each of them.

use std::sync::LazyLock;

use libc::{EACCES, EBADMSG, EHOSTUNREACH, ENODATA, ENOENT, EREMOTEIO, ETIMEDOUT};

use crate::origin::{Behaviour, Content, encoded};

/// The number and the size of the files that are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// One file that comes in one request.
    Small,
    /// Small files at the same time.
    Many,
    /// One file that comes in parts.
    Large,
}

/// The part of each file that is in the store before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nothing.
    Cold,
    /// Half of each file, from before a restart.
    Half,
    /// All.
    Cached,
}

pub(crate) const SHAPES: [Shape; 3] = [Shape::Small, Shape::Many, Shape::Large];

/// Opening works, and what is read is right.
pub(crate) const WELL: i32 = 0;

/// The misbehaviour of the server.
pub(crate) enum What {
    /// The requests for files of this size are answered so, one by one; the last behaviour stays.
    Files(fn(usize) -> Vec<Behaviour>),
    /// Nobody listens any more.
    Port,
    /// JSON-RPC calls are answered so.
    Calls(Behaviour),
    /// The server says something else; the names are those of the files that are opened.
    Says(fn(&mut Content, &[String])),
    /// This is the result of the call for the server's description of itself.
    Describes(fn() -> String),
}

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) what: What,
    cold: i32,
    half: i32,
    cached: i32,
    /// Other errnos, for some shapes in some states.
    except: &'static [(Shape, State, i32)],
}

impl Fault {
    /// The errno of every open, or [`WELL`].
    pub(crate) fn expected(&self, shape: Shape, state: State) -> i32 {
        let exception = self
            .except
            .iter()
            .find(|(of, when, _)| (*of, *when) == (shape, state));
        match (exception, state) {
            (Some((_, _, errno)), _) => *errno,
            (None, State::Cold) => self.cold,
            (None, State::Half) => self.half,
            (None, State::Cached) => self.cached,
        }
    }

    const fn except(self, except: &'static [(Shape, State, i32)]) -> Self {
        Self { except, ..self }
    }
}

/// A fault of the server that files come from: what is cached does not need it.
const fn files(name: &'static str, errno: i32, what: fn(usize) -> Vec<Behaviour>) -> Fault {
    says(name, [errno, errno, WELL], What::Files(what))
}

/// A fault of the service: who knows the catalog does not need it.
const fn calls(name: &'static str, errno: i32, behaviour: Behaviour) -> Fault {
    says(name, [errno, WELL, WELL], What::Calls(behaviour))
}

const fn describes(name: &'static str, result: fn() -> String) -> Fault {
    says(name, [EREMOTEIO, WELL, WELL], What::Describes(result))
}

const fn says(name: &'static str, [cold, half, cached]: [i32; 3], what: What) -> Fault {
    Fault {
        name,
        what,
        cold,
        half,
        cached,
        except: &[],
    }
}

/// The byte at which things happen: beyond what is there of a file that is half done.
const fn at(size: usize) -> usize {
    size / 4 * 3
}

/// A request for a whole file does not ask for a range.
const NO_RANGES: &[(Shape, State, i32)] = &[
    (Shape::Small, State::Cold, WELL),
    (Shape::Many, State::Cold, WELL),
    // So small they come whole, and nothing of them is left by a mount that ended.
    (Shape::Many, State::Half, WELL),
];

/// Nothing goes wrong: what the table's other rows are compared with.
pub(crate) static CONTROL: Fault = files("no fault", WELL, |_| vec![Behaviour::Well]);

/// Faults of what files come from.
pub(crate) static FILES: LazyLock<Vec<Fault>> = LazyLock::new(|| {
    use Behaviour as B;
    vec![
        says(
            "connection refused",
            [EHOSTUNREACH, EHOSTUNREACH, WELL],
            What::Port,
        ),
        files("404", ENODATA, |_| vec![B::Status(404)]),
        files("410", ENODATA, |_| vec![B::Status(410)]),
        files("401", EACCES, |_| vec![B::Status(401)]),
        files("403", EACCES, |_| vec![B::Status(403)]),
        files("500", EREMOTEIO, |_| vec![B::Status(500)]),
        files("503 twice", WELL, |_| {
            vec![B::Status(503), B::Status(503), B::Well]
        }),
        files("429, Retry-After 1 s, for good", EREMOTEIO, |_| {
            vec![too_many_requests(u32::MAX)]
        }),
        files("429, Retry-After 1 s, once", WELL, |_| vec![too_many_requests(1)]),
        files("no answer", EREMOTEIO, |_| vec![B::Hang]),
        files("stall before the head", ETIMEDOUT, |_| vec![B::StallBeforeHead]),
        files("stall at byte n", ETIMEDOUT, |size| vec![B::StallAt(at(size))]),
        files("stall at byte n, once", WELL, |size| {
            vec![B::StallAt(at(size)), B::Well]
        }),
        files("reset at byte n", EREMOTEIO, |size| vec![B::ResetAt(at(size))]),
        files("reset at byte n, once", WELL, |size| {
            vec![B::ResetAt(at(size)), B::Well]
        }),
        files("truncated", EREMOTEIO, |size| vec![B::CloseAt(at(size))]),
        files("truncated once", WELL, |size| vec![B::CloseAt(at(size)), B::Well]),
        files("truncated, without ranges", EREMOTEIO, |size| {
            vec![B::IgnoreRangeDrop(at(size))]
        }),
        files("longer than the catalog says", EBADMSG, |_| vec![B::Extend(1000)]),
        files("a short body", EBADMSG, |size| vec![B::Truncate(at(size))]),
        files("a flipped byte", EBADMSG, |size| vec![B::Flip(at(size))]),
        files("a flipped byte, same validator", EBADMSG, |size| {
            vec![B::FlipUnseen(at(size))]
        }),
        files("a flipped byte, once", WELL, |size| {
            vec![B::Flip(at(size)), B::Well]
        }),
        files("a login page", EREMOTEIO, |_| vec![B::Html]),
        files("a redirect to a login page", EREMOTEIO, |_| {
            vec![B::Redirect("/login")]
        }),
        files("ranges ignored", WELL, |_| vec![B::IgnoreRange]),
        files("no validator", WELL, |_| vec![B::NoValidators]),
        files("a wrong Content-Range", EREMOTEIO, |_| vec![B::WrongContentRange]).except(NO_RANGES),
        files("a range without Content-Range", EREMOTEIO, |_| {
            vec![B::NoContentRange]
        })
        .except(NO_RANGES),
        files("the bytes of another range", WELL, |_| vec![B::ShiftedRange]),
        files("another validator each time", WELL, |_| vec![B::ChangingEtag]),
        files("another validator each time, truncated", EREMOTEIO, |size| {
            vec![B::ChangingEtagDrop(size / 8)]
        }),
        files("redirects in a circle", EREMOTEIO, |_| {
            vec![B::Redirect("/again/{name}")]
        }),
        files("a redirect to another host", WELL, |_| {
            vec![B::Redirect("http://localhost:{port}/plain/{name}")]
        }),
        files("a redirect to ftp", EREMOTEIO, |_| {
            vec![B::Redirect("ftp://127.0.0.1:{port}/plain/{name}")]
        }),
        files("a redirect to a file", EREMOTEIO, |_| {
            vec![B::Redirect("file:///etc/passwd")]
        }),
        files("a byte a second", ETIMEDOUT, |_| {
            vec![B::Drip {
                bytes: 1,
                every: std::time::Duration::from_secs(1),
            }]
        }),
        files("chunked, without a length", WELL, |_| vec![B::Chunked]),
        files("chunked, truncated", EREMOTEIO, |size| {
            vec![B::ChunkedDrop(at(size))]
        }),
        files("without a length, truncated", EBADMSG, |size| {
            vec![B::CloseAfter(at(size))]
        }),
        files("headers without end", EREMOTEIO, |_| vec![B::EndlessHead]),
        files("a compressed bomb", EREMOTEIO, |_| vec![B::Bomb]),
    ]
});

const fn too_many_requests(times: u32) -> Behaviour {
    Behaviour::StatusTimes {
        status: 429,
        times,
        retry_after: Some(1),
    }
}

/// Faults of the service and of what it says.
pub(crate) static SERVICE: LazyLock<Vec<Fault>> = LazyLock::new(|| {
    use Behaviour as B;
    const UNREACHABLE: [i32; 3] = [EHOSTUNREACH, EHOSTUNREACH, WELL];
    vec![
        says(
            "a host without an address",
            UNREACHABLE,
            What::Says(|content, _| {
                // A label this long is refused without asking anybody.
                content.told = Some(format!("http://{}.invalid/roman", "x".repeat(64)));
            }),
        ),
        says(
            "no TLS spoken",
            UNREACHABLE,
            What::Says(|content, _| content.told = Some("https://127.0.0.1:{port}/roman".to_owned())),
        ),
        says(
            "the catalog lies about the size",
            [EBADMSG; 3],
            What::Says(|content, names| {
                for name in names {
                    let blob = &content.files[name];
                    let lie = (name.clone(), blob.len() as u64 + 1, blob.sha1().to_owned());
                    content.phantoms.push(lie);
                }
            }),
        ),
        says(
            "the catalog lies about the SHA-1",
            [EBADMSG; 3],
            What::Says(|content, names| {
                for name in names {
                    let size = content.files[name].len() as u64;
                    content.phantoms.push((name.clone(), size, "12".repeat(20)));
                }
            }),
        ),
        // A copy of a file that no catalog names any more is a file like the user's own.
        says(
            "the catalog shrinks",
            [ENOENT, ENOENT, WELL],
            What::Says(|content, names| content.files.retain(|name, _| !names.contains(name))),
        ),
        says(
            "names that are none",
            [WELL; 3],
            What::Says(|content, _| {
                for name in [
                    "..",
                    ".",
                    "",
                    "../../escaped",
                    "/escaped",
                    "a/b.asdf",
                    "nul\0.asdf",
                    "new\nline.asdf",
                    ".hidden",
                    "..\\..\\escaped",
                    "\u{202e}.asdf",
                ] {
                    content.phantoms.push((name.to_owned(), 10, "34".repeat(20)));
                }
            }),
        ),
        calls("RPC: 503", EREMOTEIO, B::Status(503)),
        calls("RPC: no answer", EREMOTEIO, B::Hang),
        calls("RPC: stall", ETIMEDOUT, B::StallBeforeHead),
        calls("RPC: a web page", EREMOTEIO, B::Html),
        calls("RPC: truncated", EREMOTEIO, B::DropAfter(100)),
        calls("RPC: headers without end", EREMOTEIO, B::EndlessHead),
        calls("RPC: 500 MB", EREMOTEIO, B::Flood(500_000_000)),
        calls("RPC: compressed, a bomb", EREMOTEIO, B::Bomb),
        describes("RPC: a number", || "17".to_owned()),
        describes("RPC: nothing that is known", || r#"{"a": [1, 2]}"#.to_owned()),
        describes("RPC: a catalog of blanks", || BLANKS.clone()),
        describes("RPC: deep JSON", || {
            "[".repeat(1_000_000) + &"]".repeat(1_000_000)
        }),
    ]
});

/// A description of blanks, more than any may have, in few bytes.
static BLANKS: LazyLock<String> = LazyLock::new(|| {
    let encoded = encoded(&vec![b' '; 70_000_000]);
    format!(r#"{{"observatory": "roman", "download_metadata": {encoded}}}"#)
});
