//! Builds a [`PointerProgram`] of pointers.

use crate::pointer::{ElementCondition, Pointer, Segment};
use crate::program::{
    CountSlot, FilterRule, NONE, NodeId, PointerAction, PointerNode, PointerProgram, Spellings,
    TestRule, TextRole, TextSlot, ValueTest,
};
use domain::Meter;
use std::collections::BTreeMap;

/// Most places of a tree.
const MAX_NODES: usize = 4096;
/// Most pointers of meters, as many as the mask of `DocumentValues` has bits.
const MAX_SLOTS: usize = 128;
/// Most conditions with a pointer, likewise.
const MAX_TESTS: usize = 64;
/// Most filters, likewise.
const MAX_FILTERS: usize = 32;
/// Most texts that are kept.
const MAX_KEEPS: usize = 64;
/// As much of a value is kept as words and numbers that are compared may have.
const KEPT_OF_WORDS: u16 = 128;

/// Longest id that stands anywhere.
const KEPT_OF_IDS: u16 = 1024;

/// Why pointers can't be compiled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("names an element by its index where another pointer means each: use * for both")]
    IndexAndEach,
    #[error("has a [filter], which only pointers of meters and of texts may have")]
    Filter,
    #[error("does not begin with a name, or has a [filter]: any:/fileData/fileUri is one")]
    Anywhere,
    #[error("ends in #, which only pointers of meters may")]
    Count,
    #[error(
        "is one too many: there may be {MAX_SLOTS} pointers of meters, {MAX_TESTS} of conditions, \
         {MAX_KEEPS} of texts, and {MAX_FILTERS} filters"
    )]
    TooMany,
}

#[derive(Default)]
struct NodeDraft {
    keys: BTreeMap<Box<str>, NodeId>,
    each: Option<NodeId>,
    actions: Vec<PointerAction>,
    filters: Vec<u8>,
    keep: u16,
    deep: bool,
}

/// Builds a [`PointerProgram`].
pub(crate) struct ProgramBuilder {
    drafts: Vec<NodeDraft>,
    slots: Vec<CountSlot>,
    tests: Vec<ValueTest>,
    /// Place of the elements, member, and what it may be.
    filters: Vec<(NodeId, Vec<Box<str>>, FilterRule)>,
    keeps: Vec<TextSlot>,
    /// Pointers begin at any member.
    is_anywhere: bool,
    spellings: Spellings,
}

impl ProgramBuilder {
    /// Of what upstreams send.
    pub(crate) fn new() -> Self {
        Self {
            drafts: vec![NodeDraft::default()],
            slots: Vec::new(),
            tests: Vec::new(),
            filters: Vec::new(),
            keeps: Vec::new(),
            is_anywhere: false,
            spellings: Spellings::Apart,
        }
    }

    /// Of what clients send.
    pub(crate) fn for_requests() -> Self {
        Self { spellings: Spellings::Noted, ..Self::new() }
    }

    /// How many pointers of meters there are.
    pub(crate) const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// A count of `meter` stands at `pointer`. Those of one meter are added in a row, the
    /// preferred one first.
    pub(crate) fn meter(
        &mut self,
        meter: Meter,
        pointer: &Pointer,
        (beside, plus): (bool, bool),
    ) -> Result<(), ProgramError> {
        let slot = number(self.slots.len(), MAX_SLOTS)?;
        let (node, filter) = self.place(pointer)?;
        let action = match pointer.segments().last() {
            Some(Segment::Count(Some(_))) => PointerAction::One(slot),
            Some(Segment::Count(None)) => PointerAction::Count(slot),
            _ => PointerAction::Number(slot),
        };
        self.slots.push(CountSlot { meter, beside, plus, adds: pointer.is_plural(), filter });
        self.act(node, action, KEPT_OF_WORDS);
        Ok(())
    }

    /// A condition looks at what stands at `pointers`. Returns its number.
    pub(crate) fn test(
        &mut self,
        pointers: &[Pointer],
        asks: TestRule,
    ) -> Result<u8, ProgramError> {
        let test = number(self.tests.len(), MAX_TESTS)?;
        // Of a member that comes twice, a reader of a request may take the first.
        let is_asked = self.spellings != Spellings::Apart;
        let any = is_asked || pointers.len() > 1 || pointers.iter().any(Pointer::is_plural);
        self.tests.push(ValueTest { any, asks });
        for pointer in pointers {
            let node = self.plain_place(pointer)?;
            self.act(node, PointerAction::Test(test), KEPT_OF_WORDS);
        }
        Ok(test)
    }

