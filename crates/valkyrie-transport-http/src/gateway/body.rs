//! The body of a request, whole and bounded in bytes and time.

use std::time::Duration;

use axum::body::HttpBody;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

/// A body that did not arrive.
#[derive(Debug)]
pub(super) struct NoBody {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

pub(super) async fn read<B>(body: B, bytes_max: usize, time_max: Duration) -> Result<Bytes, NoBody>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let hint = body.size_hint();
    if hint.upper() == Some(0) {
        return Ok(Bytes::new());
    }
    let too_large = || NoBody {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        why: format!("a body has {bytes_max} bytes at most"),
    };
    // One that says how long it will be is not waited for.
    if hint.lower() > bytes_max as u64 {
        return Err(too_large());
    }
    match timeout(time_max, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if is_too_long(&*error) => Err(too_large()),
        Ok(Err(_)) => Err(NoBody {
            status: StatusCode::BAD_REQUEST,
            why: "the body ended in the middle".to_owned(),
        }),
        Err(_) => Err(NoBody {
            status: StatusCode::REQUEST_TIMEOUT,
            why: format!("the body did not arrive within {time_max:?}"),
        }),
    }
}

fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(each) = error {
        if each.is::<LengthLimitError>() {
            return true;
        }
        error = each.source();
    }
    false
}
