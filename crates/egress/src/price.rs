//! The price of one request: of the tiers that depend on what it says, those that hold.

use domain::{FrozenPrice, RequestMember, RequestPlace};
use upstream::query;
use upstream::splice::{MemberError, text_at};

/// What a price may depend on.
#[derive(Clone, Copy)]
pub struct RequestTexts<'a> {
    /// The body as one JSON object.
    pub body: &'a [u8],
    /// The query.
    pub query: &'a str,
    /// What stands in the path for `{NAME}`.
    pub in_path: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> RequestTexts<'a> {
    /// Those of a request without a query, of whose path nothing is known.
    #[must_use]
    pub fn of_body(body: &'a [u8]) -> Self {
        Self { body, query: "", in_path: &|_| None }
    }

    fn of(&self, member: &RequestMember) -> Result<Option<String>, MemberError> {
        let name = member.name();
        match member.place() {
            RequestPlace::Body => text_at(self.body, RequestMember::names(member)),
            RequestPlace::Path => Ok((self.in_path)(name)),
            RequestPlace::Query => query::parameter(self.query, name)
                .map_err(|_| MemberError::Parameter(name.to_owned())),
        }
    }
}

/// The price for a request.
///
/// # Errors
/// When the body is no object, or what a tier looks at is there twice: what can't be read could ask
/// for anything.
pub fn price_for(
    price: FrozenPrice,
    request: RequestTexts<'_>,
) -> Result<FrozenPrice, MemberError> {
    let Some(schedule) = price.schedule.clone().filter(|it| it.reads_requests()) else {
        return Ok(price);
    };
    let text = |member| Ok((member, request.of(member)?));
    let said = schedule.request_members().map(text).collect::<Result<Vec<_>, MemberError>>()?;
    Ok(price.for_request(|wanted| {
        said.iter().find(|(member, _)| *member == wanted).and_then(|(_, text)| text.clone())
    }))
}
