//! What the health check finds, in the reader's language, and the page where it is put right. The
//! check itself speaks English, and names commands of a shell.

use crate::entered::places;
use crate::lang::Lang;
use admin::ops::doctor::HealthCheck;

/// A text of the check with `{}` in the place of what differs, and the same in Chinese.
type Text = (&'static str, &'static str);

const NAMES: &[Text] = &[
    ("audit", "核对账目"),
    ("balances", "余额"),
    ("channel calls", "渠道调用"),
    ("channel {} key", "渠道 {} 密钥"),
    ("channel {} pause", "渠道 {} 暂停"),
    ("channel {} tasks", "渠道 {} 任务"),
    ("channel {} time", "渠道 {} 超时"),
    ("channel {} upstream", "渠道 {} 上游"),
    ("channel {} usage", "渠道 {} 用量"),
    ("channels", "渠道"),
    ("clock", "时钟"),
    ("configuration", "配置"),
    ("connection pool", "连接池"),
    ("database", "数据库"),
    ("descriptors", "文件描述符"),
    ("error rate", "失败率"),
    ("holds", "预扣"),
    ("least holds", "最低预扣"),
    ("locked rows", "锁"),
    ("log", "日志"),
    ("log lines", "日志丢失"),
    ("long transactions", "长事务"),
    ("memory", "内存"),
    ("metrics", "指标"),
    ("models", "模型"),
    ("paused channels", "暂停的渠道"),
    ("prices", "价格"),
    ("proxy", "代理"),
    ("redis", "Redis"),
    ("refunds of tasks", "任务退款"),
    ("response time", "响应时间"),
    ("rows of tasks", "任务记录"),
    ("schema", "表结构"),
    ("secret key", "加密密钥"),
    ("service", "服务"),
    ("status words", "任务状态词"),
    ("task queue", "任务队列"),
    ("tasks asked about", "任务查询"),
    ("units", "按件计价"),
    ("webhooks", "回调"),
];

