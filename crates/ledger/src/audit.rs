//! The conservation check: whether every balance is what its journal says.
//!
//! Each rule is one statement, so it sees one moment of a live system; nothing is locked.

use domain::Quota;
use serde::Serialize;
use store::{Db, Row, StoreError};
use utoipa::ToSchema;
use uuid::Uuid;

/// Most breaches listed for a rule. One is enough to ring the bell.
const MOST_ROWS: usize = 100;

const BALANCES: &str = "SELECT * FROM (
    SELECT u.id AS id, u.quota AS quota, u.used_quota AS used_quota,
           CAST(coalesce(l.delta, 0) + coalesce(c.delta, 0) AS BIGINT) AS journal_quota,
           CAST(coalesce(l.used, 0) + coalesce(c.used, 0) AS BIGINT) AS journal_used,
           CAST(coalesce(l.excused, 0) AS BIGINT) AS excused,
           CASE WHEN c.user_id IS NULL THEN 0 ELSE 1 END AS carried
    FROM users u
    LEFT JOIN (SELECT user_id, sum(delta) AS delta, sum(used_delta) AS used,
                      sum(CASE WHEN delta < 0 AND type IN ('consume', 'adjust')
                               THEN 1 ELSE 0 END) AS excused
               FROM logs GROUP BY user_id) l ON l.user_id = u.id
    LEFT JOIN ledger_carry c ON c.user_id = u.id) AS b
    WHERE quota <> journal_quota OR used_quota <> journal_used
       OR (quota < 0 AND excused = 0 AND carried = 0)
    ORDER BY id LIMIT 100";

const HOLDS: &str = "SELECT * FROM (
    SELECT h.id AS id, h.state AS state, h.amount AS amount, h.charged AS charged,
           CAST(coalesce(sum(l.delta), 0) AS BIGINT) AS moved,
           CAST(coalesce(sum(l.used_delta), 0) AS BIGINT) AS used,
           CAST(coalesce(sum(CASE WHEN l.closes THEN 1 ELSE 0 END), 0) AS BIGINT) AS closings
    FROM holds h LEFT JOIN logs l ON l.hold_id = h.id
    GROUP BY h.id, h.state, h.amount, h.charged) AS s
    WHERE closings <> CASE WHEN state = 'held' THEN 0 ELSE 1 END
       OR moved <> CASE state WHEN 'held' THEN -amount WHEN 'settled' THEN -charged ELSE 0 END
       OR used <> CASE state WHEN 'settled' THEN charged ELSE 0 END
    LIMIT 100";

const STRAYS: &str = "SELECT l.id AS id, l.hold_id AS hold_id FROM logs l
    LEFT JOIN holds h ON h.id = l.hold_id
    WHERE l.type = 'precharge' AND h.id IS NULL LIMIT 100";

/// A code and its line are written in one transaction, with one time. Lines of dropped months are
/// gone.
const CODES: &str = "SELECT r.id AS id, r.quota AS quota, r.redeemed_by AS user_id
    FROM redemptions r
    WHERE r.status = 3 AND r.redeemed_at >= (SELECT min(created_at) FROM logs)
      AND 1 <> (SELECT count(*) FROM logs l
                WHERE l.user_id = r.redeemed_by AND l.created_at = r.redeemed_at
                  AND l.type = 'topup' AND l.delta = r.quota
                  AND l.content LIKE 'redemption #' || r.id || ' %')
    ORDER BY r.id LIMIT 100";

/// What is counted as spent is what the holds of that day and of its month come to. Where months
/// of the owner were dropped, a hold that was open for that long may be gone, and count still.
const COUNTS: &str = "SELECT * FROM (
    SELECT c.what AS what, c.id AS id, c.spent_day AS spent_day, c.spent_month AS spent_month,
           CASE WHEN l.user_id IS NULL THEN 0 ELSE 1 END AS carried,
           CAST(coalesce(sum(CASE WHEN h.counted_on = c.spent_on THEN h.quota ELSE 0 END), 0)
                AS BIGINT) AS day,
           CAST(coalesce(sum(h.quota), 0) AS BIGINT) AS month
    FROM (SELECT 'users' AS what, id, id AS user_id, spent_on, spent_day, spent_month FROM users
          UNION ALL
          SELECT 'tokens', id, user_id, spent_on, spent_day, spent_month FROM tokens) c
    LEFT JOIN (SELECT what, id, counted_on, sum(CASE state WHEN 'held' THEN amount
                                                           WHEN 'settled' THEN charged
                                                           ELSE 0 END) AS quota
               FROM (SELECT 'users' AS what, user_id AS id, counted_on, state, amount, charged
                     FROM holds WHERE counted_on IS NOT NULL
                     UNION ALL
                     SELECT 'tokens', key_id, key_counted_on, state, amount, charged
                     FROM holds WHERE key_counted_on IS NOT NULL) counted
               GROUP BY what, id, counted_on) h
         ON h.what = c.what AND h.id = c.id AND h.counted_on / 100 = c.spent_on / 100
    LEFT JOIN ledger_carry l ON l.user_id = c.user_id
    WHERE c.spent_on IS NOT NULL
    GROUP BY c.what, c.id, c.spent_day, c.spent_month, l.user_id) AS s
    WHERE spent_day < day OR spent_month < month
       OR (carried = 0 AND (spent_day > day OR spent_month > month))
    ORDER BY what, id LIMIT 100";

