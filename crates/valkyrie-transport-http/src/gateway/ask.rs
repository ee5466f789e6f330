//! What the fields of a request say: how long its client waits, what trace it belongs to, what it may do.

use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use valkyrie_frame::ErrorCode;

use super::upstream::{BearerToken, Failure, Metadata};

/// What came with a call.
pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Failure> {
    Ok(Metadata {
        // A traceparent that makes no sense is no reason to refuse a call: the specification has it ignored.
        trace_context: text(headers, &TRACEPARENT).and_then(trace_context),
        token: token(headers)?,
        content_type: text(headers, &CONTENT_TYPE).map(str::to_owned),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn invalid(text: String) -> Failure {
    Failure::new(ErrorCode::INVALID_ARGUMENT, text)
}

fn token(headers: &HeaderMap) -> Result<Option<BearerToken>, Failure> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    // A scheme that is not understood must not pass for no credentials: the caller thinks it has shown some.
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token.filter(|token| !token.is_empty()) {
        Some(token) => Ok(Some(BearerToken::new(token))),
        None => Err(Failure::new(
            ErrorCode::UNAUTHENTICATED,
            "the Authorization field is not a Bearer token, and nothing else is understood here",
        )),
    }
}

/// How long the client waits.
//= protocol/transports.md#gateway
pub(super) fn timeout(headers: &HeaderMap) -> Result<Duration, Failure> {
    let timeout = if let Some(value) = headers.get(&VALKYRIE_TIMEOUT) {
        value.to_str().ok().and_then(plain_timeout)
    } else if let Some(value) = headers.get(&GRPC_TIMEOUT) {
        value.to_str().ok().and_then(grpc_timeout)
    } else {
        return Ok(TIMEOUT_DEFAULT);
    };
    match timeout {
        Some(timeout) if timeout <= TIMEOUT_MAX => Ok(timeout),
        Some(_) => Err(invalid(format!("a call may take {TIMEOUT_MAX:?} at most"))),
        None => Err(invalid(
            "the timeout makes no sense; write valkyrie-timeout as 250ms, 30s or 5m, or grpc-timeout as 250m"
                .to_owned(),
        )),
    }
}

/// `250ms`, `30s`, `5m`, `1h`: a number of at most eight digits and a unit.
fn plain_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    Some(Duration::from_millis(number(digits)?.checked_mul(millis)?))
}

/// As gRPC has it: a number of at most eight digits and one of the letters H, M, S, m, u, n.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number = number(text.strip_suffix(unit)?)?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

fn number(digits: &str) -> Option<u64> {
    let well_formed = matches!(digits.len(), 1..=8) && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().ok()).flatten()
}

/// The binary form of a W3C `traceparent`: version, trace id, parent id and flags are the same fields in hex.
//= protocol/extensions.md#registry
pub(super) fn trace_context(text: &str) -> Option<[u8; 26]> {
    let mut fields = text.trim().split('-');
    let version = fields.next()?;
    let (trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let lengths = (version.len(), trace.len(), parent.len(), flags.len());
    // A later version may have more fields; version 00 has none, and ff is not one.
    if lengths != (2, 32, 16, 2) || version == "ff" || version == "00" && fields.next().is_some() {
        return None;
    }
    let mut context = [0; 26];
    let hex = [version, trace, parent, flags].concat();
    for (byte, pair) in context.iter_mut().zip(hex.as_bytes().chunks(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    let some = |range: std::ops::Range<usize>| {
        context
            .get(range)
            .is_some_and(|id| id.iter().any(|&byte| byte != 0))
    };
    (some(1..17) && some(17..25)).then_some(context)
}

/// Whether the client wants the answers as events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value.split(',').any(|each| {
                each.split(';')
                    .next()
                    .is_some_and(|each| each.trim() == "text/event-stream")
            })
        })
    })
}

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static VALKYRIE_TIMEOUT: HeaderName = HeaderName::from_static("valkyrie-timeout");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long a call may take whose client does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The longest a client may wait.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
