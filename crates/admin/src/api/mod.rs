//! The JSON API under `/api`: the route table, and what every call goes through.

mod ability;
mod asked;
mod auth;
mod channel;
mod doctor;
mod envelope;
mod events;
mod extract;
mod group;
mod journal;
mod notice;
mod openapi;
mod option;
mod plane;
mod protocol;
mod redemption;
mod route;
mod session;
mod statement;
mod table;
mod task;
mod token;
mod usage;
mod user;
mod webhook;

use crate::ops::ability::{AbilityInput, AbilityView};
use crate::ops::attention::Attention;
use crate::ops::audit::{AuditRun, AuditState, CleanAudit, read_explained};
use crate::ops::batch::{BatchRequest, BatchResult};
use crate::ops::channel::{
    ChannelFilter, ChannelInput, ChannelReach, ChannelView, NodeTraffic, Probe, UpstreamModels,
    read_batch, read_minutes,
};
use crate::ops::doctor::{HealthCheck, NodeView, read_reach};
use crate::ops::events::EventRequest;
use crate::ops::first_steps::FirstSteps;
use crate::ops::group::{GroupInput, GroupView};
use crate::ops::log::export;
use crate::ops::log::statement::MonthStatement;
use crate::ops::log::usage::{ModelUsage, UsageRequest, UsageSeries};
use crate::ops::log::usage_table::{UsageTable, UsageTableRequest};
use crate::ops::log::{LogFilter, LogView, Statistics};
use crate::ops::notice::{NoticeInput, NoticeView};
use crate::ops::option::ConsoleConfig;
use crate::ops::option::{OptionInput, OptionView};
use crate::ops::own_account;
use crate::ops::own_sessions::SessionView;
use crate::ops::price::{OwnPrice, PreviewInput, PricePreview};
use crate::ops::price_changes::{self, ImportPreview};
use crate::ops::price_table::PriceTable;
use crate::ops::recent::{RecentCallView, RecentFilter};
use crate::ops::route::SpokenRoutes;
use crate::ops::task::{TaskFilter, TaskReply, TaskView};
use crate::ops::task_batch::{TaskBatch, TaskBatchResult};
use crate::ops::token::{TokenInput, TokenView, read_grace};
use crate::ops::unpriced::UnpricedModel;
use crate::ops::user::{UserInput, UserView};
use crate::ops::webhook::{DeliveryView, WebhookInput, WebhookView, read_secret};
use crate::{AdminError, AdminState, Fields};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Router, middleware};
use domain::{Fault, FaultKind};
use envelope::ApiFailure;
use http::header::CACHE_CONTROL;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};
use ledger::{AuditReport, Explanation};
use table::Verb::{Get, Patch, Post, Put};
use table::{
    CallDoc, CallTable, RequiredRole, all, csv, nothing, number, object, one, one_or_csv, page,
    stream, text, texts,
};
use tower::ServiceExt;

/// Everything under `/api` but `/api/status`.
pub fn router(state: AdminState) -> Router {
    let inner = admin_routes()
        .router()
        .merge(own().router())
        .merge(webhooks().router())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), auth::identify))
        .merge(open().router().method_not_allowed_fallback(wrong_method))
        .layer(middleware::from_fn(say_route))
        .with_state(state.clone());
    let entry = move |request: Request| enter(state.clone(), inner.clone(), request);
    Router::new().fallback(entry)
}

/// The OpenAPI document of all of it.
#[must_use]
pub fn openapi() -> serde_json::Value {
    openapi::document(
        &[admin_routes().calls(), own().calls(), webhooks().calls(), open().calls()].concat(),
    )
}

