//! Which methods are passed to upstreams.

use crate::faults;
use domain::Fault;
use http::Method;

/// The registered methods (IANA, HTTP Method Registry) but for three. `TRACE` makes the upstream
/// repeat the request to the client, with the channel's key in it; `CONNECT` requests a tunnel to
/// another target than the one that was priced; `PRI` is the preface of HTTP/2. An unregistered
/// method may be an alias of `TRACE`, as `TRACK` was.
pub(crate) const PASSED: &str = "\
    GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY, ACL, BASELINE-CONTROL, BIND, \
    CHECKIN, CHECKOUT, COPY, LABEL, LINK, LOCK, MERGE, MKACTIVITY, MKCALENDAR, MKCOL, \
    MKREDIRECTREF, MKWORKSPACE, MOVE, ORDERPATCH, PROPFIND, PROPPATCH, REBIND, REPORT, \
    SEARCH, UNBIND, UNCHECKOUT, UNLINK, UNLOCK, UPDATE, UPDATEREDIRECTREF, \
    VERSION-CONTROL";

/// Refuses a method that is not passed on. Methods are case-sensitive: `get` is none.
pub(crate) fn check(method: &Method) -> Result<(), Fault> {
    let is_usual = matches!(*method, Method::GET | Method::POST);
    if is_usual || PASSED.split(", ").any(|passed| passed == method.as_str()) {
        Ok(())
    } else {
        Err(faults::method_not_allowed(PASSED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_methods_that_are_work() {
        let passes = |name: &str| check(&Method::from_bytes(name.as_bytes()).unwrap()).is_ok();
        for name in ["GET", "POST", "OPTIONS", "QUERY", "PROPFIND", "VERSION-CONTROL"] {
            assert!(passes(name), "{name}");
        }
        for name in ["TRACE", "CONNECT", "TRACK", "PRI", "get", "Post", "DEBUG"] {
            assert!(!passes(name), "{name}");
        }
    }
}
