//! Going by a name: what is found, and by whom.

use crate::pages::{Browser, PASSWORD, attributes, between, name_of};
use crate::pages_whole::FullWorld;
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

fn links(page: &str) -> Vec<String> {
    let found = between(page, "<ul class=\"found\"", "</ul>").unwrap();
    attributes(&found, "href")
}

on_both_databases! {
    async fn a_name_leads_to_what_one_may_see(db: TestDb) {
        let full = FullWorld::open(db).await;
        let (server, ann) = (&full.world.server, full.ann);
        let name = name_of(&full.world, ann).await;
        let root = Browser::login(server, "root", ROOT_PASSWORD).await;
        let own = Browser::login(server, &name, PASSWORD).await;
        let find = async |browser: &Browser<'_>, wanted: &str| {
            let path = format!("/console/find?q={wanted}");
            links(&browser.get(&path).await.expect(200).text())
        };
        full.world.channel(&["chat", "x"], json!({ "name": "q" })).await;
        let request = full.world.db.row(
            "SELECT request_id FROM logs WHERE type = 'consume' AND model_name = 'chat'"
        ).await;
        let request = request.text("request_id");
        let explain = format!("/console/explain/{}", request.replace('-', "%2D"));
        // 价格
        let price = "%E4%BB%B7%E6%A0%BC";
        let unknown = "01a22fb5-e3cc-7df9-b068-806cc8d3a4f2";
        for (wanted, to) in [
            ("FIRS", vec!["/console/channels/1".to_owned()]),
            (price, vec!["/console/prices".to_owned()]),
            (name.as_str(), vec![format!("/console/users/{ann}")]),
            ("%231", vec!["/console/tasks/1".to_owned()]),
            ("nothing+at+all", vec![]),
            ("nonsense", vec![]),
            ("CHA", vec!["/console/prices/edit?model=chat".to_owned()]),
            // A name of one letter is one that is called so.
            ("x", vec!["/console/prices/edit?model=x".to_owned()]),
            (request, vec![explain]),
            // What looks like an id may be one that is no longer known here.
            (unknown, vec![format!("/console/explain/{}", unknown.replace('-', "%2D"))]),
        ] {
            let mut found = find(&root, wanted).await;
            found.retain(|to| wanted != "CHA" || to.contains("model=chat"));
            assert_eq!(found, to, "{wanted}");
        }
        assert!(find(&root, "q").await.iter().any(|to| to.starts_with("/console/channels/")));
        // Users find their own pages, models and tasks, and nobody else.
        assert!(find(&own, "1").await.starts_with(&["/console/tasks/1".to_owned()]));
        assert_eq!(find(&own, "settings").await, [""; 0]);
        assert_eq!(find(&own, "firs").await, [""; 0]);
        assert!(find(&own, "chat").await.iter().any(|to| to.starts_with("/console/play")));
        assert!(find(&own, "").await.contains(&"/console/redeem".to_owned()));
        assert!(find(&own, &"x".repeat(200)).await.is_empty());

        // The palette asks for the list alone, and takes it as text.
        let call = root.call("GET", "/console/find?q=%3Cb%3E").header("HX-Request", "true");
        let part = call.send().await.expect(200).text();
        let list = "<ul class=\"found\" id=\"found\" data-of=\"&lt;b&gt;\">";
        assert!(part.starts_with(list), "{part}");
        assert!(part.contains("&lt;b&gt;") && !part.contains("<b>"), "{part}");
        full.close().await;
    }
}
