//! Interim responses on their way to a client (RFC 9110 §15.2, RFC 8297).

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};

use super::fields::strip_hop_by_hop;
use super::targeted::PANNIER_CACHE_CONTROL;

/// What carries interim responses of one connection.
pub trait InterimSink: Send + Sync {
    /// Passes one on to the client of request `ordinal` (from one), if it has
    /// no final response yet.
    fn tell(&self, ordinal: u64, status: StatusCode, fields: &HeaderMap);
}

/// The way of interim responses to the client of one request.
#[derive(Clone)]
pub struct Interim {
    sink: Arc<dyn InterimSink>,
    ordinal: u64,
}

impl Interim {
    /// The way to the client of request `ordinal` of a connection.
    #[must_use]
    pub fn new(sink: Arc<dyn InterimSink>, ordinal: u64) -> Self {
        Self { sink, ordinal }
    }

    /// Passes one on: never `100`, which answers an expectation of ours alone,
    /// nor `101`, which is a final answer to an offer.
    pub fn tell(&self, status: StatusCode, fields: &HeaderMap) {
        if !status.is_informational() || matches!(status.as_u16(), 100 | 101) {
            return;
        }
        let mut fields = fields.clone();
        strip_hop_by_hop(&mut fields);
        for name in NOT_INTERIM {
            fields.remove(name);
        }
        self.sink.tell(self.ordinal, status, &fields);
    }
}

/// No interim response has content, and none speaks to us.
const NOT_INTERIM: [HeaderName; 2] = [http::header::CONTENT_LENGTH, PANNIER_CACHE_CONTROL];

impl fmt::Debug for Interim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Interim({})", self.ordinal)
    }
}
