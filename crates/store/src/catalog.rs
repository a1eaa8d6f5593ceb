//! The current channels and prices, in memory.

use crate::channel_fields::{self as fields, ChannelSetting, Precharge};
use crate::patterns::{self, Patterns};
use crate::seal::SealError;
use crate::sealed_proxy::{open_proxy, seal_proxy};
use crate::{CHANNEL_KEY, ChannelProtocol, Db, Row, Sealer, Secret, StoreError, Value, protocols};
use domain::{ChannelId, PriceRow, Pricing, Ratio, Schedule, StatusWords, UserId};
use foldhash::HashMap;
use protocol::{Library, SpokenProtocols};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use tracing::warn;

const ENABLED: u8 = 1;
/// The group whose channels serve every group that has none of its own for a model.
pub const DEFAULT_GROUP: &str = "default";
/// Protocols whose paths are understood also while no channel speaks them: upstreams of CustomPass
/// do.
pub const ALWAYS_SPOKEN: [&str; 3] = ["custompass", "azure", "cohere"];

/// A channel: one account at an upstream.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its number.
    pub id: ChannelId,
    /// Its name.
    pub name: String,
    /// Scheme and host, as stored.
    pub base_url: String,
    /// The account's key.
    pub key: Secret,
    /// Models it serves.
    pub models: Vec<String>,
    /// Groups it serves.
    pub groups: Vec<String>,
    /// Higher is tried first.
    pub priority: i64,
    /// Share among channels of the same priority.
    pub weight: u32,
    /// Whether it may be paused when it keeps failing.
    pub auto_ban: bool,
    /// 1 enabled, 2 disabled, 3 disabled automatically.
    pub status: u8,
    /// The protocol that the upstream speaks.
    pub protocol: ChannelProtocol,
    /// Header that carries the caller's key.
    pub user_token_header: Option<String>,
    /// The administrator below root who decided where it sends keys; `None`: root, or the operator.
    pub placed_by: Option<UserId>,
    /// Requested model → model sent.
    pub model_mapping: HashMap<String, String>,
    /// Members set in JSON bodies: name and value, the value's text exactly as stored.
    pub param_override: Vec<(String, String)>,
    /// Upstream's status → status for the client.
    pub status_code_mapping: HashMap<u16, u16>,
    /// The channel's own status words for tasks.
    pub status_words: Option<StatusWords>,
    /// Timeouts, retries, proxy, estimates, concurrency.
    pub setting: ChannelSetting,
}

impl Channel {
    /// Whether it may be called.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.status == ENABLED
    }

    /// Whether it serves a model, by name or by a pattern.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        patterns::lists(&self.models, model)
    }

    /// The first model that it has by name.
    #[must_use]
    pub fn first_model(&self) -> Option<&String> {
        self.models.iter().find(|model| !patterns::is_pattern(model))
    }

    /// Whether callers of `group` may call it: as one of theirs, or as one for all groups.
    #[must_use]
    pub fn is_offered_to(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group || own == DEFAULT_GROUP)
    }
}

/// A row that can't be used, and why. It is left out; other rows are not affected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The table.
    pub table: &'static str,
    /// Which row: its id or name.
    pub row: String,
    /// Why. Never holds a secret.
    pub why: String,
}

/// A price that is set, but can't be parsed. That doesn't make the model free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the price of {model} can't be read: {why}")]
pub struct BadRow {
    /// The model.
    pub model: String,
    /// What is wrong.
    pub why: String,
}

/// What the enabled channels of a group serve.
#[derive(Debug, Default)]
struct Offers {
    named: HashMap<String, Vec<Arc<Channel>>>,
    by_pattern: Patterns<Vec<Arc<Channel>>>,
}

impl Offers {
    /// The channels that name the model, else those of the longest pattern that it fits.
    fn of(&self, model: &str) -> Option<&Vec<Arc<Channel>>> {
        self.named.get(model).or_else(|| self.by_pattern.find(model))
    }
}

/// Everything that requests are routed and priced by. Immutable; a reload replaces it.
#[derive(Debug, Default)]
pub struct Catalog {
    channels: Vec<Arc<Channel>>,
    by_id: HashMap<ChannelId, Arc<Channel>>,
    by_group: HashMap<String, Offers>,
    /// Groups whose ratio can't be read. They can't be priced, so nothing serves them.
    unpriced_groups: HashSet<String>,
    /// Names, and apart from them patterns.
    models: HashSet<String>,
    model_patterns: HashSet<String>,
    prices: HashMap<String, Result<PriceRow, BadRow>>,
    price_patterns: Patterns<Result<PriceRow, BadRow>>,
    group_ratios: HashMap<String, Ratio>,
    protocols: Library,
    /// Those by which paths are read.
    spoken: SpokenProtocols,
    problems: Vec<Problem>,
}

