//! Bodies as JSON. What is wrong with one is said with the name of the field.

use super::super::HttpState;
use super::super::problem::{MAX_TEXT, Problem};
use axum::Json;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A body that could be read.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<HttpState>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<HttpState>) -> Result<Self, Problem> {
        Json::<T>::from_request(request, state).await.map(|Json(body)| Body(body)).map_err(
            |rejection| {
                let mut text = rejection.body_text();
                text.truncate(text.floor_char_boundary(MAX_TEXT));
                Problem::new(rejection.status(), text)
            },
        )
    }
}
