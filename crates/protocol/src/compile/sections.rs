//! The small sections: name, keys, address.

use super::problems::ProblemList;
use super::{MAX_LIST, MAX_WORD};
use crate::auth::{Address, Auth};
use crate::document::{AddressSection, AuthSection, Document, TextList};
use std::collections::BTreeMap;

/// Longest name of a protocol.
const MAX_NAME: usize = 40;
/// Headers that no document may set: they are about the connection, or the client's.
const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

pub(super) fn name(document: &Document, found: &mut ProblemList) {
    let name = &document.name;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
        found.at("name", format!("is 1 to {MAX_NAME} small letters, digits and hyphens"));
    }
    for (at, title) in [("title.zh", &document.title.zh), ("title.en", &document.title.en)] {
        if title.trim().is_empty() || title.len() > MAX_WORD {
            found.at(at, format!("is 1 to {MAX_WORD} bytes long"));
        }
    }
    if document.sources.len() > MAX_LIST {
        found.at("sources", format!("names more than {MAX_LIST} pages"));
    }
}

pub(super) fn auth(section: &AuthSection, found: &mut ProblemList) -> Auth {
    let AuthSection { header, value, query, headers } = section;
    if header.is_some() && query.is_some() {
        found.at("auth.query", "a key is presented in a header or in the query, not in both");
    }
    if header.is_none() && value.is_some() {
        found.at("auth.value", "is the value of a header, and auth.header names none");
    }
    let value = value.clone().unwrap_or_else(|| "{key}".to_owned());
    if !value.contains("{key}") && !value.contains("{jwt}") {
        found.at("auth.value", "does not have {key}, which stands for the channel's key");
    }
    if let Some(header) = header {
        check_header("auth.header", header, &value, found);
    }
    if query.as_ref().is_some_and(|it| it.is_empty() || it.len() > MAX_WORD) {
        found.at("auth.query", "is the name of a parameter");
    }
    Auth {
        header: header.as_ref().map(|it| (it.clone(), value)),
        query: query.clone(),
        defaults: self::headers("auth.headers", headers, found),
    }
}

/// Headers that a document sets.
pub(super) fn headers(
    at: &str,
    section: &BTreeMap<String, String>,
    found: &mut ProblemList,
) -> Vec<(String, String)> {
    if section.len() > MAX_LIST {
        found.at(at, format!("names more than {MAX_LIST} headers"));
    }
    for (name, value) in section {
        check_header(&format!("{at}.{name}"), name, value, found);
    }
    section.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn check_header(at: &str, name: &str, value: &str, found: &mut ProblemList) {
    let is_token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    if name.is_empty() || name.len() > MAX_WORD || !name.bytes().all(is_token) {
        found.at(at, format!("{name:?} is not a header's name in small letters"));
    } else if RESERVED.contains(&name) {
        found.at(at, format!("{name} is about the connection, and no document may set it"));
    }
    if value.len() > MAX_WORD || !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        found.at(at, "has a value that a header can't have");
    }
}

pub(super) fn address(section: &AddressSection, found: &mut ProblemList) -> Address {
    let AddressSection { path, prefix: TextList(prefixes), unversioned: TextList(hosts) } = section;
    for prefix in prefixes {
        if !prefix.starts_with('/') || prefix.len() < 2 || prefix.ends_with('/') {
            found.at("address.prefix", format!("{prefix:?} is not a path like /v1"));
        }
    }
    if !hosts.is_empty() && prefixes.is_empty() {
        found.at("address.unversioned", "leaves out a prefix, and there is none");
    }
    let is_host = |host: &str| {
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !host.is_empty() && host.bytes().all(is_part)
    };
    if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
        found.at("address.unversioned", format!("{host:?} is not a host's name in small letters"));
    }
    Address { path: *path, prefixes: prefixes.clone(), unversioned: hosts.clone() }
}