impl Catalog {
    /// Loads everything. Plain-text keys and proxies of channels are sealed in passing.
    ///
    /// # Errors
    /// When the database can't be read. A bad row is no error, but a [`Problem`].
    pub async fn load(db: &Db, sealer: &Sealer) -> Result<Self, StoreError> {
        let select = format!("{SELECT_CHANNELS} ORDER BY id");
        let channels = db.read_first(&select, &[]).await?;
        let prices = db.read_first(SELECT_PRICES, &[]).await?;
        let groups = db.read_first("SELECT group_name, ratio FROM group_ratio", &[]).await?;
        let (protocols, problems) = protocols::load(db).await?;
        let mut catalog = Self { protocols, problems, ..Self::default() };
        let mut readable = Vec::new();
        for row in &channels {
            catalog.take_channel(row, sealer, &mut readable);
        }
        let mut by_pattern = Vec::new();
        for row in &prices {
            catalog.take_price(row, &mut by_pattern)?;
        }
        catalog.price_patterns = Patterns::new(by_pattern);
        for row in &groups {
            catalog.take_group(row)?;
        }
        catalog.index();
        for readable in readable {
            readable.seal(db).await;
        }
        Ok(catalog)
    }

    /// The enabled channels that serve a model for a group, highest priority first. A model that no
    /// channel serves for the group itself is served by the channels of the group `default`: a
    /// group sets a price, and restricts models only where channels are assigned to it.
    #[must_use]
    pub fn candidates(&self, group: &str, model: &str) -> &[Arc<Channel>] {
        self.groups_for(group).find_map(|offers| offers.of(model)).map_or(&[], Vec::as_slice)
    }

    /// Whether any channel, enabled or not, names this model, or has a pattern that it fits.
    #[must_use]
    pub fn model_exists(&self, model: &str) -> bool {
        let fits = |pattern: &String| patterns::matches(pattern, model);
        self.models.contains(model) || self.model_patterns.iter().any(fits)
    }

    /// The models that `group` can call now and that are known by name.
    #[must_use]
    pub fn models_of(&self, group: &str) -> Vec<&str> {
        let models = self.groups_for(group).flat_map(|offers| offers.named.keys());
        models.map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn groups_for(&self, group: &str) -> impl Iterator<Item = &Offers> {
        let groups = if self.unpriced_groups.contains(group) {
            [None, None]
        } else {
            [group, DEFAULT_GROUP].map(|group| self.by_group.get(group))
        };
        groups.into_iter().flatten()
    }

    /// The price of a model, else that of the longest pattern that it fits; `None`: it is free.
    ///
    /// # Errors
    /// When there is a price that can't be parsed. Such a model must be refused.
    pub fn price(&self, model: &str) -> Result<Option<&PriceRow>, BadRow> {
        let price = self.prices.get(model).or_else(|| self.price_patterns.find(model));
        price.map(Result::as_ref).transpose().map_err(Clone::clone)
    }

    /// The groups that have a ratio, or that a channel names, and the one that all fall back to.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&str> {
        let named = self.channels.iter().flat_map(|channel| &channel.groups);
        let all = named.chain(self.group_ratios.keys()).chain(&self.unpriced_groups);
        all.map(String::as_str).chain([DEFAULT_GROUP]).collect()
    }

    /// The ratio set for a group.
    #[must_use]
    pub fn group_ratio(&self, group: &str) -> Option<Ratio> {
        self.group_ratios.get(group).copied()
    }

    /// The protocols that channels may name.
    #[must_use]
    pub const fn protocols(&self) -> &Library {
        &self.protocols
    }

    /// The protocols by which paths are read: a few that always are, and those that enabled
    /// channels speak, by name.
    #[must_use]
    pub const fn spoken_protocols(&self) -> &SpokenProtocols {
        &self.spoken
    }

