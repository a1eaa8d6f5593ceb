//! The faults of a request that can't be read for a call, in both languages.

use domain::{Fault, FaultKind, Meter};

/// A request that can't be parsed.
#[must_use]
pub fn invalid(zh: impl Into<String>, en: impl Into<String>) -> Fault {
    Fault::new(FaultKind::InvalidRequest, zh, en)
}

/// A body that determines the price must read the same to the upstream. `zh` and `en` explain why
/// this one may not.
#[must_use]
pub fn media_type(zh: &str, en: &str) -> Fault {
    Fault::new(
        FaultKind::UnsupportedMediaType,
        format!(
            "{zh}; 请使用一个 Content-Type: application/json 或 application/x-www-form-urlencoded \
             (UTF-8), 或 multipart/form-data 且仅带 boundary"
        ),
        format!(
            "{en}; send one Content-Type: application/json or application/x-www-form-urlencoded \
             in UTF-8, or multipart/form-data with no parameter but its boundary"
        ),
    )
}

/// A request without a model.
#[must_use]
pub fn model_missing() -> Fault {
    invalid("请求中缺少 model 字段", "the request names no model")
}

/// A batch of several models.
#[must_use]
pub fn models_differ() -> Fault {
    let (zh, en) = (
        "一个批次中的请求必须使用同一个 model, 它决定整个批次的价格",
        "all requests of a batch must name one model, whose price is that of the batch",
    );
    invalid(zh, en)
}

/// What the vendor makes by default is not known here, and its reply does not say it.
#[must_use]
pub fn unit_unsaid(unit: Meter, members: &str) -> Fault {
    invalid(
        format!("该模型按 {unit} 计费, 请求须包含 {members}: 应答不含该数量"),
        format!(
            "the model has a price for {unit}, and the reply will not count them: the request has \
             to have {members}"
        ),
    )
}

/// What the request says is no count, or are two. `places` are where it may say it.
#[must_use]
pub fn unit_unread(unit: Meter, places: &str, text: &str) -> Fault {
    invalid(
        format!("该模型按 {unit} 计费, 而请求中的 {places} 不是一个确定的数量: {text}"),
        format!(
            "the model has a price for {unit}, and {places} of the request is not one count: {text}"
        ),
    )
}

/// Nothing of a call has a price. `known` is what could have one.
#[must_use]
pub fn units_unknown(priced: &str, known: &str) -> Fault {
    let (or_zh, or_en) = match known {
        "" => (String::new(), String::new()),
        known => (format!(", 或按 {known} 计费"), format!(", or one by {known}")),
    };
    invalid(
        format!(
            "该模型按 {priced} 计费, 而该接口的请求与应答都不含该数量: 请由管理员为其设置按次价格{or_zh}"
        ),
        format!(
            "the model has a price by {priced}, which neither this call nor its reply counts: its \
             operator has to give it a price per call{or_en}"
        ),
    )
}

/// What two readers may read differently, in a body.
#[must_use]
pub fn body_ambiguous() -> Fault {
    let (zh, en) = (
        "请求体中有重复或拼写不符的字段",
        "a member of the body that is read here is there twice, or in another spelling",
    );
    invalid(zh, en)
}

/// What two readers may read differently.
#[must_use]
pub fn ambiguous(name: &str) -> Fault {
    invalid(
        format!("请求中 {name} 有歧义"),
        format!("the request says {name} in more than one way"),
    )
}

/// A field that stands for what is read of JSON alone.
#[must_use]
pub fn needs_json(name: &str) -> Fault {
    invalid(
        format!("{name} 须在 JSON 请求体中, 不能是表单字段"),
        format!("{name} is said in a JSON body, not in a form"),
    )
}

/// A query that says a model where it belongs elsewhere.
#[must_use]
pub fn model_said() -> Fault {
    let zh = "查询参数不允许包含 model, 请放在请求体中";
    invalid(zh, "the query may not say model: it belongs in the body")
}
