//! What is sent and answered, and its OpenAPI description.

use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::fault::Problem;
use super::routes;
use crate::train::Guess;

/// A prediction.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    /// The most probable classes, the first of them first.
    #[schema(value_type = Vec<Class>)]
    pub(super) top: Vec<Guess>,
    /// Height and width of the image, where it was resized to those of the model as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resized_from: Option<[usize; 2]>,
}

/// A class with how probable it is: [`Guess`] for the description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the description reads the declaration, nobody the fields")]
struct Class {
    /// Its name.
    class: String,
    /// Of 0..1.
    probability: f64,
}

/// A form with a picture.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the description reads the declaration, nobody the fields")]
pub(super) struct Form {
    /// The image file.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    image: String,
}

/// A server that is well.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    pub(super) status: &'static str,
    /// The run whose model is served.
    pub(super) run: String,
    /// What computes.
    pub(super) device: String,
    /// Channels, height and width that the model takes; images are made so.
    pub(super) image: [usize; 3],
    /// Names of the classes.
    pub(super) classes: Vec<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "wgrad serve", description = "Classifies images with the model of a run."),
    paths(routes::predict, routes::health, routes::metrics),
    components(schemas(Answer, Class, Form, Health, Problem))
)]
struct Description;

/// The description that `/openapi.json` gives.
pub(super) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
