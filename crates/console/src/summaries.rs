//! What the calls of the API do, in Chinese: the document has it in English.

/// The summary of a call in Chinese, by the English one; a test keeps the list whole.
pub(crate) fn in_chinese(summary: &str) -> Option<&'static str> {
    SUMMARIES.iter().find(|(english, _)| *english == summary).map(|(_, chinese)| *chinese)
}

const SUMMARIES: &[(&str, &str)] = &[
    ("A channel", "一个渠道"),
    ("A code", "一个兑换码"),
    ("A group", "一个分组"),
    ("A key", "一个令牌"),
    ("A month of a user's balance", "用户一个月的账单"),
    ("A month of one's own balance", "自己一个月的账单"),
    ("A new access token; the one before ends", "新的访问令牌, 旧的失效"),
    ("A protocol", "一个协议"),
    ("A task, by its number, uid or upstream id", "一个任务, 按编号、uid 或上游任务 ID"),
    ("A user", "一个用户"),
    ("A webhook", "一个回调地址"),
    ("Add a protocol, or replace an own one", "新增协议, 或替换自定义协议"),
    (
        "Administrative writes, newest first; `other` says by whom",
        "管理操作, 最新的在前; `other` 说明操作者",
    ),
    ("Ask about a task again", "立即重新查询任务"),
    ("Ask an upstream which models it has; nothing is changed", "查询上游有哪些模型, 不做修改"),
    ("Change a setting on this node", "修改本节点的设置"),
    (
        "Change many at once, all or none; `dry_run`: tell what would change",
        "批量修改, 全部成功或全部不变; `dry_run`: 只列出变化",
    ),
    ("Change one's language in the console", "修改自己的控制台语言"),
    ("Change one's password", "修改自己的密码"),
    ("Change what is given of a channel", "修改渠道的所给字段"),
    ("Change what is given of a code", "修改兑换码的所给字段"),
    ("Change what is given of a key", "修改令牌的所给字段"),
    ("Change what is given of a user; never the balance", "修改用户的所给字段, 不含余额"),
    ("Change what is given of a webhook", "修改回调地址的所给字段"),
    ("Channels", "渠道列表"),
    ("Check a document, and change nothing", "检查协议文档, 不做修改"),
    ("Check the conservation", "核对账目"),
    ("Codes, newest first", "兑换码, 最新的在前"),
    ("Copy a channel", "复制渠道"),
    ("Create a channel", "新建渠道"),
    ("Create a key; it is shown this once", "新建令牌, 只显示这一次"),
    ("Create a user", "新建用户"),
    ("Create a webhook; its secret is shown this once", "新建回调地址, 密钥只显示这一次"),
    ("Create codes; they are shown this once", "生成兑换码, 只显示这一次"),
    ("Create or replace a group", "新建或替换分组"),
    ("Create or replace a price", "新建或替换价格"),
    (
        "Create or replace prices from CSV: all of them, or none",
        "从 CSV 新建或替换价格, 全部成功或全部不变",
    ),
    (
        "Decide over many tasks, each by itself; `dry_run`: tell what it would move",
        "处理多个任务, 逐个进行; `dry_run`: 只列出将变动的资金",
    ),
    ("Delete a channel", "删除渠道"),
    ("Delete a code", "删除兑换码"),
    ("Delete a group", "删除分组"),
    ("Delete a key", "删除令牌"),
    (
        "Delete a price: the model is free from then on, or refused",
        "删除价格, 此后该模型免费或被拒绝",
    ),
    ("Delete a user", "删除用户"),
    ("Delete a webhook", "删除回调地址"),
    ("Delete an own protocol", "删除自定义协议"),
    ("Deliver again", "重新投递"),
    ("Disable a code", "禁用兑换码"),
    ("Disable a user", "禁用用户"),
    ("Disable a webhook", "禁用回调地址"),
    ("Disable every open code of a lot", "禁用一个批次全部未使用的兑换码"),
    ("Disable it", "禁用"),
    ("Enable a channel", "启用渠道"),
    ("Enable a code", "启用兑换码"),
    ("Enable a key", "启用令牌"),
    ("Enable a user", "启用用户"),
    ("Enable a webhook", "启用回调地址"),
    ("End one of a user's sessions", "结束用户的一个会话"),
    ("End one of them", "结束其中一个会话"),
    ("End the session", "退出登录"),
    ("Every price as CSV", "全部价格, CSV"),
    ("Give a user a new access token", "给用户新的访问令牌"),
    ("Groups", "分组列表"),
    ("Health; no token is needed", "健康状态, 不需要令牌"),
    ("How a charge came about", "一笔费用的由来"),
    ("How far it is to the first paid call", "到第一次计费调用还差几步"),
    ("Keys", "令牌列表"),
    ("Log in; the answer sets the session's cookie", "登录, 应答设置会话 Cookie"),
    ("Make or rotate its secret", "生成或更换其密钥"),
    (
        "Models that channels serve without a price: free, or refused",
        "渠道提供而没有价格的模型: 免费, 或被拒绝",
    ),
    ("Move a balance", "变动余额"),
    ("One of them", "其中一个"),
    ("One task, by its uid", "一个任务, 按 uid"),
    ("One's own last calls without a charge, on this node", "自己最近未收费的调用, 限本节点"),
    ("One's own log", "自己的使用日志"),
    ("One's own log as CSV", "自己的使用日志, CSV"),
    ("One's own tasks", "自己的任务"),
    ("One's own usage by key, model or day", "自己的用量, 按令牌、模型或日期"),
    ("One's own usage over time", "自己各时段的用量"),
    ("Prices", "价格列表"),
    ("Protocols", "协议列表"),
    ("Redeem a code; `data` is its worth", "兑换; `data` 是所得额度"),
    ("Refund a task", "任务失败并退款"),
    ("Replace the notice", "替换公告"),
    ("Rotate a secret", "更换密钥"),
    ("Send a test", "发送测试"),
    ("Set it", "设置"),
    ("Settings of this node", "本节点的设置"),
    ("Settle a task now", "立即结算任务"),
    (
        "Start the check in the background, unless one is under way",
        "在后台开始核对账目; 已在进行则不重复",
    ),
    ("Sums", "合计"),
    ("Tasks, newest first", "任务, 最新的在前"),
    ("The caller's tasks over all models, newest first", "自己所有模型的任务, 最新的在前"),
    ("The health check, on this node", "本节点的健康检查"),
    ("The health check, with the upstreams", "健康检查, 包括上游"),
    (
        "The last calls without a charge, failed or free, on this node",
        "最近未收费的调用 (失败或免费), 限本节点",
    ),
    ("The last check that this node made", "本节点最近一次核对"),
    ("The log as CSV", "使用日志, CSV"),
    ("The log, newest first", "使用日志, 最新的在前"),
    ("The models that cost most", "消耗最多的模型"),
    ("The models that cost oneself most", "自己消耗最多的模型"),
    ("The models that this key may call", "该令牌可用的模型"),
    ("The nodes that serve this database", "使用此数据库的节点"),
    ("The paths that calls may have now", "现在可用的调用路径"),
    ("The price of a model", "一个模型的价格"),
    ("The webhooks about a task", "一个任务的回调投递"),
    ("This document", "本文档"),
    (
        "Try a channel out: one real call; `success` says how it went",
        "测试渠道: 一次真实调用; `success` 说明结果",
    ),
    ("Usage by user, key, model or day", "按用户、令牌、模型或日期的用量"),
    ("Usage over time", "各时段的用量"),
    ("Users", "用户列表"),
    ("Webhooks", "回调地址列表"),
    ("What a price would come to; nothing is changed", "试算价格, 不做修改"),
    (
        "What a table would change, line by line; nothing changes",
        "一张价格表会改变什么, 逐行列出; 不作修改",
    ),
    ("The settings by which pages are made", "决定页面如何显示的设置"),
    ("What all users are told", "对全体用户的公告"),
    (
        "What channels and models are doing now, on the node that answers",
        "渠道与模型的实时状态, 限应答的节点",
    ),
    ("What happens, as server-sent events", "实时事件 (SSE)"),
    ("What needs a look now", "需要处理的事项"),
    ("What of it was spent, in cents", "其中已消耗的, 以美分计"),
    ("What oneself pays, with all ratios", "自己的价格, 含全部倍率"),
    ("What signs for `X-Webhook-Url`", "`X-Webhook-Url` 的签名密钥"),
    ("What the upstream last said of a task", "上游对任务的最近应答"),
    ("What was delivered, newest first", "投递记录, 最新的在前"),
    ("What was there in all, in OpenAI's shape", "总额度, OpenAI 格式"),
    ("What would be read of a call: nothing is sent", "试读一次调用, 不发送"),
    ("When the caller is told of a low balance", "何时提醒自己余额不足"),
    ("When this node last found that the books balance", "本节点最近一次核对无误的时间"),
    ("Where a user is logged in", "用户的登录会话"),
    ("Where one is logged in", "自己的登录会话"),
    (
        "Whether a check is under way on this node, and the last one",
        "本节点是否正在核对账目, 以及上次的结果",
    ),
    (
        "Which groups reach a channel with which of its models, and the price",
        "哪些分组能用渠道的哪些模型, 及价格",
    ),
    ("Who calls", "调用者自己"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_summary_has_its_translation_and_none_is_left_over() {
        let document = admin::openapi();
        let calls = document["paths"].as_object().unwrap().values();
        let calls = calls.flat_map(|path| path.as_object().unwrap().values());
        let said: BTreeSet<&str> = calls.filter_map(|call| call["summary"].as_str()).collect();
        let known: BTreeSet<&str> = SUMMARIES.iter().map(|(english, _)| *english).collect();
        assert_eq!(said, known);
        assert_eq!(known.len(), SUMMARIES.len(), "each once");
    }
}