/// What administrators reach.
fn admin_routes() -> CallTable {
    let table = CallTable::new(RequiredRole::Admin)
        .get(
            "/api/task",
            task::list,
            page::<TaskView>("Tasks, newest first").filters(TaskFilter::read),
        )
        .post(
            "/api/task/batch",
            task::decide_many,
            one::<TaskBatchResult>(DECIDE_MANY).takes(TaskBatch::read),
        )
        .post("/api/task/{task}/settle-now", task::settle_now, decision("Settle a task now"))
        .post("/api/task/{task}/fail-and-refund", task::fail_and_refund, decision("Refund a task"))
        .post("/api/task/{task}/requeue", task::requeue, decision("Ask about a task again"))
        .get(
            "/api/log",
            journal::list,
            page::<LogView>("The log, newest first").filters(LogFilter::of_lines),
        )
        .get(
            "/api/log/recent",
            journal::recent,
            page::<RecentCallView>(UNCHARGED).filters(RecentFilter::read),
        )
        .get(
            "/api/log/stat",
            journal::statistics,
            one::<Statistics>("Sums").filters(LogFilter::of_sums),
        )
        .get(
            "/api/log/export",
            journal::export,
            csv("The log as CSV").filters(LogFilter::of_lines).filters(export::limit),
        )
        .get(
            "/api/statement",
            statement::of_user,
            one_or_csv::<MonthStatement>("A month of a user's balance")
                .asks(&["user_id:int", "month"]),
        )
        .get("/api/doctor", doctor::examine, all::<HealthCheck>("The health check, on this node"))
        .post(
            "/api/doctor",
            doctor::reach_out,
            all::<HealthCheck>("The health check, with the upstreams").takes(read_reach),
        )
        .get("/api/node", doctor::nodes, all::<NodeView>("The nodes that serve this database"))
        .get("/api/option", option::list, all::<OptionView>("Settings of this node"))
        .on(
            &[Put],
            "/api/option",
            option::put,
            one::<OptionView>("Change a setting on this node").takes(OptionInput::read),
        )
        .get(
            "/api/audit/actions",
            journal::actions,
            page::<LogView>(ACTIONS).filters(LogFilter::of_lines),
        )
        .on(
            &[Put],
            "/api/notice",
            notice::put,
            one::<NoticeView>("Replace the notice").takes(NoticeInput::read),
        )
        .get("/api/setup", usage::setup, one::<FirstSteps>("How far it is to the first paid call"))
        .get("/api/attention", usage::attention, one::<Attention>("What needs a look now"))
        .get("/api/usage", usage::series, series("Usage over time"))
        .get(
            "/api/usage/table",
            usage::table,
            one_or_csv::<UsageTable>("Usage by user, key, channel, model or day")
                .filters(UsageTableRequest::of_all),
        )
        .get("/api/usage/models", usage::models, ranking("The models that cost most"));
    redemptions(users(prices(protocols(channels(audits(table))))))
}

/// Checks of the books.
fn audits(table: CallTable) -> CallTable {
    table
        .get("/api/audit/ledger", journal::audit, one::<AuditReport>("Check the conservation"))
        .post(
            "/api/audit/ledger",
            journal::start_audit,
            one::<AuditState>("Start the check in the background, unless one is under way"),
        )
        .get(
            "/api/audit/ledger/state",
            journal::audit_state,
            one::<AuditState>("Whether a check is under way on this node, and the last one"),
        )
        .get(
            "/api/audit/ledger/last",
            journal::last_audit,
            one::<AuditRun>("The last check that this node made"),
        )
}

/// Codes that are worth quota. Administrators create them; any user can redeem one.
fn redemptions(table: CallTable) -> CallTable {
    use crate::ops::redemption::{OpenCodes, RedemptionChange, RedemptionInput, RedemptionView};
    let list = page::<RedemptionView>("Codes, newest first").asks(&[
        "keyword",
        "name",
        "lot",
        "status:int",
    ]);
    let lot = one::<OpenCodes>("Disable every open code of a lot");
    let new = texts("Create codes; they are shown this once").takes(RedemptionInput::read);
    let change = one::<RedemptionView>("Change what is given of a code");
    let put = change.clone().takes_numbered(RedemptionChange::read);
    let change = change.takes(RedemptionChange::read);
    table
        .get("/api/redemption", redemption::list, list.clone())
        .get("/api/redemption/search", redemption::list, list)
        .post("/api/redemption", redemption::create, new)
        .on(&[Put], "/api/redemption", redemption::put, put)
        .on(&[Put, Patch], "/api/redemption/{id}", redemption::change, change)
        .get("/api/redemption/{id}", redemption::get, one::<RedemptionView>("A code"))
        .delete("/api/redemption/{id}", redemption::delete, nothing("Delete a code"))
        .post("/api/redemption/batch", redemption::change_many, batch(BatchRequest::of_status))
        .post(
            "/api/redemption/disable-lot",
            redemption::disable_lot,
            lot.takes(redemption::read_lot),
        )
        .post(
            "/api/redemption/{id}/enable",
            redemption::enable,
            one::<RedemptionView>("Enable a code"),
        )
        .post(
            "/api/redemption/{id}/disable",
            redemption::disable,
            one::<RedemptionView>("Disable a code"),
        )
}

