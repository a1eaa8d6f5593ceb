//! What needs the attention of an operator, on the first page; also stated when there is nothing.

use crate::lang::{Lang, tell};
use crate::visit::Visit;
use crate::{notes, parts, show};
use admin::ops::attention::Attention;
use admin::ops::doctor::{self, LastHealth};
use admin::ops::unpriced;
use maud::{Markup, html};

/// The rows so far.
struct Needs {
    lang: Lang,
    rows: Vec<Markup>,
}

impl Needs {
    fn row(&mut self, kind: &str, what: &str, detail: &str, (to, label): (&str, &str)) {
        self.rows.push(html! {
            tr {
                td { (parts::state(kind, what)) }
                td.wrap { (detail) }
                td.acts { a href=(to) { (label) } }
            }
        });
    }

    /// One channel that does not serve.
    fn channel(&mut self, what: &str, id: i64, detail: &str) {
        let to = format!("/console/channels/{id}");
        self.row("bad", what, detail, (&to, self.lang.say("查看", "Open")));
    }

    /// That the books do not balance, or that it is not known, comes before all else.
    fn of_books(&mut self, attention: &Attention) {
        let lang = self.lang;
        let to = ("/console/audit", lang.say("审计", "Audit"));
        if attention.audit_breaches > 0 {
            let words = match attention.audit_breaches {
                1 => lang.say("1 处不符", "1 breach").to_owned(),
                number => tell!(lang, "{number} 处不符", "{number} breaches"),
            };
            self.row("bad", lang.say("账目有误", "Books do not balance"), &words, to);
        }
        if let Some(why) = &attention.audit_failed {
            let what = lang.say("账目无法核对", "Books could not be checked");
            self.row("bad", what, lang.say(&why.zh, &why.en), to);
        }
    }

    fn of_tasks(&mut self, attention: &Attention) {
        let (lang, held) = (self.lang, show::amount(attention.undecided_held));
        let words = match attention.undecided_tasks {
            0 => return,
            1 => tell!(
                lang,
                "1 个任务等待您决定: 预扣 {held}",
                "1 task waits for your decision: {held} held"
            ),
            number => tell!(
                lang,
                "{number} 个任务等待您决定: 预扣 {held}",
                "{number} tasks wait for your decision: {held} held"
            ),
        };
        let to = ("/console/tasks?status=undecided", lang.say("处理", "Decide"));
        self.row("bad", lang.say("任务待处理", "Tasks to decide"), &words, to);
    }

    fn of_calls(&mut self, attention: &Attention) {
        let lang = self.lang;
        let Some(failing) = &attention.failing else { return };
        let most = failing.failures.first().map_or("", |failure| failure.code);
        let most = match notes::code(lang, most) {
            code if code == most => code.to_owned(),
            words => format!("{words} ({most})"),
        };
        let (percent, calls) = (show::share(failing.failed, failing.calls), failing.calls);
        let words = tell!(
            lang,
            "最近 15 分钟 {calls} 次调用中 {percent} 失败, 最多的是 {most} (本节点)",
            "{percent} of the last {calls} calls failed in 15 minutes, most with {most} (this node)"
        );
        let to = ("/console/log?show=recent", lang.say("查看原因", "See why"));
        self.row("bad", lang.say("调用失败", "Calls fail"), &words, to);
    }

    fn of_channels(&mut self, attention: &Attention) {
        let lang = self.lang;
        if attention.channels_on == 0 {
            let words = lang.say(
                "还没有启用的渠道, 调用无处可去",
                "no channel is on, so calls have nowhere to go",
            );
            let to = ("/console/channels/new", lang.say("新建渠道", "Create one"));
            self.row("bad", lang.say("没有渠道", "No channel"), words, to);
        }
        for channel in &attention.channels_off {
            let name = name_of(channel.id, &channel.name);
            let words =
                tell!(lang, "{name} 因连续失败被自动禁用", "{name} kept failing and was disabled");
            self.channel(lang.say("渠道停用", "Channel off"), channel.id, &words);
        }
        let unnamed = attention.channels_off_total - i64_of(attention.channels_off.len());
        if unnamed > 0 {
            let words =
                tell!(lang, "另有 {unnamed} 个渠道被自动禁用", "{unnamed} more were disabled");
            let to = ("/console/channels?status=3", lang.say("查看全部", "See all"));
            self.row("bad", lang.say("渠道停用", "Channels off"), &words, to);
        }
        for paused in &attention.channels_paused {
            let (name, why) = (name_of(paused.id, &paused.name), &paused.why);
            let words = tell!(
                lang,
                "{name} 的上游账户失效: {why}",
                "the account of {name} at its upstream is broken: {why}"
            );
            self.channel(lang.say("渠道暂停", "Channel paused"), paused.id, &words);
        }
        let unnamed = attention.channels_paused_total - i64_of(attention.channels_paused.len());
        if unnamed > 0 {
            let words = tell!(
                lang,
                "另有 {unnamed} 个渠道的上游账户失效",
                "{unnamed} more have a broken account"
            );
            let to = ("/console/channels?status=paused", lang.say("查看全部", "See all"));
            self.row("bad", lang.say("渠道暂停", "Channels paused"), &words, to);
        }
        for channel in &attention.breakers_open {
            let name = name_of(channel.id, &channel.name);
            let words = tell!(
                lang,
                "{name} 连续失败, 熔断中, 稍后自动重试",
                "{name} keeps failing: its breaker is open, and tries again by itself"
            );
            self.channel(lang.say("熔断", "Breaker open"), channel.id, &words);
        }
        let unnamed = attention.breakers_open_total - i64_of(attention.breakers_open.len());
        if unnamed > 0 {
            let words = tell!(
                lang,
                "另有 {unnamed} 个渠道熔断中",
                "the breakers of {unnamed} more are open"
            );
            let to = ("/console/channels?status=paused", lang.say("查看全部", "See all"));
            self.row("bad", lang.say("熔断", "Breakers open"), &words, to);
        }
    }

