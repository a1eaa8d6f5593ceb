//! A form that was sent after its session had ended.

use crate::pages::{Browser, attributes, between, lively};
use testkit::{ROOT_PASSWORD, TestDb, on_both_databases};

on_both_databases! {
    async fn a_form_is_kept_over_the_login(db: TestDb) {
        let (world, ann) = lively(db).await;
        let quota = world.admin().user_quota(ann).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        world.db.execute("DELETE FROM sessions").await;
        let path = format!("/console/users/{ann}/adjust");
        let form = "csrf=x&direction=add&amount=%245&reason=the+prize&reference=kept&password=hid";
        let ours = |path: &str| {
            world.server.call("POST", path).header("Sec-Fetch-Site", "same-origin")
        };
        let login = ours(&path).body(form).send().await.expect(401).text();
        assert!(login.contains("the session has ended"), "{login}");
        for kept in ["name=\"f.amount\" value=\"$5\"", "name=\"f.reference\" value=\"kept\""] {
            assert!(login.contains(kept), "{kept}: {login}");
        }
        assert!(!login.contains("hid\"") && !login.contains("f.csrf"), "{login}");

        // A wrong password keeps it, too.
        let carried = format!("form={}&f.direction=add&f.amount=%245&f.reason=the+prize\
            &f.reference=kept&next=%2Fconsole", path.replace('/', "%2F"));
        let wrong = format!("username=root&password=no&{carried}");
        let again = ours("/console/login").body(wrong).send().await.expect(422).text();
        assert!(again.contains("name=\"f.amount\" value=\"$5\""), "{again}");
        let right = format!("username=root&password={ROOT_PASSWORD}&{carried}");
        let page = ours("/console/login").body(right).send().await.expect(200);
        let cookie = page.header("set-cookie").unwrap();
        let page = page.text();
        assert!(page.contains("<dt>Amount</dt><dd class=\"break\">$5</dd>"), "{page}");
        assert_eq!(world.admin().user_quota(ann).await, quota, "nothing is sent by itself");
        assert!(page.contains(&format!("action=\"{path}\"")), "{page}");
        let csrf = between(&page, "name=\"csrf\" value=\"", "\"").unwrap();
        assert!(attributes(&page, "href").contains(&"/console".to_owned()), "{page}");
        let sent = form.replacen("csrf=x", &format!("csrf={csrf}"), 1);
        let cookie = cookie.split(';').next().unwrap().to_owned();
        ours(&path).header("Cookie", &cookie).body(sent).send().await.expect(303);
        assert_eq!(world.admin().user_quota(ann).await, quota + 2_500_000);

        // No other site's form, and none that leads elsewhere.
        let abroad = world.server.call("POST", &path).header("Sec-Fetch-Site", "cross-site");
        abroad.body(form).send().await.expect(303);
        let away = format!("username=root&password={ROOT_PASSWORD}&form=%2F%2Fevil&f.a=b");
        ours("/console/login").body(away).send().await.expect(303);
        drop(root);
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
