//! A document as it is written in TOML, before it is validated.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// One protocol, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) title: ProtocolTitle,
    /// The protocol whose sections stand where this document has none of its own.
    pub(crate) base: Option<String>,
    /// Where its facts come from: a page of the vendor's, and when it was read.
    #[serde(default)]
    pub(crate) sources: Vec<String>,
    /// Protocols whose routes are spoken, too, with this one's address and keys.
    #[serde(default)]
    pub(crate) speaks: Vec<String>,
    pub(crate) auth: Option<AuthSection>,
    pub(crate) address: Option<AddressSection>,
    #[serde(rename = "route")]
    pub(crate) routes: Option<Vec<RouteSection>>,
    pub(crate) hold: Option<HoldSection>,
    pub(crate) stream: Option<StreamSection>,
    pub(crate) text: Option<TextSection>,
    pub(crate) outcome: Option<OutcomeSection>,
    pub(crate) usage: Option<UsageSection>,
    pub(crate) errors: Option<ErrorsSection>,
    pub(crate) defaults: Option<DefaultsSection>,
    pub(crate) resources: Option<ResourcesSection>,
    pub(crate) task: Option<TaskSection>,
    /// Tasks of other kinds, by the names that routes have for them.
    pub(crate) tasks: Option<BTreeMap<String, TaskSection>>,
    /// What no request may say that costs something.
    pub(crate) refuse: Option<Vec<RefusalSection>>,
}

/// What a protocol is called in front of people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolTitle {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthSection {
    pub(crate) header: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) query: Option<String>,
    /// Sent where the client sent none.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressSection {
    /// The base URL may have a path.
    #[serde(default)]
    pub(crate) path: bool,
    /// Cut from a route's path where the base URL ends in it.
    #[serde(default)]
    pub(crate) prefix: TextList,
    /// Hosts whose paths have none of these.
    #[serde(default)]
    pub(crate) unversioned: TextList,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    #[serde(rename = "match")]
    pub(crate) matches: TextList,
    #[serde(default)]
    pub(crate) model: TextList,
    #[serde(default)]
    pub(crate) reply: TextList,
    pub(crate) price: Option<PriceWord>,
    pub(crate) empty: Option<TextList>,
    /// In place of `text.output`.
    pub(crate) text: Option<TextList>,
    /// In place of `text.whole`.
    pub(crate) whole: Option<TextList>,
    #[serde(default)]
    pub(crate) meters: BTreeMap<String, MeterSources>,
    #[serde(default)]
    pub(crate) makes: TextList,
    #[serde(default)]
    pub(crate) uses: TextList,
    pub(crate) list: Option<ListWord>,
    pub(crate) task: Option<TaskWord>,
    /// Which of `[tasks.NAME]` its tasks are; without it, `[task]`.
    pub(crate) tasks: Option<String>,
    /// What stands before the model's name in a body, and stays there.
    pub(crate) model_prefix: Option<String>,
    /// What the name of the model that a call is priced as has behind that of its body.
    pub(crate) model_suffix: Option<String>,
    /// The parameter of the query that names the model is the upstream's, too.
    #[serde(default)]
    pub(crate) model_stays: bool,
    /// In place of `hold.units`.
    pub(crate) units: Option<BTreeMap<String, TextList>>,
    /// What a request may not say.
    #[serde(default)]
    pub(crate) refuse: Vec<RefusalSection>,
    /// The path of the list that shows what it makes, if that is not its own.
    pub(crate) collection: Option<String>,
    /// Members at the top of its reply that are addresses at the upstream: their path is shown.
    #[serde(default)]
    pub(crate) links: TextList,
    /// Its reply names an address at which the client continues.
    pub(crate) session: Option<SessionSection>,
    /// A call of it is never made twice: `always`, or where the body says so.
    #[serde(default)]
    pub(crate) once: TextList,
    /// A reply of it reports usage only where the request asks for it.
    #[serde(default)]
    pub(crate) ask_usage: AskUsage,
    #[serde(default)]
    pub(crate) probe: ProbeSection,
    /// Headers of its calls, whatever the client sends; without a value, those that it has not.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Which replies report usage only where their requests ask for it.
