//! Pieces of pages: states, forms, lists, charts.

use crate::form::{Complaint, Form, NO_AMOUNT};
use crate::lang::{Lang, tell};
use crate::shell::{self, csrf};
use crate::show;
use crate::unit::Unit;
use crate::visit::{PageReply, Visit};
use admin::Page;
use admin::ops::log::usage::{UsagePoint, UsageSeries};
use http::StatusCode;
use maud::{Markup, PreEscaped, html};
use serde_json::json;

/// A header of what a page asks by itself: an open page does not keep a session from ending.
pub(crate) const BACKGROUND: &str = r#"{"X-Background":"1"}"#;

/// A dot and a word: never colour alone.
pub(crate) fn state(kind: &str, word: &str) -> Markup {
    html! { span class={ "state " (kind) } { (word) } }
}

/// 1 enabled, 2 disabled, 3 disabled because it failed.
pub(crate) fn on_or_off(lang: Lang, status: i64) -> Markup {
    match status {
        1 => state("on", lang.say("启用", "On")),
        3 => state("bad", lang.say("自动禁用", "Off: failed")),
        _ => state("off", lang.say("禁用", "Off")),
    }
}

/// The head of the column of actions, which screen readers announce.
pub(crate) fn acts_head(lang: Lang) -> Markup {
    html! { th { span.sr { (lang.say("操作", "Actions")) } } }
}

/// The content of an empty list: what it is for, and the next step.
pub(crate) fn empty(words: &str, next: Option<(&str, &str)>) -> Markup {
    html! {
        div.empty {
            p { (words) }
            @if let Some((to, label)) = next { a.button href=(to) { (label) } }
        }
    }
}

/// What is wrong with the form below; the field itself says it, too.
pub(crate) fn complaint(lang: Lang, complaint: Option<&Complaint>) -> Markup {
    html! {
        @if let Some(Complaint { field, words }) = complaint {
            p #complaint.complaint role="alert" {
                @if !field.is_empty() {
                    a href={ "#f-" (field) } { (field_label(lang, field)) } ": "
                }
                (words)
            }
        }
    }
}

/// The same, in a line.
pub(crate) fn said(lang: Lang, complaint: &Complaint) -> String {
    match complaint.field.as_str() {
        "" => complaint.words.clone(),
        field => format!("{}: {}", field_label(lang, field), complaint.words),
    }
}

/// What a field may be chosen from.
pub(crate) fn datalist<'a>(id: &str, all: impl IntoIterator<Item = &'a str>) -> Markup {
    html! { datalist id=(id) { @for one in all { option value=(one) {} } } }
}

