//! Taking what is due, so that no two nodes send the same, and no endpoint is in another's way.

use domain::{TaskUid, UnixMs};
use std::collections::HashMap;
use store::{Db, Engine, Row, Statement, StoreError, Value};

/// How long a claim lasts. A node that dies within it leaves the row to whoever looks next.
const LEASE_MS: i64 = 60_000;
/// Deliveries under way to one endpoint.
const PER_ENDPOINT: usize = 4;
/// Endpoints looked at for one claim. Those that have enough already are among them, so it is more
/// than a claim can serve.
const LOOKED_AT: i64 = 256;

/// A delivery that is this node's to try, for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub id: i64,
    pub endpoint_id: i64,
    pub task_uid: TaskUid,
    /// Which try this is, from 1.
    pub attempt: i64,
}

/// What a look at the outbox came to.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    pub claims: Vec<Claim>,
    /// Something that is due may have been left for want of room.
    pub more: bool,
}

/// The endpoints that something is due for, oldest first. It steps from endpoint to endpoint along
/// the index, past whatever waits for each.
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
    SELECT endpoint_id FROM oldest WHERE due_at <= $1 ORDER BY due_at LIMIT $2";

const fn take(engine: Engine) -> &'static str {
    match engine {
        // What another node is just taking is no longer there to be taken.
        Engine::Postgres => {
            "UPDATE webhook_deliveries
             SET due_at = $1, attempts = attempts + 1, attempted_at = $2
             WHERE id IN (SELECT id FROM webhook_deliveries
                          WHERE state = 'pending' AND endpoint_id = $3 AND due_at <= $2
                          ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED)
             RETURNING id, endpoint_id, task_uid, attempts"
        }
        Engine::Sqlite => {
            "UPDATE webhook_deliveries
             SET due_at = $1, attempts = attempts + 1, attempted_at = $2
             WHERE id IN (SELECT id FROM webhook_deliveries
                          WHERE state = 'pending' AND endpoint_id = $3 AND due_at <= $2
                          ORDER BY due_at LIMIT $4)
             RETURNING id, endpoint_id, task_uid, attempts"
        }
    }
}

/// Takes up to `room` deliveries, given how many are `under_way` to each endpoint.
pub(super) async fn claim(
    db: &Db,
    now: UnixMs,
    room: usize,
    under_way: &HashMap<i64, usize>,
) -> Result<Claimed, StoreError> {
    let rows = db.read(DUE, &[now.into(), LOOKED_AT.into()]).await?;
    let due = rows.iter().map(|row| row.get("endpoint_id")).collect::<Result<Vec<i64>, _>>()?;
    let shares = shares(&due, room, under_way);
    if shares.is_empty() {
        return Ok(Claimed { claims: Vec::new(), more: !due.is_empty() });
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
    Ok(Claimed { claims, more })
}

/// How many to take for each endpoint: no more than there is room for, the longest due first.
fn shares(due: &[i64], room: usize, under_way: &HashMap<i64, usize>) -> Vec<(i64, usize)> {
    let mut left = room;
    let mut shares = Vec::new();
    for &endpoint_id in due {
        let busy = under_way.get(&endpoint_id).copied().unwrap_or(0);
        let share = PER_ENDPOINT.saturating_sub(busy).min(left);
        if share > 0 {
            left -= share;
            shares.push((endpoint_id, share));
        }
    }
    shares
}

fn read(row: &Row) -> Result<Claim, StoreError> {
    Ok(Claim {
        id: row.get("id")?,
        endpoint_id: row.get("endpoint_id")?,
        task_uid: TaskUid(row.get("task_uid")?),
        attempt: row.get("attempts")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_gets_no_more_than_its_share() {
        let busy = HashMap::from([(1, 4), (2, 3)]);
        assert_eq!(shares(&[1, 2, 3], 64, &busy), [(2, 1), (3, 4)]);
        assert_eq!(shares(&[3, 4, 5], 6, &busy), [(3, 4), (4, 2)]);
        assert_eq!(shares(&[1], 64, &busy), []);
        assert_eq!(shares(&[3], 0, &busy), []);
    }
}
