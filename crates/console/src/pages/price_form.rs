//! The form of a price: what it comes to while it is typed, and what it replaces, before it is
//! saved.

use super::price_dollars::{self, MillionPrice};
use super::price_schedule::SCHEDULE;
use super::{for_admins, price_schedule};
use crate::form::{Complaint, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields};
use crate::replaced::FormSays;
use crate::shell::{ShellPage, csrf};
use crate::visit::{self, Handled, Here, Visit, done, is_page, step};
use crate::{formula, show};
use admin::AdminError;
use admin::ops::ability::{self, AbilityInput, AbilityView};
use admin::ops::group;
use admin::ops::log::month_days;
use admin::ops::price::{self, LastCharges, PreviewInput, PricePreview};
use admin::ops::price_changes::{self, PriceFieldChange};
use domain::Quota;
use http::StatusCode;
use maud::{Markup, html};

const ENTRY: &str = "/console/prices";

/// `GET /console/prices/edit?model=`
pub(crate) async fn edit(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let price = match visit.asked("model") {
        "" => None,
        model => existing(&visit, model).await?,
    };
    page(&visit, price.as_ref(), FormSays::Nothing).await
}

/// The price that the form would replace, with the change of each field: seen before it is saved.
struct ReplacedPrice {
    old: AbilityView,
    changes: Vec<PriceFieldChange>,
}

/// `POST /console/prices/edit`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match saved(&visit).await {
        Ok(Saved::Price(price)) => {
            let list = list_of(&visit);
            let joint = if list.contains('?') { '&' } else { '?' };
            let to = format!("{list}{joint}saved={}", step(&price.model_name));
            Ok(done(&visit.then(&to), "saved"))
        }
        Ok(Saved::Asks(replaced)) => page(&visit, None, FormSays::Replaces(replaced)).await,
        Err(error) => {
            page(&visit, None, FormSays::Complaint(Complaint::of(error, visit.lang())?)).await
        }
    }
}

/// What became of a form.
enum Saved {
    Price(AbilityView),
    /// The model has a price, of which the form has not said yet what changes.
    Asks(ReplacedPrice),
}

/// The list as the reader left it for a form: with its filter, on its page.
pub(super) fn list_of(visit: &Visit) -> String {
    let is_list = |address: &&str| {
        let query = address.strip_prefix(ENTRY).filter(|_| is_page(address));
        query.is_some_and(|query| query.is_empty() || query.starts_with('?'))
    };
    let list = match Some(visit.form.text("list")).filter(is_list) {
        Some(kept) => kept.to_owned(),
        // The form stands in the list.
        None if visit.path == ENTRY => visit.on_this_page("edit", ""),
        None => visit.back_to(&[ENTRY]),
    };
    visit::without(&list, &["edit", "saved"])
}

const RATIOS: [&str; 5] =
    ["ratio", "completion_ratio", "cache_ratio", "image_ratio", "audio_ratio"];

fn object(visit: &Visit) -> Result<Object, AdminError> {
    let form = &visit.form;
    let mut object = Object::default().put("model_name", form.text("model_name"));
    // The page asks which of both it is, and saves nothing of the other.
    let kind = form.text("kind");
    if kind != "call" {
        let in_dollars = (form.text("unit") == "usd").then(|| price_dollars::ratios(form));
        let dollars = in_dollars.transpose()?;
        for name in RATIOS {
            let typed = dollars.as_ref().and_then(|all| all.iter().find(|(it, _)| *it == name));
            object = match typed {
                Some((_, ratio)) => object.put_some(name, ratio),
                None => object.put_some(name, form.text(name)),
            };
        }
    }
    for name in SCHEDULE {
        object = object.put_some(name, form.text(name));
    }
    let amounts: &[&str] = match kind {
        "call" => &["fixed_quota"],
        "use" => &["min_hold", "max_charge"],
        _ => &["fixed_quota", "min_hold", "max_charge"],
    };
    for name in amounts {
        if let Some(amount) = form.amount(name)? {
            object = object.put(name, amount);
        }
    }
    Ok(object)
}

