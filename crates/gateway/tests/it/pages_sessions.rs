//! Sessions: what a page says after theirs has ended, and where one is logged in.

use crate::pages::{Browser, lively};
use testkit::{ROOT_PASSWORD, TestDb, on_both_databases};

on_both_databases! {
    async fn a_form_that_is_sent_after_its_session_says_so(db: TestDb) {
        let (world, ann) = lively(db).await;
        let quota = world.admin().user_quota(ann).await;
        let path = format!("/console/users/{ann}/adjust");
        let form = "direction=add&amount=%245&reason=the+prize&reference=late";
        let sent = world.server.call("POST", &path).header("Cookie", "newapi_session=ended");
        let to = sent.body(form).send().await.expect(303).header("location").unwrap();
        for (lang, words) in [("en", "was not carried out"), ("zh", "没有执行")] {
            let cookie = format!("newapi_lang={lang}");
            let login = world.server.call("GET", &to).header("Cookie", &cookie);
            let login = login.send().await.expect(200).text();
            assert!(login.contains(words), "{login}");
        }
        // Who only read a page has sent nothing.
        let read = world.server.call("GET", &path).send().await.expect(303);
        let to = read.header("location").unwrap();
        let login = world.server.call("GET", &to).send().await.expect(200).text();
        assert!(!login.contains("class=\"complaint\""), "{login}");
        assert_eq!(world.admin().user_quota(ann).await, quota);
        world.close().await;
    }

    async fn a_session_says_its_browser(db: TestDb) {
        let (world, _) = lively(db).await;
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let login = world.server.call("POST", "/console/login").header("User-Agent", agent);
        let body = format!("username=root&password={ROOT_PASSWORD}");
        login.body(body).send().await.expect(303);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = root.get("/console/account").await.expect(200).text();
        assert!(page.contains("Firefox · Linux"), "{page}");
        let sessions = root.get("/api/user/self/sessions").await.expect(200).json();
        assert!(sessions.to_string().contains(agent), "{sessions}");
        world.close().await;
    }
}
