//! Backups: consistent under concurrent load, and restored completely or not at all.

use crate::crash::Load;
use crate::world::{NEWAPI, World, fixed};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::Not as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use testkit::{Gate, Postgres, Reply, Server, TestDb, eventually, json, on_both_databases};

const START: i64 = 1_000_000;

/// What a command prints as JSON, which must succeed and complain of nothing.
async fn said(server: &Server, arguments: &[&str]) -> serde_json::Value {
    let Output { status, stdout, stderr } = server.cli(arguments).await;
    let (text, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && complaints.is_empty(), "{arguments:?} {status}: {complaints}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} {error}: {text}"))
}

/// What a command complains of, which must fail.
async fn refused(server: &Server, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = server.cli(arguments).await;
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{arguments:?}: {}{text}", String::from_utf8_lossy(&stdout));
    text
}

/// The processes that a process has started.
fn children(parent: Pid) -> Vec<String> {
    let pid = parent.as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

/// An authority and a server's certificate by it, as `openssl` makes them, in `dir`.
fn certificates(dir: &Path) {
    let make = |arguments: &str| {
        let openssl = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"])
            .args(arguments.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
    };
    make("-keyout ca.key -out ca.pem -subj /CN=ours");
    make("-keyout other.key -out other.pem -subj /CN=other");
    make(
        "-CA ca.pem -CAkey ca.key -keyout server.key -out server.pem -subj /CN=server \
          -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE",
    );
}

/// A path as an argument.
fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory of this name, empty.
fn dir(db: &TestDb, name: &str) -> PathBuf {
    let dir = db.dir().join(name);
    fs::create_dir(&dir).unwrap();
    dir
}

/// Names of the files in a directory, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

on_both_databases! {
    async fn a_backup_under_load_is_of_one_moment(db: TestDb) {
        let world = World::open(db).await;
        let gate = Gate::new();
        world.model("slow", fixed(30), Reply::text("ok").gated(&gate)).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(START).await;
        let slow = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let slow = tokio::spawn(slow.send());
        world.upstream.wait_for_requests(1).await;
        let load = Load::start(&world, &ann);
        eventually("calls to go through", || async { (load.count() > 50).then_some(()) }).await;

        let backups = dir(&world.db, "copies");
        let mut made = Vec::new();
        for _ in 0..2 {
            let so_far = load.count();
            made.push(said(&world.server, &["backup", arg(&backups), "--json"]).await);
            assert!(load.count() > so_far, "calls stood still while it was made");
        }
        load.end().await;
        gate.open();
        slow.await.unwrap().expect(200);

        let mut others = Vec::new();
        for backup in made {
            assert!(backup["rows"]["logs"].as_i64().unwrap() > 50, "{backup}");
            let other = TestDb::on(world.db.engine()).await;
            let server = Server::builder(NEWAPI, &other).build();
            let file = backup["file"].as_str().unwrap();
            let restored = said(&server, &["restore", file, "--json"]).await;
            assert_eq!(restored["audit"]["clean"], true, "{restored}");
            assert!(restored["audit"]["open_holds"].as_i64().unwrap() > 0, "{restored}");
            assert_eq!(restored["restored"]["warnings"], json!([]));
            others.push((other, server));
        }

        let (other, mut server) = others.pop().unwrap();
        server.start_again().await;
        // Holds of calls that will not be settled in this copy are released.
        server.settled_and_clean(&other).await;
        let consumed = other.i64("SELECT 7 * count(*) FROM logs WHERE type = 'consume'").await;
        let sql = format!("SELECT quota, used_quota FROM users WHERE id = {}", ann.id);
        let row = other.row(&sql).await;
        assert_eq!((row.i64("quota"), row.i64("used_quota")), (START - consumed, consumed));
        // And everything works: keys, channels, their keys, prices.
        server.post("/pass/m", &ann.key, &json!({})).await.expect(200);
        server.settled_and_clean(&other).await;
        world.close().await;
    }

    async fn nothing_is_replaced_by_mistake(db: TestDb) {
        let mut world = World::open(db).await;
        world.model("m", fixed(7), Reply::text("ok")).await;
        let ann = world.payer(START).await;
        let copies = dir(&world.db, "copies");
        let file = copies.join("one.gz");
        let shown = world.server.cli_ok(&["backup", arg(&file)]).await;
        assert!(shown.contains("read back whole") && shown.contains("SECRET_KEY"), "{shown}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refused(&world.server, &["backup", arg(&file)]).await.contains("already"));
        let restore = ["restore", arg(&file), "--replace"];
        let running = refused(&world.server, &restore).await;
        assert!(running.contains("stop the server first"), "{running}");
        world.pay("m", &ann).await.expect(200);
        assert!(world.server.terminate().await.success());

        let full = refused(&world.server, &["restore", arg(&file)]).await;
        assert!(full.contains("--replace"), "{full}");
        let bytes = fs::read(&file).unwrap();
        let half = copies.join("half.gz");
        fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
        refused(&world.server, &["restore", arg(&half), "--replace"]).await;
        let zeros = if world.db.is_postgres() { "now()" } else { "0" };
        world.db.execute(&format!("INSERT INTO schema_migrations (version, name, sha256, applied_at)
                                   VALUES (9999, 'later', '', {zeros})")).await;
        let newer = copies.join("newer.gz");
        world.server.cli_ok(&["backup", arg(&newer)]).await;
        world.db.execute("DELETE FROM schema_migrations WHERE version = 9999").await;
        let future = refused(&world.server, &["restore", arg(&newer), "--replace"]).await;
        assert!(future.contains("9999") && future.contains("newer"), "{future}");
        assert_eq!(world.money(&ann).await.quota, START - 7, "a refusal changes nothing");

        // There and back again: what is replaced is kept.
        let restored = said(&world.server, &[&restore[..], &["--json"]].concat()).await;
        assert_eq!(world.money(&ann).await.quota, START);
        let kept = restored["restored"]["kept"].as_str().unwrap();
        world.server.set_env("SECRET_KEY", "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXItMTI=");
        let shown = world.server.cli_ok(&["restore", kept, "--replace"]).await;
        assert!(shown.contains("! SECRET_KEY") && shown.contains("clean"), "{shown}");
        assert_eq!(world.money(&ann).await.quota, START - 7);
        world.server.set_env("SECRET_KEY", testkit::server::SECRET_KEY);
        world.server.start_again().await;
        world.pay("m", &ann).await.expect(200);
        let left = names(&copies);
        assert_eq!(left, ["half.gz", "newer.gz", "one.gz"], "nothing else is left behind");
        world.close().await;
    }

    async fn a_directory_keeps_the_newest(db: TestDb) {
        let server = Server::start(NEWAPI, &db).await;
        let copies = dir(&db, "copies");
        let mut last = String::new();
        for _ in 0..3 {
            let made = said(&server, &["backup", arg(&copies), "--keep", "2", "--json"]).await;
            last = made["file"].as_str().unwrap().to_owned();
        }

        let names = names(&copies);
        assert_eq!(names.len(), 3, "two, and the link: {names:?}");
        let suffix = if db.is_postgres() { "sql.gz" } else { "db.gz" };
        let latest = fs::canonicalize(copies.join(format!("latest.{suffix}"))).unwrap();
        assert_eq!(latest, fs::canonicalize(last).unwrap());
        server.audit_clean().await;
    }

    async fn a_backup_of_a_build_before_the_first_release_is_refused(db: TestDb) {
        let world = World::open(db).await;
        let first = if world.db.is_postgres() {
            "d4d91745700464274ff51b73c1fab0410cb913c556f1ae67b2684da630d83927"
        } else {
            "91d8b6d83fde4a827cb3f1f24a4dec7ff7e135587dd1f5525bf2fe05c651b343"
        };
        let copies = dir(&world.db, "copies");
        let made = said(&world.server, &["backup", arg(&copies), "--json"]).await;
        let old = format!("UPDATE schema_migrations SET sha256 = '{first}'");
        world.db.execute(&old).await;
        let before = said(&world.server, &["backup", arg(&copies), "--json"]).await;
        assert_ne!(made["file"], before["file"]);

        let other = TestDb::on(world.db.engine()).await;
        let server = Server::builder(NEWAPI, &other).build();
        let refused = server.cli(&["restore", before["file"].as_str().unwrap()]).await;
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains("before its first release"), "{words}");
    }
}

on_postgres! {
    async fn a_stopped_backup_leaves_nothing_behind(db: TestDb) {
        let world = World::open(db).await;
        let copies = dir(&world.db, "copies");
        for signal in [Signal::INT, Signal::TERM] {
            // pg_dump waits for it.
            let lock = world.db.transaction("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await;
            let mut backup = world.server.cli_started(&["backup", arg(&copies)]);
            let pid = Pid::from_raw(backup.id().unwrap().try_into().unwrap()).unwrap();
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                         AND application_name = 'pg_dump' AND wait_event_type = 'Lock'";
            eventually("pg_dump to wait", || async {
                (world.db.i64(waits).await == 1).then_some(())
            })
            .await;
            let pg_dump = children(pid);
            assert_eq!((names(&copies).len(), pg_dump.len()), (1, 1));

            kill_process(pid, signal).unwrap();
            let status = backup.wait().await.unwrap();

            assert_eq!(status.code(), Some(1), "{signal:?}: {status}");
            assert_eq!(names(&copies), [""; 0]);
            // A zombie, which remains until its parent waits for it, has no command line.
            let command = Path::new("/proc").join(&pg_dump[0]).join("cmdline");
            eventually("pg_dump to be gone", || async {
                fs::read(&command).is_ok_and(|line| !line.is_empty()).not().then_some(())
            })
            .await;
            lock.end().await;
        }
        said(&world.server, &["backup", arg(&copies), "--json"]).await;
        world.close().await;
    }

    // As the handbook does it.
    async fn psql_restores_wholly_or_not_at_all(db: TestDb) {
        let mut world = World::open(db).await;
        world.db.execute("INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', 0.5)").await;
        let file = world.db.dir().join("one.sql.gz");
        world.server.cli_ok(&["backup", arg(&file)]).await;
        assert!(world.server.terminate().await.success());
        let changed = "UPDATE group_ratio SET ratio = 9 WHERE group_name = 'vip'";
        world.db.execute(changed).await;
        let ratio = "SELECT CAST(ratio * 10 AS bigint) FROM group_ratio WHERE group_name = 'vip'";
        let psql = |file: &Path| {
            let dsn = world.db.sql_dsn().unwrap();
            let line = "gunzip -c \"$1\" | psql -q \"$2\" >/dev/null";
            let mut shell = tokio::process::Command::new("sh");
            shell.args(["-c", line, "sh", arg(file), dsn]);
            async move { String::from_utf8(shell.output().await.unwrap().stderr).unwrap() }
        };

        assert_eq!(psql(&file).await, "");
        assert_eq!(world.db.i64(ratio).await, 5);

        world.db.execute(changed).await;
        let mut sql = String::new();
        flate2::read::GzDecoder::new(fs::File::open(&file).unwrap())
            .read_to_string(&mut sql)
            .unwrap();
        let broken = world.db.dir().join("broken.sql.gz");
        let mut pack = flate2::write::GzEncoder::new(
            fs::File::create(&broken).unwrap(),
            flate2::Compression::fast(),
        );
        let sql = sql.replace("\nCOMMIT;", "\nSELECT broken;\nCOMMIT;");
        pack.write_all(sql.as_bytes()).unwrap();
        pack.finish().unwrap();
        assert!(psql(&broken).await.contains("broken"));
        assert_eq!(world.db.i64(ratio).await, 90);
        // Ours stops at the first error, and reports it.
        let restore = ["restore", arg(&broken), "--replace"];
        let said = refused(&world.server, &restore).await;
        assert!(said.contains("nothing was restored"), "{said}");
        assert_eq!(world.db.i64(ratio).await, 90);
        world.server.start_again().await;
        world.close().await;
    }

    async fn the_programs_believe_whom_the_server_believes(_db: TestDb) {
        let tls = tempfile::tempdir().unwrap();
        certificates(tls.path());
        let text = |name: &str| fs::read_to_string(tls.path().join(name)).unwrap();
        let postgres = Postgres::start().await;
        postgres.with_tls(&text("server.pem"), &text("server.key"));
        postgres.crash().await;
        postgres.start_again().await;
        let db = TestDb::in_cluster(postgres.dsn()).await;
        let plain = db.sql_dsn().unwrap().replace("127.0.0.1", "localhost");
        let dsn = format!("{plain}?sslmode=verify-full");
        let settings = |roots: &str| {
            let server = Server::builder(NEWAPI, &db).env("SQL_DSN", &dsn);
            server.env("SSL_CERT_FILE", tls.path().join(roots).display())
        };
        let mut server = settings("ca.pem").start().await;
        let file = db.dir().join("one.sql.gz");
        said(&server, &["backup", arg(&file), "--json"]).await;
        assert!(server.terminate().await.success());

        let restored = said(&server, &["restore", arg(&file), "--replace", "--json"]).await;
        assert_eq!(restored["audit"]["clean"], true, "{restored}");

        // pg_dump asks the same: a name that the certificate doesn't have.
        let stranger = dsn.replace("localhost", "127.0.0.1");
        server.set_env("SQL_DSN", &stranger);
        let why = refused(&server, &["backup", arg(&db.dir().join("two.sql.gz"))]).await;
        assert!(why.contains("certificate") && why.contains("127.0.0.1"), "{why}");
        server.set_env("SQL_DSN", &dsn);
        server.set_env("SSL_CERT_FILE", tls.path().join("other.pem").display());
        let why = refused(&server, &["backup", arg(&db.dir().join("two.sql.gz"))]).await;
        assert!(why.contains("certificate verify failed"), "{why}");
        server.set_env("SSL_CERT_FILE", tls.path().join("ca.pem").display());
        server.audit_clean().await;
    }
}