async fn saved(visit: &Visit) -> Result<Saved, AdminError> {
    let input = AbilityInput::read(object(visit)?.fields()?)?;
    if let Some(old) = existing(visit, &input.model_name).await? {
        let changes = price_changes::changes(&old, &input);
        if !changes.is_empty() && visit.form.text("replaces") != old.mark() {
            // A price that can't be saved has nothing to be asked about.
            input.check()?;
            return Ok(Saved::Asks(ReplacedPrice { old, changes }));
        }
    }
    Ok(Saved::Price(ability::put(&visit.state, &visit.actor, input).await?))
}

async fn existing(visit: &Visit, model: &str) -> Result<Option<AbilityView>, AdminError> {
    match ability::get(&visit.state, model).await {
        Ok(price) => Ok(Some(price)),
        Err(AdminError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What each field was and becomes.
pub(super) fn changes_list(lang: Lang, changes: &[PriceFieldChange]) -> Markup {
    html! {
        @for (nth, change) in changes.iter().enumerate() {
            @if nth > 0 { br; }
            (parts::field_label(lang, change.field)) ": "
            span.muted.break { (value(change.field, &change.old)) } " → "
            b.break { (value(change.field, &change.new)) }
        }
    }
}

/// A cell of a table of prices, with its dollars.
fn value(field: &str, text: &str) -> String {
    let dollars = match field {
        _ if text.is_empty() => return show::NOTHING.to_owned(),
        "fixed_quota" | "min_hold" | "max_charge" => {
            text.parse().ok().map(|quota| show::amount(Quota(quota)))
        }
        "ratio" => price_dollars::of_prompt(text).map(|price| format!("{}/M", price.meant)),
        _ => None,
    };
    match dollars {
        Some(dollars) => format!("{text} ({dollars})"),
        None => text.to_owned(),
    }
}

/// Whether the form was opened with another price than the one that it would replace, or none.
fn is_stale(visit: &Visit, old: &AbilityView) -> bool {
    visit.form.text("opened") != old.mark()
}

/// The price that the form would replace, and what of it changes.
fn replaced(visit: &Visit, ReplacedPrice { old, changes }: &ReplacedPrice) -> Markup {
    let (lang, model) = (visit.lang(), &old.model_name);
    html! {
        input type="hidden" name="replaces" value=(old.mark());
        div.note role="alert" {
            p { b {
                @if is_stale(visit, old) { (tell!(lang, "{model} 已有价格, 保存会替换它:",
                    "{model} has a price already, which this replaces:")) }
                @else { (tell!(lang, "{model} 的价格将改为:", "The price of {model} becomes:")) }
            } }
            p { (changes_list(lang, changes)) }
        }
    }
}

/// `POST /console/prices/preview`: what the form comes to, while it is typed.
pub(crate) async fn preview(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    if !is_begun(&visit) {
        return Ok(crate::visit::html(StatusCode::OK, html! {}));
    }
    let part = match previewed(&visit).await {
        Ok(preview) => html! {
            code.break { (formula::in_words(lang, &preview.formula)) }
            @if let Some((charge, calculation)) = preview.charge.zip(preview.calculation.as_ref()) {
                p {
                    (formula::in_words(lang, calculation)) " " (lang.say("额度", "quota")) " = "
                    b { (show::amount(charge)) }
                }
            } @else {
                p.muted { (lang.say("按单位计价: 没有可试算的 Tokens。",
                    "Priced by units alone: a call in tokens counts none of them.")) }
            }
            p.muted { (tell!(lang, "调用前预扣 {}", "held before the call: {}",
                show::amount(preview.hold))) }
            @if !visit.form.text("model_name").is_empty() {
                (last_charges(&visit, &preview.last_charges))
            }
            @let uncovered = preview.charge.filter(|charge| preview.hold < *charge);
            @if let Some(charge) = uncovered.filter(|_| visit.form.text("max_charge").is_empty()) {
                @let least = show::amount(charge);
                p.warn { (tell!(lang,
                    "这样的调用可能使余额低于零; 最低预扣 {least} 可避免。",
                    "Such a call can take a balance below zero: a least hold of {least} covers it."
                )) }
            }
        },
        Err(error) => {
            let complaint = Complaint::of(error, lang)?;
            html! { p.muted { (parts::said(lang, &complaint)) } }
        }
    };
    Ok(visit::html(StatusCode::OK, part))
}

/// What the price would have made of the last charges.
fn last_charges(visit: &Visit, sums: &LastCharges) -> Markup {
    let (lang, days) = (visit.lang(), month_days(&visit.state));
    let LastCharges { charges, charged, would_be, left_out } = *sums;
    let (was, is) = (show::amount(charged), show::amount(would_be));
    html! {
        @if charges + left_out == 0 {
            p.muted { @if visit.form.text("model_name").contains('*') {
                (tell!(lang, "最近 {days} 天没有由此通配名定价的收费, 无可比较。",
                    "No model that it prices was charged in the last {days} days, so there is \
                     nothing to compare."))
            } @else {
                (lang.say("该模型还没有收费, 无可比较。",
                    "The model has not been charged yet, so there is nothing to compare."))
            } }
        }
        @if charges > 0 {
            p {
                (match charges {
                    1 => tell!(lang, "最近一笔收费: {was} → {is}", "the last charge: {was} → {is}"),
                    _ => tell!(lang, "最近 {charges} 笔收费: {was} → {is}",
                        "the last {charges} charges: {was} → {is}"),
                })
                @if let Some(change) = change(charged, would_be) { " (" b { (change) } ")" }
            }
        }
        @if left_out > 0 {
            p.muted { (tell!(lang,
                "另有 {left_out} 笔无法重算: 其流水没有此价格所需的数量, 或不是按公式收取。",
                "{left_out} more can't be computed anew: their lines lack the counts that this \
                 price needs, or were charged by no formula.")) }
        }
    }
}

/// By how much an amount changes, in per cent; nothing where it was zero.
fn change(from: Quota, to: Quota) -> Option<String> {
    let (from, to) = (i128::from(from.0), i128::from(to.0));
    if from <= 0 {
        return None;
    }
    let by = (to - from).abs();
    // Rounded once, half up: to tenths, or from a hundred on to whole ones.
    let tenths = (by * 2_000 + from) / (from * 2);
    let tenths = if tenths >= 1_000 { (by * 200 + from) / (from * 2) * 10 } else { tenths };
    let sign = match (tenths, to > from) {
        (0, _) => "±",
        (_, true) => "+",
        (_, false) => "−",
    };
    let (whole, tenth) = (tenths / 10, tenths % 10);
    Some(if tenth == 0 { format!("{sign}{whole} %") } else { format!("{sign}{whole}.{tenth} %") })
}

/// Whether something of a price was typed: an empty form has nothing wrong with it yet.
fn is_begun(visit: &Visit) -> bool {
    let prices = ["prompt_million", "completion_million", "cached_million", "fixed_quota"];
    let mut all = prices.iter().chain(&RATIOS).chain(&SCHEDULE).chain(&["min_hold", "max_charge"]);
    all.any(|name| !visit.form.text(name).is_empty())
}

async fn previewed(visit: &Visit) -> Result<PricePreview, AdminError> {
    let form = &visit.form;
    let mut object = object(visit)?;
    for name in ["prompt_tokens", "completion_tokens"] {
        object = object.put_int(name, form.text(name));
    }
    for name in ["group", "user"] {
        object = object.put_some(name, form.text(name));
    }
    if form.text("model_name").is_empty() {
        object = object.put("model_name", "model");
    }
    price::preview(&visit.state, &visit.actor, PreviewInput::read(object.fields()?)?).await
}

/// What the price comes to for a call of this size; asked again while one types.
fn preview_box(lang: Lang, fields: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    html! {
        fieldset {
            legend { (lang.say("试算", "What it comes to")) }
            div.pair {
                (fields.field(FormField::new("prompt_tokens",
                    lang.say("输入 Tokens", "Prompt tokens"))
                    .kind("number")
                    .value("1000")))
                (fields.field(FormField::new("completion_tokens",
                    lang.say("输出 Tokens", "Completion tokens"))
                    .kind("number")
                    .value("500")))
                (fields.field(FormField::new("group", lang.say("分组", "Group"))
                    .list("known-groups")
                    .hint(lang.say("留空: 倍率 1", "empty: a ratio of 1"))))
                (fields.field(FormField::new("user", lang.say("用户", "User"))
                    .hint(lang.say("用户名: 含其倍率与分组", "name: with their ratio and group"))))
            }
            div #preview role="status" hx-post="/console/prices/preview"
                hx-trigger="load, input from:#price-form delay:400ms" hx-include="closest form"
                hx-swap="innerHTML" {
                @if let Some(formula) = price.and_then(AbilityView::formula) {
                    code.break { (formula::in_words(lang, &formula)) }
                }
            }
        }
    }
}

async fn page(
    visit: &Visit,
    price: Option<&AbilityView>,
    says: FormSays<ReplacedPrice>,
) -> Handled {
    let lang = visit.lang();
    let body = form(visit, price, &says).await?;
    let old = replaced_price(&says);
    let is_asked = old.is_some_and(|old| is_stale(visit, old));
    let title = match old.or(price) {
        Some(price) => tell!(lang, "{} 的价格", "Price of {}", price.model_name),
        None => lang.say("新建价格", "New price").to_owned(),
    };
    let page = ShellPage::new(title, ENTRY);
    if old.is_some() && !is_asked {
        // What changes is shown once, also to who has seen the price.
        return Ok(page.show(visit, body));
    }
    Ok(says.show(visit, page, body))
}

const fn replaced_price(says: &FormSays<ReplacedPrice>) -> Option<&AbilityView> {
    match says {
        FormSays::Replaces(replaced) => Some(&replaced.old),
        _ => None,
    }
}

/// The form of a price in its row of the list.
pub(super) async fn in_row(visit: &Visit, price: &AbilityView) -> Result<Markup, AdminError> {
    form(visit, Some(price), &FormSays::Nothing).await
}

async fn form(
    visit: &Visit,
    price: Option<&AbilityView>,
    says: &FormSays<ReplacedPrice>,
) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let groups = group::names(&visit.state, &visit.actor).await?;
    let fields = says.fields(lang, &visit.form);
    let model = price.map_or_else(|| visit.asked("model"), |price| &price.model_name);
    let now = price.map(AbilityView::mark).unwrap_or_default();
    let opened = says.opened(&visit.form, &now);
    let list = list_of(visit);
    let old = replaced_price(says);
    let save = match old {
        Some(old) if is_stale(visit, old) => lang.say("替换价格", "Replace the price"),
        Some(_) => lang.say("更改价格", "Change the price"),
        None => lang.say("保存价格", "Save the price"),
    };
    Ok(html! {
        form.form #price-form method="post" action="/console/prices/edit" {
            (csrf(visit))
            (visit.then_field())
            (parts::datalist("known-groups", groups.iter().map(String::as_str)))
            input type="hidden" name="opened" value=(opened);
            input type="hidden" name="list" value=(list);
            (parts::complaint(lang, says.complaint()))
            @if let FormSays::Replaces(old) = says { (replaced(visit, old)) }
            (fields.field(FormField::new("model_name", lang.say("模型", "Model"))
                .required()
                .value(model)))
            (fields.ways(("kind", lang.say("计价", "Priced")), kind_of(price), &[
                ("use", lang.say("按量", "by use")),
                ("call", lang.say("按次", "per call")),
            ]))
            (ratio_fields(lang, &fields, price))
            (amount_fields(lang, &fields, price))
            (preview_box(lang, &fields, price))
            (price_schedule::fields(lang, &fields, price))
            div.buttons {
                button.primary { (save) }
                a.button href=(list) { (lang.say("取消", "Cancel")) }
            }
        }
    })
}

fn kind_of(price: Option<&AbilityView>) -> &'static str {
    let by_use = |price: &AbilityView| {
        let fixed = price.fixed_quota;
        fixed.is_none_or(|quota| quota.0 == 0 && price.ratio.get() != "null")
    };
    if price.is_none_or(by_use) { "use" } else { "call" }
}

