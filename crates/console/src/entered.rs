//! What the admin journal says, in the reader's language: its lines are written in Chinese, with
//! names and codes in them.

use crate::lang::Lang;
use crate::notes;

/// An action, its line, and the same in English, names in the same order.
type Line = (&'static str, &'static str, &'static str);

const LINES: &[Line] = &[
    ("ability.delete", "删除价格 {}", "deleted the price of {}"),
    ("ability.import", "导入 {} 个价格", "imported prices: {}"),
    ("ability.put", "设置价格 {}", "set the price of {}"),
    ("balance.adjust", "用户 {} 余额调整 {}", "moved the balance of {} by {}"),
    ("balance.deposit", "用户 {} 充值 {}", "deposited for {}: {}"),
    ("balance.refund", "用户 {} 退款 {}", "refunded {}: {}"),
    ("balance.reverse", "用户 {} 冲正 {}", "reversed what was moved for {}: {}"),
    ("channel.copy", "复制渠道 {}", "copied the channel {}"),
    ("channel.create", "创建渠道 {}", "created the channel {}"),
    ("channel.delete", "删除渠道 {}", "deleted the channel {}"),
    ("channel.models", "查询渠道 {} 的上游模型", "asked the upstream of the channel {} for models"),
    ("channel.test", "测试渠道 {}", "tested the channel {}"),
    ("channel.update", "修改渠道 {}", "changed the channel {}"),
    ("group.delete", "删除分组倍率 {}", "deleted the group {}"),
    ("group.put", "设置分组倍率 {}", "set the group {}"),
    ("notice.put", "设置公告", "set the notice"),
    ("option.change", "设置 {} (本节点, 重启前有效)", "set {} on this node, until its restart"),
    ("protocol.delete", "删除协议 {}", "deleted the protocol {}"),
    ("protocol.put", "设置协议 {}", "set the protocol {}"),
    ("redemption.create", "生成兑换码 {}", "made codes: {}"),
    ("redemption.delete", "删除兑换码 {}", "deleted the code {}"),
    ("redemption.disable_lot", "停用兑换码 {}", "disabled codes: {}"),
    ("redemption.update", "修改兑换码 {}", "changed the code {}"),
    ("task.fail_and_refund", "任务 {}: task.fail_and_refund", "failed and refunded the task {}"),
    ("task.reply", "查看任务 {} 的应答", "read the reply about the task {}"),
    ("task.requeue", "任务 {}: task.requeue", "asked again about the task {}"),
    ("task.settle_now", "任务 {}: task.settle_now", "settled the task {}"),
    ("token.create", "创建用户 {} 的令牌 {}", "for {}: created the key {}"),
    ("token.delete", "删除令牌 {}", "deleted the key {}"),
    ("token.end_old_key", "结束令牌 {} 的旧密钥", "ended the old secret of the key {}"),
    ("token.rotate", "更换令牌 {} 的密钥", "gave the key {} a new secret"),
    ("token.update", "修改令牌 {}", "changed the key {}"),
    ("user.access_token", "更新用户 {} 的访问令牌", "renewed the access token of {}"),
    ("user.create", "创建用户 {}", "created the user {}"),
    ("user.delete", "删除用户 {}", "deleted the user {}"),
    ("user.login", "用户 {} 登录", "{} logged in"),
    ("user.login_failed", "用户 {} 登录失败 ({}), 来自 {}", "login as {} failed ({}), from {}"),
    ("user.low_balance", "设置余额提醒", "set the warning of a low balance"),
    ("user.password", "用户 {} 修改密码", "{} changed the password"),
    (
        "user.password_refused",
        "用户 {} 修改密码失败 ({}), 来自 {}",
        "{} did not change the password ({}), from {}",
    ),
    ("user.session_end", "用户 {} 结束一个会话", "{} ended a session"),
    (
        "user.token_refused",
        "用户 {} 访问令牌错误 ({}), 来自 {}",
        "an access token of {} was refused ({}), from {}",
    ),
    ("user.update", "修改用户 {}", "changed the user {}"),
    ("webhook.create", "创建用户 {} 的回调地址", "created a webhook of {}"),
    ("webhook.delete", "删除回调地址 {}", "deleted the webhook {}"),
    (
        "webhook.end_old_secret",
        "结束回调地址 {} 的旧密钥",
        "ended the old secret of the webhook {}",
    ),
    ("webhook.redeliver", "重新投递回调 {}", "delivers again: {}"),
    ("webhook.rotate", "更换回调地址 {} 的密钥", "rotated the secret of the webhook {}"),
    ("webhook.submission_secret", "创建用户 {} 的提交回调密钥", "made the submission secret of {}"),
    ("webhook.test", "测试回调地址 {}", "tested the webhook {}"),
    ("webhook.update", "修改回调地址 {}", "changed the webhook {}"),
];

/// Actions whose second place holds a code.
const REFUSALS: [&str; 3] = ["user.login_failed", "user.password_refused", "user.token_refused"];

/// The line of an action in the reader's language; none where it is another than expected.
pub(crate) fn in_words(lang: Lang, action: &str, content: &str) -> Option<String> {
    let (_, line, english) = LINES.iter().find(|(name, ..)| *name == action)?;
    let names = places(line, content)?;
    let mut text = String::new();
    let mut names = names.into_iter();
    let has_code = REFUSALS.contains(&action);
    for (nth, piece) in lang.say(line, english).split("{}").enumerate() {
        if nth > 0 {
            let name = names.next()?;
            text.push_str(if has_code && nth == 2 { notes::code(lang, name) } else { name });
        }
        text.push_str(piece);
    }
    Some(text)
}

/// What stands in the places of a line.
pub(crate) fn places<'a>(line: &str, content: &'a str) -> Option<Vec<&'a str>> {
    let mut pieces = line.split("{}");
    let mut rest = content.strip_prefix(pieces.next()?)?;
    let mut names = Vec::new();
    for piece in pieces {
        let end = if piece.is_empty() { rest.len() } else { rest.find(piece)? };
        names.push(&rest[..end]);
        rest = &rest[end + piece.len()..];
    }
    rest.is_empty().then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_english(action: &str, content: &str) -> Option<String> {
        in_words(Lang::En, action, content)
    }

    #[test]
    fn names_stay_as_they_are() {
        for (action, content, english) in [
            ("token.create", "创建用户 安 的令牌 k (1)", "for 安: created the key k (1)"),
            ("user.login", "用户 ann 登录", "ann logged in"),
            ("group.put", "设置分组倍率 vip = 0.8", "set the group vip = 0.8"),
            ("user.low_balance", "设置余额提醒", "set the warning of a low balance"),
            (
                "user.login_failed",
                "用户 ann 登录失败 (wrong_password), 来自 ::1",
                "login as ann failed (wrong password), from ::1",
            ),
            ("task.requeue", "任务 t (#3): task.requeue", "asked again about the task t (#3)"),
        ] {
            assert_eq!(in_english(action, content).as_deref(), Some(english));
        }
        let failed =
            in_words(Lang::Zh, "user.login_failed", "用户 ann 登录失败 (wrong_password), 来自 ::1");
        assert_eq!(failed.as_deref(), Some("用户 ann 登录失败 (密码错误), 来自 ::1"));
        assert_eq!(in_english("user.login", "用户 ann"), None);
        assert_eq!(in_english("user.low_balance", "设置余额提醒 x"), None);
        assert_eq!(in_english("other", "用户 ann 登录"), None);
    }

    #[test]
    fn each_line_has_its_names_in_both() {
        for (action, line, english) in LINES {
            assert_eq!(line.matches("{}").count(), english.matches("{}").count(), "{action}");
        }
    }

    /// The names of actions in a file: what its lines of the journal are recorded as.
    fn recorded(path: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(path).expect("the sources") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                recorded(&path, found);
            } else {
                let text = std::fs::read_to_string(&path).expect("a source");
                let quoted = text.split("(\"").skip(1).filter_map(|rest| rest.split_once("\", "));
                let is_action = |name: &str| {
                    let is_word = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
                    name.chars().all(is_word) && name.matches('.').count() == 1
                };
                // An action, and what is told of it.
                found.extend(
                    quoted
                        .filter(|(name, rest)| {
                            is_action(name)
                                && (rest.starts_with("format!") || rest.starts_with('"'))
                        })
                        .map(|(name, _)| name.to_owned()),
                );
            }
        }
    }

    #[test]
    fn each_action_that_is_recorded_has_a_line() {
        let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../admin/src/ops");
        let mut found = std::collections::BTreeSet::new();
        recorded(&sources, &mut found);
        assert!(found.len() > 15 && found.contains("channel.models"), "{found:?}");
        let missing = found.iter().filter(|name| !LINES.iter().any(|(known, ..)| known == name));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
