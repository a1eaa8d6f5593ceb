//! Prices: the grid in dollars and in ratios, models without a price, and groups. Users see what
//! they pay.

use super::price_dollars::{self, MillionPrice};
use super::{for_admins, period, price_form, price_schedule};
use crate::columns::{Column, Columns};
use crate::folds::folds;
use crate::lang::tell;
use crate::parts::{self, action, filters, pager, pager_with, typed};
use crate::shell::ShellPage;
use crate::unfit::empty_or_unfit;
use crate::visit::{Handled, Here, Visit, done, step};
use crate::{formula, show};
use admin::ops::ability::{self, AbilityView};
use admin::ops::log::{SPENT, month_days};
use admin::ops::price::{self, OwnPrice};
use admin::ops::unpriced::{self, UnpricedModel};
use admin::{AdminError, Page, PageRequest, Query};
use domain::{DAY_MS, Quota, UnixMs};
use maud::{Markup, html};

const ENTRY: &str = "/console/prices";
/// `GET /console/prices`
pub(crate) async fn list(Here(visit): Here) -> Handled {
    if !visit.is_admin() {
        return own(&visit).await;
    }
    let lang = visit.lang();
    let shows_unpriced = visit.asked("show") == "unpriced";
    // Each tab says how many it has; the one that is shown reads its page as well.
    let first = PageRequest { page: 1, size: 1 };
    let (request, query) = match shows_unpriced {
        true => (visit.page_request()?, visit.query()),
        false => (first, Query::default()),
    };
    let unpriced = unpriced::list(&visit.state, &visit.actor, &query, request).await?;
    let tabs = html! {
        nav.tabs aria-label=(lang.say("价格", "Prices")) {
            a href=(ENTRY) aria-current=[(!shows_unpriced).then_some("page")] {
                (lang.say("已定价", "Priced"))
            }
            a href="/console/prices?show=unpriced" aria-current=[shows_unpriced.then_some("page")] {
                (lang.say("未定价", "Without a price")) " (" (show::count(unpriced.total)) ")"
            }
        }
    };
    let content = match shows_unpriced {
        true => without_price(&visit, &unpriced),
        false => priced(&visit).await?,
    };
    let beside = html! {
        span.space {}
        a.button href="/api/price/export" download="" { (lang.say("导出 CSV", "Export CSV")) }
        a.button href="/console/prices/paste" { (lang.say("粘贴表格", "Paste a table")) }
        a.button.primary href="/console/prices/edit" { (lang.say("新建价格", "New price")) }
    };
    let body = html! { (rounded(&visit).await?) (tabs) (content) };
    Ok(ShellPage::new(lang.say("价格", "Prices"), ENTRY).beside(beside).show(&visit, body))
}

/// What a price that was just saved comes to, where that is not what was typed.
async fn rounded(visit: &Visit) -> Result<Markup, AdminError> {
    let model = visit.asked("saved");
    if model.is_empty() {
        return Ok(html! {});
    }
    let lang = visit.lang();
    let price = match ability::get(&visit.state, model).await {
        Ok(price) => price,
        Err(AdminError::NotFound { .. }) => return Ok(html! {}),
        Err(error) => return Err(error),
    };
    let labels = ["", lang.say("输出", "completion"), lang.say("缓存", "cached")];
    let told =
        labels.into_iter().zip(price_dollars::of_row(&price)).filter_map(|(label, price)| {
            let MillionPrice { meant, exact } = price?;
            let exact = exact?;
            Some(tell!(lang, "{label} {meant} 实为 {exact}", "{label} {meant} is {exact}"))
        });
    let told: Vec<String> = told.collect();
    Ok(html! {
        @if !told.is_empty() {
            p.note { (tell!(lang,
                "{model}: 倍率有六位小数, 每百万 Tokens {}。",
                "{model}: ratios have six places, so of a million tokens {}.",
                told.join(", "))) }
        }
    })
}

