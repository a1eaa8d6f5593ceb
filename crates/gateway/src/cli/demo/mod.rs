//! `newapi demo`: the whole thing in one process, paid calls over real HTTP, each explained with
//! what it cost. It checks what it shows, and fails when a number is not what it should be.

mod steps;
mod tasks;

use super::{Followed, Loaded, http, out};
use crate::config::{Config, Runtime, Settings};
use crate::wiring::Service;
use crate::{mock_upstream, signals};
use ::http::Method;
use anyhow::{Context, bail, ensure};
use httpd::Stop;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::time::Instant;

const ACCESS_TOKEN: &str = "demo-access-token-that-is-long-enough";
/// Root's password; the demo serves this machine alone.
const ROOT_PASSWORD: &str = "demo-root";
const USER_PASSWORD: &str = "correct-horse";
const START_QUOTA: i64 = 50_000;

/// Shows the main job in one process, with nothing else installed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Keep serving afterwards, with the calls to try printed; Ctrl-C ends it.
    #[arg(long)]
    keep: bool,
    /// Port to serve on; a free one if not given.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// What the steps work with.
struct Demo {
    base: SocketAddr,
    upstream: SocketAddr,
    user_id: i64,
    key: String,
    mistakes: AtomicU32,
}

/// A directory that goes when the demo ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs it.
///
/// # Errors
/// When something can't be started or doesn't answer.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let scratch = Scratch(scratch_dir()?);
    let began = Instant::now();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let upstream = httpd::listen(loopback)?;
    let upstream_address = upstream.local_addr()?;
    let upstream_stop = Stop::default();
    let upstream_job = tokio::spawn(mock_upstream::serve(upstream, upstream_stop.clone()));

    let environment = environment(&scratch.0, args.port);
    let read = Box::new(move |runtime: &Runtime| Settings::load(&environment, runtime));
    let settings = read(&Runtime::new())?;
    let config = Config::from_settings(&settings)?;
    let (log, levels) = oplog::install(&config.log, crate::wiring::system_clock())?;
    let followed = Followed { settings, read, levels };
    let loaded = Loaded { config, followed, lines: Some(log.lines()) };
    let service = Service::start(loaded).await?;
    let took_ms = began.elapsed().as_millis();
    out::line("newapi demo: everything runs in this process and is gone when it ends\n");
    out::line(format_args!("  server    http://{}   (ready in {took_ms} ms)", service.address));
    out::line(format_args!("  database  SQLite in {}", scratch.0.display()));
    out::line(format_args!("  upstream  http://{upstream_address}   a scripted API"));

    let demo = set_up(service.address, upstream_address).await?;
    let next = demo.run_steps().await?;
    demo.run_tasks(next).await?;
    demo.show_records(&scratch.0.join("newapi.log")).await?;
    let mistakes = demo.mistakes.load(Ordering::Relaxed);
    if mistakes == 0 {
        out::line("\nEverything came out as it should.");
    } else {
        out::line(format_args!("\n{mistakes} things did not come out as they should (✗ above)."));
    }
    if args.keep {
        demo.show_calls_to_try();
        signals::stop_requested().await;
    }
    service.stop().await;
    upstream_stop.accepting.cancel();
    upstream_stop.now.cancel();
    upstream_job.await?;
    log.close();
    Ok(if mistakes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scratch_dir() -> anyhow::Result<PathBuf> {
    let now_ms = crate::wiring::system_clock().now().0;
    let name = format!("newapi-demo-{}-{now_ms}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    crate::secret::make_data_dir(&dir)?;
    Ok(dir)
}

/// In place of the environment: the defaults, with the loopback network allowed.
fn environment(dir: &Path, port: u16) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    let (dir_text, port) = (dir.display().to_string(), port.to_string());
    let log = dir.join("newapi.log").display().to_string();
    move |name| {
        let value = match name {
            "DATA_DIR" => dir_text.as_str(),
            "PORT" => port.as_str(),
            "LISTEN_ADDR" => "127.0.0.1",
            "ENABLE_METRICS" => "false",
            "LOG_FILE" => log.as_str(),
            "UPSTREAM_ALLOW_NETS" | "WEBHOOK_ALLOW_NETS" => "127.0.0.0/8",
            "CUSTOM_PASS_POLL_INTERVAL" => "1s",
            "ROOT_ACCESS_TOKEN" => ACCESS_TOKEN,
            "ROOT_PASSWORD" => ROOT_PASSWORD,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

async fn set_up(base: SocketAddr, upstream: SocketAddr) -> anyhow::Result<Demo> {
    out::line("\nSet-up: the operator's calls, as user root");
    let channel = json!({
        "name": "trial", "type": 52, "base_url": format!("http://{upstream}"),
        "key": "upstream-key", "models": ["chat", "draw", "image/submit"], "groups": ["vip"],
    });
    admin(base, "/api/channel", &channel, "a channel to the upstream").await?;
    let by_use =
        json!({"model_name": "chat", "channel_type": 52, "ratio": 2.0, "completion_ratio": 1.5});
    admin(base, "/api/ability", &by_use, "a price by use: 2 a token, 3 a completion token").await?;
    let fixed = json!({"model_name": "draw", "channel_type": 52, "fixed_quota": 25_000});
    admin(base, "/api/ability", &fixed, "a fixed price: 25000 a call").await?;
    let task = json!({"model_name": "image/submit", "channel_type": 52, "fixed_quota": 5_000});
    admin(base, "/api/ability", &task, "a fixed price for a task: 5000").await?;
    let group = json!({"group_name": "vip", "ratio": 0.8});
    admin(base, "/api/group", &group, "a group that pays 80 %").await?;
    let user = json!({
        "username": "ann", "password": USER_PASSWORD, "group": "vip", "quota": START_QUOTA,
    });
    let words = format!("a user with {}", out::quota(START_QUOTA));
    let user = admin(base, "/api/user", &user, &words).await?;
    let user_id = user["id"].as_i64().context("the user has no id")?;
    let key = json!({
        "user_id": user_id, "name": "k", "unlimited_quota": true, "expired_time": -1,
    });
    let key = admin(base, "/api/token", &key, "a key for her").await?;
    let key = key["key"].as_str().context("the key is not shown")?.to_owned();
    Ok(Demo { base, upstream, user_id, key, mistakes: AtomicU32::new(0) })
}

async fn admin(base: SocketAddr, path: &str, body: &Value, words: &str) -> anyhow::Result<Value> {
    let reply = http::call(base, Method::POST, path, ACCESS_TOKEN, Some(body)).await?;
    let answer = reply.json();
    if answer["success"] != true {
        bail!("POST {path} {body}\n  answered {} {}", reply.status, reply.body);
    }
    out::line(format_args!("  POST {path:<12} {words}"));
    Ok(answer["data"].clone())
}

impl Demo {
    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let reply = http::call(self.base, Method::GET, path, ACCESS_TOKEN, None).await?;
        let answer = reply.json();
        ensure!(answer["success"] == true, "GET {path} answered {} {}", reply.status, reply.body);
        Ok(answer)
    }

    async fn balance(&self) -> anyhow::Result<i64> {
        let user = self.get(&format!("/api/user/{}", self.user_id)).await?;
        user["data"]["quota"].as_i64().context("the user has no quota")
    }

    fn check(&self, holds: bool, words: impl std::fmt::Display) {
        if holds {
            out::line(format_args!("  ✓ {words}"));
        } else {
            self.mistakes.fetch_add(1, Ordering::Relaxed);
            out::line(format_args!("  ✗ {words}"));
        }
    }

    /// What was entered: the bill, the log, the audit.
    async fn show_records(&self, log: &Path) -> anyhow::Result<()> {
        out::line("\nAnn's account, line by line (GET /api/log)");
        let logs = self.get(&format!("/api/log?user_id={}&page_size=50", self.user_id)).await?;
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let rows: Vec<Vec<String>> = logs["data"]
            .as_array()
            .into_iter()
            .flatten()
            .rev()
            .map(|row| {
                ["type", "model_name", "quota", "prompt_tokens", "completion_tokens", "content"]
                    .map(|name| text(&row[name]))
                    .to_vec()
            })
            .collect();
        let heads = ["  type", "model", "quota", "prompt", "completion", "what"];
        let indented = rows.into_iter().map(|mut row| {
            if let Some(first) = row.first_mut() {
                first.insert_str(0, "  ");
            }
            row
        });
        out::table(&heads, &indented.collect::<Vec<_>>());

        out::line("\nThe operator's log, one line an event");
        // Lines are written a few milliseconds after their event.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let written = std::fs::read_to_string(log).unwrap_or_default();
        for line in written.lines().filter(|line| line.contains("_request ")) {
            out::line(format_args!("  {line}"));
        }

        out::line(
            "\nThe audit: every balance is the sum of its lines less its open holds (newapi audit)",
        );
        let audit = self.get("/api/audit/ledger").await?;
        let report = &audit["data"];
        let breaches = report["breaches"].as_array().map_or(0, Vec::len);
        let (users, open) = (&report["users"], &report["open_holds"]);
        let words = format!("{users} users, {open} open holds, {breaches} breaches");
        self.check(breaches == 0 && *open == 0, words);
        self.show_health().await
    }

    /// Nothing of it is broken: the console says what is, on its first page too.
    async fn show_health(&self) -> anyhow::Result<()> {
        out::line("\nThe health check of the process (GET /api/doctor, newapi doctor)");
        let examined = self.get("/api/doctor").await?;
        let checks = examined["data"].as_array().context("the health check says nothing")?;
        let bad = || checks.iter().filter(|check| check["state"] == "bad");
        for check in bad() {
            out::line(format_args!("  {}: {}", check["name"], check["found"]));
        }
        let words = format!("{} checks, {} broken", checks.len(), bad().count());
        self.check(!checks.is_empty() && bad().count() == 0, words);
        Ok(())
    }

    fn show_calls_to_try(&self) {
        let Self { base, key, user_id, upstream, .. } = self;
        out::line(format_args!(
            r#"
Still serving. The console, in a browser, as the operator or as ann:

  http://{base}/console   root / {ROOT_PASSWORD}   ann / {USER_PASSWORD}

Or call it:

  curl -i http://{base}/v1/chat/completions -H 'Authorization: Bearer {key}' \
    -H 'Content-Type: application/json' -d '{{"model":"chat","messages":[],"stream":true}}'

  curl -i http://{base}/pass/draw -H 'Authorization: Bearer {key}' -d '{{"prompt":"a cat"}}'

  curl -i http://{base}/pass/image/submit -H 'Authorization: Bearer {key}' -d '{{"prompt":"a cat"}}'

  curl -s 'http://{base}/v1/tasks' -H 'Authorization: Bearer {key}'

  curl -s http://{base}/api/user/{user_id} -H 'Authorization: Bearer {ACCESS_TOKEN}'

  curl -s http://{base}/api/audit/ledger -H 'Authorization: Bearer {ACCESS_TOKEN}'

The upstream at http://{upstream} fails on demand: add ?status=500, ?code=1001, ?cut=true, or
?outcome=failed to a task.
Ctrl-C ends it."#
        ));
    }
}
