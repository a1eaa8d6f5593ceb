//! What the fields of the API mean, in Chinese: the document has it in English.

/// The meaning of a field in Chinese, by the English one; a test keeps the list whole.
pub(crate) fn in_chinese(meaning: &str) -> Option<&'static str> {
    let found = MEANINGS.binary_search_by(|(english, _)| (*english).cmp(meaning)).ok()?;
    MEANINGS.get(found).map(|(_, chinese)| *chinese)
}

const MEANINGS: &[(&str, &str)] = &[
    ("1 enabled, 2 disabled, 3 disabled automatically.", "1 启用, 2 禁用, 3 自动禁用。"),
    ("1 enabled, 2 disabled.", "1 启用, 2 禁用。"),
    ("1 open, 2 disabled, 3 redeemed.", "1 未使用, 2 禁用, 3 已兑换。"),
    ("1 user, 10 admin, 100 root.", "1 用户, 10 管理员, 100 root。"),
    ("52.", "52。"),
    (
        "A model that an enabled channel serves, and that has a price.",
        "启用的渠道提供且有价格的一个模型。",
    ),
    (
        "A model that an enabled channel serves, and that has no price.",
        "启用的渠道提供而没有价格的一个模型。",
    ),
    ("A part of the name.", "名称的一部分。"),
    (
        "A word, or the number that similar servers give it; 0 and `all`: any.",
        "类型名, 或同类服务使用的编号; 0 和 `all` 表示任意。",
    ),
    (
        "Address; empty: that of `X-Webhook-Url` of each submission.",
        "地址; 空: 每次提交的 `X-Webhook-Url`。",
    ),
    ("Addresses and networks it may be used from; empty: all.", "允许使用的地址和网段; 空: 全部。"),
    ("Administrator who made it; 0: the command line.", "生成它的管理员; 0: 命令行。"),
    (
        "All requests of clients, those that no channel was asked for included; the times are \
         the upstreams' share.",
        "客户端的全部请求, 包括没有渠道可用的; 时间是上游所占的部分。",
    ),
    ("Always `custompass`.", "固定为 `custompass`。"),
    (
        "An exact decimal from 0 to 1000000 with at most 6 places.",
        "0 到 1000000 的精确小数, 最多六位小数。",
    ),
    ("As written; secrets masked.", "原样, 密钥已遮盖。"),
    ("Channels that serve.", "提供服务的渠道。"),
    ("Channels that were called since the start, by number.", "启动以来调用过的渠道, 按编号。"),
    (
        "Channels that were disabled because they failed; at most 50.",
        "因失败而被自动禁用的渠道, 最多 50 个。",
    ),
    ("Charged calls.", "计费调用数。"),
    ("Consumed.", "已消耗。"),
    ("Details: price, usage, reason.", "细节: 价格、用量、原因。"),
    ("Effect on the balance.", "对余额的影响。"),
    ("Effect on what the user has spent.", "对用户已消耗额度的影响。"),
    (
        "Enabled channels that it pauses because their account at the upstream is broken; at \
         most 50.",
        "因上游账户失效而由它暂停的启用渠道, 最多 50 个。",
    ),
    ("Enabled channels that serve it.", "服务该分组的启用渠道数。"),
    (
        "Enabled channels that serve the model; of a pattern, a model that it prices. Of one price \
         alone it is left out.",
        "提供该模型的启用渠道数; 若是通配名称, 提供其定价的模型的渠道数。单独读取一个价格时没有此项。",
    ),
    (
        "Enabled channels that the node that answers pauses now, because they fail; at most 50.",
        "已启用, 但应答的节点因其失败而暂停的渠道, 最多 50 个。",
    ),
    ("Every broken rule, with its row.", "每条不符的规则及其对象。"),
    ("Every row that was named, by number.", "所列的每一行, 按编号。"),
    ("Every task that was named, by number.", "所列的每个任务, 按编号。"),
    ("Factor on every price of the group.", "该分组全部价格的倍率。"),
    ("Factor on every price of this user.", "该用户全部价格的倍率。"),
    (
        "Factors by what was counted, or by what a request says: a list.",
        "按计量值或请求内容分档的倍率: 列表。",
    ),
    (
        "Factors by what was counted, or by what a request says: a list; `null`: none.",
        "按计量值或请求内容分档的倍率: 列表; `null`: 无。",
    ),
    (
        "First and last characters of the secret before, while that is good, too; `null`: none is.",
        "旧密钥仍有效时, 它的首尾字符; `null`: 没有有效的旧密钥。",
    ),
    ("For the header `X-CSRF-Token`.", "用于请求头 `X-CSRF-Token`。"),
    ("From 0 to 1000000000.", "0 到 1000000000。"),
    ("From 0 to 9223372036854775807.", "0 到 9223372036854775807。"),
    ("From 1 to 1000.", "1 到 1000。"),
    ("From 100 to 599.", "100 到 599。"),
    (
        "From 1; 0 is the first, too. `p` wins over `page`. Pages reach to item 10000.",
        "从 1 开始, 0 也是第一页。`p` 优先于 `page`。最多翻到第 10000 项。",
    ),
    ("From when, in seconds since 1970.", "起始时间, Unix 秒。"),
    (
        "From when: seconds since 1970, or an instant like 2024-01-01T12:00:00Z; 0: any.",
        "起始时间: Unix 秒, 或 2024-01-01T12:00:00Z 这样的时刻; 0: 不限。",
    ),
    ("Group of the user.", "用户的分组。"),
    ("Group of users or keys.", "用户或令牌的分组。"),
    (
        "Group to price and route by; `null`: the group of the user.",
        "计价和路由所用的分组; `null`: 用户的分组。",
    ),
    ("Groups served.", "服务的分组。"),
    ("HTTP status of the last answer.", "最近一次应答的 HTTP 状态码。"),
    ("Higher is tried first.", "数值大的优先。"),
    ("Hold the line belongs to.", "该流水所属的预扣。"),
    ("Holds open now.", "当前未结的预扣。"),
    (
        "Holds that it has open: its calls. Those of unfinished tasks belong to no node.",
        "它的调用的未结预扣。未完成任务的预扣不属于任何节点。",
    ),
    (
        "How a call is priced, with all ratios; of models with a price.",
        "调用的计价方式, 含全部倍率; 仅限有价格的模型。",
    ),
    ("How a call is priced.", "调用的计价方式。"),
    ("How far it is, in the upstream's words.", "进度, 上游的原话。"),
    ("How it came out.", "费用的由来。"),
    ("How it ended.", "结果。"),
    ("How long it took.", "耗时。"),
    ("How long the call took, in milliseconds.", "调用耗时, 毫秒。"),
    ("How long the call took.", "调用耗时。"),
    (
        "How long the secret before is still good, in seconds, up to 604800; 0: not at all. \
         Unless it is said, a day.",
        "旧密钥还有效多少秒, 最多 604800; 0: 立即失效。不填: 一天。",
    ),
    ("How many are as they are set.", "与现有价格相同的行数。"),
    ("How many are disabled.", "停用的数量。"),
    ("How many are new.", "新增的行数。"),
    (
        "How many are no price; with one, nothing can be saved.",
        "有误的行数; 只要有一行, 就不能保存。",
    ),
    ("How many differ from what is set.", "与现有价格不同的行数。"),
    ("How many enabled channels serve it.", "提供它的启用渠道数。"),
    ("How many routes it has.", "路由数。"),
    ("How many rows change.", "有变化的行数。"),
    (
        "How many seconds the question about them that has waited longest is late; null: none \
         waits.",
        "等待最久的查询已滞后多少秒; null: 没有等待。",
    ),
    ("How many there are.", "总数。"),
    ("How often it was tried.", "尝试次数。"),
    ("In Chinese.", "中文。"),
    ("In English.", "英文。"),
    (
        "In which the console shows pages: `zh`, `en`; `null`: the browser's.",
        "控制台页面的语言: `zh`、`en`; `null`: 随浏览器。",
    ),
    ("In words.", "文字说明。"),
    (
        "It had been moved before, under the same reference; nothing moved now.",
        "此前已用同一 reference 变动过, 这次没有变动。",
    ),
    ("It has tasks, which are polled.", "有异步任务, 会被轮询。"),
    ("It is built in: the same in every installation.", "内置: 每个安装都相同。"),
    (
        "Items on a page: from 1 to 100; others are taken as the nearest of these.",
        "每页条数: 1 到 100, 超出则取最近的值。",
    ),
    ("Its document (TOML). Lists leave it out.", "协议文档 (TOML)。列表中省略。"),
    ("Its first and last characters.", "首尾几个字符。"),
    ("Its first second, since 1970.", "该月的第一秒, Unix 秒。"),
    (
        "Its hold, and the `Idempotency-Key` sent upstream.",
        "它的预扣, 也是发给上游的 `Idempotency-Key`。",
    ),
    ("Its holds; nearly always one.", "它的预扣, 几乎总是一个。"),
    (
        "Its lease is valid. One that is not has ended without a word, and its holds are \
         ended by others.",
        "租约有效。失效表示节点已意外退出, 其预扣由其他节点结束。",
    ),
    ("Its lines, in order.", "各行, 按顺序。"),
    ("Its main name.", "主要名称。"),
    ("Its name, which channels name it by.", "名称, 渠道以此引用它。"),
    (
        "Its name: that of its machine, unless `NODE_NAME` says otherwise.",
        "名称: 默认为主机名, 可由 `NODE_NAME` 指定。",
    ),
    ("Its status.", "状态。"),
    (
        "Its submission was accepted with a reply that can't be read. It is not asked about: \
         an operator settles or refunds it.",
        "提交已被接受, 但应答无法读取。不再查询, 由管理员结算或退还。",
    ),
    ("Its uid.", "任务的 uid。"),
    ("JSON, or a string that holds it.", "JSON, 或内容为 JSON 的字符串。"),
    ("Key that submitted it.", "提交任务的令牌。"),
    (
        "Keys that name it; others are in the group of their owner.",
        "指定该分组的令牌数; 其他令牌属于其用户的分组。",
    ),
    (
        "Label to find and change channels by; empty: none.",
        "用来查找和批量修改渠道的标签; 空: 无。",
    ),
    ("Members put into JSON request bodies.", "写入 JSON 请求体的成员。"),
    (
        "Methods and paths, like `POST /v1/chat/completions`; `{name}` stands for a part of a \
         path, `{+name}` for one that may have slashes, `*` at the end for anything.",
        "方法和路径, 如 `POST /v1/chat/completions`; `{name}` 表示路径的一段, `{+name}` 可含斜杠, 末尾的 `*` 表示任意内容。",
    ),
    ("Model as clients ask for it.", "客户端请求的模型名。"),
    ("Model asked for → model sent.", "请求的模型 → 发给上游的模型。"),
    ("Model asked for, with its `/submit`.", "请求的模型, 含 `/submit`。"),
    ("Model asked for.", "请求的模型。"),
    ("Models it may call; empty: all.", "可调用的模型; 空: 全部。"),
    ("Models served.", "提供的模型。"),
    (
        "Models that an enabled channel serves and that have no price: they are free, or \
         refused, as `CUSTOM_PASS_UNPRICED` says; at most 50, and `/api/price/unpriced` has \
         them all.",
        "启用的渠道提供而没有价格的模型: 免费或被拒绝, 由 `CUSTOM_PASS_UNPRICED` 决定; 最多 50 个, 全部见 \
         `/api/price/unpriced`。",
    ),
    (
        "Models that were called: the requests of clients, in steps of 15 minutes. At most 1000.",
        "调用过的模型: 客户端的请求, 每 15 分钟一段, 最多 1000 个。",
    ),
    (
        "Moving more than this to or from a user takes typing the user's name; `null`: no amount \
         does.",
        "对一名用户的变动超过此值时, 须输入其用户名; `null` 表示从不需要。",
    ),
    (
        "Name of the header that carries the caller's key upstream.",
        "向上游携带调用者令牌的请求头名称。",
    ),
    ("Name of the lot it was made in.", "生成批次的名称。"),
    (
        "Name of the lot; where its codes were renamed, the first of their names.",
        "批次的名称; 兑换码改过名的, 取其中第一个。",
    ),
    ("Name of the movement.", "该次变动的名称。"),
    ("Name of the node that answers.", "应答的节点名称。"),
    ("Name of the protocol that the upstream speaks.", "上游所用协议的名称。"),
    ("Name of the protocol.", "协议名称。"),
    ("Name the owner gave it.", "所有者起的名称。"),
    ("Name to log in with.", "登录名。"),
    ("Name to show.", "显示名称。"),
    ("Names the session, for ending it.", "会话的标识, 用来结束它。"),
    ("Nodes that serve: their lease is valid.", "在线的节点数: 租约有效。"),
    ("Note of the operators.", "管理员的备注。"),
    ("Nothing was changed: this is what would be.", "没有修改: 这是将会发生的变化。"),
    ("Nothing was decided: this is what would be.", "没有处理: 这是将会发生的变化。"),
    ("Number of the channel.", "渠道编号。"),
    ("Number of the code.", "兑换码编号。"),
    ("Number of the delivery.", "投递编号。"),
    ("Number of the endpoint.", "回调地址编号。"),
    ("Number of the key.", "令牌编号。"),
    ("Number of the line.", "流水编号。"),
    ("Number of the task.", "任务编号。"),
    ("Number of the user.", "用户编号。"),
    ("One for each step, also where there was none.", "每个时间段一项, 没有用量的也列出。"),
    ("Only the balance of the user limits this key.", "该令牌只受用户余额限制。"),
    (
        "Only what is older than this number: the way on where pages end.",
        "只列出早于此编号的, 用于翻页到尽头之后。",
    ),
    ("Open holds.", "未结的预扣数。"),
    ("Over how many it was decided, or can be.", "已处理或可以处理的任务数。"),
    ("Owner.", "所有者。"),
    ("Paid calls settled.", "已结算的计费调用数。"),
    ("Pause by itself when it keeps failing.", "持续失败时自动暂停。"),
    (
        "Prices of counted units before the ratios of group and user, in quota: an object by \
         unit; `null`: none.",
        "各计量单位的价格 (额度, 未乘分组和用户倍率): 以单位为键的对象; `null`: 无。",
    ),
    (
        "Prices of counted units, in quota: an object by unit.",
        "各计量单位的价格 (额度): 以单位为键的对象。",
    ),
    (
        "Reference of that lot, by which it is found; empty: made with plain SQL.",
        "该批次的编号, 按它查找; 空: 用 SQL 直接生成。",
    ),
    ("Requests a minute; `null`: no limit of its own.", "每分钟请求数; `null`: 没有单独的限制。"),
    ("Scheme and host, and a path where the protocol has it.", "协议头和主机, 协议需要时含路径。"),
    ("Share among channels of the same priority.", "同优先级渠道之间的份额。"),
    (
        "Since when one is under way, in seconds since 1970; none: none is.",
        "正在进行的核对开始于何时, 1970 年以来的秒数; 空: 没有。",
    ),
    ("Status words of tasks.", "任务状态词。"),
    ("Tasks that have not ended.", "未结束的任务数。"),
    (
        "That reply, as far as it was kept; for administrators.",
        "该应答中保留的部分, 供管理员查看。",
    ),
    ("The amount the line is about.", "该流水涉及的金额。"),
    ("The balance at its start.", "期初余额。"),
    (
        "The call that was answered: method and path at the upstream.",
        "得到应答的调用: 在上游的方法和路径。",
    ),
    ("The cause; not shown to users.", "原因, 不向用户显示。"),
    ("The channel's models.", "渠道的模型。"),
    ("The channel.", "渠道。"),
    ("The channels that name it.", "引用它的渠道。"),
    (
        "The code of the failure, as clients see it; `UPSTREAM_STATUS` and \
         `UPSTREAM_ENVELOPE`: the upstream's own error was passed on.",
        "客户端看到的错误码; `UPSTREAM_STATUS` 和 `UPSTREAM_ENVELOPE` 表示原样返回了上游的错误。",
    ),
    ("The first 500 characters of the reply, without the key.", "应答的前 500 个字符, 不含密钥。"),
    ("The first second after it.", "该月之后的第一秒。"),
    ("The groups that have a ratio, or that a channel names.", "有倍率或被渠道提到的分组。"),
    ("The model asked for.", "请求的模型。"),
    ("The model, or the pattern that channels serve.", "模型, 或渠道提供的通配名。"),
    ("The model.", "模型。"),
    ("The patterns of its routes. Lists leave them out.", "路由的模式。列表中省略。"),
    (
        "The protocol that it is called by: that of the channel that is tried first.",
        "调用所用的协议: 最先尝试的渠道的协议。",
    ),
    ("The route.", "路由。"),
    ("The rows.", "各行。"),
    ("The same in English.", "同上, 英文。"),
    ("The same of 95 in a hundred.", "同上, 95% 的请求。"),
    (
        "The same with the numbers of the call; `null` as its charge.",
        "同上, 代入该次调用的数值; 与费用同为 `null`。",
    ),
    (
        "The status that the client got; null: it had gone.",
        "客户端收到的状态码; null: 客户端已断开。",
    ),
    (
        "The sum of holds released because the outcome of their calls is unknown.",
        "因调用结果未知而退还的预扣之和。",
    ),
    ("The sum of their amounts.", "金额之和。"),
    ("The sums are of so many minutes before now.", "合计的是最近这么多分钟。"),
    ("The sums, one a type.", "合计, 每种类型一项。"),
    ("The upstream's id; empty until it is known.", "上游的任务 ID; 未知时为空。"),
    ("The upstream's own word.", "上游自己的状态词。"),
    ("The user's name now.", "用户现在的名称。"),
    ("The user.", "用户。"),
    ("The version of its program.", "程序版本。"),
    ("Their name at the time.", "当时的用户名。"),
    ("Their name.", "用户名。"),
    (
        "There is no price: calls are free, or refused, as `CUSTOM_PASS_UNPRICED` says.",
        "没有价格: 调用免费或被拒绝, 由 `CUSTOM_PASS_UNPRICED` 决定。",
    ),
    (
        "They were told, and the balance has not risen above it since.",
        "已经提醒过, 此后余额没有回升到阈值之上。",
    ),
    ("This run of its process.", "该进程的本次运行。"),
    ("This run of the process.", "进程的本次运行。"),
    (
        "Those of them that an administrator has to settle or refund: the reply to their \
         submission can't be read, and they are asked about no more.",
        "其中等待管理员结算或退还的: 提交的应答无法读取, 不再查询。",
    ),
    ("Those of them that are `processing`.", "其中状态为 `processing` 的。"),
    ("Those of them that are `submitted`.", "其中状态为 `submitted` 的。"),
    ("Those of them that are `unknown`.", "其中状态为 `unknown` 的。"),
    ("Those of them that the channel does not serve yet.", "其中渠道尚未提供的。"),
    (
        "Timeout, retries, proxy (without its password), estimate, concurrency.",
        "超时、重试、代理 (不含密码)、预估、并发。",
    ),
    ("Tokens a minute; `null`: no limit.", "每分钟 Tokens; `null`: 不限。"),
    ("Tokens of completions.", "输出 Tokens。"),
    ("Tokens of prompts.", "输入 Tokens。"),
    ("Tokens of the completion.", "输出 Tokens。"),
    ("Tokens of the prompt.", "输入 Tokens。"),
    (
        "Until when other nodes leave its holds alone, in seconds since 1970. It renews this.",
        "其他节点在此之前不处理它的预扣, Unix 秒。节点会不断续期。",
    ),
    (
        "Until when the secret before is good, in seconds since 1970; `null`: none is.",
        "旧密钥有效到何时, Unix 秒; `null`: 没有有效的旧密钥。",
    ),
    (
        "Until when the secret before signs too, in seconds since 1970; `null`: it doesn't.",
        "旧密钥继续签名到何时, Unix 秒; `null`: 不再签名。",
    ),
    ("Until when, in the same ways.", "截止时间, 写法同上。"),
    ("Until when.", "截止时间。"),
    ("Upstream's status → status for the client.", "上游状态码 → 返回客户端的状态码。"),
    ("Users checked.", "已核对的用户数。"),
    ("Users there are.", "用户数。"),
    ("Users who are in it.", "属于该分组的用户数。"),
    (
        "Users whose balance is below zero: their calls are refused.",
        "余额低于零的用户, 其调用会被拒绝。",
    ),
    ("Webhooks that were disabled because they failed.", "因失败而被停用的回调地址。"),
    ("What is charged of it.", "从中收取的金额。"),
    ("What is held before a call priced by use.", "按量计费的调用预扣多少。"),
    ("What is held before it.", "调用前预扣多少。"),
    (
        "What is put aside now for calls and tasks under way, while the month lasts: the \
         balance is `closing` less this.",
        "当月进行中的调用和任务的预扣: 余额等于 `closing` 减去它。",
    ),
    ("What is read of the request.", "从请求中读到的内容。"),
    ("What it does.", "作用。"),
    ("What it found.", "核对结果。"),
    ("What it hears of; empty: all.", "订阅的事件; 空: 全部。"),
    ("What it held at first.", "最初的预扣。"),
    ("What it holds, or was charged in the end.", "预扣的金额, 或最终的费用。"),
    ("What it is called in Chinese.", "中文名称。"),
    ("What it is called in English.", "英文名称。"),
    ("What it is worth.", "面值。"),
    ("What it was charged in the end.", "最终的费用。"),
    (
        "What its calls cost in the last 30 days, today included: of whole days in UTC. Of one \
         price alone it is left out.",
        "最近 30 天 (含今天, 按 UTC 整日) 其调用的费用。单独读取一个价格时没有此项。",
    ),
    ("What may stand there.", "允许的值。"),
    (
        "What moved it: `opening` and their amounts add up to `closing`.",
        "余额的变动: `opening` 加上各项金额等于 `closing`。",
    ),
    ("What of it goes back to the balances.", "从中退还到余额的金额。"),
    (
        "What the call costs; `null` of a price of units alone, of which a call in tokens counts \
         none.",
        "该调用的费用; 只按单位计价时为 `null`, 因为按 Tokens 试算的调用不含这些单位。",
    ),
    ("What the channel serves and the upstream does not name.", "渠道提供、但上游没有列出的。"),
    ("What the client named as the model.", "客户端所写的模型。"),
    (
        "What the client said it is when it logged in; empty: nothing.",
        "登录时客户端自报的名称, 空: 没有。",
    ),
    (
        "What the client was told, in Chinese; empty: the upstream's own words, or nothing.",
        "客户端看到的说明, 中文; 空: 上游的原话, 或没有说明。",
    ),
    (
        "What the last charges of the model would have been at this price.",
        "按此价格, 该模型最近的收费应为多少。",
    ),
    (
        "What the last check of the books found on the node that answers: broken rules.",
        "应答的节点上次核对账目发现的不符之处。",
    ),
    (
        "What the upstream says it has, by name; at most 2000.",
        "上游列出的模型, 按名称, 最多 2000 个。",
    ),
    ("What the user can still spend.", "用户还能消耗的额度。"),
    ("What the user has spent.", "用户已消耗的额度。"),
    ("What they are worth together.", "它们的总价值。"),
    ("What they cost, less what was taken back.", "费用, 已减去退还。"),
    ("What they hold.", "它们的预扣。"),
    ("What they put aside.", "预扣之和。"),
    ("What this key has spent.", "该令牌已消耗的额度。"),
    (
        "What this key may still spend; without meaning when unlimited.",
        "该令牌还能消耗的额度; 不限额时无意义。",
    ),
    (
        "What this node added to the time of half of those for which an upstream was asked, \
         or less, in milliseconds; null without them.",
        "调用上游的请求中, 一半请求在本节点自身的耗时不超过此值, 单位毫秒; 没有这样的请求时为 null。",
    ),
    ("What those held.", "这些任务预扣的金额。"),
    ("What to do; empty when there is nothing to do.", "如何处理; 无需处理时为空。"),
    ("What was charged for calls through it.", "经由它的调用的费用。"),
    ("What was counted by the reply, in meters.", "按应答计量的各项数值。"),
    ("What was found.", "检查结果。"),
    ("What was left at its end, or now.", "期末 (或现在) 的余额。"),
    ("What was looked at.", "检查项。"),
    (
        "What was said, as it came: JSON, unless the reply to the submission can't be read.",
        "应答原文: 一般是 JSON, 除非提交的应答无法读取。",
    ),
    (
        "What went wrong, in one word: `dns`, `refused`, `tls`, `first_byte_timeout`, \
         `status`, `reply`: the reply itself says that the call failed …",
        "错误的代号: `dns`、`refused`、`tls`、`first_byte_timeout`、`status`、`reply` (应答本身报告失败) …",
    ),
    ("What went wrong, in words.", "错误说明。"),
    ("When it began to count, in seconds since 1970.", "开始计数的时间, Unix 秒。"),
    ("When it began, in seconds since 1970.", "开始时间, Unix 秒。"),
    ("When it ended, in seconds since 1970.", "结束时间, Unix 秒。"),
    ("When it ended; 0: not yet.", "结束时间; 0: 尚未结束。"),
    ("When it ends, in seconds since 1970; -1: never.", "到期时间, Unix 秒; -1: 永不。"),
    ("When it ends; 0: never.", "到期时间; 0: 永不。"),
    ("When it is tried next, while it is pending.", "待投递时, 下次尝试的时间。"),
    ("When it was last edited.", "最近修改时间。"),
    (
        "When it was last given a new secret, in seconds since 1970; `null`: never.",
        "最近一次更换密钥的时间, Unix 秒; `null`: 从未。",
    ),
    (
        "When it was last set through the API, in seconds since 1970.",
        "最近一次通过 API 设置的时间, Unix 秒。",
    ),
    (
        "When it was last set, in seconds since 1970; none for one that is built in.",
        "最近设置的时间, Unix 秒; 内置的没有。",
    ),
    ("When it was last tried.", "最近一次尝试的时间。"),
    (
        "When it was last used, to a minute; `null`: never.",
        "最近使用时间, 精确到分钟; `null`: 从未。",
    ),
    ("When it was last used, within a minute.", "最近使用时间, 误差一分钟以内。"),
    (
        "When it was made, in seconds since 1970, like all times here.",
        "创建时间, Unix 秒; 此处的时间均如此。",
    ),
    ("When it was made, in seconds since 1970.", "创建时间, Unix 秒。"),
    ("When it was made.", "创建时间。"),
    ("When it was set, in seconds since 1970; 0: never.", "设置时间, Unix 秒; 0: 从未。"),
    ("When it was started, in seconds since 1970.", "启动时间, Unix 秒。"),
    ("When nobody sets it.", "默认值。"),
    ("When something about it last changed.", "最近变化的时间。"),
    ("When something about the task last changed.", "任务最近变化的时间。"),
    ("When the check began, in seconds since 1970.", "核对开始的时间, Unix 秒。"),
    (
        "When the secret before was last used since it was replaced, to a minute; `null`: not \
         since.",
        "旧密钥在更换后最近一次使用的时间, 精确到分钟; `null`: 更换后没有使用过。",
    ),
    ("When the task ended, or the balance was seen to be low.", "任务结束或发现余额不足的时间。"),
    ("When the upstream had taken it; 0: not yet.", "上游接受的时间; 0: 尚未。"),
    ("When the user was last edited.", "用户最近修改时间。"),
    ("When the user was made, in seconds since 1970.", "用户创建时间, Unix 秒。"),
    ("When they were last told, in seconds since 1970.", "最近一次提醒的时间, Unix 秒。"),
    ("When, in seconds since 1970.", "时间, Unix 秒。"),
    ("When; 0: not yet.", "时间; 0: 尚未。"),
    ("Where its facts come from.", "资料来源。"),
    ("Where to.", "投递地址。"),
    ("Whether a key is set.", "是否已设置密钥。"),
    ("Whether every rule holds.", "是否全部相符。"),
    ("Whether it can be changed while running.", "是否可在运行中修改。"),
    ("Whether it is the one that asks.", "是否当前会话。"),
    (
        "Whether the address guard refuses its address as it stands: a private one that \
         `UPSTREAM_ALLOW_NETS` does not allow. A name is judged when it is called.",
        "地址是否会被拒绝: `UPSTREAM_ALLOW_NETS` 未允许的私有地址。域名在调用时判断。",
    ),
    ("Whether the month is over.", "该月是否已结束。"),
    ("Whether the upstream answered, and not with a failure.", "上游是否已应答且没有失败。"),
    ("Whether there is a password.", "是否设有密码。"),
    ("Whether there is an access token for `/api`.", "是否有 `/api` 的访问令牌。"),
    ("Whether users see it now.", "用户现在是否看到。"),
    ("Who redeemed it; 0: nobody.", "兑换者; 0: 无人。"),
    ("Whose balance, or who acted.", "余额所属的用户, 或操作者。"),
    ("Whose.", "所属用户。"),
    (
        "Why it can't be used, if it can't: its channels answer 503 then.",
        "无法使用时的原因: 此时其渠道应答 503。",
    ),
    ("Why it failed.", "失败原因。"),
    ("Why newapi itself disabled it.", "newapi 自动停用它的原因。"),
    ("Why the last try failed, in one word.", "最近一次失败的代号。"),
    ("Worth of a cached prompt token.", "缓存输入 Token 的倍率。"),
    ("Worth of a completion token, in prompt tokens.", "输出 Token 相对输入 Token 的倍率。"),
    ("Worth of an audio token.", "音频 Token 的倍率。"),
    ("Worth of an image token.", "图像 Token 的倍率。"),
    (
        "Worth of further meters, in prompt tokens: an object by meter.",
        "其他计量项相对输入 Token 的倍率: 以计量项为键的对象。",
    ),
    (
        "Worth of further meters, in prompt tokens: an object by meter; `null`: none.",
        "其他计量项相对输入 Token 的倍率: 以计量项为键的对象; `null`: 无。",
    ),
    ("`2026-11`, in UTC.", "`2026-11`, UTC。"),
    ("`X-Request-Id` of the call.", "调用的 `X-Request-Id`。"),
    ("`X-Request-Id` of the submission.", "提交时的 `X-Request-Id`。"),
    (
        "`default`, `file …`, `environment …` or `runtime`.",
        "`default`、`file …`、`environment …` 或 `runtime`。",
    ),
    (
        "`id` of the task that ended; of other events: of the event.",
        "结束的任务的 `id`; 其他事件: 事件的 `id`。",
    ),
    (
        "`pending`, `delivered`, or `failed`: given up.",
        "`pending`、`delivered` 或 `failed` (已放弃)。",
    ),
    (
        "`submitted`, `processing`, `completed`, `failed`, `unknown`.",
        "`submitted`、`processing`、`completed`、`failed`、`unknown`。",
    ),
    (
        "`task.completed`, `task.failed`, `balance.low` or `webhook.test`.",
        "`task.completed`、`task.failed`、`balance.low` 或 `webhook.test`。",
    ),
    (
        "`topup`, `precharge`, `consume`, `refund`, `adjust`, `manage`, `system`, `error`.",
        "`topup`、`precharge`、`consume`、`refund`、`adjust`、`manage`、`system`、`error`。",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::CALLS;
    use std::collections::BTreeSet;

    #[test]
    fn every_field_is_told_in_chinese() {
        let fields = CALLS.iter().flat_map(|call| {
            let asked = call.places.iter().chain(&call.params);
            asked.chain(&call.body).chain(&call.answer)
        });
        let said: BTreeSet<&str> = fields.map(|field| field.words.as_str()).collect();
        let missing = said.iter().filter(|it| !it.is_empty() && in_chinese(it).is_none());
        let missing: Vec<_> = missing.collect();
        assert!(missing.is_empty(), "not in Chinese: {missing:#?}");
        for (english, _) in MEANINGS {
            assert!(said.contains(english), "no field means this any more: {english}");
        }
        assert!(MEANINGS.is_sorted(), "it is searched by halves");
    }
}