const FOUND: &[Text] = &[
    ("1 user is below zero, and gets 402", "1 个用户余额低于零, 调用返回 402"),
    ("a price or a channel can't be read: see channels and prices", "有价格或渠道无法读取"),
    ("agrees with the database's", "与数据库一致"),
    (
        "another program has left a transaction open, and no other can write",
        "另一个程序占用事务, 无法写入",
    ),
    ("answers on {}", "在 {} 正常应答"),
    ("answers: requests per minute count over all nodes", "正常: 所有节点合并计数"),
    ("answers {}: {}", "应答 {}: {}"),
    ("are served", "正常提供"),
    ("are switched off", "已关闭"),
    (
        "can't be asked ({}): each node counts requests per minute for itself",
        "无法访问 ({}): 各节点单独计数",
    ),
    ("clean {} h ago: {} users, {} open holds", "{} 小时前核对无误: {} 个用户, {} 笔未结预扣"),
    ("clean: {} users, {} open holds", "核对无误: {} 个用户, {} 笔未结预扣"),
    ("every model that is served has one", "每个提供的模型都有价格"),
    ("every setting can be used", "所有设置都有效"),
    ("every unfinished task has a node that asks", "每个未完成的任务都有节点在查询"),
    ("every word of an upstream is understood", "上游的状态词都能识别"),
    (
        "goes to standard error: the last calls are not looked at",
        "输出到标准错误, 未检查最近的调用",
    ),
    ("held by {}", "占用者: {}"),
    ("is not used: each node counts requests per minute for itself", "未使用: 各节点单独计数"),
    ("is not a setting of this version", "此版本没有这个设置"),
    ("is the one of this database", "与数据库相符"),
    ("is this program's", "与程序版本一致"),
    ("its account at the upstream is broken; the log says why", "上游账户失效, 原因见日志"),
    ("its account is broken: {}; tried again in {} s", "上游账户失效: {}; {} 秒后重试"),
    ("its account is broken: {}", "上游账户失效: {}"),
    ("its breaker is open; tried again in {} s", "熔断中, {} 秒后重试"),
    ("its breaker is open", "熔断中"),
    ("no upstream refuses its key, is late, or keeps tasks", "没有上游拒绝密钥、超时或滞留任务"),
    ("no node asks about {}", "没有节点查询: {}"),
    ("none that others wait for", "没有等待"),
    ("none is enabled", "没有启用的渠道"),
    ("none is missing", "没有缺失"),
    ("none is negative", "没有负余额"),
    ("none is overdue", "没有逾期"),
    ("none over {} s", "没有超过 {} 秒的"),
    ("none waits for its sender", "没有积压"),
    ("none was made since this process was started", "启动后还没有核对过"),
    ("none", "没有"),
    ("nothing answers on {}", "{} 无应答"),
    ("priced, and on no enabled channel: {}", "有价格, 但没有启用的渠道提供: {}"),
    ("the database's clock and ours are {} ms apart", "与数据库的时钟相差 {} 毫秒"),
    ("the file can be written to", "文件可写"),
    ("the last {} questions about tasks were in vain: {}", "最近 {} 次任务查询失败: {}"),
    (
        "the upstream answered 401 or 403 to the last {} calls",
        "上游对最近 {} 次调用返回 401 或 403",
    ),
    ("without a price, and so are refused: {}", "没有价格, 因此被拒绝: {}"),
    ("without a price, and so cost nothing: {}", "没有价格, 因此免费: {}"),
    (
        "there is no garbage collector here; MEMORY_LIMIT sets a ceiling",
        "本程序没有垃圾回收; 内存上限由 MEMORY_LIMIT 设置",
    ),
    ("{} % of the last {} calls failed, most with {}", "{} % 失败 (最近 {} 次调用), 最多的是 {}"),
    ("{} % of the last {} calls failed", "{} % 失败 (最近 {} 次调用)"),
    ("{} % of the last {} calls took longer than {} ms", "{} % 的调用 (最近 {} 次) 超过 {} 毫秒"),
    ("{} % of {} calls since the start failed", "{} % 失败 (启动以来 {} 次调用)"),
    ("{} MiB resident, above MEMORY_LIMIT", "常驻 {} MiB, 超过 MEMORY_LIMIT"),
    ("{} MiB resident", "常驻 {} MiB"),
    ("{} answers ({})", "{} 正常应答 ({})"),
    ("{} answers", "{} 正常"),
    ("{} are overdue by more than {} s", "{} 个逾期超过 {} 秒"),
    (
        "{} have a price for a unit that no call of their channel's protocol counts, so that it is \
         never charged",
        "{} 按件计价, 但其渠道的协议没有任何调用统计该数量: 永远不会计费",
    ),
    (
        "{} are priced by units of which no request says how many, and have no least hold: a \
         balance of one quota starts any call",
        "{} 按件计价, 请求中不说明数量, 也没有最低预扣: 余额只要有 1 额度就能发起调用",
    ),
    ("{} breaches, {} h ago", "{} 处不符, {} 小时前"),
    ("{} breaches", "{} 处不符"),
    ("{} calls in the last quarter of an hour say little", "最近 15 分钟 {} 次调用, 样本太少"),
    ("{} calls since the last success got no answer in time", "上次成功之后 {} 次调用超时"),
    ("{} calls since the start say little", "启动以来 {} 次调用, 样本太少"),
    ("{} enabled", "{} 个启用"),
    ("{} ended tasks seem to hold more than they used", "{} 个已结束的任务似乎仍有预扣"),
    ("{} migrations are pending", "{} 个迁移未执行"),
    ("{} of {} are open", "{} / {} 已打开"),
    ("{} of {} connections are in use, {} callers wait", "{} / {} 个连接在用, {} 个等待"),
    (
        "{} replies reported more than max_charge, the last {}",
        "{} 个应答超过最高收费, 最近一个报告 {}",
    ),
    ("{} should have been given back by now", "{} 笔预扣逾期未退还"),
    ("{} tasks have ended, or are gone, and still hold money", "{} 个任务已结束或不存在, 仍有预扣"),
    ("{} tasks were submitted and are not at work yet", "{} 个任务已提交, 尚未开始"),
    ("{} users are below zero, and get 402", "{} 个用户余额低于零, 调用返回 402"),
    ("{} were dropped", "丢失 {} 行"),
];