/// The fields of prices in dollars a million tokens, which is how vendors list them.
fn dollar_fields(lang: Lang, fields: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    let prices = price.filter(|price| price.ratio.get() != "null").map(price_dollars::to_type);
    let [prompt, completion, cached] =
        prices.unwrap_or_default().map(|price| price.unwrap_or_default());
    let hint = |price: &MillionPrice, plain: &str| match &price.exact {
        Some(exact) => {
            tell!(lang, "实为 {exact}: 倍率有六位小数", "{exact}, as ratios have six places")
        }
        None => plain.to_owned(),
    };
    let as_prompt = lang.say("留空: 同输入", "empty: as the prompt");
    html! {
        div.pair.in-dollars {
            (fields.field(FormField::new("prompt_million", lang.say("输入 $/M", "Prompt $/M"))
                .dollars()
                .value(&prompt.meant)
                .hint(lang.say("每百万 Tokens 的美元", "dollars a million tokens"))))
            (fields.field(FormField::new("completion_million",
                    lang.say("输出 $/M", "Completion $/M"))
                .dollars()
                .value(&completion.meant)
                .hint(&hint(&completion, as_prompt))))
            (fields.field(FormField::new("cached_million", lang.say("缓存 $/M", "Cached $/M"))
                .dollars()
                .value(&cached.meant)
                .hint(&hint(&cached, as_prompt))))
        }
    }
}

