//! Channels: can their upstreams be reached, and if not, what is in the way?

use super::HealthReport;
use crate::cli::check::reach;
use crate::config::Config;
use crate::wiring;
use domain::{Meter, Pricing, Quota, Ratio};
use protocol::PriceWord;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{Catalog, Channel, Db, StoreError, patterns};
use upstream::{Client, ConnectError, SendError};

/// How many models are named at most.
const SHOWN: usize = 10;

pub(super) async fn check(report: &mut HealthReport, config: &Config, db: &Db, offline: bool) {
    let sealer = match wiring::sealer(config) {
        Ok(sealer) => sealer,
        Err(error) => {
            let remedy = "give SECRET_KEY, or restore DATA_DIR/secret.key";
            return report.bad("secret key", format!("{error:#}"), remedy);
        }
    };
    if let Err(error) = store::verify_secret(db, &sealer, wiring::system_clock().now()).await {
        let remedy = "start with the SECRET_KEY that this database was used with";
        return report.bad("secret key", error.to_string(), remedy);
    }
    report.good("secret key", "is the one of this database");
    let catalog = match Catalog::load(db, &sealer).await {
        Ok(catalog) => catalog,
        Err(error) => return report.failed("channels", &error),
    };
    for problem in catalog.problems() {
        let name = format!("{} {}", problem.table, problem.row);
        let remedy = "fix this row; until then it is left out, as if it were not there";
        report.bad(name, problem.why.clone(), remedy);
    }
    let enabled = catalog.channels().iter().filter(|channel| channel.status == 1);
    let enabled: Vec<_> = enabled.collect();
    if enabled.is_empty() {
        return report.bad("channels", "none is enabled", "newapi channel create, or enable one");
    }
    report.good("channels", format!("{} enabled", enabled.len()));
    let reject = config.relay.refuse_unpriced;
    if let Err(error) = prices(report, db, &catalog, &enabled, reject).await {
        report.failed("prices", &error);
    }
    if offline {
        return;
    }
    match wiring::client(&config.upstream) {
        Ok(client) => {
            for channel in enabled {
                reached(report, config, &client, channel).await;
            }
        }
        Err(error) => report.bad("proxy", format!("{error:#}"), "fix HTTP_PROXY, HTTPS_PROXY"),
    }
}

/// Models that are free, and prices of models that no channel serves: each may be intended, and
/// each is a common billing mistake.
async fn prices(
    report: &mut HealthReport,
    db: &Db,
    catalog: &Catalog,
    enabled: &[&Arc<Channel>],
    reject_unpriced: bool,
) -> Result<(), StoreError> {
    let served = enabled.iter().flat_map(|channel| &channel.models).map(String::as_str);
    let served: BTreeSet<&str> = served.collect();
    let unpriced = served.iter().filter(|model| matches!(catalog.price(model), Ok(None)));
    let unpriced = shown(unpriced.map(|model| (*model).to_owned()));
    let rows = db.read("SELECT model_name FROM abilities ORDER BY model_name", &[]).await?;
    let priced: Result<Vec<String>, StoreError> =
        rows.iter().map(|row| row.get("model_name")).collect();
    let is_served = |model: &str| {
        served.contains(model) || served.iter().any(|served| patterns::matches(model, served))
    };
    let unserved = priced?.into_iter().filter(|model| !is_served(model));
    let unserved = shown(unserved.map(|model| match model.strip_suffix("/submit") {
        Some(base) if served.contains(base) => {
            format!("{model} (a channel has {base}: a task's model ends in /submit)")
        }
        _ => model,
    }));
    if let Some(models) = &unpriced {
        let found = match reject_unpriced {
            true => format!("without a price, and so are refused: {models}"),
            false => format!("without a price, and so cost nothing: {models}"),
        };
        let remedy = "newapi price set MODEL; CUSTOM_PASS_UNPRICED says whether a model without \
                    a price is free or refused";
        report.odd("prices", found, remedy);
    }
    if let Some(models) = &unserved {
        let remedy = "put the model into a channel's list, or newapi price delete MODEL";
        report.odd("models", format!("priced, and on no enabled channel: {models}"), remedy);
    }
    let unheld = served.iter().filter(|model| {
        let mut serving = enabled.iter().filter(|channel| channel.serves(model));
        serving.any(|channel| holds_nothing(catalog, channel, model))
    });
    if let Some(models) = shown(unheld.map(|model| (*model).to_owned())) {
        let remedy = "newapi price set MODEL … --min-hold QUOTA: about what a large call costs";
        let found = format!(
            "{models} are priced by units of which no request says how many, and have no least \
             hold: a balance of one quota starts any call"
        );
        report.odd("least holds", found, remedy);
    }
    let uncounted = served.iter().filter_map(|model| {
        let serving = enabled.iter().filter(|channel| channel.serves(model));
        let unit = serving.into_iter().find_map(|channel| uncounted(catalog, channel, model))?;
        Some(format!("{model} ({unit})"))
    });
    if let Some(models) = shown(uncounted) {
        let remedy = "a protocol that counts it, a price by what it counts, or one per call";
        let found = format!(
            "{models} have a price for a unit that no call of their channel's protocol counts, so \
             that it is never charged"
        );
        report.odd("units", found, remedy);
    }
    if unpriced.is_none() && unserved.is_none() {
        report.good("prices", "every model that is served has one");
    }
    Ok(())
}

