//! What a batch changes, column by column, as the parameters of set-based statements.

use super::Params;
use crate::book::Changes;
use crate::journal::Entry;
use crate::rows::HoldRow;
use crate::spending::{Spending, Spent};
use crate::sqlite::price_json;
use store::Value;
use uuid::Uuid;

/// What is limited and counted of accounts or of keys: as the Book found it, and as it becomes.
#[derive(Default)]
pub(super) struct Counted {
    daily: Vec<Option<i64>>,
    monthly: Vec<Option<i64>>,
    on_was: Vec<Option<i32>>,
    day_was: Vec<i64>,
    month_was: Vec<i64>,
    /// `None`: it stays as it is.
    on: Vec<Option<i32>>,
    day: Vec<i64>,
    month: Vec<i64>,
}

impl Counted {
    fn push(&mut self, spending: Option<&Spending>, changed_from: Option<Spent>) {
        let limits = spending.map(|spending| spending.limits).unwrap_or_default();
        let spent = spending.map(|spending| spending.spent).unwrap_or_default();
        let was = changed_from.unwrap_or(spent);
        self.daily.push(limits.daily.map(|limit| limit.0));
        self.monthly.push(limits.monthly.map(|limit| limit.0));
        self.on_was.push(was.began().then_some(was.on.0));
        self.day_was.push(was.day.0);
        self.month_was.push(was.month.0);
        self.on.push(changed_from.map(|_| spent.on.0));
        self.day.push(spent.day.0);
        self.month.push(spent.month.0);
    }

    /// What was found, and what becomes of it.
    pub fn compared(&self) -> Params<'_> {
        let mut params: Params<'_> =
            vec![&self.daily, &self.monthly, &self.on_was, &self.day_was, &self.month_was];
        params.extend(self.moved());
        params
    }

    /// What becomes of it: the rows are locked.
    fn moved(&self) -> Params<'_> {
        vec![&self.on, &self.day, &self.month]
    }
}

/// When holds count as spent, by the user and by the key.
#[derive(Default)]
pub(super) struct CountedOn {
    user: Vec<Option<i32>>,
    key: Vec<Option<i32>>,
}

impl CountedOn {
    fn push(&mut self, row: &HoldRow) {
        self.user.push(row.counted_on.map(|on| on.0));
        self.key.push(row.key_counted_on.map(|on| on.0));
    }

    pub fn days(&self) -> Params<'_> {
        vec![&self.user, &self.key]
    }
}

/// Every account a batch asked about: as the Book found it, and how it moves.
#[derive(Default)]
pub(super) struct Accounts<'a> {
    pub ids: Vec<i64>,
    usernames: Vec<&'a str>,
    quotas: Vec<i64>,
    usable: Vec<bool>,
    deltas: Vec<i64>,
    used: Vec<i64>,
    requests: Vec<i64>,
    pub counted: Counted,
}

impl<'a> Accounts<'a> {
    pub fn of(changes: &'a Changes) -> Self {
        let mut columns = Self::default();
        for (id, account) in &changes.balances {
            let change = changes.accounts.get(id).copied().unwrap_or_default();
            columns.ids.push(id.0);
            columns.usernames.push(&account.username);
            columns.quotas.push(account.quota.0.wrapping_sub(change.delta.0));
            columns.usable.push(account.usable);
            columns.deltas.push(change.delta.0);
            columns.used.push(change.used_delta.0);
            columns.requests.push(change.requests);
            columns.counted.push(account.spending.as_deref(), change.spent_was);
        }
        columns
    }

    /// What was found, and how it moves.
    pub fn compared(&self) -> Params<'_> {
        vec![
            &self.ids,
            &self.usernames,
            &self.quotas,
            &self.usable,
            &self.deltas,
            &self.used,
            &self.requests,
        ]
    }

    /// How they move: they are locked.
    pub fn moved(&self) -> Params<'_> {
        let mut params: Params<'_> = vec![&self.ids, &self.deltas, &self.used, &self.requests];
        params.extend(self.counted.moved());
        params
    }
}

/// Every limit of a key that a batch asked about.
#[derive(Default)]
pub(super) struct Keys {
    ids: Vec<i64>,
    remains: Vec<i64>,
    unlimited: Vec<bool>,
    deltas: Vec<i64>,
    pub counted: Counted,
}

impl Keys {
    pub fn of(changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (id, limit) in &changes.limits {
            let change = changes.keys.get(id).copied().unwrap_or_default();
            columns.ids.push(id.0);
            columns.remains.push(limit.remain.0.wrapping_sub(change.delta.0));
            columns.unlimited.push(limit.unlimited);
            columns.deltas.push(change.delta.0);
            columns.counted.push(limit.spending.as_deref(), change.spent_was);
        }
        columns
    }

    pub fn compared(&self) -> Params<'_> {
        vec![&self.ids, &self.remains, &self.unlimited, &self.deltas]
    }

    pub fn moved(&self) -> Params<'_> {
        let mut params: Params<'_> = vec![&self.ids, &self.deltas];
        params.extend(self.counted.moved());
        params
    }
}

/// Holds made before that a batch changes: as they become, and as they were.
#[derive(Default)]
pub(super) struct ChangedHolds {
    pub ids: Vec<Uuid>,
    channels: Vec<Option<i64>>,
    amounts: Vec<i64>,
    key_amounts: Vec<Option<i64>>,
    states: Vec<&'static str>,
    charged: Vec<i64>,
    abandoned: Vec<bool>,
    states_were: Vec<&'static str>,
    amounts_were: Vec<i64>,
    charged_were: Vec<i64>,
    pub counted: CountedOn,
}

