//! What `SQL_DSN` may lead to: a pooler, and several servers.

use crate::world::{NEWAPI, World, fixed};
use testkit::{Pgbouncer, Postgres, Reply, Server, TestDb};

/// Pays once through this DSN.
async fn pays_through(db: TestDb, dsn: &str) {
    let world = World::with(db, &[("SQL_DSN", dsn)]).await;
    world.model("m", fixed(7), Reply::text("ok")).await;
    let ann = world.payer(1_000_000).await;
    world.pay("m", &ann).await.expect(200);
    // A change with plain SQL is seen: news comes over a connection that listens.
    world.db.execute("UPDATE abilities SET fixed_quota = 9").await;
    testkit::eventually("the new price", || async {
        let answer = world.pay("m", &ann).await.expect(200);
        (answer.header("X-Newapi-Quota").as_deref() == Some("9")).then_some(())
    })
    .await;
    world.server.cli_ok(&["backup"]).await;
    world.close().await;
}

on_postgres! {
    async fn a_pooler_in_transaction_mode_is_refused_in_words(db: TestDb) {
        let pooler = Pgbouncer::start("transaction", db.sql_dsn().unwrap()).await;
        let server = || Server::builder(NEWAPI, &db).env("SQL_DSN", pooler.dsn());
        let in_words = |output: std::process::Output| {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            for word in ["pooler", "transaction mode", "pool_mode = session", "SQL_DSN"] {
                assert!(said.contains(word), "{word} is not in {said}");
            }
        };
        in_words(server().start_refused().await);
        for command in ["check", "doctor", "migrate"] {
            let output = server().build().cli(&[command]).await;
            assert!(!output.status.success(), "{command}");
            in_words(output);
        }
    }

    async fn a_pooler_in_session_mode_works(db: TestDb) {
        let pooler = Pgbouncer::start("session", db.sql_dsn().unwrap()).await;
        pays_through(db, pooler.dsn()).await;
    }

    async fn of_several_servers_the_writable_one_is_taken(db: TestDb) {
        let dsn = db.sql_dsn().unwrap().to_owned();
        let (rest, name) = dsn.rsplit_once('/').unwrap();
        let (login, ours) = rest.rsplit_once('@').unwrap();
        // A server that takes no writes, as a standby.
        let standby = Postgres::start().await;
        let scratch = TestDb::in_cluster(standby.dsn()).await;
        scratch.execute(&format!("CREATE DATABASE {name}")).await;
        let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
        scratch.execute(&read_only).await;
        let theirs = standby.dsn();
        let theirs = theirs.rsplit_once('/').unwrap().0.rsplit_once('@').unwrap().1;
        let closed = format!("127.0.0.1:{}", testkit::ports::free_port());
        let several = format!(
            "{login}@{closed},{theirs},{ours}/{name}?target_session_attrs=read-write"
        );
        pays_through(db, &several).await;
    }
}
