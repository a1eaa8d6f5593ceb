//! Prices and charges as formulas, in the reader's language: their numbers stay, and their words
//! are those of the journal. What stands in square brackets is a rule as its author wrote it.

use crate::lang::Lang;
use std::borrow::Cow;

/// Words that stand in formulas, with what they are in Chinese. Longer ones come first.
const WORDS: &[(&str, &str)] = &[
    (
        "; tokens without a worth of their own count as what they are part of",
        "; 没有单独倍率的 Tokens 按其所属种类计",
    ),
    (", in place of ", ", 而不是 "),
    ("; at most ", "; 最多 "),
    ("plain prompt", "未缓存输入"),
    ("cache_write_1h", "缓存写入 (1 小时)"),
    ("cache_write", "缓存写入"),
    ("max_charge", "最高收费"),
    ("completion", "输出"),
    ("characters", "字符"),
    ("image_out", "图像输出"),
    ("reasoning", "推理"),
    ("audio_out", "音频输出"),
    ("image_in", "图像输入"),
    ("audio_in", "音频输入"),
    ("video_in", "视频输入"),
    ("searches", "次搜索"),
    ("seconds", "秒"),
    ("credits", "点"),
    ("cached", "缓存"),
    ("images", "张图片"),
    ("videos", "个视频"),
    ("output", "输出"),
    ("prompt", "输入"),
    ("above", "超过"),
    ("input", "输入"),
    ("audio", "音频"),
    ("image", "图像"),
    ("pages", "页"),
    ("items", "件"),
    ("fixed", "按次价格"),
    ("group", "分组"),
    ("round", "取整"),
    ("ratio", "倍率"),
    ("quota", "额度"),
    ("total", "合计"),
    ("user", "用户"),
    ("as", "按"),
];

/// The formula with its words in the reader's language.
pub(crate) fn in_words(lang: Lang, formula: &str) -> Cow<'_, str> {
    if lang == Lang::En {
        return Cow::Borrowed(formula);
    }
    let mut text = String::with_capacity(formula.len());
    let mut rest = formula;
    let (mut is_rule, mut is_inside) = (false, false);
    while let Some(next) = rest.chars().next() {
        is_rule = (is_rule || next == '[') && next != ']';
        // Punctuation may stand behind a number.
        let may_begin = |word: &str| !is_inside || !word.starts_with(is_of_word);
        let word =
            WORDS.iter().find(|(word, _)| !is_rule && may_begin(word) && stands_at(rest, word));
        let (taken, said) = match word {
            Some((word, said)) => (word.len(), *said),
            None => (next.len_utf8(), &rest[..next.len_utf8()]),
        };
        text.push_str(said);
        is_inside = word.is_none() && is_of_word(next);
        rest = &rest[taken..];
    }
    Cow::Owned(text)
}

/// Whether a text begins with this word, and not with a longer one.
fn stands_at(text: &str, word: &str) -> bool {
    let ends_in_letter = word.ends_with(is_of_word);
    let after = text.strip_prefix(word);
    after.is_some_and(|rest| !(ends_in_letter && rest.starts_with(is_of_word)))
}

fn is_of_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Meter;

    #[test]
    fn words_change_and_numbers_stay() {
        for (english, chinese) in [
            (
                "round((20 prompt + 60 completion × 1) × ratio 1 × group 1 × user 1) = 80",
                "取整((20 输入 + 60 输出 × 1) × 倍率 1 × 分组 1 × 用户 1) = 80",
            ),
            (
                "round(fixed 20000 × group 0.8 × user 1); at most round(max_charge 5 × group 1)",
                "取整(按次价格 20000 × 分组 0.8 × 用户 1); 最多 取整(最高收费 5 × 分组 1)",
            ),
            (
                "round((4 images × 20000 × 1.67 [body:/size is images]) × group 1)",
                "取整((4 张图片 × 20000 × 1.67 [body:/size is images]) × 分组 1)",
            ),
            (
                "5 cache_write × 1.25, 3 cache_write_1h as cache_write",
                "5 缓存写入 × 1.25, 3 缓存写入 (1 小时) 按 缓存写入",
            ),
            (
                "above 200000 input: input × 2; tokens without a worth of their own count as what \
                 they are part of",
                "超过 200000 输入: 输入 × 2; 没有单独倍率的 Tokens 按其所属种类计",
            ),
            ("grouped users userland", "grouped users userland"),
        ] {
            assert_eq!(in_words(Lang::Zh, english), chinese);
            assert_eq!(in_words(Lang::En, english), english);
        }
    }

    #[test]
    fn every_meter_has_a_word() {
        for meter in Meter::ALL {
            let word = meter.to_string();
            assert_ne!(in_words(Lang::Zh, &word), word);
        }
    }
}
