//! The scalar that is being read: as much of it as is kept, and what is counted of it.

use crate::found::{ScalarKind, ScalarValue};
use crate::program::{NONE, NodeId, PointerNode};

#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) node: NodeId,
    kind: ScalarKind,
    text: Vec<u8>,
    /// As much is kept.
    pub(super) keep: usize,
    cut: bool,
    chars: u64,
    count_chars: bool,
    pub(super) is_text: bool,
    pub(super) is_whole: bool,
}

impl Scalar {
    pub(super) const fn new() -> Self {
        Self {
            node: NONE,
            kind: ScalarKind::Null,
            text: Vec::new(),
            keep: 0,
            cut: false,
            chars: 0,
            count_chars: false,
            is_text: false,
            is_whole: false,
        }
    }

    /// A value begins at `node`.
    pub(super) fn begin(&mut self, id: NodeId, kind: ScalarKind, node: &PointerNode, text: bool) {
        (self.node, self.kind, self.is_text) = (id, kind, text);
        self.is_whole = node.whole;
        (self.keep, self.count_chars) = (usize::from(node.keep), node.chars);
        (self.cut, self.chars) = (false, 0);
        self.text.clear();
    }

    /// The next piece of it.
    #[inline]
    pub(super) fn take(&mut self, piece: &[u8]) {
        if self.keep > 0 {
            let room = self.keep - self.text.len().min(self.keep);
            self.cut |= piece.len() > room;
            self.text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if self.count_chars {
            let begun = piece.iter().filter(|byte| !matches!(byte, 0x80..=0xbf)).count();
            self.chars = self.chars.saturating_add(begun as u64);
        }
    }

    /// Returns the complete value.
    pub(super) fn value(&self) -> ScalarValue<'_> {
        ScalarValue { kind: self.kind, text: &self.text, cut: self.cut, chars: self.chars }
    }
}
