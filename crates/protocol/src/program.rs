//! Pointers, compiled: a tree that is walked once while a document passes.
//!
//! Each node of the tree holds the actions for a value at its position. Values that no pointer
//! leads to cost no more than their parsing.

use domain::Meter;
use domain::spelling::resembles;

/// Number of a place in the tree.
pub(crate) type NodeId = u16;
/// No node: nothing here or below is of interest.
pub(crate) const NONE: NodeId = NodeId::MAX;

/// What is done with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointerAction {
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
    /// It is all of that text at once.
    Whole,
    /// It is data that was made, in base64.
    Data,
}

/// A place in the tree.
#[derive(Debug)]
pub(crate) struct PointerNode {
    pub(crate) keys: Box<[(Box<str>, NodeId)]>,
    pub(crate) each: NodeId,
    /// Some key is an index.
    pub(crate) indexed: bool,
    pub(crate) actions: Box<[PointerAction]>,
    /// The filters of the elements that stand here.
    pub(crate) filters: Box<[u8]>,
    /// How many bytes of a scalar are kept.
    pub(crate) keep: u16,
    /// Text that stands here is counted.
    pub(crate) text: bool,
    /// All of the text stands here, which elsewhere comes in pieces.
    pub(crate) whole: bool,
    /// The characters of a string are counted.
    pub(crate) chars: bool,
    /// The place of all other members and elements, if they are one.
    pub(crate) below: NodeId,
}

/// Where a count comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountSlot {
    pub(crate) meter: Meter,
    /// Counted beside the meter that it is otherwise a part of.
    pub(crate) beside: bool,
    /// Added to what another slot of the meter says.
    pub(crate) plus: bool,
    /// Several values of one document are added up.
    pub(crate) adds: bool,
    pub(crate) filter: Option<u8>,
}

/// What a condition asks of a value.
#[derive(Clone, Debug)]
pub(crate) struct ValueTest {
    /// One of several values is enough; else the last decides.
    pub(crate) any: bool,
    pub(crate) asks: TestRule,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TestRule {
    /// That there is one, and that it is not null.
    Present,
    /// That it is a text, not empty, and none of these.
    Text(Vec<String>),
    /// That it is one of these.
    Is(Vec<String>),
    /// That there is one, that it is not null, and none of these.
    Not(Vec<String>),
    /// The same, but letter by letter: in capitals a word may mean something else to an upstream,
    /// and what is allowed is what is known.
    NotExactly(Vec<String>),
    /// That there is one, that it is not null, and no whole number up to this.
    Above(i64),
}

/// Which elements fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterRule {
    pub(crate) words: Vec<String>,
    /// None of the words, or no member.
    pub(crate) is_not: bool,
    /// Another that has to fit as well.
    pub(crate) also: Option<u8>,
}

/// A text that is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextSlot {
    pub(crate) what: TextRole,
    /// The lower one wins where several stand in a document.
    pub(crate) rank: u8,
    pub(crate) limit: u16,
    /// There may be several of it.
    pub(crate) plural: bool,
    /// All must be the same, of which one is kept.
    pub(crate) same: bool,
    /// It is kept of the elements that fit this filter.
    pub(crate) filter: Option<u8>,
}

/// What a kept text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextRole {
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
    /// The member that makes the call one that must not be made twice.
    Once,
}

/// The tree and its tables.
#[derive(Debug)]
pub(crate) struct PointerProgram {
    pub(crate) nodes: Box<[PointerNode]>,
    pub(crate) slots: Box<[CountSlot]>,
    pub(crate) tests: Box<[ValueTest]>,
    pub(crate) filters: Box<[FilterRule]>,
    pub(crate) keeps: Box<[TextSlot]>,
    pub(crate) spellings: Spellings,
}

/// What another spelling of a member's name means. Looked for in requests, which may be meant for
/// an upstream that reads it: the reply of an upstream has one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spellings {
    /// It is another name.
    #[default]
    Apart,
    /// It is noted: what the document says is not clear.
    Noted,
    /// It is the member.
    Same,
}

impl PointerProgram {
    /// The place `id`.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> Option<&PointerNode> {
        self.nodes.get(usize::from(id))
    }
}

impl PointerNode {
    /// Whether names of members matter here.
    #[inline]
    pub(crate) const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The place of the member `key`, if it is one that matters.
    #[inline]
    pub(crate) fn member(&self, key: &[u8]) -> Option<NodeId> {
        // Most names differ in length or first letter: that is cheaper than a comparison.
        let fits = |name: &[u8]| name.len() == key.len() && name.first() == key.first();
        let is = |name: &str| fits(name.as_bytes()) && name.as_bytes() == key;
        self.keys.iter().find(|(name, _)| is(name)).map(|(_, id)| *id)
    }

    /// The place of the member that some reader takes `key` for, which is not its name.
    #[inline]
    pub(crate) fn other_spelling(&self, key: &[u8]) -> Option<NodeId> {
        self.keys.iter().find(|(name, _)| resembles(key, name)).map(|(_, id)| *id)
    }

    /// The place of the element `index`.
    #[inline]
    pub(crate) fn element(&self, index: u32) -> NodeId {
        if self.indexed {
            return self.member(index.to_string().as_bytes()).unwrap_or(self.below);
        }
        if self.each == NONE { self.below } else { self.each }
    }

    /// Whether text that stands below counts.
    #[inline]
    pub(crate) const fn is_deep(&self) -> bool {
        self.below != NONE
    }
}