fn channels(table: CallTable) -> CallTable {
    let list = page::<ChannelView>("Channels").filters(ChannelFilter::read);
    let new = one::<ChannelView>("Create a channel")
        .takes_with(ChannelInput::read, &["base_url", "models"]);
    let change = one::<ChannelView>("Change what is given of a channel");
    table
        .get("/api/channel", channel::list, list.clone())
        .get("/api/channel/search", channel::list, list)
        .get(
            "/api/channel/live",
            channel::live,
            one::<NodeTraffic>("What channels and models are doing now, on the node that answers")
                .filters(read_minutes),
        )
        .post("/api/channel", channel::create, new)
        .on(&[Put], "/api/channel", channel::put, change.clone().takes_numbered(ChannelInput::read))
        .on(&[Put, Patch], "/api/channel/{id}", channel::change, change.takes(ChannelInput::read))
        .get("/api/channel/{id}", channel::get, one::<ChannelView>("A channel"))
        .delete("/api/channel/{id}", channel::delete, nothing("Delete a channel"))
        .post("/api/channel/copy/{id}", channel::copy, one::<ChannelView>("Copy a channel"))
        .post("/api/channel/batch", channel::change_many, batch(read_batch))
        .post("/api/channel/{id}/copy", channel::copy, one::<ChannelView>("Copy a channel"))
        .post("/api/channel/{id}/enable", channel::enable, one::<ChannelView>("Enable a channel"))
        .post("/api/channel/{id}/disable", channel::disable, one::<ChannelView>("Disable it"))
        .get("/api/channel/{id}/reach", channel::reach, one::<ChannelReach>(WHO_REACHES))
        .post("/api/channel/{id}/models", channel::models, one::<UpstreamModels>(ASK_MODELS))
        .post("/api/channel/test", channel::test, one::<Probe>(TRY_OUT).takes(channel::read_probe))
        .get(
            "/api/channel/test/{id}",
            channel::test_one,
            one::<Probe>(TRY_OUT).asks(&["model", "path"]),
        )
}

const UNCHARGED: &str = "The last calls without a charge, failed or free, on this node";
const DECIDE_MANY: &str =
    "Decide over many tasks, each by itself; `dry_run`: tell what it would move";
const LAST_REPLY: &str = "What the upstream last said of a task";
const ACTIONS: &str = "Administrative writes, newest first; `other` says by whom";
const WHO_REACHES: &str = "Which groups reach a channel with which of its models, and the price";
const ASK_MODELS: &str = "Ask an upstream which models it has; nothing is changed";
const TRY_OUT: &str = "Try a channel out: one real call; `success` says how it went";

/// How upstreams are spoken to.
fn protocols(table: CallTable) -> CallTable {
    use crate::ops::protocol::{ProtocolView, Trial, TrialInput, read_document};
    let put = one::<ProtocolView>("Add a protocol, or replace an own one").takes(read_document);
    let check = one::<ProtocolView>("Check a document, and change nothing").takes(read_document);
    let trial = one::<Trial>("What would be read of a call: nothing is sent");
    table
        .get("/api/protocol", protocol::list, all::<ProtocolView>("Protocols"))
        .on(&[Post, Put], "/api/protocol", protocol::put, put)
        .post("/api/protocol/check", protocol::check, check)
        .post("/api/protocol/try", protocol::try_out, trial.takes(TrialInput::read))
        .get("/api/protocol/{name}", protocol::get, one::<ProtocolView>("A protocol"))
        .delete("/api/protocol/{name}", protocol::delete, nothing("Delete an own protocol"))
}

