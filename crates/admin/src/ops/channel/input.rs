//! Input for channels, and its rules.

use super::mapping;
use super::setting::{self, SettingInput};
use crate::fields::Fields;
use crate::{AdminError, words};
use domain::ModelName;
use protocol::{Library, Protocol};
use store::{Secret, channel_fields};
use upstream::{AddressError, BaseUrl};

/// The one type of channel there is.
pub const TYPE_CUSTOM_PASS: i64 = 52;
/// Fields that responses show, or that scripts for similar servers send; ignored in requests.
const IGNORED: &[&str] = &[
    "id",
    "address_refused",
    "has_key",
    "used_quota",
    "used_today",
    "placed_by",
    "created_at",
    "updated_at",
    "last_test",
    "live",
    "created_time",
    "test_time",
    "response_time",
    "test_model",
    "balance",
    "balance_updated_time",
    "other_info",
    "channel_info",
];
/// Fields of similar servers that would mean something, were they not empty.
const IGNORED_IF_EMPTY: &[&str] =
    &["openai_organization", "header_override", "settings", "max_input_tokens", "multi_key_mode"];
const MAX_NAME_CHARS: usize = 100;
const MAX_TAG_CHARS: usize = 64;
const MAX_REMARK_CHARS: usize = 500;
const MAX_KEY_BYTES: usize = 8192;

/// Fields of a channel as given: what is `None` stays as it is, or gets its default.
#[derive(Clone, Debug, Default)]
pub struct ChannelInput {
    /// Name to show.
    pub name: Option<String>,
    /// Scheme and host, and a path where the protocol has it.
    pub base_url: Option<String>,
    /// Name of the protocol that the upstream speaks.
    pub protocol: Option<String>,
    /// Key of the account upstream. Empty: unchanged.
    pub key: Option<Secret>,
    /// Models served.
    pub models: Option<Vec<String>>,
    /// Groups served.
    pub groups: Option<Vec<String>>,
    /// Higher is tried first.
    pub priority: Option<i64>,
    /// Share among channels of the same priority.
    pub weight: Option<i64>,
    /// Pause by itself when it keeps failing.
    pub auto_ban: Option<bool>,
    /// 1 enabled, 2 disabled, 3 disabled automatically.
    pub status: Option<i64>,
    /// Name of the header that carries the caller's key upstream. Empty: the default.
    pub other: Option<String>,
    /// Model asked for → model sent; JSON text.
    pub model_mapping: Option<String>,
    /// Members put into JSON request bodies; JSON text, numbers as they were written.
    pub param_override: Option<String>,
    /// Upstream's status → status for the client; JSON text.
    pub status_code_mapping: Option<String>,
    /// Status words of tasks; JSON text.
    pub custompass_status_mapping: Option<String>,
    /// Timeout, retries, proxy, estimate, concurrency.
    pub setting: Option<SettingInput>,
    /// Label to find and change channels by.
    pub tag: Option<String>,
    /// Note of the operators.
    pub remark: Option<String>,
}

impl ChannelInput {
    /// Reads a request: the flat object, or `{"mode":"single","channel":{…}}`.
    ///
    /// # Errors
    /// The first field that breaks its rule.
    pub fn read(fields: Fields) -> Result<Self, AdminError> {
        let mut fields = unwrapped(fields)?;
        if fields.int("type")?.is_some_and(|given| given != TYPE_CUSTOM_PASS) {
            let en = format!("only type {TYPE_CUSTOM_PASS} (custom pass-through) exists");
            return Err(fields.wrong("type", "只支持类型 52 (自定义透传)", en));
        }
        fields.alias("groups", "group");
        let input = Self {
            name: fields.text("name")?,
            base_url: fields.text("base_url")?,
            protocol: fields.text("protocol")?,
            key: fields.text("key")?.map(Secret::new),
            models: fields.list("models")?,
            groups: fields.list("groups")?,
            priority: fields.int("priority")?,
            weight: fields.int("weight")?,
            auto_ban: fields.flag("auto_ban")?,
            status: fields.int("status")?,
            other: fields.text("other")?,
            model_mapping: mapping::models(&mut fields)?,
            param_override: mapping::parameters(&mut fields)?,
            status_code_mapping: mapping::status_codes(&mut fields)?,
            custompass_status_mapping: mapping::status_words(&mut fields)?,
            setting: setting::read(&mut fields)?,
            tag: fields.text("tag")?,
            remark: fields.text("remark")?,
        };
        fields.finish(IGNORED, IGNORED_IF_EMPTY)?;
        Ok(input)
    }

