//! Which node polls which lane: leases in the table `task_lanes`.
//!
//! A lane is a model of a channel, the unit of leasing and of isolation. There is no leader: each
//! node takes free lanes, up to its fair share, and gives back what exceeds it. A node counts as
//! long as it renews the row that represents it (channel 0), which expires together with its
//! leases. The table `nodes` would count a dead node for longer than its lanes may wait.

use domain::{ChannelId, NodeId, UnixMs};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use store::{Db, Engine, Row, Statement, StoreError, Value};

/// The maximum number of lanes, of all nodes together.
pub(super) const LANES_MAX: usize = 10_000;

/// One model of one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PollLane {
    pub(super) channel_id: ChannelId,
    /// The model, with its `/submit`.
    pub(super) action: Arc<str>,
}

/// Which node has which lane, and how many nodes there are.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) of: HashMap<PollLane, NodeId>,
    pub(super) nodes: usize,
}

/// A node's plan for its lanes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Free lanes to take.
    pub(super) take: Vec<PollLane>,
    /// Lanes to give back.
    pub(super) give: Vec<PollLane>,
}

/// Plans for this node. `wanted` are the lanes that have unfinished tasks.
pub(super) fn plan(me: NodeId, wanted: &BTreeSet<PollLane>, leases: &Leases) -> Plan {
    let share = wanted.len().div_ceil(leases.nodes.max(1));
    let mine = |lane: &&PollLane| leases.of.get(*lane) == Some(&me);
    let idle = leases.of.keys().filter(mine).filter(|lane| !wanted.contains(*lane));
    let mut give: Vec<PollLane> = idle.cloned().collect();
    let held: Vec<&PollLane> = wanted.iter().filter(mine).collect();
    give.extend(held.iter().skip(share).map(|lane| (*lane).clone()));
    let free: Vec<&PollLane> =
        wanted.iter().filter(|lane| !leases.of.contains_key(*lane)).collect();
    // Each node starts at another lane, so that two that plan at the same time take different ones.
    let start = me.0.as_u128() % u128::try_from(free.len().max(1)).unwrap_or(1);
    let start = usize::try_from(start).unwrap_or(0);
    let room = share.saturating_sub(held.len());
    let take = free.iter().cycle().skip(start).take(room.min(free.len()));
    Plan { take: take.map(|lane| (*lane).clone()).collect(), give }
}

// A skip scan from lane to lane along the index `tasks_unfinished`: its cost depends on the number
// of lanes, not of tasks.
const WANTED: &str = "
    WITH RECURSIVE lanes (channel_id, action) AS (
        SELECT channel_id, action FROM (
            SELECT channel_id, action FROM tasks
            WHERE status IN ('submitted', 'processing', 'unknown')
            ORDER BY channel_id, action LIMIT 1) AS first
        UNION ALL
        SELECT (SELECT t.channel_id FROM tasks t
                WHERE t.status IN ('submitted', 'processing', 'unknown')
                  AND (t.channel_id, t.action) > (lanes.channel_id, lanes.action)
                ORDER BY t.channel_id, t.action LIMIT 1),
               (SELECT t.action FROM tasks t
                WHERE t.status IN ('submitted', 'processing', 'unknown')
                  AND (t.channel_id, t.action) > (lanes.channel_id, lanes.action)
                ORDER BY t.channel_id, t.action LIMIT 1)
        FROM lanes WHERE lanes.channel_id IS NOT NULL)
    SELECT channel_id, action FROM lanes WHERE channel_id IS NOT NULL LIMIT $1";

impl PollLane {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { channel_id: row.get("channel_id")?, action: row.get("action")? })
    }
}

/// Lanes that have unfinished tasks.
pub(super) async fn wanted(db: &Db) -> Result<BTreeSet<PollLane>, StoreError> {
    let most = Value::Int(i64::try_from(LANES_MAX).unwrap_or(i64::MAX));
    db.read(WANTED, &[most]).await?.iter().map(PollLane::read).collect()
}

