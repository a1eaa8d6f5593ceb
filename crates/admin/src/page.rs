//! Pages of a collection, and the conditions that choose what is in it.

use crate::AdminError;
use crate::survey::SchemaRecorder;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::str::FromStr;
use store::{Db, Row, StoreError, Value};

/// Most items on a page.
const MAX_SIZE: i64 = 100;
/// How far pages reach. Beyond it, `total` stops counting; the log is paged on by `before_id`.
pub(crate) const MAX_REACH: i64 = 10_000;

/// Which page of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: i64,
    /// From 1 to 100.
    pub size: i64,
}

impl PageRequest {
    /// The page that `p` or `page`, and `page_size`, ask for.
    ///
    /// # Errors
    /// When they aren't numbers, or lie beyond what is paged through.
    pub fn read(query: &Query, default_size: i64) -> Result<Self, AdminError> {
        let page: Option<i64> = query.number("p")?.or(query.number("page")?);
        // Older scripts start at 0, and request any size: they get the first page and the maximum
        // size, as the response states.
        let page = page.unwrap_or(1).max(1);
        let size = query.number("page_size")?.unwrap_or(default_size).clamp(1, MAX_SIZE);
        if page.saturating_sub(1).saturating_mul(size) >= MAX_REACH {
            return Err(AdminError::field(
                "page",
                format!("只能翻到第 {MAX_REACH} 条, 请缩小筛选范围; 日志与任务可用 before_id 继续"),
                format!(
                    "pages reach to item {MAX_REACH}: narrow the filters; \
                     logs and tasks go on with before_id"
                ),
            ));
        }
        Ok(Self { page, size })
    }

    /// The first page, with as many items as a page may hold.
    #[must_use]
    pub const fn first() -> Self {
        Self { page: 1, size: MAX_SIZE }
    }

    pub(crate) const fn offset(self) -> i64 {
        (self.page - 1) * self.size
    }
}

/// A page of a collection.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How many there are on all pages; counting stops at 10 000.
    pub total: i64,
    /// Which page this is, from 1.
    pub page: i64,
    /// How many a page holds.
    pub page_size: i64,
}

impl<T> Page<T> {
    /// A collection that is never split: all of it is the first page. An empty one has room for
    /// one, as a page's size is at least 1.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
        Self { items, total, page: 1, page_size: total.max(1) }
    }

    /// The page of a collection that is in memory.
    #[must_use]
    pub fn of_all(all: Vec<T>, page: PageRequest) -> Self {
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let [skip, size] = [page.offset(), page.size].map(|it| usize::try_from(it).unwrap_or(0));
        let items = all.into_iter().skip(skip).take(size).collect();
        Self { items, total, page: page.page, page_size: page.size }
    }
}

/// The query part of an address, each name once.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: HashMap<String, String>,
    /// Notes what is asked of it.
    survey: Option<SchemaRecorder>,
}

impl FromIterator<(String, String)> for Query {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().collect(), survey: None }
    }
}

impl Query {
    /// Returns an empty query that records in `survey` which parameters are read.
    pub(crate) fn surveyed(survey: SchemaRecorder) -> Self {
        Self { pairs: HashMap::new(), survey: Some(survey) }
    }

    /// Has it say this, too.
    pub fn say(&mut self, name: &str, value: impl Into<String>) {
        self.pairs.insert(name.to_owned(), value.into());
    }

    /// Returns a parameter that is not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        if let Some(survey) = &self.survey {
            survey.value(name, json!({ "type": "string" }));
        }
        self.pairs.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A numeric parameter.
    ///
    /// # Errors
    /// When it isn't a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, AdminError> {
        if let Some(survey) = &self.survey {
            // An empty one counts as absent.
            let whole = json!({ "type": "integer", "format": "int64" });
            survey.value(name, json!({ "anyOf": [whole, { "const": "" }] }));
        }
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(AdminError::field(name, "必须是整数", "must be a whole number")),
        }
    }
}

