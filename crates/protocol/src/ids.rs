//! Ids that are written as addresses.

/// Which addresses are ids, and which id one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdRules {
    /// Hosts whose addresses are ids; those of others are not, where there are any.
    pub(crate) hosts: Vec<Box<str>>,
    /// Fronts of their paths, behind which the id stands.
    pub(crate) below: Vec<Box<str>>,
}

/// The host of an address of the web as it is written, and what follows it.
fn address(id: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = id.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    is_web.then(|| rest.split_at(end))
}

impl IdRules {
    /// Whether an id is the address of something public, as some APIs take one where they take an
    /// id: what begins with `http` and is not at one of the hosts whose addresses are ids.
    pub(crate) fn is_public(&self, id: &str) -> bool {
        if self.hosts.is_empty() {
            return false;
        }
        let Some((authority, _)) = address(id) else { return false };
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().trim_end_matches('.');
        // What is written otherwise may be read as any host.
        let is_plain = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        is_plain && !self.has(host)
    }

    fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|it| it.eq_ignore_ascii_case(host))
    }

    /// Puts the id itself in the place of an address that ends in it.
    pub(crate) fn shorten(&self, id: &mut String) {
        let Some((_, path)) = address(id).filter(|(host, _)| self.has(host)) else { return };
        let Some(rest) = self.below.iter().find_map(|front| path.strip_prefix(&**front)) else {
            return;
        };
        let end = rest.find([':', '?', '#']).unwrap_or(rest.len());
        if end > 0 {
            *id = rest[..end].to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_at_a_known_host_is_the_id_behind_it() {
        let rules = IdRules {
            hosts: vec!["things.example".into()],
            below: vec!["/v1beta/".into(), "/v1/".into()],
        };
        for (address, id) in [
            ("https://things.example/v1beta/files/a", "files/a"),
            ("https://Things.Example/v1/files/a:download?alt=media", "files/a"),
            ("files/a", "files/a"),
            // What could be read otherwise stays what it is: an id that no user has made.
            ("https://things.example:443/v1/files/a", "https://things.example:443/v1/files/a"),
            ("https://x@things.example/v1/files/a", "https://x@things.example/v1/files/a"),
            ("https://things.example/v2/files/a", "https://things.example/v2/files/a"),
            ("https://things.example/v1/", "https://things.example/v1/"),
        ] {
            let mut short = address.to_owned();
            rules.shorten(&mut short);
            assert_eq!(short, id);
            assert!(!rules.is_public(address), "{address}");
        }
        assert!(rules.is_public("https://elsewhere.example/v1/files/a"));
        assert!(!rules.is_public("gs://bucket/file") && !IdRules::default().is_public("http://x"));
    }
}
