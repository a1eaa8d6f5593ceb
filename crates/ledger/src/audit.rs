//! The conservation check: whether every balance agrees with its journal.
//!
//! Each rule is one statement, so it sees one snapshot of a live system; nothing is locked.

use domain::{HOUR_MS, Quota, UnixMs};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::sums::sum_of;
use store::{Db, Engine, LongReader, Row, StoreError, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum number of breaches listed. One is enough for an alarm.
const MOST_ROWS: usize = 100;

/// Maximum number of breaches read per rule.
const LIMIT: &str = "LIMIT 100";

const BALANCES: &str = "SELECT * FROM (
    SELECT u.id AS id, u.quota AS quota, u.used_quota AS used_quota,
           CAST(coalesce(l.delta, 0) + coalesce(c.delta, 0) AS BIGINT) AS journal_quota,
           CAST(coalesce(l.used, 0) + coalesce(c.used, 0) AS BIGINT) AS journal_used,
           CAST(coalesce(h.held, 0) AS BIGINT) AS held,
           CAST(coalesce(l.excused, 0) AS BIGINT) AS excused,
           CASE WHEN c.user_id IS NULL THEN 0 ELSE 1 END AS carried
    FROM users u
    LEFT JOIN (SELECT user_id, sum(delta) AS delta, sum(used_delta) AS used,
                      sum(CASE WHEN type = 'consume' AND quota > coalesce(held, 0)
                                 OR type IN ('topup', 'adjust', 'refund') AND delta < 0
                               THEN 1 ELSE 0 END) AS excused
               FROM logs GROUP BY user_id) l ON l.user_id = u.id
    LEFT JOIN (SELECT user_id, sum(amount) AS held FROM holds GROUP BY user_id) h
         ON h.user_id = u.id
    LEFT JOIN ledger_carry c ON c.user_id = u.id) AS b
    WHERE quota <> journal_quota - held OR used_quota <> journal_used
       OR (quota < 0 AND excused = 0 AND carried = 0)
    ORDER BY id";

/// A settlement's line moves the balance by its charge, and every charge was made once.
const CHARGES: &str = "SELECT hold_id, count(*) AS lines,
           CAST(coalesce(sum(quota), 0) AS BIGINT) AS charged,
           CAST(coalesce(sum(delta), 0) AS BIGINT) AS moved,
           CAST(coalesce(sum(used_delta), 0) AS BIGINT) AS used
    FROM logs WHERE type = 'consume' AND hold_id IS NOT NULL
    GROUP BY hold_id
    HAVING count(*) > 1 OR sum(delta) <> -sum(quota) OR sum(used_delta) <> sum(quota)";

/// Holds that nothing will end: the call is charged already, or its user is gone, or the sweeper
/// can't release it.
const HOLDS: &str = "SELECT h.id AS id, h.user_id AS user_id, h.amount AS amount,
           CASE WHEN u.id IS NULL THEN 'its user is gone'
                WHEN l.id IS NOT NULL THEN 'its call is charged'
                ELSE 'it is overdue' END AS why
    FROM holds h
    LEFT JOIN users u ON u.id = h.user_id
    LEFT JOIN logs l ON l.request_id = h.request_id AND l.request_id <> '' AND l.hold_id = h.id
         AND l.type = 'consume'
    WHERE u.id IS NULL OR l.id IS NOT NULL
       OR (h.deadline_at < $1 AND NOT h.for_task)
    ORDER BY h.id";

/// A task that has a price has a hold until it ends.
const TASKS: &str = "SELECT t.uid AS uid, t.user_id AS user_id, t.precharge_quota AS held
    FROM tasks t JOIN users u ON u.id = t.user_id LEFT JOIN holds h ON h.id = t.uid
    WHERE t.status IN ('submitted', 'processing', 'unknown') AND t.finish_time IS NULL
      AND t.precharge_quota > 0 AND h.id IS NULL
    ORDER BY t.uid";

/// A code and its line are written in one transaction, with one time. Lines of dropped months are
/// gone.
const CODES: &str = "SELECT r.id AS id, r.quota AS quota, r.redeemed_by AS user_id
    FROM redemptions r
    WHERE r.status = 3 AND r.redeemed_at >= (SELECT min(created_at) FROM logs)
      AND 1 <> (SELECT count(*) FROM logs l
                WHERE l.user_id = r.redeemed_by AND l.created_at = r.redeemed_at
                  AND l.type = 'topup' AND l.delta = r.quota
                  AND l.content LIKE 'redemption #' || r.id || ' %')
    ORDER BY r.id";