/// A field of the API by the label that forms give it.
pub(crate) fn field_label(lang: Lang, field: &str) -> &str {
    let (zh, en) = match field {
        "again" => ("再次输入", "Again"),
        "channel_id" => ("渠道", "Channel"),
        "end_time" => ("结束时间", "Until"),
        "start_time" => ("开始时间", "From"),
        "target_user_id" => ("对象用户", "Done to (user)"),
        "type" => ("类型", "Type"),
        "auto_ban" => ("连续失败时暂停", "Pause it while it keeps failing"),
        "csv" => ("价格表", "Table"),
        "custompass_status_mapping" => ("任务状态词", "Status words of tasks"),
        "meters" => ("计量倍率", "Meters"),
        "reference" => ("变动的名称", "Name of the movement"),
        "refund_hold" => ("退款的预扣费", "Hold that is refunded"),
        "refund_of" => ("退款的调用", "Call that is refunded"),
        "reversal_of" => ("冲正的流水", "Line that is reversed"),
        "secret" => ("签名密钥", "Secret"),
        "status" => ("状态", "State"),
        "tiers" => ("分档", "Tiers"),
        "units" => ("计件", "Units"),
        "unlimited_quota" => ("不限额度", "No limit of its own"),
        "allow_ips" => ("允许的地址", "Addresses it may be used from"),
        "amount" | "quota" => ("金额", "Amount"),
        "base_url" => ("地址", "Address"),
        "below" => ("余额低于零", "Below zero"),
        "code" => ("兑换码", "Code"),
        "completion_million" => ("输出 $/M", "Completion $/M"),
        "completion_ratio" => ("输出倍率", "Completion ratio"),
        "count" => ("数量", "How many"),
        "cached_million" => ("缓存 $/M", "Cached $/M"),
        "cache_ratio" => ("缓存倍率", "Cache ratio"),
        "daily_limit" => ("每日限额", "Daily limit"),
        "display_name" => ("显示名称", "Display name"),
        "events" => ("事件", "Events"),
        "expired_time" | "ends" => ("到期", "Ends"),
        "fixed_quota" => ("按次价格", "Price of a call"),
        "group" | "group_name" => ("分组", "Group"),
        "groups" => ("分组", "Groups"),
        "grace_seconds" => ("现在的密钥还有效", "The present secret still works for"),
        "key" | "token_id" => ("密钥", "Key"),
        "key_hint" => ("密钥", "Secret"),
        "previous_until" => ("旧密钥有效至", "Old secret until"),
        "max_charge" => ("最高收费", "Largest charge"),
        "min_hold" => ("最低预扣", "Least hold"),
        "model_mapping" => ("模型映射", "Model mapping"),
        "model" | "model_name" => ("模型", "Model"),
        "models" => ("模型", "Models"),
        "monthly_limit" => ("每月限额", "Monthly limit"),
        "name" => ("名称", "Name"),
        "new_password" => ("新密码", "New password"),
        "old_password" => ("原密码", "Old password"),
        "other" => ("令牌请求头", "Header of the caller's key"),
        "param_override" => ("参数覆盖", "Parameters put in"),
        "password" => ("密码", "Password"),
        "priority" => ("优先级", "Priority"),
        "prompt_million" => ("输入 $/M", "Prompt $/M"),
        "protocol" => ("协议", "Protocol"),
        "rate_limit_rpm" => ("每分钟请求数", "Requests a minute"),
        "rate_limit_tpm" => ("每分钟 Tokens", "Tokens a minute"),
        "ratio" => ("倍率", "Ratio"),
        "reason" => ("原因", "Reason"),
        "remain_quota" => ("剩余额度", "May still spend"),
        "remark" => ("备注", "Remark"),
        "role" => ("角色", "Role"),
        "setting" => ("设置", "Setting"),
        "status_code_mapping" => ("状态码映射", "Status mapping"),
        "tag" => ("标签", "Tag"),
        "threshold" => ("余额低于此数时通知", "Notify when the balance is below"),
        "url" => ("回调地址", "Address"),
        "user" | "user_id" => ("用户", "User"),
        "username" => ("用户名", "User name"),
        "value" => ("值", "Value"),
        "weight" => ("权重", "Weight"),
        other => return other,
    };
    match lang {
        Lang::Zh => zh,
        Lang::En => en,
    }
}

/// A form in the making: what was typed stands in it again when it was refused.
pub(crate) struct FormFields<'a> {
    pub(crate) lang: Lang,
    pub(crate) form: &'a Form,
    pub(crate) complaint: Option<&'a Complaint>,
    /// The fields have what was typed, and not what is stored.
    pub(crate) is_typed: bool,
}

impl<'a> FormFields<'a> {
    /// Fields that have what was typed where the form is complained about.
    pub(crate) const fn new(lang: Lang, form: &'a Form, complaint: Option<&'a Complaint>) -> Self {
        Self { lang, form, complaint, is_typed: complaint.is_some() }
    }
}

/// A field of a form.
#[derive(Clone, Copy)]
pub(crate) struct FormField<'a> {
    name: &'a str,
    label: &'a str,
    hint: &'a str,
    value: &'a str,
    required: bool,
    kind: &'a str,
    list: &'a str,
    takes: Takes,
    /// The script shows what it comes to: the balance then, and what the button does.
    is_shown: bool,
}

/// What is read of a field's text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    /// A price, in dollars on every console.
    Dollars,
    /// An amount in the unit of the console, in dollars or as quota: beside it stands what it is
    /// as the other.
    Amount,
}

impl Takes {
    fn reads(self, text: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Dollars => Unit::default().read(text).is_some(),
            Self::Amount => show::read_amount(text).is_some(),
        }
    }
}

