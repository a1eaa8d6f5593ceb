//! Money, counts and times as pages show them.

use crate::unit::{Unit, grouped};
use domain::Quota;
use jiff::Timestamp;
use maud::{Markup, html};

/// Millionths of a dollar per quota: a whole number, so six decimals are always exact.
const MICROS_PER_QUOTA: i128 = 1_000_000 / Quota::PER_USD as i128;
/// What stands where there is nothing.
pub(crate) const NOTHING: &str = "–";

/// In the unit of this console: `$1,240.00`, `−$0.000448`, as short as is exact.
pub(crate) fn amount(quota: Quota) -> String {
    Unit::shown().short(quota)
}

/// The same with all decimals, so that a column lines up.
pub(crate) fn amount_whole(quota: Quota) -> String {
    Unit::shown().whole(quota)
}

/// An amount as one may type it, worth so many cents.
pub(crate) fn example(cents: i64) -> String {
    amount(Quota(cents * Quota::PER_USD / 100))
}

/// With a sign in any case: what moved.
pub(crate) fn moved(quota: Quota) -> String {
    format!("{}{}", plus(quota), amount_whole(quota))
}

/// The same, in a text.
pub(crate) fn signed(quota: Quota) -> String {
    format!("{}{}", plus(quota), amount(quota))
}

const fn plus(quota: Quota) -> &'static str {
    if quota.0 > 0 { "+" } else { "" }
}

/// `1,234,567`.
pub(crate) fn count(number: i64) -> String {
    let sign = if number < 0 { "−" } else { "" };
    format!("{sign}{}", grouped(&number.unsigned_abs().to_string()))
}

/// The same of what moved, with its sign.
pub(crate) fn count_moved(quota: Quota) -> String {
    format!("{}{}", plus(quota), count(quota.0))
}

/// What a million tokens cost. Ratios have six places and quota is whole, so a price that was typed
/// as $1.10 comes to $1.099998: shown is the shortest amount within a millionth of it, or within
/// one quota where that is little, and the amount itself beside.
pub(crate) fn million(quota: Quota) -> Markup {
    let (meant, exact) = (amount(shortest(quota)), amount(quota));
    meant_price(&meant, Some(exact.as_str()).filter(|exact| *exact != meant))
}

/// A price as it was meant, and what it comes to, where that is another amount.
pub(crate) fn meant_price(meant: &str, exact: Option<&str>) -> Markup {
    html! {
        @match exact {
            Some(exact) => { "≈ " (meant) span.q { (exact) } },
            None => (meant),
        }
    }
}

fn shortest(quota: Quota) -> Quota {
    let micros = i128::from(quota.0) * MICROS_PER_QUOTA;
    let tolerance = (micros / 1_000_000).max((micros / 10_000).min(MICROS_PER_QUOTA));
    let near = |places: u32| {
        let step = 10_i128.pow(6 - places);
        let near = (micros + step / 2).div_euclid(step) * step;
        let far = (near - micros).abs();
        (near > 0 && far <= tolerance).then_some(near)
    };
    let near = (0..6).find_map(near).unwrap_or(micros);
    Quota(i64::try_from(near / MICROS_PER_QUOTA).unwrap_or(quota.0))
}

/// An amount, with the quota small beside.
pub(crate) fn money(quota: Quota) -> Markup {
    html! {
        span.amount { (amount(quota)) }
        @if *Unit::shown() != Unit::Quota { span.q { (count(quota.0)) " q" } }
    }
}

/// A cell of an amount, all decimals.
pub(crate) fn amount_cell(quota: Quota) -> Markup {
    html! { td.num { (amount_whole(quota)) } }
}

/// A cell of what moved, with its sign and colour.
pub(crate) fn moved_cell(quota: Quota) -> Markup {
    match quota.0 {
        0 => html! { td.num.muted { (NOTHING) } },
        1.. => html! { td.num.good { (moved(quota)) } },
        _ => html! { td.num { (moved(quota)) } },
    }
}

/// A cell of a count.
pub(crate) fn count_cell(number: i64) -> Markup {
    html! { td.num { (count(number)) } }
}

/// `512 KiB`, `96 MiB`, `1.5 GiB`.
pub(crate) fn bytes(number: i64) -> String {
    const KIB: i64 = 1 << 10;
    const MIB: i64 = 1 << 20;
    const GIB: i64 = 1 << 30;
    match number {
        ..KIB => format!("{number} B"),
        KIB..MIB => format!("{} KiB", number / KIB),
        MIB..GIB => format!("{} MiB", number / MIB),
        _ => format!("{}.{} GiB", number / GIB, number % GIB * 10 / GIB),
    }
}

