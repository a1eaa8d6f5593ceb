//! What the health check says has its Chinese in the console, which looks it up by the English.

/// The sources of the check.
const SOURCES: &[&str] = &[
    include_str!("channels.rs"),
    include_str!("database.rs"),
    include_str!("mod.rs"),
    include_str!("money.rs"),
    include_str!("pauses.rs"),
    include_str!("recent.rs"),
    include_str!("redis.rs"),
    include_str!("service.rs"),
    include_str!("tasks.rs"),
];

/// Remedies of a shell, and the checks that give them. In their place the console says what to do
/// on which page: its `REMEDIES` have each check by its name.
const OF_A_SHELL: &[(&str, &str)] = &[
    ("channels", "newapi channel create, or enable one"),
    (
        "prices",
        "newapi price set MODEL; CUSTOM_PASS_UNPRICED says whether a model without a price is \
         free or refused",
    ),
    ("models", "put the model into a channel's list, or newapi price delete MODEL"),
    ("least holds", "newapi price set MODEL … --min-hold QUOTA: about what a large call costs"),
    ("units", "a protocol that counts it, a price by what it counts, or one per call"),
    ("channel {} upstream", "fix its base_url: https://HOST, and no path"),
    (
        "channel {} upstream",
        "the name has no address here: check base_url, /etc/resolv.conf, and try nslookup",
    ),
    (
        "channel {} upstream",
        "a private address: allow its network with UPSTREAM_ALLOW_NETS, if that is meant",
    ),
    (
        "channel {} upstream",
        "is it https there? openssl s_client -connect HOST:443 shows its certificate; that of \
         an own authority is trusted with SSL_CERT_FILE or update-ca-certificates",
    ),
    (
        "channel {} upstream",
        "nothing listens there, or a firewall refuses: check port, iptables, ufw",
    ),
    (
        "channel {} upstream",
        "no answer in time: check routes and firewalls; CUSTOM_PASS_CONNECT_TIMEOUT and \
         CUSTOM_PASS_HTTP_TIMEOUT can be raised",
    ),
    (
        "channel {} upstream",
        "the upstream breaks off: ask its operator; newapi channel test shows more",
    ),
    ("audit", "newapi audit lists them; newapi explain tells how it came"),
    ("balances", "work that cost more than was held; newapi user list, newapi user topup"),
    (
        "channel {} pause",
        "pay the upstream's bill, or set another key of the channel: it is tried again by \
         itself, and at once with another key",
    ),
    (
        "channel {} pause",
        "its upstream fails: newapi channel test ID shows what it says; it is tried again by \
         itself",
    ),
    (
        "channel {} key",
        "set the channel's key again, without blanks around it; newapi channel test {} shows \
         what the upstream says",
    ),
    (
        "channel {} time",
        "is the upstream slow or away? Where it needs longer, raise CUSTOM_PASS_HTTP_TIMEOUT, \
         or setting.timeout of the channel",
    ),
    (
        "channel {} tasks",
        "ask the upstream by hand: curl -X POST BASE_URL/MODEL/task/list-by-condition; once \
         it answers, newapi poll asks again at once",
    ),
    (
        "channel {} usage",
        "is it right? Then raise max_charge of the model's price: newapi price set; else \
         disable the channel, and ask its vendor",
    ),
    ("error rate", "users are out of money or at their limit: newapi user list; newapi user topup"),
    (
        "error rate",
        "no enabled channel serves the model: newapi channel list; a task's model ends in \
         /submit, in the path and in the channel",
    ),
    (
        "error rate",
        "clients come with keys that are not good, or not for this model: newapi token list",
    ),
    ("error rate", "see locked rows, long transactions and the connection pool"),
    ("error rate", "see memory; CUSTOM_PASS_MAX_IN_FLIGHT limits calls, too"),
    (
        "error rate",
        "their upstreams refuse them, or fail: see the channels; newapi channel test ID",
    ),
    ("error rate", "newapi logs analyze says which errors, and for whom"),
    (
        "error rate",
        "custompass_errors_total says which errors; with LOG_FILE newapi logs analyze does, \
         and for whom",
    ),
    (
        "task queue",
        "the upstream is slow, or its answers are not read: see tasks asked about and the \
         channel's tasks; CUSTOM_PASS_MAX_CONCURRENT and CUSTOM_PASS_BATCH_SIZE say how many \
         are asked about at once",
    ),
    (
        "status words",
        "say what the word means: on a list of the channel's custompass_status_mapping (PATCH \
         /api/channel/ID), or for all channels in CUSTOM_PASS_STATUS_SUCCESS, _FAILED or \
         _PROCESSING; the tasks go on by themselves then",
    ),
];

