//! The same change of many rows: all of it or none, in one transaction, with what it would change
//! told before.

use crate::ops::record::{self, Subject};
use crate::{Actor, AdminError, AdminState, Fields};
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use store::{Statement, StoreError};
use utoipa::ToSchema;

/// Most rows of one batch.
pub const MAX_BATCH: usize = 500;

/// Which rows, and how they are to be.
#[derive(Clone, Debug)]
pub struct BatchRequest<T> {
    /// Their numbers, each once.
    pub ids: BTreeSet<i64>,
    /// What is set.
    pub set: T,
    /// Tell what would change, and change nothing.
    pub dry_run: bool,
}

/// Whether rows are to be used.
#[derive(Clone, Copy, Debug)]
pub struct StatusSet {
    /// 1 enabled, 2 disabled.
    pub status: i64,
}

/// What a batch has changed, or would.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// Nothing was changed: this is what would be.
    pub dry_run: bool,
    /// How many rows change.
    pub changed: i64,
    /// Every row that was named, by number.
    pub items: Vec<BatchItem>,
}

/// One row of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BatchItem {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What changes; empty where all is so already.
    pub changes: Vec<FieldChange>,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldChange {
    /// Its name.
    pub field: &'static str,
    /// What it is now.
    pub before: Json,
    /// What it will be.
    pub after: Json,
}

/// What happens to one row: its statements, and the journal's line about it.
pub(super) struct RowChange {
    pub(super) statements: Vec<Statement>,
    pub(super) subject: Subject<'static>,
    pub(super) told: (&'static str, String),
    pub(super) details: Json,
}

impl<T: Default> BatchRequest<T> {
    /// Reads `{ids, set, dry_run}`.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(
        mut fields: Fields,
        set: fn(Fields) -> Result<T, AdminError>,
    ) -> Result<Self, AdminError> {
        let ids = fields.numbers("ids", MAX_BATCH)?;
        let ids: BTreeSet<i64> = fields.required("ids", ids)?.into_iter().collect();
        let dry_run = fields.flag("dry_run")?.unwrap_or(false);
        let given = fields.object("set")?.map(set).transpose()?;
        let set = fields.required("set", given)?;
        fields.finish(&[], &[])?;
        Ok(Self { ids, set, dry_run })
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self { status: 1 }
    }
}

impl BatchRequest<StatusSet> {
    /// Reads `{ids, set: {status}, dry_run}`.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn of_status(fields: Fields) -> Result<Self, AdminError> {
        Self::read(fields, |mut set| {
            let status = set.int_in("status", 1, 2)?;
            let status = set.required("status", status)?;
            set.finish(&[], &[])?;
            Ok(StatusSet { status })
        })
    }
}

impl BatchItem {
    pub(super) fn new(id: i64, name: &str) -> Self {
        Self { id, name: name.to_owned(), changes: Vec::new() }
    }

    /// Notes that a field changes, and returns what it is set to; `None` where it stays.
    pub(super) fn set<T: PartialEq + Serialize>(
        &mut self,
        field: &'static str,
        before: &T,
        after: Option<T>,
    ) -> Option<T> {
        let after = after.filter(|after| after != before)?;
        self.changes.push(FieldChange { field, before: json!(before), after: json!(after) });
        Some(after)
    }
}

/// What is decided over one row: what changes, and what that writes; `None`: nothing.
pub(super) type RowDecision = (BatchItem, Option<RowChange>);

/// Decides over each row by `one`, then carries all out, or none. A complaint names its row.
pub(super) async fn change_each<T, F>(
    state: &AdminState,
    actor: &Actor,
    request: &BatchRequest<T>,
    one: impl Fn(i64) -> F,
) -> Result<BatchResult, AdminError>
where
    F: Future<Output = Result<RowDecision, AdminError>>,
{
    let (mut items, mut changes) = (Vec::new(), Vec::new());
    for id in &request.ids {
        let (item, change) = one(*id).await.map_err(|error| about(error, *id))?;
        items.push(item);
        changes.extend(change);
    }
    let dry_run = request.dry_run;
    let changed = i64::try_from(changes.len()).unwrap_or(i64::MAX);
    if !dry_run && !changes.is_empty() {
        record::write_each(state, actor, changes).await.map_err(outrun)?;
    }
    Ok(BatchResult { dry_run, changed, items })
}

/// A row is not as it was a moment ago.
fn outrun(error: StoreError) -> AdminError {
    match error {
        StoreError::RowCount { .. } => AdminError::conflict(
            "其中一项刚被修改或删除, 或是最后一个 root 用户, 没有做任何修改; 请重试",
            "one of them was just changed or deleted, or is the last root: nothing was changed; \
             try again",
        ),
        other => other.into(),
    }
}

/// Names the row that a complaint is about.
fn about(error: AdminError, id: i64) -> AdminError {
    match error {
        AdminError::Field { field, zh, en } => {
            AdminError::field(field, format!("(#{id}) {zh}"), format!("(#{id}) {en}"))
        }
        AdminError::NotFound { .. } => {
            AdminError::field("ids", format!("#{id} 不存在"), format!("there is no #{id}"))
        }
        AdminError::Forbidden { zh, en } => {
            AdminError::forbidden(format!("(#{id}) {zh}"), format!("(#{id}) {en}"))
        }
        AdminError::Conflict { zh, en } => {
            AdminError::conflict(format!("(#{id}) {zh}"), format!("(#{id}) {en}"))
        }
        other => other,
    }
}