fn prices(table: CallTable) -> CallTable {
    let list = page::<AbilityView>("Prices").asks(&["keyword", "model_name", "model"]);
    let put = one::<AbilityView>("Create or replace a price").takes(AbilityInput::read);
    let import = number("Create or replace prices from CSV: all of them, or none");
    let import = import.takes(PriceTable::read);
    let preview = one::<PricePreview>("What a price would come to; nothing is changed");
    let group = one::<GroupView>("Create or replace a group").takes(GroupInput::read);
    let by_name = nothing("Delete a price: the model is free from then on, or refused");
    let changes = one::<ImportPreview>("What a table would change, line by line; nothing changes");
    let changes = changes.takes(price_changes::read_csv);
    let unpriced =
        page::<UnpricedModel>("Models that channels serve without a price: free, or refused");
    let unpriced = unpriced.asks(&["keyword"]);
    table
        .get("/api/ability", ability::list, list)
        .on(&[Post, Put], "/api/ability", ability::put, put)
        .delete("/api/ability", ability::delete_named, by_name.clone().asks(&["model_name"]))
        .get("/api/price/unpriced", ability::unpriced, unpriced)
        .get("/api/price/export", ability::export, csv("Every price as CSV"))
        .post("/api/price/import", ability::import, import)
        .post("/api/price/import/preview", ability::preview_import, changes)
        .post("/api/price/preview", ability::preview, preview.takes(PreviewInput::read))
        .get("/api/ability/{*model}", ability::get, one::<AbilityView>("The price of a model"))
        .delete("/api/ability/{*model}", ability::delete, by_name)
        .get(
            "/api/option/console",
            option::console,
            one::<ConsoleConfig>("The settings by which pages are made"),
        )
        .get("/api/group", group::list, page::<GroupView>("Groups"))
        .on(&[Post, Put], "/api/group", group::put, group)
        .get("/api/group/{name}", group::get, one::<GroupView>("A group"))
        .delete("/api/group/{name}", group::delete, nothing("Delete a group"))
}

fn users(table: CallTable) -> CallTable {
    let list =
        page::<UserView>("Users").asks(&["keyword", "username", "group", "role:int", "status:int"]);
    let list = list.asks(&["sort", "order", "deleted"]);
    let change = one::<UserView>("Change what is given of a user; never the balance");
    let new = one::<UserView>("Create a user").takes_with(UserInput::read_new, &["username"]);
    let moved = one::<user::MovedBalance>("Move a balance").takes(user::read_movement);
    table
        .get("/api/user", user::list, list.clone())
        .get("/api/user/search", user::list, list)
        .post("/api/user", user::create, new)
        .on(&[Put], "/api/user", user::put, change.clone().takes_numbered(UserInput::read_change))
        .on(&[Put, Patch], "/api/user/{id}", user::change, change.takes(UserInput::read_change))
        .get("/api/user/{id}", user::get, one::<UserView>("A user"))
        .delete("/api/user/{id}", user::delete, nothing("Delete a user"))
        .post("/api/user/batch", user::change_many, batch(BatchRequest::of_status))
        .post("/api/user/{id}/quota", user::move_quota, moved)
        .post("/api/user/{id}/enable", user::enable, one::<UserView>("Enable a user"))
        .post("/api/user/{id}/disable", user::disable, one::<UserView>("Disable a user"))
        .get(
            "/api/user/{id}/sessions",
            session::list_of,
            all::<SessionView>("Where a user is logged in"),
        )
        .delete(
            "/api/user/{id}/sessions/{session}",
            session::end_of,
            nothing("End one of a user's sessions"),
        )
        .post(
            "/api/user/{id}/token",
            user::renew_access_token,
            text("Give a user a new access token").may_take(user::read_password),
        )
}

