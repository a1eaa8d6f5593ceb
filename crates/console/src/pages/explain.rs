//! How a charge came about: the receipt of a call.

use super::log::type_word;
use super::{recent, users};
use crate::folds::folds;
use crate::lang::{Lang, tell};
use crate::shell::ShellPage;
use crate::visit::{Handled, Here, PageReply, Path, Visit, go_to, step};
use crate::{formula, notes, parts, show};
use admin::AdminError;
use admin::ops::log::balance;
use admin::ops::recent::{RecentCallView, RecentState};
use admin::ops::{audit, token, user};
use domain::{KeyId, Quota, UserId};
use http::StatusCode;
use ledger::{ExplainRequest, Explanation, HoldStory, JournalLine};
use maud::{Markup, html};
use std::collections::BTreeMap;
use uuid::Uuid;

const ENTRY: &str = "/console/explain";

/// Widest bar of a waterfall, in its own units.
const WIDTH: i128 = 430;

/// `GET /console/explain`: from a form, to the page of the id.
pub(crate) async fn search(Here(visit): Here) -> Handled {
    let id = visit.asked("id").trim();
    if id.is_empty() {
        return Ok(go_to("/console/log"));
    }
    Ok(go_to(&address_of(id, None)))
}

/// `GET /console/explain/{id}?hold=`: a call; of several with one id, which of them.
pub(crate) async fn show(Here(visit): Here, Path(id): Path<String>) -> Handled {
    let asked = ExplainRequest { id: id.clone(), ..audit::read_explained(&visit.query())? };
    let names_hold = asked.hold_id.is_some();
    let story = match audit::explain(&visit.state, &visit.actor, asked).await {
        Ok(story) => Some(story),
        Err(AdminError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // A call of the journal is this one, whatever else has its request id.
    let newest = story.as_ref().and_then(|story| story.holds.first());
    let request_id = newest.map_or(id.as_str(), |hold| hold.request_id.as_str());
    let calls = recent::of_request(&visit, request_id).await?;
    match story {
        Some(story) => match &*story.holds {
            [hold] if story.next_before.is_none() && visit.asked("before").is_empty() => {
                explained(&visit, &hold.request_id, hold, &calls).await
            }
            _ => several(&visit, &id, &story, &calls).await,
        },
        None if calls.is_empty() || names_hold => Ok(unknown(&visit, &id)),
        None => Ok(uncharged(&visit, &calls).await),
    }
}

/// The address of the page of a call.
pub(super) fn address_of(request_id: &str, hold: Option<Uuid>) -> String {
    let to = format!("{ENTRY}/{}", step(request_id));
    match hold {
        Some(hold) => format!("{to}?hold={hold}"),
        None => to,
    }
}

/// A call that is in the journal.
async fn explained(
    visit: &Visit,
    request_id: &str,
    hold: &HoldStory,
    calls: &[RecentCallView],
) -> Handled {
    let lang = visit.lang();
    // The same id may be of other calls, too: a call that was charged is none that failed.
    let mut of_owner = calls.iter().filter(|call| call.user_id == Some(UserId(hold.user_id)));
    let call = of_owner.next().filter(|_| of_owner.next().is_none() && hold.charged.0 == 0);
    let body = html! {
        (receipt(visit, hold, call).await?)
        // Copied, and not read out: it says once more what the page says.
        div.sr #as-text aria-hidden="true" { (as_text(lang, request_id, hold)) }
    };
    let beside = html! {
        span.mono.muted.break { (request_id) }
        span.space {}
        @if is_refundable(visit, hold).await? {
            @let of = format!("refund={}&hold={}", step(request_id), hold.hold_id);
            @let amount = hold.cost().0;
            a.button href={
                "/console/users/" (hold.user_id) "/adjust?" (of) "&amount=" (amount) "q"
            } { (lang.say("退款…", "Refund…")) }
        }
        button type="button" data-copy="as-text" { (lang.say("复制为文本", "Copy as text")) }
    };
    let title = match hold.charged.0 > 0 || hold.state == "held" {
        true => lang.say("这笔费用的由来", "How this charge came about"),
        false => lang.say("为何没有收费", "Why nothing was charged"),
    };
    Ok(ShellPage::new(title, "/console/log").beside(beside).show(visit, body))
}

/// The calls of an id that has several, the newest first: of a request, or of tasks.
async fn several(
    visit: &Visit,
    id: &str,
    story: &Explanation,
    calls: &[RecentCallView],
) -> Handled {
    let lang = visit.lang();
    let owners = story.holds.iter().map(|hold| UserId(hold.user_id));
    let names = match visit.is_admin() {
        true => user::names(&visit.state, &visit.actor, owners).await?,
        false => BTreeMap::new(),
    };
    let others = match visit.asked("before") {
        "" => recent::also_here(visit, calls).await?,
        _ => html! {},
    };
    let (title, why) = match story.holds.iter().all(|hold| hold.request_id == id) {
        true => (
            lang.say("同一请求 ID 的调用", "Calls of one request id"),
            lang.say(
                "多次调用使用了同一个请求 ID (由客户端选定), 最新的在前; 每次调用各有说明。",
                "Several calls have this request id, which clients choose; the newest stand \
                 first, and each has its own explanation.",
            ),
        ),
        false => (
            lang.say("同一编号的任务", "Tasks with one id"),
            lang.say(
                "上游给多个任务编了同一个编号, 最新的在前; 每个任务各有说明。",
                "Upstreams gave several tasks this id; the newest stand first, and each has its \
                 own explanation.",
            ),
        ),
    };
    let body = html! {
        p.note { (why) }
        (calls_table(visit, story, &names))
        @if let Some(before) = story.next_before {
            nav.pager { a.button href=(visit.with("before", &before.to_string())) {
                (lang.say("更早", "Older"))
            } }
        }
        (others)
    };
    let beside = html! { span.mono.muted.break { (id) } };
    Ok(ShellPage::new(title, "/console/log").beside(beside).show(visit, body))
}

fn calls_table(visit: &Visit, story: &Explanation, names: &BTreeMap<UserId, String>) -> Markup {
    let (lang, is_admin) = (visit.lang(), visit.is_admin());
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("时间", "Time")) }
                    @if is_admin { th.hide { (lang.say("用户", "User")) } }
                    th { (lang.say("状态", "State")) }
                    th.hide { (lang.say("模型", "Model")) }
                    th.num { (lang.say("费用", "Charge")) }
                    (parts::acts_head(lang))
                } }
                tbody { @for hold in &story.holds {
                    @let (kind, word) = standing(lang, hold);
                    @let name = names.get(&UserId(hold.user_id)).map_or("?", String::as_str);
                    tr {
                        td { (show::at(hold.created_at_ms / 1_000)) }
                        @if is_admin { td.hide.cut.short title=(name) {
                            a href={ "/console/users/" (hold.user_id) } { (name) }
                        } }
                        td { (parts::state(kind, word)) }
                        td.hide.cut title=(hold.model) { (hold.model) }
                        td.num { (show::amount(hold.cost())) }
                        td.acts {
                            a href=(address_of(&hold.request_id, Some(hold.hold_id)))
                                data-open="" { (lang.say("说明", "Explain")) }
                        }
                    }
                } }
            } }))
        }
    }
}

