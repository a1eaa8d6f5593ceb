//! The faults of the data plane, in both languages.

use domain::{Fault, FaultKind, Quota};
pub(crate) use egress::faults::{ambiguous, body_ambiguous, invalid, model_missing};
use upstream::Echoed;

pub(crate) fn precharge_said() -> Fault {
    invalid("请求不允许包含 precharge", "a request may not say precharge")
}

pub(crate) fn estimate_needs_json() -> Fault {
    invalid(
        "该模型按请求体预估费用, 请求体必须是 UTF-8 的 JSON 对象",
        "this model is estimated by its body, which must be a JSON object in UTF-8",
    )
}

/// The address at which such a call continues is not known.
pub(crate) fn no_host() -> Fault {
    invalid("请求缺少 Host", "the request has no Host header, which the upload address needs")
}

/// A price per call would be the same for any number of requests.
pub(crate) fn priced_by_use_alone(model: &str) -> Fault {
    Fault::new(
        FaultKind::Config,
        format!("模型 {model} 按次计费, 而该接口只能按量计费"),
        format!("{model} has a price per call, and this call needs a price by use"),
    )
}

/// A tier by size would count all requests of a batch as one.
pub(crate) fn tiers_of_batch(model: &str) -> Fault {
    Fault::new(
        FaultKind::Config,
        format!("模型 {model} 的价格有按用量分档的规则, 而批处理的用量是所有请求之和"),
        format!("the price of {model} has tiers by size, and a batch is counted as a whole"),
    )
}

/// Nothing would be counted, so that a price by use would be none.
pub(crate) fn priced_per_call_alone(model: &str) -> Fault {
    Fault::new(
        FaultKind::Config,
        format!("模型 {model} 按量计费, 而该接口的用量无法得知, 只能按次计费"),
        format!(
            "{model} has a price by use, and the upstream does not report what this call uses: \
             price it per call"
        ),
    )
}

pub(crate) fn no_key() -> Fault {
    let (zh, en) = ("缺少 API 令牌", "no API key; send Authorization: Bearer sk-…");
    Fault::new(FaultKind::Unauthenticated, zh, en)
}

pub(crate) fn other_scheme() -> Fault {
    let (zh, en) = (
        "Authorization 的方案必须是 Bearer: Authorization: Bearer sk-…",
        "no API key: the scheme of Authorization has to be Bearer, as in \
         Authorization: Bearer sk-…",
    );
    Fault::new(FaultKind::Unauthenticated, zh, en)
}

pub(crate) fn two_keys() -> Fault {
    let (zh, en) = (
        "请求中有两个不同的 API 令牌, 请只发送一个",
        "the request has two API keys that differ; send one of them",
    );
    Fault::new(FaultKind::Unauthenticated, zh, en)
}

pub(crate) fn which_path(paths: impl Iterator<Item = String>) -> Fault {
    let paths = paths.collect::<Vec<_>>().join(", ");
    let zh = format!("没有这个路径; 您要的可能是: {paths}");
    Fault::new(FaultKind::NotFound, zh, format!("no such path; it may mean one of: {paths}"))
}

pub(crate) fn no_websocket() -> Fault {
    let zh = "不支持 WebSocket (包括 /v1/realtime)；语音请使用 /v1/audio/…";
    let en =
        "WebSocket is not offered, and so /v1/realtime is not; for speech there is /v1/audio/…";
    Fault::new(FaultKind::InvalidRequest, zh, en)
}

pub(crate) fn key_in_query() -> Fault {
    let (zh, en) = (
        "API 令牌不能放在网址中, 请使用请求头 Authorization: Bearer sk-… (或 x-api-key, api-key, x-goog-api-key)",
        "an API key is not read from the address, where it gets into logs; send it as the header \
         Authorization: Bearer sk-… (or x-api-key, api-key, x-goog-api-key)",
    );
    Fault::new(FaultKind::Unauthenticated, zh, en)
}

pub(crate) fn bad_key() -> Fault {
    Fault::new(FaultKind::Unauthenticated, "API 令牌无效", "the API key is not valid")
}

pub(crate) fn key_disabled() -> Fault {
    Fault::new(FaultKind::Unauthenticated, "API 令牌已被禁用", "the API key is disabled")
}

pub(crate) fn key_expired() -> Fault {
    Fault::new(FaultKind::Unauthenticated, "API 令牌已过期", "the API key has expired")
}

pub(crate) fn key_replaced() -> Fault {
    let (zh, en) =
        ("API 令牌已更换, 旧的已失效", "the API key was replaced, and this old one has ended");
    Fault::new(FaultKind::Unauthenticated, zh, en)
}

