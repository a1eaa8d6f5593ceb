//! What the program itself notes in the journal, in the reader's language: it stores codes, and
//! readers see words. What people wrote stays as it is.

use crate::lang::{Lang, tell};

/// A code, and its words in Chinese and in English.
type Note = (&'static str, &'static str, &'static str);

/// Why a call was not charged, or charged otherwise than by its formula.
const REASONS: &[Note] = &[
    ("bad_estimate", "上游的预估无法读取", "the upstream's estimate can't be read"),
    ("cancelled", "任务已取消", "the task was cancelled"),
    ("charge_does_not_fit", "费用超出可记的范围", "the charge is larger than an amount may be"),
    ("client_gone", "客户端已断开", "the client disconnected"),
    (
        "estimate_instead_of_result",
        "上游只返回了预估, 没有结果",
        "the upstream sent an estimate, not the result",
    ),
    (
        "estimate_not_held",
        "余额不足以预扣上游的预估",
        "the balance does not cover the upstream's estimate",
    ),
    ("failed", "调用失败", "the call failed"),
    ("first_deposit", "创建用户时充值", "first deposit"),
    ("lifetime", "任务超过最长时间", "the task took longer than it may"),
    ("no_channel", "没有空闲的渠道", "no channel was free to take it"),
    ("no_task_id", "上游的应答没有任务 ID", "the upstream's reply names no task"),
    ("not_delivered", "应答没有完整送达", "the reply was not delivered whole"),
    ("not_held", "未能预扣", "the money could not be held"),
    ("not_sent", "没有发出: 连接不上渠道", "not sent: no connection to a channel"),
    ("operator", "由管理员决定", "an operator decided it"),
    ("reply_too_large", "上游的应答过大", "the upstream's reply is too large"),
    ("request_broken", "客户端的请求中断", "the client's request broke off"),
    ("settled below the hold", "结算少于预扣", "settled below the hold"),
    ("submission_lost", "提交中断, 没有得到任务 ID", "the submission was lost"),
    ("task_edited", "任务被修改", "the task was edited"),
    ("unknown_outcome", "结果未知", "the outcome is unknown"),
    ("upstream_cut", "上游的应答中断", "the upstream's reply broke off"),
    (
        "upstream_echo",
        "上游的应答含有渠道密钥, 未传递",
        "the upstream's reply had the channel's key in it, and was not passed on",
    ),
    (
        "upstream_empty",
        "上游报告完成, 但没有生成任何结果",
        "the upstream says that it is done, and has made nothing",
    ),
    ("upstream_error", "上游没有应答就断开", "the upstream broke off without a reply"),
    ("upstream_failed", "上游报告失败", "the upstream says that it failed"),
    (
        "upstream_informational",
        "上游要求切换协议, 未传递",
        "the upstream's reply switches protocols, and was not passed on",
    ),
    ("upstream_nothing", "上游的应答没有内容", "the upstream's reply has nothing in it"),
    ("upstream_redirects", "上游转向其他主机", "the upstream redirects to another host"),
    ("upstream_status", "上游返回错误状态", "the upstream answered with an error status"),
    (
        "upstream_unpromised",
        "上游的应答不是协议约定的内容, 或不完整",
        "the upstream's reply is not what its protocol promises, or cut short",
    ),
];

/// What stopped a request to an upstream, or an attempt at a password.
const CODES: &[Note] = &[
    ("AUTH_ERROR", "令牌无效", "no valid key"),
    ("INSUFFICIENT_QUOTA", "余额不足", "too little balance"),
    ("INVALID_REQUEST", "请求有误", "a faulty request"),
    ("MODEL_NOT_FOUND", "没有这个模型", "no such model"),
    ("NO_CHANNEL", "没有可用的渠道", "no channel to call"),
    ("RATE_LIMITED", "超出速率限制", "a limit of requests"),
    ("REQUEST_TIMEOUT", "请求超时", "a time-out"),
    ("SPENDING_LIMIT", "达到消费上限", "a limit of spending"),
    ("UPSTREAM_ENVELOPE", "上游应答报告失败", "a reply that says that it failed"),
    ("UPSTREAM_ERROR", "上游没有应答", "no reply of the upstream"),
    ("UPSTREAM_RESPONSE", "上游应答不符合约定", "a reply that is not as its protocol says"),
    ("UPSTREAM_STATUS", "上游返回错误状态", "an error status of the upstream"),
    ("address", "地址不可用", "the address can't be used"),
    ("bad_reply", "应答不是 HTTP", "the reply is not HTTP"),
    ("address_gone", "回调地址已删除", "the address is gone"),
    ("address_unreadable", "回调地址无法读取", "the address can't be read"),
    ("answered 410 Gone", "应答 410, 已停用", "it answered 410 Gone"),
    ("broken", "连接中断", "the connection broke off"),
    ("client_body", "请求体未能读完", "the request's body failed"),
    ("delivery_gone", "投递已删除", "the delivery is gone"),
    ("connect_timeout", "连接超时", "no connection in time"),
    ("cut", "连接中断", "the connection broke off"),
    ("disabled", "账户已禁用", "disabled"),
    ("dns", "域名无法解析", "the name has no address"),
    ("endpoint_disabled", "回调已停用", "the webhook is off"),
    ("envelope", "应答报告失败", "the reply says that it failed"),
    ("first_byte_timeout", "等待应答超时", "no reply in time"),
    ("gone", "应答 410, 不再接收", "it answered 410 Gone"),
    ("guarded", "私有地址", "private address"),
    ("idle_timeout", "应答中途停顿过久", "the reply stalled"),
    ("no_memory", "内存不足", "no memory for the reply"),
    ("proxy", "代理不可用", "the proxy can't be used"),
    ("refused", "连接被拒绝", "connection refused"),
    ("reply", "应答报告失败", "the reply says that it failed"),
    ("secret_unreadable", "签名密钥无法读取", "the secret can't be read"),
    ("stale", "复用的连接已关闭", "a reused connection was closed"),
    ("status", "上游返回错误状态", "an error status"),
    ("task_gone", "任务已删除", "the task is gone"),
    ("task_unreadable", "任务无法读取", "the task can't be read"),
    ("timeout", "超时", "no reply in time"),
    ("tls", "TLS 握手失败", "the TLS handshake failed"),
    ("too_large", "应答过大", "the reply is too large"),
    ("too_many_attempts", "尝试过于频繁", "too many attempts"),
    ("total_timeout", "应答总时间超时", "the reply took too long"),
    ("unasked", "没有可查询的渠道", "there is no channel to ask"),
    ("unreachable", "连接不上上游", "no connection to the upstream"),
    ("unsent", "请求发出前连接关闭", "closed before the request was sent"),
    ("unusable", "应答无法读取", "the reply can't be read"),
    ("wrong_password", "密码错误", "wrong password"),
];

fn among(notes: &[Note], lang: Lang, code: &str) -> Option<&'static str> {
    let (_, zh, en) = notes.iter().find(|(known, ..)| *known == code)?;
    Some(match lang {
        Lang::Zh => zh,
        Lang::En => en,
    })
}

