//! Whether two patterns can have a path in common.

use super::{PathPart, RoutePattern};

/// What all paths of a pattern begin and end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathEnds {
    front: Box<str>,
    /// None: anything may follow.
    back: Option<Box<str>>,
}

impl PathEnds {
    pub(super) fn of(parts: &[PathPart], open: bool) -> Self {
        let parts = || parts.iter().filter(|it| !matches!(it, PathPart::Open(_) | PathPart::Close));
        let text = |part: &PathPart| match part {
            PathPart::Literal(text) => Some(text.clone()),
            _ => None,
        };
        let front: Vec<_> = parts().map_while(text).collect();
        let back: Vec<_> = parts().rev().map_while(text).collect();
        let back: String = back.iter().rev().map(|text| &**text).collect();
        Self { front: front.concat().into(), back: (!open).then(|| back.into()) }
    }

    /// Whether a path can begin and end as both say. What is between is not looked at.
    fn fit(&self, other: &Self) -> bool {
        let fronts = self.front.starts_with(&*other.front) || other.front.starts_with(&*self.front);
        let backs = match (&self.back, &other.back) {
            (Some(back), Some(other)) => back.ends_with(&**other) || other.ends_with(&**back),
            _ => true,
        };
        fronts && backs
    }
}

impl RoutePattern {
    /// Whether a call can be one of both. It may say so of two that have no call in common, but
    /// never the other way round.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        let is_other = |method: &&str| other.methods.contains(method);
        let methods = self.methods.is_empty() || other.methods.is_empty();
        (methods || self.methods.iter().any(is_other)) && self.may_share_paths(other)
    }

    /// The same of their paths alone.
    pub(crate) fn may_share_paths(&self, other: &Self) -> bool {
        self.ends.fit(&other.ends)
    }

    /// Whether it has every method that another one has.
    pub(crate) fn has_methods_of(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || !other.methods.is_empty() && other.methods.iter().all(|it| self.methods.contains(it))
    }
}

#[cfg(test)]
mod tests {
    use crate::RoutePattern;

    #[test]
    fn patterns_that_can_have_a_call_in_common() {
        let of = |text: &str| RoutePattern::parse(text).unwrap();
        for (one, other, overlap) in [
            ("POST /v1/a", "POST /v1/a", true),
            ("POST /v1/a", "GET /v1/a", false),
            ("POST /v1/a", "GET|POST /v1/a", true),
            ("* /v1/a", "GET /v1/a", true),
            ("POST /v1/a", "POST /v1/ab", false),
            ("POST /{+model}", "POST /v1/a", true),
            ("POST /v1/{id}", "POST /v1/a", true),
            ("POST /v1/{id}/b", "POST /v1/a", false),
            ("POST /v1/{id}/b", "POST /v1/a/{id}", true),
            ("POST /v1/{id}/b", "POST /v1/a/*", true),
            ("GET /v1beta/{id=files/*}", "GET /v1beta/{id=files/*}:download", true),
            ("GET /v1beta/{id=files/*}", "GET /v1beta/{id=caches/*}", false),
            ("GET /v1/{id=files/*}", "GET /v1/files/{id}", true),
            ("POST /v1/models/{model}:a", "POST /v1/models/{model}:b", false),
        ] {
            assert_eq!(of(one).may_overlap(&of(other)), overlap, "{one} {other}");
            assert_eq!(of(other).may_overlap(&of(one)), overlap, "{other} {one}");
        }
        assert!(of("* /a").has_methods_of(&of("PUT /a")));
        assert!(of("GET|PUT /a").has_methods_of(&of("PUT /a")));
        assert!(!of("PUT /a").has_methods_of(&of("GET|PUT /a")));
        assert!(!of("PUT /a").has_methods_of(&of("* /a")));
    }
}