const TOTALS: &str = "SELECT (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM holds WHERE state = 'held') AS open_holds,
    (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM holds WHERE state = 'held') AS held,
    (SELECT CAST(coalesce(sum(delta), 0) AS BIGINT) FROM logs
      WHERE closes AND content = 'unknown_outcome') AS unknown_outcome";

/// What the check found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditReport {
    /// Whether every rule holds.
    pub clean: bool,
    /// Users checked.
    pub users: i64,
    /// Holds open at the moment.
    pub open_holds: i64,
    /// What they hold.
    pub held: Quota,
    /// What was given back because nobody knows how its calls ended.
    pub unknown_outcome: Quota,
    /// Every broken rule, with its row.
    pub breaches: Vec<Breach>,
}

/// A broken rule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Breach {
    /// Which rule.
    pub rule: &'static str,
    /// Which row.
    pub subject: String,
    /// What it says, and what it should.
    pub detail: String,
}

/// Checks every balance, every hold, every redeemed code and every count of what is spent against
/// the journal.
///
/// # Errors
/// When the database doesn't answer.
pub async fn audit(db: &Db) -> Result<AuditReport, StoreError> {
    let mut breaches = Vec::new();
    for row in db.read(BALANCES, &[]).await? {
        balance_breaches(&row, &mut breaches)?;
    }
    for row in db.read(HOLDS, &[]).await? {
        breaches.push(hold_breach(&row)?);
    }
    for row in db.read(STRAYS, &[]).await? {
        let hold_id: Uuid = row.get("hold_id")?;
        breaches.push(Breach {
            rule: "every precharge line has its hold",
            subject: format!("logs.id {}", row.get::<i64>("id")?),
            detail: format!("hold {hold_id} is missing"),
        });
    }
    for row in db.read(CODES, &[]).await? {
        let (quota, user_id): (i64, i64) = (row.get("quota")?, row.get("user_id")?);
        breaches.push(Breach {
            rule: "a redeemed code has its topup line",
            subject: format!("redemptions.id {}", row.get::<i64>("id")?),
            detail: format!("user {user_id} has no line that pays its {quota}"),
        });
    }
    for row in db.read(COUNTS, &[]).await? {
        breaches.push(count_breach(&row)?);
    }
    breaches.truncate(MOST_ROWS);
    let totals = db.read(TOTALS, &[]).await?;
    let total = |column: &str| totals.first().map_or(Ok(0), |row| row.get::<i64>(column));
    Ok(AuditReport {
        clean: breaches.is_empty(),
        users: total("users")?,
        open_holds: total("open_holds")?,
        held: Quota(total("held")?),
        unknown_outcome: Quota(total("unknown_outcome")?),
        breaches,
    })
}

fn balance_breaches(row: &Row, breaches: &mut Vec<Breach>) -> Result<(), StoreError> {
    let subject = format!("users.id {}", row.get::<i64>("id")?);
    let (quota, journal): (i64, i64) = (row.get("quota")?, row.get("journal_quota")?);
    if quota != journal {
        breaches.push(Breach {
            rule: "quota is the sum of its journal",
            subject: subject.clone(),
            detail: format!("quota {quota}, journal {journal}, difference {}", quota - journal),
        });
    }
    let (used, journal): (i64, i64) = (row.get("used_quota")?, row.get("journal_used")?);
    if used != journal {
        breaches.push(Breach {
            rule: "used_quota is what was consumed",
            subject: subject.clone(),
            detail: format!("used_quota {used}, journal {journal}"),
        });
    }
    if quota < 0 && row.get::<i64>("excused")? == 0 && row.get::<i64>("carried")? == 0 {
        breaches.push(Breach {
            rule: "nothing is negative without an overrun or an adjustment",
            subject,
            detail: format!("quota {quota}"),
        });
    }
    Ok(())
}

fn hold_breach(row: &Row) -> Result<Breach, StoreError> {
    let state: String = row.get("state")?;
    let number = |column: &str| row.get::<i64>(column);
    Ok(Breach {
        rule: "a hold and its journal lines agree, and a closed one has one closing line",
        subject: format!("holds.id {}", row.get::<Uuid>("id")?),
        detail: format!(
            "state {state}, amount {}, charged {}, lines move {} and use {}, closing lines {}",
            number("amount")?,
            number("charged")?,
            number("moved")?,
            number("used")?,
            number("closings")?,
        ),
    })
}

fn count_breach(row: &Row) -> Result<Breach, StoreError> {
    let number = |column: &str| row.get::<i64>(column);
    Ok(Breach {
        rule: "what is counted as spent is what its holds come to",
        subject: format!("{}.id {}", row.get::<String>("what")?, number("id")?),
        detail: format!(
            "spent_day {}, holds of the day {}, spent_month {}, holds of the month {}",
            number("spent_day")?,
            number("day")?,
            number("spent_month")?,
            number("month")?,
        ),
    })
}
