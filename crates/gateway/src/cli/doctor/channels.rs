//! Channels: can their upstreams be reached, and if not, what is in the way?

use super::Report;
use crate::cli::check::reach;
use crate::config::Config;
use crate::wiring;
use store::{Catalog, Channel, Db};
use upstream::{Client, ConnectError, SendError};

pub(super) async fn check(report: &mut Report, config: &Config, db: &Db, offline: bool) {
    let sealer = match wiring::sealer(config) {
        Ok(sealer) => sealer,
        Err(error) => {
            let mend = "give SECRET_KEY, or restore DATA_DIR/secret.key";
            return report.bad("secret key", format!("{error:#}"), mend);
        }
    };
    if let Err(error) = store::verify_secret(db, &sealer, wiring::system_clock().now()).await {
        let mend = "start with the SECRET_KEY that this database was used with";
        return report.bad("secret key", error.to_string(), mend);
    }
    report.good("secret key", "is the one of this database");
    let catalog = match Catalog::load(db, &sealer).await {
        Ok(catalog) => catalog,
        Err(error) => return report.failed("channels", &error),
    };
    for problem in catalog.problems() {
        let name = format!("{} {}", problem.table, problem.row);
        report.bad(name, problem.why.clone(), "mend the row; it is left out until then");
    }
    let enabled = catalog.channels().iter().filter(|channel| channel.status == 1);
    let enabled: Vec<_> = enabled.collect();
    if enabled.is_empty() {
        return report.bad("channels", "none is enabled", "newapi channel create, or enable one");
    }
    report.good("channels", format!("{} enabled", enabled.len()));
    if offline {
        return;
    }
    match wiring::client(&config.upstream) {
        Ok(client) => {
            for channel in enabled {
                reached(report, &client, channel).await;
            }
        }
        Err(error) => report.bad("proxy", format!("{error:#}"), "mend HTTP_PROXY, HTTPS_PROXY"),
    }
}

async fn reached(report: &mut Report, client: &Client, channel: &Channel) {
    let name = format!("channel {} upstream", channel.id);
    let base = &channel.base_url;
    match reach(client, channel).await {
        Ok(status) => report.good(name, format!("{base} answers ({})", status.as_u16())),
        Err(error) => {
            let mend = error.downcast_ref::<SendError>().map_or("mend its base_url", mend);
            report.bad(name, format!("{base}: {error:#}"), mend);
        }
    }
}

/// What to do about an upstream that can't be reached.
const fn mend(error: &SendError) -> &'static str {
    match error {
        SendError::Connect(ConnectError::Dns(_)) => {
            "the name has no address here: check base_url, /etc/resolv.conf, and try nslookup"
        }
        SendError::Connect(ConnectError::Guarded(_)) => {
            "a private address: allow its network with UPSTREAM_ALLOW_NETS, if that is meant"
        }
        SendError::Connect(ConnectError::Tls(_)) => {
            "check the certificate: openssl s_client -connect HOST:443; update ca-certificates"
        }
        SendError::Connect(ConnectError::Proxy(_)) => {
            "check HTTP_PROXY, HTTPS_PROXY and the channel's setting.proxy"
        }
        SendError::Connect(ConnectError::Refused(_)) => {
            "nothing listens there, or a firewall refuses: check port, iptables, ufw"
        }
        SendError::Connect(ConnectError::Timeout) | SendError::Timeout(_) => {
            "no answer in time: check routes and firewalls; CUSTOM_PASS_CONNECT_TIMEOUT and \
             CUSTOM_PASS_HTTP_TIMEOUT can be raised"
        }
        _ => "the upstream breaks off: ask its operator; newapi channel test shows more",
    }
}
