//! Slots: the raw text of the few members of a document that are kept.

/// Longest usage that is parsed.
pub(super) const MAX_USAGE: usize = 64 * 1024;
/// Longest raw text of a message; what is passed on of it is shorter still.
const MAX_TEXT: usize = 4 * 1024;
/// Longest `code` and `type`.
const MAX_WORD: usize = 64;

/// A member that is kept or traversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Other,
    Code,
    Type,
    Message,
    Msg,
    Error,
    Response,
    Usage,
    ResponseUsage,
    MessageUsage,
}

impl Member {
    /// The member of the document's own object that `key` names.
    pub(super) const fn top(key: &[u8]) -> Self {
        match key {
            b"code" => Self::Code,
            b"type" => Self::Type,
            b"message" => Self::Message,
            b"msg" => Self::Msg,
            b"error" => Self::Error,
            b"response" => Self::Response,
            b"usage" => Self::Usage,
            _ => Self::Other,
        }
    }

    /// The member that `key` names within the object that is the member `self`.
    pub(super) const fn within(self, key: &[u8]) -> Self {
        match (self, key) {
            (Self::Response, b"usage") => Self::ResponseUsage,
            (Self::Message, b"usage") => Self::MessageUsage,
            _ => Self::Other,
        }
    }

    /// Whether members of this one are of interest, if it is an object.
    pub(super) const fn is_parent(self) -> bool {
        matches!(self, Self::Response | Self::Message)
    }
}

/// The raw text of one member's value.
#[derive(Debug, Default)]
pub(super) struct Slot {
    text: Vec<u8>,
    /// There is a value, which may be incomplete.
    present: bool,
    /// The value has been read completely.
    whole: bool,
    /// The value was longer than the limit.
    cut: bool,
}

impl Slot {
    fn clear(&mut self) {
        self.text.clear();
        (self.present, self.whole, self.cut) = (false, false, false);
    }

    fn push(&mut self, text: &[u8], limit: usize) {
        let room = limit - self.text.len().min(limit);
        self.cut |= text.len() > room;
        self.text.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// The value, when it was read completely and kept whole.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (self.present && self.whole && !self.cut).then_some(&self.text)
    }

    /// The beginning of the value, as much as was kept.
    pub(super) fn beginning(&self) -> Option<&[u8]> {
        (self.present && self.whole).then_some(&self.text)
    }

    /// Whether the value was too long to be kept.
    pub(super) const fn is_cut(&self) -> bool {
        self.present && self.whole && self.cut
    }
}

/// All slots of a document.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) code: Slot,
    pub(super) kind: Slot,
    pub(super) message: Slot,
    pub(super) msg: Slot,
    pub(super) usage: Slot,
    pub(super) response_usage: Slot,
    pub(super) message_usage: Slot,
    /// There is an `error`, and it is not null.
    pub(super) error: bool,
}

impl Slots {
    pub(super) fn clear(&mut self) {
        for slot in [
            &mut self.code,
            &mut self.kind,
            &mut self.message,
            &mut self.msg,
            &mut self.usage,
            &mut self.response_usage,
            &mut self.message_usage,
        ] {
            slot.clear();
        }
        self.error = false;
    }

    /// A value of `member` begins with `first`. An earlier value of it is discarded: the last of
    /// several wins. Returns whether the value's text is to be kept.
    pub(super) fn begin(&mut self, member: Member, first: u8) -> bool {
        match member {
            Member::Error => self.error = first != b'n',
            Member::Response => self.response_usage.clear(),
            Member::Message => self.message_usage.clear(),
            _ => {}
        }
        // A message that is an object is traversed, not kept.
        let wanted = member != Member::Message || first == b'"';
        let Some((slot, _)) = self.slot(member) else { return false };
        slot.clear();
        slot.present = wanted;
        wanted
    }

    pub(super) fn push(&mut self, member: Member, text: &[u8]) {
        if let Some((slot, limit)) = self.slot(member) {
            slot.push(text, limit);
        }
    }

    pub(super) const fn end(&mut self, member: Member) {
        if let Some((slot, _)) = self.slot(member) {
            slot.whole = true;
        }
    }

    const fn slot(&mut self, member: Member) -> Option<(&mut Slot, usize)> {
        match member {
            Member::Code => Some((&mut self.code, MAX_WORD)),
            Member::Type => Some((&mut self.kind, MAX_WORD)),
            Member::Message => Some((&mut self.message, MAX_TEXT)),
            Member::Msg => Some((&mut self.msg, MAX_TEXT)),
            Member::Usage => Some((&mut self.usage, MAX_USAGE)),
            Member::ResponseUsage => Some((&mut self.response_usage, MAX_USAGE)),
            Member::MessageUsage => Some((&mut self.message_usage, MAX_USAGE)),
            Member::Other | Member::Error | Member::Response => None,
        }
    }
}
