//! The values found in one document as it streams by.

use crate::count;
use crate::program::{PointerAction, PointerNode, PointerProgram, TestRule, TextRole};
use crate::refusal::is_up_to;
use crate::tokens::TokenCounter;
use domain::Meter;

/// Most texts of one kind that are kept of a document.
const MAX_RESULTS: usize = 256;
/// Characters of base64 for a token: vendors count a picture of 1 to 2 million as 1000 to 1300
/// tokens, and a second of sound (24 kHz, 16 bits: 64 000) as 20 to 32.
const DATA_CHARS: u64 = 2_000;
/// Longest text of a fault.
const MAX_FAULT_CHARS: usize = 40;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Text,
    Number,
    /// `true` or `false`.
    Truth,
    Null,
    Container,
}

/// A value, as much of it as is kept.
pub(crate) struct ScalarValue<'a> {
    pub(crate) kind: ScalarKind,
    pub(crate) text: &'a [u8],
    /// It was longer than is kept.
    pub(crate) cut: bool,
    /// Characters of a string.
    pub(crate) chars: u64,
}

/// A count that can't be one.
#[derive(Debug)]
struct BadCount {
    slot: u8,
    text: String,
}

/// A text that was kept, and the slot that it was kept for.
#[derive(Debug)]
pub(crate) struct KeptText {
    slot: u8,
    pub(crate) text: String,
    /// It is a number, as it was written.
    pub(crate) is_number: bool,
    /// Whether it is kept depends on whether its element fits this filter.
    awaits: Option<u8>,
}

/// The values found in one document.
#[derive(Debug)]
pub(crate) struct DocumentValues {
    numbers: Box<[i64]>,
    pub(crate) touched: u128,
    /// Numbers of an element, until it is known whether it fits its filter.
    pending: Box<[i64]>,
    pending_touched: u128,
    /// Filters that the element fits, and those whose member it has.
    fits: u32,
    decided: u32,
    /// The number of open containers.
    pub(crate) depth: usize,
    /// The numbers of an object that is still open: if it breaks off, they are incomplete.
    fresh: u128,
    fresh_depth: usize,
    pub(crate) tests: u64,
    pub(crate) kept: Vec<KeptText>,
    /// The first of each slot.
    bad: Vec<BadCount>,
    /// Some count of the request's tokens, or of the reply's, can't be one; over all documents.
    pub(crate) bad_input: bool,
    pub(crate) bad_output: bool,
    /// Another reader may find something else: a member that one text is kept of has come twice,
    /// or one that is looked at is there in another spelling.
    pub(crate) unclear: bool,
    /// Texts that must be the same are not.
    pub(crate) differs: bool,
    /// Text that was made; over all documents.
    pub(crate) text: TokenCounter,
    /// The same text, where all of it comes at once.
    pub(crate) whole: TokenCounter,
    /// Characters of base64 that were made; over all documents.
    data_chars: u64,
}

impl DocumentValues {
    pub(crate) fn new(program: &PointerProgram) -> Self {
        let zeros = || vec![0; program.slots.len()].into_boxed_slice();
        Self {
            numbers: zeros(),
            touched: 0,
            pending: zeros(),
            pending_touched: 0,
            fits: 0,
            decided: 0,
            depth: 0,
            fresh: 0,
            fresh_depth: 0,
            tests: 0,
            kept: Vec::new(),
            bad: Vec::new(),
            bad_input: false,
            bad_output: false,
            unclear: false,
            differs: false,
            text: TokenCounter::default(),
            whole: TokenCounter::default(),
            data_chars: 0,
        }
    }

    /// Clears all values for the next document.
    pub(crate) fn clear(&mut self) {
        self.touched = 0;
        self.pending_touched = 0;
        self.fits = 0;
        self.decided = 0;
        self.depth = 0;
        self.fresh = 0;
        self.tests = 0;
        self.kept.clear();
        self.bad.clear();
        self.unclear = false;
        self.differs = false;
    }

    /// The number of `slot`, if the document has one.
    pub(crate) fn number(&self, slot: usize) -> Option<i64> {
        (self.touched >> slot & 1 == 1).then(|| self.numbers.get(slot).copied()).flatten()
    }