pub(crate) fn user_disabled() -> Fault {
    Fault::new(FaultKind::Forbidden, "用户已被禁用", "the user is disabled")
}

pub(crate) fn address_not_allowed() -> Fault {
    let (zh, en) = ("此令牌不允许从当前地址访问", "this key may not be used from this address");
    Fault::new(FaultKind::Forbidden, zh, en)
}

pub(crate) fn model_not_allowed() -> Fault {
    let (zh, en) = ("此令牌无权访问该模型", "this key may not call this model");
    Fault::new(FaultKind::Forbidden, zh, en)
}

pub(crate) fn group_not_allowed() -> Fault {
    let (zh, en) = ("当前分组无权访问该模型", "this model is not offered to this group");
    Fault::new(FaultKind::Forbidden, zh, en)
}

pub(crate) fn rate_limited(seconds: u32) -> Fault {
    Fault::new(FaultKind::RateLimited, "请求过于频繁, 请稍后重试", "too many requests, try later")
        .retry_after(seconds)
}

pub(crate) fn tokens_used_up(seconds: u32) -> Fault {
    let (zh, en) = ("令牌本分钟的 Token 数已用完", "the key's tokens of this minute are used up");
    Fault::new(FaultKind::RateLimited, zh, en).retry_after(seconds)
}

pub(crate) fn too_many_waiting() -> Fault {
    let (zh, en) = ("等待任务的连接过多, 请先结束一些", "too many wait for tasks: end some first");
    Fault::new(FaultKind::RateLimited, zh, en).retry_after(1)
}

pub(crate) fn overloaded() -> Fault {
    Fault::new(FaultKind::Overloaded, "系统繁忙, 请稍后重试", "overloaded, try again")
        .retry_after(1)
}

pub(crate) fn out_of_memory() -> Fault {
    let (zh, en) = ("服务内存已达上限", "the server is at its memory limit");
    Fault::new(FaultKind::Overloaded, zh, en)
}

pub(crate) fn too_large(limit_bytes: u64) -> Fault {
    Fault::new(
        FaultKind::PayloadTooLarge,
        format!("请求体超过 {limit_bytes} 字节的上限"),
        format!("the request body is larger than {limit_bytes} bytes"),
    )
}

pub(crate) fn body_too_slow() -> Fault {
    let (zh, en) = ("请求体传输过慢, 连接已关闭", "the request body came too slowly");
    Fault::new(FaultKind::RequestTimeout, zh, en)
}

/// For the log only: the client's reply breaks off.
pub(crate) fn reader_too_slow() -> Fault {
    let (zh, en) = ("客户端接收响应过慢", "the client took the reply too slowly");
    Fault::new(FaultKind::RequestTimeout, zh, en)
}

/// A large body that its sender could not pay for is not taken in.
pub(crate) fn cannot_pay(needed: Quota, available: Quota) -> Fault {
    Fault::new(
        FaultKind::InsufficientQuota,
        format!("余额不足: 需要 {needed}, 剩余 {available}"),
        format!("insufficient quota: {needed} needed, {available} available"),
    )
}

pub(crate) fn body_broken() -> Fault {
    invalid("请求体不完整或格式错误", "the request body is incomplete or malformed")
}

/// Only the log shows it.
pub(crate) fn client_gone() -> Fault {
    invalid("客户端已断开", "the client disconnected before the call was sent")
}

pub(crate) fn body_undecodable() -> Fault {
    let (zh, en) = ("请求体解压失败", "the request body can't be decompressed");
    invalid(zh, en)
}

/// Under `/pass` what is no model may be meant as a path.
pub(crate) fn no_model_or_path() -> Fault {
    let (zh, en) = (
        "没有渠道提供该模型, 也没有启用的渠道的协议有此路径与方法: 请检查模型名或路径",
        "no channel has this model, and no protocol of an enabled channel has this path and \
         method: check the name, or the path",
    );
    Fault::new(FaultKind::ModelNotFound, zh, en)
}

pub(crate) fn model_not_found() -> Fault {
    let (zh, en) =
        ("没有渠道提供该模型, 请检查模型名", "no channel has this model: check its name");
    Fault::new(FaultKind::ModelNotFound, zh, en)
}

/// Of a model that is retrieved: whether it is there for others is not revealed.
pub(crate) fn model_not_listed() -> Fault {
    let (zh, en) =
        ("没有该模型, 或此令牌无权访问", "no such model, or none that this key may call");
    Fault::new(FaultKind::ModelNotFound, zh, en)
}