fn ratio_fields(lang: Lang, fields: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    let now = |read: fn(&AbilityView) -> &str| {
        price.map(read).filter(|ratio| *ratio != "null").unwrap_or_default()
    };
    let words = |name, label, value| fields.field(FormField::new(name, label).value(value));
    html! {
        fieldset.by-use {
            legend { (lang.say("按量", "By use")) }
            (fields.ways(("unit", lang.say("单位", "In")), price_dollars::unit_of(price), &[
                ("usd", lang.say("美元/百万 Tokens", "dollars a million tokens")),
                ("ratio", lang.say("倍率", "ratios")),
            ]))
            (dollar_fields(lang, fields, price))
            div.in-ratios { (fields.field(FormField::new("ratio", lang.say("倍率", "Ratio"))
                .value(now(|price| price.ratio.get()))
                .hint(lang.say(
                    "每个输入 Token 的额度; 1 = 每百万 $2, 0.5 = 每百万 $1",
                    "quota a prompt token; 1 is $2 a million, 0.5 is $1 a million"
                )))) }
            div.pair.in-ratios {
                (words("completion_ratio", lang.say("输出倍率", "Completion ratio"),
                    now(|price| price.completion_ratio.get())))
                (words("cache_ratio", lang.say("缓存倍率", "Cache ratio"),
                    now(|price| price.cache_ratio.get())))
            }
            div.pair {
                (words("image_ratio", lang.say("图像倍率", "Image ratio"),
                    now(|price| price.image_ratio.get())))
                (words("audio_ratio", lang.say("音频倍率", "Audio ratio"),
                    now(|price| price.audio_ratio.get())))
            }
            p.hint { (lang.say("相对于输入 Token; 留空为 1", "worth in prompt tokens; empty: 1")) }
        }
    }
}