#[derive(Clone, Debug, Default)]
pub(crate) enum AskUsage {
    /// None of them.
    #[default]
    Never,
    /// `true`: streams, as described by `[stream]`.
    Streams,
    /// A pointer: all of them, and by this member.
    All(String),
}

impl<'de> Deserialize<'de> for AskUsage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = AskUsage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or the pointer of a member of the request")
            }

            fn visit_bool<E: serde::de::Error>(self, streams: bool) -> Result<AskUsage, E> {
                Ok(if streams { AskUsage::Streams } else { AskUsage::Never })
            }

            fn visit_str<E: serde::de::Error>(self, pointer: &str) -> Result<AskUsage, E> {
                Ok(AskUsage::All(pointer.to_owned()))
            }
        }
        from.deserialize_any(Read)
    }
}

/// Whether a route is the call that tries a channel: `true`, or what is sent and expected.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeSection {
    pub(crate) wanted: bool,
    /// In which `{model}` stands for the model.
    pub(crate) body: Option<String>,
    /// Statuses with which a test is in order, besides those of success.
    pub(crate) ok: Vec<u16>,
}

impl<'de> Deserialize<'de> for ProbeSection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            body: Option<String>,
            #[serde(default)]
            ok: Vec<u16>,
        }
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = ProbeSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or { body = \"…\", ok = [404] }")
            }

            fn visit_bool<E: serde::de::Error>(self, wanted: bool) -> Result<ProbeSection, E> {
                Ok(ProbeSection { wanted, ..ProbeSection::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProbeSection, A::Error> {
                let Table { body, ok } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ProbeSection { wanted: true, body, ok })
            }
        }
        from.deserialize_any(Read)
    }
}

/// What a call of a route costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceWord {
    /// What its model costs.
    #[default]
    Model,
    /// What its model costs, which must be by use: one price would be that of any number of things.
    Use,
    /// What its model costs, which must be per call: nothing says what is used.
    Call,
    /// Nothing, even where the model has a price.
    Free,
}

/// What is done with a route that would list what other customers made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListWord {
    /// Answered from our own record of resources.
    Own,
    /// Refused, with the reason.
    Refuse,
}

/// What a route is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskWord {
    /// It makes one.
    Submit,
    /// It asks about one.
    Ask,
    /// It fetches a file of the result.
    Fetch,
    /// It cancels one.
    Cancel,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldSection {
    /// Text of the request that is counted, with all that stands below.
    #[serde(default)]
    pub(crate) input: TextList,
    /// How many tokens the client allows for the reply.
    #[serde(default)]
    pub(crate) output: TextList,
    /// How many replies it asks for.
    #[serde(default)]
    pub(crate) times: TextList,
    /// What of the request is counted in units.
    #[serde(default)]
    pub(crate) units: BTreeMap<String, TextList>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamSection {
    /// The member of a request that asks for a stream.
    pub(crate) when: String,
    /// The member that asks for usage, which is added as `true` where the client left it out.
    pub(crate) ask: String,
    /// The event that comes only then, and that is not passed on: this array of it is empty.
    pub(crate) extra: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextSection {
    /// Text of a reply that was made by the model.
    #[serde(default)]
    pub(crate) output: TextList,
    /// All of that text at once, as a stream's last event may have it: the larger count is taken.
    #[serde(default)]
    pub(crate) whole: TextList,
    /// The same, with all text below and the names of members: arguments that are an object.
    #[serde(default)]
    pub(crate) below: TextList,
    /// Pictures, sound and sealed thoughts that were made, in base64.
    #[serde(default)]
    pub(crate) data: TextList,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutcomeSection {
    #[serde(default)]
    pub(crate) failed: Vec<ConditionSection>,
    /// Meters that are all zero in a reply that delivered nothing.
    #[serde(default)]
    pub(crate) empty: TextList,
    #[serde(default)]
    pub(crate) refused: StatusList,
    #[serde(default)]
    pub(crate) retry: StatusList,
    #[serde(default)]
    pub(crate) account: Vec<ConditionSection>,
    #[serde(default)]
    pub(crate) estimate: Vec<ConditionSection>,
    /// Nothing was made, and what the reply names is where its caller goes on.
    #[serde(default)]
    pub(crate) continues: Vec<ConditionSection>,
    #[serde(default)]
    pub(crate) message: TextList,
}

/// An address at the upstream at which a call continues, without a key: who knows it may.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionSection {
    /// Headers of the reply that are such addresses.
    pub(crate) headers: TextList,
    /// The parameter of them that is the id.
    pub(crate) query: String,
    /// Headers of the reply that say the id, too, and are not passed on.
    #[serde(default)]
    pub(crate) hide: TextList,
}

/// What a request may not say, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefusalSection {
    #[serde(default)]
    pub(crate) at: TextList,
    /// A parameter; with a `*` at its end, each that begins so, but for `except`.
    pub(crate) query: Option<String>,
    #[serde(default)]
    pub(crate) except: TextList,
    pub(crate) header: Option<String>,
    /// Calls that cost nothing may not say it either.
    #[serde(default)]
    pub(crate) free: bool,
    /// Nothing but these is refused.
    pub(crate) is: Option<CompareWords>,
    pub(crate) not: Option<CompareWords>,
    /// A whole number up to this, or so many seconds as `60s`, is allowed, and nothing else.
    pub(crate) above: Option<i64>,
    /// Only where this unit has a price, which a reply to such a request does not count.
    pub(crate) priced: Option<String>,
    pub(crate) why: ProtocolTitle,
}

/// All that is named must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConditionSection {
    #[serde(default)]
    pub(crate) at: TextList,
    pub(crate) is: Option<CompareWords>,
    pub(crate) not: Option<CompareWords>,
    /// Only a text, and no object or list.
    #[serde(default)]
    pub(crate) text: bool,
    /// Nothing is there, in a reply that is one whole JSON document.
    #[serde(default)]
    pub(crate) missing: bool,
    #[serde(default)]
    pub(crate) status: StatusList,
    #[serde(default)]
    pub(crate) event: TextList,
    /// Only in a stream, or only outside of one.
    pub(crate) stream: Option<bool>,
}

