//! Answers: what a call gave, or why it gave nothing.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use serde_json::json;
use valkyrie_frame::ErrorCode;

use super::upstream::Failure;
use crate::problem::PROBLEM_JSON;

/// What a call gave. It is JSON where it was asked in JSON: a service says nothing of types.
pub(super) fn success(body: Bytes, json: bool) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let kind = HeaderValue::from_static(if json { JSON } else { BYTES });
    response.headers_mut().insert(CONTENT_TYPE, kind);
    // What a service answers is not to be taken for a page.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Whether a type of content is JSON, or one that JSON carries.
pub(super) fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(JSON)
        || kind
            .get(kind.len().saturating_sub(5)..)
            .is_some_and(|end| end.eq_ignore_ascii_case("+json"))
}

/// Why a call gave nothing.
//= protocol/errors.md#codes
pub(super) fn failure(failure: &Failure) -> Response<Body> {
    let status = match failure.code {
        // A failure that says that all is well is none of the codes.
        ErrorCode::OK => StatusCode::INTERNAL_SERVER_ERROR,
        code => StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = problem(status, &failure_json(failure, status));
    if let Some(after) = failure.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    response
}

/// The same within a stream of events.
pub(super) fn failure_json(failure: &Failure, status: StatusCode) -> serde_json::Value {
    let mut problem = json!({
        "type": "about:blank",
        "title": failure.code.name().unwrap_or("unknown"),
        "status": status.as_u16(),
        "detail": failure.text,
        "code": failure.code.value(),
    });
    if let (Some(after), Some(problem)) = (failure.retry_after, problem.as_object_mut()) {
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        problem.insert("retry_after_ms".to_owned(), millis.into());
    }
    problem
}

/// A request that no call came of.
pub(super) fn refusal(status: StatusCode, detail: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Refused");
    let json = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    problem(status, &json)
}

/// The method is not the path's.
pub(super) fn not_allowed(allowed: &'static str) -> Response<Body> {
    let detail = format!("this path takes {allowed}");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &detail);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn problem(status: StatusCode, json: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(PROBLEM_JSON);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Whole seconds, as the field has them; never so few that the client comes too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

pub(super) const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
