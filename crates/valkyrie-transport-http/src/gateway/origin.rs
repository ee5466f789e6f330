//! Which web pages may call, and what browsers are told about it (CORS).

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};

/// What a request's Origin means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// There is none: no browser, or no other page's doing.
    None,
    /// A page of the gateway's own origin.
    Own,
    /// A page that may call, and is to be told so by this value.
    Allowed(HeaderValue),
    /// A page that may not.
    Refused,
}

/// Judges the Origin of a request. Browsers send one with everything that is not a plain GET, whoever wrote the page.
pub(super) fn page(headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> Page {
    let Some(origin) = headers.get(ORIGIN) else {
        return Page::None;
    };
    let Ok(text) = origin.to_str() else {
        return Page::Refused;
    };
    if allowed.iter().any(|each| each == "*") {
        return Page::Allowed(HeaderValue::from_static("*"));
    }
    if allowed.iter().any(|each| each.eq_ignore_ascii_case(text)) {
        return Page::Allowed(origin.clone());
    }
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok()));
    let own = text
        .split_once("://")
        .is_some_and(|(_, origin)| host.is_some_and(|host| host.eq_ignore_ascii_case(origin)));
    if own { Page::Own } else { Page::Refused }
}

/// Tells the browser that the page may read the answer.
pub(super) fn tell(page: &Page, response: &mut Response<Body>) {
    if let Page::Allowed(origin) = page {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// The answer to a browser that asks whether it may ask.
pub(super) fn preflight(page: &Page) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    tell(page, &mut response);
    if let Page::Allowed(_) = page {
        let headers = response.headers_mut();
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        );
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ASKABLE));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
    }
    response
}

/// The fields that a page may send.
const ASKABLE: &str =
    "authorization, content-type, accept, traceparent, tracestate, valkyrie-timeout, grpc-timeout";

/// How long a browser may remember the answer. Chromium takes two hours at most.
const MAX_AGE_SECONDS: &str = "7200";