/// What stands in the places of others, and has words of its own; both have the same places, in the
/// same order.
const PIECES: &[Text] = &[
    (
        "{} (a channel has {}: a task's model ends in /submit)",
        "{} (渠道里的是 {}: 任务的模型以 /submit 结尾)",
    ),
    ("{} of {} on channel {}", "{} 个 {} 在渠道 {}"),
    ("{} of channel {} ({} tasks)", "{} 在渠道 {} ({} 个任务)"),
    ("process {} ({} as {} from {}), {} for {} s", "进程 {} ({}, 用户 {}, 来自 {}), {} {} 秒"),
];

/// A check, what an operator of the console does about it, and the page for that.
struct Remedy {
    name: &'static str,
    zh: &'static str,
    en: &'static str,
    /// Address, with the number of the channel in the place of `{}`.
    page: &'static str,
    link: (&'static str, &'static str),
}

const OPEN_CHANNEL: (&str, &str) = ("打开渠道", "Open the channel");

const REMEDIES: &[Remedy] = &[
    Remedy {
        name: "balances",
        zh: "按量调用的费用超过了预扣: 给他们充值, 并为模型设置最低预扣",
        en: "calls by use cost more than was held: top them up, and give the models a least hold",
        page: "/console/users?sort=quota&order=asc",
        link: ("查看用户", "See the users"),
    },
    Remedy {
        name: "channel {} key",
        zh: "重新填写渠道的密钥 (前后没有空格), 再测试",
        en: "set the channel's key again, without blanks around it, and test it",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channel {} pause",
        zh: "账户失效: 充值或更换密钥; 熔断: 上游在失败, 测试可看到原因; 会自动重试",
        en: "a broken account: pay the bill, or set another key; a breaker: the upstream fails, \
             and a test shows what it says. It is tried again by itself",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channel {} tasks",
        zh: "上游没有回答任务查询: 测试渠道, 并询问其运营方",
        en: "the upstream does not answer about tasks: test the channel, and ask its operator",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channel {} time",
        zh: "上游缓慢或不可用; 如果确实需要更久, 调高渠道的 timeout",
        en: "is the upstream slow or away? Where it needs longer, raise the channel's timeout",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channel {} upstream",
        zh: "检查地址、密钥与代理; 私有地址要用 UPSTREAM_ALLOW_NETS 允许",
        en: "check address, key and proxy; a private address needs UPSTREAM_ALLOW_NETS",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channel {} usage",
        zh: "用量属实则调高模型的最高收费, 否则禁用渠道并询问其运营方",
        en: "is it right? Then raise the model's largest charge; else disable the channel",
        page: "/console/channels/{}",
        link: OPEN_CHANNEL,
    },
    Remedy {
        name: "channels",
        zh: "新建一个渠道, 或启用已有的",
        en: "create a channel, or enable one",
        page: "/console/channels",
        link: ("渠道", "Channels"),
    },
    Remedy {
        name: "error rate",
        zh: "每次失败的原因见日志中的失败调用",
        en: "the failed calls, beside the log, say why",
        page: "/console/log?show=recent",
        link: ("查看失败的调用", "See what failed"),
    },
    Remedy {
        name: "least holds",
        zh: "为这些模型设置最低预扣, 约等于一次较大调用的费用",
        en: "give the models a least hold: about what a large call costs",
        page: "/console/prices",
        link: ("价格", "Prices"),
    },
    Remedy {
        name: "models",
        zh: "把模型加入渠道, 或删除价格",
        en: "put the model into a channel's list, or delete its price",
        page: "/console/prices",
        link: ("价格", "Prices"),
    },
    Remedy {
        name: "prices",
        zh: "给它们定价; 没有价格的模型免费还是拒绝, 由 CUSTOM_PASS_UNPRICED 决定",
        en: "set their prices; CUSTOM_PASS_UNPRICED says whether a model without one is free or \
             refused",
        page: "/console/prices?show=unpriced",
        link: ("定价", "Set prices"),
    },
    Remedy {
        name: "status words",
        zh: "在渠道的任务状态词中说明其含义, 或在设置 CUSTOM_PASS_STATUS_… 中对所有渠道说明",
        en: "say what the word means: in the channel's status words of tasks, or for all channels \
             in the settings CUSTOM_PASS_STATUS_…",
        page: "/console/channels",
        link: ("渠道", "Channels"),
    },
    Remedy {
        name: "audit",
        zh: "审计页列出每一处; 说明页显示其由来",
        en: "the audit lists each; the explanation of its request says how it came",
        page: "/console/audit",
        link: ("审计", "Audit"),
    },
    Remedy {
        name: "task queue",
        zh: "上游缓慢, 或其应答无法读取: 见任务与渠道",
        en: "the upstream is slow, or its replies are not read: see the tasks and their channel",
        page: "/console/tasks?status=unfinished",
        link: ("任务", "Tasks"),
    },
    Remedy {
        name: "units",
        zh: "改用会统计该数量的协议, 或改为按次或按其他数量计价",
        en: "use a protocol that counts it, or a price per call or by what is counted",
        page: "/console/prices",
        link: ("价格", "Prices"),
    },
];

