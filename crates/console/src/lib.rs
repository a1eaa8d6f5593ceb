//! The web console: pages rendered here, over the use cases of [`admin::ops`] and nothing else, so
//! that what the console can do, the API can do.
//!
//! A page works without its script, which adds relative times, charts, shortcuts and confirmation.
#![warn(unreachable_pub, clippy::disallowed_methods)]

mod assets;
mod breaches;
mod column_choice;
mod columns;
mod entered;
mod findings;
mod folds;
mod form;
mod formula;
mod gate;
mod lang;
mod meanings;
mod notes;
mod once;
mod pages;
mod parts;
mod ranges;
mod reference;
mod replaced;
mod setting_words;
mod shell;
mod show;
mod summaries;
mod unfit;
mod unit;
mod visit;

pub use findings::{has_finding_in_chinese, has_remedy};
pub use unit::Unit;

use admin::AdminState;
use axum::routing::get;
use axum::{Extension, Router, middleware};
use std::sync::Arc;

/// Everything under `/console`, with amounts in this unit.
pub fn router(state: AdminState, unit: Unit) -> Router {
    unit.show();
    let sent = Arc::new(once::SentForms::default());
    let inside = pages::inside()
        .fallback(pages::unknown)
        .method_not_allowed_fallback(pages::only_a_form)
        .layer(middleware::from_fn_with_state(state.clone(), gate::enter))
        .layer(Extension(sent));
    let open = pages::open()
        .method_not_allowed_fallback(pages::only_a_form)
        .layer(middleware::from_fn_with_state(state.clone(), gate::enter_open));
    Router::new()
        .merge(inside)
        .merge(open)
        .route("/console/assets/{file}", get(assets::serve))
        .layer(middleware::from_fn(gate::guard))
        .with_state(state)
}