impl<'a> FormField<'a> {
    pub(crate) const fn new(name: &'a str, label: &'a str) -> Self {
        Self {
            name,
            label,
            hint: "",
            value: "",
            required: false,
            kind: "text",
            list: "",
            takes: Takes::Text,
            is_shown: false,
        }
    }

    /// Adds a line below that describes the accepted values.
    pub(crate) const fn hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }

    /// What it is now.
    pub(crate) const fn value(self, value: &'a str) -> Self {
        Self { value, ..self }
    }

    /// It takes an amount in the unit of the console, dollars, or quota with a q.
    pub(crate) const fn amount(self) -> Self {
        Self { takes: Takes::Amount, ..self }
    }

    /// It takes a price as vendors list it.
    pub(crate) const fn dollars(self) -> Self {
        Self { takes: Takes::Dollars, ..self }
    }

    /// The amount that the form moves, or how many times: the script shows what it comes to.
    pub(crate) const fn shown(self) -> Self {
        Self { is_shown: true, ..self }
    }

    /// The id of a `datalist` to choose from.
    pub(crate) const fn list(self, list: &'a str) -> Self {
        Self { list, ..self }
    }

    /// The browser insists on it.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// `password`, `number`, `url` …, `area` for several lines of code, `prose` for such of text,
    /// or `document` for many.
    pub(crate) const fn kind(self, kind: &'a str) -> Self {
        Self { kind, ..self }
    }
}

