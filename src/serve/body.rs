//! From a request to the bytes of an image.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::Fault;
use super::limits;

/// An image file, and its share of the memory for such.
pub(super) struct Upload {
    pub(super) image: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// What a body's type says of it.
enum Kind {
    Image,
    Form,
}

/// Reads the image of a request: its body, or a file in a form. `budget` has a permit for each byte that the server is
/// willing to hold.
pub(super) async fn image(
    request: Request,
    budget: &Arc<Semaphore>,
    time: Duration,
) -> Result<Upload, Fault> {
    let kind = kind(request.headers())?;
    let (parts, body) = request.into_parts();
    let announced = body.size_hint().lower();
    if announced > (limits::BODY + limits::DISCARDED) as u64 {
        return Err(too_large().hang_up());
    }
    let late = |_| {
        let message = format!("the request took longer than {} s to arrive", time.as_secs_f64());
        Fault::new(StatusCode::REQUEST_TIMEOUT, message).hang_up()
    };
    let (bytes, held) = tokio::time::timeout(time, receive(body, budget)).await.map_err(late)??;
    let image = match kind {
        Kind::Image => bytes,
        Kind::Form => file_of(Request::from_parts(parts, Body::from(bytes))).await?,
    };
    if image.is_empty() {
        return Err(Fault::new(StatusCode::BAD_REQUEST, "the request holds no image"));
    }
    Ok(Upload { image, _held: held })
}

fn kind(headers: &HeaderMap) -> Result<Kind, Fault> {
    let unsupported = |message| Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return unsupported("send the image as it is, without a content encoding");
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Kind::Image) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/octet-stream" => Ok(Kind::Image),
        image if image.starts_with("image/") => Ok(Kind::Image),
        "multipart/form-data" => Ok(Kind::Form),
        _ => unsupported(
            "send an image as the body, with a content type of image/... or application/octet-stream, or as a file \
             of a form (multipart/form-data)",
        ),
    }
}

async fn receive(
    mut body: Body,
    budget: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Fault> {
    let (mut bytes, mut held) = (vec![], None::<OwnedSemaphorePermit>);
    while let Some(frame) = next(&mut body).await? {
        if bytes.len() + frame.len() > limits::BODY {
            discard(body).await;
            return Err(too_large().hang_up());
        }
        let permits = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let permit = budget.clone().try_acquire_many_owned(permits);
        let permit = permit.map_err(|_| Fault::busy("too many images are being received").hang_up())?;
        // One for all pieces: a client chooses how many there are.
        match &mut held {
            Some(held) => held.merge(permit),
            None => held = Some(permit),
        }
        bytes.extend_from_slice(&frame);
    }
    Ok((bytes.into(), held))
}

/// The next piece of a body.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.map(|frame| frame.map(|frame| frame.into_data())) {
            None => return Ok(None),
            Some(Ok(Ok(data))) => return Ok(Some(data)),
            // Trailers say nothing about an image.
            Some(Ok(Err(_))) => {}
            Some(Err(error)) => {
                let message = format!("the body is damaged or cut off ({error})");
                return Err(Fault::new(StatusCode::BAD_REQUEST, message).hang_up());
            }
        }
    }
}

async fn discard(mut body: Body) {
    let mut left = limits::DISCARDED;
    while let Ok(Some(frame)) = next(&mut body).await {
        match left.checked_sub(frame.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn too_large() -> Fault {
    let message = format!("the body is larger than {} MiB", limits::BODY >> 20);
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// The file of a form: its field `image`, or the first that has a file name.
async fn file_of(form: Request) -> Result<Bytes, Fault> {
    let bad = |error: &dyn std::fmt::Display| {
        Fault::new(StatusCode::BAD_REQUEST, format!("the form is damaged: {error}"))
    };
    let mut form = Multipart::from_request(form, &()).await.map_err(|error| bad(&error.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(|error| bad(&error.body_text()))? {
        if field.name() == Some("image") || field.file_name().is_some() {
            return field.bytes().await.map_err(|error| bad(&error.body_text()));
        }
    }
    Err(Fault::new(StatusCode::BAD_REQUEST, "the form has no file; send one as its field \"image\""))
}