    /// The text at `pointer` is kept.
    pub(crate) fn keep(&mut self, pointer: &Pointer, keep: TextSlot) -> Result<(), ProgramError> {
        let number = number(self.keeps.len(), MAX_KEEPS)?;
        if matches!(pointer.segments().last(), Some(Segment::Count(_))) {
            return Err(ProgramError::Count);
        }
        let (node, filter) = self.place(pointer)?;
        self.keeps.push(TextSlot { filter, ..keep });
        self.act(node, PointerAction::Keep(number), keep.limit);
        Ok(())
    }

    /// The text is kept wherever `pointer`, which begins with a name, leads to it: from the root,
    /// and from any member below. No other pointer may lead to anything.
    pub(crate) fn keep_anywhere(
        &mut self,
        pointer: &Pointer,
        what: TextRole,
    ) -> Result<(), ProgramError> {
        let begins = matches!(pointer.segments().first(), Some(Segment::Name(_)));
        if !begins || pointer.segments().iter().any(|it| it.filter().is_some()) {
            return Err(ProgramError::Anywhere);
        }
        let limit = KEPT_OF_IDS;
        let slot = TextSlot { what, rank: 0, limit, plural: true, same: false, filter: None };
        self.keep(pointer, slot)?;
        // What only looks like a name may be anything there, and is none without an id in it.
        self.spellings = Spellings::Same;
        self.is_anywhere = true;
        Ok(())
    }

    /// The text at `pointer`, or (`deep`) all text there and below, is counted.
    pub(crate) fn text(&mut self, pointer: &Pointer, deep: bool) -> Result<(), ProgramError> {
        let node = self.plain_place(pointer)?;
        self.act(node, PointerAction::Text, 0);
        self.drafts[usize::from(node)].deep |= deep;
        Ok(())
    }

    /// All text that comes elsewhere in pieces stands at `pointer`.
    pub(crate) fn whole(&mut self, pointer: &Pointer) -> Result<(), ProgramError> {
        let node = self.plain_place(pointer)?;
        self.act(node, PointerAction::Whole, 0);
        Ok(())
    }

    /// What stands at `pointer` is data that was made, in base64.
    pub(crate) fn data(&mut self, pointer: &Pointer) -> Result<(), ProgramError> {
        let node = self.plain_place(pointer)?;
        self.act(node, PointerAction::Data, 0);
        Ok(())
    }

    fn act(&mut self, node: NodeId, action: PointerAction, keep: u16) {
        let draft = &mut self.drafts[usize::from(node)];
        draft.actions.push(action);
        draft.keep = draft.keep.max(keep);
    }

    fn plain_place(&mut self, pointer: &Pointer) -> Result<NodeId, ProgramError> {
        if matches!(pointer.segments().last(), Some(Segment::Count(_))) {
            return Err(ProgramError::Count);
        }
        match self.place(pointer)? {
            (node, None) => Ok(node),
            (_, Some(_)) => Err(ProgramError::Filter),
        }
    }

    /// The place of `pointer`, made where it is new, and the filter on its way.
    fn place(&mut self, pointer: &Pointer) -> Result<(NodeId, Option<u8>), ProgramError> {
        let (mut node, mut filter) = (0, None);
        for segment in pointer.segments() {
            match segment {
                Segment::Name(name) => node = self.member(node, name)?,
                Segment::Count(None) => {}
                Segment::Each(wanted) | Segment::Count(wanted) => {
                    node = self.each(node)?;
                    if let Some(wanted) = wanted {
                        // Each of them asks for those behind it.
                        for condition in wanted.conditions.iter().rev() {
                            filter = Some(self.filter(node, condition, filter)?);
                        }
                    }
                }
            }
        }
        Ok((node, filter))
    }

    fn member(&mut self, of: NodeId, name: &str) -> Result<NodeId, ProgramError> {
        let draft = &self.drafts[usize::from(of)];
        if let Some(&known) = draft.keys.get(name) {
            return Ok(known);
        }
        if draft.each.is_some() && is_index(name) {
            return Err(ProgramError::IndexAndEach);
        }
        let made = self.make()?;
        self.drafts[usize::from(of)].keys.insert(name.into(), made);
        Ok(made)
    }

