//! Names and other short texts that operators choose.

use crate::AdminError;
use ipnet::IpNet;
use std::net::IpAddr;

const MAX_GROUP_CHARS: usize = 64;
const MAX_REASON_CHARS: usize = 500;

/// A text without blanks around it and without control characters, of at most `max_chars`.
///
/// # Errors
/// When it breaks the rule.
pub(crate) fn name(field: &str, text: &str, max_chars: usize) -> Result<String, AdminError> {
    let text = text.trim();
    if text.chars().count() > max_chars || text.chars().any(char::is_control) {
        return Err(AdminError::field(
            field,
            format!("最多 {max_chars} 个字符, 不能有控制字符或换行"),
            format!("has at most {max_chars} characters, without control characters"),
        ));
    }
    Ok(text.to_owned())
}

/// Why money moves: the field `reason`, which is never empty.
///
/// # Errors
/// When it breaks the rule.
pub(crate) fn reason(text: &str) -> Result<String, AdminError> {
    let reason = name("reason", text, MAX_REASON_CHARS)?;
    if reason.is_empty() {
        let en = "is required: it stays in the journal";
        return Err(AdminError::field("reason", "不能为空: 原因记入流水", en));
    }
    Ok(reason)
}

/// The same where it may be left out: the field of a movement that is explained without it.
///
/// # Errors
/// When it breaks the rule.
pub(crate) fn reason_if_any(text: &str) -> Result<String, AdminError> {
    name("reason", text, MAX_REASON_CHARS)
}

/// A note of people, which may have several lines, of at most `max_chars`.
///
/// # Errors
/// When it breaks the rule.
pub(crate) fn note(field: &str, text: &str, max_chars: usize) -> Result<String, AdminError> {
    let text = text.trim().replace("\r\n", "\n");
    let wrong = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.chars().count() > max_chars || text.chars().any(wrong) {
        return Err(AdminError::field(
            field,
            format!("最多 {max_chars} 个字符, 不能有控制字符"),
            format!("has at most {max_chars} characters, without control characters"),
        ));
    }
    Ok(text)
}

/// The name of a group. It is kept in lists with commas.
///
/// # Errors
/// When it breaks the rule.
pub(crate) fn group(field: &str, text: &str) -> Result<String, AdminError> {
    let group = name(field, text, MAX_GROUP_CHARS)?;
    if group.is_empty() || group.contains(',') {
        return Err(AdminError::field(
            field,
            "分组名不能为空, 不能有逗号",
            "the name of a group is not empty, and has no comma",
        ));
    }
    Ok(group)
}

/// Addresses and networks, in their plainest form.
///
/// # Errors
/// When an item is neither.
pub(crate) fn networks(field: &str, items: &[String]) -> Result<Vec<String>, AdminError> {
    items
        .iter()
        .map(|item| {
            let address = item.parse::<IpAddr>().map(|ip| ip.to_canonical().to_string());
            address.or_else(|_| item.parse::<IpNet>().map(|net| net.trunc().to_string())).map_err(
                |_| {
                    AdminError::field(
                        field,
                        format!("{item:?} 不是 IP 地址或网段, 例如 203.0.113.7 或 10.0.0.0/8"),
                        format!(
                            "{item:?} is not an address or network, like 203.0.113.7 or 10.0.0.0/8"
                        ),
                    )
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(name("n", "  渠道 1 ", 10).unwrap(), "渠道 1");
        assert!(name("n", "12345", 4).is_err());
        assert!(name("n", "a\nb", 10).is_err());
        assert!(name("n", "a\0b", 10).is_err());
        assert_eq!(reason("  a gift ").unwrap(), "a gift");
        assert!(reason("    ").is_err() && reason_if_any("    ").is_ok());
        assert_eq!(note("n", " a\r\nb ", 3).unwrap(), "a\nb");
        assert!(note("n", "a\0b", 10).is_err());
        assert!(note("n", "1234", 3).is_err());
        assert!(group("g", " ").is_err());
        assert!(group("g", "a,b").is_err());
    }

    #[test]
    fn networks_are_addresses_too() {
        let given = ["203.0.113.7", "10.1.2.3/8", "::ffff:1.2.3.4", "2001:db8::/32"];
        let read = networks("allow_ips", &given.map(str::to_owned)).unwrap();
        assert_eq!(read, ["203.0.113.7", "10.0.0.0/8", "1.2.3.4", "2001:db8::/32"]);
        assert!(networks("allow_ips", &["localhost".to_owned()]).is_err());
    }
}
