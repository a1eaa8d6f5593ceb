//! The admin API as a set-up script uses it: the calls of the contract, with JSON bodies.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::client::{Answer, Call};
use crate::upstream::Upstream;

/// The admin API, with the access token of root (or of another user).
#[derive(Debug, Clone)]
pub struct Admin {
    addr: SocketAddr,
    access_token: String,
}

/// A key as its creation shows it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id.
    pub id: i64,
    /// The key itself, `sk-…`.
    pub key: String,
}

/// The result of [`Admin::set_up`]: everything that a paid call needs.
#[derive(Debug, Clone)]
pub struct Paid {
    /// The channel to the upstream.
    pub channel_id: i64,
    /// The user who pays.
    pub user_id: i64,
    /// The id of the user's key.
    pub token_id: i64,
    /// The user's key, `sk-…`.
    pub key: String,
}

impl Admin {
    /// The admin API at this address, with this access token.
    pub fn new(addr: SocketAddr, access_token: &str) -> Self {
        Self { addr, access_token: access_token.to_owned() }
    }

    /// A call with the access token, for calls that must fail or have no shorthand here.
    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::new(self.addr, method, path).key(&self.access_token)
    }

    /// `GET`: the response's `data`.
    pub async fn get(&self, path: &str) -> Value {
        data(path, &self.call("GET", path).send().await)
    }

    /// `GET`: the whole envelope.
    pub async fn envelope(&self, path: &str) -> Value {
        let answer = self.call("GET", path).send().await;
        data(path, &answer);
        answer.json()
    }

    /// `POST`: the response's `data`.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        data(path, &self.try_post(path, body).await)
    }

    /// `POST`, successful or not.
    pub async fn try_post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send().await
    }

    /// `PUT`: the response's `data`.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        data(path, &self.call("PUT", path).json(body).send().await)
    }

    /// `DELETE`: the response's `data`.
    pub async fn delete(&self, path: &str) -> Value {
        data(path, &self.call("DELETE", path).send().await)
    }

    /// Creates a channel; returns its id.
    pub async fn channel(&self, body: Value) -> i64 {
        id(&self.post("/api/channel", &body).await)
    }

    /// Creates or replaces a price.
    pub async fn ability(&self, body: Value) -> Value {
        self.post("/api/ability", &body).await
    }

    /// Creates or replaces a group's ratio.
    pub async fn group(&self, body: Value) -> Value {
        self.post("/api/group", &body).await
    }

    /// Creates a user; returns the id.
    pub async fn user(&self, body: Value) -> i64 {
        id(&self.post("/api/user", &body).await)
    }

    /// Creates a key.
    pub async fn token(&self, body: Value) -> Token {
        let made = self.post("/api/token", &body).await;
        let key = made["key"].as_str().expect("the key is shown at its creation").to_owned();
        Token { id: id(&made), key }
    }

    /// Changes a balance by `delta`.
    pub async fn add_quota(&self, user_id: i64, delta: i64, reason: &str) {
        let body = json!({"delta": delta, "reason": reason});
        self.post(&format!("/api/user/{user_id}/quota"), &body).await;
    }

    /// A user, as the API shows it.
    pub async fn user_row(&self, user_id: i64) -> Value {
        self.get(&format!("/api/user/{user_id}")).await
    }

    /// A balance.
    pub async fn user_quota(&self, user_id: i64) -> i64 {
        number(&self.user_row(user_id).await, "quota")
    }

    /// What a user has spent.
    pub async fn user_used_quota(&self, user_id: i64) -> i64 {
        number(&self.user_row(user_id).await, "used_quota")
    }

    /// A channel to `upstream` for these models, in the group `default`; `extra` adds fields or
    /// replaces them.
    pub async fn channel_to(&self, upstream: &Upstream, models: &[&str], extra: Value) -> i64 {
        let body = json!({
            "name": unique("channel"), "type": 52, "base_url": upstream.url(),
            "key": "upstream-key", "models": models, "groups": ["default"],
        });
        self.channel(merge(body, extra)).await
    }

    /// A price for a model; `price` holds its fields (`ratio`, `fixed_quota`, …).
    pub async fn price(&self, model: &str, price: Value) {
        let body = json!({"model_name": model, "channel_type": 52});
        self.ability(merge(body, price)).await;
    }

    /// A user of the group `default` with this balance, and an unlimited key.
    pub async fn payer(&self, quota: i64) -> (i64, Token) {
        let user = json!({
            "username": unique("user"), "password": "correct horse 42", "quota": quota,
            "group": "default",
        });
        let user_id = self.user(user).await;
        (user_id, self.key_of(user_id, json!({})).await)
    }

    /// An unlimited key for a user; `extra` adds fields or replaces them.
    pub async fn key_of(&self, user_id: i64, extra: Value) -> Token {
        let body = json!({
            "user_id": user_id, "name": unique("key"), "unlimited_quota": true,
            "expired_time": -1,
        });
        self.token(merge(body, extra)).await
    }

    /// All that one paid call needs: a channel to `upstream`, a price for `model`, a user with this
    /// balance and a key.
    pub async fn set_up(&self, upstream: &Upstream, model: &str, price: Value, quota: i64) -> Paid {
        let channel_id = self.channel_to(upstream, &[model], json!({})).await;
        self.price(model, price).await;
        let (user_id, token) = self.payer(quota).await;
        Paid { channel_id, user_id, token_id: token.id, key: token.key }
    }
}

#[track_caller]
fn data(path: &str, answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{path} answered: {}", answer.text());
    let envelope = answer.json();
    assert_eq!(envelope["success"], true, "{path} answered: {envelope}");
    envelope["data"].clone()
}

#[track_caller]
fn id(data: &Value) -> i64 {
    number(data, "id")
}

#[track_caller]
fn number(data: &Value, field: &str) -> i64 {
    data[field].as_i64().unwrap_or_else(|| panic!("no whole number `{field}` in {data}"))
}

/// `base` with the fields of `extra` merged into it.
fn merge(base: Value, extra: Value) -> Value {
    let mut fields = match base {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    if let Value::Object(more) = extra {
        fields.extend(more);
    }
    Value::Object(fields)
}

fn unique(word: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{word}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
