//! Tables for spreadsheets: CSV according to RFC 4180, in UTF-8.

use crate::AdminError;
use csv::{Terminator, Writer, WriterBuilder};
use domain::UnixMs;

/// Rows of a table, as the text they are sent as.
pub(crate) struct Sheet(Writer<Vec<u8>>);

impl Sheet {
    /// No rows yet.
    pub(crate) fn new() -> Self {
        Self(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()))
    }

    /// Adds a row. Every row of a table has as many cells.
    ///
    /// # Errors
    /// When it hasn't.
    pub(crate) fn row<T: AsRef<str>>(
        &mut self,
        cells: impl IntoIterator<Item = T>,
    ) -> Result<(), AdminError> {
        for cell in cells {
            let cell = cell.as_ref();
            let written = match harmless(cell) {
                true => self.0.write_field(cell),
                false => self.0.write_field(format!("'{cell}")),
            };
            written.map_err(|error| AdminError::System(error.to_string()))?;
        }
        let end = self.0.write_record(None::<&[u8]>);
        end.map_err(|error| AdminError::System(error.to_string()))
    }

    /// The text.
    ///
    /// # Errors
    /// Never in practice, as writing to memory does not fail.
    pub(crate) fn text(self) -> Result<Vec<u8>, AdminError> {
        self.0.into_inner().map_err(|error| AdminError::System(error.to_string()))
    }
}

/// Whether a spreadsheet takes a cell literally. Text that begins like a formula would be
/// evaluated: users choose names and models, and other users open them. Some East Asian
/// spreadsheets treat full-width signs like the ASCII ones.
fn harmless(cell: &str) -> bool {
    const SIGNS: [char; 11] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n'];
    !cell.starts_with(SIGNS) || is_number(cell)
}

/// The text of a cell that [`Sheet`] has written: without the mark that keeps it from being
/// evaluated.
pub(crate) fn as_written(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| !harmless(text)).unwrap_or(cell)
}

/// A sign, digits, and a part behind the point, perhaps.
fn is_number(cell: &str) -> bool {
    let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    [whole, part]
        .iter()
        .all(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// An instant as people and programs read it: `2026-11-25T08:46:10Z`. One that no calendar has is
/// its number.
pub(crate) fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// A name for a file that was made at `now`: `logs-20261125T084610Z.csv`.
pub(crate) fn file_name(what: &str, now: UnixMs) -> String {
    let made = instant(now.0.div_euclid(1000)).replace(['-', ':'], "");
    format!("{what}-{made}.csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rows: &[&[&str]]) -> String {
        let mut sheet = Sheet::new();
        for row in rows {
            sheet.row(*row).unwrap();
        }
        String::from_utf8(sheet.text().unwrap()).unwrap()
    }

    #[test]
    fn rows_are_as_rfc_4180_says() {
        assert_eq!(
            text(&[&["a", "b c"], &["1", "x,\"y\"\nz"]]),
            "a,b c\r\n1,\"x,\"\"y\"\"\nz\"\r\n"
        );
    }

    #[test]
    fn formulas_are_text_and_numbers_stay_numbers() {
        for formula in [
            "=1+1", "+A1", "-2+3", "@SUM(A1)", "＝1+1", "＠A", "\t=1", "\r=1", "\n=1", "-", "-1.",
            "+.5", "-1e5",
        ] {
            assert!(!harmless(formula), "{formula}");
        }
        for plain in ["", "a=1", "-5", "+5", "-0.25", "12", "2026-11-25", "'=1"] {
            assert!(harmless(plain), "{plain}");
        }
        assert_eq!(text(&[&["=HYPERLINK(\"x\")", "-5"]]), "\"'=HYPERLINK(\"\"x\"\")\",-5\r\n");
    }

    #[test]
    fn files_are_named_after_their_time() {
        assert_eq!(instant(1_704_110_400), "2024-01-01T12:00:00Z");
        assert_eq!(file_name("logs", UnixMs(1_704_110_400_999)), "logs-20240101T120000Z.csv");
        assert_eq!(instant(i64::MAX), i64::MAX.to_string());
    }
}