/// What is done on the machine, and on no page. Commands stay as they are typed.
const ON_THE_MACHINE: &[Text] = &[
    ("ENABLE_METRICS=true", "设置 ENABLE_METRICS=true"),
    (
        "check HTTP_PROXY, HTTPS_PROXY and the channel's setting.proxy",
        "检查 HTTP_PROXY、HTTPS_PROXY 与渠道的 setting.proxy",
    ),
    (
        "end it: fuser -v DATA_DIR/newapi.db says who has the file open; .quit leaves sqlite3",
        "结束它: fuser -v DATA_DIR/newapi.db 显示谁打开了文件; sqlite3 用 .quit 退出",
    ),
    (
        "end what holds them up (locked rows and long transactions, below); if there is nothing, \
      raise CUSTOM_PASS_DB_MAX_OPEN_CONNS",
        "结束占用连接的事务 (见下方的锁与长事务); 没有时, 调高 CUSTOM_PASS_DB_MAX_OPEN_CONNS",
    ),
    ("finish it, or end it unless it is a backup's: {}", "完成该事务; 不是备份的, 可以结束: {}"),
    ("finish that transaction, or end it: {}", "完成该事务, 或结束它: {}"),
    ("fix HTTP_PROXY, HTTPS_PROXY", "修正 HTTP_PROXY, HTTPS_PROXY"),
    (
        "fix this row; until then it is left out, as if it were not there",
        "修正这一行; 在此之前它不生效, 如同不存在",
    ),
    (
        "give SECRET_KEY, or restore DATA_DIR/secret.key",
        "提供 SECRET_KEY, 或恢复 DATA_DIR/secret.key",
    ),
    (
        "is LOG_FILE the one that the service writes, and may you read it?",
        "检查 LOG_FILE 是否是服务写入的文件, 以及是否有权读取",
    ),
    (
        "is METRICS_PORT the one that the service was started with?",
        "检查 METRICS_PORT 是否与服务启动时一致",
    ),
    ("is its disk full or slow?", "检查磁盘是否已满或过慢"),
    (
        "lower CUSTOM_PASS_MAX_IN_FLIGHT or CUSTOM_PASS_BUFFER_BUDGET, or set MEMORY_LIMIT",
        "调低 CUSTOM_PASS_MAX_IN_FLIGHT 或 CUSTOM_PASS_BUFFER_BUDGET, 或设置 MEMORY_LIMIT",
    ),
    (
        "new calls get 503 OVERLOADED: raise MEMORY_LIMIT, or lower CUSTOM_PASS_MAX_IN_FLIGHT",
        "新的调用返回 503 OVERLOADED: 调高 MEMORY_LIMIT, 或调低 CUSTOM_PASS_MAX_IN_FLIGHT",
    ),
    ("newapi migrate", "运行 newapi migrate"),
    (
        "no newapi works on this database, or its sender is stuck: webhooks_stalled in the log",
        "没有 newapi 使用此数据库, 或其投递停滞: 见日志中的 webhooks_stalled",
    ),
    (
        "no newapi works on this database: systemctl status newapi; once one does, it gives them \
         back",
        "没有 newapi 使用此数据库: systemctl status newapi; 运行后会自动退还",
    ),
    (
        "no newapi works on this database: systemctl status newapi; once one does, it takes them \
         up within a minute",
        "没有 newapi 使用此数据库: systemctl status newapi; 运行后一分钟内接手",
    ),
    ("raise LimitNOFILE", "调高 LimitNOFILE"),
    ("run the program that made it, or a newer one", "使用创建它的程序版本, 或更新的版本"),
    ("see newapi config", "见 newapi config"),
    ("see the checks of the database, and locked rows", "见数据库与锁的检查"),
    (
        "see the database, below, and the end of the log: it serves again by itself",
        "见下方的数据库检查与日志末尾; 之后会自动恢复",
    ),
    (
        "start it, and check REDIS_CONN_STRING: redis-cli ping; nothing else depends on it",
        "启动 Redis, 检查 REDIS_CONN_STRING: redis-cli ping; 其他功能不依赖它",
    ),
    (
        "start with the SECRET_KEY that this database was used with",
        "使用此数据库原来的 SECRET_KEY 启动",
    ),
    (
        "synchronise both: timedatectl, chronyc tracking",
        "校准两边的时钟: timedatectl, chronyc tracking",
    ),
    (
        "systemctl status newapi; journalctl -u newapi -n 50; is PORT the one it serves on?",
        "systemctl status newapi; journalctl -u newapi -n 50; 检查 PORT 是否与服务一致",
    ),
    (
        "their rows were edited or deleted; a running newapi gives the money back within a minute \
      (stray_hold_released in the log)",
        "任务记录被修改或删除; 运行中的 newapi 一分钟内退还 (日志中的 stray_hold_released)",
    ),
    (
        "their rows were edited, and no money is missing: newapi audit. Put quota back to \
         used_quota in these rows, or leave them",
        "任务记录被修改, 没有资金缺失: newapi audit。把这些行的 quota 改回 used_quota, 或不处理",
    ),
    ("unset it; see newapi config", "删除该设置; 见 newapi config"),
    ("unset it", "删除该设置"),
    (
        "whose time is it? custompass_upstream_duration_seconds is the upstreams' time, \
      custompass_overhead_seconds is ours: processor, disk or database",
        "custompass_upstream_duration_seconds 是上游的时间, custompass_overhead_seconds 是本程序的: \
         处理器、磁盘或数据库",
    ),
];

