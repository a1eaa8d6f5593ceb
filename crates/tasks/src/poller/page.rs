//! The unfinished tasks of a lane, page by page, in the order of their index.

use super::Core;
use super::lease::PollLane;
use super::poll_request::{PollTarget, is_number};
use domain::{TaskStatus, TaskUid, UnixMs, UserId};
use store::{Row, StoreError, TASK_DATA, Value};
use upstream::task_reply::Element;

/// A report up to this size is read without further ado.
const SMALL_DATA: i64 = 64 * 1024;

/// A position in a lane: key of the owner, and id of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PagePlace {
    pub(super) token_id: i64,
    pub(super) id: i64,
}

impl PagePlace {
    pub(super) const FIRST: Self = Self { token_id: i64::MIN, id: i64::MIN };
    pub(super) const LAST: Self = Self { token_id: i64::MAX, id: i64::MAX };
}

/// A task to be polled.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) place: PagePlace,
    pub(super) uid: TaskUid,
    pub(super) user_id: UserId,
    /// The upstream's task id.
    pub(super) task_id: String,
    /// The path that it was submitted to; empty: it is one of CustomPass.
    pub(super) path: String,
    pub(super) status: TaskStatus,
    /// Its owner cancelled it, and the upstream has confirmed that.
    pub(super) is_cancelled: bool,
    pub(super) fingerprint: i64,
    pub(super) version: i64,
    pub(super) lifetime_from: UnixMs,
    pub(super) since: UnixMs,
    pub(super) request_id: String,
    /// The owner's key as it was when the task was submitted, sealed: with the first task of each
    /// key on a page, and with all of one that was rotated since, or is deleted.
    pub(super) key_sealed: Option<String>,
    /// The owner's role: with the key.
    pub(super) owner_role: Option<i64>,
}

/// One pass over a lane, from a position around to the same one. It starts where the last pass was
/// aborted, so that tasks after a range that times out are polled, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    from: PagePlace,
    at: PagePlace,
    wrapped: bool,
}

impl Round {
    pub(super) const fn from(from: PagePlace) -> Self {
        Self { from, at: from, wrapped: false }
    }

    /// The range of the next page: after the first position, up to the second.
    pub(super) const fn span(&self) -> (PagePlace, PagePlace) {
        (self.at, if self.wrapped { self.from } else { PagePlace::LAST })
    }

    /// A page ended here, or the range is exhausted. Returns whether there may be more.
    pub(super) fn advance(&mut self, end: Option<PagePlace>) -> bool {
        match end {
            Some(end) => self.at = end,
            None if self.wrapped || self.from == PagePlace::FIRST => return false,
            None => (self.at, self.wrapped) = (PagePlace::FIRST, true),
        }
        true
    }
}

// The innermost query walks along the index `tasks_unfinished`; the others read only its page.
const PAGE: &str = "
    SELECT id, token_id, uid, user_id, task_id, path, status, fingerprint, version, lifetime_from,
           since, request_id, is_cancelled,
           CASE WHEN is_like_last THEN NULL ELSE key_sealed END AS key_sealed,
           CASE WHEN is_like_last THEN NULL
                ELSE (SELECT role FROM users WHERE users.id = page.user_id) END AS owner_role
    FROM (SELECT found.*, lag(token_id) OVER (ORDER BY token_id, id) = token_id
                 AND EXISTS (SELECT 1 FROM tokens WHERE tokens.id = found.token_id
                             AND rotated_at IS NULL) AS is_like_last
          FROM (SELECT id, token_id, uid, user_id, task_id, path, status, fingerprint, version,
                       lifetime_from, coalesce(submit_time, created_at) AS since, request_id,
                       key_sealed, cancelled_at IS NOT NULL AS is_cancelled
                FROM tasks
                WHERE channel_id = $1 AND action = $2
                  AND status IN ('submitted', 'processing', 'unknown') AND task_id <> ''
                  AND (token_id, id) > ($3, $4) AND (token_id, id) <= ($5, $6)
                ORDER BY token_id, id LIMIT $7) AS found) AS page
    ORDER BY token_id, id";