/// What stands behind a front that takes any path may be no call at all, and is not counted.
pub(crate) fn call_not_counted(model: &str) -> Fault {
    Fault::new(
        FaultKind::ModelNotFound,
        format!("模型 {model} 没有此接口, 或其用量无法得知: 请检查路径; 按次计费的模型才可调用"),
        format!(
            "{model} has no such call, or none that is counted: check the path; only a model with \
             a price per call takes any"
        ),
    )
}

pub(crate) fn model_not_spoken() -> Fault {
    let (zh, en) = (
        "该模型的渠道不支持此接口协议, 请改用该模型的接口地址",
        "the channels of this model do not speak the API of this path: call it by its own",
    );
    Fault::new(FaultKind::ModelNotFound, zh, en)
}

pub(crate) fn no_channel(retry_after_s: u32) -> Fault {
    let (zh, en) = ("当前没有可用渠道提供该模型", "no channel serves this model now");
    Fault::new(FaultKind::NoChannel, zh, en).retry_after(retry_after_s)
}

/// It may be a path that such a document has.
pub(crate) fn protocol_unread() -> Fault {
    let (zh, en) = (
        "没有该模型或路径; 有渠道的协议文档无法使用, 它可能属于该协议",
        "no such model or path, unless a protocol has it that a channel names and can't be used",
    );
    Fault::new(FaultKind::Config, zh, en)
}

pub(crate) fn bad_price() -> Fault {
    let (zh, en) = ("该模型的价格配置有误", "the price of this model is misconfigured");
    Fault::new(FaultKind::Config, zh, en)
}

pub(crate) fn unpriced() -> Fault {
    Fault::new(FaultKind::Config, "该模型尚未设置价格", "this model has no price")
}

pub(crate) fn upstream_failed() -> Fault {
    let (zh, en) = ("上游服务不可用", "the upstream could not be reached or broke off");
    Fault::new(FaultKind::Upstream, zh, en)
}

pub(crate) fn upstream_redirects() -> Fault {
    let (zh, en) = ("上游重定向到其他地址", "the upstream redirects elsewhere");
    Fault::new(FaultKind::Upstream, zh, en)
}