/// Said before English that a later version of the check may bring.
const ELSEWHERE: &str = "需要在服务器上处理: ";

/// The text in the reader's language; as it is where nothing fits.
pub(crate) fn in_words(lang: Lang, texts: &[Text], text: &str) -> String {
    if lang == Lang::En {
        return text.to_owned();
    }
    let found = texts.iter().find_map(|(line, zh)| Some((zh, places(line, text)?)));
    let Some((zh, places)) = found else { return text.to_owned() };
    let mut places = places.into_iter();
    let mut words = String::new();
    for (nth, piece) in zh.split("{}").enumerate() {
        if nth > 0 {
            words.push_str(places.next().unwrap_or_default());
        }
        words.push_str(piece);
    }
    words
}

/// Whether a text of the health check has its Chinese, as a whole or as what stands in another's
/// place; places are written `{}`.
#[must_use]
pub fn has_finding_in_chinese(text: &str) -> bool {
    let known = [NAMES, FOUND, ON_THE_MACHINE, PIECES].concat();
    known.iter().any(|(english, _)| *english == text)
}

/// Whether pages say in words of their own what to do about a check; places in its name are written
/// `{}`.
#[must_use]
pub fn has_remedy(check: &str) -> bool {
    REMEDIES.iter().any(|remedy| remedy.name == check)
}

/// The name of a check.
pub(crate) fn name(lang: Lang, check: &HealthCheck) -> String {
    in_words(lang, NAMES, &check.name)
}

