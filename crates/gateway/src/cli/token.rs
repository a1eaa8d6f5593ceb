//! `newapi token`: users' keys.

use super::out;
use super::tools::{CommandContext, Given, done, every_page};
use admin::Query;
use admin::ops::token::{self, Created, TokenInput, TokenView};
use admin::ops::user;
use clap::Subcommand;
use domain::KeyId;
use serde_json::json;
use std::process::ExitCode;

/// Users' keys (sk-…).
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show keys; what they are themselves is shown once only, when they are made.
    List {
        /// Only those of this user: name or id.
        #[arg(long)]
        user: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a key, and print it.
    Create {
        /// Whose: name or id.
        user: String,
        /// Name of the key.
        #[arg(long, default_value = "key")]
        name: String,
        /// What it may spend at most, in quota; without it only the balance limits it.
        #[arg(long)]
        quota: Option<i64>,
        /// When it ends, in seconds since 1970; without it, never.
        #[arg(long)]
        expires: Option<i64>,
        /// Models it may call, separated by commas; without it, all.
        #[arg(long)]
        models: Option<String>,
        /// Group to price and route by, in place of the user's.
        #[arg(long)]
        group: Option<String>,
        /// Addresses and networks it may be used from, separated by commas.
        #[arg(long)]
        allow_ips: Option<String>,
        /// What it may spend in a day (UTC), in quota.
        #[arg(long)]
        daily_limit: Option<i64>,
        /// What it may spend in a calendar month (UTC), in quota.
        #[arg(long)]
        monthly_limit: Option<i64>,
        /// Requests a minute.
        #[arg(long)]
        rate_limit_rpm: Option<i64>,
        /// Tokens a minute.
        #[arg(long)]
        rate_limit_tpm: Option<i64>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what a key may spend in a day and in a month (UTC), and how often it may call; what
    /// is not said stays.
    Limit {
        /// Number of the key.
        id: i64,
        /// In quota; 0 takes the limit off.
        #[arg(long)]
        daily: Option<i64>,
        /// In quota; 0 takes the limit off.
        #[arg(long)]
        monthly: Option<i64>,
        /// Requests a minute; 0 takes the limit off.
        #[arg(long)]
        rpm: Option<i64>,
        /// Tokens a minute; 0 takes the limit off.
        #[arg(long)]
        tpm: Option<i64>,
    },
    /// Give a key a new secret, and print it; the one before is good for a while longer.
    Rotate {
        /// Name or number of the key.
        key: String,
        /// How long the one before is good: `1h`, `24h`, `7d` at most; 0 ends it at once.
        #[arg(long, default_value = "24h", value_parser = grace)]
        grace: i64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End the secret before the last rotation now.
    EndOld {
        /// Name or number of the key.
        key: String,
    },
    /// Let a key in again.
    Enable {
        /// Number of the key.
        id: i64,
    },
    /// Shut a key out.
    Disable {
        /// Number of the key.
        id: i64,
    },
    /// Delete a key; its entries in the log stay.
    Delete {
        /// Number of the key.
        id: i64,
    },
}

/// Runs it.
///
/// # Errors
/// What the operation refuses.
pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    CommandContext::with(async |context| act(context, command).await)
        .await
        .map(|()| ExitCode::SUCCESS)
}

async fn act(context: &CommandContext, command: Command) -> anyhow::Result<()> {
    let (state, actor) = (&context.state, &context.actor);
    match command {
        Command::List { user, json } => {
            let mut query = Query::default();
            if let Some(user) = user {
                let found = done(user::find(state, &user).await)?;
                query.say("user_id", found.id.to_string());
            }
            let query = &query;
            let all = every_page(|page| token::list(state, actor, query, page)).await?;
            return show_all(&all, json);
        }
        Command::Create {
            user,
            name,
            quota,
            expires,
            models,
            group,
            allow_ips,
            daily_limit,
            monthly_limit,
            rate_limit_rpm,
            rate_limit_tpm,
            json,
        } => {
            let owner = done(user::find(state, &user).await)?;
            let fields = Given::default()
                .with("user_id", Some(owner.id.0))
                .with("name", Some(name))
                .with("unlimited_quota", Some(quota.is_none()))
                .with("remain_quota", quota)
                .with("expired_time", Some(expires.unwrap_or(-1)))
                .with("models", models)
                .with("group", group)
                .with("allow_ips", allow_ips)
                .with("daily_limit", daily_limit)
                .with("monthly_limit", monthly_limit)
                .with("rate_limit_rpm", rate_limit_rpm)
                .with("rate_limit_tpm", rate_limit_tpm)
                .fields()?;
            let made = done(token::create(state, actor, done(TokenInput::read(fields))?).await)?;
            return show_secret(&made, json);
        }
        Command::Rotate { key, grace, json } => {
            let found = done(token::find(state, actor, &key).await)?;
            return show_secret(&done(token::rotate(state, actor, found.id, grace).await)?, json);
        }
        Command::EndOld { key } => {
            let found = done(token::find(state, actor, &key).await)?;
            done(token::end_old_key(state, actor, found.id).await)?;
            out::line(format_args!("key {}: no old secret is good", found.id));
        }
        Command::Limit { id, daily, monthly, rpm, tpm } => {
            let fields = Given::default()
                .with("daily_limit", daily)
                .with("monthly_limit", monthly)
                .with("rate_limit_rpm", rpm)
                .with("rate_limit_tpm", tpm)
                .fields()?;
            let input = done(TokenInput::read(fields))?;
            let limited = done(token::update(state, actor, KeyId(id), input).await)?;
            show_limits(&limited);
        }
        Command::Enable { id } => {
            done(token::set_status(state, actor, KeyId(id), true).await)?;
            out::line(format_args!("key {id}: enabled"));
        }
        Command::Disable { id } => {
            done(token::set_status(state, actor, KeyId(id), false).await)?;
            out::line(format_args!("key {id}: disabled"));
        }
        Command::Delete { id } => {
            done(token::delete(state, actor, KeyId(id)).await)?;
            out::line(format_args!("key {id}: deleted"));
        }
    }
    Ok(())
}

/// Seconds, of how an operator says them.
fn grace(text: &str) -> Result<i64, String> {
    let seconds = domain::millis(text).map(|ms| i64::try_from(ms / 1_000).unwrap_or(i64::MAX));
    seconds
        .filter(|seconds| *seconds <= token::MAX_GRACE_SECONDS)
        .ok_or_else(|| "a time up to 7d, as in 24h; 0: none".to_owned())
}

fn show_secret(made: &Created, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&json!({
            "id": made.token.id,
            "key": made.key.expose(),
            "token": made.token,
        }));
    }
    out::line(made.key.expose());
    Ok(())
}

fn show_limits(token: &TokenView) {
    let limits = out::spending(&token.spending);
    let shown = |limit: Option<i64>| limit.map_or("-".to_owned(), |n| n.to_string());
    let (rpm, tpm) = (shown(token.rate_limit_rpm), shown(token.rate_limit_tpm));
    let id = token.id;
    out::line(format_args!("key {id}: {limits}, requests a minute {rpm}, tokens a minute {tpm}"));
}

fn show_all(tokens: &[TokenView], json: bool) -> anyhow::Result<()> {
    let heads = ["id", "user", "name", "key", "status", "limit", "used", "limits"];
    out::list(tokens, json, &heads, |token| {
        let limit = if token.unlimited_quota {
            "the balance".to_owned()
        } else {
            out::quota(token.remain_quota.0)
        };
        vec![
            token.id.to_string(),
            token.user_id.to_string(),
            token.name.clone(),
            token.key_hint.clone(),
            out::status(token.status).to_owned(),
            limit,
            token.used_quota.0.to_string(),
            out::spending(&token.spending),
        ]
    })
}
