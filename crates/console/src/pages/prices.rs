//! Prices: the grid in dollars and in ratios, models without a price, and groups. Users see what
//! they pay.

use super::price_schedule::SCHEDULE;
use super::{for_admins, price_schedule};
use crate::form::{Complaint, Form, Object};
use crate::lang::{Lang, tell};
use crate::parts::{self, FormField, FormFields, action, filters, form_page, pager, typed};
use crate::shell::{ShellPage, csrf};
use crate::show;
use crate::visit::{Handled, Here, Visit, done, step};
use admin::AdminError;
use admin::ops::ability::{self, AbilityInput, AbilityView};
use admin::ops::attention;
use admin::ops::price::{self, OwnPrice, PreviewInput, PricePreview};
use domain::{Quota, Ratio};
use http::StatusCode;
use maud::{Markup, html};

const ENTRY: &str = "/console/prices";
/// The number of tokens that prices are per.
const MILLION: i128 = 1_000_000;

/// Dollars per million tokens for the product of these ratios; `None` on overflow.
fn usd_a_million(factors: &[&str]) -> Option<String> {
    // One quota is two millionths of a dollar, so the price of a million tokens in quota is twice
    // that many dollars: in millionths of a dollar, as ratios are in millionths.
    let mut micros: i128 = 2 * MILLION;
    for factor in factors {
        let ratio: Ratio = factor.parse().ok()?;
        micros = micros.checked_mul(i128::from(ratio.micros()))? / MILLION;
    }
    let quota = i64::try_from(micros / 2).ok()?;
    Some(show::usd(Quota(quota)))
}

/// `GET /console/prices`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    if !visit.is_admin() {
        return own(&visit).await;
    }
    let lang = visit.lang();
    let unpriced = attention::now(&visit.state, &visit.actor).await?.unpriced_models;
    let shows_unpriced = visit.asked("show") == "unpriced";
    let tabs = html! {
        nav.tabs aria-label=(lang.say("价格", "Prices")) {
            a href=(ENTRY) aria-current=[(!shows_unpriced).then_some("page")] {
                (lang.say("已定价", "Priced"))
            }
            a href="/console/prices?show=unpriced" aria-current=[shows_unpriced.then_some("page")] {
                (lang.say("未定价", "Without a price")) " (" (unpriced.len()) ")"
            }
        }
    };
    let content = match shows_unpriced {
        true => without_price(lang, &unpriced),
        false => priced(&visit).await?,
    };
    let beside = html! {
        span.space {}
        a.button.primary href="/console/prices/edit" { (lang.say("新建价格", "New price")) }
    };
    let body = html! { (tabs) (content) };
    Ok(ShellPage::new(lang.say("价格", "Prices"), ENTRY).beside(beside).show(&visit, body))
}

async fn priced(visit: &Visit) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let page = ability::list(&visit.state, &visit.query(), visit.page_request()?).await?;
    Ok(html! {
        (filters(visit, typed(visit, "keyword", lang.say("模型", "Model"))))
        div #list {
            @if page.items.is_empty() {
                (parts::empty(
                    lang.say("没有价格的模型免费提供。", "A model without a price is served free."),
                    Some(("/console/prices/edit", lang.say("新建价格", "Set a price"))),
                ))
            } @else { (table(visit, &page.items)) }
            (pager(visit, &page))
        }
        p.muted.small {
            (lang.say(
                "每百万 Tokens 的美元价, 未乘分组与用户倍率; 1 倍率 = 每百万 Tokens $2。",
                "Dollars for a million tokens, before the ratios of group and user; \
                 a ratio of 1 is $2 a million.",
            ))
        }
    })
}