fn amount_fields(lang: Lang, fields: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    let fixed = price.and_then(|price| price.fixed_quota).map(show::amount).unwrap_or_default();
    let least = price.map(|price| show::amount(price.min_hold)).unwrap_or_default();
    let most = price.and_then(|price| price.max_charge).map(show::amount).unwrap_or_default();
    html! {
        div.per-call {
            (fields.field(FormField::new("fixed_quota", lang.say("按次价格", "Price of a call"))
                .amount()
                .value(&fixed)
                .hint(&tell!(lang, "如 {}", "like {}", show::example(2)))))
        }
        div.pair.by-use {
            (fields.field(FormField::new("min_hold", lang.say("最低预扣", "Least hold"))
                .amount()
                .value(&least)
                .hint(lang.say("按量模型调用前预扣", "held before a call by use"))))
            (fields.field(FormField::new("max_charge", lang.say("最高收费", "Largest charge"))
                .amount()
                .value(&most)
                .hint(lang.say(
                    "按量模型单次调用最多收取 (乘分组与用户倍率前); 留空不限",
                    "what a call by use may charge, before group and user; empty: no bound"
                ))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_rounded_once() {
        let of = |from: i64, to: i64| change(Quota(from), Quota(to)).unwrap();
        for (from, to, said) in [
            (1_000, 1_000, "±0 %"),
            (100_000, 100_049, "±0 %"),
            (100_000, 100_050, "+0.1 %"),
            (100_000, 99_950, "−0.1 %"),
            (80, 60, "−25 %"),
            (1_000, 1_994, "+99.4 %"),
            (1_000, 2_004, "+100 %"),
            (1_000, 2_006, "+101 %"),
            (10_000, 19_996, "+100 %"),
            (1_000, 2_999, "+200 %"),
            (1_000, 0, "−100 %"),
        ] {
            assert_eq!(of(from, to), said, "{from} {to}");
        }
        assert_eq!(change(Quota(0), Quota(5)), None);
    }
}
