//! `newapi user`: users and their balances.

use super::out;
use super::tools::{CommandContext, Given, done, every_page};
use admin::Query;
use admin::ops::access_token;
use admin::ops::user::{self, MovementInput, UserInput, UserView};
use clap::{Subcommand, ValueEnum};
use domain::Quota;
use ledger::Moved;
use std::process::ExitCode;

/// Users and their balances.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show all users.
    List {
        /// Only those with this in their name.
        keyword: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a user.
    Create {
        /// Name to log in with.
        username: String,
        /// Password, eight characters at least; without it the user can't log in, and needs none
        /// to call models.
        #[arg(long)]
        password: Option<String>,
        /// Group, which decides on channels and prices.
        #[arg(long, default_value = "default")]
        group: String,
        /// First balance, in quota; 500000 are one dollar.
        #[arg(long)]
        quota: Option<i64>,
        /// What the user may spend in a day (UTC), in quota.
        #[arg(long)]
        daily_limit: Option<i64>,
        /// What the user may spend in a calendar month (UTC), in quota.
        #[arg(long)]
        monthly_limit: Option<i64>,
        /// What the user may do.
        #[arg(long, value_enum, default_value_t = RoleArg::User)]
        role: RoleArg,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add to a balance, or take from it.
    #[command(name = "topup", alias = "top-up")]
    TopUp {
        /// Name or id.
        user: String,
        /// Quota to add; negative to take.
        #[arg(allow_negative_numbers = true)]
        delta: i64,
        /// What the entry says.
        #[arg(long, default_value = "top-up")]
        reason: String,
        /// Name of the movement: the same again, for this user, moves nothing.
        #[arg(long)]
        reference: Option<String>,
        /// `X-Request-Id` of a charged call: the quota is given back to it, and counts as unspent.
        #[arg(long, value_name = "REQUEST_ID")]
        refund_of: Option<String>,
        /// Which of the calls of that id, where there are several: its hold, as `newapi explain`
        /// prints it.
        #[arg(long, value_name = "HOLD_ID", requires = "refund_of")]
        refund_hold: Option<String>,
    },
    /// Move back what a line of the log moved, once: a deposit, an adjustment or a refund.
    Reverse {
        /// Name or id.
        user: String,
        /// Number of the line.
        line: i64,
        /// Why, for the log.
        #[arg(long)]
        reason: String,
    },
    /// Say what a user may spend in a day and in a month (UTC); what is not said stays.
    Limit {
        /// Name or id.
        user: String,
        /// In quota; 0 takes the limit off.
        #[arg(long)]
        daily: Option<i64>,
        /// In quota; 0 takes the limit off.
        #[arg(long)]
        monthly: Option<i64>,
    },
    /// Add up again, from the journal, what a user and the user's keys have spent today and this
    /// month.
    Recount {
        /// Name or id.
        user: String,
    },
    /// Let a user in again.
    Enable {
        /// Name or id.
        user: String,
    },
    /// Shut a user out; nothing is lost.
    Disable {
        /// Name or id.
        user: String,
    },
    /// Make a new access token for the admin API; the old one ends.
    AccessToken {
        /// Name or id.
        user: String,
    },
}

/// What a user may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArg {
    /// Call models.
    User,
    /// Run the context.
    Admin,
    /// Everything.
    Root,
}

