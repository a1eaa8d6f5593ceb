//! What pages look like, compared with pictures that are kept in `pictures/`.
//!
//! A picture is taken of the same data, in a window of a fixed size, with one font and without what
//! differs from run to run: times, ids, ports, charts. It is compared at a quarter of its size,
//! where a letter that is drawn a little otherwise makes no difference, and a missing button does.
//!
//! `PICTURES=renew cargo xtask test --filter pictures` writes them anew, and those of
//! `docs/pictures`, which are the same pages as they are. Look at both before they are committed.

use super::Chromium;
use super::journeys::DESK;
use crate::pages::PASSWORD;
use crate::world::{World, fixed};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually};

/// A pixel differs when one of its colours does by more, of 255.
const COLOUR_TOLERANCE: u32 = 40;
/// Most pixels of a picture that may differ, in millionths.
const PIXEL_TOLERANCE_PPM: u64 = 1_000;

/// The window of a desk, and that of a phone.
pub(super) const WIDE: (u32, u32) = (1280, 900);
pub(super) const NARROW: (u32, u32) = (400, 820);

/// A page that is compared: name of its picture, language, theme, window.
type Shot = (&'static str, &'static str, &'static str, (u32, u32));
const SHOTS: [Shot; 10] = [
    ("overview.en", "en", "light", WIDE),
    ("overview.zh", "zh", "light", WIDE),
    ("log.en", "en", "light", WIDE),
    ("explain.en", "en", "light", WIDE),
    ("explain.zh", "zh", "light", WIDE),
    ("prices.en", "en", "light", WIDE),
    ("channels.en", "en", "dark", WIDE),
    ("adjust.en", "en", "light", WIDE),
    ("user.zh", "zh", "dark", WIDE),
    ("phone.zh", "zh", "light", NARROW),
];

/// Takes away what differs from run to run.
const MASK: &str = r#"
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`*, *::before, *::after { animation: none !important;
        transition: none !important; caret-color: transparent !important;
        font-family: "Noto Sans CJK SC" !important; scrollbar-width: none !important; }
        canvas, .u-legend { visibility: hidden !important; }`);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    for (const time of document.querySelectorAll('time')) time.textContent = '2026-01-01 09:00';
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const node = texts.currentNode;
        node.data = node.data
            .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '00000000-0000-0000-0000-000000000000')
            .replace(/node [\w.-]+:\d+/g, 'node host:1').replace(/节点 [\w.-]+:\d+/g, '节点 host:1')
            .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:3000')
            .replace(/(< )?\d+(\.\d+)? (ms|s|min)\b/g, '1 ms');
    }
    document.activeElement?.blur();
    return document.fonts.ready.then(() => true);"#;

/// Draws a picture at a quarter of its size, and counts how many of its pixels differ from another.
const COMPARE: &str = r#"
    const [taken, kept, tolerance, done] = arguments;
    const load = (data) => new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.onerror = () => reject(new Error('no picture'));
        image.src = `data:image/png;base64,${data}`;
    });
    const draw = (image, width, height) => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [width, height];
        const brush = canvas.getContext('2d');
        brush.imageSmoothingQuality = 'high';
        brush.drawImage(image, 0, 0, width, height);
        return [canvas, brush.getImageData(0, 0, width, height).data];
    };
    (async () => {
        const image = await load(taken);
        const [width, height] = [image.width / 4, image.height / 4].map(Math.round);
        const [canvas, now] = draw(image, width, height);
        const small = canvas.toDataURL('image/png').split(',')[1];
        if (!kept) return done({ small, differ: -1, all: width * height });
        const before = await load(kept);
        if (before.width !== width || before.height !== height) {
            return done({ small, differ: width * height, all: width * height });
        }
        const [, then] = draw(before, width, height);
        let differ = 0;
        for (let at = 0; at < now.length; at += 4) {
            const most = Math.max(...[0, 1, 2].map((n) => Math.abs(now[at + n] - then[at + n])));
            if (most > tolerance) differ += 1;
        }
        return done({ small, differ, all: width * height });
    })().catch((error) => done({ error: String(error) }));"#;

