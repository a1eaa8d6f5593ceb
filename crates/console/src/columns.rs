//! The columns of lists. A list declares each of them once: what names it, its head and its cell.
//! Readers choose which of them they see, and what they do not see is not made.

use crate::folds::folds;
use crate::shell::csrf;
use crate::visit::Visit;
use maud::{Markup, html};
use std::borrow::Cow;

/// A column of a list of `R`.
pub(crate) struct Column<'a, R> {
    /// Names it in the reader's choice; empty: it is always there.
    id: &'static str,
    label: Cow<'a, str>,
    /// What else its head says.
    title: &'a str,
    is_number: bool,
    is_wide: bool,
    is_broad: bool,
    /// What the list is sorted by there, and which way first.
    sort: Option<(&'static str, &'static str)>,
    /// The whole head, of a column that is none of data.
    head: Option<Markup>,
    sum: Option<Markup>,
    cell: Box<dyn Fn(&R) -> Markup + 'a>,
}

impl<'a, R> Column<'a, R> {
    /// `cell` makes one `td`. Its column says in which windows it is seen.
    pub(crate) fn new(
        id: &'static str,
        label: impl Into<Cow<'a, str>>,
        cell: impl Fn(&R) -> Markup + 'a,
    ) -> Self {
        Self {
            id,
            label: label.into(),
            title: "",
            is_number: false,
            is_wide: false,
            is_broad: false,
            sort: None,
            head: None,
            sum: None,
            cell: Box::new(cell),
        }
    }

    /// What the rows are: always there.
    pub(crate) fn thing(label: impl Into<Cow<'a, str>>, cell: impl Fn(&R) -> Markup + 'a) -> Self {
        Self::new("", label, cell)
    }

    /// Boxes to tick, or what can be done: no data, and always there.
    pub(crate) fn tool(head: Markup, cell: impl Fn(&R) -> Markup + 'a) -> Self {
        Self { head: Some(head), ..Self::new("", "", cell) }
    }

    /// Its cells are numbers.
    pub(crate) fn number(self) -> Self {
        Self { is_number: true, ..self }
    }

    /// A phone has no room for it: its cells are below the row.
    pub(crate) fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }

    /// Only a broad window has room for it, unless the reader has chosen.
    pub(crate) fn broad(self) -> Self {
        Self { is_wide: true, is_broad: true, ..self }
    }

    /// Adds what its head says under the mouse.
    pub(crate) fn title(self, title: &'a str) -> Self {
        Self { title, ..self }
    }

    /// Its head sorts the list by this, the largest first.
    pub(crate) fn falls(self, by: &'static str) -> Self {
        Self { sort: Some((by, "desc")), ..self }
    }

    /// Its head sorts the list by this, from A to Z.
    pub(crate) fn rises(self, by: &'static str) -> Self {
        Self { sort: Some((by, "asc")), ..self }
    }

    /// The cell of its sum.
    pub(crate) fn sum(self, sum: Markup) -> Self {
        Self { sum: Some(sum), ..self }
    }

    fn is_data(&self) -> bool {
        self.head.is_none()
    }

    fn head(&self, visit: &Visit) -> Markup {
        if let Some(head) = &self.head {
            return head.clone();
        }
        let words = [("num", self.is_number), ("hide", self.is_wide), ("broad", self.is_broad)];
        let words = words.into_iter().filter(|(_, is_so)| *is_so).map(|(word, _)| word);
        let class = words.collect::<Vec<_>>().join(" ");
        let class = (!class.is_empty()).then_some(class);
        let title = (!self.title.is_empty()).then_some(self.title);
        let (sorted, content) = match self.sort {
            Some(sort) => sorting(visit, sort, &self.label),
            None => (None, html! { (self.label) }),
        };
        html! { th class=[class] title=[title] aria-sort=[sorted] { (content) } }
    }
}