/// Notes a pass over a lane of this node: when it was, when the next one is due, and what went
/// wrong.
pub(super) async fn note(
    db: &Db,
    me: NodeId,
    lane: &PollLane,
    (asked, next): (UnixMs, UnixMs),
    error: &str,
) -> Result<(), StoreError> {
    let sql = "UPDATE task_lanes SET asked_at = $4, next_at = $5, last_error = $6
        WHERE channel_id = $1 AND action = $2 AND node_id = $3";
    let values = [
        lane.channel_id.into(),
        lane.action.to_string().into(),
        me.into(),
        Value::Time(asked),
        Value::Time(next),
        error.to_owned().into(),
    ];
    db.execute(sql, &values).await.map(drop)
}

/// Announces this node, renews its leases, and returns which node has what.
pub(super) async fn renew(
    db: &Db,
    me: NodeId,
    now: UnixMs,
    until: UnixMs,
) -> Result<Leases, StoreError> {
    let (me_too, id) = (Value::from(me.to_string()), Value::from(me));
    let (now, until) = (Value::Time(now), Value::Time(until));
    db.write_all(vec![
        Statement::new("DELETE FROM task_lanes WHERE lease_until <= $1", vec![now.clone()]),
        Statement::new(
            "UPDATE task_lanes SET lease_until = $2 WHERE node_id = $1",
            vec![id.clone(), until.clone()],
        ),
        Statement::new(
            "INSERT INTO task_lanes (channel_id, action, node_id, lease_until)
             VALUES (0, $1, $2, $3) ON CONFLICT (channel_id, action) DO NOTHING",
            vec![me_too, id, until],
        ),
    ])
    .await?;
    let sql = "SELECT channel_id, action, node_id FROM task_lanes WHERE lease_until > $1";
    let mut leases = Leases::default();
    for row in db.read(sql, &[now]).await? {
        let lane = PollLane::read(&row)?;
        if lane.channel_id == ChannelId(0) {
            leases.nodes += 1;
        } else {
            leases.of.insert(lane, row.get("node_id")?);
        }
    }
    Ok(leases)
}

/// Takes free lanes; returns those it got.
pub(super) async fn take(
    db: &Db,
    me: NodeId,
    lanes: &[PollLane],
    now: UnixMs,
    until: UnixMs,
) -> Result<HashSet<PollLane>, StoreError> {
    if lanes.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = match db.engine() {
        Engine::Postgres => {
            "INSERT INTO task_lanes (channel_id, action, node_id, lease_until)
             SELECT c.channel_id, c.action, $2, $3
             FROM jsonb_to_recordset($1::jsonb) AS c (channel_id bigint, action text)
             ORDER BY c.channel_id, c.action
             ON CONFLICT (channel_id, action) DO UPDATE
                SET node_id = excluded.node_id, lease_until = excluded.lease_until
                WHERE task_lanes.lease_until <= $4
             RETURNING channel_id, action"
        }
        Engine::Sqlite => {
            "INSERT INTO task_lanes (channel_id, action, node_id, lease_until)
             SELECT value ->> 'channel_id', value ->> 'action', ?2, ?3
             FROM json_each(?1) WHERE true
             ON CONFLICT (channel_id, action) DO UPDATE
                SET node_id = excluded.node_id, lease_until = excluded.lease_until
                WHERE task_lanes.lease_until <= ?4
             RETURNING channel_id, action"
        }
    };
    let params = [json_rows(lanes), Value::from(me), Value::Time(until), Value::Time(now)];
    db.write(rows, &params).await?.iter().map(PollLane::read).collect()
}

