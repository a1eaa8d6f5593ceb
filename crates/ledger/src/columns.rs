//! Descriptions of tables, from which the statements of both engines are built.
//!
//! A column of money is described once: its name, its type, how it is written from a row and read
//! into one. Placeholders, `unnest` lists, comparisons and row readers follow from that, so a new
//! column is one line in `tables.rs`.

use domain::UnixMs;
use std::borrow::Cow;
use store::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Bool(bool),
    Text(Cow<'a, str>),
    Uuid(Uuid),
    Time(UnixMs),
}

impl Cell<'_> {
    pub(crate) fn int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn uuid(&self) -> Option<Uuid> {
        if let Self::Uuid(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn time(&self) -> Option<UnixMs> {
        if let Self::Time(value) = self { Some(*value) } else { None }
    }

    /// Whether it is true; null is not.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn text(&self) -> &str {
        if let Self::Text(value) = self { value } else { "" }
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value.into())
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    BigInt,
    Integer,
    Bool,
    Text,
    Json,
    Uuid,
    Time,
}

impl ColumnType {
    /// The type of a parameter on PostgreSQL. JSON is sent as text and cast where it is written.
    const fn parameter(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Integer => "integer",
            Self::Bool => "boolean",
            Self::Text | Self::Json => "text",
            Self::Uuid => "uuid",
            Self::Time => "timestamptz",
        }
    }
}

/// The role of a column in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnRole {
    /// Identifies the row.
    Key,
    /// Set when the row is inserted.
    Fixed,
    /// Set when the row is inserted, and whenever it changes.
    Mutable,
    /// The value that was read: this expression over the row. A statement that changes the row
    /// compares it.
    Seen(&'static str),
    /// Added to this column.
    Add(&'static str),
}

/// Which batches a column is for. Most need few columns, and a statement's cost grows with its
/// columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forms(u8);

impl Forms {
    /// Every batch.
    pub(crate) const ALWAYS: Self = Self(0);
    /// Batches in which a key has a limit of its own, or spending is counted.
    pub(crate) const LIMITED: Self = Self(1);
    /// Batches with lines that have more columns than that of a plain call.
    pub(crate) const DETAILED: Self = Self(2);
    /// All columns.
    pub(crate) const ALL: Self = Self(3);

    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A column of the rows `R`.
pub(crate) struct Column<R: 'static> {
    pub name: &'static str,
    pub kind: ColumnType,
    pub role: ColumnRole,
    pub form: Forms,
    /// The value in a row.
    pub get: fn(&R) -> Cell<'_>,
    /// Stores a value that was read in a row; `None`: it is not read.
    pub set: Option<fn(&mut R, &Cell<'_>)>,
}

/// A table of the rows `R`.
pub(crate) struct TableSchema<R: 'static> {
    pub name: &'static str,
    pub columns: &'static [Column<R>],
    /// An additional condition on a row that a batch without limits changes.
    pub free_guard: &'static str,
    /// Additional assignments whenever a row changes.
    pub also_set: &'static str,
}

/// Parameters of a statement on PostgreSQL: one array per column.
pub(crate) type Arrays<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

/// The text of a statement on PostgreSQL under construction; it numbers the placeholders.
#[derive(Default)]
pub(crate) struct Placeholders(usize);

impl Placeholders {
    /// The placeholder that comes next.
    pub(crate) fn peek(&self) -> String {
        format!("${}", self.0 + 1)
    }

    /// The next placeholder.
    pub(crate) fn next(&mut self) -> String {
        self.0 += 1;
        format!("${}", self.0)
    }
}

impl<R> TableSchema<R> {
    fn of(
        &self,
        forms: Forms,
        wanted: fn(ColumnRole) -> bool,
    ) -> impl Iterator<Item = &'static Column<R>> {
        self.columns.iter().filter(move |column| forms.has(column.form) && wanted(column.role))
    }

    fn inserted(&self, forms: Forms) -> impl Iterator<Item = &'static Column<R>> {
        self.of(forms, |role| {
            matches!(role, ColumnRole::Key | ColumnRole::Fixed | ColumnRole::Mutable)
        })
    }

    fn updated(&self, forms: Forms) -> impl Iterator<Item = &'static Column<R>> {
        self.of(forms, |role| !matches!(role, ColumnRole::Fixed))
    }

    fn compared(&self, forms: Forms) -> impl Iterator<Item = &'static Column<R>> {
        self.of(forms, |role| matches!(role, ColumnRole::Key | ColumnRole::Seen(_)))
    }

    fn read(&self) -> impl Iterator<Item = &'static Column<R>> {
        self.columns.iter().filter(|column| column.set.is_some())
    }

    /// The expressions over the table as `t` that a reading statement selects, in the order of
    /// [`Self::row`].
    pub(crate) fn selected(&self) -> String {
        let expressions = self.read().map(|column| match column.role {
            ColumnRole::Seen(expression) => expression.to_owned(),
            _ => format!("t.{}", column.name),
        });
        expressions.collect::<Vec<_>>().join(", ")
    }

    /// Reads a row; `cell` returns the value at an index.
    pub(crate) fn row<E>(
        &self,
        mut cell: impl FnMut(usize, ColumnType) -> Result<Cell<'static>, E>,
    ) -> Result<R, E>
    where
        R: Default,
    {
        let mut row = R::default();
        for (place, column) in self.read().enumerate() {
            if let Some(set) = column.set {
                set(&mut row, &cell(place, column.kind)?);
            }
        }
        Ok(row)
    }
}