/// How a column is sorted now, and the link that sorts by it, or turns it around.
fn sorting(
    visit: &Visit,
    (by, first): (&str, &str),
    label: &str,
) -> (Option<&'static str>, Markup) {
    let here = visit.asked("sort") == by;
    let falls = visit.asked("order") != "asc";
    let order = match (here, falls) {
        (false, _) => first,
        (true, true) => "asc",
        (true, false) => "desc",
    };
    let to = visit.with_both(("sort", by), ("order", order));
    let sorted = if falls { "descending" } else { "ascending" };
    let link = html! { a href=(to) { (label) @if here { @if falls { " ↓" } @else { " ↑" } } } };
    (here.then_some(sorted), link)
}

/// A column in the choice of a reader.
struct Choice<'a> {
    id: &'static str,
    label: Cow<'a, str>,
    is_shown: bool,
}

/// The columns of a list that its reader sees.
pub(crate) struct Columns<'a, R> {
    visit: &'a Visit,
    list: &'static str,
    shown: Vec<Column<'a, R>>,
    choices: Vec<Choice<'a>>,
    is_chosen: bool,
}

impl<'a, R> Columns<'a, R> {
    /// `list` names the list in the reader's choice.
    pub(crate) fn of(visit: &'a Visit, list: &'static str, all: Vec<Column<'a, R>>) -> Self {
        let choice = |column: &Column<'a, R>| Choice {
            id: column.id,
            label: column.label.clone(),
            is_shown: visit.shows(list, column.id),
        };
        let choices = all.iter().filter(|column| !column.id.is_empty()).map(choice).collect();
        let is_chosen = visit.columns.hidden(list).is_some();
        let on_phones = |columns: &[Column<'a, R>]| {
            columns.iter().filter(|column| column.is_data() && !column.is_wide).count()
        };
        let room = on_phones(&all);
        let mut shown: Vec<_> =
            all.into_iter().filter(|column| visit.shows(list, column.id)).collect();
        // On a phone the next take the place of those that are hidden.
        let free = room - on_phones(&shown);
        for column in shown.iter_mut().filter(|column| column.is_wide).take(free) {
            column.is_wide = false;
        }
        for column in &mut shown {
            column.is_broad &= !is_chosen;
        }
        Self { visit, list, shown, choices, is_chosen }
    }

    /// The table of rows, which `body` makes of [`Self::cells`].
    pub(crate) fn table(&self, body: &Markup) -> Markup {
        let table = html! {
            table {
                thead { tr { @for column in &self.shown { (column.head(self.visit)) } } }
                (body)
            }
        };
        html! { div.scroll { (folds(self.visit.lang(), &table)) } }
    }

    /// The cells of a row.
    pub(crate) fn cells(&self, row: &R) -> Markup {
        html! { @for column in &self.shown { ((column.cell)(row)) } }
    }

    /// The foot of the table, with the sums of its columns.
    pub(crate) fn sums(&self, label: &str) -> Markup {
        html! {
            tfoot { tr { @for (nth, column) in self.shown.iter().enumerate() {
                @match &column.sum {
                    Some(sum) => (sum),
                    None if nth == 0 => td { (label) },
                    None => td {},
                }
            } } }
        }
    }

    /// How many columns there are, for a cell across all of them.
    pub(crate) fn across(&self) -> usize {
        self.shown.len()
    }

    /// The choice of columns. It opens and closes without the script.
    pub(crate) fn menu(&self) -> Markup {
        let visit = self.visit;
        let id = format!("columns-{}", self.list);
        let word = visit.say("显示的列", "Columns");
        html! {
            button.quiet type="button" popovertarget=(id) { (word) }
            form.picker id=(id) popover method="post" action="/console/columns"
                aria-label=(word) {
                (csrf(visit))
                input type="hidden" name="list" value=(self.list);
                input type="hidden" name="back" value=(visit.address);
                div.field.ticks {
                    @for Choice { id, label, is_shown } in &self.choices {
                        label {
                            input type="hidden" name="of" value=(id);
                            input type="checkbox" name="shown" value=(id) checked[*is_shown];
                            " " (label)
                        }
                    }
                }
                div.buttons {
                    button.primary { (visit.say("应用", "Apply")) }
                    @if self.is_chosen {
                        button name="as" value="delivered" {
                            (visit.say("恢复默认", "As delivered"))
                        }
                    }
                }
            }
        }
    }
}