/// How many pixels differ, in millionths, and the picture as it is kept.
struct Compared {
    ppm: u64,
    small: Vec<u8>,
}

impl Chromium {
    /// Makes the page as large as this, on every machine.
    pub(super) async fn resize(&self, (width, height): (u32, u32)) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 720 });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        self.command("POST", "/goog/cdp/execute", &body).await;
    }

    async fn prefer(&self, lang: &str, theme: &str) {
        let script = format!(
            "return fetch('/console/preferences', {{ method: 'POST', body:
                new URLSearchParams({{ lang: '{lang}', theme: '{theme}' }}) }})
                .then((answer) => answer.status)"
        );
        assert_eq!(self.script(&script).await, 200);
    }

    /// Compares a picture with one that is kept, where there is one.
    async fn compare(&self, taken: &str, kept: Option<&[u8]>) -> Compared {
        let kept = kept.map(|bytes| BASE64_STANDARD.encode(bytes));
        let args = json!([taken, kept, COLOUR_TOLERANCE]);
        let body = json!({ "script": COMPARE, "args": args });
        let told = self.command("POST", "/execute/async", &body).await;
        assert!(told.get("error").is_none(), "{told}");
        let (differ, all) = (told["differ"].as_i64().unwrap(), told["all"].as_u64().unwrap());
        let ppm = u64::try_from(differ).map_or(u64::MAX, |differ| differ * 1_000_000 / all);
        let small = BASE64_STANDARD.decode(told["small"].as_str().unwrap()).unwrap();
        Compared { ppm, small }
    }
}

fn kept(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("tests/it/browser/pictures").join(format!("{name}.png"))
}

fn in_docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures").join(format!("{name}.png"))
}

/// The same house in every run: names, prices, and what was paid.
async fn furnished() -> (World, i64) {
    let world = World::open(TestDb::sqlite().await).await;
    let admin = world.admin();
    for (group, ratio) in [("default", 1.0), ("vip", 0.8)] {
        admin.group(json!({ "group_name": group, "ratio": ratio })).await;
    }
    let channels = [
        ("azure-east", "openai", &["gpt-4o", "gpt-4o-mini"][..], "team-a", 10),
        ("azure-west", "openai", &["gpt-4o"][..], "team-a", 0),
        ("anthropic", "anthropic", &["claude-sonnet"][..], "", 0),
        ("studio", "custompass", &["draw", "rerank-3"][..], "pictures", 0),
    ];
    for (name, protocol, models, tag, priority) in channels {
        let own = json!({ "name": name, "protocol": protocol, "tag": tag, "priority": priority,
            "groups": ["default", "vip"], "key": "a-key-of-the-upstream" });
        world.channel(models, own).await;
    }
    let prices = [
        (
            "gpt-4o",
            json!({ "ratio": 1.25, "completion_ratio": 4, "cache_ratio": 0.5,
            "min_hold": 10_000 }),
        ),
        ("gpt-4o-mini", json!({ "ratio": 0.075, "completion_ratio": 4 })),
        ("claude-sonnet", json!({ "ratio": 1.5, "completion_ratio": 5 })),
        ("draw", fixed(20_000)),
    ];
    for (model, price) in prices {
        admin.price(model, price).await;
    }
    let chat = Reply::result(820, 1_460);
    for path in ["/v1/chat/completions", "/v1/messages", "/draw"] {
        world.upstream.on(path, chat.clone());
    }
    let user = json!({ "username": "ann", "display_name": "Ann Weber", "password": PASSWORD,
        "quota": 15_000_000, "group": "vip", "monthly_limit": 50_000_000 });
    let ann = admin.user(user).await;
    let bob = json!({ "username": "bob", "password": PASSWORD, "quota": 50_000 });
    admin.user(bob).await;
    let key = admin.key_of(ann, json!({ "name": "laptop" })).await.key;
    for (model, times) in [("draw", 5), ("gpt-4o", 6), ("gpt-4o-mini", 3)] {
        let path = if model == "draw" { "/pass/draw" } else { "/v1/chat/completions" };
        for _ in 0..times {
            let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
            world.server.post(path, &key, &body).await.expect(200);
        }
    }
    let refund = json!({ "delta": -500_000, "reason": "paid in twice" });
    admin.post(&format!("/api/user/{ann}/quota"), &refund).await;
    admin.get("/api/audit/ledger").await;
    // What channels were used for follows the lines.
    let behind = "SELECT (SELECT sum(used_quota) FROM channels)
        - (SELECT sum(quota) FROM logs WHERE type = 'consume')";
    eventually("the lines to be added up", || async {
        (world.db.i64(behind).await == 0).then_some(())
    })
    .await;
    (world, ann)
}

