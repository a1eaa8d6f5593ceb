//! What the fields of requests mean that no reply shows.

use super::table::Param;
use serde_json::Value;

/// Says what the fields of a body of this path mean.
pub(super) fn describe(path: &str, body: &mut Value) {
    // Asked for with `get_mut`: an index would add what is not there.
    for way in body.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        describe(path, way);
    }
    let fields = body.get_mut("properties").and_then(Value::as_object_mut);
    for (name, field) in fields.into_iter().flatten() {
        let words = of_field(path, name);
        if !words.is_empty() {
            field["description"] = words.into();
        }
        // Of a body that wraps the fields in an object.
        describe(path, field);
    }
}

fn of_field(path: &str, name: &str) -> &'static str {
    let words = match name {
        "csv" => "The table: a line of names, then a line for each model.",
        "delta" => "By how much: positive adds, negative takes.",
        "grace_seconds" => {
            "How long the secret before is still good, in seconds, up to 604800; 0: not at all. \
             Unless it is said, a day."
        }
        "ids" => "Their numbers.",
        "new_password" => "The new password, eight characters at least.",
        "old_password" => "The password until now.",
        "reach_out" => "Ask the upstreams as well.",
        "reason" => "Why, for the log.",
        "refund_hold" => "The hold of that call, where several have its id.",
        "refund_of" => "`X-Request-Id` of the call whose charge is given back, whole or in part.",
        "reversal_of" => {
            "Number of the line that this reverses: `delta` is what it moved, with the other sign."
        }
        "set" => "What is set of each, as in a change of one.",
        _ => "",
    };
    if words.is_empty() { of_its_own(path, name) } else { words }
}

/// Names that mean something else at each path.
fn of_its_own(path: &str, name: &str) -> &'static str {
    match (path, name) {
        ("/api/channel/test", "path") => PATH_OF_TEST,
        ("/api/channel/test", "test_data") => {
            "The body; left out: that of a call that costs little."
        }
        ("/api/price/preview", "channel_type") => "52.",
        ("/api/price/preview", "group") => {
            "The group whose ratio counts; unless it is said, that of `user`."
        }
        ("/api/price/preview", "model_name") => "The model.",
        ("/api/price/preview", "user") => {
            "A user, by name or number: whose ratio counts, and whose group."
        }
        ("/api/protocol/try", "content_type") => "The reply's header `content-type`.",
        ("/api/protocol/try", "document") => "A document that need not be stored.",
        ("/api/protocol/try", "headers") => "The reply's headers, one a line: `NAME: VALUE`.",
        ("/api/protocol/try", "protocol") => "The protocol's name, where there is no document.",
        ("/api/protocol/try", "reply") => "The reply's body, if it is to be read as well.",
        ("/api/protocol/try", "request_headers") => {
            "The request's headers, one a line: `NAME: VALUE`."
        }
        ("/api/redemption", "expired_time") => {
            "From when they are worth nothing, in seconds since 1970; 0: never."
        }
        ("/api/redemption", "name") => "Name of the lot.",
        ("/api/redemption", "reference") => {
            "Names the making of this lot: the same again makes nothing."
        }
        ("/api/redemption/disable-lot", "count") => {
            "How many codes the caller means: where there are more or fewer, none is disabled."
        }
        ("/api/redemption/disable-lot", "lot") => "Reference of the lot.",
        ("/api/task/batch", "decision") => "`settle-now`, `fail-and-refund` or `requeue`.",
        ("/api/user/login", "username") => "Name to log in with.",
        ("/api/user/login", "password") => "The password.",
        ("/api/user/topup", "key") => "The code.",
        ("/api/user/{id}/quota", "reference") => {
            "Name of the movement: the same again moves nothing."
        }
        ("/api/user/{id}/quota", "username") => {
            "The name that the caller takes the user to have: with another nothing moves."
        }
        ("/api/webhook/{id}", "secret") => "Not here: it is replaced with `POST …/rotate`.",
        (path, "key") if path.starts_with("/api/channel") => {
            "The upstream's key, which is never shown; left out of a change: as it is."
        }
        ("/api/user" | "/api/user/{id}", "password") => "The password, eight characters at least.",
        (path, "password") if path.ends_with("/token") => {
            "One's own password; not needed in the first ten minutes after the login."
        }
        (path, "secret") if path.starts_with("/api/webhook") => {
            "`whsec_` and the base64 of 24 to 64 bytes; left out: one is made."
        }
        _ => "",
    }
}

const PATH_OF_TEST: &str = "Path of the call; left out: the one that costs least.";

const ACTION_KINDS: &str = "Actions of the admin journal of one kind: `refused`, `logins`, \
    `money`, `users`, `keys`, `channels`, `protocols`, `prices`, `settings`, `tasks` or \
    `webhooks`.";

