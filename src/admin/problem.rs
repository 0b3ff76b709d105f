//! What the admin listener answers instead: `application/problem+json`
//! (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode, Uri};

use super::operations::OperationError;

/// A refusal, with a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    /// The request says something impossible.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A response to a refusal of this status, with the challenge that belongs
    /// to it.
    pub(super) fn challenging(&self, mut response: Response) -> Response {
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3; RFC 9110 §11.6.1 requires the field with every 401.
            let challenge = HeaderValue::from_static("Bearer realm=\"pannier\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// What the request names is not there.
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let status = match error {
            OperationError::NoRedis => StatusCode::CONFLICT,
            OperationError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, document.to_string()).into_response();
        let fields = response.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        self.challenging(response)
    }
}

/// For paths that are not in the table.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::missing(format!(
        "there is no {}; /openapi.json lists what there is",
        uri.path()
    ))
}

/// For paths that are, with another method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} does not take {method}; see /openapi.json for what it takes",
            uri.path()
        ),
    )
}