impl RoleArg {
    const fn number(self) -> i64 {
        match self {
            Self::User => 1,
            Self::Admin => 10,
            Self::Root => 100,
        }
    }
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
        Command::List { keyword, json } => {
            let mut query = Query::default();
            if let Some(word) = keyword {
                query.say("keyword", word);
            }
            let query = &query;
            let all = every_page(|page| user::list(state, query, page)).await?;
            return show_all(&all, json);
        }
        Command::Create {
            username,
            password,
            group,
            quota,
            daily_limit,
            monthly_limit,
            role,
            json,
        } => {
            let fields = Given::default()
                .with("username", Some(username))
                .with("password", password)
                .with("group", Some(group))
                .with("quota", quota)
                .with("daily_limit", daily_limit)
                .with("monthly_limit", monthly_limit)
                .with("role", Some(role.number()))
                .fields()?;
            let made = done(user::create(state, actor, done(UserInput::read_new(fields))?).await)?;
            if json {
                return out::json(&made);
            }
            let balance = out::quota(made.quota.0);
            out::line(format_args!("user {} {} has {balance}", made.id, made.username));
        }
        Command::TopUp { user, delta, reason, reference, refund_of, refund_hold } => {
            let found = done(user::find(state, &user).await)?;
            let delta = Quota(delta);
            let (reversal_of, username) = (None, None);
            let refund_of = done(user::refunded_charge(refund_of, refund_hold.as_deref()))?;
            let input =
                MovementInput { delta, reason, reference, refund_of, reversal_of, username };
            let moved = done(user::move_quota(state, actor, found.id, input).await)?;
            show_moved(&found, delta, &moved, "moved before, under this reference");
        }
        Command::Reverse { user, line, reason } => {
            let found = done(user::find(state, &user).await)?;
            let (delta, moved) =
                done(user::reverse_line(state, actor, found.id, line, reason).await)?;
            show_moved(&found, delta, &moved, "this line was reversed before");
        }
        Command::Recount { user } => {
            let found = done(user::find(state, &user).await)?;
            ledger::recount(&state.db, found.id, state.clock.now()).await?;
            let counted = out::spending(&done(user::get(state, found.id).await)?.spending);
            out::line(format_args!("user {} {}: {counted}", found.id, found.username));
        }
        Command::Limit { user, daily, monthly } => {
            let found = done(user::find(state, &user).await)?;
            let limits = Given::default().with("daily_limit", daily).with("monthly_limit", monthly);
            let input = done(UserInput::read_change(limits.fields()?))?;
            let limited = done(user::update(state, actor, found.id, input).await)?;
            let limits = out::spending(&limited.spending);
            out::line(format_args!("user {} {}: {limits}", found.id, found.username));
        }
        Command::Enable { user } => set_status(context, &user, true).await?,
        Command::Disable { user } => set_status(context, &user, false).await?,
        Command::AccessToken { user } => {
            let found = done(user::find(state, &user).await)?;
            let token = done(access_token::renew(state, actor, found.id).await)?;
            out::line(token.expose());
        }
    }
    Ok(())
}

fn show_moved(user: &UserView, delta: Quota, moved: &Moved, repeated: &str) {
    let balance = moved.balance.0;
    let before = if moved.repeated { balance } else { balance - delta.0 };
    let note = if moved.repeated { format!(" ({repeated})") } else { String::new() };
    let (before, after) = (out::quota(before), out::quota(balance));
    out::line(format_args!("user {} {}: {before} → {after}{note}", user.id, user.username));
}

async fn set_status(context: &CommandContext, name: &str, enabled: bool) -> anyhow::Result<()> {
    let found = done(user::find(&context.state, name).await)?;
    done(user::set_status(&context.state, &context.actor, found.id, enabled).await)?;
    let word = if enabled { "enabled" } else { "disabled" };
    out::line(format_args!("user {} {}: {word}", found.id, found.username));
    Ok(())
}

fn show_all(users: &[UserView], json: bool) -> anyhow::Result<()> {
    let heads = ["id", "name", "group", "role", "status", "quota", "used", "calls", "limits"];
    out::list(users, json, &heads, |user| {
        vec![
            user.id.to_string(),
            user.username.clone(),
            user.group.clone(),
            user.role.to_string(),
            out::status(user.status).to_owned(),
            out::quota(user.quota.0),
            user.used_quota.0.to_string(),
            user.request_count.to_string(),
            out::spending(&user.spending),
        ]
    })
}
