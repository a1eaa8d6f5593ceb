//! The service's notifications on systemd's socket.

use crate::world::{NEWAPI, World, fixed};
use std::path::PathBuf;
use testkit::{Gate, Reply, Signal, TestDb, eventually, json};
use tokio::net::UnixDatagram;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// Systemd's end of the socket. It reads messages as they arrive, as systemd does: the kernel
/// buffers only a few, and a sender blocks once the buffer is full.
struct Manager {
    said: Mutex<UnboundedReceiver<String>>,
    path: PathBuf,
}

impl Manager {
    fn new(db: &TestDb) -> Self {
        let path = db.dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (heard, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if heard.send(text).is_err() {
                    return;
                }
            }
        });
        Self { said: Mutex::new(said), path }
    }

    /// The next message.
    async fn hears_next(&self) -> String {
        self.said.lock().await.recv().await.unwrap()
    }

    /// The next message with this line in it; others are passed over.
    async fn hears(&self, line: &str) -> String {
        eventually(&format!("systemd to hear {line}"), || async {
            let text = self.hears_next().await;
            text.lines().any(|said| said == line).then_some(text)
        })
        .await
    }
}

async fn supervised(db: TestDb, more: &[(&str, &str)]) -> (Manager, World) {
    let manager = Manager::new(&db);
    let path = manager.path.display().to_string();
    let mut env = vec![("NOTIFY_SOCKET", path.as_str())];
    env.extend(more);
    let world = World::with(db, &env).await;
    (manager, world)
}

on_sqlite! {
    async fn systemd_hears_of_start_reload_and_stop(db: TestDb) {
        let (systemd, mut world) = supervised(db, &[]).await;

        let said = systemd.hears("READY=1").await;
        assert!(said.contains(&format!("STATUS=serving on {}", world.server.addr())), "{said}");

        world.server.signal(Signal::HUP);
        let said = systemd.hears("RELOADING=1").await;
        assert!(said.contains("MONOTONIC_USEC="), "{said}");
        systemd.hears("READY=1").await;

        world.server.signal(Signal::TERM);
        systemd.hears("STOPPING=1").await;
        assert!(world.server.wait_exit().await.success());
    }

    async fn the_watchdog_sees_that_calls_are_answered(db: TestDb) {
        let (systemd, world) = supervised(db, &[("WATCHDOG_USEC", "1500000")]).await;
        for _ in 0..3 {
            systemd.hears("WATCHDOG=1").await;
        }
        world.close().await;
    }

    async fn a_watchdog_meant_for_another_process_is_none_of_ours(db: TestDb) {
        let own = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
        let (systemd, mut world) = supervised(db, &own).await;
        systemd.hears("READY=1").await;
        world.server.signal(Signal::TERM);
        // A beat a third of a millisecond would long have come in between.
        let said = systemd.hears_next().await;
        assert!(said.starts_with("STOPPING=1"), "{said}");
        assert!(world.server.wait_exit().await.success());
    }

    async fn a_full_house_is_no_dead_one(db: TestDb) {
        let gate = Gate::new();
        let own = [("WATCHDOG_USEC", "600000"), ("MAX_CONNECTIONS", "1")];
        let (systemd, world) = supervised(db, &own).await;
        world.model("slow", fixed(10), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(100).await;
        let call = world.server.call("POST", "/pass/slow").key(&ann.key).json(&json!({}));
        let running = tokio::spawn(call.send());
        gate.reached(1).await;

        systemd.hears("STATUS=serving as many connections as it may").await;
        systemd.hears("WATCHDOG=1").await;

        gate.open();
        running.await.unwrap().expect(200);
        systemd.hears("STATUS=serving").await;
        world.close().await;
    }

    async fn the_health_command_asks_the_running_server(db: TestDb) {
        let mut world = World::open(db).await;
        let output = world.server.cli(&["health"]).await;
        assert!(output.status.success(), "{output:?}");

        world.server.terminate().await;
        let output = world.server.cli(&["health"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");

        let nowhere = testkit::Server::builder(NEWAPI, &world.db).env("PORT", "x").build();
        assert_eq!(nowhere.cli(&["health"]).await.status.code(), Some(2));
    }
}
