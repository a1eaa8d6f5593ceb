//! The route table. A call is added to the router together with its part of the OpenAPI document,
//! and there is no other way to add one.

use crate::survey::SchemaRecorder;
use crate::{AdminError, AdminState, Fields, PageRequest, Query};
use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

/// A method that calls have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As the document spells it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequiredRole {
    /// Any client, even without an access token.
    Anyone,
    /// Any user with an access token.
    User,
    /// Administrators.
    Admin,
}

/// One path with one method.
#[derive(Clone)]
pub(super) struct ApiCall {
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    pub(super) role: RequiredRole,
    pub(super) doc: CallDoc,
}

/// Calls for one role.
pub(super) struct CallTable {
    role: RequiredRole,
    router: Router<AdminState>,
    calls: Vec<ApiCall>,
}

impl CallTable {
    pub(super) fn new(role: RequiredRole) -> Self {
        Self { role, router: Router::new(), calls: Vec::new() }
    }

    pub(super) fn get<H, T>(self, path: &'static str, handler: H, doc: CallDoc) -> Self
    where
        H: Handler<T, AdminState>,
        T: 'static,
    {
        self.on(&[Verb::Get], path, handler, doc)
    }

    pub(super) fn post<H, T>(self, path: &'static str, handler: H, doc: CallDoc) -> Self
    where
        H: Handler<T, AdminState>,
        T: 'static,
    {
        self.on(&[Verb::Post], path, handler, doc)
    }

    pub(super) fn delete<H, T>(self, path: &'static str, handler: H, doc: CallDoc) -> Self
    where
        H: Handler<T, AdminState>,
        T: 'static,
    {
        self.on(&[Verb::Delete], path, handler, doc)
    }

    /// A call that several methods make.
    pub(super) fn on<H, T>(
        mut self,
        verbs: &[Verb],
        path: &'static str,
        handler: H,
        doc: CallDoc,
    ) -> Self
    where
        H: Handler<T, AdminState>,
        T: 'static,
    {
        for &verb in verbs {
            let method = MethodRouter::new().on(verb.filter(), handler.clone());
            self.router = self.router.route(path, method);
            self.calls.push(ApiCall { verb, path, role: self.role, doc: doc.clone() });
        }
        self
    }

    /// The router, each call behind its role.
    pub(super) fn router(self) -> Router<AdminState> {
        match self.role {
            RequiredRole::Anyone | RequiredRole::User => self.router,
            RequiredRole::Admin => self.router.route_layer(from_fn(super::auth::require_admin)),
        }
    }

    /// The calls that the OpenAPI document describes.
    pub(super) fn calls(self) -> Vec<ApiCall> {
        self.calls
    }
}

/// The part of the OpenAPI document about a call.
#[derive(Clone)]
pub(super) struct CallDoc {
    pub(super) summary: &'static str,
    pub(super) answer: ResponseShape,
    pub(super) body: Option<BodyDoc>,
    pub(super) params: Vec<Param>,
}

/// What a call returns.
#[derive(Clone)]
pub(super) enum ResponseShape {
    /// `data` is one of these.
    One(Data),
    /// `data` is a page of these.
    Page(Data),
    /// Not an envelope: any JSON object.
    Object,
    /// Not an envelope: lines of CSV.
    Csv,
    /// Not an envelope: server-sent events, without an end.
    Events,
    /// `data` is one of these; asked for with `format=csv`, lines of CSV.
    OneOrCsv(Data),
}

/// A schema and those it refers to, by name.
#[derive(Clone)]
pub(super) struct Data {
    pub(super) schema: Value,
    pub(super) named: Vec<(String, RefOr<Schema>)>,
}

impl Data {
    fn of<T: ToSchema>() -> Self {
        let mut named = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut named);
        Self { schema: json!({ "$ref": format!("#/components/schemas/{}", T::name()) }), named }
    }

    const fn plain(schema: Value) -> Self {
        Self { schema, named: Vec::new() }
    }
}

/// What a call is sent.
#[derive(Clone)]
pub(super) struct BodyDoc {
    pub(super) schema: Value,
    pub(super) required: bool,
}

/// A parameter of the address.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) schema: Value,
}

/// A call that returns one item.
pub(super) fn one<T: ToSchema>(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::One(Data::of::<T>()))
}

/// A call that returns a string.
pub(super) fn text(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::One(Data::plain(json!({ "type": "string" }))))
}