async fn priced(visit: &Visit) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let page = ability::list(&visit.state, &visit.query(), visit.page_request()?).await?;
    let edited = page.items.iter().find(|price| price.model_name == visit.asked("edit"));
    let edited = match edited {
        Some(price) => Some((price.model_name.as_str(), price_form::in_row(visit, price).await?)),
        None => None,
    };
    let columns = columns(visit);
    Ok(html! {
        (filters(visit, typed(visit, "keyword", lang.say("模型", "Model"))))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(
                    visit,
                    match unpriced::are_refused(&visit.state) {
                        true => lang.say("没有价格的模型会被拒绝。",
                            "Calls of a model without a price are refused."),
                        false => lang.say("没有价格的模型免费提供。",
                            "A model without a price is served free."),
                    },
                    Some(("/console/prices/edit", lang.say("新建价格", "Set a price"))),
                ))
            } @else { (columns.table(&rows(&columns, &page.items, edited.as_ref()))) }
            (pager_with(visit, &page, &columns.menu()))
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

/// The rows; one may have its form below it.
fn rows(
    columns: &Columns<'_, AbilityView>,
    prices: &[AbilityView],
    edited: Option<&(&str, Markup)>,
) -> Markup {
    html! {
        tbody { @for price in prices {
            tr { (columns.cells(price)) }
            @if let Some((model, form)) = edited && *model == price.model_name {
                // The link that opened it is gone with the list: the focus goes here.
                tr.open #edited {
                    td colspan=(columns.across()) tabindex="-1" autofocus { (form) }
                }
            }
        } }
    }
}

type PriceColumn<'a> = Column<'a, AbilityView>;

fn columns(visit: &Visit) -> Columns<'_, AbilityView> {
    let lang = visit.lang();
    let days = month_days(&visit.state);
    let mut all = vec![
        PriceColumn::thing(lang.say("模型", "Model"), |price| {
            let name = &price.model_name;
            let to = format!("/console/prices/edit?model={}", step(name));
            html! { td.cut title=(name) { a href=(to) { (name) } } }
        }),
        PriceColumn::new("priced", lang.say("计价", "Priced"), move |price| {
            html! { td {
                @if fixed(price).is_some() { (lang.say("按次", "per call")) }
                @else { (lang.say("按量", "by use")) }
                @for word in price_schedule::words(lang, price) { " · " (word) }
            } }
        })
        .wide(),
    ];
    all.extend(dollar_columns(visit));
    all.extend([
        PriceColumn::new("ratio", lang.say("倍率", "Ratio"), |price| {
            html! { td.num.muted { (by_use(price).unwrap_or(show::NOTHING)) } }
        })
        .number()
        .wide(),
        PriceColumn::new(
            "completion_ratio",
            lang.say("输出倍率", "Completion ratio"),
            |price| {
                let ratio = by_use(price).map(|_| price.completion_ratio.get());
                html! { td.num.muted { (ratio.unwrap_or(show::NOTHING)) } }
            },
        )
        .number()
        .wide(),
        PriceColumn::new("channels", lang.say("渠道", "Channels"), channels_cell).number().wide(),
        PriceColumn::new(
            "used_30d",
            tell!(lang, "{days} 天消耗", "Used {days} d"),
            move |price| used_cell(visit, price),
        )
        .number()
        .wide(),
        PriceColumn::tool(parts::acts_head(lang), move |price| actions_cell(visit, price)),
    ]);
    Columns::of(visit, "prices", all)
}

/// What is paid, in dollars.
fn dollar_columns(visit: &Visit) -> [PriceColumn<'_>; 4] {
    let lang = visit.lang();
    let million = |nth: usize| {
        move |price: &AbilityView| {
            let [prompt, completion, cached] = price_dollars::of_row(price);
            let dollars = [prompt, completion, cached].into_iter().nth(nth).flatten();
            html! { td.num { @match dollars.filter(|_| by_use(price).is_some()) {
                Some(MillionPrice { meant, exact }) => {
                    (show::meant_price(&meant, exact.as_deref()))
                }
                None => (show::NOTHING),
            } } }
        }
    };
    let a_call = |price: &AbilityView| {
        html! { td.num { @match fixed(price) {
            Some(quota) => (show::amount(quota)),
            None => (show::NOTHING),
        } } }
    };
    [
        PriceColumn::new("prompt", lang.say("输入 $/M", "Prompt $/M"), million(0)).number(),
        PriceColumn::new("completion", lang.say("输出 $/M", "Completion $/M"), million(1)).number(),
        PriceColumn::new("cached", lang.say("缓存 $/M", "Cached $/M"), million(2)).number().wide(),
        PriceColumn::new("call", lang.say("每次", "A call"), a_call).number(),
    ]
}