/// Statements over many rows at once, on PostgreSQL.
impl<R> TableSchema<R> {
    /// `INSERT` of rows given as arrays, if `condition`.
    pub(crate) fn insert_all(&self, forms: Forms, at: &mut Placeholders) -> String {
        let columns: Vec<_> = self.inserted(forms).collect();
        let values = list(&columns, |column| match column.kind {
            ColumnType::Json => format!("c.{}::jsonb", column.name),
            _ => format!("c.{}", column.name),
        });
        format!(
            "INSERT INTO {} ({})\n    SELECT {values}\n    FROM {}",
            self.name,
            list(&columns, |column| column.name.to_owned()),
            source(&columns, at),
        )
    }

    /// `UPDATE` of the rows that are unchanged since they were read; `RETURNING` counts them.
    pub(crate) fn update_all(&self, forms: Forms, at: &mut Placeholders) -> String {
        let columns: Vec<_> = self.updated(forms).collect();
        let mut set: Vec<String> = columns
            .iter()
            .filter_map(|column| match column.role {
                ColumnRole::Mutable => Some(format!("{0} = c.{0}", column.name)),
                ColumnRole::Add(to) => Some(format!("{to} = t.{to} + c.{}", column.name)),
                ColumnRole::Key | ColumnRole::Fixed | ColumnRole::Seen(_) => None,
            })
            .collect();
        if !self.also_set.is_empty() {
            set.push(self.also_set.to_owned());
        }
        format!(
            "UPDATE {} AS t SET {}\n    FROM {}\n    WHERE {}\n    RETURNING 1",
            self.name,
            set.join(", "),
            source(&columns, at),
            self.unchanged(&columns, forms),
        )
    }

    /// `DELETE` of the rows that are unchanged since they were read.
    pub(crate) fn delete_all(&self, forms: Forms, at: &mut Placeholders) -> String {
        let columns: Vec<_> = self.compared(forms).collect();
        format!(
            "DELETE FROM {} AS t\n    USING {}\n    WHERE {}\n    RETURNING 1",
            self.name,
            source(&columns, at),
            self.unchanged(&columns, forms),
        )
    }

    /// `SELECT` of the rows that are unchanged since they were read.
    pub(crate) fn compare_all(&self, forms: Forms, at: &mut Placeholders) -> String {
        let columns: Vec<_> = self.compared(forms).collect();
        format!(
            "SELECT 1 FROM {} JOIN {} AS t\n    ON {}",
            source(&columns, at),
            self.name,
            self.unchanged(&columns, forms),
        )
    }

    fn unchanged(&self, columns: &[&Column<R>], forms: Forms) -> String {
        let mut all: Vec<String> = columns
            .iter()
            .filter_map(|column| match column.role {
                ColumnRole::Key => Some(format!("t.{0} = c.{0}", column.name)),
                ColumnRole::Seen(expression) if column.form == Forms::ALWAYS => {
                    Some(format!("{expression} = c.{}", column.name))
                }
                ColumnRole::Seen(expression) => {
                    Some(format!("{expression} IS NOT DISTINCT FROM c.{}", column.name))
                }
                ColumnRole::Fixed | ColumnRole::Mutable | ColumnRole::Add(_) => None,
            })
            .collect();
        if !forms.has(Forms::LIMITED) && !self.free_guard.is_empty() {
            all.push(self.free_guard.to_owned());
        }
        all.join(" AND ")
    }

