//! The price of one request: of the tiers that depend on its members, those that hold.

use domain::{FrozenPrice, RequestMember};
use upstream::splice::{MemberError, text_at};

/// The price for a request with this body, as one JSON object.
///
/// # Errors
/// When the body is no object, or a member that a tier looks at is there twice: what can't be read
/// could ask for anything.
pub fn price_for(price: FrozenPrice, body: &[u8]) -> Result<FrozenPrice, MemberError> {
    let Some(schedule) = price.schedule.clone().filter(|it| it.reads_requests()) else {
        return Ok(price);
    };
    let text = |member| Ok((member, text_at(body, RequestMember::names(member))?));
    let said = schedule.request_members().map(text).collect::<Result<Vec<_>, MemberError>>()?;
    Ok(price.for_request(|wanted| {
        said.iter().find(|(member, _)| *member == wanted).and_then(|(_, text)| text.clone())
    }))
}