impl FormFields<'_> {
    /// What stands in a field: what was typed where the form was refused, else `value`.
    pub(crate) fn now<'b>(&'b self, name: &str, value: &'b str) -> &'b str {
        if self.is_typed && self.form.ticked(name) { self.form.text(name) } else { value }
    }

    /// What is wrong with a field.
    fn wrong(&self, name: &str) -> Option<&str> {
        let complaint = self.complaint.filter(|complaint| complaint.field == name);
        complaint.map(|complaint| complaint.words.as_str())
    }

    /// What is wrong with a field besides what was complained about, where that can be seen: the
    /// reader of a form stops at the first fault.
    fn wrong_as_well(&self, field: &FormField<'_>) -> Option<&'static str> {
        self.complaint.filter(|complaint| complaint.field != field.name)?;
        let text = self.form.text(field.name);
        match text.is_empty() {
            true if field.required && field.kind != "password" => {
                Some(self.lang.say("不能为空", "is required"))
            }
            false if !field.takes.reads(text) => Some(self.lang.say(NO_AMOUNT.0, NO_AMOUNT.1)),
            _ => None,
        }
    }

    /// A secret that was typed, and does not come back with the page.
    fn is_lost(&self, name: &str) -> bool {
        self.is_typed && !self.form.text(name).is_empty()
    }

    /// A labelled field.
    pub(crate) fn field(&self, field: FormField<'_>) -> Markup {
        let as_well = self.wrong_as_well(&field);
        let FormField { name, label, hint, value, required, kind, list, takes, is_shown } = field;
        let is_amount = takes == Takes::Amount;
        let is_secret = kind == "password";
        let is_lost = is_secret && self.is_lost(name);
        let required = required || is_lost;
        let value = if is_secret { "" } else { self.now(name, value) };
        let words = self.wrong(name).or(as_well);
        let wrong = (words.is_some() || is_lost).then_some("true");
        let lost = self.lang.say(
            "请重新输入, 密码不会随页面返回",
            "type it again: it does not come back with the page",
        );
        let faults: Vec<&str> = words.into_iter().chain(is_lost.then_some(lost)).collect();
        let is_described = !(faults.is_empty() && hint.is_empty());
        let described = is_described.then(|| format!("d-{name}"));
        let about = described.as_deref();
        let secret = is_secret.then_some("new-password");
        html! {
            div.field {
                label for={ "f-" (name) } { (label) @if required { span.muted { " *" } } }
                @if matches!(kind, "area" | "prose") {
                    textarea.prose[kind == "prose"] id={ "f-" (name) } name=(name) rows="3"
                        required[required] aria-invalid=[wrong] aria-describedby=[about]
                        { (value) }
                } @else if kind == "document" {
                    textarea.mono id={ "f-" (name) } name=(name) rows="28" required[required]
                        spellcheck="false" aria-invalid=[wrong] aria-describedby=[about]
                        { (value) }
                } @else {
                    input id={ "f-" (name) } name=(name) type=(kind) value=(value)
                        required[required] aria-invalid=[wrong] aria-describedby=[about]
                        list=[(!list.is_empty()).then_some(list)]
                        inputmode=[(takes != Takes::Text).then_some("decimal")]
                        data-amount=[(is_shown && is_amount).then_some("")]
                        data-times=[(is_shown && !is_amount).then_some("")]
                        autocomplete=(secret.unwrap_or("off"));
                    @if is_amount { output.hint for={ "f-" (name) } {} }
                }
                @if let Some(id) = about {
                    div id=(id) {
                        @for words in faults { p.hint.bad { (words) } }
                        @if !hint.is_empty() { p.hint { (hint) } }
                    }
                }
            }
        }
    }

    /// A choice.
    pub(crate) fn choice(
        &self,
        (name, label): (&str, &str),
        value: &str,
        all: &[(&str, &str)],
    ) -> Markup {
        let now = self.now(name, value);
        let wrong = self.wrong(name);
        html! {
            div.field {
                label for={ "f-" (name) } { (label) }
                select id={ "f-" (name) } name=(name) aria-invalid=[wrong.map(|_| "true")]
                    aria-describedby=[wrong.map(|_| "complaint")] {
                    @for (code, word)
                    in all { option value=(code) selected[*code == now] { (word) } }
                }
            }
        }
    }

    /// One of two or three ways, of which the style shows the fields.
    pub(crate) fn ways(
        &self,
        (name, label): (&str, &str),
        value: &str,
        all: &[(&str, &str)],
    ) -> Markup {
        let now = self.now(name, value);
        html! {
            div.field.ways role="radiogroup" aria-label=(label) {
                @for (code, word) in all {
                    label {
                        input type="radio" name=(name) value=(code) checked[*code == now];
                        " " (word)
                    }
                }
            }
        }
    }

    /// A box to tick.
    pub(crate) fn tick(&self, name: &str, label: &str, is_on: bool) -> Markup {
        let on = if self.is_typed { self.form.ticked(name) } else { is_on };
        let wrong = self.wrong(name).map(|_| "true");
        html! {
            div.field.tick {
                label {
                    input id={ "f-" (name) } type="checkbox" name=(name) value="1" checked[on]
                        aria-invalid=[wrong] aria-describedby=[wrong.map(|_| "complaint")];
                    " " (label)
                }
            }
        }
    }
}

/// A button that writes: a form of its own. `confirm` is asked first: by the script, or by a page
/// of its own.
pub(crate) fn action(visit: &Visit, to: &str, label: &str, confirm: &str) -> Markup {
    let class = if confirm.is_empty() { "quiet" } else { "quiet danger" };
    html! {
        form.inline method="post" action=(to)
            data-confirm=[(!confirm.is_empty()).then_some(confirm)] {
            (csrf(visit))
            @if !confirm.is_empty() { input type="hidden" name=(ASKS) value=(confirm); }
            button class=(class) { (label) }
        }
    }
}

/// The field of a form that asks before it writes. The script takes it away when it has asked.
pub(crate) const ASKS: &str = "asks";

/// Asks what the script would have asked.
pub(crate) fn question(visit: &Visit) -> PageReply {
    let lang = visit.lang();
    let asked = visit.asked.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let back = visit.came_from.as_deref().unwrap_or("/console");
    let body = html! {
        p.note { (visit.form.text(ASKS)) }
        form.buttons method="post" action=(crate::visit::address(&visit.path, asked)) {
            @for (name, value) in visit.form.pairs().filter(|(name, _)| *name != ASKS) {
                input type="hidden" name=(name) value=(value);
            }
            button.danger { (lang.say("确定", "Yes")) }
            a.button href=(back) { (lang.say("取消", "Cancel")) }
        }
    };
    shell::ShellPage::new(lang.say("请确认", "Please confirm"), "").show(visit, body)
}