/// A code about a connection, or a login, in words; others stay as they are.
pub(crate) fn code(lang: Lang, code: &str) -> &str {
    among(CODES, lang, code).unwrap_or(code)
}

/// Why a test of a channel failed, and what to do where that is known.
pub(crate) fn test_failure(lang: Lang, failed: &str, detail: &str) -> String {
    let inner = detail.strip_prefix(failed).and_then(|rest| rest.strip_prefix(": "));
    let inner = inner.unwrap_or(detail);
    match failed {
        "guarded" => {
            let address = inner.split(' ').next().filter(|it| *it != "the");
            let address = address.unwrap_or_else(|| lang.say("该主机", "this host"));
            tell!(
                lang,
                "{address} 是私有地址, 需在设置 UPSTREAM_ALLOW_NETS 中允许",
                "{address} is a private address: allow it with the setting UPSTREAM_ALLOW_NETS"
            )
        }
        "refused" => tell!(
            lang,
            "连接被拒绝: 该端口没有服务, 或被防火墙拒绝 ({inner})",
            "connection refused: nothing listens there, or a firewall refuses ({inner})"
        ),
        "dns" => tell!(
            lang,
            "域名无法解析, 请检查地址 ({inner})",
            "the name has no address: is it spelt right? ({inner})"
        ),
        "status" => match inner.split_once(" at ") {
            Some((_, at)) if inner.contains(" 404 ") => {
                let at = at.split(": ").next().unwrap_or(at);
                tell!(
                    lang,
                    "上游在 {at} 返回 404: 没有该模型, 或没有该路径 (由渠道地址与协议的调用组成)",
                    "the upstream answered 404 at {at}: it does not have the model, or not this \
                     path, which is made of the channel's address and the call of its protocol"
                )
            }
            _ => code(lang, failed).to_owned(),
        },
        "reply" if !inner.is_empty() => inner.to_owned(),
        _ if inner.is_empty() => code(lang, failed).to_owned(),
        _ => format!("{} ({inner})", code(lang, failed)),
    }
}

