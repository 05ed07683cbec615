//! Requests from their head to the last byte of their answer.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, SizeHint};

use super::access_log::Entry;
use super::reply::Came;
use super::slots::UnderWay;
use super::traffic::{Kind, Traffic};

/// The status in the log of a request whose client left before there was an answer, as nginx has it.
const LEFT: u16 = 499;

/// The longest path in the log, in bytes.
const MAX_PATH: usize = 1024;

/// A request; it is counted and logged when this is dropped.
pub(super) struct Watched {
    traffic: Arc<Traffic>,
    kind: Kind,
    begun: Instant,
    entry: Entry,
    _under_way: UnderWay,
}

impl Watched {
    /// A request whose head has come. Of its target the path alone is kept.
    pub(super) fn begin<B>(
        traffic: &Arc<Traffic>,
        client: IpAddr,
        request: &Request<B>,
        under_way: UnderWay,
    ) -> Self {
        let path = request.uri().path();
        Self {
            traffic: Arc::clone(traffic),
            kind: Kind::of(path),
            begun: Instant::now(),
            entry: Entry {
                when: SystemTime::now(),
                client,
                method: request.method().to_string(),
                path: path.chars().take(MAX_PATH).collect(),
                status: LEFT,
                bytes: 0,
                seconds: 0.0,
                came: None,
            },
            _under_way: under_way,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.entry.seconds = self.begun.elapsed().as_secs_f64();
        self.traffic.ended(self.kind, &self.entry);
    }
}

/// The body of an answer, whose bytes are counted.
pub(super) struct Watching {
    body: Body,
    watched: Watched,
}

impl Watching {
    /// An answer whose end is the end of the request.
    pub(super) fn over(response: Response<Body>, mut watched: Watched) -> Response<Self> {
        watched.entry.status = response.status().as_u16();
        watched.entry.came = response.extensions().get::<Came>().map(|came| came.as_str());
        response.map(|body| Self { body, watched })
    }
}

impl HttpBody for Watching {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.watched.entry.bytes += data.len() as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