    /// The parameters of [`Self::insert_all`].
    pub(crate) fn inserts<'a>(&self, forms: Forms, rows: &'a [R]) -> Arrays<'a> {
        arrays(self.inserted(forms), rows)
    }

    /// The parameters of [`Self::update_all`].
    pub(crate) fn updates<'a>(&self, forms: Forms, rows: &'a [R]) -> Arrays<'a> {
        arrays(self.updated(forms), rows)
    }

    /// The parameters of [`Self::delete_all`] and [`Self::compare_all`].
    pub(crate) fn compares<'a>(&self, forms: Forms, rows: &'a [R]) -> Arrays<'a> {
        arrays(self.compared(forms), rows)
    }
}

/// Statements over one row, on SQLite. Nothing is compared: a batch has exclusive access to the
/// file.
impl<R> TableSchema<R> {
    pub(crate) fn insert_one(&self) -> String {
        let columns: Vec<_> = self.inserted(Forms::ALL).collect();
        let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let names = list(&columns, |column| column.name.to_owned());
        format!("INSERT INTO {} ({names}) VALUES ({})", self.name, places.join(", "))
    }

    pub(crate) fn update_one(&self) -> String {
        let (mut set, mut which) = (Vec::new(), Vec::new());
        for (n, column) in self.written().enumerate() {
            let place = n + 1;
            match column.role {
                ColumnRole::Key => which.push(format!("t.{} = ?{place}", column.name)),
                ColumnRole::Add(to) => set.push(format!("{to} = t.{to} + ?{place}")),
                _ => set.push(format!("{} = ?{place}", column.name)),
            }
        }
        if !self.also_set.is_empty() {
            set.push(self.also_set.to_owned());
        }
        format!("UPDATE {} AS t SET {} WHERE {}", self.name, set.join(", "), which.join(" AND "))
    }

    fn written(&self) -> impl Iterator<Item = &'static Column<R>> {
        self.of(Forms::ALL, |role| {
            matches!(role, ColumnRole::Key | ColumnRole::Mutable | ColumnRole::Add(_))
        })
    }

    /// The parameters of [`Self::insert_one`].
    pub(crate) fn insert_cells<'a>(&self, row: &'a R) -> impl Iterator<Item = Cell<'a>> {
        self.inserted(Forms::ALL).map(|column| (column.get)(row))
    }

    /// The parameters of [`Self::update_one`].
    pub(crate) fn update_cells<'a>(&self, row: &'a R) -> impl Iterator<Item = Cell<'a>> {
        self.written().map(|column| (column.get)(row))
    }
}

/// Rows given as one array per column, as the table `c`.
fn source<R>(columns: &[&Column<R>], at: &mut Placeholders) -> String {
    let arrays = list(columns, |column| format!("{}::{}[]", at.next(), column.kind.parameter()));
    format!("unnest({arrays})\n        AS c ({})", list(columns, |column| column.name.to_owned()))
}

fn list<R>(columns: &[&Column<R>], show: impl FnMut(&&Column<R>) -> String) -> String {
    columns.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn arrays<'a, R: 'static>(
    columns: impl Iterator<Item = &'static Column<R>>,
    rows: &'a [R],
) -> Arrays<'a> {
    columns.map(|column| array(column, rows)).collect()
}

fn array<'a, R>(column: &Column<R>, rows: &'a [R]) -> Box<dyn ToSql + Sync + Send + 'a> {
    let cells = rows.iter().map(column.get);
    match column.kind {
        ColumnType::BigInt => Box::new(cells.map(|cell| cell.int()).collect::<Vec<_>>()),
        ColumnType::Integer => Box::new(
            cells.map(|cell| cell.int().and_then(|n| i32::try_from(n).ok())).collect::<Vec<_>>(),
        ),
        ColumnType::Bool => Box::new(cells.map(|cell| cell.is_true()).collect::<Vec<_>>()),
        ColumnType::Uuid => Box::new(cells.map(|cell| cell.uuid()).collect::<Vec<_>>()),
        ColumnType::Text | ColumnType::Json => Box::new(cells.map(text_of).collect::<Vec<_>>()),
        ColumnType::Time => Box::new(cells.map(time_of).collect::<Vec<_>>()),
    }
}

fn text_of(cell: Cell<'_>) -> Option<Cow<'_, str>> {
    if let Cell::Text(text) = cell { Some(text) } else { None }
}

fn time_of(cell: Cell<'_>) -> Value {
    cell.time().map_or(Value::Null, Value::Time)
}