/// Whether the reader may give back what it cost.
async fn is_refundable(visit: &Visit, hold: &HoldStory) -> Result<bool, AdminError> {
    if !visit.is_admin() || hold.cost().0 <= 0 {
        return Ok(false);
    }
    match user::kept(&visit.state, UserId(hold.user_id)).await {
        Ok(owner) => Ok(users::reaches(visit, &owner)),
        Err(AdminError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A call that only this node's memory knows.
async fn uncharged(visit: &Visit, calls: &[RecentCallView]) -> PageReply {
    let lang = visit.lang();
    let mut parts = Vec::with_capacity(calls.len());
    for call in calls {
        parts.push(recent::receipt(visit, call).await);
    }
    let failed = calls.iter().any(|call| call.state == RecentState::Failed);
    let title = match failed {
        true => lang.say("这次调用为何失败", "Why this call failed"),
        false => lang.say("一次未收费的调用", "A call without a charge"),
    };
    let body = html! {
        @for part in parts { (part) }
        (recent::only_in_memory(visit))
    };
    let id = calls.first().map(|call| call.request_id.as_str()).unwrap_or_default();
    let beside = html! { span.mono.muted.break { (id) } };
    ShellPage::new(title, "/console/log").beside(beside).show(visit, body)
}

/// A request id that neither the journal nor this node's memory knows.
fn unknown(visit: &Visit, id: &str) -> PageReply {
    let lang = visit.lang();
    let body = html! {
        p.complaint role="alert" {
            (lang.say(
                "流水中没有这个请求, 本节点最近的失败与免费调用中也没有。",
                "The journal has no such request, and neither have the last failed and free calls \
                 of this node.",
            ))
        }
        (recent::only_in_memory(visit))
        div.buttons {
            a.button href="/console/log" { (lang.say("流水", "The journal")) }
            a.button href="/console/log?show=recent" {
                (lang.say("失败与免费的调用", "Failed and free calls"))
            }
        }
    };
    let beside = html! { span.mono.muted.break { (id) } };
    let title = lang.say("没有找到", "Not found");
    let page = ShellPage::new(title, "/console/log").status(StatusCode::NOT_FOUND);
    page.beside(beside).show(visit, body)
}

async fn receipt(
    visit: &Visit,
    hold: &HoldStory,
    call: Option<&RecentCallView>,
) -> Result<Markup, AdminError> {
    let lang = visit.lang();
    let balances = balances(visit, hold).await?;
    Ok(html! {
        div.receipt { (facts(visit, hold, call).await?) }
        (below_zero(visit, hold, &balances))
        h2.sec { (lang.say("资金去向", "Where the money went")) }
        div.receipt { (waterfall(lang, hold)) }
        h2.sec { (lang.say("冻结的价格", "The frozen price")) }
        div.formula {
            @if hold.calculation.is_empty() { (formula::in_words(lang, &hold.formula)) } @else {
                (formula::in_words(lang, &format!("{} quota", hold.calculation)))
                " = " (show::amount(hold.charged))
            }
        }
        @if !hold.calculation.is_empty() && !hold.formula.is_empty() {
            details.numbers {
                summary { (lang.say("完整公式", "The whole formula")) }
                span.mono { (formula::in_words(lang, &hold.formula)) }
            }
        }
        h2.sec { (lang.say("流水", "Journal")) }
        (journal(lang, &hold.lines, &balances))
    })
}

/// How a charge could take a balance below zero, and what keeps the next one from it.
fn below_zero(visit: &Visit, hold: &HoldStory, after: &[Option<Quota>]) -> Markup {
    let lang = visit.lang();
    let is_below = after.iter().flatten().any(|quota| quota.is_negative());
    if !is_below || hold.charged <= hold.held {
        return html! {};
    }
    let (held, charged) = (show::amount(hold.held), show::amount(hold.charged));
    html! {
        p.note {
            (tell!(lang,
                "余额因此低于零: 调用前预扣了 {held}, 用量结算为 {charged}, 已完成的工作照价收取。",
                "This took the balance below zero: {held} was held before the call, its use came \
                 to {charged}, and work that is done is charged."))
            @if visit.is_admin() {
                " " a href={ "/console/prices/edit?model=" (step(&hold.model)) } {
                    (lang.say("设置最低预扣或最高收费", "Set a least hold, or a largest charge"))
                }
            }
        }
    }
}

/// The balance after each line; none where the line is too old to say.
async fn balances(visit: &Visit, hold: &HoldStory) -> Result<Vec<Option<Quota>>, AdminError> {
    let lines: Vec<i64> = hold.lines.iter().map(|line| line.id).collect();
    let owner = UserId(hold.user_id);
    let after = balance::after_lines(&visit.state, &visit.actor, owner, &lines).await?;
    Ok(lines.iter().map(|line| after.get(line).copied()).collect())
}

async fn facts(
    visit: &Visit,
    hold: &HoldStory,
    call: Option<&RecentCallView>,
) -> Result<Markup, AdminError> {
    let (lang, state) = (visit.lang(), &visit.state);
    let owner = UserId(hold.user_id);
    let names = match visit.is_admin() {
        true => user::names(state, &visit.actor, [owner]).await?,
        false => [(owner, visit.actor.username.clone())].into(),
    };
    let channel = recent::channel_link(visit, hold.channel_id).await;
    let took = hold.closed_at_ms.map(|closed| closed - hold.created_at_ms);
    let (kind, word) = standing(lang, hold);
    let key = key_name(visit, hold).await?;
    let is_reached = user::out_of_reach(state, &visit.actor, [owner]).await?.is_empty();
    let usage = hold.lines.iter().find(|line| line.prompt_tokens + line.completion_tokens > 0);
    Ok(html! {
        dl.facts {
            dt { (lang.say("状态", "State")) } dd { (parts::state(kind, word)) }
            (failure(visit, hold, call))
            dt { (lang.say("用户", "User")) }
            dd {
                @if visit.is_admin() {
                    a href={ "/console/users/" (hold.user_id) } {
                        (names.get(&owner).map_or("?", String::as_str))
                    }
                } @else { (names.get(&owner).map_or("?", String::as_str)) }
                @if let Some((id, name)) = &key {
                    span.muted { " · " (lang.say("令牌", "key")) " " }
                    @match name {
                        Some(name) if !is_reached => (name),
                        Some(name) => a href={ "/console/keys/" (id.0) "/edit" } { (name) },
                        None => span.muted { "#" (id.0) " " (lang.say("(已删除)", "(deleted)")) },
                    }
                }
            }
            dt { (lang.say("模型", "Model")) }
            dd {
                (hold.model) (channel)
            }
            dt { (lang.say("时间", "Time")) }
            dd {
                (show::at(hold.created_at_ms / 1_000))
                @if let Some(took) = took { span.muted { " · " (show::duration_ms(took)) } }
            }
            @if let Some(usage) = usage {
                dt { (lang.say("用量", "Usage")) }
                dd {
                    (used(lang, usage))
                    @if !hold.usage_note.is_empty() {
                        div.muted { (notes::usage(lang, &hold.usage_note)) }
                    }
                }
            }
            @if let Some(task) = hold.task {
                dt { (lang.say("任务", "Task")) }
                dd { a href={ "/console/tasks/" (task) } { "#" (task) }
                    span.muted { " · " (lang.say("含其回调投递", "with the webhooks about it")) } }
            }
            @if !hold.fail_reason.is_empty() {
                dt { (lang.say("失败原因", "Failed")) } dd {
                    (notes::failure(lang, &hold.fail_reason))
                }
            }
            dt { (lang.say("费用", "Charge")) }
            dd {
                b { (show::money(hold.cost())) }
                @if hold.refunded.0 != 0 {
                    @let [charged, back] = [hold.charged, hold.refunded].map(show::amount);
                    span.muted { " · " (tell!(lang, "收取 {charged}, 退款 {back}",
                        "charged {charged}, refunded {back}")) }
                }
            }
        }
    })
}

/// The key that called, and its name while there is one.
async fn key_name(
    visit: &Visit,
    hold: &HoldStory,
) -> Result<Option<(KeyId, Option<String>)>, AdminError> {
    let Some(id) = hold.key_id.filter(|id| *id > 0).map(KeyId) else { return Ok(None) };
    match token::get(&visit.state, &visit.actor, id).await {
        Ok(key) if key.name.is_empty() => Ok(Some((id, Some(format!("#{id}"))))),
        Ok(key) => Ok(Some((id, Some(key.name)))),
        Err(AdminError::NotFound { .. }) => Ok(Some((id, None))),
        Err(error) => Err(error),
    }
}

fn used(lang: Lang, line: &JournalLine) -> String {
    let [prompt, cached, completion] =
        [line.prompt_tokens, line.cached_tokens, line.completion_tokens].map(show::count);
    match line.cached_tokens {
        0 => tell!(
            lang,
            "输入 {prompt} · 输出 {completion} Tokens",
            "{prompt} prompt · {completion} completion tokens"
        ),
        _ => tell!(
            lang,
            "输入 {prompt} (其中缓存 {cached}) · 输出 {completion} Tokens",
            "{prompt} prompt, {cached} of them cached · {completion} completion tokens"
        ),
    }
}

/// Why a hold was given back: in the journal's word, and, while it is remembered, in detail.
fn failure(visit: &Visit, hold: &HoldStory, call: Option<&RecentCallView>) -> Markup {
    let lang = visit.lang();
    let reason = hold.lines.iter().find(|line| line.kind == "error");
    let detailed = call.filter(|call| call.state == RecentState::Failed);
    html! {
        @if let Some(line) = reason {
            dt { (lang.say("退还原因", "Released because")) }
            dd { (notes::line(lang, &line.content)) }
        }
        @match detailed {
            Some(call) => (recent::failure_rows(lang, call)),
            None if reason.is_some() => {
                dt { (lang.say("状态码", "Status")) }
                dd.muted { (lang.say(
                    "本节点的内存中已没有这次调用; 见节点的日志文件。",
                    "no longer in this node's memory; see the node's log file",
                )) }
            },
            None => {},
        }
    }
}

/// The state of a hold, with what was given back of its charge since.
fn standing(lang: Lang, hold: &HoldStory) -> (&'static str, &'static str) {
    match hold.refunded.0 {
        0 => state_of(lang, hold.state),
        _ if hold.cost().0 > 0 => ("on", lang.say("已结算, 部分退款", "settled, refunded in part")),
        _ => ("off", lang.say("已结算, 全部退款", "settled, and refunded")),
    }
}

pub(super) fn state_of(lang: Lang, state: &str) -> (&'static str, &'static str) {
    let (kind, zh, en) = match state {
        "settled" => ("on", "已结算", "settled"),
        "released" => ("off", "已退还, 未收费", "released: nothing was charged"),
        "expired" => ("bad", "结果未知, 到期退还", "outcome unknown: given back at its deadline"),
        _ => ("wait", "预扣中", "on hold"),
    };
    (
        kind,
        match lang {
            Lang::Zh => zh,
            Lang::En => en,
        },
    )
}

/// Held, settled, given back: on one axis of money.
fn waterfall(lang: Lang, hold: &HoldStory) -> Markup {
    let most = i128::from(hold.held.0.max(hold.charged.0).max(1));
    let width =
        |quota: i64| (i128::from(quota.max(0)) * WIDTH / most).max(i128::from(quota > 0) * 2);
    let back = hold.held.0 - hold.charged.0;
    let ended = hold.state != "held";
    let held_by = match hold.held_by {
        "price" => lang.say("按固定价", "its price"),
        "min_hold" => lang.say("最低预扣", "the least hold"),
        "max_charge" => lang.say("最高收费", "the largest charge"),
        "estimate" => lang.say("预估", "an estimate"),
        _ => "",
    };
    let mut rows = vec![(lang.say("预扣", "Held"), "held", 0, hold.held, held_by)];
    if ended {
        rows.push((lang.say("结算", "Charged"), "spent", 0, hold.charged, ""));
    }
    if ended && back > 0 {
        let from = width(hold.charged.0);
        rows.push((lang.say("退还", "Released"), "back", from, Quota(back), ""));
    }
    if ended && back < 0 && hold.held.0 > 0 {
        let more = lang.say("超出预扣", "Beyond hold");
        rows.push((more, "beyond", width(hold.held.0), Quota(-back), ""));
    }
    if hold.refunded.0 > 0 {
        let word = lang.say("退款", "Refunded");
        rows.push((word, "back", width(hold.cost().0), hold.refunded, ""));
    }
    html! {
        div.fall role="group" aria-label=(lang.say(
            "预扣、结算、退还与退款的金额", "what was held, charged, released and refunded"
        )) {
            @for (label, class, from, quota, note) in &rows {
                span.muted { (label) }
                span.num { (show::amount(*quota)) " " span.q { (show::count(quota.0)) } " "
                    span.muted.small { (note) } }
                svg viewBox={ "0 0 " (WIDTH) " 20" } preserveAspectRatio="none" aria-hidden="true" {
                    rect class=(class) x=(from) y="0" width=(width(quota.0)) height="20" {}
                }
            }
        }
    }
}

fn journal(lang: Lang, lines: &[JournalLine], after: &[Option<Quota>]) -> Markup {
    let balance = |quota: Option<Quota>| {
        html! {
            td.num { @match quota {
                Some(quota) => (show::amount_whole(quota)),
                None => span.muted { (show::NOTHING) },
            } }
        }
    };
    html! {
        div.scroll {
            (folds(lang, &html! { table {
                thead { tr {
                    th { (lang.say("时间", "Time")) }
                    th { (lang.say("类型", "Type")) }
                    th.num.hide { (lang.say("金额 (额度)", "Amount (quota)")) }
                    th.num { (lang.say("变动", "Moved")) }
                    th.num.hide { (lang.say("之前", "Before")) }
                    th.num.hide { (lang.say("之后", "After")) }
                    th.hide { (lang.say("说明", "Note")) }
                } }
                tbody {
                    @for (line, after) in lines.iter().zip(after) {
                        tr {
                            td { (show::at(line.at_ms / 1_000)) }
                            td { (type_word(lang, &line.kind).unwrap_or(&line.kind)) }
                            (show::count_cell(line.quota.0))
                            (show::moved_cell(line.delta))
                            (balance(after.and_then(|after| after.checked_sub(line.delta))))
                            (balance(*after))
                            td.wrap.muted { (notes::line(lang, &line.content)) }
                        }
                    }
                }
            } }))
        }
    }
}

/// As `newapi explain` prints it, near enough to be pasted into a message.
fn as_text(lang: Lang, request_id: &str, hold: &HoldStory) -> String {
    let mut text = format!("{} {request_id}\n", lang.say("请求", "request"));
    let HoldStory { model, held, charged, refunded, .. } = hold;
    let (_, state) = state_of(lang, hold.state);
    let [formula, calculation] =
        [&hold.formula, &hold.calculation].map(|text| formula::in_words(lang, text));
    let dollars = show::amount(*charged);
    text.push_str(&tell!(
        lang,
        "模型 {model}  {state}  预扣 {held} 费用 {charged} ({dollars}) 退款 {refunded}\n公式 \
         {formula}\n{calculation}\n",
        "model {model}  {state}  held {held} charged {charged} ({dollars}) refunded \
         {refunded}\nformula {formula}\n{calculation}\n"
    ));
    if !hold.usage_note.is_empty() {
        text.push_str(&notes::usage(lang, &hold.usage_note));
        text.push('\n');
    }
    for line in &hold.lines {
        let kind = type_word(lang, &line.kind).unwrap_or(&line.kind);
        let content = notes::line(lang, &line.content);
        text.push_str(&format!("  {kind} {} {} {content}\n", line.quota, line.delta));
    }
    text
}