    /// The same, trimmed and in its stored form, if every field keeps its rule.
    ///
    /// # Errors
    /// The first field that doesn't.
    pub fn checked(mut self) -> Result<Self, AdminError> {
        if let Some(name) = &mut self.name {
            *name = words::name("name", name, MAX_NAME_CHARS)?;
        }
        if let Some(base_url) = &mut self.base_url {
            *base_url = check_base_url(base_url)?;
        }
        if let Some(protocol) = &mut self.protocol {
            *protocol = protocol.trim().to_owned();
        }
        self.key = match self.key {
            Some(key) => check_key(key.expose())?,
            None => None,
        };
        for model in self.models.iter().flatten() {
            check_model("models", model)?;
        }
        if self.models.as_ref().is_some_and(Vec::is_empty) {
            return Err(AdminError::field("models", "不能为空", "names at least one model"));
        }
        if let Some(groups) = &mut self.groups {
            for group in groups.iter_mut() {
                *group = words::group("groups", group)?;
            }
            if groups.is_empty() {
                groups.push("default".to_owned());
            }
        }
        if self.weight.is_some_and(|weight| !(0..=1_000_000).contains(&weight)) {
            let en = "must be from 0 to 1000000";
            return Err(AdminError::field("weight", "必须在 0 到 1000000 之间", en));
        }
        if self.status.is_some_and(|status| !(1..=3).contains(&status)) {
            return Err(AdminError::field(
                "status",
                "必须是 1 (启用) 或 2 (禁用)",
                "must be 1 (enabled) or 2 (disabled)",
            ));
        }
        if let Some(other) = &mut self.other {
            *other = check_header(other)?;
        }
        if let Some(tag) = &mut self.tag {
            *tag = words::name("tag", tag, MAX_TAG_CHARS)?;
        }
        if let Some(remark) = &mut self.remark {
            *remark = words::note("remark", remark, MAX_REMARK_CHARS)?;
        }
        Ok(self)
    }

    /// The names of the fields that are given, for the record.
    #[must_use]
    pub fn given(&self) -> Vec<&'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("base_url", self.base_url.is_some()),
            ("protocol", self.protocol.is_some()),
            ("key", self.key.is_some()),
            ("models", self.models.is_some()),
            ("groups", self.groups.is_some()),
            ("priority", self.priority.is_some()),
            ("weight", self.weight.is_some()),
            ("auto_ban", self.auto_ban.is_some()),
            ("status", self.status.is_some()),
            ("other", self.other.is_some()),
            ("model_mapping", self.model_mapping.is_some()),
            ("param_override", self.param_override.is_some()),
            ("status_code_mapping", self.status_code_mapping.is_some()),
            ("custompass_status_mapping", self.custompass_status_mapping.is_some()),
            ("setting", self.setting.is_some()),
            ("tag", self.tag.is_some()),
            ("remark", self.remark.is_some()),
        ];
        given.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

/// The object itself, out of the wrapping that older scripts put around it.
fn unwrapped(mut fields: Fields) -> Result<Fields, AdminError> {
    if !fields.is_wrapped("channel") {
        return Ok(fields);
    }
    if fields.text("mode")?.is_some_and(|mode| mode != "single") {
        let en = "only \"single\" exists: make one call a channel";
        return Err(fields.wrong("mode", "只支持 single, 请逐个创建渠道", en));
    }
    let inner = fields.object("channel")?;
    fields.finish(&["mode"], &[])?;
    inner.ok_or_else(|| AdminError::field("channel", "不能为空", "must be an object"))
}

