//! Paths that are nearly right: with a slash too many, without their version, or with it twice.
//! Such a path is read as the one right path that it can mean; that path is priced, and sent.

use crate::spoken::FRONTS;

/// Prefixes that clients leave out or write twice, because some set a base URL with it, some
/// without.
const VERSIONS: [&str; 3] = ["/v1", "/v1beta", "/v2"];

/// A path without doubled slashes and slashes at its end.
pub(crate) fn tidied(path: &str) -> String {
    let mut tidied = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        tidied.push('/');
        tidied.push_str(segment);
    }
    tidied
}

/// The paths that one may mean, itself included only where it is tidied.
pub(crate) fn readings(path: &str) -> Vec<String> {
    let mut path_left = tidied(path);
    let mut readings = Vec::new();
    if path_left != path {
        readings.push(path_left.clone());
    }
    // `/v1/v1/…`, `/v1/v1beta/…`: the second one counts.
    while let Some(rest) = without_version(&path_left).filter(|rest| is_front(rest)) {
        path_left = rest.to_owned();
        readings.push(path_left.clone());
    }
    if !is_front(&path_left) {
        readings.extend(VERSIONS.map(|version| format!("{version}{path_left}")));
    }
    readings
}

/// Whether a path begins like one of the data plane.
pub(crate) fn is_front(path: &str) -> bool {
    FRONTS.iter().any(|front| path.starts_with(front))
}

fn without_version(path: &str) -> Option<&str> {
    VERSIONS
        .iter()
        .find_map(|version| path.strip_prefix(version).filter(|rest| rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_may_mean() {
        for (path, means) in [
            ("/v1/chat/completions", vec![]),
            ("/v1/chat/completions/", vec!["/v1/chat/completions"]),
            ("//v1//chat", vec!["/v1/chat"]),
            ("/v1/v1/chat", vec!["/v1/chat"]),
            ("/v1/v1beta/models/m:x", vec!["/v1beta/models/m:x"]),
            ("/v1/v1/v2//rerank", vec!["/v1/v1/v2/rerank", "/v1/v2/rerank", "/v2/rerank"]),
            ("/messages", vec!["/v1/messages", "/v1beta/messages", "/v2/messages"]),
            ("/pass/m/", vec!["/pass/m"]),
            ("/pass/v1/x", vec![]),
            ("/v10/x", vec!["/v1/v10/x", "/v1beta/v10/x", "/v2/v10/x"]),
        ] {
            assert_eq!(readings(path), means, "{path}");
        }
    }
}