impl ChangedHolds {
    pub fn of(changes: &Changes) -> Self {
        let mut columns = Self::default();
        for (id, row) in changes.updated() {
            let Some(stored) = row.stored else { continue };
            columns.ids.push(id.0);
            columns.channels.push(row.channel_id.map(|c| c.0));
            columns.amounts.push(row.amount.0);
            columns.key_amounts.push(row.key_amount.map(|a| a.0));
            columns.states.push(row.state.word());
            columns.charged.push(row.charged.0);
            columns.abandoned.push(row.is_abandoned());
            columns.states_were.push(stored.state.word());
            columns.amounts_were.push(stored.amount.0);
            columns.charged_were.push(stored.charged.0);
            columns.counted.push(row);
        }
        columns
    }

    pub fn compared(&self) -> Params<'_> {
        let mut params = self.changed();
        let were: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.states_were, &self.amounts_were, &self.charged_were];
        params.extend(were);
        params
    }

    pub fn changed(&self) -> Params<'_> {
        vec![
            &self.ids,
            &self.channels,
            &self.amounts,
            &self.key_amounts,
            &self.states,
            &self.charged,
            &self.abandoned,
        ]
    }
}

/// Holds that a batch makes.
#[derive(Default)]
pub(super) struct NewHolds<'a> {
    pub ids: Vec<Uuid>,
    users: Vec<i64>,
    keys: Vec<i64>,
    channels: Vec<Option<i64>>,
    models: Vec<&'a str>,
    request_ids: Vec<&'a str>,
    amounts: Vec<i64>,
    key_amounts: Vec<Option<i64>>,
    prices: Vec<String>,
    deadlines: Vec<Value>,
    states: Vec<&'static str>,
    charged: Vec<i64>,
    for_task: Vec<bool>,
    pub counted: CountedOn,
}

impl<'a> NewHolds<'a> {
    pub fn of(changes: &'a Changes) -> Self {
        let mut columns = Self::default();
        for (new, row) in changes.inserted() {
            columns.ids.push(new.request.hold_id.0);
            columns.users.push(row.user_id.0);
            columns.keys.push(row.key_id.0);
            columns.channels.push(row.channel_id.map(|c| c.0));
            columns.models.push(&row.model);
            columns.request_ids.push(&row.request_id);
            columns.amounts.push(row.amount.0);
            columns.key_amounts.push(row.key_amount.map(|a| a.0));
            columns.prices.push(price_json(&new.request.price));
            columns.deadlines.push(Value::Time(new.request.deadline_at));
            columns.for_task.push(new.request.task.is_some());
            columns.states.push(row.state.word());
            columns.charged.push(row.charged.0);
            columns.counted.push(row);
        }
        columns
    }

    /// As they were made: none has changed since.
    pub fn made(&self) -> Params<'_> {
        vec![
            &self.ids,
            &self.users,
            &self.keys,
            &self.channels,
            &self.models,
            &self.request_ids,
            &self.amounts,
            &self.key_amounts,
            &self.prices,
            &self.deadlines,
        ]
    }

    /// As they stand at the end of the batch.
    pub fn as_they_stand(&self) -> Params<'_> {
        let mut params = self.made();
        let ends: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.states, &self.charged, &self.for_task];
        params.extend(ends);
        params
    }
}

/// Lines of the journal.
#[derive(Default)]
pub(super) struct Entries<'a> {
    users: Vec<i64>,
    usernames: Vec<&'a str>,
    kinds: Vec<&'static str>,
    models: Vec<&'a str>,
    quotas: Vec<i64>,
    prompts: Vec<i64>,
    completions: Vec<i64>,
    channels: Vec<Option<i64>>,
    keys: Vec<Option<i64>>,
    request_ids: Vec<&'a str>,
    times: Vec<i64>,
    contents: Vec<&'a str>,
    others: Vec<Option<String>>,
    deltas: Vec<i64>,
    used_deltas: Vec<i64>,
    holds: Vec<Option<Uuid>>,
    closes: Vec<bool>,
}

impl<'a> Entries<'a> {
    pub fn of(entries: &'a [Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.users.push(entry.user_id.0);
            columns.usernames.push(&entry.username);
            columns.kinds.push(entry.kind.word());
            columns.models.push(&entry.model);
            columns.quotas.push(entry.quota.0);
            columns.prompts.push(entry.prompt_tokens());
            columns.completions.push(entry.completion_tokens());
            columns.channels.push(entry.channel_id.map(|c| c.0));
            columns.keys.push(entry.key_id.map(|k| k.0));
            columns.request_ids.push(&entry.request_id);
            columns.times.push(entry.use_time_ms);
            columns.contents.push(&entry.content);
            columns.others.push(entry.other());
            columns.deltas.push(entry.delta.0);
            columns.used_deltas.push(entry.used_delta.0);
            columns.holds.push(entry.hold_id.map(|h| h.0));
            columns.closes.push(entry.closes);
        }
        columns
    }

    pub fn lines(&self) -> Params<'_> {
        vec![
            &self.users,
            &self.usernames,
            &self.kinds,
            &self.models,
            &self.quotas,
            &self.prompts,
            &self.completions,
            &self.channels,
            &self.keys,
            &self.request_ids,
            &self.times,
            &self.contents,
            &self.others,
            &self.deltas,
            &self.used_deltas,
            &self.holds,
            &self.closes,
        ]
    }
}
