//! What lists count, and how many rows they have.

use crate::pages::{Browser, attributes, between, lively};
use testkit::{ROOT_PASSWORD, TestDb, json, on_both_databases};

on_both_databases! {
    async fn a_group_says_who_pays_by_it_and_is_edited_from_its_row(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        admin.put(&format!("/api/user/{ann}"), &json!({ "group": "vip" })).await;
        let bob = admin.user(json!({ "username": "bob" })).await;
        admin.key_of(ann, json!({ "name": "hers" })).await;
        admin.key_of(bob, json!({ "name": "dear", "group": "vip" })).await;
        world.channel(&["chat"], json!({ "groups": ["vip", "other"] })).await;
        let vip = admin.get("/api/group/vip").await;
        let counts = (&vip["users"], &vip["keys"], &vip["channels"]);
        assert_eq!(counts, (&json!(1), &json!(1), &json!(1)), "{vip}");
        // What an answer says may be sent back.
        admin.put("/api/group", &vip).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/groups").await.expect(200).text();
        assert!(list.contains("Paying by it: 1 user, 1 key."), "{list}");
        // A group without a ratio is listed by who is in it, too.
        let (plain, set) = ("name=default#f-ratio", "Groups without a ratio pay the plain price.");
        assert!(list.contains(plain) && list.contains(set), "{list}");
        let edit = "/console/groups?edit=vip#f-ratio".to_owned();
        assert!(attributes(&list, "href").contains(&edit), "{list}");
        let form = root.get("/console/groups?edit=vip").await.expect(200).text();
        for field in ["name=\"group_name\" type=\"text\" value=\"vip\"",
            "name=\"ratio\" type=\"text\" value=\"0.8\"", "name=\"replaces\" value=\"0.8\""] {
            assert!(form.contains(field), "{field}: {form}");
        }
        // Who was shown the ratio is not asked again; one that has changed since is shown.
        let change = "group_name=vip&ratio=0.7&replaces=0.8";
        root.send("/console/groups", change).await.expect(303);
        let late = root.send("/console/groups", "group_name=vip&ratio=0.6&replaces=0.8").await;
        assert!(late.expect(409).text().contains("Paying by it: 1 user"));
        root.get("/console/groups?edit=none").await.expect(200);
        world.close().await;
    }

    async fn the_list_of_users_counts_their_keys(db: TestDb) {
        let (world, ann) = lively(db).await;
        world.admin().key_of(ann, json!({ "name": "second" })).await;
        world.admin().user(json!({ "username": "none" })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let list = root.get("/console/users").await.expect(200).text();
        let row = between(&list, &format!("<tr id=\"user-{ann}\""), "</tr>").unwrap();
        assert!(row.contains(&format!("/console/keys?user_id={ann}\">2</a>")), "{row}");
        assert!(list.contains("\">0</a>"), "{list}");
        world.close().await;
    }

    async fn lists_keep_the_size_of_a_page(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let shown = async |path: &str, cookie: &str| {
            let answer = root.call("GET", path).header("Cookie", cookie).send().await;
            let answer = answer.expect(200);
            let set = answer.header("set-cookie").unwrap_or_default();
            let sizes = between(&answer.text(), "A page: ", "</span>").unwrap_or_default();
            (set, between(&sizes, "<b>", "</b>").unwrap_or_default())
        };
        let (set, now) = shown("/console/keys?page_size=50", "").await;
        assert!(set.starts_with("newapi_rows=50; Path=/console; HttpOnly"), "{set}");
        assert_eq!(now, "50");
        assert_eq!(shown("/console/keys", "newapi_rows=50").await, (String::new(), "50".into()));
        let (set, now) = shown("/console/users?page_size=25", "newapi_rows=50").await;
        assert!(set.starts_with("newapi_rows=25") && now == "25", "{set} {now}");
        // Nothing but what a page offers.
        for other in ["newapi_rows=7", "newapi_rows=x", "newapi_rows=100000"] {
            assert_eq!(shown("/console/keys", other).await, (String::new(), String::new()));
        }
        assert_eq!(shown("/console/keys?page_size=7", "").await.0, "");
        world.close().await;
    }
}
