//! A real Chromium, driven over WebDriver as Debian ships both. `axe.min.js` is axe-core 4.14.1 as
//! published (MPL-2.0, `axe.LICENSE`), and part of no build.

mod columns;
mod fit;
mod journeys;
mod lists;
mod live;
mod palette;
mod phone;
mod pictures;
mod play;

use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use testkit::{Call, Server, eventually, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Finds what people who can't see a page, or can't see it well, would stumble over.
const AXE: &str = include_str!("axe.min.js");
/// All its rules on the page as it is, then those of colours in the other theme: a theme is a set
/// of colours on the same page, and nothing else of it.
const RUN_AXE: &str = "const done = arguments[arguments.length - 1];
    const found = async (theme, options) => {
        const { violations } = await axe.run({ resultTypes: ['violations'], ...options });
        return violations.map((one) => `${theme} ${one.id}: ${
            one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
    };
    (async () => {
        const root = document.documentElement, theme = root.dataset.theme;
        const all = await found(theme, {});
        root.dataset.theme = theme === 'dark' ? 'light' : 'dark';
        const colours = await found(root.dataset.theme,
            { runOnly: ['color-contrast', 'link-in-text-block'] });
        root.dataset.theme = theme;
        return [...all, ...colours];
    })().then(done, (error) => done([String(error)]));";

/// Keys without a letter, as WebDriver writes them.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";

/// A window of Chromium, closed when this is dropped.
pub(crate) struct Chromium {
    driver: SocketAddr,
    session: String,
    base: String,
    /// Ends the driver, and with it the browser.
    _child: Child,
}

impl Chromium {
    /// Opens a window of this size, in front of the server.
    pub(crate) async fn open(server: &Server, (width, height): (u32, u32)) -> Self {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is in the path: cargo xtask test installs it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = within("chromedriver to say its port", async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
            panic!("chromedriver ended");
        })
        .await;
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let size = format!("--window-size={width},{height}");
        // Tests run as root, where Chromium has no sandbox; nothing but the server is visited.
        // Over a pipe, so that the browser ends with its driver, also when a test fails.
        let pipe = "--remote-debugging-pipe";
        let args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en", pipe, &size];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let begun = ask(driver, "POST", "/session", &wanted).await;
        let session = begun["sessionId"].as_str().expect("a session").to_owned();
        Self { driver, session, base: server.url(), _child: child }
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        ask(self.driver, method, &format!("/session/{}{path}", self.session), body).await
    }

    /// Opens a page, by its path.
    pub(crate) async fn go(&self, path: &str) {
        let url = format!("{}{path}", self.base);
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    /// What a script returns.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// The text of the first element that the selector finds; empty where there is none.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.script(&script).await.as_str().unwrap_or_default().to_owned()
    }

    /// What is typed in the first field that the selector finds.
    pub(crate) async fn value(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.value ?? ''");
        self.script(&script).await.as_str().unwrap_or_default().to_owned()
    }

    async fn find(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        eventually(&format!("{selector} to be there"), || async {
            let found = self.command("POST", "/elements", &query).await;
            let first = found.as_array().and_then(|all| all.first()).cloned()?;
            first.as_object()?.values().next()?.as_str().map(str::to_owned)
        })
        .await
    }

    /// Clicks it, as a mouse would.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command("POST", &format!("/element/{element}/click"), &json!({})).await;
    }

    /// Types into it, key by key.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        let path = format!("/element/{element}/value");
        self.command("POST", &path, &json!({ "text": text })).await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn keys(&self, keys: &str) {
        let pressed = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key.to_string() }))
        });
        let pressed: Vec<Value> = pressed.collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": pressed }] });
        self.command("POST", "/actions", &body).await;
    }

    /// Goes on with the key Tab until the focus is on this.
    pub(crate) async fn tab_to(&self, selector: &str) {
        let there = format!("return document.activeElement.matches({selector:?})");
        for _ in 0..40 {
            self.keys(TAB).await;
            if self.script(&there).await == true {
                return;
            }
        }
        panic!("Tab does not come to {selector}");
    }

    /// Moves the reader to another time zone.
    pub(crate) async fn travel(&self, zone: &str) {
        let to = json!({ "timezoneId": zone });
        let body = json!({ "cmd": "Emulation.setTimezoneOverride", "params": to });
        self.command("POST", "/goog/cdp/execute", &body).await;
    }

    /// Waits until the text is on the page.
    pub(crate) async fn sees(&self, text: &str) {
        eventually(&format!("the page to say {text:?}"), || async {
            self.text("body").await.contains(text).then_some(())
        })
        .await;
    }

    /// Logs in at the form.
    pub(crate) async fn login(&self, name: &str, password: &str) {
        self.go("/console/login").await;
        self.type_into("#username", name).await;
        self.type_into("#password", password).await;
        self.click("button.primary").await;
        eventually("the first page", || async {
            (!self.text("nav.side").await.is_empty()).then_some(())
        })
        .await;
    }

    /// Fails the test when something is not accessible, in the light or in the dark.
    pub(crate) async fn accessible(&self, path: &str) {
        self.script(AXE).await;
        let body = json!({ "script": RUN_AXE, "args": [] });
        let found = self.command("POST", "/execute/async", &body).await;
        assert_eq!(found, json!([]), "{path}");
    }

    /// Fails the test when a script complained, the policy was broken, or another host was asked.
    pub(crate) async fn clean(&self) {
        let lines = self.command("POST", "/se/log", &json!({ "type": "browser" })).await;
        let severe: Vec<&str> = lines
            .as_array()
            .unwrap()
            .iter()
            .filter(|line| line["level"] == "SEVERE")
            .filter_map(|line| line["message"].as_str())
            .collect();
        assert!(severe.is_empty(), "{severe:?}");
        let foreign = "return performance.getEntriesByType('resource').map((one) => one.name)
            .filter((name) => !name.startsWith(location.origin))";
        assert_eq!(self.script(foreign).await, json!([]));
    }

    /// Closes the window, and removes what the browser has written.
    pub(crate) async fn close(self) {
        self.command("DELETE", "", &Value::Null).await;
    }

    /// A picture of the page, as PNG in base 64.
    pub(crate) async fn picture(&self) -> String {
        let taken = self.command("GET", "/screenshot", &Value::Null).await;
        taken.as_str().unwrap_or_default().to_owned()
    }
}

async fn ask(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let mut call = Call::new(driver, method, path);
    if !body.is_null() {
        call = call.json(body);
    }
    let answer = call.send().await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()["value"].clone()
}