fn table(visit: &Visit, prices: &[AbilityView]) -> Markup {
    let lang = visit.lang();
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say("模型", "Model")) }
                    th { (lang.say("计价", "Priced")) }
                    th.num { (lang.say("输入 $/M", "Prompt $/M")) }
                    th.num { (lang.say("输出 $/M", "Completion $/M")) }
                    th.num.hide { (lang.say("缓存 $/M", "Cached $/M")) }
                    th.num { (lang.say("每次 $", "A call $")) }
                    th.num.hide { (lang.say("倍率", "Ratio")) }
                    th.num.hide { (lang.say("输出倍率", "Completion ratio")) }
                    (parts::acts_head(lang))
                } }
                tbody { @for price in prices { (row(visit, price)) } }
            }
        }
    }
}

fn row(visit: &Visit, price: &AbilityView) -> Markup {
    let lang = visit.lang();
    let name = &price.model_name;
    let ratio = Some(price.ratio.get()).filter(|ratio| *ratio != "null");
    let fixed = price.fixed_quota.filter(|quota| quota.0 != 0 || ratio.is_none());
    let by_use = ratio.filter(|_| fixed.is_none());
    let cell = |more: &[&str]| {
        let dollars = by_use.and_then(|ratio| {
            let mut factors = vec![ratio];
            factors.extend(more);
            usd_a_million(&factors)
        });
        html! { (dollars.as_deref().unwrap_or(show::NOTHING)) }
    };
    html! {
        tr {
            td { a href={ "/console/prices/edit?model=" (step(name)) } { (name) } }
            td { @match fixed {
                Some(_) => (lang.say("按次", "per call")),
                None => (lang.say("按量", "by use")),
            } @for word in price_schedule::words(price) { " · " (word) } }
            td.num { (cell(&[])) }
            td.num { (cell(&[price.completion_ratio.get()])) }
            td.num.hide { (cell(&[price.cache_ratio.get()])) }
            td.num { @match fixed {
                Some(quota) => (show::usd(quota)),
                None => (show::NOTHING),
            } }
            td.num.hide.muted { (by_use.unwrap_or(show::NOTHING)) }
            td.num.hide.muted {
                @if by_use.is_some() { (price.completion_ratio.get()) } @else { (show::NOTHING) }
            }
            td.acts {
                a href={ "/console/prices/edit?model=" (step(name)) } { (lang.say("编辑", "Edit")) }
                " "
                (action(visit, &format!("/console/prices/delete?model={}", step(name)),
                    lang.say("删除", "Delete"),
                    &tell!(lang, "删除 {name} 的价格? 该模型从此免费。",
                        "Delete the price of {name}? The model is free from then on.")))
            }
        }
    }
}

fn without_price(lang: Lang, models: &[String]) -> Markup {
    if models.is_empty() {
        let words = lang
            .say("渠道提供的每个模型都有价格。", "Every model that a channel serves has a price.");
        return parts::empty(words, None);
    }
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { (lang.say("模型", "Model")) }
                    th { (lang.say("现状", "Now")) }
                    (parts::acts_head(lang))
                } }
                tbody {
                    @for model in models {
                        tr {
                            td { (model) }
                            td { (parts::state("wait", lang.say("免费", "served free"))) }
                            td.acts { a href={ "/console/prices/edit?model=" (step(model)) } {
                                (lang.say("定价", "Set a price"))
                            } }
                        }
                    }
                }
            }
        }
    }
}