/// A text of the program that says the same twice, `中文 (English)`, in the reader's language.
/// Others stay as they are: what an upstream said, or an operator.
pub(crate) fn one_of_two(lang: Lang, text: &str) -> &str {
    let both = text.strip_suffix(')').and_then(|text| text.split_once(" ("));
    match both {
        Some((zh, en)) if has_han(zh) && !has_han(en) => lang.say(zh, en),
        _ => text,
    }
}

fn has_han(text: &str) -> bool {
    text.chars().any(|char| ('\u{4e00}'..='\u{9fff}').contains(&char))
}

/// Why a task failed: in the program's words, or in those of others.
pub(crate) fn failure(lang: Lang, reason: &str) -> String {
    said(lang, reason)
}

/// The note of a line of the journal, in the reader's language.
pub(crate) fn line(lang: Lang, content: &str) -> String {
    match content.strip_suffix(')').and_then(|whole| whole.rsplit_once(" (by ")) {
        Some((reason, name)) => {
            tell!(lang, "{} (操作人 {name})", "{} (by {name})", said(lang, reason))
        }
        None => said(lang, content),
    }
}

/// What does not add up in a usage, or why its tokens were counted here.
pub(crate) fn usage(lang: Lang, note: &str) -> String {
    if lang == Lang::En {
        return note.to_owned();
    }
    let Some(why) = note.strip_prefix("estimated: ") else { return in_chinese(note) };
    format!("由本网关估算: {}", in_chinese(why))
}

fn in_chinese(note: &str) -> String {
    if note == "the upstream reported no usage" {
        "上游没有报告用量".to_owned()
    } else if let Some(tokens) = note.strip_suffix(" tokens came after its last report") {
        format!("上游最后一次报告之后又有 {tokens} Tokens")
    } else if let Some((total, sum)) =
        note.strip_prefix("total ").and_then(|rest| rest.split_once(" is not the sum "))
    {
        format!("上游报告的总数 {total} 不等于各项之和 {sum}")
    } else if let Some((part, whole)) = note.split_once(" is more than ") {
        format!("上游报告的 {part} 多于 {}", whole.trim_end_matches(" has"))
    } else if let Some((parts, whole)) =
        note.strip_prefix("parts ").and_then(|rest| rest.split_once(" exceed prompt "))
    {
        format!("上游报告的各部分之和 {parts} 多于输入 {whole}")
    } else if let Some(what) = note.strip_prefix("not counted: ") {
        format!("未计入: {}", in_chinese(what))
    } else if let Some((meter, text)) = note.split_once(" is ") {
        format!("上游报告的 {meter} 为 {text}")
    } else {
        note.to_owned()
    }
}

