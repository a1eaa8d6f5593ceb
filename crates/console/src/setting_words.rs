//! The settings in sections, and what they do, in Chinese: the table of settings has it in English.

use crate::findings::in_words;
use crate::lang::Lang;
use admin::OptionView;

/// Settings that belong together: the title in both languages, and each with its meaning.
pub(crate) struct Section {
    title: (&'static str, &'static str),
    settings: &'static [(&'static str, &'static str)],
}

impl Section {
    /// The title.
    pub(crate) const fn title(&self, lang: Lang) -> &'static str {
        match lang {
            Lang::Zh => self.title.0,
            Lang::En => self.title.1,
        }
    }

    /// Whether a setting belongs here.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.settings.iter().any(|(known, _)| *known == key)
    }
}

/// What a setting does, in the reader's language.
pub(crate) fn meaning(lang: Lang, setting: &OptionView) -> &'static str {
    let all = SECTIONS.iter().flat_map(|section| section.settings);
    let mut found = all.filter(|(key, _)| *key == setting.key).map(|(_, meaning)| *meaning);
    match lang {
        Lang::Zh => found.next().unwrap_or(setting.meaning),
        Lang::En => setting.meaning,
    }
}

/// What may stand in a setting.
const ALLOWED: &[(&str, &str)] = &[
    (
        "*, off, or origins like https://app.example.com,…",
        "*、off, 或来源, 如 https://app.example.com,…",
    ),
    (
        "IP networks separated by commas, like 10.0.0.0/8,fd00::/8",
        "以逗号分隔的网段, 如 10.0.0.0/8,fd00::/8",
    ),
    (
        "a duration like 30, 30s, 2m, 1h or 500ms, from {} to {}",
        "时长, 如 30、30s、2m、1h 或 500ms, {} 至 {}",
    ),
    ("a number from 0 to 1, like 0.1", "0 至 1 的数, 如 0.1"),
    ("a path", "路径"),
    (
        "a size like 1048576, 32MiB or 2GiB, from {} to {}",
        "大小, 如 1048576、32MiB 或 2GiB, {} 至 {}",
    ),
    ("a whole number from {} to {}", "{} 至 {} 的整数"),
    ("an IP address like 127.0.0.1, 0.0.0.0 or ::", "IP 地址, 如 127.0.0.1、0.0.0.0 或 ::"),
    ("an address like {}", "地址, 如 {}"),
    ("an amount like $100 or 50000000q, or off", "金额, 如 $100 或 50000000q, 或 off"),
    ("any text", "任意文本"),
    ("the name of an HTTP header", "HTTP 请求头的名称"),
    ("true or false", "true 或 false"),
];

