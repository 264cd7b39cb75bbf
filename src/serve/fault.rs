//! What a client is told when it gets no prediction.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An error as clients get it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What is wrong, and what to do.
    #[schema(example = "the image: cannot be decoded (unexpected end of file)")]
    error: String,
}

/// A request that fails.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Whether what is left of the request is not worth waiting for.
    pub(super) hang_up: bool,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        Fault { status, message: message.into(), hang_up: false }
    }

    /// The server has too much to do.
    pub(super) fn busy(what: &str) -> Fault {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}; try again in a second"))
    }

    /// Ends the connection after the answer.
    pub(super) fn hang_up(self) -> Fault {
        Fault { hang_up: true, ..self }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Problem { error: self.message })).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.hang_up {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