/// Gives lanes back.
pub(super) async fn give(db: &Db, me: NodeId, lanes: &[PollLane]) -> Result<(), StoreError> {
    if lanes.is_empty() {
        return Ok(());
    }
    let rows = match db.engine() {
        Engine::Postgres => {
            "DELETE FROM task_lanes WHERE node_id = $2 AND (channel_id, action) IN (
                SELECT c.channel_id, c.action
                FROM jsonb_to_recordset($1::jsonb) AS c (channel_id bigint, action text))"
        }
        Engine::Sqlite => {
            "DELETE FROM task_lanes WHERE node_id = ?2 AND (channel_id, action) IN (
                SELECT value ->> 'channel_id', value ->> 'action' FROM json_each(?1))"
        }
    };
    db.execute(rows, &[json_rows(lanes), Value::from(me)]).await.map(drop)
}

/// Gives all lanes back: this node is stopping.
pub(super) async fn leave(db: &Db, me: NodeId) -> Result<(), StoreError> {
    db.execute("DELETE FROM task_lanes WHERE node_id = $1", &[Value::from(me)]).await.map(drop)
}

/// An SQLite file is served by one process: leases of an earlier one are void.
pub(super) async fn clear_dead(db: &Db) -> Result<(), StoreError> {
    match db.engine() {
        Engine::Postgres => Ok(()),
        Engine::Sqlite => db.execute("DELETE FROM task_lanes", &[]).await.map(drop),
    }
}

fn json_rows(lanes: &[PollLane]) -> Value {
    let row = |lane: &PollLane| {
        let (channel_id, action) = (lane.channel_id, &*lane.action);
        serde_json::json!({ "channel_id": channel_id, "action": action })
    };
    Value::Json(serde_json::Value::from_iter(lanes.iter().map(row)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn lane(n: i64) -> PollLane {
        PollLane { channel_id: ChannelId(n), action: "img/submit".into() }
    }

    fn lanes(numbers: impl IntoIterator<Item = i64>) -> BTreeSet<PollLane> {
        numbers.into_iter().map(lane).collect()
    }

    fn node(n: u128) -> NodeId {
        NodeId(Uuid::from_u128(n))
    }

    #[test]
    fn one_node_takes_everything() {
        let leases = Leases { nodes: 1, ..Leases::default() };
        let plan = plan(node(7), &lanes(1..=5), &leases);
        assert_eq!(plan.take.into_iter().collect::<BTreeSet<_>>(), lanes(1..=5));
        assert_eq!(plan.give, []);
    }

    #[test]
    fn what_has_no_tasks_and_what_is_too_much_is_given_back() {
        let of = (1..=6).map(|n| (lane(n), node(1))).collect();
        let leases = Leases { of, nodes: 2 };
        let plan = plan(node(1), &lanes(1..=5), &leases);
        let give: BTreeSet<_> = plan.give.into_iter().collect();
        assert_eq!((give, plan.take), (lanes([6, 4, 5]), vec![]));
    }

    /// Nodes that come and go, planning in turn, reach a state with every lane leased once and fair
    /// shares.
    #[test]
    fn nodes_settle() {
        let wanted = lanes(1..=11);
        let mut of = HashMap::new();
        for nodes in [1_u128, 3, 4, 2, 1, 5] {
            of.retain(|_, holder: &mut NodeId| holder.0.as_u128() <= nodes);
            for round in 0..4 {
                for me in (1..=nodes).map(node) {
                    let nodes = usize::try_from(nodes).unwrap();
                    let leases = Leases { of: of.clone(), nodes };
                    let plan = plan(me, &wanted, &leases);
                    assert!(round < 3 || plan == Plan::default(), "{nodes} nodes don't settle");
                    of.retain(|lane, _| !plan.give.contains(lane));
                    of.extend(plan.take.into_iter().map(|lane| (lane, me)));
                }
            }
            assert_eq!(of.len(), wanted.len());
            let most = wanted.len().div_ceil(usize::try_from(nodes).unwrap());
            for me in (1..=nodes).map(node) {
                assert!(of.values().filter(|holder| **holder == me).count() <= most);
            }
        }
    }
}