/// The filters above a list: they change the address, so that a list can be sent to a colleague.
/// With the list comes the head of its page, where counts stand and what else is of these filters.
/// What else the address says of the list (whose it is, how it is sorted) stays.
pub(crate) fn filters(visit: &Visit, fields: Markup) -> Markup {
    let fields = fields.into_string();
    let is_field = |name: &str| {
        let named = html! { (name) }.into_string();
        fields.contains(&format!(" name=\"{named}\""))
    };
    let is_kept = |name: &str, value: &str| {
        !value.is_empty() && !OF_A_VISIT.contains(&name) && !is_field(name)
    };
    let kept = visit.asked.iter().filter(|(name, value)| is_kept(name, value));
    let fields = PreEscaped(&fields);
    html! {
        form.bar method="get" action=(visit.path) hx-get=(visit.path) hx-target="#list"
            hx-select="#list" hx-select-oob="#top" hx-swap="outerHTML" hx-push-url="true"
            hx-trigger="change, submit" {
            @for (name, value) in kept { input type="hidden" name=(name) value=(value); }
            (fields)
            button { (visit.say("筛选", "Filter")) }
            a.quiet href=(visit.path) { (visit.say("清除", "Clear")) }
        }
    }
}

/// What an address says of one visit alone: which page, and what was just done.
const OF_A_VISIT: [&str; 7] = ["page", "p", "before_id", "done", "line", "undo", "saved"];

/// A filter that is no field of the form: what the list is of, and a cross that leads to all.
pub(crate) fn of_one(visit: &Visit, name: &str, of: &Markup) -> Markup {
    html! {
        span.chip {
            (visit.say("属于 ", "of ")) (of) " "
            a href=(visit.with(name, "")) aria-label=(visit.say("去掉这个条件", "Drop this filter"))
                { "×" }
        }
    }
}

/// A filter that is typed.
pub(crate) fn typed(visit: &Visit, name: &str, label: &str) -> Markup {
    html! {
        input type="search" name=(name) value=(visit.asked(name)) placeholder=(label)
            aria-label=(label);
    }
}

/// A filter that is chosen.
pub(crate) fn chosen(visit: &Visit, name: &str, label: &str, all: &[(&str, &str)]) -> Markup {
    html! {
        select name=(name) aria-label=(label) {
            option value="" { (label) }
            @for (code, word) in all {
                option value=(code) selected[*code == visit.asked(name)] { (word) }
            }
        }
    }
}

/// How many rows a page may have; the first unless the reader has chosen.
pub(crate) const PAGE_SIZES: [i64; 3] = [25, 50, 100];

/// The same, and beside it the choice of columns.
pub(crate) fn pager_with<T>(visit: &Visit, page: &Page<T>, menu: &Markup) -> Markup {
    html! { div.below { (pager(visit, page)) @if !page.items.is_empty() { (menu) } } }
}

/// Ways to the other pages of a list, and to longer ones.
pub(crate) fn pager<T>(visit: &Visit, page: &Page<T>) -> Markup {
    let last = (page.total + page.page_size - 1) / page.page_size.max(1);
    let first_item = (page.page - 1) * page.page_size + 1;
    let last_item = first_item + i64::try_from(page.items.len()).unwrap_or(0) - 1;
    let many = if page.total >= 10_000 { "+" } else { "" };
    let total = show::count(page.total);
    let is_sized =
        page.total > 0 && (page.page_size != PAGE_SIZES[0] || !visit.asked("page_size").is_empty());
    html! {
        @if last > 1 || page.page > 1 || is_sized {
            nav.pager aria-label=(visit.say("翻页", "Pages")) {
                @if page.page > 1 {
                    a.button href=(visit.with("page", &(page.page - 1).to_string())) rel="prev" {
                        (visit.say("上一页", "Previous"))
                    }
                }
                @if page.page < last {
                    a.button href=(visit.with("page", &(page.page + 1).to_string())) rel="next" {
                        (visit.say("下一页", "Next"))
                    }
                }
                span.muted {
                    (tell!(visit.lang(), "第 {first_item}–{last_item} 条, 共 {total}{many} 条",
                        "{first_item}–{last_item} of {total}{many}"))
                }
                span.muted {
                    (visit.say("每页 ", "A page: "))
                    @for size in PAGE_SIZES {
                        @if size == page.page_size { b { (size) } }
                        @else { a href=(visit.with("page_size", &size.to_string())) { (size) } }
                        " "
                    }
                }
            }
        }
    }
}