/// An instant, in UTC until the script shows it as the reader's clock does.
pub(crate) fn at(seconds: i64) -> Markup {
    instant(seconds, "at")
}

/// The same, as so long ago.
pub(crate) fn ago(seconds: i64) -> Markup {
    instant(seconds, "ago")
}

fn instant(seconds: i64, style: &str) -> Markup {
    let Some(time) = Timestamp::from_second(seconds).ok().filter(|_| seconds > 0) else {
        return html! { span.muted { (NOTHING) } };
    };
    let text = time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    html! { time datetime=(time.to_string()) data-show=(style) { (text) } }
}

/// When a step of a chart begins, which is this long: in UTC, as charts are, on every clock.
pub(crate) fn step_start(seconds: i64, step_s: i64) -> String {
    let form = if step_s >= 86_400 { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" };
    let at = Timestamp::from_second(seconds).ok();
    at.map_or(NOTHING.to_owned(), |at| at.strftime(form).to_string())
}

/// An instant in UTC for a field of the kind `datetime-local`; empty where there is none.
pub(crate) fn moment(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).ok().filter(|_| seconds > 0);
    at.map(|at| at.strftime("%Y-%m-%dT%H:%M").to_string()).unwrap_or_default()
}

/// `2.31 s`, `212 ms`.
pub(crate) fn duration_ms(ms: i64) -> String {
    match ms {
        ..0 => NOTHING.to_owned(),
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// `2.3 %`: a part of all; nothing where there is none.
pub(crate) fn share(part: u64, all: u64) -> String {
    let Some(permille) = part.saturating_mul(1_000).checked_div(all) else {
        return NOTHING.to_owned();
    };
    match permille {
        0 if part > 0 => "< 0.1 %".to_owned(),
        0 => "0 %".to_owned(),
        1_000.. => "100 %".to_owned(),
        _ => format!("{}.{} %", permille / 10, permille % 10),
    }
}

/// `12`, `3.4`: how many there were in each of so many minutes.
pub(crate) fn mean(number: u64, minutes: i64) -> String {
    let tenths = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(10) / minutes.max(1);
    match tenths {
        0 if number > 0 => "< 0.1".to_owned(),
        100.. => count(tenths / 10),
        _ if tenths % 10 == 0 => count(tenths / 10),
        _ => format!("{}.{}", tenths / 10, tenths % 10),
    }
}

/// A time that may not be known.
pub(crate) fn some_ms(ms: Option<i64>) -> String {
    match ms {
        Some(0) => "< 1 ms".to_owned(),
        Some(ms) => duration_ms(ms),
        None => NOTHING.to_owned(),
    }
}

/// What was typed as an amount, in the unit of this console.
pub(crate) fn read_amount(text: &str) -> Option<Quota> {
    Unit::shown().read(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_exact() {
        for (quota, short, whole) in [
            (0, "$0.00", "$0.000000"),
            (1, "$0.000002", "$0.000002"),
            (224, "$0.000448", "$0.000448"),
            (500_000, "$1.00", "$1.000000"),
            (-250_000, "−$0.50", "−$0.500000"),
            (620_000_000, "$1,240.00", "$1,240.000000"),
            (i64::MAX, "$18,446,744,073,709.551614", "$18,446,744,073,709.551614"),
            (i64::MIN, "−$18,446,744,073,709.551616", "−$18,446,744,073,709.551616"),
        ] {
            assert_eq!((&*amount(Quota(quota)), &*amount_whole(Quota(quota))), (short, whole));
            assert_eq!(read_amount(short), Some(Quota(quota)).filter(|_| quota >= 0));
        }
        assert_eq!(moved(Quota(1)), "+$0.000002");
        assert_eq!(signed(Quota(500_000)), "+$1.00");
        assert_eq!(signed(Quota(-500_000)), "−$1.00");
    }

    #[test]
    fn amounts_are_dollars_or_quota() {
        for (text, quota) in [
            ("$5", Some(2_500_000)),
            (" 5 ", Some(2_500_000)),
            (".5", Some(250_000)),
            ("$ 0.5", Some(250_000)),
            ("5.", Some(2_500_000)),
            ("2500000q", Some(2_500_000)),
            ("2,500,000 q", Some(2_500_000)),
            ("1,000", Some(500_000_000)),
            ("$1,234,567.5", Some(617_283_750_000)),
            // A comma is no point, and a sign no direction.
            ("0,50", None),
            ("0,15", None),
            ("0,150", None),
            ("1,5", None),
            ("1000,000", None),
            ("1,0000", None),
            (",500", None),
            ("1,,000", None),
            ("1.000,5", None),
            ("1 000", None),
            ("7,5q", None),
            ("-5", None),
            ("+5", None),
            ("−$0.5", None),
            ("$-5", None),
            ("-7q", None),
            ("0.000001", None),
            ("0.0000001", None),
            ("5x", None),
            ("", None),
            ("$", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(read_amount(text), quota.map(Quota), "{text}");
        }
    }

    /// The amount that a text of digits is, read the slow way: the commas are where a writer of
    /// numbers puts them, or there is none.
    fn slowly(text: &str) -> Option<Quota> {
        let text = text.strip_prefix('$').unwrap_or(text);
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let plain = whole.replace(',', "");
        if whole != plain && (whole != grouped(&plain) || whole.starts_with('0')) {
            return None;
        }
        if (plain.is_empty() && part.is_empty()) || part.len() > 6 {
            return None;
        }
        let digits = format!("{plain}{part:0<6}");
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let micros: i128 = digits.parse().ok()?;
        let quota = i64::try_from(micros / MICROS_PER_QUOTA).ok()?;
        Some(Quota(quota)).filter(|_| micros % MICROS_PER_QUOTA == 0)
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(quota in 0..i64::MAX) {
            let in_quota = format!("{} q", count(quota));
            for shown in [amount(Quota(quota)), amount_whole(Quota(quota)), in_quota] {
                prop_assert_eq!(read_amount(&shown), Some(Quota(quota)));
            }
        }

        #[test]
        fn commas_group_or_the_amount_is_none(text in r"\$?[0-9,]{0,9}(\.[0-9,]{0,7})?") {
            prop_assert_eq!(read_amount(&text), slowly(&text), "{}", text);
        }

        #[test]
        fn a_sign_is_no_amount(text in "[-+−][$]?[0-9]{1,6}(\\.[0-9]{1,2})?q?") {
            prop_assert_eq!(read_amount(&text), None);
        }
    }

    #[test]
    fn prices_are_what_was_typed() {
        for (quota, meant) in [
            (549_999, "$1.10"),
            (4_999_999, "$10.00"),
            (4_999_950, "$9.9999"),
            (7_500_003, "$15.00"),
            (37_500, "$0.075"),
            (224, "$0.000448"),
            (6, "$0.000012"),
            (1, "$0.000002"),
            (0, "$0.00"),
        ] {
            assert_eq!(amount(shortest(Quota(quota))), meant, "{quota}");
        }
    }

    #[test]
    fn shares_never_hide_a_failure() {
        let shown = [(0, 0), (0, 9), (1, 3_000), (23, 1_000), (999, 1_000), (4, 4)];
        let shown = shown.map(|(part, all)| share(part, all));
        assert_eq!(shown, ["–", "0 %", "< 0.1 %", "2.3 %", "99.9 %", "100 %"]);
    }

    #[test]
    fn bytes_are_in_the_largest_unit_that_fits() {
        let shown = [0, 1_023, 1_024, (1 << 20) - 1, 256 << 20, 1 << 30, 3 << 29].map(bytes);
        let expected = ["0 B", "1023 B", "1 KiB", "1023 KiB", "256 MiB", "1.0 GiB", "1.5 GiB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn durations_and_counts() {
        assert_eq!(duration_ms(212), "212 ms");
        assert_eq!(duration_ms(2_319), "2.31 s");
        assert_eq!(duration_ms(94_000), "1 min 34 s");
        assert_eq!(count(-1_234_567), "−1,234,567");
        assert_eq!(count_moved(Quota(1_500)), "+1,500");
        assert_eq!(count_moved(Quota(-1_500)), "−1,500");
    }

    #[test]
    fn a_step_of_a_chart_is_in_utc() {
        assert_eq!(step_start(1_764_460_800, 86_400), "2025-11-30");
        assert_eq!(step_start(1_764_464_400, 3_600), "2025-11-30 01:00");
    }
}