    /// A channel that can be used, enabled or not.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<&Arc<Channel>> {
        self.by_id.get(&id)
    }

    /// All channels that can be used, enabled or not.
    #[must_use]
    pub fn channels(&self) -> &[Arc<Channel>] {
        &self.channels
    }

    /// Rows that can't be used.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn problem(&mut self, table: &'static str, row: impl Display, why: impl Display) {
        self.problems.push(Problem { table, row: row.to_string(), why: why.to_string() });
    }

    fn take_channel(&mut self, row: &Row, sealer: &Sealer, readable: &mut Vec<Readable>) {
        let id: ChannelId = match row.get("id") {
            Ok(id) => id,
            Err(error) => return self.problem("channels", "?", error),
        };
        match read_channel(id, row, sealer, &self.protocols) {
            Ok((channel, warnings)) => {
                for why in warnings {
                    self.problem("channels", id, why);
                }
                readable.extend(Readable::key(id, row, sealer));
                readable.extend(Readable::proxy(id, row, sealer));
                self.channels.push(Arc::new(channel));
            }
            Err(why) => self.problem("channels", id, why),
        }
    }

    fn take_price(
        &mut self,
        row: &Row,
        by_pattern: &mut Vec<(String, Result<PriceRow, BadRow>)>,
    ) -> Result<(), StoreError> {
        let model: String = row.get("model_name")?;
        let price = read_price(row).map_err(|error| error.to_string());
        if let Err(why) = &price {
            self.problem("abilities", &model, why);
        }
        let price = price.map_err(|why| BadRow { model: model.clone(), why });
        if patterns::is_pattern(&model) {
            if !patterns::can_match(&model) {
                self.problem("abilities", &model, "no model can fit this pattern");
            }
            by_pattern.push((model, price));
        } else {
            self.prices.insert(model, price);
        }
        Ok(())
    }

    fn take_group(&mut self, row: &Row) -> Result<(), StoreError> {
        let group: String = row.get("group_name")?;
        match row.get("ratio") {
            Ok(ratio) => {
                self.group_ratios.insert(group, ratio);
            }
            Err(error) => {
                self.problem("group_ratio", &group, error);
                self.unpriced_groups.insert(group);
            }
        }
        Ok(())
    }

    fn index(&mut self) {
        self.channels.sort_by_key(|channel| (std::cmp::Reverse(channel.priority), channel.id));
        self.spoken = spoken(&self.channels, &self.protocols);
        for channel in &self.channels {
            self.by_id.insert(channel.id, Arc::clone(channel));
            let (patterns, names): (Vec<_>, Vec<_>) =
                channel.models.iter().cloned().partition(|it| patterns::is_pattern(it));
            self.models.extend(names);
            self.model_patterns.extend(patterns);
            if channel.status != ENABLED {
                continue;
            }
            for group in &channel.groups {
                let offers = self.by_group.entry(group.clone()).or_default();
                for model in &channel.models {
                    let channels = offers.named.entry(model.clone()).or_default();
                    channels.push(Arc::clone(channel));
                }
            }
        }
        for offers in self.by_group.values_mut() {
            let by_pattern = offers.named.extract_if(|name, _| patterns::is_pattern(name));
            offers.by_pattern = Patterns::new(by_pattern.collect());
        }
    }
}

/// The protocols by which paths are read. What CustomPass speaks under `/v1` comes first.
fn spoken(channels: &[Arc<Channel>], library: &Library) -> SpokenProtocols {
    let always = ALWAYS_SPOKEN.iter().filter_map(|name| library.get(name));
    let enabled = channels.iter().filter(|channel| channel.status == ENABLED);
    let others = enabled.filter_map(|channel| channel.protocol.found.as_ref());
    let others = others.filter(|it| !ALWAYS_SPOKEN.contains(&&*it.name));
    let others: BTreeMap<_, _> = others.map(|it| (&it.name, it)).collect();
    SpokenProtocols::new(always.chain(others.into_values()).cloned().collect())
}

const SELECT_CHANNELS: &str = "SELECT id, name, base_url, key, models, groups, priority, weight,
    auto_ban, status, other, model_mapping, param_override, status_code_mapping,
    custompass_status_mapping, setting, protocol, placed_by FROM channels";

const SELECT_PRICES: &str = "SELECT model_name, ratio, fixed_quota, completion_ratio, cache_ratio,
    image_ratio, audio_ratio, min_hold, max_charge, meters, units, tiers FROM abilities";

/// A channel as its row is now, enabled or not, or why it can't be used; none without a row.
///
/// # Errors
/// When the database can't be read.
pub async fn channel_now(
    db: &Db,
    sealer: &Sealer,
    id: ChannelId,
) -> Result<Option<Result<Channel, Problem>>, StoreError> {
    let rows = db.read(&format!("{SELECT_CHANNELS} WHERE id = $1"), &[Value::from(id)]).await?;
    let (library, _) = protocols::load(db).await?;
    Ok(rows.first().map(|row| match read_channel(id, row, sealer, &library) {
        Ok((channel, _)) => Ok(channel),
        Err(why) => Err(Problem { table: "channels", row: id.to_string(), why: why.to_string() }),
    }))
}