/// What a parameter of an address means.
pub(super) fn of_parameter(path: &str, param: &Param) -> &'static str {
    let name = param.name.as_str();
    let own = match (path, name) {
        ("/api/ability", "model" | "model_name") => "The model.",
        ("/api/channel/test/{id}", "model") => "The model that is called.",
        ("/api/channel/test/{id}", "path") => PATH_OF_TEST,
        ("/api/events", "after") => {
            "The last line of the log that is known: those behind it are counted at the start."
        }
        ("/api/user" | "/api/user/search", "username") => "The one of this name alone.",
        (path, "status") if path.starts_with("/api/task") => {
            "Those with this status, or with all that are `unfinished` or `undecided`."
        }
        ("/api/webhook", "status") => "Those in this state, by its number, or `failing`.",
        ("/api/channel" | "/api/channel/search", "status") => {
            "Those in this state, by its number, or those that this node has `paused`."
        }
        (path, "type") if path.starts_with("/api/channel") => "52.",
        (path, "user_id") if path == "/api/statement" || path.ends_with("/submission-secret") => {
            "Number of the user."
        }
        _ => "",
    };
    if own.is_empty() { of_filter(param) } else { own }
}

/// Parameters that mean the same everywhere.
fn of_filter(param: &Param) -> &'static str {
    match param.name.as_str() {
        "p" | "page" => {
            "From 1; 0 is the first, too. `p` wins over `page`. Pages reach to item 10000."
        }
        "page_size" => "Items on a page: from 1 to 100; others are taken as the nearest of these.",
        "keyword" => "A part of the name.",
        "start_time" | "start_timestamp" => {
            "From when: seconds since 1970, or an instant like 2024-01-01T12:00:00Z; 0: any."
        }
        "end_time" | "end_timestamp" => "Until when, in the same ways.",
        "before_id" => "Only what is older than this number: the way on where pages end.",
        "type" => {
            "A word, or the number that similar servers give it; `spent`: charges and refunds; \
             0 and `all`: any."
        }
        "action" | "model_name" => "The same as `model`.",
        "before" => "Only calls before this hold: the way on where there are more.",
        "by" => "How long a step is: `day` or `hour`.",
        "channel" => "The same as `channel_id`.",
        "channel_id" => "Those of the channel of this number.",
        "code" => "Those that failed with this code.",
        "deleted" => "`true`: those who were deleted, and no others.",
        "format" => "`csv`: a table for a spreadsheet, and no envelope.",
        "group" => "Those of this group.",
        "hold" => "The one of its calls that has this hold.",
        "kind" => ACTION_KINDS,
        "limit" => "The most lines.",
        "lot" => "Those of the lot with this reference.",
        "minutes" => "Over how many minutes the sums are: from 1 to 180; 60 unless it is said.",
        "model" => "Those of this model.",
        "month" => "`2026-11`, in UTC.",
        "name" => "Those of this name.",
        "order" => "`asc` or `desc`.",
        "per" => {
            "What a row is about: `key`, `model` or `day`; for administrators `user` and \
             `channel`, too."
        }
        "request_id" => "Those of the call with this `X-Request-Id`.",
        "role" => "Those of this role: 1, 10 or 100.",
        "sort" => "The field that the list is sorted by.",
        "state" => "Those that are `pending`, `delivered` or `failed`.",
        "status" => "Those in this state, by its number.",
        "tag" => "Those with this tag.",
        "target_user_id" => "What was done to the user of this number, or to what is theirs.",
        "target_username" => "What was done to the user of this name, or to what is theirs.",
        "task_id" => "The one with this id at its upstream.",
        "token" => "The same as `token_name`.",
        "token_id" => "Those of the key of this number.",
        "token_name" => "Those of keys of this name.",
        "top" => "How many models are named, those that cost most; 10 unless it is said.",
        "topics" => "`calls`, `tasks`, or both with a comma, as it is unless it is said.",
        "user_id" => "Those of the user of this number.",
        "username" => "Those of the user of this name.",
        _ => "",
    }
}

/// What stands in a place of a path.
pub(super) fn of_place(path: &str, name: &str) -> &'static str {
    match name {
        "id" if path.starts_with("/api/channel") => "Number of the channel.",
        "id" if path.starts_with("/api/redemption") => "Number of the code.",
        "id" if path.starts_with("/api/token") => "Number of the key.",
        "id" if path.starts_with("/api/user") => "Number of the user.",
        "id" if path.starts_with("/api/webhook/delivery") => "Number of the delivery.",
        "id" if path.starts_with("/api/webhook") => "Number of the endpoint.",
        "model" => "The model, with its slashes as they are.",
        "name" if path.starts_with("/api/group") => "The group.",
        "name" if path.starts_with("/api/protocol") => "Name of the protocol.",
        "request" => "`X-Request-Id` of the call.",
        "session" => "Names the session, for ending it.",
        "task" => "The task's number, uid, or upstream's id.",
        _ => "",
    }
}