    fn each(&mut self, of: NodeId) -> Result<NodeId, ProgramError> {
        let draft = &self.drafts[usize::from(of)];
        if let Some(known) = draft.each {
            return Ok(known);
        }
        if draft.keys.keys().any(|name| is_index(name)) {
            return Err(ProgramError::IndexAndEach);
        }
        let made = self.make()?;
        self.drafts[usize::from(of)].each = Some(made);
        Ok(made)
    }

    fn make(&mut self) -> Result<NodeId, ProgramError> {
        if self.drafts.len() == MAX_NODES {
            return Err(ProgramError::TooMany);
        }
        self.drafts.push(NodeDraft::default());
        NodeId::try_from(self.drafts.len() - 1).map_err(|_| ProgramError::TooMany)
    }

    fn filter(
        &mut self,
        node: NodeId,
        condition: &ElementCondition,
        also: Option<u8>,
    ) -> Result<u8, ProgramError> {
        let ElementCondition { member, words, is_not } = condition;
        let words = words.iter().map(|it| it.to_string()).collect();
        let rule = FilterRule { words, is_not: *is_not, also };
        let same = |it: &(NodeId, Vec<Box<str>>, FilterRule)| {
            it.0 == node && it.1 == *member && it.2 == rule
        };
        if let Some(known) = self.filters.iter().position(same) {
            return number(known, MAX_FILTERS);
        }
        let made = number(self.filters.len(), MAX_FILTERS)?;
        let decides = member.iter().try_fold(node, |of, name| self.member(of, name))?;
        self.act(decides, PointerAction::Filter(made), KEPT_OF_WORDS);
        self.drafts[usize::from(node)].filters.push(made);
        self.filters.push((node, member.clone(), rule));
        Ok(made)
    }

    pub(crate) fn build(mut self) -> PointerProgram {
        // What stands below text that is counted with all below it is counted, too. A place has
        // a higher number than the one above it.
        for at in 0..self.drafts.len() {
            if self.drafts[at].deep {
                let below: Vec<_> =
                    self.drafts[at].keys.values().copied().chain(self.drafts[at].each).collect();
                for id in below {
                    self.drafts[usize::from(id)].deep = true;
                }
            }
        }
        // There pointers lead nowhere: a member deep in a text is not the one that they name.
        let inner = NodeId::try_from(self.drafts.len()).unwrap_or(NONE);
        self.drafts.push(NodeDraft { deep: true, ..NodeDraft::default() });
        let below = |draft: &NodeDraft| if draft.deep { inner } else { NONE };
        let mut nodes: Vec<_> =
            self.drafts.into_iter().map(|draft| (below(&draft), draft)).collect();
        if let Some((root, _)) = nodes.first_mut().filter(|_| self.is_anywhere) {
            // Only here, so that what stands at the pointers' ends is no such place.
            *root = 0;
        }
        PointerProgram {
            nodes: nodes.into_iter().map(|(below, draft)| draft.finish(below)).collect(),
            slots: self.slots.into(),
            tests: self.tests.into(),
            filters: self.filters.into_iter().map(|(_, _, rule)| rule).collect(),
            keeps: self.keeps.into(),
            spellings: self.spellings,
        }
    }
}

impl NodeDraft {
    fn finish(self, below: NodeId) -> PointerNode {
        let has = |wanted: fn(&PointerAction) -> bool| self.actions.iter().any(wanted);
        let text = has(|it| *it == PointerAction::Text);
        let whole = has(|it| *it == PointerAction::Whole);
        let chars = has(|it| matches!(it, PointerAction::Count(_) | PointerAction::Data));
        PointerNode {
            indexed: self.keys.keys().any(|name| is_index(name)),
            keys: self.keys.into_iter().collect(),
            each: self.each.unwrap_or(NONE),
            actions: self.actions.into(),
            filters: self.filters.into(),
            keep: self.keep,
            text,
            whole,
            chars,
            below,
        }
    }
}

fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(at: usize, limit: usize) -> Result<u8, ProgramError> {
    let fits = u8::try_from(at).ok().filter(|_| at < limit);
    fits.ok_or(ProgramError::TooMany)
}