/// A call that returns a list of strings.
pub(super) fn texts(summary: &'static str) -> CallDoc {
    let schema = json!({ "type": "array", "items": { "type": "string" } });
    CallDoc::new(summary, ResponseShape::One(Data::plain(schema)))
}

/// A call that returns an integer.
pub(super) fn number(summary: &'static str) -> CallDoc {
    let schema = json!({ "type": "integer", "format": "int64" });
    CallDoc::new(summary, ResponseShape::One(Data::plain(schema)))
}

/// A call that has nothing to show.
pub(super) fn nothing(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::One(Data::plain(json!({ "type": "null" }))))
}

/// A call that returns a page of items, and takes the parameters of pages.
pub(super) fn page<T: ToSchema>(summary: &'static str) -> CallDoc {
    all::<T>(summary).filters(|query| PageRequest::read(query, 1))
}

/// A call that returns all items on one page.
pub(super) fn all<T: ToSchema>(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::Page(Data::of::<T>()))
}

/// A call that returns lines of CSV.
pub(super) fn csv(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::Csv)
}

/// A call that returns server-sent events.
pub(super) fn stream(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::Events)
}

/// A call that returns one item, as JSON or as CSV.
pub(super) fn one_or_csv<T: ToSchema>(summary: &'static str) -> CallDoc {
    let doc = CallDoc::new(summary, ResponseShape::OneOrCsv(Data::of::<T>()));
    doc.asks(&["format"])
}

/// A call that returns any JSON object, without an envelope.
pub(super) const fn object(summary: &'static str) -> CallDoc {
    CallDoc::new(summary, ResponseShape::Object)
}

impl CallDoc {
    const fn new(summary: &'static str, answer: ResponseShape) -> Self {
        Self { summary, answer, body: None, params: Vec::new() }
    }

    /// Adds optional query parameters: strings, or integers where `:int` follows the name. An empty
    /// one counts as absent.
    pub(super) fn asks(mut self, params: &[&'static str]) -> Self {
        let number =
            json!({ "anyOf": [{ "type": "integer", "format": "int64" }, { "const": "" }] });
        self.params.extend(params.iter().map(|param| match param.strip_suffix(":int") {
            Some(name) => Param { name: name.to_owned(), schema: number.clone() },
            None => Param { name: (*param).to_owned(), schema: json!({ "type": "string" }) },
        }));
        self
    }

    /// The parameters of the address that `read` reads, none of which has to be there.
    pub(super) fn filters<T>(mut self, read: fn(&Query) -> Result<T, AdminError>) -> Self {
        let survey = SchemaRecorder::default();
        // There is no request, so the result is meaningless.
        let _ = read(&Query::surveyed(survey.clone()));
        let asked = survey.asked().into_iter();
        self.params.extend(asked.map(|(name, schema)| Param { name, schema }));
        self
    }

    /// The body that `read` reads.
    pub(super) fn takes<T>(self, read: fn(Fields) -> Result<T, AdminError>) -> Self {
        self.takes_with(read, &[])
    }

    /// The same, where the call itself insists on some fields.
    pub(super) fn takes_with<T>(
        mut self,
        read: fn(Fields) -> Result<T, AdminError>,
        required: &[&str],
    ) -> Self {
        self.body = Some(BodyDoc { schema: surveyed(read, required), required: true });
        self
    }

    /// The same, where nothing at all may be sent, too.
    pub(super) fn may_take<T>(mut self, read: fn(Fields) -> Result<T, AdminError>) -> Self {
        self.body = Some(BodyDoc { schema: surveyed(read, &[]), required: false });
        self
    }

    /// The body that `read` reads once the number of what is changed is taken out of it.
    pub(super) fn takes_numbered<T>(mut self, read: fn(Fields) -> Result<T, AdminError>) -> Self {
        let survey = SchemaRecorder::default();
        let mut fields = Fields::surveyed(survey.clone());
        let _ = super::extract::subject(&mut fields, None).and_then(|_| read(fields));
        self.body = Some(BodyDoc { schema: survey.schema(&[]), required: true });
        self
    }
}

/// Returns the schema of the fields that `read` reads.
fn surveyed<T>(read: fn(Fields) -> Result<T, AdminError>, required: &[&str]) -> Value {
    let survey = SchemaRecorder::default();
    // There is no request, so the result is meaningless.
    let _ = read(Fields::surveyed(survey.clone()));
    survey.schema(required)
}
