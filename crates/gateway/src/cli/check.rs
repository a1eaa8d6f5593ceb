//! `newapi check`: whether this installation can do its work, everything that is wrong at once.

use super::{out, tools};
use crate::config::{Config, from_process, unknown_in_process};
use crate::wiring;
use anyhow::Context;
use http::{HeaderMap, Method};
use relay::RelayConfig;
use std::process::ExitCode;
use store::{Catalog, Channel, Db};
use upstream::{BaseUrl, Client, Deadlines, OutboundRequest, Payload, ProxyChoice};

/// How long an upstream is waited for at most.
const CONNECT_MS: u64 = 5_000;
const ANSWER_MS: u64 = 10_000;

/// Checks configuration, database and channels; exits 1 if anything is wrong.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Don't reach out to the upstreams.
    #[arg(long)]
    offline: bool,
}

/// What was found.
#[derive(Default)]
struct Findings {
    wrong: usize,
}

impl Findings {
    fn good(&self, what: impl std::fmt::Display) {
        out::line(format_args!("✓ {what}"));
    }

    fn bad(&mut self, what: impl std::fmt::Display) {
        self.wrong += 1;
        out::line(format_args!("✗ {what}"));
    }
}

/// Runs it.
///
/// # Errors
/// None: what is wrong is what it prints.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    for name in unknown_in_process() {
        findings.bad(format_args!("{name} is not a setting of this version"));
    }
    let config = from_process().and_then(|settings| Config::from_settings(&settings));
    match config {
        Err(problems) => findings.bad(problems),
        Ok(config) => {
            findings.good("configuration");
            check_redis(&mut findings, &config).await;
            if let Err(error) = check_database(&mut findings, &config, args.offline).await {
                findings.bad(format_args!("{error:#}"));
            }
        }
    }
    Ok(if findings.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the count that nodes share can be had, where it is wished for.
async fn check_redis(findings: &mut Findings, config: &Config) {
    match wiring::shared_count(config) {
        Err(error) => findings.bad(format_args!("{error:#}")),
        Ok(None) => {}
        Ok(Some(redis)) => match redis.reach().await {
            Ok(()) => findings.good("Redis answers"),
            Err(error) => findings.bad(format_args!("REDIS_CONN_STRING: {error}")),
        },
    }
}

async fn check_database(
    findings: &mut Findings,
    config: &Config,
    offline: bool,
) -> anyhow::Result<()> {
    let db = tools::unmigrated(config).await?;
    findings.good(format_args!("database ({:?}) answers", db.engine()));
    let pending = db.pending_migrations().await?;
    if !pending.is_empty() {
        findings.bad(format_args!("{} migrations are pending: newapi migrate", pending.len()));
        return Ok(());
    }
    findings.good("the schema is up to date");
    check_catalog(findings, config, &db, offline).await
}

async fn check_catalog(
    findings: &mut Findings,
    config: &Config,
    db: &Db,
    offline: bool,
) -> anyhow::Result<()> {
    let sealer = wiring::sealer(config)?;
    match store::verify_secret(db, &sealer, wiring::system_clock().now()).await {
        Ok(()) => findings.good("the secret key is the one that this database was used with"),
        Err(error) => findings.bad(format_args!("SECRET_KEY: {error}")),
    }
    let catalog = Catalog::load(db, &sealer).await?;
    for problem in catalog.problems() {
        findings.bad(format_args!("{} {}: {}", problem.table, problem.row, problem.why));
    }
    if catalog.channels().is_empty() {
        findings.bad("there is no channel yet: newapi channel create");
    }
    let client = wiring::client(&config.upstream)?;
    for channel in catalog.channels() {
        let name = format!("channel {} {} ({})", channel.id, channel.name, channel.base_url);
        if channel.status != 1 {
            findings.good(format_args!("{name} is disabled"));
        } else if offline {
            findings.good(name);
        } else {
            match reach(&client, &config.relay, channel).await {
                Ok(status) => findings.good(format_args!("{name} answers ({status})")),
                Err(error) => findings.bad(format_args!("{name}: {error:#}")),
            }
        }
    }
    Ok(())
}

/// Whether the address gives any response at all within the timeout of a call. The channel's key is
/// not sent.
pub(crate) async fn reach(
    client: &Client,
    config: &RelayConfig,
    channel: &Channel,
) -> anyhow::Result<http::StatusCode> {
    let answer_ms = config.first_byte_ms.min(ANSWER_MS);
    let deadlines = Deadlines {
        connect_ms: config.connect_ms.min(CONNECT_MS),
        first_byte_ms: answer_ms,
        idle_ms: answer_ms,
        total_ms: ANSWER_MS,
    };
    let base = BaseUrl::parse_with_path(&channel.base_url).context("base_url")?;
    let proxy = match &channel.setting.proxy {
        None => ProxyChoice::Default,
        Some(proxy) => ProxyChoice::parse(proxy.expose())?,
    };
    let request = OutboundRequest {
        method: Method::HEAD,
        uri: base.target("", None)?,
        headers: HeaderMap::new(),
        body: Payload::Whole(bytes::Bytes::new()),
        proxy: &proxy,
    };
    Ok(client.send(request, &deadlines).await?.status)
}
