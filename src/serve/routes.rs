//! What is answered where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use super::Settings;
use super::api::{self, Answer, Health};
use super::batcher::Batcher;
use super::body;
use super::fault::{Fault, Problem};
use super::limits;
use super::metrics::Metrics;
use crate::data::ReadImage;
use crate::train::RunModel;

/// Every path, for labels of metrics.
const PATHS: [&str; 5] = ["/", "/predict", "/health", "/metrics", "/openapi.json"];

/// What all requests share.
pub(super) struct App {
    about: Arc<RunModel>,
    pub(super) settings: Settings,
    batcher: Batcher,
    metrics: Arc<Metrics>,
    /// A permit for each byte of a body that may be held.
    budget: Arc<Semaphore>,
    /// A permit for each image that may wait or be computed.
    queue: Semaphore,
    decoders: Arc<Semaphore>,
    /// Whether the server is about to end.
    pub(super) closing: AtomicBool,
}

impl App {
    pub(super) fn new(about: RunModel, settings: Settings, batcher: Batcher, metrics: Arc<Metrics>) -> App {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        App {
            about: Arc::new(about),
            batcher,
            metrics,
            budget: Arc::new(Semaphore::new(limits::BODIES)),
            queue: Semaphore::new(settings.max_queue),
            decoders: Arc::new(Semaphore::new(threads.min(limits::DECODERS))),
            closing: AtomicBool::new(false),
            settings,
        }
    }

    pub(super) fn router(self: &Arc<App>) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/predict", post(predict))
            .route("/health", get(health))
            .route("/metrics", get(metrics))
            .route("/openapi.json", get(|| async { Json(api::description()) }))
            .fallback(|| async {
                Fault::new(StatusCode::NOT_FOUND, "there is nothing here; see /openapi.json")
            })
            .method_not_allowed_fallback(|| async {
                Fault::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path takes another method; see /openapi.json",
                )
            })
            // Bodies are limited as they are read, with an answer that says so.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), observe))
            .with_state(self.clone())
    }

    /// The pixels that the model takes, made on a thread for such work.
    async fn decode(&self, upload: body::Upload) -> Result<ReadImage, Fault> {
        let (about, turn) = (self.about.clone(), self.decoders.clone().acquire_owned().await);
        // The turn and the bytes are held until the image is decoded, even if nobody waits for it any more.
        let work = move || {
            let _turn = turn;
            about.decode_image(&upload.image, limits::IMAGE)
        };
        let decoded = tokio::task::spawn_blocking(work).await;
        let unprocessable = |message: String| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, message);
        // A decoder that panics has been given something hostile.
        let decoded = decoded.map_err(|_| unprocessable("the image: cannot be decoded".to_string()))?;
        decoded.map_err(|error| unprocessable(error.to_string()))
    }
}

/// What a prediction may be asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Classes in the answer, the most probable first
    #[param(minimum = 1)]
    top: Option<usize>,
}

/// Says what is in an image.
///
/// The image is the body, or a file of a form. It is resized as `wgrad predict` does it.
#[utoipa::path(
    post,
    path = "/predict",
    params(Wanted),
    request_body(
        description = "A PNG, JPEG, BMP, GIF, WebP, PNM or TIFF file",
        content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "image/*"), (api::Form = "multipart/form-data"))
    ),
    responses(
        (status = 200, description = "The most probable classes", body = Answer),
        (status = 400, description = "No image, or a damaged form or query", body = Problem),
        (status = 408, description = "The request took too long to arrive", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "Neither an image nor a form", body = Problem),
        (status = 422, description = "The image is damaged, of no known kind, or too large", body = Problem),
        (status = 500, description = "The device has failed", body = Problem),
        (status = 503, description = "Too much to do; Retry-After says when to try again", body = Problem),
        (status = 504, description = "The answer took too long", body = Problem),
    )
)]
pub(super) async fn predict(State(app): State<Arc<App>>, request: Request) -> Result<Json<Answer>, Fault> {
    let wanted = Query::<Wanted>::try_from_uri(request.uri());
    let wanted = wanted.ok().filter(|Query(wanted)| wanted.top != Some(0)).ok_or_else(|| {
        Fault::new(StatusCode::BAD_REQUEST, "top must be a number of classes, from 1 on").hang_up()
    })?;
    let upload = body::image(request, &app.budget, app.settings.timeout).await?;
    let _place = app.queue.try_acquire().map_err(|_| Fault::busy("too many images wait"))?;
    let _counted = Counted::new(&app.metrics);
    let answer = async {
        let image = app.decode(upload).await?;
        let logits = app.batcher.logits(image.pixels).await?;
        let top = app.about.top(&logits, wanted.top.unwrap_or(app.settings.top));
        Ok(Json(Answer { top, resized_from: image.resized_from }))
    };
    let late = |_| Fault::new(StatusCode::GATEWAY_TIMEOUT, "the answer took too long; try again later");
    tokio::time::timeout(limits::ANSWER, answer).await.map_err(late)?
}

/// Counts an image as long as it waits or is computed.
struct Counted<'a>(&'a Metrics);

impl Counted<'_> {
    fn new(metrics: &Metrics) -> Counted<'_> {
        metrics.queue.inc();
        Counted(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.queue.dec();
    }
}

/// Whether the server can answer, and what it serves.
#[utoipa::path(
    get,
    path = "/health",
    responses(
        (status = 200, description = "Ready", body = Health),
        (status = 503, description = "The device has failed, or the server is about to end", body = Problem),
    )
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Result<Json<Health>, Fault> {
    if app.closing.load(Ordering::Relaxed) {
        return Err(Fault::busy("the server is about to end"));
    }
    if app.batcher.is_failing() {
        return Err(Fault::busy("the device has failed"));
    }
    let (name, device) = (app.settings.name.clone(), app.settings.device.clone());
    let RunModel { image, classes, .. } = &*app.about;
    Ok(Json(Health { status: "ok", run: name, device, image: *image, classes: classes.clone() }))
}

/// Counters and histograms for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "In OpenMetrics' text format", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text())
}

/// A page to drop a picture on. It may load nothing and talk to nobody but this server.
async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src blob: data:; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("page.html")))
}

/// Counts every answer; asks connections to end once the server is about to.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let path = PATHS.into_iter().find(|known| *known == request.uri().path()).unwrap_or("other");
    let mut response = next.run(request).await;
    app.metrics.answered(path, response.status(), begun.elapsed());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if app.closing.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
