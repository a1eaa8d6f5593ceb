//! The same decision over many tasks. Each is decided by itself: money that has moved stays so
//! where a later one can't be decided.

use super::price_changes::RowProblem;
use super::task::{self, Decision};
use crate::{Actor, AdminError, AdminState, Fields};
use domain::{Quota, UserId};
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Most tasks that are decided at once: those of a page.
const MAX_TASKS: usize = 100;

/// Over which tasks, and what.
#[derive(Clone, Debug)]
pub struct TaskBatch {
    /// Their numbers, each once.
    pub ids: BTreeSet<i64>,
    /// What is decided.
    pub decision: Decision,
    /// Why.
    pub reason: String,
    /// Tell what it would move, and decide nothing.
    pub dry_run: bool,
}

/// What was decided, or would be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskBatchResult {
    /// Nothing was decided: this is what would be.
    pub dry_run: bool,
    /// Over how many it was decided, or can be.
    pub decided: i64,
    /// What those held.
    pub held: Quota,
    /// What is charged of it.
    pub charged: Quota,
    /// What of it goes back to the balances.
    pub returned: Quota,
    /// Every task that was named, by number.
    pub items: Vec<TaskBatchItem>,
}

/// One task of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskBatchItem {
    /// Its number.
    pub id: i64,
    /// Its owner; none where there is no such task, as the next.
    pub user_id: Option<UserId>,
    /// The model it is of, with its `/submit`.
    pub action: Option<String>,
    /// What it held.
    pub held: Quota,
    /// What is charged.
    pub charged: Quota,
    /// What goes back to the balance.
    pub returned: Quota,
    /// Why it can't be decided so.
    pub problem: Option<RowProblem>,
}

impl Default for TaskBatch {
    fn default() -> Self {
        let (ids, reason) = (BTreeSet::new(), String::new());
        Self { ids, decision: Decision::Requeue, reason, dry_run: true }
    }
}

impl TaskBatch {
    /// Reads `{ids, decision, reason, dry_run}`.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(mut fields: Fields) -> Result<Self, AdminError> {
        let ids = fields.numbers("ids", MAX_TASKS)?;
        let ids = fields.required("ids", ids)?.into_iter().collect();
        let named = fields.text("decision")?;
        let named = fields.required("decision", named)?;
        let reason = fields.text("reason")?.unwrap_or_default();
        let dry_run = fields.flag("dry_run")?.unwrap_or(false);
        fields.finish(&[], &[])?;
        let decision = Decision::NAMED.into_iter().find(|(name, _)| *name == named);
        let (_, decision) = decision.ok_or_else(|| {
            AdminError::field(
                "decision",
                "必须是 settle-now、fail-and-refund 或 requeue",
                "must be settle-now, fail-and-refund or requeue",
            )
        })?;
        Ok(Self { ids, decision, reason, dry_run })
    }
}

/// Decides over each of them, or tells what that would move. One that can't be decided has its
/// problem, and the others are decided all the same; sent again, a batch decides over none twice.
///
/// # Errors
/// When the reason breaks its rule, the role does not reach, or the database fails.
pub async fn decide_many(
    state: &AdminState,
    actor: &Actor,
    request: &TaskBatch,
) -> Result<TaskBatchResult, AdminError> {
    actor.require_admin()?;
    if !request.dry_run {
        request.decision.reason(&request.reason)?;
    }
    let mut result = TaskBatchResult {
        dry_run: request.dry_run,
        decided: 0,
        held: Quota::ZERO,
        charged: Quota::ZERO,
        returned: Quota::ZERO,
        items: Vec::with_capacity(request.ids.len()),
    };
    for id in &request.ids {
        let mut item = TaskBatchItem {
            id: *id,
            user_id: None,
            action: None,
            held: Quota::ZERO,
            charged: Quota::ZERO,
            returned: Quota::ZERO,
            problem: None,
        };
        match decide_one(state, actor, request, &mut item).await {
            Ok(()) => {
                result.decided += 1;
                result.held = plus(result.held, item.held);
                result.charged = plus(result.charged, item.charged);
                result.returned = plus(result.returned, item.returned);
            }
            Err(error) if is_of_the_task(&error) => item.problem = Some(error.into()),
            Err(error) => return Err(error),
        }
        result.items.push(item);
    }
    Ok(result)
}

async fn decide_one(
    state: &AdminState,
    actor: &Actor,
    request: &TaskBatch,
    item: &mut TaskBatchItem,
) -> Result<(), AdminError> {
    let (id, decision) = (item.id.to_string(), request.decision);
    let task = task::to_decide(state, actor, &id, decision).await?;
    item.user_id = Some(task.user_id);
    item.action = Some(task.action);
    if let Some(prospect) = ledger::task_prospect(&state.db, task.uid).await? {
        item.held = prospect.held;
        match decision {
            Decision::SettleNow => item.charged = prospect.charge,
            Decision::FailAndRefund => item.returned = prospect.held,
            Decision::Requeue => {}
        }
    }
    if !request.dry_run {
        let decided = task::decide(state, actor, &id, decision, &request.reason).await?;
        item.charged = decided.used_quota;
    }
    if decision == Decision::SettleNow {
        item.returned = Quota(item.held.0.saturating_sub(item.charged.0).max(0));
    }
    Ok(())
}

/// Whether an error is about the task alone, and the next may be decided.
fn is_of_the_task(error: &AdminError) -> bool {
    matches!(
        error,
        AdminError::NotFound { .. }
            | AdminError::Conflict { .. }
            | AdminError::Forbidden { .. }
            | AdminError::Ledger(_)
    )
}

/// Balances are far below what a sum of them could come to.
const fn plus(one: Quota, other: Quota) -> Quota {
    Quota(one.0.saturating_add(other.0))
}
