//! Parts of pages, as the script asks for them: with the filters that the page has, by those who
//! are logged in, and without a second page inside the first when something goes wrong.

use crate::pages::{Browser, PASSWORD, attributes, between, lively, name_of};
use testkit::{Answer, Call, ROOT_PASSWORD, TestDb, json, on_both_databases};

/// A request as htmx makes it, on a page at this address.
fn part<'a>(browser: &Browser<'a>, method: &str, path: &str, on: &str) -> Call {
    let call = browser.call(method, path).header("HX-Request", "true");
    call.header("HX-Current-URL", format!("http://newapi.example{on}"))
}

/// A line, and nothing that a page has besides.
fn assert_line(answer: &Answer) {
    let text = answer.text();
    assert!(text.starts_with("<p class=\"complaint\"") && !text.contains("<nav"), "{text}");
    assert_eq!(answer.header("hx-reselect").as_deref(), Some(".complaint"));
    assert_eq!(answer.header("hx-reswap").as_deref(), Some("innerHTML"));
}

on_both_databases! {
    async fn an_ended_session_leads_from_a_part_to_the_login(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let csrf = root.csrf().await;
        world.db.execute("DELETE FROM sessions").await;
        let login = |next: &str| Some(format!("/console/login?next={next}"));
        let on = "/console/channels?tag=a&done=saved";
        let back = "%2Fconsole%2Fchannels%3Ftag%3Da";
        for (method, path, sent) in [
            ("POST", "/console/channels/1/test", "&sent=no"),
            ("GET", "/console/channels?tag=b", ""),
            ("GET", "/console/events?topics=calls", ""),
        ] {
            let answer = part(&root, method, path, on).header("X-CSRF-Token", &csrf).send().await;
            let answer = answer.expect(401);
            let to = answer.header("hx-redirect");
            assert_eq!(to, login(&format!("{back}{sent}")), "{path}");
            assert_line(&answer);
        }
        // A page is led there, and back to where it was: to what a form was on.
        let page = root.get("/console/channels?tag=b").await.expect(303);
        assert_eq!(page.header("location"), login("%2Fconsole%2Fchannels%3Ftag%3Db"));
        let form = root.call("POST", "/console/users/1/adjust");
        let form = form.header("Referer", "http://newapi.example/console/users/1/adjust?reverse=7");
        let led = form.body("amount=5").send().await.expect(303);
        let to = login("%2Fconsole%2Fusers%2F1%2Fadjust%3Freverse%3D7&sent=no");
        assert_eq!(led.header("location"), to);
        let out = root.call("POST", "/console/logout");
        let abroad = out.header("Referer", "http://evil.example/elsewhere");
        let led = abroad.body("").send().await.expect(303);
        assert_eq!(led.header("location"), login("%2Fconsole"));
        world.close().await;
    }

    async fn what_goes_wrong_in_a_part_is_a_line(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let on = "/console/log";
        let wrong = part(&root, "GET", "/console/log?channel_id=x", on).send().await;
        assert_line(&wrong.expect(422));
        let wrong = part(&root, "GET", "/console/log?from=yesterday", on).send().await;
        let wrong = wrong.expect(422);
        assert!(wrong.text().contains("must be a day like 2026-11-30"), "{}", wrong.text());
        let csrf = root.csrf().await;
        let foreign = part(&root, "POST", "/console/channels/1/test", on).send().await;
        assert_line(&foreign.expect(403));
        let gone = part(&root, "POST", "/console/channels/99/test", on);
        let gone = gone.header("X-CSRF-Token", &csrf).send().await;
        assert_line(&gone.expect(404));
        // What the browser's button "back" asks for is the page.
        let history = part(&root, "GET", "/console/log?channel_id=x", on);
        let history = history.header("HX-History-Restore-Request", "true").send().await;
        assert!(history.expect(422).text().contains("<nav"));

        let user = Browser::login(&world.server, &name_of(&world, ann).await, PASSWORD).await;
        let mut streams = Vec::new();
        for _ in 0..6 {
            let mut stream = user.call("GET", "/console/events?topics=calls").stream().await;
            stream.read_until("\n\n").await;
            streams.push(stream);
        }
        let seventh = part(&user, "GET", "/console/events?topics=calls&after=0", on).send().await;
        let seventh = seventh.expect(429);
        assert_line(&seventh);
        assert!(seventh.text().contains("does not update by itself"), "{}", seventh.text());
        drop(streams);
        world.close().await;
    }

    async fn an_open_page_does_not_keep_its_session(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let before = "UPDATE sessions SET used_at = created_at";
        let unused = "SELECT count(*) FROM sessions WHERE used_at = created_at";
        let long_ago = match world.db.sql_dsn() {
            Some(_) => "UPDATE sessions SET created_at = created_at - interval '2 hours'",
            None => "UPDATE sessions SET created_at = created_at - 7200000",
        };
        for sql in [long_ago, before] {
            world.db.execute(sql).await;
        }
        for path in ["/console/events?topics=calls", "/api/events?topics=calls"] {
            root.call("GET", path).stream().await.read_until("\n\n").await;
        }
        let refreshed = root.call("GET", "/console/tasks").header("X-Background", "1");
        refreshed.send().await.expect(200);
        assert_eq!(world.db.i64(unused).await, 1);
        root.get("/console/tasks").await.expect(200);
        assert_eq!(world.db.i64(unused).await, 0);
        world.close().await;
    }
}