/// The price of a call, of models that have one.
fn fixed(price: &AbilityView) -> Option<Quota> {
    let has_ratio = price.ratio.get() != "null";
    price.fixed_quota.filter(|quota| quota.0 != 0 || !has_ratio)
}

/// The ratio, of models that are priced by use.
fn by_use(price: &AbilityView) -> Option<&str> {
    Some(price.ratio.get()).filter(|ratio| *ratio != "null" && fixed(price).is_none())
}

fn actions_cell(visit: &Visit, price: &AbilityView) -> Markup {
    let (lang, name) = (visit.lang(), &price.model_name);
    let edit = visit.on_this_page("edit", name);
    let delete = format!("/console/prices/delete?model={}", step(name));
    let asks = match unpriced::are_refused(&visit.state) {
        true => tell!(
            lang,
            "删除 {name} 的价格? 该模型的调用从此被拒绝。",
            "Delete the price of {name}? Its calls are refused from then on."
        ),
        false => tell!(
            lang,
            "删除 {name} 的价格? 该模型从此免费。",
            "Delete the price of {name}? The model is free from then on."
        ),
    };
    html! {
        td.acts {
            a href={ (edit) "#edited" } hx-get=(edit) hx-target="#list" hx-select="#list"
                hx-swap="outerHTML" hx-push-url="true" { (lang.say("编辑", "Edit")) }
            " "
            (action(visit, &delete, lang.say("删除", "Delete"), &asks))
        }
    }
}

/// How many channels serve a model. What a pattern prices stands under other names, so that no list
/// has it.
fn channels_cell(price: &AbilityView) -> Markup {
    let (name, channels) = (&price.model_name, price.channels.unwrap_or(0));
    html! {
        td.num {
            @if name.contains('*') || channels == 0 { (show::count(channels)) }
            @else { a href={ "/console/channels?status=1&model=" (step(name)) } {
                (show::count(channels))
            } }
        }
    }
}

/// What its calls cost lately.
fn used_cell(visit: &Visit, price: &AbilityView) -> Markup {
    let (name, used) = (&price.model_name, price.used_30d.unwrap_or_default());
    html! {
        td.num {
            @if name.contains('*') || used.0 == 0 { (show::amount_whole(used)) }
            @else {
                a href={ "/console/log?type=" (SPENT) "&model=" (step(name)) "&"
                    (period::since(month_start(visit))) } {
                    (show::amount_whole(used))
                }
            }
        }
    }
}

/// When the days began that end with today, as those are counted.
fn month_start(visit: &Visit) -> UnixMs {
    let today = visit.state.clock.now().0.div_euclid(DAY_MS);
    UnixMs((today + 1 - month_days(&visit.state)) * DAY_MS)
}

fn without_price(visit: &Visit, models: &Page<UnpricedModel>) -> Markup {
    let lang = visit.lang();
    let (kind, now) = match unpriced::are_refused(&visit.state) {
        true => ("bad", lang.say("被拒绝", "refused")),
        false => ("wait", lang.say("免费", "served free")),
    };
    let keyword = visit.asked("keyword");
    if models.total == 0 && keyword.is_empty() {
        let words = lang
            .say("渠道提供的每个模型都有价格。", "Every model that a channel serves has a price.");
        return parts::empty(words, None);
    }
    html! {
        form.bar method="get" action=(ENTRY) {
            input type="hidden" name="show" value="unpriced";
            (typed(visit, "keyword", lang.say("模型", "Model")))
            button { (lang.say("筛选", "Filter")) }
        }
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("模型", "Model")) }
                    th { (lang.say("现状", "Now")) }
                    th.num { (lang.say("渠道", "Channels")) }
                    th.num { (lang.say("调用, 3 小时", "Calls, 3 h")) }
                    (parts::acts_head(lang))
                } }
                tbody {
                    @for UnpricedModel { model_name, channels, calls } in &models.items {
                        tr {
                            td.cut title=(model_name) { (model_name) }
                            td { (parts::state(kind, now)) }
                            (show::count_cell(*channels))
                            td.num { @match calls {
                                Some(calls) => (show::count(calls.cast_signed())),
                                None => span.muted { (show::NOTHING) },
                            } }
                            td.acts { a href={ "/console/prices/edit?model=" (step(model_name)) } {
                                (lang.say("定价", "Set a price"))
                            } }
                        }
                    }
                }
            } }))
        }
        (pager(visit, models))
        p.muted.small { (lang.say(
            "调用次数: 本节点最近 3 小时的请求, 包括免费和失败的。",
            "Calls: requests of the last 3 hours on this node, free and failed ones included.",
        )) }
    }
}