/// What it found.
pub(crate) fn found(lang: Lang, check: &HealthCheck) -> String {
    let mut words = in_words(lang, FOUND, &check.found);
    if lang == Lang::Zh {
        for (english, chinese) in PIECES {
            words = with_piece(&words, english, chinese);
        }
    }
    words
}

/// The text with the words of a piece in Chinese, where it has all of them, in order.
fn with_piece(text: &str, english: &str, chinese: &str) -> String {
    let (english, chinese) = (english.split("{}"), chinese.split("{}"));
    let words: Vec<_> = english.zip(chinese).filter(|(english, _)| !english.is_empty()).collect();
    let mut rest = text;
    for (english, _) in &words {
        let Some((_, after)) = rest.split_once(english) else { return text.to_owned() };
        rest = after;
    }
    words
        .into_iter()
        .fold(text.to_owned(), |text, (english, chinese)| text.replace(english, chinese))
}

/// What to do, and the page where it is done, with its label.
pub(crate) fn remedy(lang: Lang, check: &HealthCheck) -> (String, Option<(String, &'static str)>) {
    if check.remedy.is_empty() {
        return (String::new(), None);
    }
    let found = REMEDIES.iter().find_map(|it| Some((it, places(it.name, &check.name)?)));
    match found {
        Some((remedy, places)) => {
            let to = remedy.page.replace("{}", places.first().copied().unwrap_or_default());
            let link = match lang {
                Lang::Zh => remedy.link.0,
                Lang::En => remedy.link.1,
            };
            (lang.say(remedy.zh, remedy.en).to_owned(), Some((to, link)))
        }
        None => (on_the_machine(lang, &check.remedy), None),
    }
}

fn on_the_machine(lang: Lang, remedy: &str) -> String {
    let words = in_words(lang, ON_THE_MACHINE, remedy);
    match lang {
        Lang::Zh if words == remedy => format!("{ELSEWHERE}{remedy}"),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::ops::doctor::HealthState;

    fn check(name: &str, found: &str) -> HealthCheck {
        let [name, found] = [name, found].map(str::to_owned);
        HealthCheck { name, state: HealthState::Odd, found, remedy: "newapi x".to_owned() }
    }

    #[test]
    fn a_finding_leads_to_its_page() {
        let paused = check("channel 7 pause", "its breaker is open; tried again in 9 s");
        assert_eq!(name(Lang::Zh, &paused), "渠道 7 暂停");
        assert_eq!(found(Lang::Zh, &paused), "熔断中, 9 秒后重试");
        let (words, link) = remedy(Lang::En, &paused);
        assert!(words.starts_with("a broken account"), "{words}");
        assert_eq!(link.unwrap(), ("/console/channels/7".to_owned(), "Open the channel"));
        let clock = check("clock", "x");
        assert_eq!(remedy(Lang::En, &clock), ("newapi x".to_owned(), None));
        assert_eq!(found(Lang::Zh, &clock), "x");
    }

    #[test]
    fn what_stands_in_a_place_is_said_too() {
        let models = "priced, and on no enabled channel: img/submit (a channel has img: a task's \
                      model ends in /submit)";
        let said = found(Lang::Zh, &check("models", models));
        assert_eq!(
            said,
            "有价格, 但没有启用的渠道提供: img/submit (渠道里的是 img: 任务的模型以 /submit 结尾)"
        );
        let asked = "no node asks about 3 of img on channel 2, 1 of film on channel 2";
        let said = found(Lang::Zh, &check("tasks asked about", asked));
        assert_eq!(said, "没有节点查询: 3 个 img 在渠道 2, 1 个 film 在渠道 2");
        // A text that has but some of the words stays as it is.
        let other = "answers on a host of channel 7";
        assert_eq!(found(Lang::Zh, &check("service", other)), "在 a host of channel 7 正常应答");
    }

    #[test]
    fn each_text_has_its_places_in_both() {
        for (english, chinese) in NAMES.iter().chain(FOUND).chain(ON_THE_MACHINE).chain(PIECES) {
            assert_eq!(english.matches("{}").count(), chinese.matches("{}").count(), "{english}");
        }
    }
}
