//! The console over plain HTTP: who sees which page, that every link leads somewhere, and that
//! nothing is written for a foreign site.

use crate::pages_whole::FullWorld;
use crate::world::{World, by_use};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use testkit::{
    Answer, Call, ROOT_PASSWORD, Reply, Server, TestDb, eventually, json, on_both_databases,
};

pub(crate) const PASSWORD: &str = "a good password";
const CHANNEL_KEY: &str = "upstream-secret-that-no-page-shows";
/// Largest page, compressed.
pub(crate) const MAX_PAGE_BYTES: usize = 20 * 1024;
/// Pages of administrators.
const ADMIN_PAGES: [&str; 17] = [
    "/console/users",
    "/console/users/1",
    "/console/users/new",
    "/console/users/1/adjust",
    "/console/channels",
    "/console/channels/1",
    "/console/channels/1/edit",
    "/console/protocols",
    "/console/protocols/view?name=openai",
    "/console/protocols/edit",
    "/console/prices/edit",
    "/console/groups",
    "/console/codes",
    "/console/audit",
    "/console/doctor",
    "/console/actions",
    "/console/settings",
];

/// A browser that is logged in at the console.
pub(crate) struct Browser<'a> {
    server: &'a Server,
    cookie: String,
    pub(crate) lang: &'static str,
}

impl<'a> Browser<'a> {
    pub(crate) async fn login(server: &'a Server, username: &str, password: &str) -> Self {
        let body = format!("username={username}&password={}", password.replace(' ', "+"));
        let answer = server.call("POST", "/console/login").body(body).send().await.expect(303);
        assert_eq!(answer.header("location").as_deref(), Some("/console"));
        let set = answer.header("set-cookie").unwrap();
        for guard in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(set.contains(guard), "{set}");
        }
        let cookie = set.split(';').next().unwrap().to_owned();
        Self { server, cookie, lang: "en" }
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        let call = self.server.call(method, path).header("Cookie", &self.cookie);
        call.header("Accept-Language", self.lang)
    }

    /// Has the browser keep one more cookie.
    pub(crate) fn keep(&mut self, cookie: &str) {
        self.cookie = format!("{}; {cookie}", self.cookie);
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    /// The CSRF token that a page carries.
    pub(crate) async fn csrf(&self) -> String {
        let page = self.get("/console").await.expect(200).text();
        between(&page, "name=\"csrf\" value=\"", "\"").unwrap()
    }

    /// Sends a form as a page of ours would.
    pub(crate) async fn send(&self, path: &str, form: &str) -> Answer {
        let body = format!("csrf={}&{form}", self.csrf().await);
        self.call("POST", path).header("Sec-Fetch-Site", "same-origin").body(body).send().await
    }
}

pub(crate) fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let from = text.find(start)? + start.len();
    let to = text[from..].find(end)? + from;
    Some(text[from..to].to_owned())
}

/// The values of an attribute, as a browser reads them.
pub(crate) fn attributes(page: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = page.split(&start).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(|value| value.replace("&amp;", "&").replace("&quot;", "\"")).collect()
}

/// Follows every link from the first page on; returns the pages by their address.
pub(crate) async fn crawl(browser: &Browser<'_>) -> BTreeMap<String, String> {
    let mut ahead = VecDeque::from(["/console".to_owned()]);
    let mut seen = BTreeSet::from(["/console".to_owned()]);
    let mut pages = BTreeMap::new();
    while let Some(path) = ahead.pop_front() {
        assert!(seen.len() < 1_400, "the console has no end: {seen:?}");
        let answer = browser.get(&path).await;
        assert!(answer.status < 400, "{path}: {} {}", answer.status, answer.text());
        if !path.starts_with("/console") || path.starts_with("/console/assets") {
            continue;
        }
        let page = answer.text();
        let links = attributes(&page, "href").into_iter().chain(attributes(&page, "src"));
        // A sorted list leads to itself in every other order: they multiply with the filters.
        let is_turned = |link: &str| path.contains("sort=") && link.contains("sort=");
        // So does one that is filtered, filtered otherwise as well.
        let filters =
            |to: &str| to.split_once('?').map_or(0, |(_, asked)| asked.split('&').count());
        let page_of = |to: &str| to.split('?').next().unwrap_or_default().to_owned();
        let is_narrowed = |link: &str| {
            page_of(&path) == page_of(link) && filters(&path) >= 1 && filters(link) >= 2
        };
        // Where a session has ended one logs in beside the page: it is no page of a reader.
        let is_login = |link: &str| link == "/console/login";
        let is_page = |link: &String| {
            link.starts_with('/') && !is_turned(link) && !is_narrowed(link) && !is_login(link)
        };
        for link in links.filter(is_page) {
            let link = link.split('#').next().unwrap_or_default().to_owned();
            if seen.insert(link.clone()) {
                ahead.push_back(link);
            }
        }
        pages.insert(path, page);
    }
    pages
}