/// Checks an address by itself; whether it may have a path is [`check_path_of`]'s.
fn check_base_url(text: &str) -> Result<String, AdminError> {
    let url = BaseUrl::parse_with_path(text).map_err(bad_base_url)?;
    if url.path().is_empty() {
        BaseUrl::parse(text).map_err(bad_base_url)?;
    }
    Ok(url.as_str().to_owned())
}

/// Refuses a base URL with a path for a protocol whose models are paths.
pub(super) fn check_path_of(base_url: &str, protocol: &Protocol) -> Result<(), AdminError> {
    if protocol.address.path {
        return Ok(());
    }
    BaseUrl::parse(base_url).map(drop).map_err(|why| match why {
        // Elsewhere a model is no path.
        AddressError::Path if *protocol.name != *egress::CUSTOM_PASS => {
            let name = &protocol.name;
            AdminError::field(
                "base_url",
                format!(
                    "配置错误, 协议 {name} 的地址不能带路径, 除非其文档有 [address] path = true"
                ),
                format!(
                    "must not have a path: none stands before those of the protocol {name}, \
                     unless its document has [address] path = true"
                ),
            )
        }
        why => bad_base_url(why),
    })
}

fn bad_base_url(why: AddressError) -> AdminError {
    let bare = |words: &str| words.trim_start_matches("base_url").trim().to_owned();
    AdminError::field("base_url", format!("配置错误, {}", bare(why.zh())), bare(why.en()))
}

/// The protocol of a name.
pub(super) fn protocol_named<'a>(
    library: &'a Library,
    name: &str,
) -> Result<&'a Protocol, AdminError> {
    library.get(name).map(|known| &**known).ok_or_else(|| {
        let known: Vec<_> = library.iter().map(|known| &*known.name).collect();
        let known = known.join(", ");
        AdminError::field(
            "protocol",
            format!("不存在, 可选: {known}"),
            format!("is not known; there are {known}"),
        )
    })
}

/// The key without blanks around it; `None` for an empty one. It becomes part of a header.
fn check_key(key: &str) -> Result<Option<Secret>, AdminError> {
    let key = key.trim();
    if key.is_empty() {
        return Ok(None);
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(AdminError::field("key", "过长", "is too long"));
    }
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(AdminError::field(
            "key",
            "中间不能有空格、换行或非 ASCII 字符, 请重新复制密钥",
            "must not contain blanks, line breaks or non-ASCII characters: copy it again",
        ));
    }
    if key.starts_with("enc:") {
        return Err(AdminError::field(
            "key",
            "请填写上游密钥原文, 而不是加密后的内容",
            "give the key itself, not its encrypted form",
        ));
    }
    Ok(Some(Secret::new(key.to_owned())))
}

/// A model's name is the path it is called by, so it has to be one; and an asynchronous model is
/// known by its `/submit` alone, so what nearly says so is a mistake.
pub(super) fn check_model(field: &str, model: &str) -> Result<(), AdminError> {
    if store::patterns::is_pattern(model) && !store::patterns::can_match(model) {
        return Err(AdminError::field(
            field,
            format!("没有模型能匹配 {model:?}"),
            format!("no model can fit the pattern {model:?}"),
        ));
    }
    if let Err(why) = ModelName::parse(model) {
        return Err(AdminError::field(
            field,
            format!(
                "模型名 {model:?} 无效: 不能为空段、含 ..、?、#、\\ 或控制字符, 最多 200 个字符"
            ),
            format!("the model name {model:?} {why}"),
        ));
    }
    let last = model.rsplit('/').next().unwrap_or(model);
    let lower = last.to_ascii_lowercase();
    let nearly = lower.trim_end_matches(|c: char| !c.is_alphanumeric()) == "submit"
        || ["-submit", "_submit", ".submit", ":submit"].iter().any(|end| lower.ends_with(end));
    let is_submission = last == "submit" && model.len() > last.len();
    if nearly && !is_submission {
        return Err(AdminError::field(
            field,
            format!("异步模型名必须以 /submit 结尾, 例如 img/submit, 而不是 {model:?}"),
            format!("an asynchronous model ends in /submit, like img/submit, unlike {model:?}"),
        ));
    }
    Ok(())
}