/// The next page of a range.
pub(super) async fn load(
    core: &Core,
    lane: &PollLane,
    (after, until): (PagePlace, PagePlace),
    rows: usize,
) -> Result<Vec<Waiting>, StoreError> {
    let params = [
        Value::from(lane.channel_id),
        Value::from(&lane.action),
        Value::Int(after.token_id),
        Value::Int(after.id),
        Value::Int(until.token_id),
        Value::Int(until.id),
        Value::Int(i64::try_from(rows).unwrap_or(i64::MAX)),
    ];
    let _turn = core.permits.statements.acquire().await;
    let rows = core.parts.db.read(PAGE, &params).await?;
    rows.iter().map(Waiting::read).collect()
}

impl Waiting {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let status: String = row.get("status")?;
        Ok(Self {
            place: PagePlace { token_id: row.get("token_id")?, id: row.get("id")? },
            uid: TaskUid(row.get("uid")?),
            user_id: row.get("user_id")?,
            task_id: row.get("task_id")?,
            path: row.get("path")?,
            is_cancelled: row.get("is_cancelled")?,
            status: TaskStatus::parse(&status).unwrap_or(TaskStatus::Unknown),
            fingerprint: row.get("fingerprint")?,
            version: row.get("version")?,
            lifetime_from: row.get("lifetime_from")?,
            since: row.get("since")?,
            request_id: row.get("request_id")?,
            key_sealed: row.get("key_sealed")?,
            owner_role: row.get("owner_role")?,
        })
    }
}

/// Whether this upstream writes its ids as numbers, judged by its last report of a task whose id
/// could be one. One row is read for this per pass, and only when an id could be a number at all.
pub(super) async fn has_numbers(
    core: &Core,
    page: &[Waiting],
    target: Option<&PollTarget>,
) -> Result<bool, StoreError> {
    let Some(task) = page.iter().find(|task| is_number(&task.task_id)) else { return Ok(false) };
    let read = async |largest: i64| {
        let sql = "SELECT CASE WHEN octet_length(data) <= $2 THEN data END AS data
            FROM tasks WHERE id = $1";
        let params = [Value::Int(task.place.id), Value::Int(largest)];
        let rows = core.parts.db.read(sql, &params).await?;
        rows.first().map_or(Ok(None), |row| row.get::<Option<String>>("data"))
    };
    let rules = target.and_then(|target| target.rules(&task.path).ok().flatten());
    let is_number_in = |sealed: String| {
        let Ok(data) = core.parts.sealer.open(TASK_DATA, &sealed) else { return false };
        match rules {
            None => str::from_utf8(&data).is_ok_and(Element::id_is_number),
            Some(rules) => rules.read_one(&data).id_is_number,
        }
    };
    if let Some(sealed) = read(SMALL_DATA).await? {
        return Ok(is_number_in(sealed));
    }
    // A large one is in memory more than once for a moment: one at a time of all lanes.
    let _turn = core.permits.large_applied.acquire().await;
    Ok(read(i64::MAX).await?.is_some_and(is_number_in))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(token_id: i64, id: i64) -> PagePlace {
        PagePlace { token_id, id }
    }

    #[test]
    fn a_round_comes_by_every_place_once() {
        let mut round = Round::from(PagePlace::FIRST);
        assert_eq!(round.span(), (PagePlace::FIRST, PagePlace::LAST));
        assert!(round.advance(Some(at(1, 5))));
        assert_eq!(round.span(), (at(1, 5), PagePlace::LAST));
        assert!(!round.advance(None));

        let mut round = Round::from(at(2, 7));
        assert_eq!(round.span(), (at(2, 7), PagePlace::LAST));
        assert!(round.advance(None));
        assert_eq!(round.span(), (PagePlace::FIRST, at(2, 7)));
        assert!(round.advance(Some(at(1, 1))));
        assert_eq!(round.span(), (at(1, 1), at(2, 7)));
        assert!(!round.advance(None));
    }
}