/// The address that a page would be shown at again in another language.
fn back_of(page: &str) -> String {
    let form = between(page, "action=\"/console/preferences\"", "</form>").unwrap();
    between(&form, "name=\"back\" value=\"", "\"").unwrap().replace("&amp;", "&")
}

on_both_databases! {
    async fn one_goes_back_to_where_one_was(db: TestDb) {
        let (world, ann) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let csrf = root.csrf().await;
        let send = |path: &str, from: &str, form: &str| {
            let call = root.call("POST", path).header("Sec-Fetch-Site", "same-origin");
            let call = call.header("Referer", format!("http://newapi.example{from}"));
            call.body(format!("csrf={csrf}&{form}")).send()
        };
        let to = async |path: &str, from: &str, form: &str| {
            let to = send(path, from, form).await.expect(303).header("location").unwrap();
            to.split("&undo=").next().unwrap_or_default().to_owned()
        };

        // Language and theme: the page with its query, but not what was just done there.
        let adjust = format!("/console/users/{ann}/adjust?reverse=1&amount=5q");
        assert_eq!(back_of(&root.get(&adjust).await.expect(200).text()), adjust);
        let done = root.get("/console/prices/edit?model=chat&done=saved").await.expect(200).text();
        assert_eq!(back_of(&done), "/console/prices/edit?model=chat");
        // Filters change the address after the page was sent; the browser knows.
        let prefer = "/console/preferences";
        let filtered = "/console/log?type=consume";
        assert_eq!(to(prefer, filtered, "lang=en&back=/console/log").await, filtered);
        assert_eq!(to(prefer, "/console/users", "lang=en&back=/console/log").await, "/console/log");
        let evil = to(prefer, "/elsewhere", "lang=en&back=https://evil.example/").await;
        assert_eq!(evil, "/console");
        let login = world.server.call("GET", "/console/login?next=%2Fconsole%2Flog").send().await;
        let login = back_of(&login.expect(200).text());
        assert_eq!(login, "/console/login?next=%2Fconsole%2Flog");
        let back = format!("lang=en&back={}", login.replace('%', "%25"));
        assert_eq!(to(prefer, &login, &back).await, login);

        // A page that answers a form is found where the form was.
        let tests = send("/console/channels/test", "/console/channels?tag=a", "id=1").await;
        assert_eq!(back_of(&tests.expect(200).text()), "/console/channels?tag=a");
        let alone = root.get("/console/channels/test").await.expect(405);
        assert!(alone.text().contains("answers a form"), "{}", alone.text());
        assert!(attributes(&alone.text(), "href").contains(&"/console/channels".to_owned()));
        root.get("/console/preferences").await.expect(405);

        // Actions of rows, and of many rows.
        let list = "/console/channels?keyword=first&sort=name&order=asc";
        let off = to("/console/channels/1/status?to=off", list, "").await;
        assert_eq!(off, format!("{list}&done=disabled"));
        let page = to("/console/channels/1/status?to=on", "/console/channels/1", "").await;
        assert_eq!(page, "/console/channels/1?done=enabled");
        let nowhere = to("/console/channels/1/status?to=on", "/console/log", "").await;
        assert_eq!(nowhere, "/console/channels?done=enabled");
        let key = world.admin().key_of(ann, json!({ "name": "k" })).await.id;
        let keys = "/console/keys?status=1";
        let off = to(&format!("/console/keys/{key}/status?to=off"), keys, "").await;
        assert_eq!(off, format!("{keys}&done=disabled"));
        let many = format!("id={key}&status=1");
        let asked = send("/console/keys/batch", keys, &many).await.expect(200).text();
        assert!(attributes(&asked, "href").contains(&keys.to_owned()), "{asked}");
        let back = between(&asked, "name=\"back\" value=\"/console/keys", "\"").unwrap();
        assert_eq!(back, "?status=1");
        let many = format!("{many}&apply=1&back=%2Fconsole%2Fkeys%3Fstatus%3D1");
        let done = to("/console/keys/batch", "/console/keys/batch", &many).await;
        assert_eq!(done, format!("{keys}&done=enabled"));
        let evil = format!("id={key}&status=1&apply=1&back=https%3A%2F%2Fevil.example%2F");
        let done = to("/console/keys/batch", "/console/keys/batch", &evil).await;
        assert_eq!(done, "/console/keys?done=saved", "it was enabled already");
        world.close().await;
    }
}