fn check_header(name: &str) -> Result<String, AdminError> {
    match channel_fields::user_token_header(name) {
        Ok(name) => Ok(name.unwrap_or_default()),
        Err(why) => Err(AdminError::field(
            "other",
            "必须是请求头名称, 例如 X-Custom-Token, 且不能是系统自用的请求头; 留空使用默认值",
            format!("{}: take a name like X-Custom-Token, or leave it empty", why.why),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ChannelInput, AdminError> {
        ChannelInput::read(Fields::parse(json.as_bytes())?)?.checked()
    }

    fn complaint(json: &str) -> String {
        match read(json).unwrap_err() {
            AdminError::Field { field, .. } => field,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_call_of_the_contract() {
        let flat = r#"{"name":"c","type":52,"base_url":"http://127.0.0.1:9000","key":" up-key\n",
            "models":["m","img/submit","m"],"groups":"default, vip"}"#;
        let wrapped = format!(r#"{{"mode":"single","channel":{flat}}}"#);
        for json in [flat, &wrapped] {
            let input = read(json).unwrap();
            assert_eq!(input.key.as_ref().unwrap().expose(), "up-key");
            assert_eq!(input.models.as_deref().unwrap(), ["m", "img/submit"]);
            assert_eq!(input.groups.as_deref().unwrap(), ["default", "vip"]);
            assert_eq!(input.given(), ["name", "base_url", "key", "models", "groups"]);
        }
    }

    #[test]
    fn a_path_of_the_base_url_is_a_protocol_s() {
        let base = "https://a.example/openai/v1";
        let library = Library::builtin().unwrap();
        let check = |base, name| check_path_of(base, protocol_named(library, name)?);
        assert!(check(base, "openai").is_ok());
        let said = |name| check(base, name).unwrap_err().to_string();
        assert!(said(egress::CUSTOM_PASS).contains("model name"));
        assert!(said("fal").contains("[address] path"), "{}", said("fal"));
        assert!(check("https://a.example", egress::CUSTOM_PASS).is_ok());
        assert!(check("https://a.example", "soap").is_err());
    }

    #[test]
    fn each_rule_names_its_field() {
        for (json, field) in [
            (r#"{"type":1}"#, "type"),
            (r#"{"base_url":"https://a.example/../v1"}"#, "base_url"),
            (r#"{"base_url":"https://a.example/"}"#, "base_url"),
            (r#"{"base_url":"ftp://a.example"}"#, "base_url"),
            (r#"{"key":"a b"}"#, "key"),
            (r#"{"key":"a\nb"}"#, "key"),
            (r#"{"models":[]}"#, "models"),
            (r#"{"models":["a/../b"]}"#, "models"),
            (r#"{"models":["img-submit"]}"#, "models"),
            (r#"{"models":["img/Submit"]}"#, "models"),
            (r#"{"models":["submit"]}"#, "models"),
            (r#"{"groups":["a b\u0000"]}"#, "groups"),
            (r#"{"weight":-1}"#, "weight"),
            (r#"{"status":4}"#, "status"),
            (r#"{"other":"X Token"}"#, "other"),
            (r#"{"other":"Authorization"}"#, "other"),
            (r#"{"modles":["m"]}"#, "modles"),
            (r#"{"mode":"batch","channel":{}}"#, "mode"),
            (r#"{"mode":"single","channel":{"x":1}}"#, "channel.x"),
            (r#"{"header_override":{"a":"b"}}"#, "header_override"),
        ] {
            assert_eq!(complaint(json), field, "{json}");
        }
    }

    #[test]
    fn an_empty_key_changes_nothing() {
        assert!(read(r#"{"key":"  "}"#).unwrap().key.is_none());
        assert!(read(r#"{"tag":"x","created_time":1,"header_override":""}"#).is_ok());
        assert!(read(r#"{"models":["resubmit","a/submit"]}"#).is_ok());
    }

    #[test]
    fn the_address_error_names_the_field_once() {
        let error = read(r#"{"base_url":"https://a.example/"}"#).unwrap_err();
        assert_eq!(error.to_string().matches("base_url").count(), 1);
    }
}
