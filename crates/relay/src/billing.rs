//! `GET /v1/dashboard/billing/*`: balance and usage, in OpenAI's format. Dollars are formatted from
//! integers: no float touches them.

use crate::identify::{group_of, may_call};
use crate::{Relay, faults, route};
use domain::{Fault, Pricing, Quota, UnixMs};
use http::Response;
use ledger::SpendingView;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Db, Identity, Value};
use web::Body;

/// A key that never expires is shown as valid until the year 2100.
const FOREVER_S: i64 = 4_102_444_800;

#[derive(Serialize)]
struct Subscription {
    object: &'static str,
    has_payment_method: bool,
    soft_limit_usd: Box<RawValue>,
    hard_limit_usd: Box<RawValue>,
    system_hard_limit_usd: Box<RawValue>,
    access_until: i64,
}

#[derive(Serialize)]
struct Used {
    object: &'static str,
    /// In cents.
    total_usage: Box<RawValue>,
}

/// What is left, and what was spent: of the key where it has a limit of its own, else of the user.
struct Account {
    left: Quota,
    used: Quota,
    /// What the daily and monthly limits leave of that, where there are any.
    left_now: Quota,
}

/// `GET /v1/dashboard/billing/subscription`: the total, as far as the limits allow to spend it now.
pub(crate) async fn subscription(
    db: &Db,
    identity: &Identity,
    now: UnixMs,
) -> Result<Response<Body>, Fault> {
    let Account { left, used, left_now } = account(db, identity, now).await?;
    let with_used = |left: Quota| i128::from(left.0) + i128::from(used.0);
    let usd = |left| decimal(with_used(left), i128::from(Quota::PER_USD), 6);
    Ok(web::json(&Subscription {
        object: "billing_subscription",
        has_payment_method: true,
        soft_limit_usd: usd(left_now)?,
        hard_limit_usd: usd(left_now)?,
        system_hard_limit_usd: usd(left)?,
        access_until: identity.expires_at.map_or(FOREVER_S, |at| at.0.div_euclid(1_000)),
    }))
}

/// `GET /v1/dashboard/billing/usage`: what of it was spent.
pub(crate) async fn usage(
    db: &Db,
    identity: &Identity,
    now: UnixMs,
) -> Result<Response<Body>, Fault> {
    let account = account(db, identity, now).await?;
    let cents = decimal(i128::from(account.used.0), i128::from(Quota::PER_USD / 100), 4)?;
    Ok(web::json(&Used { object: "list", total_usage: cents }))
}

async fn account(db: &Db, identity: &Identity, now: UnixMs) -> Result<Account, Fault> {
    let columns = SpendingView::COLUMNS;
    let of_user = format!("SELECT quota, used_quota, {columns} FROM users WHERE id = $1");
    let of_key =
        format!("SELECT remain_quota AS quota, used_quota, {columns} FROM tokens WHERE id = $1");
    let user = db.read(&of_user, &[Value::from(identity.user_id)]).await?;
    let key = db.read(&of_key, &[Value::from(identity.key_id)]).await?;
    let (Some(user), Some(key)) = (user.first(), key.first()) else {
        return Err(crate::faults::bad_key());
    };
    let row = if identity.unlimited { user } else { key };
    let left: Quota = row.get("quota")?;
    let limits = [SpendingView::read(user, now)?.left(), SpendingView::read(key, now)?.left()];
    let left_now = limits.into_iter().flatten().fold(left, Quota::min);
    Ok(Account { left, used: row.get("used_quota")?, left_now })
}

/// The account that has to be able to pay for a call.
pub(crate) struct Payer<'a> {
    pub relay: &'a Relay,
    pub identity: &'a Identity,
    /// What the call holds at least; `None`: its model is not known yet.
    pub least: Option<Quota>,
}

impl Payer<'_> {
    /// Refuses an account that can't pay. The hold decides in the end; this only keeps large bodies
    /// out of memory that are not going to be paid for.
    pub(crate) async fn can_pay(self) -> Result<(), Fault> {
        let needed = self.least.unwrap_or_else(|| self.least_of_all());
        if needed <= Quota::ZERO {
            return Ok(());
        }
        let Self { relay, identity, .. } = self;
        let left = account(&relay.db, identity, relay.clock.now()).await?.left;
        if left < needed { Err(faults::cannot_pay(needed, left)) } else { Ok(()) }
    }

    /// What a call of the cheapest model available to this key holds.
    fn least_of_all(&self) -> Quota {
        let Self { relay, identity, .. } = self;
        let catalog = relay.live.catalog.load();
        let offered = catalog.models_of(group_of(identity));
        let holds = offered.into_iter().filter(|model| may_call(identity, model)).map(|model| {
            match route::price(&catalog, identity, model, &relay.config) {
                Ok(Pricing::Priced(price)) => price.first_hold(None).ok(),
                Ok(Pricing::Free) => Some(Quota::ZERO),
                // It can't be called at all.
                Err(_) => None,
            }
        });
        holds.flatten().min().unwrap_or(Quota::ZERO)
    }
}

/// `amount / unit` as a JSON number with up to `places` decimals, exact: `unit` divides a power
/// of ten.
fn decimal(amount: i128, unit: i128, places: u32) -> Result<Box<RawValue>, Fault> {
    let scale = 10_i128.pow(places);
    let scaled = amount * scale / unit;
    let sign = if scaled < 0 { "-" } else { "" };
    let (whole, rest) = (scaled.abs() / scale, scaled.abs() % scale);
    let width = usize::try_from(places).unwrap_or(0);
    let text = format!("{sign}{whole}.{rest:0width$}");
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    RawValue::from_string(text).map_err(crate::faults::system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        let usd = |quota: i64| decimal(i128::from(quota), 500_000, 6).unwrap().get().to_owned();
        assert_eq!(usd(500_000), "1");
        assert_eq!(usd(0), "0");
        assert_eq!(usd(1), "0.000002");
        assert_eq!(usd(-750_000), "-1.5");
        assert_eq!(usd(i64::MAX), "18446744073709.551614");
        let cents = |quota: i64| decimal(i128::from(quota), 5_000, 4).unwrap().get().to_owned();
        assert_eq!(cents(500_000), "100");
        assert_eq!(cents(1), "0.0002");
    }
}