/// The shape of an address: its steps, without numbers and names, and what is shown of its page.
pub(crate) fn shape(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_id = |step: &str| step.contains(|c: char| c.is_ascii_digit());
    let steps: Vec<&str> =
        path.split('/').map(|step| if is_id(step) { "N" } else { step }).collect();
    let shown = query.split('&').filter_map(|pair| pair.split_once('='));
    let shown = shown.filter(|(name, _)| matches!(*name, "show" | "per" | "tag"));
    let shown: Vec<String> = shown
        .map(|(name, value)| match name {
            "tag" => "tag".to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    let steps = steps.join("/");
    if shown.is_empty() { steps } else { format!("{steps}?{}", shown.join("&")) }
}

/// Pages of one kind: the first of each shape of address.
pub(crate) fn shapes(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let is_page = |path: &String| !path.contains("export");
    paths.into_iter().filter(|path| is_page(path) && seen.insert(shape(path))).collect()
}

/// A world where something of everything has happened.
pub(crate) async fn lively(db: TestDb) -> (World, i64) {
    let world = World::open(db).await;
    let admin = world.admin();
    world.upstream.on("/chat", Reply::result(20, 60));
    world.channel(&["chat", "draw"], json!({ "name": "first", "key": CHANNEL_KEY })).await;
    admin.price("chat", by_use()).await;
    admin.group(json!({ "group_name": "vip", "ratio": 0.8 })).await;
    let ann = world.payer(500_000).await;
    admin.put(&format!("/api/user/{}", ann.id), &json!({ "password": PASSWORD })).await;
    world.pay("chat", &ann).await.expect(200);
    admin.post("/api/redemption", &json!({ "name": "spring", "quota": 500, "count": 2 })).await;
    (world, ann.id)
}

pub(crate) async fn name_of(world: &World, id: i64) -> String {
    world.admin().user_row(id).await["username"].as_str().unwrap().to_owned()
}

on_both_databases! {
    async fn every_link_of_every_page_leads_somewhere(db: TestDb) {
        let FullWorld { world, ann } = FullWorld::open(db).await;
        let name = name_of(&world, ann).await;
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        world.admin().user(adam).await;
        let of_root = ["/console/settings", "/console/users/1/adjust"];
        for lang in ["en", "zh"] {
            let mut root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
            root.lang = lang;
            let pages = crawl(&root).await;
            check_pages(&pages, lang);
            for page in ADMIN_PAGES {
                assert!(pages.contains_key(page), "root has no way to {page}: {:?}", pages.keys());
            }
            let mut admin = Browser::login(&world.server, "adam", PASSWORD).await;
            admin.lang = lang;
            let pages = crawl(&admin).await;
            check_pages(&pages, lang);
            for page in ADMIN_PAGES {
                let there = pages.contains_key(page);
                assert_eq!(there, !of_root.contains(&page), "{page}: {:?}", pages.keys());
            }
            let mut user = Browser::login(&world.server, &name, PASSWORD).await;
            user.lang = lang;
            let pages = crawl(&user).await;
            check_pages(&pages, lang);
            for page in ADMIN_PAGES {
                assert!(!pages.contains_key(page), "a user is led to {page}");
                let refused = user.get(page).await;
                assert!(matches!(refused.status, 403 | 404), "{page}: {}", refused.status);
            }
        }
        FullWorld { world, ann }.close().await;
    }
}

/// The size of a page as a proxy may send it.
pub(crate) fn gzipped(page: &str) -> usize {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(page.as_bytes()).unwrap();
    gzip.finish().unwrap().len()
}

/// What holds for every page: its head, its size, no secret, no word of the other language in it.
fn check_pages(pages: &BTreeMap<String, String>, lang: &str) {
    let mut foreign = BTreeMap::new();
    for (path, page) in pages {
        if path.starts_with("/console/log/export") {
            continue;
        }
        let tag = if lang == "zh" { "zh-CN" } else { "en" };
        assert!(page.contains(&format!("<html lang=\"{tag}\"")), "{path}");
        let title = between(page, "<h1>", "</h1>").unwrap_or_default();
        assert!(!title.is_empty(), "{path} has no heading");
        for secret in [CHANNEL_KEY, PASSWORD, ROOT_PASSWORD, "sk-admin"] {
            assert!(!page.contains(secret), "{path} shows {secret}");
        }
        for inline in ["<style", " style=\"", "<script>", "onclick=", "hx-on", "javascript:"] {
            assert!(!page.contains(inline), "{path} has {inline}");
        }
        let size = gzipped(page);
        assert!(size <= MAX_PAGE_BYTES, "{path}: {size} bytes");
        for text in texts(page) {
            let known = SAID_OTHERWISE.iter().any(|(said, _)| text.contains(said));
            // The reference has the API's own names.
            let is_name = path.starts_with("/console/api") && !text.trim().contains(' ');
            if !known && !is_name && is_foreign(&text, lang) {
                foreign.insert(text, path);
            }
        }
        let menu = between(page, "<nav class=\"side\"", "</nav>").unwrap();
        assert_eq!(has_han(&menu.replace("中文", "")), lang == "zh", "{path}: {menu}");
    }
    assert!(foreign.is_empty(), "in {lang}: {foreign:#?}");
}

/// What stands on pages in another language than theirs, and why.
const SAID_OTHERWISE: [(&str, &str); 4] = [
    ("列: model_name", "the columns of a table that is pasted"),
    ("中文", "leads to the other language, in its own"),
    ("https://", "where a protocol's facts come from, as its document says it"),
    ("docs/http-api.md of this program", "the same of our own protocol"),
];

fn has_han(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// Words of our own that stand in formulas, units and lists, and are foreign alone.
const OWN_WORDS: [&str; 15] = [
    "completion",
    "cached",
    "charged",
    "fixed",
    "held",
    "hold",
    "images",
    "meters",
    "prompt",
    "quota",
    "ratio",
    "refunded",
    "settled",
    "tiers",
    "units",
];

/// Whether a text is in the other language: in English one Han character is, in Chinese three
/// English words in a row, or one of our own.
pub(crate) fn is_foreign(text: &str, lang: &str) -> bool {
    if lang == "en" {
        return has_han(text);
    }
    // A path, a field and a name may have such a word in them, and JSON has names of fields.
    let is_code = |word: &&str| word.contains(['/', '_', '-']) || word.contains("&quot;");
    let words = text.split_whitespace().filter(|word| !is_code(word));
    let mut bare = words.flat_map(|word| word.split(|c: char| !c.is_ascii_alphabetic()));
    if bare.any(|word| OWN_WORDS.contains(&word)) {
        return true;
    }
    let mut run = 0;
    text.split(' ').any(|word| {
        let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
        let is_english = bare.len() > 1 && bare.bytes().all(|byte| byte.is_ascii_alphabetic());
        run = if is_english { run + 1 } else { 0 };
        let is_said = run == 3;
        // Behind a comma begins the next name of a list.
        run = if word.ends_with(',') { 0 } else { run };
        is_said
    })
}

/// The texts of a page, and what is read out or shown on hover; without code, but with formulas.
pub(crate) fn texts(page: &str) -> Vec<String> {
    let mut main = between(page, "<main", "</main>").unwrap();
    main = main.replace("<code class=\"break\"", "<b class=\"formula\"");
    for code in ["pre", "code", "textarea", "kbd"] {
        while let Some(text) = between(&main, &format!("<{code}"), &format!("</{code}>")) {
            main = main.replacen(&format!("<{code}{text}</{code}>"), "", 1);
        }
    }
    let pieces = main.split('<').filter_map(|piece| piece.split_once('>'));
    let mut texts: Vec<String> = pieces.map(|(_, text)| text.to_owned()).collect();
    for name in ["title", "placeholder", "aria-label", "data-confirm", "alt"] {
        texts.extend(attributes(&main, name));
    }
    texts
}

on_both_databases! {
    async fn a_page_is_for_who_is_logged_in(db: TestDb) {
        let world = World::open(db).await;
        let server = &world.server;
        let away = server.call("GET", "/console/log?type=topup").send().await.expect(303);
        let login = "/console/login?next=%2Fconsole%2Flog%3Ftype%3Dtopup";
        assert_eq!(away.header("location").as_deref(), Some(login));
        let page = server.call("GET", login).send().await.expect(200).text();
        assert!(page.contains("value=\"/console/log?type=topup\""), "{page}");

        // A browser is led to the console, a script gets its JSON.
        let browser = server.call("GET", "/").header("Accept", "text/html,*/*;q=0.8");
        let led = browser.send().await.expect(303);
        assert_eq!(led.header("location").as_deref(), Some("/console"));
        let script = server.call("GET", "/").send().await.expect(200);
        assert_eq!(script.json()["name"], "newapi");

        let wrong = server.call("POST", "/console/login").body("username=root&password=no");
        let refused = wrong.send().await.expect(422);
        assert!(
            refused.header("set-cookie").is_none() && refused.text().contains("wrong password")
        );
        let abroad = server.call("POST", "/console/login").header("Sec-Fetch-Site", "cross-site");
        let body = format!("username=root&password={ROOT_PASSWORD}");
        abroad.body(body).send().await.expect(403);

        let root = Browser::login(server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console").await.expect(200);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control").as_deref(), Some("no-store"));
        root.get("/console/nothing").await.expect(404);
        root.send("/console/logout", "").await.expect(303);
        root.get("/console").await.expect(303);
        world.close().await;
    }

    async fn a_foreign_site_writes_nothing(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let name = name_of(&world, ann).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let mut forms = BTreeSet::new();
        for browser in [&root, &user] {
            for page in crawl(browser).await.values() {
                forms.extend(attributes(page, "action"));
            }
        }
        forms.retain(|to| !matches!(to.as_str(), "/console/preferences" | "/console/login"));
        assert!(forms.len() > 20, "{forms:?}");
        let csrf = root.csrf().await;
        let before = world.db.i64("SELECT count(*) FROM logs").await;
        for form in &forms {
            let bare = root.call("POST", form).body("amount=5&reason=forged").send().await;
            assert!(matches!(bare.status, 403 | 405), "{form}: {}", bare.status);
            let abroad = root.call("POST", form).header("Sec-Fetch-Site", "cross-site");
            let abroad = abroad.body(format!("csrf={csrf}&amount=5&reason=forged")).send().await;
            assert!(matches!(abroad.status, 403 | 405), "{form}: {}", abroad.status);
        }
        let others = user.csrf().await;
        let stolen = root.call("POST", "/console/audit/run").body(format!("csrf={others}"));
        stolen.send().await.expect(403);
        assert_eq!(world.db.i64("SELECT count(*) FROM logs").await, before);
        world.close().await;
    }

    async fn a_balance_moves_with_a_reason_and_once(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        let quota = world.admin().user_quota(ann).await;
        let no_reason = root.send(&path, "direction=add&amount=%245&reason=x&reference=a").await;
        assert!(no_reason.expect(422).text().contains("at least 4 characters"));
        let no_number = root.send(
            &path, "direction=add&amount=five&reason=prize&reference=a"
        ).await;
        no_number.expect(422);
        assert_eq!(world.admin().user_quota(ann).await, quota);
        for word in ["moved", "repeated"] {
            let form = "direction=add&amount=%245.000002&reason=the+prize&reference=a";
            let moved = root.send(&path, form).await.expect(303);
            let to = moved.header("location").unwrap();
            assert!(to.starts_with(&format!("/console/users/{ann}?")), "{to}");
            assert!(to.ends_with(&format!("done={word}")), "{to}");
            if word == "moved" {
                let page = root.get(&to).await.expect(200).text();
                assert!(page.contains("$5.000002 added to ") && page.contains("; now $5.99"));
            }
        }
        assert_eq!(world.admin().user_quota(ann).await, quota + 2_500_001);
        // Another amount under the same form is no second movement. Two Han characters say why.
        let other = "direction=add&amount=%247&reason=%E8%B5%A0%E9%80%81&reference=a";
        let refused = root.send(&path, other).await.expect(422).text();
        assert!(refused.contains("this form has moved the balance already"), "{refused}");
        let page = root.get(&format!("/console/users/{ann}")).await.expect(200).text();
        assert!(page.contains("the prize") && page.contains("+$5.000002"), "{page}");
        let reverse = attributes(&page, "href").into_iter().find(|to| to.contains("reverse="));
        let form = root.get(&reverse.unwrap()).await.expect(200).text();
        assert!(form.contains("value=\"$5.000002\""), "{form}");
        assert!(form.contains("This is a reversal"), "{form}");
        let line = "SELECT id FROM logs WHERE content = 'the prize (by root)'";
        let line = world.db.i64(line).await;
        let back = |amount: &str| {
            format!("direction=take&amount={amount}&reversal_of={line}&reason=a+slip")
        };
        let part = root.send(&path, &back("%245")).await.expect(422).text();
        assert!(part.contains("with the other sign"), "{part}");
        root.send(&path, &back("%245.000002")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, quota);
        root.send(&path, &format!("{}&below=1", back("%245.000002"))).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, quota, "once");
        let page = root.get(&format!("/console/users/{ann}")).await.expect(200).text();
        assert!(page.contains(&format!("reverses line #{line}: a slip (by root)")), "{page}");
        let offers = page.contains(&format!("reverse={line}&"));
        assert!(page.contains(">reversed<") && !offers, "{page}");
        world.close().await;
    }

    async fn what_is_taken_and_given_back_was_not_paid_in(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let path = format!("/console/users/{ann}/adjust");
        let take = "direction=take&amount=%2410&reason=a+mistake&reference=b";
        let asked = root.send(&path, take).await.expect(422).text();
        assert!(asked.contains("would leave −$9.00016"), "{asked}");
        let taken = root.send(&path, &format!("{take}&below=1")).await.expect(303);
        let page = root.get(&taken.header("location").unwrap()).await.expect(200).text();
        assert!(page.contains("$10.00 taken from ") && page.contains("; now −$9.00016"), "{page}");
        assert!(page.contains("Below zero: calls are refused."), "{page}");
        let paid_in = "SELECT CAST(sum(delta) AS bigint) FROM logs WHERE type = 'topup'";
        let before = world.db.i64(paid_in).await;
        let reverse = attributes(&page, "href").into_iter().find(|to| to.contains("reverse="));
        let line: String = between(&reverse.unwrap(), "reverse=", "&").unwrap();
        let back = format!("direction=add&amount=%2410&reversal_of={line}&reason=a+slip");
        root.send(&path, &back).await.expect(303);
        assert_eq!(world.db.i64(paid_in).await, before);
        world.close().await;
    }
}

on_both_databases! {
    async fn a_charge_is_explained_to_its_owner_alone(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let request = world.db.row("SELECT request_id FROM logs WHERE type = 'consume'").await;
        let path = format!("/console/explain/{}", request.text("request_id"));
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get(&path).await.expect(200).text();
        for words in ["60 completion", "= 80 quota = $0.00016", "$0.999840", "first", "settled"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let refund = attributes(&page, "href").into_iter().find(|to| to.contains("refund="));
        let refund = refund.unwrap();
        let page = root.get(&refund).await.expect(200).text();
        for words in ["value=\"$0.00016\"", "at most $0.00016;"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let (to, _) = refund.split_once('?').unwrap();
        let form = format!("refund_of={}&reason=our+fault&reference=x", request.text("request_id"));
        let refused = root.send(to, &format!("{form}&amount=90q")).await.expect(422).text();
        let words = "#f-amount\">Amount</a>: at most $0.00016: what the call cost";
        assert!(refused.contains(words), "{refused}");
        root.send(to, &format!("{form}&amount=30q")).await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, 500_000 - 80 + 30);

        // What was given back is no charge any more, and only the rest is offered.
        let page = root.get(&path).await.expect(200).text();
        for words in ["charged $0.00016, refunded $0.00006", "refunded in part", ">Refunded<"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let story = root.get(&format!("/api/audit/explain/{}", request.text("request_id"))).await;
        let hold = story.expect(200).json()["data"]["holds"][0].clone();
        assert_eq!((&hold["charged"], &hold["refunded"]), (&json!(80), &json!(30)), "{hold}");
        let refund = attributes(&page, "href").into_iter().find(|to| to.contains("refund="));
        let rest = root.get(&refund.unwrap()).await.expect(200).text();
        assert!(rest.contains("value=\"$0.0001\""), "{rest}");
        let form = form.replace("reference=x", "reference=y");
        root.send(to, &format!("{form}&amount=50q")).await.expect(303);
        let page = root.get(&path).await.expect(200).text();
        assert!(page.contains("settled, and refunded") && !page.contains("refund="), "{page}");
        assert!(page.contains("/console/keys/"), "the key that called: {page}");
        let user = Browser::login(&world.server, &name, PASSWORD).await;
        let page = user.get(&path).await.expect(200).text();
        assert!(page.contains("$0.00016") && !page.contains("first"), "{page}");
        assert!(!page.contains("refund="), "{page}");
        let other = world.payer(1).await;
        world.admin().put(
            &format!("/api/user/{}", other.id), &json!({ "password": PASSWORD })
        ).await;
        let eve = Browser::login(&world.server, &name_of(&world, other.id).await, PASSWORD).await;
        eve.get(&path).await.expect(404);
        world.close().await;
    }

    async fn what_is_made_in_the_console_works(db: TestDb) {
        let world = World::open(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        world.upstream.on("/draw", Reply::result(1, 1));
        let base = world.upstream.url().replace(':', "%3A").replace('/', "%2F");
        let channel = format!(
            "name=one&base_url={base}&key={CHANNEL_KEY}&models=draw&groups=default"
        );
        let refused = root.send(
            "/console/channels/new", "name=one&base_url=nowhere&models=a"
        ).await;
        assert!(refused.expect(422).text().contains("base_url"));
        root.send("/console/channels/new", &channel).await.expect(303);
        let tested = root.send("/console/channels/1/test", "model=draw").await.expect(200).text();
        assert!(tested.contains("works"), "{tested}");
        root.send("/console/prices/edit", "model_name=draw&fixed_quota=%240.05").await.expect(303);
        let user = "username=bob&password=a+good+password&group=default&ratio=1&role=1&quota=%241\
            &reason=to+begin";
        root.send("/console/users/new", user).await.expect(303);
        let key = root.send("/console/keys/new", "name=k&user_id=2").await.expect(200).text();
        let key = between(&key, "id=\"new-key\">", "<").unwrap();
        world.server.post("/pass/draw", &key, &json!({})).await.expect(200);
        assert_eq!(world.admin().user_quota(2).await, 475_000);
        let list = root.get("/console/keys").await.expect(200).text();
        assert!(!list.contains(&key), "a key is shown once");

        let lot = "name=x&quota=%242&count=1&reason=a+prize";
        let code = root.send("/console/codes/new", lot).await.expect(200);
        let code = between(&code.text(), "id=\"new-codes\">", "<").unwrap();
        let bob = Browser::login(&world.server, "bob", PASSWORD).await;
        bob.send("/console/redeem", &format!("code={code}")).await.expect(303);
        // Again: the same amount is told, and nothing is credited.
        bob.send("/console/redeem", &format!("code={code}")).await.expect(303);
        assert_eq!(world.admin().user_quota(2).await, 1_475_000);
        let prices = bob.get("/console/prices").await.expect(200).text();
        assert!(prices.contains("draw") && prices.contains("$0.05"), "{prices}");
        root.send("/console/audit/run", "").await.expect(303);
        eventually("the proof of the books", || async {
            let audit = root.get("/console/audit").await.expect(200).text();
            audit.contains("the books balance").then_some(())
        })
        .await;
        world.close().await;
    }
}
