//! Claims due deliveries, so that no two nodes send the same one, and no endpoint or user blocks
//! another.

use domain::{TaskUid, UnixMs, UserId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use store::{Db, Engine, Row, Statement, StoreError, Value};

/// How long a claim lasts. If a node dies within it, the row is left to the next claim.
const LEASE_MS: i64 = 60_000;
/// Deliveries in flight per endpoint.
const PER_ENDPOINT: usize = 4;
/// Deliveries in flight per user: an eighth of all, so that users whose endpoints time out leave
/// capacity for the others.
const PER_USER: usize = 8;
/// Endpoints considered by one claim, of each user the longest due first. Those at their limit are
/// among them, so it is more than a claim can serve.
const LOOKED_AT: i64 = 1_024;

/// A delivery claimed by this node, for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryClaim {
    pub id: i64,
    pub endpoint_id: i64,
    pub user_id: UserId,
    pub task_uid: TaskUid,
    /// The number of the attempt, from 1.
    pub attempt: i64,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub(super) struct ClaimedDeliveries {
    pub claims: Vec<DeliveryClaim>,
    /// Something due may have been left for lack of capacity.
    pub more: bool,
}

/// The endpoints with due deliveries, oldest first, but of all users one before any user's second:
/// whoever has many endpoints leaves nobody out. A skip scan from endpoint to endpoint along the
/// index, regardless of how many deliveries each has.
const DUE: &str = "
    WITH RECURSIVE waiting (endpoint_id) AS (
        SELECT min(endpoint_id) FROM webhook_deliveries WHERE state = 'pending'
        UNION ALL
        SELECT (SELECT min(d.endpoint_id) FROM webhook_deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id > waiting.endpoint_id)
        FROM waiting WHERE waiting.endpoint_id IS NOT NULL
    ), oldest (endpoint_id, due_at) AS (
        SELECT w.endpoint_id,
               (SELECT min(d.due_at) FROM webhook_deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id = w.endpoint_id)
        FROM waiting w WHERE w.endpoint_id IS NOT NULL
    )
    SELECT o.endpoint_id, e.user_id
    FROM oldest o LEFT JOIN webhook_endpoints e ON e.id = o.endpoint_id
    WHERE o.due_at <= $1
    ORDER BY row_number() OVER (PARTITION BY e.user_id ORDER BY o.due_at), o.due_at LIMIT $2";

const fn take(engine: Engine) -> &'static str {
    match engine {
        // Rows that another node is claiming are skipped.
        Engine::Postgres => {
            "UPDATE webhook_deliveries
             SET due_at = $1, attempts = attempts + 1, attempted_at = $2
             WHERE id IN (SELECT id FROM webhook_deliveries
                          WHERE state = 'pending' AND endpoint_id = $3 AND due_at <= $2
                          ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
             RETURNING id, endpoint_id, user_id, task_uid, attempts"
        }
        Engine::Sqlite => {
            "UPDATE webhook_deliveries
             SET due_at = $1, attempts = attempts + 1, attempted_at = $2
             WHERE id IN (SELECT id FROM webhook_deliveries
                          WHERE state = 'pending' AND endpoint_id = $3 AND due_at <= $2
                          ORDER BY due_at LIMIT $4)
             RETURNING id, endpoint_id, user_id, task_uid, attempts"
        }
    }
}

/// Deliveries in flight from this node.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    to_endpoints: HashMap<i64, usize>,
    of_users: HashMap<UserId, usize>,
}

impl UnderWay {
    pub(super) fn begins(&mut self, endpoint_id: i64, user_id: UserId) {
        *self.to_endpoints.entry(endpoint_id).or_default() += 1;
        *self.of_users.entry(user_id).or_default() += 1;
    }

    pub(super) fn ends(&mut self, endpoint_id: i64, user_id: UserId) {
        less(&mut self.to_endpoints, endpoint_id);
        less(&mut self.of_users, user_id);
    }
}

fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// An endpoint with a due delivery.
#[derive(Clone, Copy, Debug)]
struct Due {
    endpoint_id: i64,
    user_id: UserId,
}

/// Claims up to `room` deliveries, given what is `under_way`.
pub(super) async fn claim(
    db: &Db,
    now: UnixMs,
    room: usize,
    under_way: &UnderWay,
) -> Result<ClaimedDeliveries, StoreError> {
    let rows = db.read(DUE, &[now.into(), LOOKED_AT.into()]).await?;
    let due = rows.iter().map(read_due).collect::<Result<Vec<_>, StoreError>>()?;
    let shares = shares(&due, room, under_way);
    if shares.is_empty() {
        return Ok(ClaimedDeliveries { claims: Vec::new(), more: !due.is_empty() });
    }
    let sql = take(db.engine());
    let until = now.plus_ms(LEASE_MS);
    let statements = shares.iter().map(|&(endpoint_id, share)| {
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        Statement::new(sql, vec![until.into(), now.into(), endpoint_id.into(), Value::Int(share)])
    });
    let taken = db.write_all(statements.collect()).await?;
    let more = shares.len() < due.len()
        || taken.iter().zip(&shares).any(|(rows, (_, share))| rows.len() == *share);
    let claims = taken.iter().flatten().map(read).collect::<Result<_, StoreError>>()?;
    Ok(ClaimedDeliveries { claims, more })
}