/// What a user pays, in their group.
async fn own(visit: &Visit) -> Handled {
    let lang = visit.lang();
    let mut prices = price::own(&visit.state, &visit.actor).await?;
    let keyword = visit.asked("keyword").to_lowercase();
    prices.retain(|price| price.model_name.to_lowercase().contains(&keyword));
    let page = Page::of_all(prices, visit.page_request()?);
    let million = |quota: Option<Quota>| {
        html! {
            td.num { @match quota {
                Some(quota) => (show::million(quota)),
                None => span.muted { (show::NOTHING) },
            } }
        }
    };
    let money = |quota: Option<Quota>| {
        html! {
            td.num { @match quota {
                Some(quota) => (show::amount(quota)),
                None => span.muted { (show::NOTHING) },
            } }
        }
    };
    let refused = unpriced::are_refused(&visit.state);
    let row = |price: &OwnPrice| {
        html! {
            tr {
                td.cut title=(price.model_name) {
                    a href=(super::play::address(&price.model_name)) { (price.model_name) }
                }
                td { @if price.free && refused {
                        span.bad { (lang.say("未定价, 被拒绝", "no price: refused")) }
                    }
                    @else if price.free { (lang.say("免费", "free")) }
                    @else if price.a_call.is_some() { (lang.say("按次", "per call")) }
                    @else { (lang.say("按量", "by use")) }
                    @for word in price_schedule::own_words(lang, price) { " · " (word) }
                }
                (million(price.prompt_million))
                (million(price.completion_million))
                (million(price.cached_million))
                (money(price.a_call))
            }
            @if let Some(formula) = price.formula.as_ref()
                .filter(|_| price_schedule::own_words(lang, price).next().is_some()) {
                tr.more { td colspan="6" { code.break { (formula::in_words(lang, formula)) } } }
            }
        }
    };
    let body = html! {
        p.muted { (tell!(lang, "分组 {} 的价格, 已含倍率。", "Prices in the group {}, with all ratios.",
            visit.actor.group)) }
        (filters(visit, typed(visit, "keyword", lang.say("模型", "Model"))))
        div #list {
            @if page.items.is_empty() {
                (empty_or_unfit(
                    visit, lang.say("没有可用的模型。", "There is no model to call."), None))
            } @else { div.scroll {
                (folds(lang, &html! { table {
                    thead { tr {
                        th { (lang.say("模型", "Model")) }
                        th.hide { (lang.say("计价", "Priced")) }
                        th.num { (lang.say("输入/百万", "Prompt/M")) }
                        th.num { (lang.say("输出/百万", "Completion/M")) }
                        th.num.hide { (lang.say("缓存/百万", "Cached/M")) }
                        th.num { (lang.say("每次", "A call")) }
                    } }
                    tbody { @for price in &page.items { (row(price)) } }
                } }))
            } }
            (pager(visit, &page))
        }
    };
    Ok(ShellPage::new(lang.say("价格", "Prices"), ENTRY).show(visit, body))
}

/// `POST /console/prices/delete?model=`
pub(crate) async fn delete(Here(visit): Here) -> Handled {
    for_admins(&visit)?;
    ability::delete(&visit.state, &visit.actor, visit.asked("model")).await?;
    Ok(done(&price_form::list_of(&visit), "deleted"))
}
