//! Going by a name: what is found, and by whom.

use crate::pages::{Browser, PASSWORD, attributes, between, name_of};
use crate::pages_whole::FullWorld;
use testkit::{ROOT_PASSWORD, TestDb, on_both_databases};

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
        let explain = |what: &str| format!("/console/explain/{what}");
        // 价格
        let price = "%E4%BB%B7%E6%A0%BC";
        for (wanted, to) in [
            ("FIRS", vec!["/console/channels/1".to_owned(), explain("FIRS")]),
            (price, vec!["/console/prices".to_owned(), explain(price)]),
            (name.as_str(), vec![format!("/console/users/{ann}"), explain(&name)]),
            ("%231", vec!["/console/tasks/1".to_owned(), explain("%231")]),
            ("nothing+at+all", vec![]),
        ] {
            let step = |c: &str| c.replace('-', "%2D");
            let to: Vec<_> = to.iter().map(|to| match to.strip_prefix("/console/explain/") {
                Some(what) => explain(&step(what)),
                None => to.clone(),
            }).collect();
            assert_eq!(find(&root, wanted).await, to, "{wanted}");
        }
        // Users find their own pages and tasks, and nobody else.
        let found = find(&own, "1").await;
        assert_eq!(found, ["/console/tasks/1", "/console/explain/1"]);
        assert_eq!(find(&own, "settings").await, ["/console/explain/settings"]);
        assert_eq!(find(&own, "firs").await, ["/console/explain/firs"]);
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