/// A channel, and warnings about it that don't stop it.
fn read_channel(
    id: ChannelId,
    row: &Row,
    sealer: &Sealer,
    library: &Library,
) -> Result<(Channel, Vec<String>), Box<dyn std::error::Error>> {
    let text = |column: &str| row.get::<String>(column);
    let stored = text("key")?;
    let key = if Sealer::is_sealed(&stored) {
        sealer.open_text(CHANNEL_KEY, &stored).map_err(|error| format!("key {error}"))?
    } else {
        fields::key(&stored)?
    };
    let mut warnings = Vec::new();
    let mut models = fields::list(&text("models")?);
    models.retain(|model| match fields::models(model) {
        Ok(_) => true,
        Err(error) => {
            warnings.push(error.to_string());
            false
        }
    });
    let setting = open_proxy(sealer, &text("setting")?);
    let setting = setting.map_err(|error| format!("setting.proxy {error}"))?;
    let protocol = text("protocol")?;
    let precharge = match protocol.as_str() {
        "custompass" => Precharge::default(),
        _ => Precharge::Off,
    };
    let protocol = ChannelProtocol::named(protocol, library);
    if protocol.found.is_none() {
        warnings.push(format!("there is no protocol {}", protocol.name));
    }
    let (setting, unknown) = fields::setting(&setting, precharge)?;
    warnings.extend(unknown.into_iter().map(|name| format!("setting.{name} means nothing")));
    let channel = Channel {
        id,
        name: text("name")?,
        base_url: text("base_url")?,
        key,
        models,
        groups: fields::list(&text("groups")?),
        priority: row.get("priority")?,
        weight: row.get("weight")?,
        auto_ban: row.get("auto_ban")?,
        status: row.get("status")?,
        protocol,
        user_token_header: fields::user_token_header(&text("other")?)?,
        placed_by: row.get("placed_by")?,
        model_mapping: fields::model_mapping(&text("model_mapping")?)?,
        param_override: fields::param_override(&text("param_override")?)?,
        status_code_mapping: fields::status_code_mapping(&text("status_code_mapping")?)?,
        status_words: fields::status_words(&text("custompass_status_mapping")?)?,
        setting,
    };
    Ok((channel, warnings))
}

fn read_price(row: &Row) -> Result<PriceRow, Box<dyn std::error::Error>> {
    let text = |column: &str| row.get::<String>(column);
    let schedule = Schedule::parse(&text("meters")?, &text("units")?, &text("tiers")?)?;
    let price = PriceRow {
        fixed_quota: row.get("fixed_quota")?,
        ratio: row.get("ratio")?,
        completion_ratio: row.get("completion_ratio")?,
        cache_ratio: row.get("cache_ratio")?,
        image_ratio: row.get("image_ratio")?,
        audio_ratio: row.get("audio_ratio")?,
        min_hold: row.get("min_hold")?,
        max_charge: row.get("max_charge")?,
        schedule: schedule.map(Arc::new),
    };
    if price.schedule.is_some() || price.max_charge.is_some() {
        // Whatever group and user: what doesn't fit its columns is no price.
        Pricing::freeze(Some(&price), Ratio::ONE, Ratio::ONE)?;
    }
    Ok(price)
}

/// A secret of a channel that was written in plain text.
struct Readable {
    id: ChannelId,
    column: &'static str,
    stored: Value,
    sealed: Result<Value, SealError>,
}

impl Readable {
    fn key(id: ChannelId, row: &Row, sealer: &Sealer) -> Option<Self> {
        let stored: String = row.get("key").ok()?;
        if stored.is_empty() || Sealer::is_sealed(&stored) {
            return None;
        }
        let sealed = sealer.seal(CHANNEL_KEY, stored.trim().as_bytes()).map(Value::Text);
        Some(Self { id, column: "key", stored: Value::Text(stored), sealed })
    }

    fn proxy(id: ChannelId, row: &Row, sealer: &Sealer) -> Option<Self> {
        let stored: String = row.get("setting").ok()?;
        let sealed = seal_proxy(sealer, &stored).transpose()?.map(Value::Json);
        Some(Self { id, column: "setting", stored: Value::Json(stored), sealed })
    }

    /// Seals it. A concurrent change of the column wins.
    async fn seal(self, db: &Db) {
        let Self { id, column, stored, sealed } = self;
        let event = "key_stays_readable";
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                return warn!(target: "custompass", event, channel_id = id.0, column, %error);
            }
        };
        let sql = format!("UPDATE channels SET {column} = $1 WHERE id = $2 AND {column} = $3");
        if let Err(error) = db.execute(&sql, &[sealed, Value::from(id), stored]).await {
            warn!(target: "custompass", event, channel_id = id.0, column, %error);
        }
    }
}