fn said(lang: Lang, note: &str) -> String {
    let note = one_of_two(lang, note);
    if let Some(words) = among(REASONS, lang, note) {
        return words.to_owned();
    }
    if let Some(reversed) = note.strip_prefix("reversal of line ") {
        let (number, why) = reversed.split_once(": ").unwrap_or((reversed, ""));
        let colon = if why.is_empty() { "" } else { ": " };
        return tell!(
            lang,
            "冲正流水 #{number}{colon}{why}",
            "reverses line #{number}{colon}{why}"
        );
    }
    if let Some(code) = note.strip_prefix("redemption #") {
        return tell!(lang, "兑换码 #{code}", "code #{code}");
    }
    if let Some(why) = note.strip_prefix("settled at the hold: ") {
        return tell!(lang, "按预扣结算: {why}", "settled at the hold: {why}");
    }
    if let Some(reported) = note.strip_prefix("settled at max_charge: reported ") {
        return tell!(
            lang,
            "按最高收费结算, 上游报告 {reported}",
            "settled at the largest charge: the upstream reported {reported}"
        );
    }
    match note.split_once(": ") {
        Some((reason, rest)) => match among(REASONS, lang, reason) {
            Some(words) => format!("{words}: {rest}"),
            None => note.to_owned(),
        },
        None => note.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_the_program_are_in_the_readers_language() {
        for (content, zh, en) in [
            ("not_sent", "没有发出: 连接不上渠道", "not sent: no connection to a channel"),
            (
                "upstream_failed: no such voice",
                "上游报告失败: no such voice",
                "the upstream says that it failed: no such voice",
            ),
            ("first_deposit (by root)", "创建用户时充值 (操作人 root)", "first deposit (by root)"),
            (
                "first_deposit: the pilot (by root)",
                "创建用户时充值: the pilot (操作人 root)",
                "first deposit: the pilot (by root)",
            ),
            (
                "reversal of line 7: a mistake (by root)",
                "冲正流水 #7: a mistake (操作人 root)",
                "reverses line #7: a mistake (by root)",
            ),
            (
                "redemption #3 spring (by ann)",
                "兑换码 #3 spring (操作人 ann)",
                "code #3 spring (by ann)",
            ),
            (
                "a prize: for you (by 安)",
                "a prize: for you (操作人 安)",
                "a prize: for you (by 安)",
            ),
            ("", "", ""),
        ] {
            assert_eq!(
                (line(Lang::Zh, content).as_str(), line(Lang::En, content).as_str()),
                (zh, en)
            );
        }
        for (note, zh) in [
            ("estimated: the upstream reported no usage", "由本网关估算: 上游没有报告用量"),
            (
                "estimated: 186 tokens came after its last report",
                "由本网关估算: 上游最后一次报告之后又有 186 Tokens",
            ),
            ("estimated: output is 1.5", "由本网关估算: 上游报告的 output 为 1.5"),
            ("total 9 is not the sum 4", "上游报告的总数 9 不等于各项之和 4"),
            ("cached 9 is more than input has", "上游报告的 cached 9 多于 input"),
            ("parts 9 exceed prompt 4", "上游报告的各部分之和 9 多于输入 4"),
            ("not counted: images is -1", "未计入: 上游报告的 images 为 -1"),
        ] {
            assert_eq!((&*usage(Lang::Zh, note), &*usage(Lang::En, note)), (zh, note));
        }
        assert_eq!(code(Lang::En, "status 500"), "status 500");
        let twice = "任务超过最长时限仍未完成 (the task was not finished within its lifetime)";
        assert_eq!(failure(Lang::Zh, twice), "任务超过最长时限仍未完成");
        assert_eq!(failure(Lang::En, twice), "the task was not finished within its lifetime");
        for others in ["no such voice (sorry)", "敏感内容 (违规)", "broken"] {
            assert_eq!(failure(Lang::En, others), others);
        }
        let guarded = "guarded: 10.1.2.3 is not an allowed address";
        let words = "10.1.2.3 is a private address: allow it with the setting UPSTREAM_ALLOW_NETS";
        assert_eq!(test_failure(Lang::En, "guarded", guarded), words);
        for at in ["/v1/models/m", "/v1beta/models/m:countTokens"] {
            let missing = format!("the upstream answered 404 at {at}: is that its path? It is");
            let words = test_failure(Lang::En, "status", &missing);
            assert!(
                words.contains(&format!(" at {at}: it does not have the model, or")),
                "{words}"
            );
            let words = test_failure(Lang::Zh, "status", &missing);
            assert!(words.contains(&format!("在 {at} 返回 404: 没有该模型, 或")), "{words}");
        }
    }
}
