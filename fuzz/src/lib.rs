//! What the targets share.

use upstream::{ReplyScanner, Scanned};

const TYPES: [&str; 6] = [
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "text/plain",
    "",
    "image/png",
];
const ENCODINGS: [&str; 3] = ["gzip", "deflate", "br"];

/// An input, read as: how it is declared, where it is cut, and what it is.
pub struct Reply<'a> {
    pub content_type: &'static str,
    pub encoding: Option<&'static str>,
    cuts: &'a [u8],
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let (&[how, cuts_len], rest) = input.split_first_chunk::<2>()?;
        let (cuts, body) = rest.split_at_checked(usize::from(cuts_len % 8))?;
        let content_type = TYPES[usize::from(how % 6)];
        let encoding = ENCODINGS.get(usize::from(how / 6 % 16)).copied();
        Some(Self { content_type, encoding, cuts, body })
    }

    pub fn scan_whole(&self) -> Scanned {
        let mut scanner = self.scanner();
        scanner.feed(self.body);
        scanner.finish()
    }

    /// The pieces go round: their lengths are the cuts, over and over.
    pub fn scan_in_pieces(&self) -> Scanned {
        let mut scanner = self.scanner();
        let mut rest = self.body;
        let lengths = self.cuts.iter().map(|&cut| usize::from(cut));
        for length in lengths.chain([1]).cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(length.clamp(1, rest.len()));
            scanner.feed(piece);
            let _ = scanner.scanned_so_far();
            rest = after;
        }
        scanner.finish()
    }

    fn scanner(&self) -> ReplyScanner {
        ReplyScanner::new(Some(self.content_type), self.encoding)
    }
}
