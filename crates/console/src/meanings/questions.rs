//! Those that begin with a question: what, when, where, whether, who, why.

pub(super) const MEANINGS: &[(&str, &str)] = &[
    (
        "What a decision about an unfinished task would move; for administrators, and not in \
         lists.",
        "处理未结束的任务将变动的金额, 供管理员查看, 列表中没有。",
    ),
    (
        "What a row is about: `key`, `model` or `day`; for administrators `user` and `channel`, \
         too.",
        "每行是什么: `key`、`model` 或 `day`; 管理员还可用 `user` 和 `channel`。",
    ),
    ("What is charged of it.", "从中收取的金额。"),
    ("What is held before a call priced by use.", "按量计费的调用预扣多少。"),
    ("What is held before it.", "调用前预扣多少。"),
    (
        "What is held for open calls and unfinished tasks: it is not in `quota`, and what of it \
         is not charged goes back there. Lists leave it out.",
        "进行中的调用和未结束任务的预扣: 不含在余额中, 未收取的部分会退回。列表中省略。",
    ),
    (
        "What is left of the day's; negative where a call cost more than it held.",
        "当日剩余的限额; 调用费用超过预扣时可为负。",
    ),
    ("What is left of the month's.", "当月剩余的限额。"),
    (
        "What is put aside now for calls and tasks under way, while the month lasts: the \
         balance is `closing` less this.",
        "当月进行中的调用和任务的预扣: 余额等于 `closing` 减去它。",
    ),
    ("What is read of the reply.", "从应答中读到的内容。"),
    ("What is read of the request.", "从请求中读到的内容。"),
    ("What is read of the task that the reply is about.", "从应答中读到的任务信息。"),
    ("What is set of each, as in a change of one.", "对每一个设置的内容, 与单个修改相同。"),
    ("What it does.", "作用。"),
    ("What it found.", "核对结果。"),
    ("What it hears of; empty: all.", "订阅的事件; 空: 全部。"),
    ("What it held at first.", "最初的预扣。"),
    ("What it holds, or was charged in the end.", "预扣的金额, 或最终的费用。"),
    ("What it is called in Chinese.", "中文名称。"),
    ("What it is called in English.", "英文名称。"),
    (
        "What it is doing on the node that answers, with the sums of the last hour; null where \
         no calls are served, on the command line.",
        "它在应答节点上的当前状况和最近一小时的合计; 不处理调用时 (命令行) 为 null。",
    ),
    ("What it is worth.", "面值。"),
    ("What it was charged in the end.", "最终的费用。"),
    (
        "What its calls cost in the last 30 days, today included: of whole days in UTC. Of one \
         price alone it is left out.",
        "最近 30 天 (含今天, 按 UTC 整日) 其调用的费用。单独读取一个价格时没有此项。",
    ),
    (
        "What may be spent in a calendar month (UTC); `null`: no limit.",
        "每个自然月 (UTC) 可消耗的额度; `null`: 不限。",
    ),
    (
        "What may be spent in a day (UTC); `null`: no limit.",
        "每日 (UTC) 可消耗的额度; `null`: 不限。",
    ),
    ("What may stand there.", "允许的值。"),
    (
        "What moved it: `opening` and their amounts add up to `closing`.",
        "余额的变动: `opening` 加上各项金额等于 `closing`。",
    ),
    ("What of it goes back to the balances.", "从中退还到余额的金额。"),
    (
        "What of it in the last 30 days, today included: of whole days in UTC.",
        "其中最近 30 天 (含今天, 按 UTC 整日) 的部分。",
    ),
    (
        "What of it is held for unfinished tasks. Lists leave it out.",
        "其中未结束任务的预扣。列表中省略。",
    ),
    (
        "What of it today, in UTC. Of one channel alone it is left out.",
        "其中今天 (UTC) 的部分。单独读取一个渠道时没有此项。",
    ),
    ("What of it was spent, in cents.", "其中已消耗的, 美分。"),
    (
        "What signs: `whsec_` and the base64 of 24 to 64 bytes. It is shown this once.",
        "签名密钥: `whsec_` 加 24 到 64 字节的 base64, 只显示这一次。",
    ),
    (
        "What the call costs; `null` of a price of units alone, of which a call in tokens counts \
         none.",
        "该调用的费用; 只按单位计价时为 `null`, 因为按 Tokens 试算的调用不含这些单位。",
    ),
    (
        "What the call would have cost; none without a reply.",
        "该调用本应收取的费用; 没有应答时为空。",
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
        "What the model costs there that cost most in the last 30 days, of those that the group \
         can call and that have a price; null: there is none.",
        "该分组可调用且有价格的模型中, 最近 30 天费用最高的模型在该分组的价格; null: 没有。",
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
    (
        "What was done to the user of this name, or to what is theirs.",
        "对该名称的用户或其所有物的操作。",
    ),
    (
        "What was done to the user of this number, or to what is theirs.",
        "对该编号的用户或其所有物的操作。",
    ),
    ("What was found.", "检查结果。"),
    ("What was held for the call or task.", "该调用或任务的预扣。"),
    ("What was left at its end, or now.", "期末 (或现在) 的余额。"),
    ("What was looked at.", "检查项。"),
    (
        "What was said, as it came: JSON, unless the reply to the submission can't be read.",
        "应答原文: 一般是 JSON, 除非提交的应答无法读取。",
    ),
    ("What was there in all, in dollars.", "总额 (剩余与已用之和), 美元。"),
    (
        "What was there in all, less what the limits keep back now, in dollars.",
        "总额, 不含限额目前不允许消耗的部分, 美元。",
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
    (
        "When that was last tried, or made where it was not tried yet.",
        "它最近一次尝试的时间; 尚未尝试时为创建时间。",
    ),
    ("When the check began, in seconds since 1970.", "核对开始的时间, Unix 秒。"),
    (
        "When the key ends, in seconds since 1970; of one that never ends, in 2100.",
        "令牌到期时间, Unix 秒; 永不到期的为 2100 年。",
    ),
    (
        "When the secret before was last used since it was replaced, to a minute; `null`: not \
         since.",
        "旧密钥在更换后最近一次使用的时间, 精确到分钟; `null`: 更换后没有使用过。",
    ),
    ("When the task ended, or the balance was seen to be low.", "任务结束或发现余额不足的时间。"),
    ("When the upstream had taken it; 0: not yet.", "上游接受的时间; 0: 尚未。"),
    (
        "When the user was deleted; `null`: they are there. The balance is kept.",
        "用户删除时间; `null`: 未删除。余额保留。",
    ),
    ("When the user was last edited.", "用户最近修改时间。"),
    ("When the user was made, in seconds since 1970.", "用户创建时间, Unix 秒。"),
    ("When they were last told, in seconds since 1970.", "最近一次提醒的时间, Unix 秒。"),
    ("When, in seconds since 1970.", "时间, Unix 秒。"),
    ("When; 0: not yet.", "时间; 0: 尚未。"),
    ("Where it stands.", "当前状态。"),
    ("Where its facts come from.", "资料来源。"),
    (
        "Where its newest delivery stands: `pending`, `delivered` or `failed`; null: there is \
         none.",
        "最近一次投递的状态: `pending`, `delivered` 或 `failed`; null: 没有投递。",
    ),
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
    ("Who called; null: the key was not known.", "调用者; null: 令牌未知。"),
    ("Who redeemed it; 0: nobody.", "兑换者; 0: 无人。"),
    ("Whose balance, or who acted.", "余额所属的用户, 或操作者。"),
    ("Whose.", "所属用户。"),
    (
        "Why it can't be used, if it can't: its channels answer 503 then.",
        "无法使用时的原因: 此时其渠道应答 503。",
    ),
    ("Why it failed.", "失败原因。"),
    ("Why newapi itself disabled it.", "newapi 自动停用它的原因。"),
    (
        "Why the check after it could not be made, if it could not.",
        "此后的一次核对未能进行时的原因。",
    ),
    (
        "Why the last one that was started could not be made, if it could not.",
        "最近一次启动的核对未能进行时的原因。",
    ),
    ("Why the last try failed, in one word.", "最近一次失败的代号。"),
    ("Why, for the log.", "原因, 写入日志。"),
];