    fn of_money(&mut self, attention: &Attention, refused: bool) {
        let lang = self.lang;
        if attention.users_below_zero > 0 {
            let words = match attention.users_below_zero {
                1 => lang
                    .say("1 个用户余额低于零, 调用被拒绝", "1 user is below zero, and refused")
                    .to_owned(),
                number => tell!(
                    lang,
                    "{number} 个用户余额低于零, 调用被拒绝",
                    "{number} users are below zero, and refused"
                ),
            };
            let to = ("/console/users?sort=quota&order=asc", lang.say("查看", "See them"));
            self.row("wait", lang.say("余额为负", "Below zero"), &words, to);
        }
        let unpriced = &attention.unpriced_models;
        if !unpriced.is_empty() {
            let some = unpriced.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let number = show::count(attention.unpriced_total);
            let more = if attention.unpriced_total > 5 { "…" } else { "" };
            let now = match refused {
                true => lang.say("被拒绝", "refused"),
                false => lang.say("免费提供", "served free"),
            };
            let words = tell!(
                lang,
                "{number} 个模型未定价, {now}: {some}{more}",
                "{number} without a price, {now}: {some}{more}"
            );
            let to = ("/console/prices?show=unpriced", lang.say("定价", "Set prices"));
            self.row("wait", lang.say("未定价", "No price"), &words, to);
        }
        if attention.webhooks_failing > 0 {
            let words = match attention.webhooks_failing {
                1 => lang
                    .say("1 个启用的回调: 最近的投递都失败", "nothing reaches 1 that is enabled")
                    .to_owned(),
                number => tell!(
                    lang,
                    "{number} 个启用的回调: 最近的投递都失败",
                    "nothing reaches {number} that are enabled"
                ),
            };
            let to = ("/console/webhooks?status=failing", lang.say("查看", "Open"));
            self.row("wait", lang.say("回调失败", "Webhooks fail"), &words, to);
        }
        if attention.webhooks_off > 0 {
            let number = attention.webhooks_off;
            let words =
                tell!(lang, "{number} 个回调因失败被停用", "{number} disabled because they failed");
            let to = ("/console/webhooks?status=2", lang.say("查看", "Open"));
            self.row("wait", lang.say("回调停用", "Webhooks off"), &words, to);
        }
    }
}

impl Needs {
    /// What the last health check of this node found.
    fn of_health(&mut self, visit: &Visit) {
        let Some(LastHealth { at, bad, odd }) = doctor::last(&visit.state, &visit.actor) else {
            return;
        };
        let (lang, kind) = (self.lang, if bad > 0 { "bad" } else { "wait" });
        if bad + odd == 0 {
            return;
        }
        self.rows.push(html! {
            tr {
                td { (parts::state(kind, lang.say("健康检查", "Health"))) }
                td.wrap {
                    (tell!(lang, "上次检查: 故障 {bad}, 留意 {odd}",
                        "the last check: {bad} broken, {odd} worth a look"))
                    " · " (show::ago(at))
                }
                td.acts { a href="/console/doctor" { (lang.say("查看", "Open")) } }
            }
        });
    }
}

fn i64_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn name_of(id: i64, name: &str) -> String {
    if name.is_empty() { format!("#{id}") } else { name.to_owned() }
}

/// The part of the first page.
pub(super) fn list(visit: &Visit, attention: &Attention) -> Markup {
    let lang = visit.lang();
    let mut needs = Needs { lang, rows: Vec::new() };
    needs.of_books(attention);
    needs.of_tasks(attention);
    needs.of_calls(attention);
    needs.of_channels(attention);
    needs.of_money(attention, unpriced::are_refused(&visit.state));
    needs.of_health(visit);
    html! {
        h2.sec { (lang.say("需要处理", "Needs attention")) }
        @if needs.rows.is_empty() {
            p.muted { (parts::state("on", lang.say("没有需要处理的事项", "Nothing needs attention"))) }
        } @else {
            div.scroll { table.needs { tbody { @for row in needs.rows { (row) } } } }
        }
    }
}
