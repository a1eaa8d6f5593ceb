//! Money moves above a limit that root sets: whoever signs them types the user's name, so that no
//! large amount goes to the wrong one by a slip.

use crate::lang::tell;
use crate::parts::{FormField, FormFields};
use crate::show;
use crate::visit::Visit;
use admin::AdminError;
use admin::ops::option;
use domain::Quota;
use maud::{Markup, html};

const NAME: &str = "username";

/// The name that was typed, where moving this much takes it: it has to be `owner`.
pub(super) fn typed_name(
    visit: &Visit,
    moved: Quota,
    owner: &str,
) -> Result<Option<String>, AdminError> {
    let Some(limit) = passed(visit, moved) else { return Ok(None) };
    let typed = visit.form.text(NAME);
    if typed == owner {
        return Ok(Some(typed.to_owned()));
    }
    let limit = show::amount(limit);
    Err(AdminError::field(
        NAME,
        format!("金额超过 {limit}, 请输入该用户的用户名 {owner} 以确认"),
        format!("to move more than {limit}, type the name of the user: {owner}"),
    ))
}

/// The limit, where there is one and this is more.
fn passed(visit: &Visit, moved: Quota) -> Option<Quota> {
    let limit = option::console(&visit.state).confirm_above?;
    (moved.0.unsigned_abs() > limit.0.unsigned_abs()).then_some(limit)
}

/// The field for it on a page that moves this much of one user.
pub(super) fn field(visit: &Visit, fields: &FormFields<'_>, moved: Quota) -> Markup {
    html! { @if let Some(limit) = passed(visit, moved) {
        (name_field(visit, fields, limit, None))
    } }
}

/// The same on a page that moves the money of many: whose name it is that the field asks for.
pub(super) fn field_of_one(
    visit: &Visit,
    fields: &FormFields<'_>,
    (owner, moved): (&str, Quota),
) -> Markup {
    html! { @if let Some(limit) = passed(visit, moved) {
        (name_field(visit, fields, limit, Some(owner)))
    } }
}

/// The same on a page where the amount is typed: the script shows it as soon as it is needed, and
/// without the script the page does that comes back.
pub(super) fn field_of_amount(
    visit: &Visit,
    fields: &FormFields<'_>,
    moved: Option<Quota>,
) -> Markup {
    let needed = moved.is_some_and(|moved| passed(visit, moved).is_some());
    html! { @if let Some(limit) = option::console(&visit.state).confirm_above {
        div data-above=(limit.0) hidden[!needed] { (name_field(visit, fields, limit, None)) }
    } }
}

fn name_field(visit: &Visit, fields: &FormFields<'_>, limit: Quota, owner: Option<&str>) -> Markup {
    let lang = visit.lang();
    let limit = show::amount(limit);
    let hint = match owner {
        Some(owner) => tell!(
            lang,
            "{owner} 的变动最大, 超过 {limit}, 须输入其用户名",
            "{owner} is moved most, more than {limit}: type this user's name"
        ),
        None => tell!(
            lang,
            "变动超过 {limit}, 须输入该用户的用户名",
            "More than {limit} is moved: type the name of the user"
        ),
    };
    fields.field(FormField::new(NAME, lang.say("用户名", "User name")).hint(&hint))
}