/// What is counted as spent is the sum of the lines and the open holds of that day and of its
/// month. Where months of the owner were dropped, a line that counted may be gone, and count still.
const COUNTS: &str = "SELECT * FROM (
    SELECT c.what AS what, c.id AS id, c.spent_day AS spent_day, c.spent_month AS spent_month,
           CASE WHEN l.user_id IS NULL THEN 0 ELSE 1 END AS carried,
           CAST(coalesce(sum(CASE WHEN h.counted_on = c.spent_on THEN h.quota ELSE 0 END), 0)
                AS BIGINT) AS day,
           CAST(coalesce(sum(h.quota), 0) AS BIGINT) AS month
    FROM (SELECT 'users' AS what, id, id AS user_id, spent_on, spent_day, spent_month FROM users
          UNION ALL
          SELECT 'tokens', id, user_id, spent_on, spent_day, spent_month FROM tokens) c
    LEFT JOIN (SELECT what, id, counted_on, sum(quota) AS quota
               FROM (SELECT 'users' AS what, user_id AS id, counted_on, amount AS quota
                     FROM holds WHERE counted_on IS NOT NULL
                     UNION ALL
                     SELECT 'users', user_id, counted_on, used_delta
                     FROM logs WHERE counted_on IS NOT NULL
                     UNION ALL
                     SELECT 'tokens', key_id, key_counted_on, amount
                     FROM holds WHERE key_counted_on IS NOT NULL
                     UNION ALL
                     SELECT 'tokens', token_id, key_counted_on, used_delta
                     FROM logs WHERE key_counted_on IS NOT NULL) counted
               GROUP BY what, id, counted_on) h
         ON h.what = c.what AND h.id = c.id AND h.counted_on / 100 = c.spent_on / 100
    LEFT JOIN ledger_carry l ON l.user_id = c.user_id
    WHERE c.spent_on IS NOT NULL
    GROUP BY c.what, c.id, c.spent_day, c.spent_month, l.user_id) AS s
    WHERE spent_day < day OR spent_month < month
       OR (carried = 0 AND (spent_day > day OR spent_month > month))
    ORDER BY what, id";

fn totals_sql(engine: Engine) -> String {
    format!(
        "SELECT (SELECT count(*) FROM users) AS users,
             (SELECT count(*) FROM holds) AS open_holds,
             (SELECT {} FROM holds) AS held,
             (SELECT {} FROM logs
               WHERE type = 'error' AND content = 'unknown_outcome') AS unknown_outcome",
        sum_of(engine, "amount"),
        sum_of(engine, "held"),
    )
}

/// How long past its deadline a hold may be open. The sweeper runs every few seconds.
const OVERDUE_MS: i64 = HOUR_MS;

/// The result of the check.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditReport {
    /// Whether every rule holds.
    pub clean: bool,
    /// Users checked.
    pub users: i64,
    /// Open holds.
    pub open_holds: i64,
    /// The sum of their amounts.
    pub held: Quota,
    /// The sum of holds released because the outcome of their calls is unknown.
    pub unknown_outcome: Quota,
    /// Every broken rule, with its row.
    pub breaches: Vec<Breach>,
}

/// A broken rule.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Breach {
    /// The rule.
    pub rule: &'static str,
    /// The row.
    pub subject: String,
    /// The value found, and the value expected.
    pub detail: String,
}

/// What a check asks the database, in its order: one statement each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditStep {
    /// Every balance against its journal.
    Balances,
    /// Every charge.
    Charges,
    /// Every open hold.
    Holds,
    /// Every unfinished task.
    Tasks,
    /// Every redeemed code.
    Codes,
    /// Every count of what is spent.
    Counts,
    /// The sums of the report.
    Totals,
}

impl AuditStep {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Balances,
        Self::Charges,
        Self::Holds,
        Self::Tasks,
        Self::Codes,
        Self::Counts,
        Self::Totals,
    ];
}

/// How far a check is, for those who watch it.
#[derive(Debug, Default)]
pub struct AuditProgress {
    done: AtomicUsize,
}

impl AuditProgress {
    /// How many steps of [`AuditStep::ALL`] are done.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// The step under way; none: all are done.
    pub fn step(&self) -> Option<AuditStep> {
        AuditStep::ALL.get(self.done()).copied()
    }
}

/// Reads for a check, step by step.
struct Steps<'a> {
    reader: LongReader<'a>,
    progress: &'a AuditProgress,
}

impl Steps<'_> {
    /// Makes a step, and counts it.
    async fn make(
        &self,
        step: AuditStep,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        debug_assert_eq!(self.progress.step(), Some(step), "a step out of its order");
        let rows = self.reader.read(sql, params).await?;
        self.progress.done.fetch_add(1, Ordering::Relaxed);
        Ok(rows)
    }

    /// The rows that break a rule.
    async fn broken(
        &self,
        step: AuditStep,
        rule: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, StoreError> {
        self.make(step, &format!("{rule} {LIMIT}"), params).await
    }
}

