//! The models that a key may call, as the APIs list them: `GET /v1/models`, `/v1beta/models`.

use crate::faults;
use crate::identify::{X_GOOG_API_KEY, group_of, may_call};
use crate::list_page::ListPage;
use crate::own_reply;
use crate::surface::ApiPath;
use domain::Fault;
use http::{HeaderMap, Response};
use serde::Serialize;
use store::{Catalog, Identity};
use web::Body;
use web::memory::Share;

/// Models have no creation time here; clients expect a number.
const CREATED_S: i64 = 1_700_000_000;
const CREATED_AT: &str = "2023-11-14T22:13:20Z";

/// How an API lists its models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelList {
    /// As OpenAI and Anthropic do: a superset of both.
    Data,
    /// Gemini's.
    Gemini,
    /// Ollama's.
    Tags,
}

impl ModelList {
    /// The shape of the list at this path, if it lists models.
    pub(crate) fn of(api: &ApiPath) -> Option<Self> {
        match api.path() {
            "/v1beta/models" => Some(Self::Gemini),
            "/api/tags" => Some(Self::Tags),
            path if path.ends_with("/models") => Some(Self::Data),
            _ => None,
        }
    }

    /// The shape that a client reads which asks at `/v1/models`: Gemini's present their key so.
    pub(crate) fn for_client(headers: &HeaderMap) -> Self {
        if headers.contains_key(X_GOOG_API_KEY) { Self::Gemini } else { Self::Data }
    }
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    r#type: &'static str,
    display_name: &'a str,
    created_at: &'static str,
}

#[derive(Serialize)]
struct Named<T> {
    models: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiModel<'a> {
    name: String,
    display_name: &'a str,
    supported_generation_methods: &'static [&'static str],
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: &'static str,
}

const fn model(id: &str) -> Model<'_> {
    Model {
        id,
        object: "model",
        created: CREATED_S,
        owned_by: "custompass",
        r#type: "model",
        display_name: id,
        created_at: CREATED_AT,
    }
}

fn gemini_model(id: &str) -> GeminiModel<'_> {
    GeminiModel {
        name: format!("models/{id}"),
        display_name: id,
        supported_generation_methods: &["generateContent"],
    }
}

/// All models that the key may call, in the shape of an API.
pub(crate) fn list(
    shape: ModelList,
    catalog: &Catalog,
    identity: &Identity,
    share: Share,
) -> Result<Response<Body>, Fault> {
    let offered = catalog.models_of(group_of(identity));
    let ids = offered.into_iter().filter(|id| may_call(identity, id));
    match shape {
        ModelList::Data => {
            let data: Vec<_> = ids.map(model).collect();
            let (first, last) = (data.first(), data.last());
            let id_of = |model: Option<&Model<'_>>| model.map(|it| it.id.to_owned());
            let (first_id, last_id) = (id_of(first), id_of(last));
            own_reply::json(&ListPage { first_id, last_id, data, ..ListPage::default() }, share)
        }
        ModelList::Gemini => {
            own_reply::json(&Named { models: ids.map(gemini_model).collect() }, share)
        }
        ModelList::Tags => {
            let tag = |id| Tag { name: id, model: id, modified_at: CREATED_AT };
            own_reply::json(&Named { models: ids.map(tag).collect() }, share)
        }
    }
}

/// One of them.
pub(crate) fn one(
    shape: ModelList,
    catalog: &Catalog,
    identity: &Identity,
    id: &str,
) -> Result<Response<Body>, Fault> {
    if catalog.candidates(group_of(identity), id).is_empty() || !may_call(identity, id) {
        return Err(faults::model_not_listed());
    }
    Ok(match shape {
        ModelList::Gemini => web::json(&gemini_model(id)),
        ModelList::Data | ModelList::Tags => web::json(&model(id)),
    })
}