pub(crate) fn echoed(echoed: Echoed) -> Fault {
    let (zh, en) = match echoed {
        Echoed::Key => (
            "上游响应中包含其渠道凭据, 已拦截",
            "the upstream's reply repeats the credentials of its channel, and is withheld",
        ),
        Echoed::Unreadable => (
            "上游响应的 Content-Encoding 无法解码, 已拦截",
            "the upstream's reply has a Content-Encoding that can't be decoded, and is withheld",
        ),
        Echoed::Partial => (
            "上游只返回了文本的一部分, 无法检查其中是否有渠道凭据, 已拦截",
            "the upstream sent a part of a text, in which its channel's credentials can't be \
             looked for, and it is withheld; ask without Range",
        ),
    };
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn upstream_timeout() -> Fault {
    Fault::new(FaultKind::Timeout, "上游响应超时", "the upstream took too long")
}

pub(crate) fn no_usage() -> Fault {
    let (zh, en) = ("上游响应缺少可用的用量信息", "the upstream's reply has no usable usage");
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn garbled_reply() -> Fault {
    let (zh, en) = (
        "上游响应与其 Content-Encoding 不符",
        "the upstream's reply is not in its Content-Encoding",
    );
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn bad_estimate() -> Fault {
    let (zh, en) = ("上游的预估响应无效", "the upstream's estimate can't be used");
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn estimate_instead_of_result() -> Fault {
    let (zh, en) = ("上游返回了预估而非结果", "the upstream answered with an estimate");
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn not_settled() -> Fault {
    let (zh, en) = ("结算暂时无法完成", "the settlement can't be made durable now");
    Fault::new(FaultKind::DatabaseUnavailable, zh, en).retry_after(5)
}

pub(crate) fn node_paused() -> Fault {
    let (zh, en) = (
        "服务节点曾暂停, 预扣费可能已失效, 请求未发送",
        "the server was paused for so long that what it held may have been given back: \
         nothing was sent",
    );
    Fault::new(FaultKind::Overloaded, zh, en).retry_after(1)
}

pub(crate) fn task_given_up() -> Fault {
    let (zh, en) =
        ("任务在上游接受之前已被终止", "the task was given up before the upstream had taken it");
    Fault::new(FaultKind::System, zh, en)
}

pub(crate) fn no_task_reply() -> Fault {
    let (zh, en) = ("上游的提交响应过大", "the upstream's reply to the submission is too large");
    Fault::new(FaultKind::UpstreamResponse, zh, en)
}

pub(crate) fn webhook_url_invalid() -> Fault {
    invalid(
        "X-Webhook-Url 必须是不含凭据的 http(s) 地址, 最长 2048 个字符",
        "X-Webhook-Url must be an http(s) URL without credentials, 2048 characters at most",
    )
}

pub(crate) fn idempotency_key_invalid() -> Fault {
    invalid(
        "Idempotency-Key 必须为 1 到 255 个字符",
        "Idempotency-Key must have 1 to 255 characters",
    )
}

pub(crate) fn still_running() -> Fault {
    let (zh, en) = ("相同的请求仍在处理中", "the same request is still in progress");
    Fault::new(FaultKind::IdempotencyConflict, zh, en).retry_after(1)
}

pub(crate) fn reply_not_kept() -> Fault {
    let (zh, en) = (
        "相同的请求已完成并计费, 但其响应过大或中断, 未保留",
        "the same request was completed and charged, but its reply was not kept: too large, or cut",
    );
    Fault::new(FaultKind::IdempotencyConflict, zh, en)
}

pub(crate) fn other_request() -> Fault {
    let (zh, en) =
        ("该 Idempotency-Key 已用于其他请求", "this Idempotency-Key was used for another request");
    Fault::new(FaultKind::IdempotencyMismatch, zh, en)
}

pub(crate) fn not_found() -> Fault {
    let (zh, en) = (
        "路径不存在; 请查看接口文档中各协议的路径",
        "no such path: no protocol that is served has it, see the paths of each",
    );
    Fault::new(FaultKind::NotFound, zh, en)
}

/// Also for another user's task: its existence is not revealed.
pub(crate) fn task_not_found() -> Fault {
    Fault::new(FaultKind::TaskNotFound, "任务不存在", "no such task")
}

pub(crate) fn task_failed(reason: &str) -> Fault {
    let (zh, en) = ("任务已失败并已退款", "the task has failed, and was refunded");
    match reason {
        "" => Fault::new(FaultKind::Conflict, zh, en),
        _ => Fault::new(FaultKind::Conflict, format!("{zh}: {reason}"), format!("{en}: {reason}")),
    }
}

pub(crate) fn task_completed(poll_interval_ms: u64) -> Fault {
    let (zh, en) = (
        "任务已完成, 正在结算, 不能取消; 请稍后再试",
        "the task has completed and is being settled: it can't be cancelled now, try again later",
    );
    let seconds = u32::try_from(poll_interval_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
    Fault::new(FaultKind::Conflict, zh, en).retry_after(seconds.max(1))
}

/// Also for another user's: its existence is not revealed.
pub(crate) fn resource_not_found() -> Fault {
    Fault::new(FaultKind::NotFound, "资源不存在", "nothing of this id was made with your keys")
}

pub(crate) fn resource_missing() -> Fault {
    invalid("请求中缺少资源 ID", "the request names no id")
}

pub(crate) fn resources_apart() -> Fault {
    let (zh, en) = (
        "请求引用的资源位于不同的渠道, 无法一起使用",
        "the things that the request names were made at different upstreams",
    );
    invalid(zh, en)
}

pub(crate) fn resource_elsewhere() -> Fault {
    let (zh, en) = (
        "请求引用的资源所在的渠道不提供该模型",
        "the upstream that has what the request names does not serve this model now",
    );
    invalid(zh, en)
}

pub(crate) fn list_refused() -> Fault {
    let (zh, en) = (
        "该列表包含其他用户的数据, 不提供; 请按 ID 查询",
        "this list would show what others made, and is not served: ask by id",
    );
    Fault::new(FaultKind::Forbidden, zh, en)
}

/// Work whose usage comes later, in a reply that need not be asked for.
pub(crate) fn background_by_use() -> Fault {
    let (zh, en) = (
        "按量计费的模型不支持后台请求, 请去掉 background 或改用流式请求",
        "a model priced by use can't be called in the background: stream the reply instead",
    );
    invalid(zh, en)
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Fault {
    let (zh, en) = ("此路径不支持该请求方法", "this method is not for this path");
    Fault::new(FaultKind::MethodNotAllowed, zh, en).allowing(allowed)
}

pub(crate) fn bad_parameter(name: &str, allowed: &str) -> Fault {
    invalid(format!("参数 {name} 无效: {allowed}"), format!("{name} must be {allowed}"))
}

pub(crate) fn system(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::new(FaultKind::System, "系统错误", "internal error").caused_by(cause)
}
