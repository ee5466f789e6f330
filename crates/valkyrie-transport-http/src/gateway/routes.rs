//! The paths of a gateway, and what becomes of a request to each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use axum::routing::{any, get};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout_at};
use valkyrie_frame::ErrorCode;

use super::answer::{self, JSON};
use super::options::Gateway;
use super::origin::{self, Page};
use super::upstream::{Asked, Failure};
use super::{ask, body, events, openapi};

/// Where a request goes.
pub(super) struct Routes {
    gateway: Arc<Gateway>,
    router: Router,
}

impl Routes {
    pub(super) fn new(gateway: Gateway) -> Self {
        let gateway = Arc::new(gateway);
        Self {
            router: router(Arc::clone(&gateway)),
            gateway,
        }
    }

    /// The answer to a request. Calls, of which there are many, go past axum's table and the boxes that its handlers come in;
    /// everything else is axum's, and so are calls whose names have to be decoded first.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(names) = plain_names(request.uri().path()) {
            return respond(&self.gateway, Some(names), request).await;
        }
        let router = TowerToHyperService::new(self.router.clone());
        let answered = Box::pin(router.call(request)).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

/// The service and the method in the path of a call that has no escapes.
fn plain_names(path: &str) -> Option<(String, String)> {
    let (service, method) = path.strip_prefix(CALLS)?.split_once('/')?;
    let plain = !service.is_empty() && !method.is_empty() && !method.contains('/') && !path.contains('%');
    plain.then(|| (service.to_owned(), method.to_owned()))
}

const CALLS: &str = "/v2/call/";

/// What axum is to do.
fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v2/call/{service}/{method}", any(call))
        .route("/healthz", get(healthz).fallback(get_only))
        .route("/readyz", get(readyz).fallback(get_only))
        .route("/openapi.json", get(openapi).fallback(get_only))
        .fallback(nothing)
        .with_state(gateway)
}

async fn call(
    State(gateway): State<Arc<Gateway>>,
    names: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
    request: Request<Body>,
) -> Response<Body> {
    respond(&gateway, names.ok().map(|Path(names)| names), request).await
}

/// The answer to a call; without names, they are not UTF-8.
//= protocol/transports.md#gateway
async fn respond<B>(gateway: &Gateway, names: Option<(String, String)>, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    let page = origin::page(request.headers(), request.uri(), &gateway.origins);
    if page == Page::Refused {
        let why = "pages of this origin may not call; whoever runs the gateway can allow it";
        return answer::refusal(StatusCode::FORBIDDEN, why);
    }
    if request.method() == Method::OPTIONS {
        return origin::preflight(&page);
    }
    let mut response = match names {
        _ if request.method() != Method::POST => answer::not_allowed("POST, OPTIONS"),
        Some((service, method)) => make(gateway, service, method, request).await,
        None => answer::refusal(StatusCode::BAD_REQUEST, "the names in the path are not UTF-8"),
    };
    origin::tell(&page, &mut response);
    response
}

async fn make<B>(gateway: &Gateway, service: String, method: String, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    let headers = request.headers();
    let wants_events = ask::wants_events(headers);
    let (metadata, timeout) = match (ask::metadata(headers), ask::timeout(headers)) {
        (Ok(metadata), Ok(timeout)) => (metadata, timeout),
        (Err(failure), _) | (_, Err(failure)) => return answer::failure(&failure),
    };
    // The client's time runs from here; what the body takes of it is not the service's.
    let deadline = Instant::now() + timeout;
    let body = match body::read(request.into_body(), gateway.body_bytes_max, gateway.body_time_max).await {
        Ok(body) => body,
        Err(none) => return answer::refusal(none.status, &none.why),
    };
    let json = metadata.content_type.as_deref().is_some_and(answer::is_json);
    let asked = Asked {
        service,
        method,
        metadata,
        body,
        timeout: deadline.saturating_duration_since(Instant::now()),
    };
    if wants_events {
        let opened = timeout_at(deadline, gateway.upstream.stream(asked)).await;
        return match opened.unwrap_or_else(|_| Err(over())) {
            Ok(replies) => events::events(replies, deadline),
            Err(failure) => answer::failure(&failure),
        };
    }
    let answered = timeout_at(deadline, gateway.upstream.call(asked)).await;
    match answered.unwrap_or_else(|_| Err(over())) {
        Ok(body) => answer::success(body, json),
        // The service may say that it was told to stop before the gateway's own clock has gone off.
        Err(failure) if failure.code == ErrorCode::CANCELLED && deadline <= Instant::now() + CLOCK_SLACK => {
            answer::failure(&over())
        }
        Err(failure) => answer::failure(&failure),
    }
}

/// How far the clocks of the gateway and of the service behind it may be apart when the same deadline passes.
const CLOCK_SLACK: Duration = Duration::from_millis(20);

fn over() -> Failure {
    Failure::new(
        ErrorCode::DEADLINE_EXCEEDED,
        "the time that the client allowed is over; whether the call was made is unknown",
    )
}

async fn healthz() -> Response<Body> {
    said("ok\n", TEXT)
}

async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response<Body> {
    match gateway.upstream.unready() {
        None => said("ready\n", TEXT),
        Some(why) => answer::refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

async fn openapi(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response<Body> {
    let page = origin::page(request.headers(), request.uri(), &gateway.origins);
    let document = openapi::document(&gateway.upstream.describe());
    let mut response = said(document.to_string(), JSON);
    origin::tell(&page, &mut response);
    response
}

async fn get_only() -> Response<Body> {
    answer::not_allowed("GET, HEAD")
}

async fn nothing() -> Response<Body> {
    let what = "there is nothing here; calls are POST /v2/call/SERVICE/METHOD, and /openapi.json says which there are";
    answer::refusal(StatusCode::NOT_FOUND, what)
}

fn said(body: impl Into<Body>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
