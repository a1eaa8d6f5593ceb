//! Tables on a phone: about three columns, and the others of a row once it is opened. The style
//! does it, by a box to tick at the end of each row; so it works without the script, too.

use crate::lang::Lang;
use maud::{Markup, PreEscaped, html};

/// A table, as [`html!`] writes it. On a phone its actions, and the columns whose head has the
/// class `hide`, are below a row that is opened, each with the head of its column.
pub(crate) fn folds(lang: Lang, table: &Markup) -> Markup {
    let text = &table.0;
    let Some((head, body)) = text.split_once("</thead>") else {
        return PreEscaped(text.clone());
    };
    let heads: Vec<ColumnHead<'_>> = elements(head, "th").map(ColumnHead::of).collect();
    // A row that shows all it has is not opened.
    let opens = heads.iter().any(|head| head.is("hide")) || body.contains("<td class=\"acts\"");
    if !opens {
        return PreEscaped(text.replacen("<table", "<table data-folds", 1));
    }
    let open = html! {
        td.unfold { input type="checkbox" aria-label=(lang.say("更多", "More")); }
    };
    let mut folded = String::with_capacity(text.len() * 2);
    folded.push_str(&head.replacen("<table", "<table data-folds", 1));
    if let Some(at) = folded.rfind("</tr>") {
        let more = html! { th.unfold { span.sr { (lang.say("更多", "More")) } } };
        folded.insert_str(at, &more.0);
    }
    folded.push_str("</thead>");
    for row in body.split_inclusive("</tr>") {
        let Some(cells) = row.strip_suffix("</tr>") else {
            folded.push_str(row);
            continue;
        };
        if labelled(&mut folded, cells, &heads) {
            folded.push_str(&open.0);
        }
        folded.push_str("</tr>");
    }
    PreEscaped(folded)
}

/// The head of a column.
struct ColumnHead<'a> {
    words: String,
    tag: &'a str,
}

impl<'a> ColumnHead<'a> {
    fn of((tag, content): (&'a str, &str)) -> Self {
        Self { words: words(content), tag }
    }

    fn is(&self, class: &str) -> bool {
        classes(self.tag).any(|it| it == class)
    }

    /// The classes that the cells below have of it: `hide`, on a phone they are below the row, and
    /// `broad`, seen in a broad window alone.
    fn inherited(&self, tag: &str) -> String {
        let missing = |class: &&str| self.is(class) && !classes(tag).any(|it| it == *class);
        ["hide", "broad"].into_iter().filter(missing).flat_map(|class| [class, " "]).collect()
    }
}

fn classes(tag: &str) -> impl Iterator<Item = &str> {
    let all = tag.split_once(" class=\"").and_then(|(_, rest)| rest.split('"').next());
    all.unwrap_or_default().split(' ')
}

/// The cells of a row, those that fold away with the heads of their columns. Whether there is
/// something in them.
fn labelled(folded: &mut String, row: &str, heads: &[ColumnHead<'_>]) -> bool {
    let (mut rest, mut opens, mut column) = (row, false, 0);
    while let Some(head) = heads.get(column) {
        let Some(at) = rest.find("<td") else { break };
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end);
        let tag = &rest[at..end];
        folded.push_str(&rest[..at]);
        let is_empty = rest[end..].starts_with("></td>");
        rest = &rest[end..];
        let columns = columns_of(tag);
        column += columns;
        if columns > 1 {
            // It has a line of its own.
            folded.push_str(tag);
            continue;
        }
        let inherited = head.inherited(tag);
        if inherited.is_empty() {
            folded.push_str(tag);
        } else if tag.contains(" class=\"") {
            folded.push_str(&tag.replacen(" class=\"", &format!(" class=\"{inherited}"), 1));
        } else {
            let class = format!("<td class=\"{}\"", inherited.trim_end());
            folded.push_str(&tag.replacen("<td", &class, 1));
        }
        if head.is("hide") && !is_empty {
            folded.push_str(" data-label=\"");
            folded.push_str(&head.words);
            folded.push('"');
        }
        opens |= !is_empty && (head.is("hide") || classes(tag).any(|class| class == "acts"));
    }
    folded.push_str(rest);
    opens
}

/// How many columns a cell has. The quote is a tag's: in texts it is escaped.
fn columns_of(tag: &str) -> usize {
    let said = tag.split_once(" colspan=\"").and_then(|(_, rest)| rest.split('"').next());
    said.and_then(|said| said.parse().ok()).unwrap_or(1)
}

/// The elements of a name: what their tags say, and what they have in them.
fn elements<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let (start, end) = (format!("<{name}"), format!("</{name}>"));
    let starts = text.match_indices(&start).map(|(at, _)| at).collect::<Vec<_>>();
    starts.into_iter().filter_map(move |at| {
        let rest = &text[at + start.len()..];
        // `<thead` is no `<th`.
        let (tag, rest) = rest.starts_with([' ', '>']).then(|| rest.split_once('>')).flatten()?;
        Some((tag, rest.split(&end).next().unwrap_or_default()))
    })
}