/// What needs no authentication.
fn open() -> CallTable {
    let login = one::<session::Welcome>("Log in; the answer sets the session's cookie");
    CallTable::new(RequiredRole::Anyone).post(
        "/api/user/login",
        session::login,
        login.takes(session::read),
    )
}

/// What every user reaches, about themselves. Administrators reach more through the same calls.
fn own() -> CallTable {
    let renew = text("A new access token; the one before ends").may_take(user::read_password);
    let table = CallTable::new(RequiredRole::User)
        .get("/api/openapi.json", document, object("This document"))
        .get("/api/user/self", user::own, one::<UserView>("Who calls"))
        .on(
            &[Patch],
            "/api/user/self",
            user::change_own,
            one::<UserView>("Change one's name or language").takes(own_account::read),
        )
        .post(
            "/api/user/topup",
            redemption::redeem,
            number("Redeem a code; `data` is its worth").takes(redemption::read_code),
        )
        .on(&[Get, Post], "/api/user/logout", session::logout, nothing("End the session"))
        .get("/api/user/self/sessions", session::list, all::<SessionView>("Where one is logged in"))
        .delete("/api/user/self/sessions/{session}", session::end, nothing("End one of them"))
        .on(
            &[Put],
            "/api/user/self/password",
            session::change_password,
            nothing("Change one's password").takes(session::read_passwords),
        )
        .on(&[Get, Post], "/api/user/token", user::own_access_token, renew.clone())
        .on(&[Get, Post], "/api/user/self/token", user::own_access_token, renew)
        .get("/api/price", ability::own, all::<OwnPrice>("What oneself pays, with all ratios"))
        .get(
            "/api/events",
            events::follow,
            stream("What happens, as server-sent events").filters(EventRequest::read),
        )
        .get("/api/notice", notice::get, one::<NoticeView>("What all users are told"))
        .get(
            "/api/audit/ledger/clean",
            journal::last_clean,
            one::<CleanAudit>("When this node last found that the books balance"),
        )
        .get("/api/route", route::list, all::<SpokenRoutes>("The paths that calls may have now"))
        .get(
            "/api/statement/self",
            statement::own,
            one_or_csv::<MonthStatement>("A month of one's own balance").asks(&["month"]),
        )
        .get(
            "/api/audit/explain/{request}",
            journal::explain,
            one::<Explanation>("How a charge came about").filters(read_explained),
        );
    tasks(own_usage(keys(table)))
}

fn keys(table: CallTable) -> CallTable {
    let tokens = page::<TokenView>("Keys");
    let tokens = tokens.asks(&["user_id:int", "username", "keyword", "status:int"]);
    let tokens = tokens.asks(&["sort", "order"]);
    let new =
        one::<token::TokenShown<'_>>("Create a key; it is shown this once").takes(TokenInput::read);
    let change = one::<TokenView>("Change what is given of a key");
    let rotate = one::<token::TokenShown<'_>>("Give a key a new secret, which is shown this once");
    let end_old = one::<TokenView>("End the secret before the last rotation");
    table
        .get("/api/token", token::list, tokens.clone())
        .get("/api/token/search", token::list, tokens)
        .post("/api/token", token::create, new)
        .post("/api/token/batch", token::change_many, batch(BatchRequest::of_status))
        .on(&[Put], "/api/token", token::put, change.clone().takes_numbered(TokenInput::read))
        .on(&[Put, Patch], "/api/token/{id}", token::change, change.takes(TokenInput::read))
        .get("/api/token/{id}", token::get, one::<TokenView>("A key"))
        .delete("/api/token/{id}", token::delete, nothing("Delete a key"))
        .on(&[Put, Post], "/api/token/{id}/enable", token::enable, one::<TokenView>("Enable a key"))
        .on(&[Put, Post], "/api/token/{id}/disable", token::disable, one::<TokenView>("Disable it"))
        .post("/api/token/{id}/rotate", token::rotate, rotate.may_take(read_grace))
        .delete("/api/token/{id}/old-key", token::end_old_key, end_old)
}

