//! Pointers, compiled: a tree that is walked once while a document passes.
//!
//! Each place of the tree says what is done with a value that stands there. Whatever is in no
//! pointer's way costs no more than its grammar.

use crate::meter::Meter;
use crate::pointer::{Pointer, Segment};
use std::collections::BTreeMap;

/// Number of a place in the tree.
pub(crate) type NodeId = u16;
/// No place: nothing that stands there, or below, is of interest.
pub(crate) const NONE: NodeId = NodeId::MAX;
/// Most places of a tree.
const MAX_NODES: usize = 4096;
/// Most pointers of meters, as many as the bits of `Found`'s mask.
const MAX_SLOTS: usize = 128;
/// Most conditions with a pointer, likewise.
const MAX_TESTS: usize = 64;
/// Most filters, likewise.
const MAX_FILTERS: usize = 32;
/// Most texts that are kept.
const MAX_KEEPS: usize = 64;
/// As much of a value is kept as words and numbers that are compared may have.
const KEPT_OF_WORDS: u16 = 128;

/// What is done with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is the number of a slot.
    Number(u8),
    /// Its elements, or characters, are counted in a slot.
    Count(u8),
    /// As an element that fits its filter it counts as one in a slot.
    One(u8),
    /// A condition looks at it.
    Test(u8),
    /// Its text is kept.
    Keep(u8),
    /// Whether its element fits is decided by it.
    Filter(u8),
    /// It is text that was made.
    Text,
}

/// A place in the tree.
#[derive(Debug)]
pub(crate) struct Node {
    keys: Box<[(Box<[u8]>, NodeId)]>,
    each: NodeId,
    /// Some key is an index.
    indexed: bool,
    pub(crate) actions: Box<[Action]>,
    /// The filters of the elements that stand here.
    pub(crate) filters: Box<[u8]>,
    /// So many bytes of a scalar are kept.
    pub(crate) keep: u16,
    /// Text that stands here is counted.
    pub(crate) text: bool,
    /// The characters of a string are counted.
    pub(crate) chars: bool,
    /// What stands below is as what stands here.
    deep: bool,
}

/// Where a count comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) meter: Meter,
    /// Counted beside the meter that it is otherwise a part of.
    pub(crate) beside: bool,
    /// Several values of one document are added up.
    pub(crate) adds: bool,
    pub(crate) filter: Option<u8>,
}

/// What a condition asks of a value.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    /// One of several values is enough; else the last decides.
    pub(crate) any: bool,
    pub(crate) asks: Ask,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// That there is one, and that it is not null.
    Present,
    /// That it is one of these.
    Is(Vec<String>),
    /// That there is one, that it is not null, and none of these.
    Not(Vec<String>),
}

/// A text that is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) what: Kept,
    /// The lower one wins where several stand in a document.
    pub(crate) rank: u8,
    pub(crate) limit: u16,
}

/// What a kept text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Why the upstream failed.
    Message,
    /// The id of what was made.
    Resource,
    /// A model's name.
    Model,
    /// A number of the request: how much output it allows, how many replies it asks for.
    Allowed,
    Times,
    Task,
    Status,
    Progress,
    Reason,
    /// One of the results.
    Result,
    /// The member that asks for a stream.
    Stream,
}

/// The tree and its tables.
#[derive(Debug)]
pub(crate) struct Program {
    nodes: Box<[Node]>,
    pub(crate) slots: Box<[Slot]>,
    pub(crate) tests: Box<[Test]>,
    pub(crate) filters: Box<[Vec<String>]>,
    pub(crate) keeps: Box<[Keep]>,
}

impl Program {
    /// The place `id`.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::from(id))
    }
}

impl Node {
    /// Whether names of members matter here.
    #[inline]
    pub(crate) const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The place of the member `key`; `own` is this one's.
    #[inline]
    pub(crate) fn member(&self, own: NodeId, key: &[u8]) -> NodeId {
        match self.keys.iter().find(|(name, _)| **name == *key) {
            Some((_, id)) => *id,
            None if self.deep => own,
            None => NONE,
        }
    }

    /// The place of the element `index`.
    #[inline]
    pub(crate) fn element(&self, own: NodeId, index: u32) -> NodeId {
        if self.indexed {
            return self.member(own, index.to_string().as_bytes());
        }
        if self.each == NONE && self.deep { own } else { self.each }
    }

    /// Whether what stands below is as what stands here.
    #[inline]
    pub(crate) const fn is_deep(&self) -> bool {
        self.deep
    }
}

/// Why pointers can't be compiled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("names an element by its index where another pointer means each: use * for both")]
    IndexAndEach,
    #[error("has a [filter], which only pointers of meters may have")]
    Filter,
    #[error("ends in #, which only pointers of meters may")]
    Count,
    #[error(
        "is one too many: there may be {MAX_SLOTS} pointers of meters, {MAX_TESTS} of conditions, \
         {MAX_KEEPS} of texts, and {MAX_FILTERS} filters"
    )]
    TooMany,
}