/// The lines of the log that a page lists.
fn lines_of(page: &str) -> usize {
    page.matches("id=\"line-").count()
}

/// The sums below a list, or why there are none.
fn sums_of(page: &str) -> String {
    let start = page.find("Sums").unwrap_or_else(|| panic!("no sums: {page}"));
    page[start..].split("</p>").next().unwrap().to_owned()
}

on_both_databases! {
    async fn the_log_and_its_sums_are_of_one_time(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let admin = world.admin();
        let key = admin.key_of(ann, json!({ "name": "laptop" })).await;
        world.server.post("/pass/chat", &key.key, &json!({})).await.expect(200);
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let user = Browser::login(&world.server, &name, PASSWORD).await;

        // Each number of the first page leads to the lines that it counts, and they to their sums.
        for (browser, calls) in [(&root, "×2 −$0.00032"), (&user, "×2 −$0.00032")] {
            for range in ["24h", "7d", "30d"] {
                let page = browser.get(&format!("/console?range={range}")).await.expect(200).text();
                let links = attributes(&page, "href");
                let of_charges = |to: &&String| to.starts_with("/console/log?type=consume&from=");
                let charges: Vec<&String> = links.iter().filter(of_charges).collect();
                assert!(charges.len() >= 3, "{links:?}");
                for to in charges {
                    let list = browser.get(to).await.expect(200).text();
                    assert_eq!(lines_of(&list), 2, "{to}");
                    assert!(sums_of(&list).contains(calls), "{to}: {}", sums_of(&list));
                }
            }
        }

        // Without a time there are no sums; what there is leads to times.
        let all = root.get("/console/log").await.expect(200).text();
        assert!(sums_of(&all).contains("at most 31 days"), "{all}");
        let day = attributes(&all, "href").into_iter().find(|to| to.contains("?from=")).unwrap();
        let of_day = root.get(&day).await.expect(200).text();
        assert!(sums_of(&of_day).contains("charge ×2 −$0.00032"), "{of_day}");
        let long = root.get("/console/log?from=2020-01-01").await.expect(200).text();
        assert!(lines_of(&long) > 2 && sums_of(&long).contains("at most 31 days"), "{long}");
        let old = root.get("/console/log?from=2020-01-01&to=2020-01-31").await.expect(200).text();
        assert_eq!((lines_of(&old), sums_of(&old).contains("none")), (0, true), "{old}");
        for (field, value) in [("from", "2020-01-01"), ("to", "2020-01-31")] {
            let input = format!("type=\"date\" name=\"{field}\" value=\"{value}\"");
            assert!(old.contains(&input), "{old}");
        }

        // What is exported is what is listed.
        let export = attributes(&old, "href").into_iter().find(|to| to.contains("/log/export"));
        let led = root.get(&export.unwrap()).await.expect(303).header("location").unwrap();
        assert_eq!(led, "/api/log/export?start_time=1577836800&end_time=1580515200");
        assert_eq!(root.get(&led).await.expect(200).text().lines().count(), 1, "its head alone");

        // Which key made a call, and its other calls.
        let list = user.get("/console/log?type=consume").await.expect(200).text();
        let of_key = format!("/console/log?type=consume&token_id={}", key.id);
        assert!(attributes(&list, "href").contains(&of_key) && list.contains(">laptop</a>"));
        let list = user.get(&of_key).await.expect(200).text();
        assert_eq!(lines_of(&list), 1, "{list}");
        admin.call("DELETE", &format!("/api/token/{}", key.id)).send().await.expect(200);
        let list = user.get(&of_key).await.expect(200).text();
        assert!(list.contains(&format!("#{} (deleted)", key.id)), "{list}");
        world.close().await;
    }

    async fn a_table_beside_a_chart_is_in_utc(db: TestDb) {
        let (world, _) = lively(db).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        for (path, length) in [("/console?range=30d", 10), ("/console?range=24h", 16)] {
            let page = root.get(path).await.expect(200).text();
            let table = between(&page, "class=\"numbers\"", "</details>").unwrap();
            // The script rewrites instants, and must find none here.
            assert!(table.contains("Time (UTC)") && !table.contains("<time"), "{table}");
            let first = between(&table, "<tr><td>", "</td>").unwrap();
            assert_eq!(first.len(), length, "{first}");
        }
        world.close().await;
    }

    async fn only_who_is_reached_is_offered_to_be_adjusted(db: TestDb) {
        let (world, ann) = lively(db).await;
        let admin = world.admin();
        let other = json!({ "username": "otto", "password": PASSWORD, "role": 10 });
        let otto = admin.user(other).await;
        let user = Browser::login(&world.server, "otto", PASSWORD).await;
        let list = user.get("/console/users").await.expect(200).text();
        let offered = |id: i64| list.contains(&format!("/console/users/{id}/adjust"));
        assert_eq!((offered(1), offered(ann), offered(otto)), (false, true, true), "{list}");
        world.close().await;
    }
}

