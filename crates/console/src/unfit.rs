//! Lists without lines: because there are none, or because none fits the filters.

use crate::parts::empty;
use crate::visit::{Visit, address};
use maud::Markup;

/// What an empty list is for, and the next step, unless it is a filter that leaves nothing: what is
/// there is not said to be absent then.
pub(crate) fn empty_or_unfit(visit: &Visit, words: &str, next: Option<(&str, &str)>) -> Markup {
    if !is_filtered(visit) {
        return empty(words, next);
    }
    let kept = visit.asked.iter().filter(|(name, _)| KEPT_UNFILTERED.contains(&name.as_str()));
    let all = address(&visit.path, kept.map(|(name, value)| (name.as_str(), value.as_str())));
    let (none, clear) = (
        visit.say("没有符合条件的记录。", "Nothing fits these filters."),
        visit.say("清除筛选", "Clear the filters"),
    );
    empty(none, Some((all.as_str(), clear)))
}

/// What an address names besides filters: which list of a page it is, and how it is shown.
const KEPT_UNFILTERED: [&str; 1] = ["show"];

/// Whether the address of a list leaves lines out.
fn is_filtered(visit: &Visit) -> bool {
    const OTHERS: [&str; 12] = [
        "done",
        "edit",
        "line",
        "live",
        "order",
        "p",
        "page",
        "page_size",
        "show",
        "sort",
        "then",
        "undo",
    ];
    visit.asked.iter().any(|(name, value)| !value.is_empty() && !OTHERS.contains(&name.as_str()))
}
