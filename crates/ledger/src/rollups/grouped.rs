//! Rolls up a slice of the journal on SQLite: read first, on a thread that no call waits for, and
//! written row by row. One query serves all tables: it groups by the columns of all of them.

use super::{
    ADDED_BY_BLOCK, BLOCK_LINES, COLUMNS, USED_DELTA, added_by_day, added_by_hour, day, hour, list,
    names, summed,
};
use domain::Quota;
use std::collections::HashMap;
use std::sync::LazyLock;
use store::{Engine, Row, Statement, StoreError, Value, sums};

/// One value for each of [`COLUMNS`].
type Sums = [i64; COLUMNS.len()];
/// Lines of all channels count under this one, too.
const ALL_CHANNELS: i64 = 0;

/// Lines that no table distinguishes, summed.
struct Group {
    user_id: i64,
    token_id: i64,
    channel_id: i64,
    day: i64,
    hour: i64,
    block: i64,
    model: String,
    kind: String,
    first_line: i64,
    last_line: i64,
    sums: Sums,
}

/// The lines after `$1` up to `$2`, by group.
pub(crate) fn grouped() -> String {
    let (day, hour) = (day(Engine::Sqlite), hour(Engine::Sqlite));
    let of_lines = list(|column, worth| summed(Engine::Sqlite, column, worth));
    format!(
        "SELECT user_id, coalesce(token_id, 0), coalesce(channel_id, 0), {day}, {hour},
                id / {BLOCK_LINES}, model_name, type, min(id), max(id), {of_lines}
         FROM logs WHERE id > $1 AND id <= $2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
    )
}

/// A slice of the journal, summed.
pub(crate) struct Summed(Vec<Group>);

impl Summed {
    /// Reads the rows of [`grouped`].
    pub(crate) fn read(rows: &[Row]) -> Result<Self, StoreError> {
        rows.iter().map(Group::read).collect::<Result<_, _>>().map(Self)
    }

    /// The number of lines.
    pub(crate) fn lines(&self) -> i64 {
        self.0.iter().map(Group::lines).sum()
    }

    /// The statements that add the sums to the tables.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Statement> {
        let used = self.used_by("channels", |group| group.channel_id);
        let used = used.chain(self.used_by("tokens", |group| group.token_id));
        self.by_day().chain(self.by_hour()).chain(self.by_block()).chain(used)
    }

    /// What each of a table's rows used.
    fn used_by(
        &self,
        table: &'static str,
        id_of: impl Fn(&Group) -> i64,
    ) -> impl Iterator<Item = Statement> {
        let mut used: HashMap<i64, i64> = HashMap::new();
        for group in &self.0 {
            let used = used.entry(id_of(group)).or_default();
            *used = plus(*used, group.sums[USED_DELTA]);
        }
        let all = sums::added(Engine::Sqlite, "used_quota", "?2");
        let sql = format!("UPDATE {table} SET used_quota = {all} WHERE id = ?1");
        used.into_iter()
            .filter(|(id, used)| *id != 0 && *used != 0)
            .map(move |(id, used)| Statement::new(sql.clone(), vec![id.into(), used.into()]))
    }

    fn by_day(&self) -> impl Iterator<Item = Statement> {
        static INSERT: LazyLock<String> = LazyLock::new(|| {
            let keys = "user_id, day, token_id, model_name, type, channel_id";
            let columns = format!("{keys}, first_line, last_line, {}", names());
            insert("logs_by_day", &columns, &added_by_day(Engine::Sqlite))
        });
        self.0.iter().map(|group| {
            let (model, kind) = (group.model.as_str().into(), group.kind.as_str().into());
            let (of, at) = (group.channel_id.into(), [group.first_line, group.last_line]);
            let mut row = vec![group.user_id.into(), group.day.into(), group.token_id.into()];
            row.extend([model, kind, of]);
            row.extend(at.into_iter().chain(group.sums).map(Value::Int));
            Statement::new(INSERT.as_str(), row)
        })
    }

    fn by_hour(&self) -> impl Iterator<Item = Statement> {
        static INSERT: LazyLock<String> = LazyLock::new(|| {
            let columns = format!("channel_id, hour, model_name, type, {}", names());
            insert("logs_by_hour", &columns, &added_by_hour(Engine::Sqlite))
        });
        let mut hours: HashMap<_, Sums> = HashMap::new();
        for group in &self.0 {
            for channel in group.channels() {
                let key = (channel, group.hour, &*group.model, &*group.kind);
                let sums = hours.entry(key).or_default();
                sums.iter_mut().zip(group.sums).for_each(|(sum, more)| *sum = plus(*sum, more));
            }
        }
        hours.into_iter().map(|((channel, hour, model, kind), sums)| {
            let mut row = vec![channel.into(), hour.into(), model.into(), kind.into()];
            row.extend(sums.map(Value::Int));
            Statement::new(INSERT.as_str(), row)
        })
    }

    fn by_block(&self) -> impl Iterator<Item = Statement> {
        static INSERT: LazyLock<String> = LazyLock::new(|| {
            let columns = "channel_id, block, day, model_name, type, lines";
            insert("log_blocks", columns, ADDED_BY_BLOCK)
        });
        let mut blocks: HashMap<_, i64> = HashMap::new();
        for group in &self.0 {
            for channel in group.channels() {
                let key = (channel, group.block, group.day, &*group.model, &*group.kind);
                *blocks.entry(key).or_default() += group.lines();
            }
        }
        blocks.into_iter().map(|((channel, block, day, model, kind), lines)| {
            let key = [channel.into(), block.into(), day.into(), model.into(), kind.into()];
            Statement::new(INSERT.as_str(), key.into_iter().chain([lines.into()]).collect())
        })
    }
}

impl Group {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let mut sums = Sums::default();
        for (place, sum) in (10..).zip(&mut sums) {
            *sum = row.at(place)?;
        }
        Ok(Self {
            user_id: row.at(0)?,
            token_id: row.at(1)?,
            channel_id: row.at(2)?,
            day: row.at(3)?,
            hour: row.at(4)?,
            block: row.at(5)?,
            model: row.at(6)?,
            kind: row.at(7)?,
            first_line: row.at(8)?,
            last_line: row.at(9)?,
            sums,
        })
    }

    /// The first of [`COLUMNS`].
    const fn lines(&self) -> i64 {
        self.sums[0]
    }

    /// The line's own channel, and the one for all.
    fn channels(&self) -> impl Iterator<Item = i64> {
        let own = (self.channel_id != ALL_CHANNELS).then_some(self.channel_id);
        own.into_iter().chain([ALL_CHANNELS])
    }
}

fn plus(sum: i64, more: i64) -> i64 {
    Quota(sum).sum_with(Quota(more)).0
}

/// With placeholders in SQLite's form, so that they aren't renumbered for every row.
fn insert(table: &str, columns: &str, added: &str) -> String {
    let places: Vec<String> = (1..=columns.split(',').count()).map(|n| format!("?{n}")).collect();
    format!("INSERT INTO {table} ({columns}) VALUES ({}) {added}", places.join(", "))
}
