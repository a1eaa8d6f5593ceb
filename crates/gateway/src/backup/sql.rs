//! What an SQL dump holds, without a database to read it into.

use anyhow::{Context, bail};
use std::io::BufRead;
use store::Contents;

/// The last thing that `pg_dump` and `pg_restore` write.
const LAST_WORDS: &str = "-- PostgreSQL database dump complete";
/// The table that records the schema version.
const STEPS: &str = "schema_migrations";
/// Partitioned tables, whose partitions are counted together.
const IN_PARTS: [&str; 1] = ["logs"];

/// The rows of a table that are being read.
struct Copy {
    table: String,
    columns: Vec<String>,
}

/// Reads a dump to its end.
pub(super) fn inspect(mut dump: impl BufRead) -> anyhow::Result<Contents> {
    let mut contents = Contents::default();
    let (mut line, mut copying, mut complete) = (Vec::new(), None::<Copy>, false);
    loop {
        line.clear();
        if dump.read_until(b'\n', &mut line).context("it can't be unpacked")? == 0 {
            break;
        }
        let text = line.trim_ascii_end();
        match &copying {
            Some(_) if text == b"\\." => copying = None,
            Some(copy) => {
                if copy.table == STEPS {
                    contents.applied.push(step(copy, &String::from_utf8_lossy(&line))?);
                }
                *contents.rows.entry(copy.table.clone()).or_default() += 1;
            }
            None => {
                complete |= text == LAST_WORDS.as_bytes();
                copying = std::str::from_utf8(text).ok().and_then(begin);
                if let Some(copy) = &copying {
                    contents.rows.entry(copy.table.clone()).or_default();
                }
            }
        }
    }
    if !complete {
        bail!("it is cut off: the last line of a dump is missing");
    }
    Ok(contents)
}

/// `COPY public.logs_202611 (id, user_id) FROM stdin;`
fn begin(line: &str) -> Option<Copy> {
    let inside = line.strip_prefix("COPY ")?.strip_suffix(") FROM stdin;")?;
    let (name, columns) = inside.split_once(" (")?;
    let name = name.rsplit('.').next().unwrap_or_default().trim_matches('"');
    let whole = name.rsplit_once('_').map(|(whole, _)| whole).filter(|it| IN_PARTS.contains(it));
    let columns = columns.split(", ").map(|column| column.trim_matches('"').to_owned()).collect();
    Some(Copy { table: whole.unwrap_or(name).to_owned(), columns })
}

/// A row of the table of steps.
fn step(copy: &Copy, row: &str) -> anyhow::Result<(i64, String)> {
    let value = |column: &str| {
        let at = copy.columns.iter().position(|it| it == column)?;
        row.trim_end().split('\t').nth(at)
    };
    let version = value("version").and_then(|text| text.parse().ok());
    let sha256 = value("sha256").map(ToOwned::to_owned);
    version.zip(sha256).with_context(|| format!("its table {STEPS} can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "BEGIN;\n\
        COPY public.schema_migrations (version, name, sha256, applied_at) FROM stdin;\n\
        1\tpostgres/0001.sql\tabc\t2026-11-01 00:00:00+00\n\
        2\tpostgres/0002.sql\tdef\t2026-11-01 00:00:00+00\n\
        \\.\n\
        COPY public.logs_202610 (id) FROM stdin;\n1\n\\.\n\
        COPY public.logs_202611 (id, \"group\") FROM stdin;\nCOPY x (y) FROM stdin;\n\\\\.\n\\.\n\
        COPY public.users (id) FROM stdin;\n\\.\n";

    #[test]
    fn rows_and_steps_are_found() {
        let contents = inspect(format!("{DUMP}{LAST_WORDS}\n\nCOMMIT;\n").as_bytes()).unwrap();
        assert_eq!(contents.applied, [(1, "abc".to_owned()), (2, "def".to_owned())]);
        let rows: Vec<_> = contents.rows.iter().map(|(table, n)| (table.as_str(), *n)).collect();
        assert_eq!(rows, [("logs", 3), ("schema_migrations", 2), ("users", 0)]);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        assert!(inspect(DUMP.as_bytes()).unwrap_err().to_string().contains("cut off"));
        // As a row it is no end.
        let inside = format!("COPY public.users (id) FROM stdin;\n{LAST_WORDS}\n");
        assert!(inspect(inside.as_bytes()).is_err());
    }
}
