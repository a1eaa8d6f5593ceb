//! What the check of the books finds, in the reader's language: it says it in English.

use crate::entered::places;
use crate::lang::Lang;

/// A text with places for numbers, and the same in Chinese, with the numbers in the same order.
type Said = (&'static str, &'static str);

const RULES: &[Said] = &[
    (
        "a call is charged once, and its line moves what it charges",
        "一次调用只收费一次, 其流水的变动等于费用",
    ),
    ("a redeemed code has its topup line", "已兑换的兑换码有充值流水"),
    ("an open hold is of a call under way", "未结的预扣属于进行中的调用"),
    ("an unfinished task that has a price has a hold", "未完成的收费任务有预扣"),
    ("nothing is negative without an overrun or an adjustment", "除超支和调整外余额不为负"),
    ("quota is the sum of its journal less what is held", "余额等于流水之和减去预扣"),
    ("used_quota is what was consumed", "已消耗额度等于消耗之和"),
    (
        "what is counted as spent is what its lines and holds come to",
        "已计入限额的消耗等于流水与预扣之和",
    ),
];
const DETAILS: &[Said] = &[
    ("quota {}, journal {}, held {}: {} off", "余额 {}, 流水 {}, 预扣 {}: 相差 {}"),
    ("used_quota {}, journal {}", "已消耗 {}, 流水 {}"),
    ("{} lines charge {}, move {} and use {}", "{} 条流水收费 {}, 变动 {}, 消耗 {}"),
    (
        "user {}, amount {}: {}. Remedy: where the user is there, make room in the balance, and \
         the sweeper gives it back; else {}",
        "用户 {}, 金额 {}: {}。处理: 用户仍在时, 为余额腾出空间, 预扣会自动退还; 否则 {}",
    ),
    (
        "user {}: its hold of {} is gone; its end will charge that, or nothing if it fails. \
         Remedy: where the quota of users.id {} is -{} off, give it back: {}",
        "用户 {}: 预扣 {} 已不在; 任务结束时收取该金额, 失败则不收费。\
         处理: 若 users.id {} 的 quota 相差 -{}, 请补回: {}",
    ),
    ("user {} has no line that pays its {}", "用户 {} 没有金额为 {} 的充值流水"),
    (
        "spent_day {}, lines and holds of the day {}, spent_month {}, of the month {}",
        "当日已消耗 {}, 当日流水与预扣 {}, 当月已消耗 {}, 当月流水与预扣 {}",
    ),
    ("quota {}", "余额 {}"),
];

/// Why nothing will end a hold.
const WHYS: &[Said] = &[
    ("its user is gone", "用户已不存在"),
    ("its call is charged", "调用已收费"),
    ("it is overdue", "已超过期限"),
];

/// A rule.
pub(crate) fn rule(lang: Lang, rule: &str) -> String {
    said(lang, RULES, rule)
}

/// How a row breaks it.
pub(crate) fn detail(lang: Lang, detail: &str) -> String {
    said(lang, DETAILS, detail)
}

/// The text in the reader's language; as it is where it is another than expected.
fn said(lang: Lang, known: &[Said], text: &str) -> String {
    if lang == Lang::En {
        return text.to_owned();
    }
    let found = known.iter().find_map(|(english, chinese)| Some((chinese, places(english, text)?)));
    let Some((chinese, values)) = found else { return text.to_owned() };
    let mut said = String::new();
    let mut values = values.into_iter();
    for (nth, piece) in chinese.split("{}").enumerate() {
        if nth > 0 {
            let value = values.next().unwrap_or_default();
            let why = WHYS.iter().find(|(english, _)| *english == value);
            said.push_str(why.map_or(value, |(_, chinese)| *chinese));
        }
        said.push_str(piece);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_places() {
        let zh = |text: &str| detail(Lang::Zh, text);
        assert_eq!(zh("quota 5, journal 7, held 0: -2 off"), "余额 5, 流水 7, 预扣 0: 相差 -2");
        assert_eq!(zh("quota -5"), "余额 -5");
        let overdue = "user 3, amount 40: it is overdue. Remedy: where the user is there, make \
             room in the balance, and the sweeper gives it back; else end the hold '7-4'";
        assert!(zh(overdue).contains("金额 40: 已超过期限。处理"), "{}", zh(overdue));
        assert!(zh(overdue).ends_with("否则 end the hold '7-4'"));
        let gone = "user 3: its hold of 40 is gone; its end will charge that, or nothing if it \
             fails. Remedy: where the quota of users.id 3 is -40 off, give it back: add 40";
        assert!(zh(gone).ends_with("的 quota 相差 -40, 请补回: add 40"), "{}", zh(gone));
        assert_eq!(zh("something else"), "something else");
        assert_eq!(rule(Lang::Zh, "used_quota is what was consumed"), "已消耗额度等于消耗之和");
    }

    #[test]
    fn both_have_the_same_places() {
        for (english, chinese) in RULES.iter().chain(DETAILS) {
            assert_eq!(english.matches("{}").count(), chinese.matches("{}").count(), "{english}");
        }
    }

    /// The check is written in another crate: its words are read there.
    #[test]
    fn the_words_are_those_of_the_check() {
        let source = include_str!("../../ledger/src/audit.rs");
        let written = source.matches("rule: \"").count();
        assert_eq!(written, RULES.len(), "a rule without Chinese words");
        for (why, _) in WHYS {
            assert!(source.contains(&format!("'{why}'")), "{why}");
        }
        for (rule, _) in RULES {
            assert!(source.contains(&format!("rule: \"{rule}\"")), "{rule}");
        }
    }
}
