//! Upstreams out of reach, and what is in the way.

use super::{Diagnosis, until};
use crate::world::{Payer, World, fixed};
use base64::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use testkit::{RawServer, Reply, TestDb, eventually, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

const ROOT: &[u8] = include_bytes!("../../../../upstream/tests/tls/root.der");
const LEAF: &[u8] = include_bytes!("../../../../upstream/tests/tls/leaf.der");
const LEAF_KEY: &[u8] = include_bytes!("../../../../upstream/tests/tls/leaf.key.der");

/// An upstream over TLS with an untrusted certificate.
async fn untrusted() -> RawServer {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(LEAF_KEY));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(LEAF)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    RawServer::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await
}

/// The root as a file that OpenSSL and we read.
fn root_file(db: &TestDb) -> PathBuf {
    let text = base64::engine::general_purpose::STANDARD.encode(ROOT);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
    let path = db.dir().join("root.pem");
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
    std::fs::write(&path, pem).unwrap();
    path
}

async fn logged(db: TestDb, settings: &[(&str, &str)]) -> World {
    let log = db.dir().join("newapi.log").display().to_string();
    World::with(db, &[&[("LOG_FILE", log.as_str())], settings].concat()).await
}

async fn pay_often(world: &World, payer: &Payer, status: u16) {
    for _ in 0..3 {
        world.pay("m", payer).await.expect(status);
    }
}

