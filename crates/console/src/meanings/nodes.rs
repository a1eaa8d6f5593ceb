//! What a node measures of itself and of its channels, and how far its check of the books is.

pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("Bytes of requests and responses that it holds in memory.", "内存中请求和响应正文的字节数。"),
    (
        "Connections of its pool to PostgreSQL that are in use; null on SQLite, which has no pool.",
        "PostgreSQL 连接池中正在使用的连接数; SQLite 没有连接池, 为 null。",
    ),
    ("For how long it has been under way, in milliseconds.", "已进行的时间 (毫秒)。"),
    ("How far that one is; null: none is under way.", "其进度; null: 没有正在进行的核对。"),
    (
        "How many connections that pool may have; null on SQLite.",
        "该连接池的连接数上限; SQLite 为 null。",
    ),
    (
        "How many may be, on each node: `setting.concurrency`; null: there is no limit.",
        "每个节点上允许的数量: `setting.concurrency`; null: 不限。",
    ),
    ("How many of them it accepts at a time.", "同时接受的连接数上限。"),
    (
        "How many of them it may hold: `CUSTOM_PASS_BUFFER_BUDGET`.",
        "上述字节数的上限: `CUSTOM_PASS_BUFFER_BUDGET`。",
    ),
    ("Its steps in all.", "总步数。"),
    ("Its steps that are done. They take unequally long.", "已完成的步数; 各步所需时间不同。"),
    ("Nodes that serve: their lease is valid.", "在线的节点数: 租约有效。"),
    ("Open connections of clients.", "打开的客户端连接数。"),
    (
        "Resident memory, in bytes; null where the system does not tell.",
        "常驻内存 (字节); null: 系统未提供。",
    ),
    ("The step under way; null: it is about to end.", "正在进行的步骤; null: 即将结束。"),
    (
        "What it measured of itself at its last heartbeat, seconds ago; null where it has just \
         started, or is gone.",
        "最近一次心跳 (几秒前) 时的自身测量值; null: 刚启动, 或已停止。",
    ),
    ("Whether its Redis answers; null: it has none.", "其 Redis 是否有响应; null: 未配置。"),
    (
        "`MEMORY_LIMIT`, past which it takes no new calls; null: it has none.",
        "`MEMORY_LIMIT`, 超过后不再接受新调用; null: 未设置。",
    ),
];