fn own_usage(table: CallTable) -> CallTable {
    table
        .get(
            "/api/log/self",
            journal::list_own,
            page::<LogView>("One's own log").filters(LogFilter::of_lines),
        )
        .get(
            "/api/log/self/stat",
            journal::statistics_own,
            one::<Statistics>("Sums").filters(LogFilter::of_sums),
        )
        .get(
            "/api/log/self/export",
            journal::export_own,
            csv("One's own log as CSV").filters(LogFilter::of_lines).filters(export::limit),
        )
        .get(
            "/api/log/self/recent",
            journal::recent_own,
            page::<RecentCallView>("One's own last calls without a charge, on this node")
                .filters(RecentFilter::read),
        )
        .get(
            "/api/usage/self/table",
            usage::table_own,
            one_or_csv::<UsageTable>("One's own usage by key, model or day")
                .filters(UsageTableRequest::read),
        )
        .get("/api/usage/self", usage::series_own, series("One's own usage over time"))
        .get(
            "/api/usage/self/models",
            usage::models_own,
            ranking("The models that cost oneself most"),
        )
}

fn tasks(table: CallTable) -> CallTable {
    let own_tasks = page::<TaskView>("One's own tasks").filters(TaskFilter::read);
    table
        .get("/api/task/self", task::list_own, own_tasks)
        .get(
            "/api/task/{task}",
            task::get,
            one::<TaskView>("A task, by its number, uid or upstream id"),
        )
        .get("/api/task/{task}/reply", task::reply, one::<TaskReply>(LAST_REPLY))
        .get(
            "/api/task/{task}/deliveries",
            task::deliveries,
            all::<DeliveryView>("The webhooks about a task"),
        )
}

/// Endpoints where users are notified about their tasks and their balance.
fn webhooks() -> CallTable {
    use crate::ops::low_balance::{self, LowBalanceView};
    use webhook::WithSecret;
    let submissions = one::<WebhookView>("What signs for `X-Webhook-Url`").asks(&["user_id:int"]);
    let renew = one::<WithSecret<'_>>("Make or rotate its secret").asks(&["user_id:int"]);
    let new = one::<WithSecret<'_>>("Create a webhook; its secret is shown this once");
    let new = new.takes_with(WebhookInput::read, &["url"]);
    let change = one::<WebhookView>("Change what is given of a webhook").takes(WebhookInput::read);
    let list = page::<WebhookView>("Webhooks").asks(&["user_id:int", "status"]);
    let rotate = one::<WithSecret<'_>>("Rotate a secret").may_take(read_secret);
    let end_old = one::<WebhookView>("End the secret before the last rotation");
    let enable = one::<WebhookView>("Enable a webhook");
    let disable = one::<WebhookView>("Disable a webhook");
    let deliveries = page::<DeliveryView>("What was delivered, newest first").asks(&["state"]);
    let told = one::<LowBalanceView>("When the caller is told of a low balance");
    let tell = one::<LowBalanceView>("Set it").takes(low_balance::read_threshold);
    CallTable::new(RequiredRole::User)
        .get("/api/webhook/low-balance", webhook::low_balance, told)
        .on(&[Put], "/api/webhook/low-balance", webhook::set_low_balance, tell)
        .get("/api/webhook", webhook::list, list)
        .post("/api/webhook", webhook::create, new)
        .get("/api/webhook/submission-secret", webhook::submissions, submissions)
        .post(
            "/api/webhook/submission-secret",
            webhook::renew_submission_secret,
            renew.may_take(read_secret),
        )
        .post(
            "/api/webhook/delivery/{id}/redeliver",
            webhook::redeliver,
            one::<DeliveryView>("Deliver again"),
        )
        .get("/api/webhook/{id}", webhook::get, one::<WebhookView>("A webhook"))
        .on(&[Put, Patch], "/api/webhook/{id}", webhook::change, change)
        .delete("/api/webhook/{id}", webhook::delete, nothing("Delete a webhook"))
        .on(&[Put, Post], "/api/webhook/{id}/enable", webhook::enable, enable)
        .on(&[Put, Post], "/api/webhook/{id}/disable", webhook::disable, disable)
        .post("/api/webhook/{id}/rotate", webhook::rotate, rotate)
        .delete("/api/webhook/{id}/old-secret", webhook::end_old_secret, end_old)
        .post("/api/webhook/{id}/test", webhook::test, one::<DeliveryView>("Send a test"))
        .get("/api/webhook/{id}/deliveries", webhook::deliveries, deliveries)
}

