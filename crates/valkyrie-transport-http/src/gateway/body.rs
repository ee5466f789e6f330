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
    B: HttpBody<Data = Bytes> + Unpin,
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
    match timeout(time_max, whole(Limited::new(body, bytes_max))).await {
        Ok(Ok(bytes)) => Ok(bytes),
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

/// All of a body. Most come in one piece, which is handed on as it is.
async fn whole<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) -> Result<Bytes, B::Error> {
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await.transpose()? {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.is_empty() {
            first = data;
        } else if !data.is_empty() {
            let rest = body.collect().await?.to_bytes();
            return Ok([first, data, rest].concat().into());
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(first)
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Frame;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    struct Pieces(VecDeque<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    async fn read_pieces(pieces: &[&'static str], bytes_max: usize) -> Result<Bytes, StatusCode> {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes()));
        let read = read(Pieces(pieces.collect()), bytes_max, Duration::from_secs(1)).await;
        read.map_err(|none| none.status)
    }

    #[tokio::test]
    async fn a_body_is_its_pieces_one_after_the_other() {
        for (pieces, whole) in [
            (&[][..], ""),
            (&["one"], "one"),
            (&["", "one", "", "two", "", "three", ""], "onetwothree"),
        ] {
            assert_eq!(read_pieces(pieces, 11).await.unwrap(), whole, "{pieces:?}");
        }
        for pieces in [&["four"][..], &["one", "two"], &["", "1", "2", "3", "4"]] {
            assert_eq!(
                read_pieces(pieces, 3).await,
                Err(StatusCode::PAYLOAD_TOO_LARGE),
                "{pieces:?}"
            );
        }
    }
}