/// What a user pays, in their group.
async fn own(visit: &Visit) -> Handled {
    let lang = visit.lang();
    let prices = price::own(&visit.state, &visit.actor).await?;
    let money = |quota: Option<Quota>| {
        html! {
            td.num { @match quota {
                Some(quota) => (show::usd(quota)),
                None => span.muted { (show::NOTHING) },
            } }
        }
    };
    let row = |price: &OwnPrice| {
        html! {
            tr {
                td { a href=(super::play::address(&price.model_name)) { (price.model_name) } }
                td { @if price.free { (lang.say("免费", "free")) }
                    @else if price.a_call.is_some() { (lang.say("按次", "per call")) }
                    @else { (lang.say("按量", "by use")) }
                    @for word in price_schedule::own_words(price) { " · " (word) }
                }
                (money(price.prompt_million))
                (money(price.completion_million))
                (money(price.cached_million))
                (money(price.a_call))
            }
            @if let Some(formula) = price.formula.as_ref()
                .filter(|_| price_schedule::own_words(price).next().is_some()) {
                tr.more { td colspan="6" { code.break { (formula) } } }
            }
        }
    };
    let body = html! {
        p.muted { (tell!(lang, "分组 {} 的价格, 已含倍率。", "Prices in the group {}, with all ratios.",
            visit.actor.group)) }
        @if prices.is_empty() {
            (parts::empty(lang.say("没有可用的模型。", "There is no model to call."), None))
        } @else {
            div.scroll {
                table {
                    thead { tr {
                        th { (lang.say("模型", "Model")) }
                        th { (lang.say("计价", "Priced")) }
                        th.num { (lang.say("输入 $/M", "Prompt $/M")) }
                        th.num { (lang.say("输出 $/M", "Completion $/M")) }
                        th.num { (lang.say("缓存 $/M", "Cached $/M")) }
                        th.num { (lang.say("每次 $", "A call $")) }
                    } }
                    tbody { @for price in &prices { (row(price)) } }
                }
            }
        }
    };
    Ok(ShellPage::new(lang.say("价格", "Prices"), ENTRY).show(visit, body))
}