    /// Tokens of what was made, about.
    pub(crate) fn made_tokens(&self) -> i64 {
        let data = i64::try_from(self.data_chars.div_ceil(DATA_CHARS)).unwrap_or(i64::MAX);
        self.text.tokens().max(self.whole.tokens()).saturating_add(data)
    }

    /// Whether anything was made.
    pub(crate) const fn any_made(&self) -> bool {
        self.text.any() || self.whole.any() || self.data_chars > 0
    }

    /// The texts that were kept as `what`, the preferred ones first.
    pub(crate) fn texts<'a>(
        &'a self,
        program: &'a PointerProgram,
        what: TextRole,
    ) -> impl Iterator<Item = &'a str> {
        self.kept_as(program, what).map(|kept| kept.text.as_str())
    }

    /// The same, with what is known of them.
    pub(crate) fn kept_as<'a>(
        &'a self,
        program: &'a PointerProgram,
        what: TextRole,
    ) -> impl Iterator<Item = &'a KeptText> {
        let slot = |kept: &KeptText| program.keeps.get(usize::from(kept.slot));
        let wanted = |kept: &&KeptText| {
            !kept.text.is_empty()
                && kept.awaits.is_none()
                && slot(kept).is_some_and(|slot| slot.what == what)
        };
        let mut found: Vec<_> = self.kept.iter().filter(wanted).collect();
        found.sort_by_key(|kept| slot(kept).map(|slot| slot.rank));
        found.into_iter()
    }

    /// The document broke off: incomplete values are dropped.
    pub(crate) const fn break_off(&mut self) {
        self.touched &= !self.fresh;
        self.fresh = 0;
    }

    /// A container ends; `depth` counts the open containers, including this one.
    #[inline]
    pub(crate) const fn close(&mut self, depth: usize) {
        if depth <= self.fresh_depth {
            self.fresh = 0;
        }
    }

    /// An element begins at `node`.
    pub(crate) fn begin_element(&mut self, node: &PointerNode) {
        for &filter in &node.filters {
            self.fits &= !(1 << filter);
            self.decided &= !(1 << filter);
        }
    }

    /// A value at `node` is complete; for a container, it begins.
    pub(crate) fn value(
        &mut self,
        program: &PointerProgram,
        node: &PointerNode,
        value: &ScalarValue<'_>,
    ) {
        for &action in &node.actions {
            match action {
                PointerAction::Number(slot) => self.number_at(program, slot, value),
                PointerAction::Count(slot) if value.kind == ScalarKind::Text => {
                    self.add(program, slot, i64::try_from(value.chars).unwrap_or(i64::MAX));
                }
                PointerAction::Test(test) => self.test(program, test, value),
                PointerAction::Keep(slot) => self.keep(program, slot, value),
                // Of a member that comes twice, either may be the one that is meant.
                PointerAction::Filter(_) if value.kind == ScalarKind::Null => {}
                PointerAction::Filter(filter) => {
                    let rule = program.filters.get(usize::from(filter));
                    let fits = rule.is_some_and(|rule| is_any(&rule.words, value) != rule.is_not);
                    self.fits |= u32::from(fits) << filter;
                    self.decided |= 1 << filter;
                }
                PointerAction::Data if value.kind == ScalarKind::Text => {
                    self.data_chars = self.data_chars.saturating_add(value.chars);
                }
                PointerAction::Count(_)
                | PointerAction::One(_)
                | PointerAction::Text
                | PointerAction::Whole
                | PointerAction::Data => {}
            }
        }
    }

    /// A container at `node` ends, after `elements` elements.
    pub(crate) fn end_container(
        &mut self,
        program: &PointerProgram,
        node: &PointerNode,
        elements: u32,
    ) {
        for &action in &node.actions {
            match action {
                PointerAction::Count(slot) => self.add(program, slot, i64::from(elements)),
                PointerAction::One(slot) => self.add(program, slot, 1),
                _ => {}
            }
        }
        if !node.filters.is_empty() {
            self.end_element(program, node);
        }
    }

    /// Whether the element that ends fits.
    fn has_fit(&self, program: &PointerProgram, filter: u8) -> bool {
        let Some(rule) = program.filters.get(usize::from(filter)) else { return false };
        let may_lack = rule.is_not || rule.words.iter().any(String::is_empty);
        let is_fit = self.fits >> filter & 1 == 1 || may_lack && self.decided >> filter & 1 == 0;
        is_fit && rule.also.is_none_or(|also| self.has_fit(program, also))
    }

    /// Takes or drops the numbers and texts of the element.
    fn end_element(&mut self, program: &PointerProgram, node: &PointerNode) {
        for filter in &node.filters {
            let fits = self.has_fit(program, *filter);
            self.kept.retain_mut(|kept| {
                let awaits = kept.awaits.take_if(|awaits| awaits == filter).is_some();
                !awaits || fits
            });
        }
        let mut rest = self.pending_touched;
        while rest != 0 {
            let slot = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let filter = program.slots.get(slot).and_then(|slot| slot.filter);
            let Some(filter) = filter.filter(|filter| node.filters.contains(filter)) else {
                continue;
            };
            self.pending_touched &= !(1 << slot);
            let pending = self.pending.get(slot).copied().unwrap_or(0);
            if self.has_fit(program, filter) {
                sum_up(&mut self.numbers, &mut self.touched, slot, pending);
                self.freshen(slot);
            }
        }
    }

    fn number_at(&mut self, program: &PointerProgram, slot: u8, value: &ScalarValue<'_>) {
        let meter = program.slots.get(usize::from(slot)).map(|slot| slot.meter);
        let said = match value.kind {
            ScalarKind::Null => return,
            // Some write a length with its unit.
            ScalarKind::Text if !value.cut && meter == Some(Meter::Seconds) => {
                count::read(value.text.strip_suffix(b"s").unwrap_or(value.text))
            }
            ScalarKind::Number | ScalarKind::Text if !value.cut => count::read(value.text),
            _ => None,
        };
        let tokens = meter.is_some_and(Meter::is_tokens);
        match said {
            // A begun second is one; a begun token is a mistake.
            Some(said) if !(said.fraction && tokens) => {
                self.add(program, slot, said.whole + i64::from(said.fraction));
            }
            // An empty text is what some write for nothing; nothing is billed by a total alone.
            _ if value.kind == ScalarKind::Text && value.text.is_empty() => {}
            _ if meter == Some(Meter::Total) => {}
            _ => {
                let text = String::from_utf8_lossy(value.text);
                let text = text.chars().take(MAX_FAULT_CHARS).collect();
                if let Some(meter) = meter {
                    self.spoil(meter);
                }
                if self.bad.iter().all(|bad| bad.slot != slot) {
                    self.bad.push(BadCount { slot, text });
                }
            }
        }
    }

    /// Notes the sum that a count of `meter` spoils, which can't be one.
    pub(crate) fn spoil(&mut self, meter: Meter) {
        let sum = spoiled_sum(meter);
        self.bad_input |= sum == Some(Meter::Input);
        self.bad_output |= sum == Some(Meter::Output);
    }

    /// Counts that can't be one.
    pub(crate) fn bad_counts<'a>(
        &'a self,
        program: &'a PointerProgram,
    ) -> impl Iterator<Item = (Meter, &'a str)> {
        self.bad.iter().filter_map(|bad| {
            let slot = program.slots.get(usize::from(bad.slot))?;
            Some((slot.meter, bad.text.as_str()))
        })
    }

    /// The count among them that is told: one that spoils a sum before any other.
    pub(crate) fn worst_count<'a>(
        &'a self,
        program: &'a PointerProgram,
    ) -> Option<(Meter, &'a str)> {
        let counts = || self.bad_counts(program);
        let spoils = |count: &(Meter, &str)| spoiled_sum(count.0).is_some();
        counts().find(spoils).or_else(|| counts().next())
    }

    const fn freshen(&mut self, slot: usize) {
        let is_first = self.fresh == 0;
        if is_first || self.depth < self.fresh_depth {
            self.fresh_depth = self.depth;
        }
        self.fresh |= 1 << slot;
    }

    fn add(&mut self, program: &PointerProgram, slot: u8, count: i64) {
        let at = usize::from(slot);
        let Some(slot) = program.slots.get(at) else { return };
        if slot.filter.is_none() {
            self.freshen(at);
        }
        if slot.filter.is_some() {
            sum_up(&mut self.pending, &mut self.pending_touched, at, count);
        } else if slot.adds {
            sum_up(&mut self.numbers, &mut self.touched, at, count);
        } else if let Some(number) = self.numbers.get_mut(at) {
            *number = count;
            self.touched |= 1 << at;
        }
    }

    fn test(&mut self, program: &PointerProgram, number: u8, value: &ScalarValue<'_>) {
        let Some(test) = program.tests.get(usize::from(number)) else { return };
        let holds = value.kind != ScalarKind::Null
            && match &test.asks {
                // What some write for no error.
                TestRule::Present => {
                    value.kind == ScalarKind::Container || !matches!(value.text, b"" | b"false")
                }
                TestRule::Text(words) => {
                    value.kind == ScalarKind::Text
                        && !value.text.is_empty()
                        && !is_any(words, value)
                }
                TestRule::Is(words) => is_any(words, value),
                TestRule::Not(words) => !is_any(words, value),
                TestRule::NotExactly(words) => !is_one(words, value, count::same_exactly),
                TestRule::Above(limit) => {
                    let text = std::str::from_utf8(value.text).unwrap_or_default();
                    value.kind == ScalarKind::Container || value.cut || !is_up_to(*limit, text)
                }
            };
        if holds {
            self.tests |= 1 << number;
        } else if !test.any {
            self.tests &= !(1 << number);
        }
    }

    fn keep(&mut self, program: &PointerProgram, slot: u8, value: &ScalarValue<'_>) {
        if matches!(value.kind, ScalarKind::Null | ScalarKind::Container) {
            return;
        }
        let before = self.kept.iter().filter(|kept| kept.slot == slot).count();
        if before == MAX_RESULTS {
            // What is beyond is not read, so the document must not count as read.
            self.unclear = true;
            return;
        }
        let text = String::from_utf8_lossy(value.text);
        let text = match value.cut {
            // Cut somewhere, perhaps within a character.
            true => text.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned(),
            false => text.into_owned(),
        };
        let kept_as = program.keeps.get(usize::from(slot));
        if before > 0 && kept_as.is_some_and(|slot| slot.same) {
            self.differs |= !self.kept.iter().any(|kept| kept.slot == slot && kept.text == text);
            return;
        }
        let awaits = kept_as.and_then(|slot| slot.filter);
        self.unclear |= before > 0 && !kept_as.is_some_and(|slot| slot.plural);
        let is_number = value.kind == ScalarKind::Number;
        self.kept.push(KeptText { slot, text, is_number, awaits });
    }
}

/// The sum that can't be known where this count isn't. Reasoning is counted within the output,
/// which stands.
fn spoiled_sum(meter: Meter) -> Option<Meter> {
    let head = Some(meter.head()).filter(|_| meter != Meter::Reasoning);
    head.filter(|head| matches!(head, Meter::Input | Meter::Output))
}

fn is_any(words: &[String], value: &ScalarValue<'_>) -> bool {
    is_one(words, value, count::same)
}

fn is_one(words: &[String], value: &ScalarValue<'_>, same: fn(&str, &[u8], bool) -> bool) -> bool {
    let comparable = !matches!(value.kind, ScalarKind::Container | ScalarKind::Null) && !value.cut;
    let is_number = value.kind == ScalarKind::Number;
    comparable && words.iter().any(|word| same(word, value.text, is_number))
}

fn sum_up(numbers: &mut [i64], touched: &mut u128, slot: usize, count: i64) {
    let Some(number) = numbers.get_mut(slot) else { return };
    let before = if *touched >> slot & 1 == 1 { *number } else { 0 };
    *number = before.saturating_add(count);
    *touched |= 1 << slot;
}
