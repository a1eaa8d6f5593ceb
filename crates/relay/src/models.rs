//! `GET /v1/models`: the models that a key may call, in OpenAI's format.

use crate::faults;
use crate::identify::{group_of, may_call};
use domain::Fault;
use http::Response;
use serde::Serialize;
use store::{Catalog, Identity};
use web::Body;

/// Models have no creation time here; clients expect a number.
const CREATED_S: i64 = 1_700_000_000;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

const fn model(id: &str) -> Model<'_> {
    Model { id, object: "model", created: CREATED_S, owned_by: "custompass" }
}

/// All models that the key may call.
pub(crate) fn list(catalog: &Catalog, identity: &Identity) -> Response<Body> {
    let offered = catalog.models_of(group_of(identity));
    let data = offered.into_iter().filter(|id| may_call(identity, id)).map(model).collect();
    web::json(&List { object: "list", data })
}

/// One of them.
pub(crate) fn one(
    catalog: &Catalog,
    identity: &Identity,
    id: &str,
) -> Result<Response<Body>, Fault> {
    if catalog.candidates(group_of(identity), id).is_empty() || !may_call(identity, id) {
        return Err(faults::not_found());
    }
    Ok(web::json(&model(id)))
}
