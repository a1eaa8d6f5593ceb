//! What the fields of the API mean, in Chinese: the document has it in English.

mod nodes;
mod questions;

/// The meaning of a field in Chinese, by the English one; a test keeps the list whole.
pub(crate) fn in_chinese(meaning: &str) -> Option<&'static str> {
    LISTS.into_iter().find_map(|list| {
        let found = list.binary_search_by(|(english, _)| (*english).cmp(meaning)).ok()?;
        list.get(found).map(|(_, chinese)| *chinese)
    })
}

const LISTS: [&[(&str, &str)]; 3] = [MEANINGS, nodes::MEANINGS, questions::MEANINGS];
const MEANINGS: &[(&str, &str)] = &[
    ("1 enabled, 2 disabled, 3 disabled automatically.", "1 启用, 2 禁用, 3 自动禁用。"),
    ("1 enabled, 2 disabled.", "1 启用, 2 禁用。"),
    ("1 open, 2 disabled, 3 redeemed.", "1 未使用, 2 禁用, 3 已兑换。"),
    ("1 user, 10 admin, 100 root.", "1 用户, 10 管理员, 100 root。"),
    ("52.", "52。"),
    ("A call, in quota; of models priced per call.", "一次调用的价格 (额度), 限按次计费的模型。"),
    ("A document that need not be stored.", "协议文档, 不必已保存。"),
    (
        "A fixed time, in seconds since 1970, which clients of OpenAI expect.",
        "固定的时间, Unix 秒, OpenAI 的客户端需要它。",
    ),
    ("A million cached prompt tokens.", "每百万缓存输入 Tokens 的价格。"),
    ("A million completion tokens.", "每百万输出 Tokens 的价格。"),
    (
        "A million prompt tokens, in quota; of models priced by use, other than by units alone.",
        "每百万输入 Tokens 的价格 (额度), 限按量计费且不只按单位计价的模型。",
    ),
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
        "A user, by name or number: whose ratio counts, and whose group.",
        "用户 (名称或编号): 按其倍率和分组计价。",
    ),
    (
        "A word, or the number that similar servers give it; `spent`: charges and refunds; \
         0 and `all`: any.",
        "类型名, 或同类服务使用的编号; `spent` 为结算与退款; 0 和 `all` 表示任意。",
    ),
    (
        "Actions of the admin journal of one kind: `refused`, `logins`, `money`, \
         `users`, `keys`, `channels`, `protocols`, `prices`, `settings`, `tasks` or `webhooks`.",
        "某一类操作记录: `refused`, `logins`, `money`, `users`, `keys`, `channels`, `protocols`, \
         `prices`, `settings`, `tasks` 或 `webhooks`。",
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
    ("Always `billing_subscription`.", "固定为 `billing_subscription`。"),
    ("Always `custompass`.", "固定为 `custompass`。"),
    ("Always `list`.", "固定为 `list`。"),
    ("Always `model`.", "固定为 `model`。"),
    ("Always `ok`.", "固定为 `ok`。"),
    ("Always `task`.", "固定为 `task`。"),
    ("Always true.", "固定为 true。"),
    ("An enabled channel.", "一个启用的渠道。"),
    ("An enabled key of such a user.", "这样的用户的一个启用的令牌。"),
    ("An enabled user with a balance.", "一个有余额的启用用户。"),
    (
        "An exact decimal from 0 to 1000000 with at most 6 places.",
        "0 到 1000000 的精确小数, 最多六位小数。",
    ),
    ("As written; secrets masked.", "原样, 密钥已遮盖。"),
    ("Ask the upstreams as well.", "同时询问上游。"),
    ("By how much: positive adds, negative takes.", "变动的额度: 正数增加, 负数扣减。"),
    (
        "Calls on the node that answers in the last 15 minutes, where more than a tenth of at \
         least 20 failed; else null.",
        "应答的节点最近 15 分钟的调用, 至少 20 次且失败超过十分之一时才有; 否则为 null。",
    ),
    ("Channel that has it; not shown to users.", "执行它的渠道, 不向用户显示。"),
    ("Channel used; not shown to users.", "所用的渠道, 不向用户显示。"),
    ("Channels that serve.", "提供服务的渠道。"),
    ("Channels that were called since the start, by number.", "启动以来调用过的渠道, 按编号。"),
    (
        "Channels that were disabled because they failed; at most 50.",
        "因失败而被自动禁用的渠道, 最多 50 个。",
    ),
    ("Charged calls.", "计费调用数。"),
    ("Consumed.", "已消耗。"),
    (
        "Deliveries that wait for another try because one failed; counted among the first 1000 \
         that wait.",
        "失败后等待重试的投递数, 只在最先到期的 1000 条中计数。",
    ),
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
    (
        "Enabled webhooks that nothing reaches: of their last 10 deliveries none arrived, after 3 \
         tries at least.",
        "启用但收不到通知的回调: 最近 10 次投递无一送达, 且至少尝试过 3 次。",
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
    (
        "From when they are worth nothing, in seconds since 1970; 0: never.",
        "从何时起失效, Unix 秒; 0: 永不。",
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
    ("How its last test went; null: it was never tested.", "最近一次测试的结果; null: 从未测试。"),
    ("How long a step is: `day` or `hour`.", "每个时间段的长度: `day` 或 `hour`。"),
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
    (
        "How many codes the caller means: where there are more or fewer, none is disabled.",
        "调用者认为有多少个; 数量不符时一个也不停用。",
    ),
    ("How many differ from what is set.", "与现有价格不同的行数。"),
    ("How many enabled channels serve it.", "提供它的启用渠道数。"),
    (
        "How many models are named, those that cost most; 10 unless it is said.",
        "列出费用最高的多少个模型, 不填为 10。",
    ),
    ("How many routes it has.", "路由数。"),
    ("How many rows change.", "有变化的行数。"),
    (
        "How many seconds the question about them that has waited longest is late; null: none \
         waits.",
        "等待最久的查询已滞后多少秒; null: 没有等待。",
    ),
    ("How many there are.", "总数。"),
    ("How often it was tried.", "尝试次数。"),
    (
        "How the upstream is asked about it, while it is unfinished.",
        "未结束时, 向上游查询它的情况。",
    ),
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
    ("Its holds, the newest first; nearly always one.", "它的预扣, 最新的在前; 几乎总是一个。"),
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
    ("Key used.", "所用的令牌。"),
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
    ("Name of the lot.", "批次的名称。"),
    (
        "Name of the lot; where its codes were renamed, the first of their names.",
        "批次的名称; 兑换码改过名的, 取其中第一个。",
    ),
    ("Name of the movement.", "该次变动的名称。"),
    ("Name of the movement: the same again moves nothing.", "变动的名称: 同名再次提交不会变动。"),
    ("Name of the node that answers.", "应答的节点名称。"),
    ("Name of the protocol that the upstream speaks.", "上游所用协议的名称。"),
    ("Name of the protocol.", "协议名称。"),
    ("Name the owner gave it.", "所有者起的名称。"),
    ("Name to log in with.", "登录名。"),
    ("Name to show.", "显示名称。"),
    (
        "Names the making of this lot: the same again makes nothing.",
        "这次生成的名称: 同名再次提交不会生成。",
    ),
    ("Names the session, for ending it.", "会话的标识, 用来结束它。"),
    ("Not here: it is replaced with `POST …/rotate`.", "此处不能修改: 用 `POST …/rotate` 更换。"),
    ("Note of the operators.", "管理员的备注。"),
    ("Nothing was changed: this is what would be.", "没有修改: 这是将会发生的变化。"),
    ("Nothing was decided: this is what would be.", "没有处理: 这是将会发生的变化。"),
    ("Number of the channel.", "渠道编号。"),
    ("Number of the code.", "兑换码编号。"),
    ("Number of the delivery.", "投递编号。"),
    ("Number of the endpoint.", "回调地址编号。"),
    ("Number of the key.", "令牌编号。"),
    (
        "Number of the line that this reverses: `delta` is what it moved, with the other sign.",
        "要冲正的流水编号: `delta` 是其变动的相反数。",
    ),
    ("Number of the line.", "流水编号。"),
    ("Number of the task.", "任务编号。"),
    ("Number of the user.", "用户编号。"),
    ("One for each step, also where there was none.", "每个时间段一项, 没有用量的也列出。"),
    (
        "One's own password; not needed in the first ten minutes after the login.",
        "自己的密码; 登录后十分钟内可不填。",
    ),
    (
        "Only calls before this hold: the way on where there are more.",
        "仅此预扣之前的调用: 还有更多时据此继续。",
    ),
    ("Only the balance of the user limits this key.", "该令牌只受用户余额限制。"),
    (
        "Only what is older than this number: the way on where pages end.",
        "只列出早于此编号的, 用于翻页到尽头之后。",
    ),
    ("Open holds.", "未结的预扣数。"),
    ("Over how many it was decided, or can be.", "已处理或可以处理的任务数。"),
    (
        "Over how many minutes the sums are: from 1 to 180; 60 unless it is said.",
        "合计最近多少分钟: 1 到 180, 不填为 60。",
    ),
    ("Owner.", "所有者。"),
    ("Paid calls settled.", "已结算的计费调用数。"),
    ("Path of the call; left out: the one that costs least.", "调用的路径; 不填: 费用最低的一个。"),
    ("Pause by itself when it keeps failing.", "持续失败时自动暂停。"),
    ("Price of a call, in quota.", "每次调用的价格 (额度)。"),
    ("Price of a prompt token, in quota.", "每个输入 Token 的价格 (额度)。"),
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
    ("Reference of the lot.", "批次的编号。"),
    ("Requests a minute; `null`: no limit of its own.", "每分钟请求数; `null`: 没有单独的限制。"),
    (
        "Requests for it that ended within the last three hours on the node that answers, free \
         ones too; `null`: it serves no calls.",
        "应答的节点最近三小时内结束的对它的请求数, 包括免费的; `null`: 该节点不处理调用。",
    ),
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
    (
        "The administrator below root who decided where it sends keys: keys of other \
         administrators, and root's, are not sent there. Null: root decided.",
        "决定它把令牌发往何处的管理员 (非 root): 其他管理员和 root 的令牌不会发往那里。null: 由 root 决定。",
    ),
    ("The amount the line is about.", "该流水涉及的金额。"),
    ("The balance at its start.", "期初余额。"),
    ("The body; left out: that of a call that costs little.", "请求体; 不填: 费用很低的一个。"),
    (
        "The call that was answered: method and path at the upstream.",
        "得到应答的调用: 在上游的方法和路径。",
    ),
    ("The cause; not shown to users.", "原因, 不向用户显示。"),
    ("The channel that was asked last; not shown to users.", "最后调用的渠道, 不向用户显示。"),
    ("The channel's models.", "渠道的模型。"),
    ("The channel.", "渠道。"),
    ("The channels that name it.", "引用它的渠道。"),
    (
        "The code of the failure, as clients see it; `UPSTREAM_STATUS` and \
         `UPSTREAM_ENVELOPE`: the upstream's own error was passed on.",
        "客户端看到的错误码; `UPSTREAM_STATUS` 和 `UPSTREAM_ENVELOPE` 表示原样返回了上游的错误。",
    ),
    ("The code.", "兑换码。"),
    ("The field that the list is sorted by.", "排序所用的字段。"),
    ("The first 500 characters of the reply, without the key.", "应答的前 500 个字符, 不含密钥。"),
    ("The first paid call.", "第一次计费调用。"),
    ("The first second after it.", "该月之后的第一秒。"),
    (
        "The group whose ratio counts; unless it is said, that of `user`.",
        "按其倍率计价的分组; 不填: `user` 的分组。",
    ),
    ("The group.", "分组。"),
    ("The groups that have a ratio, or that a channel names.", "有倍率或被渠道提到的分组。"),
    (
        "The hold of that call, where several have its id.",
        "该调用的预扣, 用于多次调用共用一个 ID 时。",
    ),
    ("The key itself, `sk-…`. It is shown this once.", "令牌本身, `sk-…`, 只显示这一次。"),
    ("The key.", "令牌。"),
    (
        "The last line of the log that is known: those behind it are counted at the start.",
        "已知的最后一条日志: 开始时会统计其后的条数。",
    ),
    ("The last one that was made since the node's start.", "节点启动以来最近一次核对。"),
    ("The last uid of the page before.", "上一页最后一个 uid。"),
    ("The model asked for.", "请求的模型。"),
    ("The model that is called.", "要调用的模型。"),
    ("The model, or the pattern that channels serve.", "模型, 或渠道提供的通配名。"),
    ("The model, with its slashes as they are.", "模型名, 斜杠保持原样。"),
    ("The model.", "模型。"),
    ("The most lines.", "最多多少行。"),
    ("The most tasks of a page.", "每页最多多少个任务。"),
    (
        "The most that a call priced by use may charge, before the ratios of group and user; \
         `null`: no bound.",
        "按量计费的一次调用最多收取多少 (未乘分组和用户倍率); `null`: 没有上限。",
    ),
    (
        "The name that the caller takes the user to have: with another nothing moves.",
        "调用者认为的用户名: 不符时不变动。",
    ),
    ("The new password, eight characters at least.", "新密码, 至少八个字符。"),
    ("The one of its calls that has this hold.", "其中属于这笔预扣的一次调用。"),
    ("The one of this name alone.", "只看这个名称的用户。"),
    ("The one with this id at its upstream.", "只看上游任务 ID 为此的。"),
    ("The password until now.", "原密码。"),
    ("The password, eight characters at least.", "密码, 至少八个字符。"),
    ("The password.", "密码。"),
    ("The patterns of its routes. Lists leave them out.", "路由的模式。列表中省略。"),
    (
        "The protocol that it is called by: that of the channel that is tried first.",
        "调用所用的协议: 最先尝试的渠道的协议。",
    ),
    ("The protocol's name, where there is no document.", "协议名称, 没有文档时使用。"),
    ("The reply's body, if it is to be read as well.", "应答体, 需要一并读取时填写。"),
    ("The reply's header `content-type`.", "应答的 `content-type` 头。"),
    ("The reply's headers, one a line: `NAME: VALUE`.", "应答的头, 每行一个: `NAME: VALUE`。"),
    ("The request's headers, one a line: `NAME: VALUE`.", "请求的头, 每行一个: `NAME: VALUE`。"),
    ("The route.", "路由。"),
    ("The rows.", "各行。"),
    ("The same as `channel_id`.", "同 `channel_id`。"),
    ("The same as `model`.", "同 `model`。"),
    ("The same as `token_name`.", "同 `token_name`。"),
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
    (
        "The table: a line of names, then a line for each model.",
        "表格: 一行列名, 然后每个模型一行。",
    ),
    ("The task's number, uid, or upstream's id.", "任务的编号、uid 或上游任务 ID。"),
    ("The task's uid.", "任务的 uid。"),
    ("The upstream's id; `null` until it is known.", "上游的任务 ID; 未知时为 `null`。"),
    ("The upstream's id; empty until it is known.", "上游的任务 ID; 未知时为空。"),
    (
        "The upstream's key, which is never shown; left out of a change: as it is.",
        "上游的密钥, 不会显示; 修改时不填: 保持不变。",
    ),
    ("The upstream's own word.", "上游自己的状态词。"),
    ("The user's name now.", "用户现在的名称。"),
    ("The user.", "用户。"),
    ("The version of its program.", "程序版本。"),
    ("Their name at the time.", "当时的用户名。"),
    ("Their name.", "用户名。"),
    ("Their numbers.", "它们的编号。"),
    (
        "There are older ones: they are asked for as those before this one.",
        "还有更早的: 以此为 `before` 查询。",
    ),
    (
        "There is no price: calls are free, or refused, as `CUSTOM_PASS_UNPRICED` says.",
        "没有价格: 调用免费或被拒绝, 由 `CUSTOM_PASS_UNPRICED` 决定。",
    ),
    (
        "They are told when the balance falls below it; `null`: never.",
        "余额低于它时提醒; `null`: 不提醒。",
    ),
    (
        "They were told, and the balance has not risen above it since.",
        "已经提醒过, 此后余额没有回升到阈值之上。",
    ),
    ("This run of its process.", "该进程的本次运行。"),
    ("This run of the process.", "进程的本次运行。"),
    (
        "Those in this state, by its number, or `failing`.",
        "该状态 (编号) 的, 或投递失败的 (`failing`)。",
    ),
    (
        "Those in this state, by its number, or those that this node has `paused`.",
        "该状态 (编号) 的, 或被本节点暂停的 (`paused`)。",
    ),
    ("Those in this state, by its number.", "只看此状态 (编号) 的。"),
    ("Those of keys of this name.", "只看此名称的令牌的。"),
    ("Those of the call with this `X-Request-Id`.", "只看此 `X-Request-Id` 的调用的。"),
    ("Those of the channel of this number.", "只看此编号的渠道的。"),
    ("Those of the key of this number.", "只看此编号的令牌的。"),
    ("Those of the lot with this reference.", "只看此编号的批次的。"),
    ("Those of the user of this name.", "只看此名称的用户的。"),
    ("Those of the user of this number.", "只看此编号的用户的。"),
    (
        "Those of them that an administrator has to settle or refund: the reply to their \
         submission can't be read, and they are asked about no more.",
        "其中等待管理员结算或退还的: 提交的应答无法读取, 不再查询。",
    ),
    ("Those of them that are `processing`.", "其中状态为 `processing` 的。"),
    ("Those of them that are `submitted`.", "其中状态为 `submitted` 的。"),
    ("Those of them that are `unknown`.", "其中状态为 `unknown` 的。"),
    ("Those of them that the channel does not serve yet.", "其中渠道尚未提供的。"),
    ("Those of this group.", "只看此分组的。"),
    ("Those of this model.", "只看此模型的。"),
    ("Those of this name.", "只看此名称的。"),
    ("Those of this role: 1, 10 or 100.", "只看此角色的: 1、10 或 100。"),
    (
        "Those that are `pending`, `delivered` or `failed`.",
        "只看 `pending`、`delivered` 或 `failed` 的。",
    ),
    ("Those that failed with this code.", "只看以此错误码失败的。"),
    (
        "Those with this status, or with all that are `unfinished` or `undecided`.",
        "只看此状态的, 或全部 `unfinished`、`undecided` 的。",
    ),
    ("Those with this tag.", "只看此标签的。"),
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
    (
        "`X-Request-Id` of the call whose charge is given back, whole or in part.",
        "要退还其费用 (全部或部分) 的调用的 `X-Request-Id`。",
    ),
    ("`X-Request-Id` of the call.", "调用的 `X-Request-Id`。"),
    ("`X-Request-Id` of the submission.", "提交时的 `X-Request-Id`。"),
    ("`asc` or `desc`.", "`asc` 或 `desc`。"),
    (
        "`calls`, `tasks`, or both with a comma, as it is unless it is said.",
        "`calls`、`tasks`, 或以逗号分隔两者; 不填为两者。",
    ),
    ("`csv`: a table for a spreadsheet, and no envelope.", "`csv`: 供电子表格使用的表, 没有信封。"),
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
        "`settle-now`, `fail-and-refund` or `requeue`.",
        "`settle-now`、`fail-and-refund` 或 `requeue`。",
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
    ("`true`: those who were deleted, and no others.", "`true`: 仅已删除的用户。"),
    (
        "`whsec_` and the base64 of 24 to 64 bytes; left out: one is made.",
        "`whsec_` 加 24 到 64 字节的 base64; 不填: 自动生成。",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::CALLS;
    use std::collections::BTreeSet;

    #[test]
    fn every_field_is_told_in_both() {
        let mut said = BTreeSet::new();
        for call in CALLS.iter() {
            let asked = call.places.iter().chain(&call.params);
            for field in asked.chain(&call.body).chain(&call.answer) {
                let (verb, path, name) = (&call.verb, &call.path, &field.name);
                assert!(!field.words.is_empty(), "{verb} {path}: nothing is said of {name}");
                said.insert(field.words.as_str());
            }
        }
        let missing: Vec<_> = said.iter().filter(|it| in_chinese(it).is_none()).collect();
        assert!(missing.is_empty(), "not in Chinese: {missing:#?}");
        for list in [MEANINGS, nodes::MEANINGS, questions::MEANINGS] {
            let gone = list.iter().map(|(english, _)| *english);
            let gone: Vec<_> = gone.filter(|english| !said.contains(english)).collect();
            assert!(gone.is_empty(), "no field means this any more: {gone:#?}");
            assert!(list.is_sorted(), "it is searched by halves");
        }
    }
}
