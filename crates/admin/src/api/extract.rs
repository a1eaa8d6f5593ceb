//! What handlers read of a request. Everything that can't be read is a fault in the envelope.

use super::envelope::ApiFailure;
use crate::{Actor, AdminError, AdminState, BodyShare, Fields, Query};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use domain::{Fault, FaultKind};
use http::request::Parts;

/// Who calls.
pub(super) struct CallingActor(pub(super) Actor);

impl<S: Send + Sync> FromRequestParts<S> for CallingActor {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiFailure> {
        let actor = parts.extensions.get::<Actor>().cloned();
        actor.map(Self).ok_or_else(|| ApiFailure::system("a call without a caller".to_owned()))
    }
}

/// The query part of the address.
pub(super) struct QueryParams(pub(super) Query);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiFailure> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|_| unreadable())?.0;
        if pairs.iter().any(|(_, value)| value.contains('\0')) {
            return Err(unreadable());
        }
        Ok(Self(pairs.into_iter().collect()))
    }
}

/// Whether `format` asks for CSV in place of JSON.
pub(super) fn wants_csv(query: &Query) -> Result<bool, AdminError> {
    match query.text("format") {
        None | Some("json") => Ok(false),
        Some("csv") => Ok(true),
        Some(_) => Err(AdminError::field("format", "必须是 json 或 csv", "must be json or csv")),
    }
}

/// The open part of the path.
pub(super) struct PathName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        match path {
            Ok(Path(text)) if !text.contains('\0') => Ok(Self(text)),
            _ => Err(unreadable()),
        }
    }
}

/// The number in the path.
pub(super) struct PathId(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let PathName(text) = PathName::from_request_parts(parts, state).await?;
        match text.parse() {
            Ok(number) => Ok(Self(number)),
            Err(_) => Err(not_a_number()),
        }
    }
}

/// The number in the path, and the name of a thing of it behind.
pub(super) struct PathIdAndName(pub(super) i64, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathIdAndName {
    type Rejection = ApiFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiFailure> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Ok(Path((id, name))) = path else { return Err(unreadable()) };
        match id.parse() {
            Ok(id) if !name.contains('\0') => Ok(Self(id, name)),
            Ok(_) => Err(unreadable()),
            Err(_) => Err(not_a_number()),
        }
    }
}

fn not_a_number() -> ApiFailure {
    let en = "the number in the path is none";
    Fault::new(FaultKind::NotFound, "路径中的编号必须是整数", en).into()
}

/// The JSON object in the body, regardless of its content type: `curl -d` declares a form.
pub(super) struct JsonBody(pub(super) Fields);

impl FromRequest<AdminState> for JsonBody {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, ApiFailure> {
        Ok(Self(Fields::parse(&arrived(request, state).await?)?))
    }
}

/// As [`JsonBody`], where nothing at all may be sent too.
pub(super) struct OptionalJsonBody(pub(super) Fields);

impl FromRequest<AdminState> for OptionalJsonBody {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, ApiFailure> {
        let bytes = arrived(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Fields::default()));
        }
        Ok(Self(Fields::parse(&bytes)?))
    }
}

/// The body, which counts as its caller's; one whose caller is not known yet has a small limit.
async fn arrived(request: Request, state: &AdminState) -> Result<Bytes, ApiFailure> {
    let (head, body) = request.into_parts();
    let share = head.extensions.get::<BodyShare>().cloned();
    let share = share.unwrap_or_else(|| BodyShare::of_nameless(&state.budget));
    Ok(share.read(body).await?)
}

fn unreadable() -> ApiFailure {
    AdminError::malformed("请求地址无法解析", "the address can't be read").into()
}

/// The number that a change is about: in the path, or in the body where the path has none.
pub(super) fn subject(fields: &mut Fields, path: Option<i64>) -> Result<i64, AdminError> {
    let given = fields.int("id")?;
    match (path, given) {
        (Some(path), Some(given)) if path != given => {
            Err(fields.wrong("id", "与路径中的编号不一致", "is not the number in the path"))
        }
        (Some(id), _) => Ok(id),
        (None, given) => fields.required("id", given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_knows_what_it_is_about() {
        let fields = |json: &str| Fields::parse(json.as_bytes()).unwrap();
        assert_eq!(subject(&mut fields(r#"{"id":3}"#), None).unwrap(), 3);
        assert_eq!(subject(&mut fields("{}"), Some(3)).unwrap(), 3);
        assert_eq!(subject(&mut fields(r#"{"id":3}"#), Some(3)).unwrap(), 3);
        assert!(subject(&mut fields(r#"{"id":4}"#), Some(3)).is_err());
        assert!(subject(&mut fields("{}"), None).is_err());
    }
}