/// What is said in an element, without its tags: escaped, as it stood there.
fn words(content: &str) -> String {
    let texts = content.split('<').enumerate().map(|(nth, part)| match nth {
        0 => part,
        _ => part.split_once('>').map_or("", |(_, text)| text),
    });
    texts.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_fold_away_say_their_column() {
        let table = html! {
            table.x {
                thead { tr { th { "Name" } th.num.hide { a href="?sort=a" { "Us\"ed" } " ↓" } } }
                tbody {
                    tr id="a" { td { "<td" } td.num { "1" } }
                    tr { td { "b colspan=" } td title=" colspan=\"2\"" { "2" } }
                    tr.more { td colspan="2" { "all" } }
                    tr { td { "sum" } td.hide {} }
                }
            }
        };
        let folded = folds(Lang::En, &table).into_string();
        let row = "<tr id=\"a\"><td>&lt;td</td><td class=\"hide num\" data-label=\"Us&quot;ed ↓\">1\
                   </td><td class=\"unfold\"><input type=\"checkbox\" aria-label=\"More\"></td>\
                   </tr>";
        assert!(folded.contains(row), "{folded}");
        let named = "<td class=\"hide\" title=\" colspan=&quot;2&quot;\" \
                     data-label=\"Us&quot;ed ↓\">2<";
        assert!(folded.contains(named), "{folded}");
        assert!(folded.contains("<tr class=\"more\"><td colspan=\"2\">all</td></tr>"), "{folded}");
        // There is nothing to open.
        assert!(folded.contains("<tr><td>sum</td><td class=\"hide\"></td></tr>"), "{folded}");
        assert!(folded.contains("More</span></th></tr></thead>"), "{folded}");
        assert_eq!(folded.matches("unfold").count(), 3, "{folded}");
    }
    #[test]
    fn a_problem_across_columns_leaves_the_others_to_be_opened() {
        let table = html! {
            table {
                thead { tr { th { "Task" } th.hide { "Model" } th { "Held" } th { "Charged" } } }
                tbody { tr { td { "1" } td { "m" } td colspan="2" { "ended" } } }
            }
        };
        let folded = folds(Lang::En, &table).into_string();
        let row = "<td class=\"hide\" data-label=\"Model\">m</td><td colspan=\"2\">ended</td>\
                   <td class=\"unfold\">";
        assert!(folded.contains(row), "{folded}");
    }

    #[test]
    fn a_table_that_a_phone_shows_whole_has_nothing_to_open() {
        let table = html! { table { thead { tr { th { "A" } } } tbody { tr { td { "1" } } } } };
        let folded = folds(Lang::En, &table).into_string();
        assert!(folded.contains("<table data-folds") && !folded.contains("unfold"), "{folded}");
    }
}