/// How many to claim per endpoint. One by one they go to where the user has the fewest in flight,
/// and of those to where the endpoint has; the longest due first.
fn shares(due: &[Due], room: usize, under_way: &UnderWay) -> Vec<(i64, usize)> {
    let mut of_users = under_way.of_users.clone();
    let busy = |it: &Due| under_way.to_endpoints.get(&it.endpoint_id).copied().unwrap_or(0);
    let mut shares: Vec<(i64, usize)> = due.iter().map(|it| (it.endpoint_id, 0)).collect();
    for _ in 0..room {
        let in_flight = |(place, it): &(usize, &Due)| {
            let of_user = of_users.get(&it.user_id).copied().unwrap_or(0);
            (of_user, busy(it) + shares[*place].1, *place)
        };
        let is_free = |found: &(usize, &Due)| {
            let (of_user, to_endpoint, _) = in_flight(found);
            of_user < PER_USER && to_endpoint < PER_ENDPOINT
        };
        let Some((place, next)) = due.iter().enumerate().filter(is_free).min_by_key(in_flight)
        else {
            break;
        };
        *of_users.entry(next.user_id).or_default() += 1;
        shares[place].1 += 1;
    }
    shares.retain(|(_, share)| *share > 0);
    shares
}

fn read_due(row: &Row) -> Result<Due, StoreError> {
    // A deleted endpoint has no owner; its deliveries are failed.
    let user_id: Option<UserId> = row.get("user_id")?;
    Ok(Due { endpoint_id: row.get("endpoint_id")?, user_id: user_id.unwrap_or(UserId(0)) })
}

fn read(row: &Row) -> Result<DeliveryClaim, StoreError> {
    Ok(DeliveryClaim {
        id: row.get("id")?,
        endpoint_id: row.get("endpoint_id")?,
        user_id: row.get("user_id")?,
        task_uid: TaskUid(row.get("task_uid")?),
        attempt: row.get("attempts")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_gets_no_more_than_its_share() {
        let mut busy = UnderWay::default();
        for (endpoint_id, count) in [(1, 4), (2, 3)] {
            (0..count).for_each(|_| busy.begins(endpoint_id, UserId(endpoint_id)));
        }
        let due = |ids: &[i64]| -> Vec<Due> {
            ids.iter().map(|&id| Due { endpoint_id: id, user_id: UserId(id) }).collect()
        };
        assert_eq!(shares(&due(&[1, 2, 3]), 64, &busy), [(2, 1), (3, 4)]);
        assert_eq!(shares(&due(&[3, 4, 5]), 5, &busy), [(3, 2), (4, 2), (5, 1)]);
        assert_eq!(shares(&due(&[1]), 64, &busy), []);
        assert_eq!(shares(&due(&[3]), 0, &busy), []);
    }

    #[test]
    fn a_user_gets_no_more_than_a_share() {
        let mut busy = UnderWay::default();
        (0..3).for_each(|_| busy.begins(1, UserId(7)));
        let due = [(2, 7), (3, 7), (4, 8)];
        let due = due.map(|(endpoint_id, id)| Due { endpoint_id, user_id: UserId(id) });
        assert_eq!(shares(&due, 64, &busy), [(2, 3), (3, 2), (4, 4)]);
        busy.ends(1, UserId(7));
        assert_eq!(shares(&due, 64, &busy), [(2, 3), (3, 3), (4, 4)]);
    }

    #[test]
    fn who_has_the_fewest_in_flight_comes_first() {
        let mut busy = UnderWay::default();
        (0..2).for_each(|_| busy.begins(1, UserId(1)));
        busy.begins(3, UserId(2));
        let due = [(1, 1), (2, 1), (3, 2), (4, 3)];
        let due = due.map(|(endpoint_id, id)| Due { endpoint_id, user_id: UserId(id) });
        assert_eq!(shares(&due, 1, &busy), [(4, 1)]);
        assert_eq!(shares(&due, 3, &busy), [(3, 1), (4, 2)]);
        assert_eq!(shares(&due, 4, &busy), [(2, 1), (3, 1), (4, 2)]);
    }
}