/// What may stand in a setting, in the reader's language.
pub(crate) fn allowed(lang: Lang, text: &str) -> String {
    in_words(lang, ALLOWED, text)
}

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: ("服务", "Service"),
        settings: &[
            ("CUSTOM_PASS_CONFIG_FILE", "按名称写有设置的 JSON 文件; 环境变量优先"),
            ("LISTEN_ADDR", "监听的地址"),
            ("PORT", "监听的端口; 0 取一个空闲端口并写入日志"),
            ("MAX_CONNECTIONS", "同时的客户端连接数, 超过的等待; 0: 文件描述符上限的一半"),
            ("HEADER_TIMEOUT", "客户端发送请求头、以及在请求之间空闲的最长时间"),
            (
                "WRITE_TIMEOUT",
                "客户端几乎不接收应答的最长时间 (每秒 256 字节即算接收); 存在内存中的应答须在其五倍时间内收完",
            ),
            ("SHUTDOWN_TIMEOUT", "停止的最长时间: 进行中的调用先完成并结算"),
            ("TRUSTED_PROXIES", "这些网段发来的 X-Forwarded-For 与 X-Real-IP 可信"),
            ("WORKER_THREADS", "服务线程数; 0: 每核一个"),
            ("CUSTOM_PASS_MAX_IN_FLIGHT", "同时进行的调用数, 超过的返回 503 OVERLOADED"),
            (
                "CUSTOM_PASS_BUFFER_BUDGET",
                "需要完整保存的请求体与应答所用的内存, 单个用户最多一半; 超过返回 503",
            ),
            (
                "MEMORY_LIMIT",
                "常驻内存超过此值时新调用返回 503 OVERLOADED, 不中断已有调用; 0: 不限",
            ),
            ("CORS_ORIGINS", "哪些来源的网页可从浏览器调用模型; 不含 /api"),
        ],
    },
    Section {
        title: ("数据库与密钥", "Database and secrets"),
        settings: &[
            ("DATA_DIR", "SQLite 文件、加密密钥与首次启动说明所在的目录"),
            (
                "SQL_DSN",
                "PostgreSQL 的地址 postgres://…; 未设置或 local: 使用 DATA_DIR 中的 SQLite",
            ),
            ("CUSTOM_PASS_DB_MAX_OPEN_CONNS", "PostgreSQL 连接数上限"),
            ("CUSTOM_PASS_DB_MAX_IDLE_CONNS", "空闲时保留的 PostgreSQL 连接数"),
            ("CUSTOM_PASS_DB_CONNECT_TIMEOUT", "等待 PostgreSQL 连接的最长时间"),
            ("REDIS_CONN_STRING", "Redis 的地址: 所有节点共同限速; 未设置: 各节点单独计数"),
            ("ENABLE_CACHE", "使用 REDIS_CONN_STRING 的 Redis"),
            ("SECRET_KEY", "加密渠道密钥; 未设置: 首次启动时生成, 保存在 DATA_DIR/secret.key"),
            (
                "ROOT_ACCESS_TOKEN",
                "root 用户的访问令牌, 只在首次启动时使用; 未设置: 生成并显示一次",
            ),
            ("ROOT_PASSWORD", "root 用户的密码, 只在首次启动时使用; 未设置: 生成并显示一次"),
        ],
    },
    Section {
        title: ("资金", "Money"),
        settings: &[
            ("CUSTOM_PASS_LEDGER_LANES", "PostgreSQL 上账本的写入通道数; SQLite 只有一个"),
            ("CUSTOM_PASS_RETRY_COUNT", "与延迟一起, 决定预扣等待被其他会话锁住的账户多久"),
            (
                "CUSTOM_PASS_RETRY_DELAY",
                "等待 1 + 2 + … + 次数 倍于此的时间, 默认 6 秒; 每 2 毫秒至 1 秒重试",
            ),
            ("CUSTOM_PASS_UNPRICED", "没有价格的模型: 免费放行, 或拒绝"),
            (
                "CUSTOM_PASS_HOLD",
                "上游不预估的按量调用预扣多少: 文本与允许的输出, 只按文本, 或价格的最低预扣",
            ),
            ("CUSTOM_PASS_CUT_STREAM", "按次计价的流被上游中断时: 照价收费, 或首个内容之前不收"),
            ("CUSTOM_PASS_UNKNOWN_AFTER", "调用超时且结果未知时, 多久后退还预扣"),
            (
                "CONSOLE_CONFIRM_ABOVE",
                "控制台上一次变动一名用户的金额超过此值时, 须输入其用户名; off: 不要求",
            ),
            (
                "CONSOLE_UNIT",
                "控制台显示金额的单位: $、q (额度), 或货币符号及一美元的汇率, 如 ¥7.25",
            ),
            ("CUSTOM_PASS_LOG_RETENTION_DAYS", "使用日志保留的天数"),
            ("CUSTOM_PASS_LOG_FAILURES", "每个用户每分钟最多记入多少行失败的调用; 0: 不记"),
        ],
    },
    Section {
        title: ("上游与请求", "Upstreams and requests"),
        settings: &[
            (
                "CUSTOM_PASS_HTTP_TIMEOUT",
                "上游开始应答的最长时间; 协议可规定更长, 渠道自己的设置优先",
            ),
            ("CUSTOM_PASS_CONNECT_TIMEOUT", "连接上游的最长时间"),
            ("CUSTOM_PASS_IDLE_TIMEOUT", "上游在应答中停顿的最长时间"),
            ("CUSTOM_PASS_TOTAL_TIMEOUT", "上游完成一次调用的最长时间, 客户端另有同样的时间"),
            ("CUSTOM_PASS_FAILOVER_COUNT", "尚未发出时再尝试多少个渠道"),
            ("CUSTOM_PASS_DRAIN_SECONDS", "客户端断开后, 为结算继续读取应答的最长时间"),
            (
                "UPSTREAM_ALLOW_NETS",
                "渠道及其代理可用的私有网段, 如 10.0.0.0/8; 其他私有地址一律拒绝",
            ),
            ("HTTP_PROXY", "访问 http:// 上游的代理"),
            ("HTTPS_PROXY", "访问 https:// 上游的代理"),
            ("NO_PROXY", "不经代理访问的主机, 以逗号分隔"),
            ("CUSTOM_PASS_HEADER_KEY", "向上游传递调用者令牌的请求头; 渠道自己的设置优先"),
            ("CUSTOM_PASS_MAX_REQUEST_SIZE", "请求体的最大尺寸, 按解压后计"),
            ("CUSTOM_PASS_BODY_WINDOW", "等待请求体的每个时间段内, 每秒至少要到 256 字节"),
            ("CUSTOM_PASS_BODY_TIMEOUT", "需要完整保存的请求体的最长接收时间, 超过返回 408"),
        ],
    },
    Section {
        title: ("任务与回调", "Tasks and webhooks"),
        settings: &[
            ("CUSTOM_PASS_POLL_INTERVAL", "两次查询上游任务之间的间隔"),
            ("CUSTOM_PASS_TASK_TIMEOUT", "一次任务查询的最长时间"),
            ("CUSTOM_PASS_BATCH_SIZE", "一次查询包含的任务数"),
            ("CUSTOM_PASS_MAX_CONCURRENT", "对所有渠道同时进行的任务查询数"),
            ("CUSTOM_PASS_TASK_MAX_LIFETIME", "任务的最长存续时间; 之后再查询一次, 置为失败并退款"),
            ("CUSTOM_PASS_TASK_RETENTION_DAYS", "已结束的任务及其回调保留的天数"),
            ("CUSTOM_PASS_STATUS_SUCCESS", "上游表示任务完成的词; 渠道自己的映射优先"),
            ("CUSTOM_PASS_STATUS_FAILED", "表示任务失败的词"),
            ("CUSTOM_PASS_STATUS_PROCESSING", "表示任务进行中的词"),
            ("WEBHOOK_ALLOW_NETS", "用户回调可用的私有网段; 其他私有地址一律拒绝"),
            ("WEBHOOK_USE_PROXY", "用户回调也经过 HTTP_PROXY 与 HTTPS_PROXY"),
        ],
    },
    Section {
        title: ("日志与观测", "Logs and observation"),
        settings: &[
            ("LOG_LEVEL", "记录的最低级别"),
            ("CUSTOM_PASS_LOG_LEVEL", "调用、任务与资金的日志级别; 未设置: 同 LOG_LEVEL"),
            ("CUSTOM_PASS_LOG_FILE", "日志追加到的文件, 收到 SIGHUP 时重新打开; 未设置: 标准错误"),
            ("LOG_MAX_SIZE", "日志文件超过此大小时轮换; 0: 不轮换"),
            ("LOG_MAX_AGE", "日志文件超过此时间时轮换; 0: 不轮换"),
            ("LOG_KEEP", "保留的旧日志文件数"),
            ("LOG_FORMAT", "日志行的格式"),
            ("ENABLE_METRICS", "提供指标"),
            ("METRICS_ADDR", "提供指标的地址; Prometheus 在其他机器时设为 0.0.0.0"),
            ("METRICS_PORT", "提供指标的端口"),
            ("METRICS_PATH", "指标的路径"),
            ("ENABLE_PPROF", "在 127.0.0.1 提供诊断: 处理器与内存的剖析, 运行中的作业"),
            ("PPROF_PORT", "提供诊断的端口"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "接收追踪的收集器, 路径 /v1/traces; 未设置: 不发送"),
            ("OTEL_SDK_DISABLED", "无论其他设置如何都不发送追踪"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "发送追踪的方式"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "发给收集器的请求头"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "收集器的最长时间, 毫秒"),
            ("OTEL_SERVICE_NAME", "追踪中的服务名称"),
            ("OTEL_TRACES_SAMPLER", "记录哪些调用; parentbased: 已记录的追踪中的调用, 其余按所写"),
            ("OTEL_TRACES_SAMPLER_ARG", "traceidratio 记录的调用比例"),
        ],
    },
];