#[derive(Default)]
struct Draft {
    keys: BTreeMap<Box<str>, NodeId>,
    each: Option<NodeId>,
    actions: Vec<Action>,
    filters: Vec<u8>,
    keep: u16,
    deep: bool,
}

/// Builds a [`Program`].
pub(crate) struct Builder {
    drafts: Vec<Draft>,
    slots: Vec<Slot>,
    tests: Vec<Test>,
    /// Place of the elements, member, and words.
    filters: Vec<(NodeId, Box<str>, Vec<String>)>,
    keeps: Vec<Keep>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            drafts: vec![Draft::default()],
            slots: Vec::new(),
            tests: Vec::new(),
            filters: Vec::new(),
            keeps: Vec::new(),
        }
    }

    /// A count of `meter` stands at `pointer`. Those of one meter are added in a row, the
    /// preferred one first.
    pub(crate) fn meter(
        &mut self,
        meter: Meter,
        pointer: &Pointer,
        beside: bool,
    ) -> Result<(), ProgramError> {
        let slot = number(self.slots.len(), MAX_SLOTS)?;
        let (node, filter) = self.place(pointer)?;
        let action = match pointer.segments().last() {
            Some(Segment::Count(Some(_))) => Action::One(slot),
            Some(Segment::Count(None)) => Action::Count(slot),
            _ => Action::Number(slot),
        };
        self.slots.push(Slot { meter, beside, adds: pointer.is_plural(), filter });
        self.act(node, action, KEPT_OF_WORDS);
        Ok(())
    }

    /// A condition looks at what stands at `pointers`. Returns its number.
    pub(crate) fn test(&mut self, pointers: &[Pointer], asks: Ask) -> Result<u8, ProgramError> {
        let test = number(self.tests.len(), MAX_TESTS)?;
        let any = pointers.len() > 1 || pointers.iter().any(Pointer::is_plural);
        self.tests.push(Test { any, asks });
        for pointer in pointers {
            let node = self.plain_place(pointer)?;
            self.act(node, Action::Test(test), KEPT_OF_WORDS);
        }
        Ok(test)
    }

    /// The text at `pointer` is kept.
    pub(crate) fn keep(&mut self, pointer: &Pointer, keep: Keep) -> Result<(), ProgramError> {
        let number = number(self.keeps.len(), MAX_KEEPS)?;
        self.keeps.push(keep);
        let node = self.plain_place(pointer)?;
        self.act(node, Action::Keep(number), keep.limit);
        Ok(())
    }

    /// The text at `pointer`, or (`deep`) all text there and below, is counted.
    pub(crate) fn text(&mut self, pointer: &Pointer, deep: bool) -> Result<(), ProgramError> {
        let node = self.plain_place(pointer)?;
        self.act(node, Action::Text, 0);
        self.drafts[usize::from(node)].deep |= deep;
        Ok(())
    }

    fn act(&mut self, node: NodeId, action: Action, keep: u16) {
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
                        let words = wanted.words.iter().map(|it| it.to_string()).collect();
                        filter = Some(self.filter(node, &wanted.member, words)?);
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
        self.drafts.push(Draft::default());
        NodeId::try_from(self.drafts.len() - 1).map_err(|_| ProgramError::TooMany)
    }

    fn filter(
        &mut self,
        node: NodeId,
        member: &str,
        words: Vec<String>,
    ) -> Result<u8, ProgramError> {
        let same = |it: &(NodeId, Box<str>, Vec<String>)| {
            it.0 == node && *it.1 == *member && it.2 == words
        };
        if let Some(known) = self.filters.iter().position(same) {
            return number(known, MAX_FILTERS);
        }
        let made = number(self.filters.len(), MAX_FILTERS)?;
        let decides = self.member(node, member)?;
        self.act(decides, Action::Filter(made), KEPT_OF_WORDS);
        self.drafts[usize::from(node)].filters.push(made);
        self.filters.push((node, member.into(), words));
        Ok(made)
    }

    pub(crate) fn build(mut self) -> Program {
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
        Program {
            nodes: self.drafts.into_iter().map(Draft::finish).collect(),
            slots: self.slots.into(),
            tests: self.tests.into(),
            filters: self.filters.into_iter().map(|(_, _, words)| words).collect(),
            keeps: self.keeps.into(),
        }
    }
}

impl Draft {
    fn finish(self) -> Node {
        let has = |wanted: fn(&Action) -> bool| self.actions.iter().any(wanted);
        let text = has(|it| *it == Action::Text);
        let chars = has(|it| matches!(it, Action::Count(_)));
        Node {
            indexed: self.keys.keys().any(|name| is_index(name)),
            keys: self.keys.into_iter().map(|(key, id)| (key.as_bytes().into(), id)).collect(),
            each: self.each.unwrap_or(NONE),
            actions: self.actions.into(),
            filters: self.filters.into(),
            keep: self.keep,
            text,
            chars,
            deep: self.deep,
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
