//! What a price has beyond its ratios, in the form of prices: meters, units and tiers.

use crate::lang::Lang;
use crate::parts::{FormField, FormFields};
use admin::ops::ability::AbilityView;
use admin::ops::price::OwnPrice;
use maud::{Markup, html};

/// The names of the fields.
pub(super) const SCHEDULE: [&str; 3] = ["meters", "units", "tiers"];

/// The JSON of each part; empty where there is none.
fn parts(price: &AbilityView) -> [&str; 3] {
    let is_set = |json: &str| !["null", "{}", "[]", "\"\""].contains(&json);
    [&price.meters, &price.units, &price.tiers]
        .map(|part| Some(part.get()).filter(|json| is_set(json)).unwrap_or_default())
}

/// What the parts are called in a list of prices.
const fn names(lang: Lang) -> [&'static str; 3] {
    [lang.say("计量倍率", "meters"), lang.say("计件", "units"), lang.say("分档", "tiers")]
}

/// Which of them a price has.
pub(super) fn words(lang: Lang, price: &AbilityView) -> impl Iterator<Item = &'static str> {
    let parts = parts(price);
    names(lang).into_iter().zip(parts).filter(|(_, json)| !json.is_empty()).map(|(word, _)| word)
}

/// Which of them a user's price has.
pub(super) fn own_words(lang: Lang, price: &OwnPrice) -> impl Iterator<Item = &'static str> {
    let is_set = |json: &str| !["null", "{}", "[]", "\"\""].contains(&json);
    let parts = [&price.meters, &price.units, &price.tiers].map(|part| is_set(part.get()));
    names(lang).into_iter().zip(parts).filter(|(_, set)| *set).map(|(word, _)| word)
}

/// The three fields.
pub(super) fn fields(lang: Lang, form: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    let [meters, units, tiers] = price.map(parts).unwrap_or_default();
    let area = |name, label, value, hint| {
        form.field(FormField::new(name, label).kind("area").value(value).hint(hint))
    };
    html! {
        fieldset {
            legend { (lang.say("其他计量 (JSON)", "Further meters (JSON)")) }
            (area("meters", lang.say("计量倍率", "Meters"), meters, lang.say(
                "一个 Token 相当于几个输入 Token, 如 {\"cache_write\": 1.25, \"audio_out\": 16}",
                "worth in prompt tokens, like {\"cache_write\": 1.25, \"audio_out\": 16}",
            )))
            (area("units", lang.say("计件价格", "Units"), units, lang.say(
                "每件的额度, 如 {\"searches\": 5000, \"seconds\": 600, \"images\": 20000}",
                "quota each, like {\"searches\": 5000, \"seconds\": 600, \"images\": 20000}",
            )))
            (area("tiers", lang.say("分档", "Tiers"), tiers, lang.say(
                "系数, 如 [{\"above\": {\"input\": 200000}, \"input\": 2}, \
                 {\"at\": \"body:/size\", \"is\": \"1792x1024\", \"factor\": 1.67}]",
                "factors, like [{\"above\": {\"input\": 200000}, \"input\": 2}, \
                 {\"at\": \"body:/size\", \"is\": \"1792x1024\", \"factor\": 1.67}]",
            )))
        }
    }
}