/// Whether a call of a model, priced by units alone, holds one quota: neither its price nor its
/// request says more.
fn holds_nothing(catalog: &Catalog, channel: &Channel, model: &str) -> bool {
    let Ok(row) = catalog.price(model) else { return false };
    let Ok(Pricing::Priced(price)) = Pricing::freeze(row, Ratio::ONE, Ratio::ONE) else {
        return false;
    };
    // CustomPass asks its upstream for an estimate.
    let Ok(protocol) = egress::protocol_of(channel) else { return false };
    let is_said = |unit: Meter| protocol.routes.iter().any(|route| route.says_before(unit));
    let mut units = price.schedule.iter().flat_map(|schedule| schedule.units());
    price.is_of_units()
        && price.first_hold(None).is_ok_and(|hold| hold <= Quota(1))
        && &*protocol.name != egress::CUSTOM_PASS
        && !units.any(|(unit, _)| is_said(*unit))
}

/// A unit that has a price, and that no request or reply of the channel's protocol counts.
fn uncounted(catalog: &Catalog, channel: &Channel, model: &str) -> Option<Meter> {
    let Pricing::Priced(price) =
        Pricing::freeze(catalog.price(model).ok()?, Ratio::ONE, Ratio::ONE).ok()?
    else {
        return None;
    };
    // CustomPass's usage may count all of them.
    let protocol = egress::protocol_of(channel).ok()?;
    let schedule = price.schedule.filter(|_| &*protocol.name != egress::CUSTOM_PASS)?;
    let paid = protocol.routes.iter().filter(|route| route.price != PriceWord::Free);
    let mut units = schedule.units().iter().map(|(unit, _)| *unit);
    units.find(|unit| !paid.clone().any(|route| route.says_before(*unit) || route.counts(*unit)))
}

/// The first few of them; none: there are none.
fn shown(models: impl Iterator<Item = String>) -> Option<String> {
    let mut models: Vec<String> = models.collect();
    let more = models.len().saturating_sub(SHOWN);
    models.truncate(SHOWN);
    if more > 0 {
        models.push(format!("and {more} more"));
    }
    (!models.is_empty()).then(|| models.join(", "))
}

async fn reached(report: &mut HealthReport, config: &Config, client: &Client, channel: &Channel) {
    let name = format!("channel {} upstream", channel.id);
    let base = &channel.base_url;
    match reach(client, &config.relay, channel).await {
        Ok(status) => report.good(name, format!("{base} answers ({})", status.as_u16())),
        Err(error) => {
            let remedy = error
                .downcast_ref::<SendError>()
                .map_or("fix its base_url: https://HOST, and no path", remedy);
            report.bad(name, format!("{base}: {error:#}"), remedy);
        }
    }
}

/// What to do about an upstream that can't be reached.
const fn remedy(error: &SendError) -> &'static str {
    match error {
        SendError::Connect(ConnectError::Dns(_)) => {
            "the name has no address here: check base_url, /etc/resolv.conf, and try nslookup"
        }
        SendError::Connect(ConnectError::Guarded(_)) => {
            "a private address: allow its network with UPSTREAM_ALLOW_NETS, if that is meant"
        }
        SendError::Connect(ConnectError::Tls(_)) => {
            "is it https there? openssl s_client -connect HOST:443 shows its certificate; that of \
             an own authority is trusted with SSL_CERT_FILE or update-ca-certificates"
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