/// Where the page of a picture is.
async fn address(world: &World, ann: i64, name: &str) -> String {
    match name.split('.').next().unwrap() {
        "overview" => "/console?range=24h".to_owned(),
        "explain" => {
            let line = "SELECT request_id FROM logs WHERE model_name = 'gpt-4o' \
                ORDER BY id LIMIT 1";
            let id = world.db.row(line).await.text("request_id").to_owned();
            format!("/console/explain/{id}")
        }
        "adjust" => format!("/console/users/{ann}/adjust"),
        "user" => format!("/console/users/{ann}"),
        "phone" => "/console".to_owned(),
        page => format!("/console/{page}"),
    }
}

#[test]
fn pages_look_as_their_pictures() {
    testkit::run(async {
        let (world, ann) = furnished().await;
        let renew = std::env::var("PICTURES").is_ok_and(|word| word == "renew");
        let mut wrong = Vec::new();
        for (login, password) in [("root", ROOT_PASSWORD), ("ann", PASSWORD)] {
            let window = Chromium::open(&world.server, DESK).await;
            window.login(login, password).await;
            for (name, lang, theme, size) in SHOTS {
                if name.starts_with("phone") != (login == "ann") {
                    continue;
                }
                window.resize(size).await;
                window.prefer(lang, theme).await;
                window.go(&address(&world, ann, name).await).await;
                if name.starts_with("adjust") {
                    window.type_into("#f-amount", "$5").await;
                    window.type_into("#f-reason", "a prize").await;
                }
                if renew {
                    let whole = BASE64_STANDARD.decode(window.picture().await).unwrap();
                    std::fs::write(in_docs(name), whole).unwrap();
                }
                assert_eq!(window.script(MASK).await, true);
                let taken = window.picture().await;
                let before = std::fs::read(kept(name)).ok().filter(|_| !renew);
                let compared = window.compare(&taken, before.as_deref()).await;
                if renew {
                    std::fs::write(kept(name), compared.small).unwrap();
                } else if compared.ppm > PIXEL_TOLERANCE_PPM {
                    let seen = world.db.dir().join(format!("{name}.png"));
                    let seen = std::env::temp_dir().join(seen.file_name().unwrap());
                    std::fs::write(&seen, BASE64_STANDARD.decode(&taken).unwrap()).unwrap();
                    wrong.push(format!("{name}: {} ppm, {}", compared.ppm, seen.display()));
                }
                if name == "prices.en" && !renew {
                    one_button_less_is_seen(&window, before.as_deref()).await;
                }
            }
            window.clean().await;
            window.close().await;
        }
        assert!(wrong.is_empty(), "these look otherwise: {wrong:#?}");
        world.close().await;
    });
}

/// The comparison can fail: without one button, and without one row.
async fn one_button_less_is_seen(window: &Chromium, kept: Option<&[u8]>) {
    for gone in ["main .button.primary", "main tbody tr"] {
        let remove = format!("document.querySelector({gone:?}).style.visibility = 'hidden'");
        assert_eq!(window.script(&remove).await, Value::Null);
        let taken = window.picture().await;
        let compared = window.compare(&taken, kept).await;
        assert!(compared.ppm > PIXEL_TOLERANCE_PPM, "{gone}: {} ppm", compared.ppm);
        let back = format!("document.querySelector({gone:?}).style.visibility = ''");
        assert_eq!(window.script(&back).await, Value::Null);
    }
}