on_both_databases! {
    async fn the_language_goes_with_the_account(db: TestDb) {
        let (world, ann) = lively(db).await;
        let name = name_of(&world, ann).await;
        let browser = Browser::login(&world.server, &name, PASSWORD).await;
        let prefer = |lang: &str, site: &str| {
            let call = browser.call("POST", "/console/preferences").header("Sec-Fetch-Site", site);
            call.body(format!("lang={lang}&back=/console/keys")).send()
        };
        let shown = async |browser: &Browser<'_>, cookie: &str| {
            let call = browser.call("GET", "/console/keys").header("Cookie", cookie);
            between(&call.send().await.expect(200).text(), "<html lang=\"", "\"").unwrap()
        };
        // The browser, unless it was told otherwise.
        assert_eq!(shown(&browser, "").await, "en");
        assert_eq!(shown(&browser, "newapi_lang=zh").await, "zh-CN");
        prefer("zh", "cross-site").await.expect(403);
        assert_eq!(shown(&browser, "").await, "en");

        // The switch: wherever one logs in from then on, whatever that browser was told.
        let answer = prefer("zh", "same-origin").await.expect(303);
        assert!(answer.header("set-cookie").unwrap().starts_with("newapi_lang=zh"));
        let other = Browser::login(&world.server, &name, PASSWORD).await;
        for cookie in ["", "newapi_lang=en"] {
            assert_eq!(shown(&other, cookie).await, "zh-CN", "{cookie}");
        }
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        assert_eq!(shown(&root, "").await, "en", "it is of one account");
        let missing = other.get("/console/nothing").await.expect(404).text();
        assert!(missing.contains("没有这个页面"), "{missing}");

        // The same through the API.
        let own = "/api/user/self";
        let token = world.admin().post(&format!("/api/user/{ann}/token"), &json!({})).await;
        let api = |method: &str, body: &serde_json::Value| {
            let token = format!("Bearer {}", token.as_str().unwrap());
            world.server.call(method, own).header("Authorization", token).json(body).send()
        };
        let row = api("PATCH", &json!({ "language": "en" })).await.expect(200).json();
        assert_eq!(row["data"]["language"], "en");
        assert_eq!(shown(&other, "newapi_lang=zh").await, "en");
        for wrong in [json!({}), json!({ "language": "de" }), json!({ "role": 100 })] {
            api("PATCH", &wrong).await.expect(422);
        }
        let row = api("PATCH", &json!({ "language": null })).await.expect(200).json();
        assert_eq!(row["data"]["language"], json!(null));
        assert_eq!(shown(&other, "newapi_lang=zh").await, "zh-CN");
        world.close().await;
    }
}

