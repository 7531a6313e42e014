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
                let fits = |at: &usize| text.is_char_boundary(*at);
                let end = (0..=MAX_TEXT.min(text.len())).rev().find(fits);
                text.truncate(end.unwrap_or(0));
                Problem::new(rejection.status(), text)
            },
        )
    }
}