/// Checks every balance, every charge, every open hold, every unfinished task, every redeemed code
/// and every count of what is spent against the journal.
///
/// # Errors
/// When the database fails.
pub async fn audit(db: &Db, now: UnixMs) -> Result<AuditReport, StoreError> {
    watched_audit(db, now, &AuditProgress::default()).await
}

/// The same, whose steps others can watch.
///
/// # Errors
/// When the database fails.
pub async fn watched_audit(
    db: &Db,
    now: UnixMs,
    progress: &AuditProgress,
) -> Result<AuditReport, StoreError> {
    let steps = Steps { reader: db.long_reader().await?, progress };
    let mut breaches = Vec::new();
    for row in steps.broken(AuditStep::Balances, BALANCES, &[]).await? {
        balance_breaches(&row, &mut breaches)?;
    }
    for row in steps.broken(AuditStep::Charges, CHARGES, &[]).await? {
        breaches.push(charge_breach(&row)?);
    }
    for row in
        steps.broken(AuditStep::Holds, HOLDS, &[Value::Time(now.plus_ms(-OVERDUE_MS))]).await?
    {
        breaches.push(hold_breach(&row)?);
    }
    for row in steps.broken(AuditStep::Tasks, TASKS, &[]).await? {
        breaches.push(task_breach(&row)?);
    }
    for row in steps.broken(AuditStep::Codes, CODES, &[]).await? {
        let (quota, user_id): (i64, i64) = (row.get("quota")?, row.get("user_id")?);
        breaches.push(Breach {
            rule: "a redeemed code has its topup line",
            subject: format!("redemptions.id {}", row.get::<i64>("id")?),
            detail: format!("user {user_id} has no line that pays its {quota}"),
        });
    }
    for row in steps.broken(AuditStep::Counts, COUNTS, &[]).await? {
        breaches.push(count_breach(&row)?);
    }
    breaches.truncate(MOST_ROWS);
    let totals = steps.make(AuditStep::Totals, &totals_sql(db.engine()), &[]).await?;
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
    let held: i64 = row.get("held")?;
    if quota != journal - held {
        let difference = i128::from(quota) - i128::from(journal) + i128::from(held);
        breaches.push(Breach {
            rule: "quota is the sum of its journal less what is held",
            subject: subject.clone(),
            detail: format!("quota {quota}, journal {journal}, held {held}: {difference} off"),
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

fn charge_breach(row: &Row) -> Result<Breach, StoreError> {
    let number = |column: &str| row.get::<i64>(column);
    Ok(Breach {
        rule: "a call is charged once, and its line moves what it charges",
        subject: format!("logs.hold_id {}", row.get::<Uuid>("hold_id")?),
        detail: format!(
            "{} lines charge {}, move {} and use {}",
            number("lines")?,
            number("charged")?,
            number("moved")?,
            number("used")?,
        ),
    })
}

fn hold_breach(row: &Row) -> Result<Breach, StoreError> {
    let (id, amount): (Uuid, i64) = (row.get("id")?, row.get("amount")?);
    let why: String = row.get("why")?;
    Ok(Breach {
        rule: "an open hold is of a call under way",
        subject: format!("holds.id {id}"),
        detail: format!(
            "user {}, amount {amount}: {why}. Remedy: the sweeper of a running server gives it \
             back; where its log says expire_failed, make room in the balance; where the user is \
             gone, DELETE FROM holds WHERE id = '{id}'",
            row.get::<i64>("user_id")?,
        ),
    })
}

fn task_breach(row: &Row) -> Result<Breach, StoreError> {
    let (user_id, held): (i64, i64) = (row.get("user_id")?, row.get("held")?);
    Ok(Breach {
        rule: "an unfinished task that has a price has a hold",
        subject: format!("tasks.uid {}", row.get::<Uuid>("uid")?),
        detail: format!(
            "user {user_id}: its hold of {held} is gone; its end will charge that, or nothing if \
             it fails. Remedy: where the quota of users.id {user_id} is -{held} off, give it back: \
             UPDATE users SET quota = quota + {held}, revision = revision + 1 WHERE id = {user_id}",
        ),
    })
}

fn count_breach(row: &Row) -> Result<Breach, StoreError> {
    let number = |column: &str| row.get::<i64>(column);
    Ok(Breach {
        rule: "what is counted as spent is what its lines and holds come to",
        subject: format!("{}.id {}", row.get::<String>("what")?, number("id")?),
        detail: format!(
            "spent_day {}, lines and holds of the day {}, spent_month {}, of the month {}",
            number("spent_day")?,
            number("day")?,
            number("spent_month")?,
            number("month")?,
        ),
    })
}