/// `GET /console/prices/edit?model=`
pub(crate) async fn edit(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let price = match visit.asked("model") {
        "" => None,
        model => match ability::get(&visit.state, model).await {
            Ok(price) => Some(price),
            Err(AdminError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        },
    };
    page(&visit, price.as_ref(), None)
}

/// `POST /console/prices/edit`
pub(crate) async fn save(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    match saved(&visit).await {
        Ok(_) => Ok(done(ENTRY, "saved")),
        Err(error) => page(&visit, None, Some(&Complaint::of(error, visit.lang())?)),
    }
}

const RATIOS: [&str; 5] =
    ["ratio", "completion_ratio", "cache_ratio", "image_ratio", "audio_ratio"];

fn object(visit: &Visit) -> Result<Object, AdminError> {
    let form = &visit.form;
    let mut object = Object::default().put("model_name", form.text("model_name"));
    // The page asks which of both it is, and saves nothing of the other.
    let kind = form.text("kind");
    if kind != "call" {
        let in_dollars = (form.text("unit") == "usd").then(|| ratios_of_dollars(form));
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

/// The ratios of prices that were typed in dollars a million tokens.
fn ratios_of_dollars(form: &Form) -> Result<Vec<(&'static str, String)>, AdminError> {
    let amount = |name: &str| -> Result<Option<i128>, AdminError> {
        Ok(form.amount(name)?.map(|quota| i128::from(quota) * 2))
    };
    let has_units = !form.text("units").is_empty();
    let Some(prompt) = amount("prompt_million")? else {
        if has_units {
            return Ok(RATIOS[..3].iter().map(|name| (*name, String::new())).collect());
        }
        let en = "is needed: dollars for a million prompt tokens";
        return Err(AdminError::field("prompt_million", "请填写每百万输入 Tokens 的美元价", en));
    };
    if prompt <= 0 {
        let en = "must be above $0: without a price the model is free";
        return Err(AdminError::field("prompt_million", "必须大于 0; 免费的模型不需要价格", en));
    }
    // A ratio of 1 is $2 a million; the others are worth so many prompt tokens.
    let ratio = |micros: i128| format!("{}.{:06}", micros / MILLION, micros % MILLION);
    let worth = |of: Option<i128>| {
        of.map_or(String::new(), |of| ratio((of * MILLION + prompt / 2) / prompt))
    };
    Ok(vec![
        ("ratio", ratio(prompt / 2)),
        ("completion_ratio", worth(amount("completion_million")?)),
        ("cache_ratio", worth(amount("cached_million")?)),
    ])
}

async fn saved(visit: &Visit) -> Result<AbilityView, AdminError> {
    let input = AbilityInput::read(object(visit)?.fields()?)?;
    ability::put(&visit.state, &visit.actor, input).await
}

/// `POST /console/prices/preview`: what the form comes to, while it is typed.
pub(crate) async fn preview(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    let lang = visit.lang();
    let part = match previewed(&visit).await {
        Ok(preview) => html! {
            code.break { (preview.formula) }
            p { (preview.calculation) " quota = " b { (show::usd(preview.charge)) } }
            p.muted { (tell!(lang, "调用前预扣 {}", "held before the call: {}",
                show::usd(preview.hold))) }
            @if preview.hold < preview.charge && visit.form.text("max_charge").is_empty() {
                @let least = show::usd(preview.charge);
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
    Ok(crate::visit::html(StatusCode::OK, part))
}

async fn previewed(visit: &Visit) -> Result<PricePreview, AdminError> {
    let form = &visit.form;
    let mut object = object(visit)?;
    for name in ["prompt_tokens", "completion_tokens"] {
        object = object.put_int(name, form.text(name));
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
            }
            div #preview role="status" hx-post="/console/prices/preview"
                hx-trigger="load, input from:#price-form delay:400ms" hx-include="closest form"
                hx-swap="innerHTML" {
                @if let Some(formula) = price.and_then(price_schedule::formula_of) {
                    code.break { (formula) }
                }
            }
        }
    }
}

/// `POST /console/prices/delete?model=`
pub(crate) async fn delete(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    ability::delete(&visit.state, &visit.actor, visit.asked("model")).await?;
    Ok(done(ENTRY, "deleted"))
}

fn page(visit: &Visit, price: Option<&AbilityView>, complaint: Option<&Complaint>) -> Handled {
    let lang = visit.lang();
    let fields = FormFields { lang: visit.lang(), form: &visit.form, complaint };
    let model = price.map_or_else(|| visit.asked("model"), |price| &price.model_name);
    let body = html! {
        form.form #price-form method="post" action="/console/prices/edit" {
            (csrf(visit))
            (parts::complaint(lang, complaint))
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
                button.primary { (lang.say("保存价格", "Save the price")) }
                a.button href=(ENTRY) { (lang.say("取消", "Cancel")) }
            }
        }
    };
    let title = match price {
        Some(price) => tell!(lang, "{} 的价格", "Price of {}", price.model_name),
        None => lang.say("新建价格", "New price").to_owned(),
    };
    Ok(form_page(visit, ShellPage::new(title, ENTRY), complaint, body))
}

fn kind_of(price: Option<&AbilityView>) -> &'static str {
    let by_use = |price: &AbilityView| {
        let fixed = price.fixed_quota;
        fixed.is_none_or(|quota| quota.0 == 0 && price.ratio.get() != "null")
    };
    if price.is_none_or(by_use) { "use" } else { "call" }
}

/// Prices are typed in dollars, unless these would not come back to the same ratios.
fn unit_of(price: Option<&AbilityView>) -> &'static str {
    let Some(price) = price.filter(|price| price.ratio.get() != "null") else { return "usd" };
    let ratios = [price.ratio.get(), price.completion_ratio.get(), price.cache_ratio.get()];
    let [prompt, completion, cached] = in_dollars(ratios);
    let typed = [
        ("prompt_million", prompt),
        ("completion_million", completion),
        ("cached_million", cached),
    ];
    let form = Form::of(&typed.map(|(name, text)| (name.to_owned(), text)));
    let same = |back: &str, ratio: &str| {
        let read = |text: &str| text.parse::<Ratio>().ok();
        read(back) == read(ratio) || (back.is_empty() && matches!(ratio, "null" | "1"))
    };
    let back = ratios_of_dollars(&form).ok();
    let keeps =
        back.is_some_and(|back| back.iter().zip(ratios).all(|((_, it), was)| same(it, was)));
    if keeps { "usd" } else { "ratio" }
}