/// The order that `sort` and `order` ask for: by the number, or by one of these words, whose
/// columns come from the code. What is named alone falls: the largest first.
pub(crate) fn order(query: &Query, sorted: &[(&str, &str)]) -> Result<String, AdminError> {
    let (sort, order) = (query.text("sort"), query.text("order"));
    let way = match order {
        None | Some("desc") => " DESC",
        Some("asc") => "",
        Some(_) => {
            return Err(AdminError::field("order", "必须是 asc 或 desc", "must be asc or desc"));
        }
    };
    match sort {
        None | Some("id") if order.is_none() => Ok("id".to_owned()),
        None | Some("id") => Ok(format!("id{way}")),
        Some(word) => match sorted.iter().find(|(known, _)| *known == word) {
            Some((_, column)) => Ok(format!("{column}{way}, id")),
            None => {
                let words = sorted.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                let zh = format!("必须是 id, {words} 之一");
                Err(AdminError::field("sort", zh, format!("must be one of id, {words}")))
            }
        },
    }
}

/// Conditions of a `WHERE` with their values. The SQL text comes from the code; all input is bound
/// as values.
#[derive(Debug, Default)]
pub(crate) struct Where {
    sql: String,
    values: Vec<Value>,
    count_among: Option<i64>,
}

impl Where {
    /// Adds a condition without values.
    pub(crate) fn fixed(&mut self, condition: &str) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
        self.sql.push_str(condition);
    }

    /// Adds a condition whose `?`s are all bound to `value`.
    pub(crate) fn with(&mut self, condition: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.fixed(&condition.replace('?', &format!("${}", self.values.len())));
    }

    /// Adds a condition where the value is there.
    pub(crate) fn with_some(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.with(condition, value);
        }
    }

    /// Counts only among the first `rows` of the table: for tables too large to be counted while
    /// a request waits.
    pub(crate) const fn count_among(&mut self, rows: i64) {
        self.count_among = Some(rows);
    }

    /// The conditions, beginning with ` WHERE` if there is one, and their values.
    #[must_use]
    pub(crate) fn parts(&self) -> (&str, &[Value]) {
        (&self.sql, &self.values)
    }

    /// The conditions, beginning with ` WHERE` if there is one, and their values.
    #[must_use]
    pub(crate) fn into_parts(self) -> (String, Vec<Value>) {
        (self.sql, self.values)
    }

    /// Reads at most `size` rows behind the first `offset`: `columns` from `table`.
    ///
    /// # Errors
    /// When the database fails, or `read` does.
    pub(crate) async fn some<T>(
        &self,
        db: &Db,
        (columns, table, order): (&str, &str, &str),
        (size, offset): (i64, i64),
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut sql = format!("SELECT {columns} FROM {table}{} ORDER BY {order}", self.sql);
        // Numbers of ours: they can't be anything but digits.
        let _ = write!(sql, " LIMIT {size} OFFSET {offset}");
        let rows = db.search(&sql, &self.values).await?;
        rows.iter().map(read).collect()
    }

    /// Reads the page `page` of `columns` from `table`.
    ///
    /// # Errors
    /// When the database fails, or `read` does.
    pub(crate) async fn page<T>(
        &self,
        db: &Db,
        (columns, table, order): (&str, &str, &str),
        page: PageRequest,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Page<T>, AdminError> {
        let part = (page.size, page.offset());
        let items = self.some(db, (columns, table, order), part, read).await?;
        let seen = i64::try_from(items.len()).unwrap_or(i64::MAX);
        // A page that isn't full shows where the collection ends.
        let total = if seen < page.size && (seen > 0 || page.page == 1) {
            page.offset() + seen
        } else {
            // What was counted among the first rows may be less than was seen; a full page may
            // always have a next one.
            let counted = self.count(db, table, order).await?;
            let next = i64::from(self.count_among.is_some() && seen == page.size);
            if seen > 0 { counted.max(page.offset() + seen + next) } else { counted }
        };
        Ok(Page { items, total, page: page.page, page_size: page.size })
    }

    /// How many rows there are, up to what pages reach.
    async fn count(&self, db: &Db, table: &str, order: &str) -> Result<i64, AdminError> {
        let among = self.count_among.map_or_else(
            || table.to_owned(),
            |rows| format!("(SELECT * FROM {table} ORDER BY {order} LIMIT {rows}) AS first_rows"),
        );
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT 1 FROM {among}{} LIMIT {MAX_REACH}) AS reached",
            self.sql
        );
        let rows = db.search(&sql, &self.values).await?;
        Ok(rows.first().map(|row| row.get("n")).transpose()?.unwrap_or(0))
    }
}