on_sqlite! {
    async fn what_is_in_the_way_is_told_apart(db: TestDb) {
        let world = World::open(db).await;
        Diagnosis::of(&world).await.bad("channels", "none is enabled", "newapi channel create");
        let well = world.upstream.url();
        // Responds in plain HTTP with a 400, as servers do.
        let plain = RawServer::start(|mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        })
        .await;
        for (name, url) in [
            ("nowhere", "http://127.0.0.1:1"),
            ("nameless", "http://no-such-host.invalid"),
            ("private", "http://10.0.0.1"),
            ("not-https", &plain.url().replace("http://", "https://")),
        ] {
            world.channel(&["m"], json!({"name": name, "base_url": url})).await;
        }
        world.admin().price("m", fixed(1)).await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.bad("channel 1 upstream", "refused", "firewall");
        diagnosis.bad("channel 2 upstream", "dns", "nslookup");
        diagnosis.bad("channel 3 upstream", "10.0.0.1", "UPSTREAM_ALLOW_NETS");
        diagnosis.bad("channel 4 upstream", "tls", "is it https there?");
        for id in 1..=4 {
            let moved = json!({"id": id, "base_url": well, "key": "its-own"});
            world.admin().put("/api/channel", &moved).await;
        }
        Diagnosis::with(&world, &[]).await.well();
        world.close().await;
    }

    async fn a_certificate_that_nobody_trusts(db: TestDb) {
        let mut world = World::open(db).await;
        let upstream = untrusted().await;
        let base_url = upstream.url().replace("http://", "https://");
        world.channel(&["m"], json!({"base_url": base_url})).await;
        world.admin().price("m", fixed(1)).await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.bad("channel 1 upstream", "tls", "SSL_CERT_FILE");
        world.server.set_env("SSL_CERT_FILE", root_file(&world.db).display());
        Diagnosis::with(&world, &[]).await.well();
        world.close().await;
    }

    async fn a_proxy_that_is_away(db: TestDb) {
        let mut world = World::with(db, &[("HTTP_PROXY", "http://127.0.0.1:1")]).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.bad("channel 1 upstream", "proxy", "HTTP_PROXY");
        world.server.set_env("NO_PROXY", "127.0.0.1");
        Diagnosis::with(&world, &[]).await.well();
        world.close().await;
    }

    async fn an_upstream_that_answers_too_late(db: TestDb) {
        let mut world = logged(db, &[("CUSTOM_PASS_HTTP_TIMEOUT", "300ms")]).await;
        world.model("m", fixed(1), Reply::hang()).await;
        world.upstream.otherwise(Reply::hang());
        let ann = world.payer(100).await;
        pay_often(&world, &ann, 504).await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.bad("channel 1 upstream", "timed out", "CUSTOM_PASS_HTTP_TIMEOUT");
        diagnosis.bad("channel 1 time", "3 calls", "CUSTOM_PASS_HTTP_TIMEOUT");

        let slow = || Reply::text("ok").delay(std::time::Duration::from_millis(350));
        world.upstream.on("/m", slow());
        world.upstream.otherwise(slow());
        world.server.set_env("CUSTOM_PASS_HTTP_TIMEOUT", "30s");
        world.server.restart().await;
        world.pay("m", &ann).await.expect(200);
        until(&world, "channel calls", "good", &[]).await.well();
        Diagnosis::with(&world, &[]).await.good("channel 1 upstream");
        world.pass_deadlines().await;
        world.close().await;
    }

    async fn a_key_that_the_upstream_does_not_take(db: TestDb) {
        let world = logged(db, &[]).await;
        let channel = world.model("m", fixed(1), Reply::text("ok")).await;
        world.upstream.handle("/m", |request| {
            let right = request.header("authorization").as_deref() == Some("Bearer right-key");
            if right { Reply::text("ok") } else { Reply::text("no").status(401) }
        });
        let ann = world.payer(100).await;
        pay_often(&world, &ann, 401).await;
        let diagnosis = until(&world, "channel 1 key", "bad", &[]).await;
        diagnosis.bad("channel 1 key", "401", "set the channel's key again");
        // It breaks nothing but calls: the upstream itself can be reached.
        Diagnosis::with(&world, &[]).await.good("channel 1 upstream");

        // Blanks and line breaks around a key never get as far as a call.
        let key = json!({"id": channel, "key": " right-key\n"});
        world.admin().put("/api/channel", &key).await;
        world.pay("m", &ann).await.expect(200);
        until(&world, "channel calls", "good", &[]).await.well();
        world.close().await;
    }

    async fn an_account_that_is_broken(db: TestDb) {
        let world = logged(db, &[]).await;
        let answer = |request: &testkit::Recorded| {
            if request.header("authorization").as_deref() == Some("Bearer paid-key") {
                return Reply::json(&json!({"id": "m"}));
            }
            let error = json!({"message": "You exceeded it", "code": "insufficient_quota"});
            Reply::json(&json!({"error": error})).status(429)
        };
        world.upstream.handle("/v1/chat/completions", answer);
        world.upstream.handle("/v1/models/m", answer);
        let channel = world.channel(&["m"], json!({"protocol": "openai", "key": "k"})).await;
        world.admin().price("m", fixed(1)).await;
        let ann = world.payer(100).await;
        let ask = json!({"model": "m", "messages": []});
        world.server.post("/v1/chat/completions", &ann.key, &ask).await.expect(429);
        let diagnosis = until(&world, "channel 1 pause", "bad", &[]).await;
        diagnosis.bad("channel 1 pause", "You exceeded it", "another key");

        world.admin().put("/api/channel", &json!({"id": channel, "key": "paid-key"})).await;
        until(&world, "paused channels", "good", &[]).await.good("paused channels");
        world.close().await;
    }

    async fn a_breaker_that_is_open(db: TestDb) {
        let world = logged(db, &[]).await;
        world.model("m", fixed(1), Reply::text("no").status(500)).await;
        let ann = world.payer(100).await;
        while world.pay("m", &ann).await.status == 500 {}
        let diagnosis = until(&world, "channel 1 pause", "odd", &[]).await;
        let check = diagnosis.is("channel 1 pause", "odd").unwrap();
        assert!(check["remedy"].as_str().unwrap().contains("channel test"), "{check}");

        world.upstream.on("/m", Reply::text("ok"));
        eventually("the channel to be tried again", || async {
            (world.pay("m", &ann).await.status == 200).then_some(())
        })
        .await;
        Diagnosis::of(&world).await.good("paused channels");
        world.close().await;
    }

    async fn an_address_that_was_written_wrong_with_sql(db: TestDb) {
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        let set = |url: String| {
            let sql = format!("UPDATE channels SET base_url = '{url}'");
            let db = &world.db;
            async move { db.execute(&sql).await }
        };
        set("api.example.com".to_owned()).await;
        eventually("the channel to be left out", || async {
            (world.pay("m", &ann).await.status == 503).then_some(())
        })
        .await;
        let diagnosis = Diagnosis::with(&world, &[]).await;
        diagnosis.bad("channel 1 upstream", "base_url must start with http", "https://HOST");
        set(world.upstream.url()).await;
        eventually("the channel to be back", || async {
            (world.pay("m", &ann).await.status == 200).then_some(())
        })
        .await;
        Diagnosis::with(&world, &[]).await.good("channel 1 upstream");
        world.close().await;
    }
}