/// How several reports of a meter become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The largest: what is missing or 0 later erases nothing.
    #[default]
    Max,
    /// The last.
    Last,
    /// All added up.
    Sum,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageSection {
    #[serde(default)]
    pub(crate) merge: Merge,
    /// The objects that relative pointers of meters begin at.
    #[serde(default)]
    pub(crate) at: TextList,
    #[serde(default)]
    pub(crate) meters: BTreeMap<String, MeterSources>,
    /// Meters that are a part of another.
    #[serde(default)]
    pub(crate) inside: BTreeMap<String, String>,
    pub(crate) total: Option<TotalSection>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotalSection {
    /// The meter of a total that comes without any other count.
    pub(crate) alone: Option<String>,
    /// The meter of what a total has above the sum of the others.
    pub(crate) above: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorsSection {
    pub(crate) shape: crate::ErrorShape,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefaultsSection {
    pub(crate) first_byte_s: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourcesSection {
    #[serde(default = "resource_days")]
    pub(crate) lifetime_days: u32,
    /// Hosts whose addresses are ids.
    #[serde(default)]
    pub(crate) hosts: TextList,
    /// Fronts of their paths: what follows, up to a colon, is the id.
    #[serde(default)]
    pub(crate) below: TextList,
    /// Ids are given again once what had them is gone.
    #[serde(default)]
    pub(crate) reused: bool,
}

const fn resource_days() -> u32 {
    crate::compile::RESOURCE_DAYS
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskSection {
    pub(crate) id: TextList,
    pub(crate) status: TextList,
    #[serde(default)]
    pub(crate) progress: TextList,
    #[serde(default)]
    pub(crate) result: TextList,
    #[serde(default)]
    pub(crate) error: TextList,
    /// Where a value is present, the task has failed, even if its status is that it is done.
    #[serde(default)]
    pub(crate) fails: TextList,
    pub(crate) words: TaskWords,
    pub(crate) ask: AskSection,
    pub(crate) fetch: Option<String>,
    pub(crate) cancel: Option<String>,
    /// Statuses of a question about a cancelled task by which it is gone.
    #[serde(default)]
    pub(crate) gone: StatusList,
    /// Where a completed task's use is counted, which its report does not say.
    pub(crate) count: Option<CountSection>,
    /// How long one may take, where that is longer than tasks usually do.
    pub(crate) lifetime_h: Option<u32>,
}

/// Lines that count a completed task's use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountSection {
    pub(crate) request: String,
    /// The objects in each line that relative pointers of meters begin at.
    pub(crate) at: TextList,
}

/// A vendor's own words for where a task stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskWords {
    /// Taken, and waiting.
    #[serde(default)]
    pub submitted: Vec<String>,
    /// In work.
    #[serde(default)]
    pub processing: Vec<String>,
    /// Done.
    pub completed: Vec<String>,
    /// Ended without a result.
    pub failed: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskSection {
    /// Method and path, in which `{id}` stands for the task's id.
    pub(crate) request: String,
    /// In which `{ids}` stands for the JSON array of ids.
    pub(crate) body: Option<String>,
    /// How many tasks one poll may name.
    pub(crate) batch: Option<u16>,
    /// Where the tasks are in the reply, if it may contain several.
    pub(crate) each: Option<String>,
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextList(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for TextList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = TextList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TextList, E> {
                Ok(TextList(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextList, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(TextList(texts))
            }
        }
        from.deserialize_any(Read)
    }
}

/// One status, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatusList(pub(crate) Vec<u16>);

impl<'de> Deserialize<'de> for StatusList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = StatusList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status or a list of them")
            }

            fn visit_i64<E: serde::de::Error>(self, status: i64) -> Result<StatusList, E> {
                // What is none is refused with those of a list.
                Ok(StatusList(vec![u16::try_from(status).unwrap_or(0)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StatusList, A::Error> {
                let mut statuses = Vec::new();
                while let Some(status) = seq.next_element()? {
                    statuses.push(status);
                }
                Ok(StatusList(statuses))
            }
        }
        from.deserialize_any(Read)
    }
}

/// Where a meter's count stands.
#[derive(Clone, Debug)]
pub(crate) struct SourceSection {
    pub(crate) at: String,
    /// Counted beside the meter that it is otherwise a part of.
    pub(crate) beside: bool,
    /// Added to what another source says, which does not have it.
    pub(crate) plus: bool,
}

impl SourceSection {
    fn plain(at: &str) -> Self {
        Self { at: at.to_owned(), beside: false, plus: false }
    }
}

impl<'de> Deserialize<'de> for SourceSection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = SourceSection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pointer, or { at = \"a pointer\", beside = true, plus = true }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SourceSection, E> {
                Ok(SourceSection::plain(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SourceSection, A::Error> {
                let (mut at, mut beside, mut plus) = (None, false, false);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "at" => at = Some(map.next_value()?),
                        "beside" => beside = map.next_value()?,
                        "plus" => plus = map.next_value()?,
                        other => {
                            return Err(A::Error::unknown_field(other, &["at", "beside", "plus"]));
                        }
                    }
                }
                let at = at.ok_or_else(|| A::Error::missing_field("at"))?;
                Ok(SourceSection { at, beside, plus })
            }
        }
        from.deserialize_any(Read)
    }
}

/// One source, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MeterSources(pub(crate) Vec<SourceSection>);

impl<'de> Deserialize<'de> for MeterSources {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = MeterSources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pointer, { at = \"a pointer\", beside = true }, or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MeterSources, E> {
                Ok(MeterSources(vec![SourceSection::plain(text)]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MeterSources, A::Error> {
                let one = SourceSection::deserialize(MapAccessDeserializer::new(map))?;
                Ok(MeterSources(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<MeterSources, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(MeterSources)
            }
        }
        from.deserialize_any(Read)
    }
}

/// Words that a value is compared with; numbers are compared as numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompareWords(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for CompareWords {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = match toml::Value::deserialize(from)? {
            toml::Value::Array(words) => words,
            one => vec![one],
        };
        let word = |value: toml::Value| match value {
            toml::Value::String(text) => Ok(text),
            toml::Value::Integer(number) => Ok(number.to_string()),
            toml::Value::Boolean(truth) => Ok(truth.to_string()),
            _ => Err(D::Error::custom("a word is a text, an integer, true or false")),
        };
        words.into_iter().map(word).collect::<Result<_, _>>().map(CompareWords)
    }
}
