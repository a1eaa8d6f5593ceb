//! What needs attention stands on the first page: books that do not balance, and money that is
//! held until an operator decides.

use crate::pages::{Browser, PASSWORD, between};
use crate::vendor_tasks::{NEVER, Vendor};
use crate::world::World;
use testkit::{ROOT_PASSWORD, Reply, TestDb, eventually, json, on_both_databases};

/// The first row of what needs attention.
fn first_need(page: &str) -> String {
    between(page, "<table class=\"needs\"><tbody><tr>", "</tr>").unwrap_or_default()
}

on_both_databases! {
    async fn books_that_do_not_balance_come_first(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        // With the revision moved along, as only the ledger does, no line is entered.
        let wrong = |by: i64| {
            let id = ann.id;
            format!(
                "UPDATE users SET quota = quota + {by}, revision = revision + 1 WHERE id = {id}"
            )
        };
        world.db.execute(&wrong(7)).await;
        world.admin().get("/api/audit/ledger").await;
        let need = first_need(&root.get("/console").await.expect(200).text());
        assert!(need.contains("Books do not balance") && need.contains("1 breach"), "{need}");
        assert!(need.contains("href=\"/console/audit\">Audit<"), "{need}");
        let told = world.admin().get("/api/attention").await;
        assert_eq!((&told["audit_breaches"], &told["audit_failed"]), (&json!(1), &json!(null)));
        world.db.execute(&wrong(-7)).await;
        world.admin().get("/api/audit/ledger").await;
        let need = first_need(&root.get("/console").await.expect(200).text());
        assert!(!need.contains("Books"), "{need}");

        // A check that can't be made is no clean one.
        world.db.execute("ALTER TABLE ledger_carry RENAME TO ledger_carried").await;
        root.send("/console/audit/run", "").await.expect(303);
        eventually("the failure", || async {
            let state = world.admin().get("/api/audit/ledger/state").await;
            state["failed"].is_object().then_some(())
        })
        .await;
        let need = first_need(&root.get("/console").await.expect(200).text());
        assert!(need.contains("Books could not be checked"), "{need}");
        let told = world.admin().get("/api/attention").await;
        assert!(told["audit_failed"]["en"].is_string(), "{told}");
        world.db.execute("ALTER TABLE ledger_carried RENAME TO ledger_carry").await;
        world.admin().get("/api/audit/ledger").await;
        world.close().await;
    }

    async fn a_task_that_waits_for_an_operator_is_found(db: TestDb) {
        let world = World::with(db, &[NEVER]).await;
        let ann = world.payer(200).await;
        let runway = Vendor::runway();
        runway.channel(&world).await;
        world.upstream.queue(runway.path, Reply::bytes("text/html", "<html>accepted</html>"));
        runway.submit(&world, &ann).await.expect(200);
        runway.serve(&world, &runway.running);
        runway.submit(&world, &ann).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;

        let page = root.get("/console").await.expect(200).text();
        assert!(page.contains("1 task waits for your decision: $0.00008 held"), "{page}");
        assert!(page.contains("href=\"/console/tasks?status=undecided\""), "{page}");
        let told = world.admin().get("/api/attention").await;
        let told = (&told["undecided_tasks"], &told["undecided_held"], &told["unfinished_tasks"]);
        assert_eq!(told, (&json!(1), &json!(40), &json!(2)));
        let list = root.get("/console/tasks?status=undecided").await.expect(200).text();
        assert_eq!(list.matches("<tr id=\"task-").count(), 1, "{list}");
        assert!(list.contains("needs a decision"), "{list}");
        let all = root.get("/console/tasks").await.expect(200).text();
        assert_eq!(all.matches("needs a decision").count(), 1, "{all}");

        let form = "decision=refund&reason=it+never+came";
        root.send("/console/tasks/1/decide", form).await.expect(303);
        root.send("/console/tasks/2/decide", form).await.expect(303);
        let page = root.get("/console").await.expect(200).text();
        assert!(!page.contains("waits for your decision"), "{page}");
        world.close().await;
    }
}

on_sqlite! {
    async fn a_health_check_is_told_to_root_and_without_the_books(db: TestDb) {
        let world = World::open(db).await;
        let ann = world.payer(1_000).await;
        let adam = json!({ "username": "adam", "password": PASSWORD, "role": 10 });
        world.admin().user(adam).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let adam = Browser::login(&world.server, "adam", PASSWORD).await;
        let needs = async |browser: &Browser<'_>| {
            let page = browser.get("/console").await.expect(200).text();
            between(&page, "<table class=\"needs\">", "</table>").unwrap_or_default()
        };
        let wrong = |by: i64| {
            let id = ann.id;
            format!(
                "UPDATE users SET quota = quota + {by}, revision = revision + 1 WHERE id = {id}"
            )
        };
        root.get("/console/doctor").await.expect(200);
        let before = needs(&root).await;
        world.db.execute(&wrong(7)).await;
        world.admin().get("/api/audit/ledger").await;
        root.get("/console/doctor").await.expect(200);
        let after = needs(&root).await;
        assert!(after.contains("Books do not balance"), "{after}");
        // Its row counts what it counted before: the books have their own.
        let row = |needs: &str| between(needs, "the last check: ", " · ").unwrap_or_default();
        assert_eq!(row(&after), row(&before), "{after}");
        // The page of its findings is root's.
        let of_admin = needs(&adam).await;
        assert!(of_admin.contains("Books do not balance"), "{of_admin}");
        assert!(!of_admin.contains("the last check"), "{of_admin}");
        world.db.execute(&wrong(-7)).await;
        world.admin().get("/api/audit/ledger").await;
        world.close().await;
    }
}