/// The same change of many rows.
fn batch<T>(read: fn(Fields) -> Result<T, AdminError>) -> CallDoc {
    one::<BatchResult>("Change many at once, all or none; `dry_run`: tell what would change")
        .takes(read)
}

fn series(summary: &'static str) -> CallDoc {
    one::<UsageSeries>(summary).filters(UsageRequest::read)
}

fn ranking(summary: &'static str) -> CallDoc {
    all::<ModelUsage>(summary).filters(UsageRequest::read)
}

/// What an administrator decides over a task.
fn decision(summary: &'static str) -> CallDoc {
    one::<TaskView>(summary).may_take(task::read_reason)
}

async fn document() -> Response {
    web::json(&openapi()).map(axum::body::Body::new)
}

/// What every call goes through: one spelling of its path, an id, and a fault in its envelope.
async fn enter(state: AdminState, inner: Router, mut request: Request) -> Response {
    let request_id = web::request_id(request.headers(), state.clock.now());
    without_trailing_slash(request.uri_mut());
    let mut span = state.tracer.incoming(request.method(), request.headers());
    let method = request.method().clone();
    let writes = !matches!(method, Method::GET | Method::HEAD);
    let work = inner.oneshot(request);
    let done = if writes {
        // A write goes to its end, also when its caller doesn't wait for it.
        state
            .jobs
            .spawn(work)
            .await
            .unwrap_or_else(|e| Ok(ApiFailure::system(e.to_string()).into()))
    } else {
        work.await
    };
    let mut response = done.unwrap_or_else(|never| match never {});
    if let Some(route) = response.extensions_mut().remove::<MatchedPath>() {
        span.route(&method, route.as_str());
    }
    if let Some(ApiFailure(fault)) = response.extensions_mut().remove::<ApiFailure>() {
        response = envelope::render(&fault, &request_id, response.headers());
        span.unserved(web::show(fault.kind).code, Some(response.status()));
    }
    span.status(response.status());
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(web::X_REQUEST_ID, id);
    }
    // Balances, keys and logs of one user.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Adds the matched route to the response.
async fn say_route(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// `/api/channel/` is `/api/channel`.
fn without_trailing_slash(uri: &mut Uri) {
    let bare = uri.path().trim_end_matches('/');
    if bare.len() == uri.path().len() || bare.is_empty() {
        return;
    }
    let text = match uri.query() {
        Some(query) => format!("{bare}?{query}"),
        None => bare.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = text.parse::<PathAndQuery>().ok();
    if let Ok(spelt) = Uri::from_parts(parts) {
        *uri = spelt;
    }
}

async fn unknown_path() -> ApiFailure {
    Fault::new(FaultKind::NotFound, "没有这个接口", "no such call").into()
}

async fn wrong_method(method: Method) -> ApiFailure {
    let zh = format!("该接口不支持 {method}");
    Fault::new(FaultKind::MethodNotAllowed, zh, format!("{method} is not for this path")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_says_nothing() {
        for (given, want) in [
            ("/api/channel/", "/api/channel"),
            ("/api/channel//", "/api/channel"),
            ("/api/channel/?p=1", "/api/channel?p=1"),
            ("/api/channel", "/api/channel"),
            ("/api/ability/img/submit/", "/api/ability/img/submit"),
            ("/", "/"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            without_trailing_slash(&mut uri);
            assert_eq!(uri, want, "{given}");
        }
    }

    #[test]
    fn the_table_has_no_conflicts() {
        let _ = admin_routes()
            .router()
            .merge(own().router())
            .merge(webhooks().router())
            .merge(open().router());
    }
}