/// What is put together to texts that are there as wholes.
const PARTS: &[&str] = &[
    "; tried again in {} s",
    "its account is broken: {}{}",
    "its breaker is open{}",
    "nothing answers on {}{}",
];

/// The texts of a source without its tests, each with `{}` in its places.
fn texts(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut texts = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let found = rest.split_at(at).1;
        rest = if found.starts_with("//") {
            found.split_once('\n').map_or("", |(_, next)| next)
        } else if found.starts_with("'\"'") || found.starts_with("'/'") {
            found.get(3..).unwrap_or_default()
        } else if let Some(text) = found.strip_prefix('"') {
            let (text, next) = text_and_rest(text);
            texts.push(text);
            next
        } else {
            found.get(1..).unwrap_or_default()
        };
    }
    texts
}

/// A text from behind its first quote, and what follows the last.
fn text_and_rest(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = source.char_indices();
    let mut in_place = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, source.get(at + 1..).unwrap_or_default()),
            '\\' => match chars.next() {
                Some((_, '\n')) => {
                    let blanks = chars.as_str().len() - chars.as_str().trim_start().len();
                    for _ in 0..blanks {
                        chars.next();
                    }
                }
                Some((_, escaped)) => text.push(escaped),
                None => {}
            },
            '{' => in_place = true,
            '}' => {
                in_place = false;
                text.push_str("{}");
            }
            _ if in_place => {}
            _ => text.push(c),
        }
    }
    (text, "")
}

/// Prose: three words of it, and no SQL.
fn is_said(text: &str) -> bool {
    let is_word = |word: &&str| word.chars().filter(char::is_ascii_lowercase).count() > 1;
    let is_sql = ["SELECT ", "DELETE ", "status IN"].iter().any(|sql| text.contains(sql));
    text.split_whitespace().filter(is_word).count() >= 3 && !is_sql
}

#[test]
fn each_text_is_said_in_chinese() {
    let all: Vec<_> = SOURCES.iter().flat_map(|source| texts(source)).collect();
    let said: Vec<_> = all.iter().filter(|text| is_said(text)).collect();
    assert!(said.len() > 80, "{said:#?}");
    let shell = OF_A_SHELL.iter().map(|(_, remedy)| *remedy);
    let excepted: Vec<&str> = shell.chain(PARTS.iter().copied()).collect();
    let left = |text: &&&String| {
        !console::has_finding_in_chinese(text) && !excepted.contains(&text.as_str())
    };
    let left: Vec<_> = said.iter().filter(left).collect();
    assert!(left.is_empty(), "not in crates/console/src/findings.rs: {left:#?}");
    let gone: Vec<_> = excepted.iter().filter(|it| !all.iter().any(|text| text == *it)).collect();
    assert!(gone.is_empty(), "said no more: {gone:#?}");
    for (check, remedy) in OF_A_SHELL {
        assert!(all.iter().any(|text| text == check), "no check is named {check}");
        assert!(console::has_remedy(check), "{check}: {remedy}");
    }
}

#[test]
fn settings_that_mean_nothing_say_so_in_chinese() {
    for (name, why) in crate::config::MEANINGLESS {
        assert!(console::has_finding_in_chinese(why), "{name}: {why}");
    }
}
