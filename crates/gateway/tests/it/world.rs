//! What nearly every test stands in: a server, an upstream, a database, and people who pay.

use testkit::{Admin, Answer, Reply, Server, TestDb, Upstream, eventually, json};

/// The binary under test.
pub const NEWAPI: &str = env!("CARGO_BIN_EXE_newapi");

/// A test that needs one engine only, because nothing in it depends on the database.
macro_rules! on_sqlite {
    ($(async fn $name:ident($db:ident : $ty:ty) $body:block)+) => {$(
        #[test]
        fn $name() {
            async fn body($db: $ty) $body
            testkit::run(async { body(testkit::TestDb::sqlite().await).await })
        }
    )+};
}

/// A test about what only PostgreSQL does.
macro_rules! on_postgres {
    ($(async fn $name:ident($db:ident : $ty:ty) $body:block)+) => {$(
        #[test]
        fn $name() {
            async fn body($db: $ty) $body
            testkit::run(async { body(testkit::TestDb::postgres().await).await })
        }
    )+};
}

/// A server with an upstream and a database.
pub struct World {
    pub server: Server,
    pub upstream: Upstream,
    pub db: TestDb,
}

/// A user with a balance and a key.
#[derive(Clone, Debug)]
pub struct Payer {
    pub id: i64,
    pub token_id: i64,
    pub key: String,
}

/// What a user has: what is left, what was spent, in how many paid calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    pub quota: i64,
    pub used: i64,
    pub calls: i64,
}

impl World {
    /// A world with the settings of the tests.
    pub async fn open(db: TestDb) -> Self {
        Self::with(db, &[]).await
    }

    /// A world with some settings of its own.
    pub async fn with(db: TestDb, settings: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start().await;
        let server = node(&db, settings).await;
        Self { server, upstream, db }
    }

    pub fn admin(&self) -> Admin {
        self.server.admin()
    }

    /// A channel to the upstream for these models.
    pub async fn channel(&self, models: &[&str], extra: serde_json::Value) -> i64 {
        self.admin().channel_to(&self.upstream, models, extra).await
    }

    /// Creates a model with its channel, its price (none: free) and the upstream's reply.
    pub async fn model(&self, model: &str, price: serde_json::Value, reply: Reply) -> i64 {
        self.upstream.on(&format!("/{model}"), reply);
        let channel = self.channel(&[model], json!({})).await;
        if !price.is_null() {
            self.admin().price(model, price).await;
        }
        channel
    }

    /// A user with this balance and an unlimited key.
    pub async fn payer(&self, quota: i64) -> Payer {
        let (id, token) = self.admin().payer(quota).await;
        Payer { id, token_id: token.id, key: token.key }
    }

    /// Another key for a user.
    pub async fn key(&self, payer: &Payer, extra: serde_json::Value) -> Payer {
        let token = self.admin().key_of(payer.id, extra).await;
        Payer { id: payer.id, token_id: token.id, key: token.key }
    }

    /// `POST /pass/{model}` with a small JSON body.
    pub async fn pay(&self, model: &str, payer: &Payer) -> Answer {
        self.server.post(&format!("/pass/{model}"), &payer.key, &json!({"q": 1})).await
    }

    /// Reads a user's money from the database.
    pub async fn money(&self, payer: &Payer) -> Money {
        let id = payer.id;
        let sql = format!("SELECT quota, used_quota, request_count FROM users WHERE id = {id}");
        let row = self.db.row(&sql).await;
        let (quota, used) = (row.i64("quota"), row.i64("used_quota"));
        Money { quota, used, calls: row.i64("request_count") }
    }

    /// Waits until a user has this (settlement may follow a client that left).
    pub async fn wait_for_money(&self, payer: &Payer, quota: i64, used: i64) {
        let what = format!("the balance to become {quota} after {used}");
        eventually(&what, || async {
            let money = self.money(payer).await;
            (money.quota == quota && money.used == used).then_some(())
        })
        .await;
    }

    /// The lines of a user's journal about calls, in order: `consume 176 -176 of 224`, that is
    /// type, amount, effect on the balance, and what was held.
    pub async fn journal(&self, payer: &Payer) -> Vec<String> {
        let sql = format!(
            "SELECT type, quota, delta, held FROM logs WHERE user_id = {} \
             AND type IN ('precharge', 'consume', 'refund', 'error') ORDER BY id",
            payer.id
        );
        let line = |row: &testkit::Row| {
            let held =
                row.get("held").map_or(String::new(), |_| format!(" of {}", row.i64("held")));
            format!("{} {} {}{held}", row.text("type"), row.i64("quota"), row.i64("delta"))
        };
        self.db.query(&sql).await.iter().map(line).collect()
    }

    /// How many lines of this type the journal has.
    pub async fn lines(&self, kind: &str) -> i64 {
        self.db.i64(&format!("SELECT count(*) FROM logs WHERE type = '{kind}'")).await
    }

    /// How many holds are open.
    pub async fn open_holds(&self) -> i64 {
        self.db.i64("SELECT count(*) FROM holds").await
    }

    /// Lets the deadline of every open hold pass.
    pub async fn pass_deadlines(&self) {
        let now = if self.db.is_postgres() { "now()" } else { "1" };
        let sql = format!("UPDATE holds SET deadline_at = {now}");
        self.db.execute(&sql).await;
    }

    /// The most memory that the server has taken for its work, in KiB: what was resident, without
    /// the pages of its own program. Those only grow with what of it has run, and are near 50 MiB
    /// in a debug build.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid()));
        let status = status.unwrap();
        let kib = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        kib("VmHWM:").saturating_sub(kib("RssFile:"))
    }

    /// Forgets the peak so far: that of the start, which hashes a password.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.server.pid()), "5").unwrap();
    }

    /// The end of every test: no hold stays open, and every quota is accounted for.
    pub async fn close(&self) {
        self.server.settled_and_clean(&self.db).await;
    }
}

/// A server over this database; on PostgreSQL one of several nodes, when called again.
pub async fn node(db: &TestDb, settings: &[(&str, &str)]) -> Server {
    let mut builder = Server::builder(NEWAPI, db);
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    builder.start().await
}

/// Prints that a test can't be run here, and why.
#[allow(clippy::print_stderr)]
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A price by use, one quota a token.
pub fn by_use() -> serde_json::Value {
    json!({"ratio": 1})
}

/// A price per call.
pub fn fixed(quota: i64) -> serde_json::Value {
    json!({"fixed_quota": quota})
}