/// The dollars a million tokens of these ratios: of the prompt, and of two that are relative to it.
fn in_dollars([ratio, completion, cached]: [&str; 3]) -> [String; 3] {
    let of = |factors: &[&str]| usd_a_million(factors).unwrap_or_default();
    [of(&[ratio]), of(&[ratio, completion]), of(&[ratio, cached])]
}

/// The fields of prices in dollars a million tokens, which is how vendors list them.
fn dollar_fields(lang: Lang, fields: &FormFields<'_>, price: Option<&AbilityView>) -> Markup {
    let ratios = price
        .map(|price| [price.ratio.get(), price.completion_ratio.get(), price.cache_ratio.get()]);
    let [prompt, completion, cached] = ratios.map(in_dollars).unwrap_or_default();
    html! {
        div.pair.in-dollars {
            (fields.field(FormField::new("prompt_million", lang.say("输入 $/M", "Prompt $/M"))
                .amount()
                .value(&prompt)
                .hint(lang.say("每百万 Tokens 的美元", "dollars a million tokens"))))
            (fields.field(FormField::new("completion_million",
                    lang.say("输出 $/M", "Completion $/M"))
                .amount()
                .value(&completion)
                .hint(lang.say("留空: 同输入", "empty: as the prompt"))))
            (fields.field(FormField::new("cached_million", lang.say("缓存 $/M", "Cached $/M"))
                .amount()
                .value(&cached)
                .hint(lang.say("留空: 同输入", "empty: as the prompt"))))
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
            (fields.ways(("unit", lang.say("单位", "In")), unit_of(price), &[
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
    let fixed = price.and_then(|price| price.fixed_quota).map(show::usd).unwrap_or_default();
    let least = price.map(|price| show::usd(price.min_hold)).unwrap_or_default();
    let most = price.and_then(|price| price.max_charge).map(show::usd).unwrap_or_default();
    html! {
        div.per-call {
            (fields.field(FormField::new("fixed_quota", lang.say("按次价格", "Price of a call"))
                .amount()
                .value(&fixed)
                .hint(lang.say("美元, 如 $0.02", "dollars, like $0.02"))))
        }
        div.pair.by-use {
            (fields.field(FormField::new("min_hold", lang.say("最低预扣", "Least hold"))
                .amount()
                .value(&least)
                .hint(lang.say("按量模型调用前预扣的美元", "dollars held before a call by use"))))
            (fields.field(FormField::new("max_charge", lang.say("最高收费", "Largest charge"))
                .amount()
                .value(&most)
                .hint(lang.say(
                    "按量模型单次调用最多收取的美元 (乘分组与用户倍率前); 留空不限",
                    "dollars that a call by use may charge, before group and user; empty: no bound"
                ))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_ratios() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> =
                pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            ratios_of_dollars(&Form::of(&pairs)).map_err(|error| error.to_string())
        };
        let ratios = of(&[("prompt_million", "$0.15"), ("completion_million", "0.6")]).unwrap();
        let ratios: Vec<&str> = ratios.iter().map(|(_, ratio)| ratio.as_str()).collect();
        assert_eq!(ratios, ["0.075000", "4.000000", ""]);
        let third = of(&[("prompt_million", "3"), ("completion_million", "10")]).unwrap();
        assert_eq!(third[1].1, "3.333333");
        assert!(of(&[]).is_err() && of(&[("prompt_million", "0")]).is_err());
    }

    #[test]
    fn a_ratio_in_dollars() {
        assert_eq!(usd_a_million(&["1"]).unwrap(), "$2.00");
        assert_eq!(usd_a_million(&["0.5"]).unwrap(), "$1.00");
        assert_eq!(usd_a_million(&["2", "1.5"]).unwrap(), "$6.00");
        assert_eq!(usd_a_million(&["0.000001"]).unwrap(), "$0.000002");
        assert_eq!(usd_a_million(&["x"]), None);
    }
}