on_both_databases! {
    async fn what_was_switched_can_be_switched_back(db: TestDb) {
        let (world, ann) = lively(db).await;
        world.channel(&["chat"], json!({ "name": "second" })).await;
        let root = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let on = "SELECT count(*) FROM channels WHERE status = 1";
        let switched = async |path: &str, form: &str| {
            let to = root.send(path, form).await.expect(303).header("location").unwrap();
            let page = root.get(&to).await.expect(200).text();
            (to, between(&page, "<div class=\"toast\">", "</div>").unwrap())
        };
        // One row, and many; of these only what has changed.
        let (to, toast) = switched("/console/channels/1/status?to=off", "").await;
        let back = attributes(&toast, "action");
        assert_eq!(back, ["/console/channels/1/status?to=on"], "{toast}");
        let batch = "/console/channels/batch";
        let (_, toast) = switched(batch, "id=1&id=2&status=2&apply=1").await;
        assert_eq!(attributes(&toast, "action"), ["/console/channels/2/status?to=on"], "{toast}");
        let (_, toast) = switched(batch, "id=1&id=2&status=1&apply=1").await;
        assert_eq!(attributes(&toast, "action"), [batch], "{toast}");
        assert_eq!(world.db.i64(on).await, 2);
        let fields = attributes(&toast, "value");
        assert_eq!(fields[1..], ["2", "1", "1", "2"], "{toast}");
        root.send(batch, "status=2&apply=1&id=1&id=2").await.expect(303);
        assert_eq!(world.db.i64(on).await, 0);
        // Where nothing was switched there is nothing to undo.
        let again = root.send(batch, "status=2&apply=1&id=1&id=2").await.expect(303);
        let led_to = again.header("location").unwrap();
        assert!(led_to.contains("done=saved") && !led_to.contains("undo="), "{led_to}");

        // Rows of other lists.
        let ann = ann.to_string();
        world.admin().post("/api/webhook", &json!({ "url": "http://example.com/" })).await;
        for (list, id) in [("users", ann.as_str()), ("codes", "1"), ("webhooks", "1")] {
            let row = format!("/console/{list}/{id}/status?to=");
            let (_, toast) = switched(&format!("{row}off"), "").await;
            assert_eq!(attributes(&toast, "action"), [format!("{row}on")], "{toast}");
            root.send(&format!("{row}on"), "").await.expect(303);
        }

        // No link of a stranger offers it.
        let forged = to.replace("undo=1.", "undo=2.");
        let page = root.get(&forged).await.expect(200).text();
        assert!(page.contains("<p class=\"toast\">Disabled</p>"), "{page}");
        let other = Browser::login(&world.server, "root", ROOT_PASSWORD).await;
        let page = other.get(&to).await.expect(200).text();
        assert!(page.contains("<p class=\"toast\">Disabled</p>"), "{page}");
        // A batch that changes more than the state can't be taken back so.
        let to = root.send(batch, "id=1&status=1&weight=7&apply=1").await.expect(303);
        assert!(!to.header("location").unwrap().contains("undo="));
        world.close().await;
    }
}
