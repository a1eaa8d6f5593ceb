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
    let heads: Vec<ColumnHead> = elements(head, "th").map(ColumnHead::of).collect();
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
        match row.strip_suffix("</tr>") {
            // The quote is a tag's: in texts it is escaped.
            Some(cells) if !cells.contains(" colspan=\"") => {
                labelled(&mut folded, cells, &heads);
                folded.push_str(&open.0);
                folded.push_str("</tr>");
            }
            _ => folded.push_str(row),
        }
    }
    PreEscaped(folded)
}

/// The head of a column.
struct ColumnHead {
    words: String,
    /// On a phone its cells are below the row.
    hides: bool,
}

impl ColumnHead {
    fn of((tag, content): (&str, &str)) -> Self {
        Self { words: words(content), hides: classes(tag).any(|class| class == "hide") }
    }
}

fn classes(tag: &str) -> impl Iterator<Item = &str> {
    let all = tag.split_once(" class=\"").and_then(|(_, rest)| rest.split('"').next());
    all.unwrap_or_default().split(' ')
}

/// The cells of a row, those that fold away with the heads of their columns.
fn labelled(folded: &mut String, row: &str, heads: &[ColumnHead]) {
    let mut rest = row;
    for head in heads {
        let Some(at) = rest.find("<td") else { break };
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end);
        let tag = &rest[at..end];
        folded.push_str(&rest[..at]);
        if !head.hides || classes(tag).any(|class| class == "hide") {
            folded.push_str(tag);
        } else if tag.contains(" class=\"") {
            folded.push_str(&tag.replacen(" class=\"", " class=\"hide ", 1));
        } else {
            folded.push_str(&tag.replacen("<td", "<td class=\"hide\"", 1));
        }
        if head.hides {
            folded.push_str(" data-label=\"");
            folded.push_str(&head.words);
            folded.push('"');
        }
        rest = &rest[end..];
    }
    folded.push_str(rest);
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
        assert!(folded.contains("More</span></th></tr></thead>"), "{folded}");
        assert_eq!(folded.matches("unfold").count(), 3, "{folded}");
    }
}