/// A number that leads to where it comes from.
pub(crate) fn tile(to: &str, label: &str, value: &Markup) -> Markup {
    html! { a.tile href=(to) { span { (label) } b { (value) } } }
}

/// Money over time: a chart drawn by the script, and a table for readers without it.
pub(crate) fn money_chart(lang: Lang, series: &UsageSeries, with_paid_in: bool) -> Markup {
    let is_empty = |point: &UsagePoint| point.spent.0 == 0 && point.paid_in.0 == 0;
    if series.points.iter().all(is_empty) {
        return empty(lang.say("这段时间没有资金变动。", "No money moved in this time."), None);
    }
    let times: Vec<i64> = series.points.iter().map(|point| point.time).collect();
    let step_s = times.iter().skip(1).zip(&times).map(|(next, time)| next - time).next();
    let step_s = step_s.unwrap_or(0);
    let of = |read: fn(&UsagePoint) -> i64| {
        series.points.iter().map(|point| json!(read(point))).collect::<Vec<_>>()
    };
    let mut lines = vec![json!({
        "label": lang.say("消耗", "spent"), "values": of(|point| point.spent.0) })];
    if with_paid_in {
        lines.push(json!({
            "label": lang.say("充值 (右轴)", "paid in (right axis)"),
            "values": of(|point| point.paid_in.0) }));
    }
    let data = json!({ "times": times, "lines": lines });
    let used = series.points.iter().filter(|point| point.calls != 0 || point.paid_in.0 != 0);
    html! {
        // One point is no line.
        @if times.len() > 1 { figure.chart data-chart=(data.to_string()) {
            figcaption.sr {
                (lang.say("每个时间段的金额; 数值见下表", "Money in each step; the table has the numbers"))
            }
        } }
        details.numbers open[times.len() < 2] {
            summary { (lang.say("以表格显示", "Show as a table")) }
            div.scroll {
                table {
                    thead { tr {
                        th { (lang.say("时间 (UTC)", "Time (UTC)")) }
                        @if with_paid_in { th.num { (lang.say("充值", "Paid in")) } }
                        th.num { (lang.say("消耗", "Spent")) }
                        th.num { (lang.say("计费调用", "Charged calls")) }
                        th.num { "Tokens" }
                    } }
                    tbody {
                        @for point in used {
                            tr {
                                td { (show::step_start(point.time, step_s)) }
                                @if with_paid_in { (show::amount_cell(point.paid_in)) }
                                (show::amount_cell(point.spent))
                                (show::count_cell(point.calls))
                                (show::count_cell(point.prompt_tokens + point.completion_tokens))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A page with a form; refused with 422 when it complains.
pub(crate) fn form_page(
    visit: &Visit,
    page: shell::ShellPage,
    complaint: Option<&Complaint>,
    body: Markup,
) -> PageReply {
    let Some(complaint) = complaint else { return page.show(visit, body) };
    let body = led_to_its_field(visit.lang(), complaint, body);
    page.status(StatusCode::UNPROCESSABLE_ENTITY).show(visit, body)
}

/// A complaint is a link to its field, unless the form has no such field.
fn led_to_its_field(lang: Lang, complaint: &Complaint, body: Markup) -> Markup {
    let named = &complaint.field;
    let text = body.into_string();
    let id = format!(" id=\"f-{}\"", html! { (named) }.into_string());
    if named.is_empty() || text.contains(&id) {
        return PreEscaped(text);
    }
    let label = field_label(lang, named);
    let link = html! { a href={ "#f-" (named) } { (label) } }.into_string();
    PreEscaped(text.replace(&link, &html! { (label) }.into_string()))
}