/// These numbers as a statement lists them, each once: `1, 2, 3`; none where there are none. They
/// can't be anything but digits.
pub(crate) fn number_list(numbers: impl IntoIterator<Item = i64>) -> Option<String> {
    let numbers: BTreeSet<i64> = numbers.into_iter().collect();
    let list = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then_some(list)
}

/// Returns a pattern for `LIKE … ESCAPE '\'` that finds `text` anywhere, with its wildcards
/// escaped.
#[must_use]
pub(crate) fn anywhere(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    pattern.push_str(&literally(text));
    pattern.push('%');
    pattern
}

/// `text` for use within a pattern of `LIKE … ESCAPE '\'`.
#[must_use]
pub(crate) fn literally(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn pages_start_at_one_and_hold_a_hundred() {
        let read = |pairs: &[(&str, &str)]| PageRequest::read(&query(pairs), 20);
        assert_eq!(read(&[]).unwrap(), PageRequest { page: 1, size: 20 });
        assert_eq!(read(&[("p", "0")]).unwrap().page, 1);
        assert_eq!(read(&[("page", "3")]).unwrap().page, 3);
        assert_eq!(read(&[("p", "2"), ("page", "3")]).unwrap().page, 2);
        assert_eq!(read(&[("page_size", "100000")]).unwrap().size, 100);
        assert_eq!(read(&[("page_size", "0")]).unwrap().size, 1);
        assert!(read(&[("p", "x")]).is_err());
        assert!(read(&[("p", "501")]).is_err());
        assert!(read(&[("p", "9223372036854775807")]).is_err());
    }

    #[test]
    fn pages_are_sorted_by_the_words_that_are_known() {
        let read = |pairs: &[(&str, &str)]| order(&query(pairs), &[("name", "lower(name)")]).ok();
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(read(&[]), is("id"));
        assert_eq!(read(&[("order", "desc")]), is("id DESC"));
        assert_eq!(read(&[("sort", "name")]), is("lower(name) DESC, id"));
        assert_eq!(read(&[("sort", "name"), ("order", "asc")]), is("lower(name), id"));
        assert_eq!(read(&[("sort", "key")]), None);
        assert_eq!(read(&[("sort", "name"), ("order", "up")]), None);
    }

    #[test]
    fn a_whole_collection_is_a_page_of_at_least_one() {
        let empty = Page::<u8>::whole(vec![]);
        assert_eq!((empty.total, empty.page, empty.page_size), (0, 1, 1));
        let three = Page::whole(vec![1, 2, 3]);
        assert_eq!((three.total, three.page, three.page_size), (3, 1, 3));
    }

    #[test]
    fn conditions_number_their_values() {
        let mut conditions = Where::default();
        assert_eq!(conditions.parts().0, "");
        conditions.fixed("a = 1");
        conditions.with("(b = ? OR c = ?)", 5_i64);
        conditions.with_some("d = ?", None::<i64>);
        conditions.with_some("e = ?", Some("x".to_owned()));
        let (sql, values) = conditions.parts();
        assert_eq!(sql, " WHERE a = 1 AND (b = $1 OR c = $1) AND e = $2");
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn patterns_mean_what_was_typed() {
        assert_eq!(anywhere("50%_\\"), "%50\\%\\_\\\\%");
    }
}
