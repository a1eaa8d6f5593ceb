//! People who log in: sessions, what guards them, and what ends them.

use crate::world::World;
use testkit::server::ROOT_PASSWORD;
use testkit::{Answer, Call, Server, TestDb, json, on_both_databases};

/// A browser that is logged in.
struct Browser<'a> {
    server: &'a Server,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    async fn login(server: &'a Server, username: &str, password: &str) -> Self {
        let answer = try_login(server, username, password).await.expect(200);
        let set = answer.headers["set-cookie"].to_str().unwrap();
        for guard in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(set.contains(guard), "{set}");
        }
        assert!(!set.contains("Secure"), "this call came over plain http: {set}");
        let cookie = set.split(';').next().unwrap().to_owned();
        let csrf = answer.json()["data"]["csrf_token"].as_str().unwrap().to_owned();
        Self { server, cookie, csrf }
    }

    /// A call as another site could make the browser send it.
    fn forged(&self, method: &str, path: &str) -> Call {
        self.server.call(method, path).header("Cookie", &self.cookie)
    }

    fn call(&self, method: &str, path: &str) -> Call {
        self.forged(method, path).header("X-CSRF-Token", &self.csrf)
    }

    /// The status of a look at oneself.
    async fn status(&self) -> u16 {
        self.forged("GET", "/api/user/self").send().await.status
    }
}

async fn try_login(server: &Server, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    server.call("POST", "/api/user/login").json(&body).send().await
}

/// A new user with this name and the password `a good password`.
async fn person(world: &World, username: &str) -> i64 {
    let user = json!({ "username": username, "password": "a good password" });
    world.admin().user(user).await
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].to_string()
}

on_both_databases! {
    async fn a_session_lives_until_it_is_ended(db: TestDb) {
        let world = World::open(db).await;
        let id = person(&world, "ann").await;
        let ann = Browser::login(&world.server, "ann", "a good password").await;
        let own = ann.forged("GET", "/api/user/self").send().await.expect(200);
        assert_eq!(own.json()["data"]["id"], id);
        ann.forged("GET", "/api/user").send().await.expect(403);

        let key = json!({ "name": "k", "unlimited_quota": true, "expired_time": -1 });
        ann.forged("POST", "/api/token").json(&key).send().await.expect(403);
        let wrong = ann.forged("POST", "/api/token").header("X-CSRF-Token", "x");
        wrong.json(&key).send().await.expect(403);
        ann.call("POST", "/api/token").json(&key).send().await.expect(200);
        ann.forged("GET", "/api/user/token").send().await.expect(403);

        let other = Browser::login(&world.server, "ann", "a good password").await;
        let theirs = ann.forged("POST", "/api/token").header("X-CSRF-Token", &other.csrf);
        theirs.json(&key).send().await.expect(403);
        other.call("POST", "/api/user/logout").send().await.expect(200);
        assert_eq!((ann.status().await, other.status().await), (200, 401));

        let admin = world.admin();
        let disable = admin.call("POST", &format!("/api/user/{id}/disable"));
        disable.send().await.expect(200);
        assert_eq!(ann.status().await, 401);
        let enable = admin.call("POST", &format!("/api/user/{id}/enable"));
        enable.send().await.expect(200);
        assert_eq!(ann.status().await, 401, "what has ended doesn't come back");
        world.close().await;
    }

    async fn a_new_password_ends_the_other_sessions(db: TestDb) {
        let world = World::open(db).await;
        let id = person(&world, "ann").await;
        let here = Browser::login(&world.server, "ann", "a good password").await;
        let there = Browser::login(&world.server, "ann", "a good password").await;
        let change = |old: &str, new: &str| {
            let body = json!({ "old_password": old, "new_password": new });
            here.call("PUT", "/api/user/self/password").json(&body).send()
        };
        change("a wrong password", "a better password").await.expect(422);
        change("a good password", "short").await.expect(422);
        let actions = world.admin().envelope("/api/audit/actions").await;
        let line = &actions["data"][0];
        assert_eq!(line["other"]["action"], "user.password_refused", "{actions}");
        assert_eq!((&line["other"]["address"], &line["other"]["reason"]), (
            &json!("127.0.0.1"), &json!("wrong_password"),
        ));
        assert_eq!(line["user_id"], id);
        world.server.wait_for_log(&["password_refused", "username=ann", "127.0.0.1"]).await;
        assert_eq!(there.status().await, 200);
        change("a good password", "a better password").await.expect(200);
        assert_eq!((here.status().await, there.status().await), (200, 401));
        try_login(&world.server, "ann", "a good password").await.expect(401);

        let user = json!({ "password": "the best password" });
        world.admin().put(&format!("/api/user/{id}"), &user).await;
        assert_eq!(here.status().await, 401);
        Browser::login(&world.server, "ann", "the best password").await;
        world.close().await;
    }

    async fn an_access_token_is_its_owners_and_ends_with_the_password(db: TestDb) {
        let world = World::open(db).await;
        let id = person(&world, "ann").await;
        let ann = Browser::login(&world.server, "ann", "a good password").await;
        let token = |answer: Answer| answer.json()["data"].as_str().unwrap().to_owned();
        let works = async |token: &str| {
            world.server.call("GET", "/api/user/self").key(token).send().await.status == 200
        };
        let first = token(ann.call("POST", "/api/user/self/token").send().await.expect(200));
        assert!(works(&first).await);

        // A session that was left open makes none.
        let earlier = if world.db.is_postgres() {
            "created_at - interval '11 minutes'"
        } else {
            "created_at - 660000"
        };
        world.db.execute(&format!("UPDATE sessions SET created_at = {earlier}")).await;
        let own = format!("/api/user/{id}/token");
        for (method, path) in
            [("POST", "/api/user/self/token"), ("GET", "/api/user/token"), ("POST", &own)]
        {
            let refused = ann.call(method, path).send().await;
            // Their own number is for administrators' calls.
            let expected = if path == own { 403 } else { 422 };
            assert_eq!(refused.status, expected, "{path}: {}", refused.text());
        }
        let with = |password: &str| {
            let body = json!({ "password": password });
            ann.call("POST", "/api/user/self/token").json(&body).send()
        };
        assert!(message(&with("a wrong password").await.expect(422)).contains("password"));
        assert!(works(&first).await, "nothing has changed");
        let second = token(with("a good password").await.expect(200));
        assert!(!works(&first).await && works(&second).await);
        // Whoever has it may have it changed.
        let third = world.server.call("GET", "/api/user/token").key(&second).send().await;
        let third = token(third.expect(200));

        let change = json!({ "old_password": "a good password", "new_password": "another one 42" });
        ann.call("PUT", "/api/user/self/password").json(&change).send().await.expect(200);
        assert!(!works(&third).await, "it ends with the password it was made under");
        let fourth = crate::setup_rules::access_token(&world, id).await;
        assert!(works(&fourth).await);
        world.admin().put(&format!("/api/user/{id}"), &json!({"password": "a third one 42"})).await;
        assert!(!works(&fourth).await);
        world.close().await;
    }

    async fn one_of_several_sessions_is_ended(db: TestDb) {
        let world = World::open(db).await;
        person(&world, "ann").await;
        person(&world, "bob").await;
        let here = Browser::login(&world.server, "ann", "a good password").await;
        let there = Browser::login(&world.server, "ann", "a good password").await;
        let bob = Browser::login(&world.server, "bob", "a good password").await;
        let list = here.forged("GET", "/api/user/self/sessions").send().await.expect(200).json();
        let all = list["data"].as_array().unwrap();
        assert_eq!(all.len(), 2, "{list}");
        let other = all.iter().find(|session| session["current"] == false).unwrap();
        let path = format!("/api/user/self/sessions/{}", other["id"].as_str().unwrap());
        bob.call("DELETE", &path).send().await.expect(404);
        here.forged("DELETE", &path).send().await.expect(403);
        here.call("DELETE", &path).send().await.expect(200);
        here.call("DELETE", &path).send().await.expect(404);
        assert_eq!((here.status().await, there.status().await), (200, 401));
        world.close().await;
    }

    async fn guessing_is_slowed_down(db: TestDb) {
        let world = World::open(db).await;
        person(&world, "ann").await;
        let wrong = try_login(&world.server, "ann", "a wrong password").await.expect(401);
        let nobody = try_login(&world.server, "nobody", "a wrong password").await.expect(401);
        assert_eq!(message(&wrong), message(&nobody));
        let mut refused = None;
        for _ in 0..12 {
            let answer = try_login(&world.server, "ann", "a wrong password").await;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
            answer.expect(401);
        }
        let refused = refused.expect("the name's attempts were used up");
        let seconds: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=7).contains(&seconds), "{seconds}");
        try_login(&world.server, "nobody", "a wrong password").await.expect(401);
        world.close().await;
    }
}

on_both_databases! {
    async fn who_guesses_a_name_does_not_lock_its_owner_out(db: TestDb) {
        let world = World::with(db, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
        let (root, wrong) = (ROOT_PASSWORD, "a wrong password");
        let login = async |from: &str, password: &str| {
            let login = world.server.call("POST", "/api/user/login");
            let login = login.header("X-Forwarded-For", from);
            login.json(&json!({"username": "root", "password": password})).send().await.status
        };
        let (office, abroad, home) = ("203.0.113.1", "198.51.100.1", "192.0.2.1");
        assert_eq!(login(office, root).await, 200);
        let mut tries = 0;
        while login(abroad, wrong).await != 429 {
            tries += 1;
            assert!(tries < 25, "the name's attempts were used up");
        }
        assert_eq!(login(home, root).await, 429, "nothing is known of this network");
        assert_eq!(login(office, root).await, 200);
        world.close().await;
    }

    async fn another_site_logs_nobody_in(db: TestDb) {
        let world = World::open(db).await;
        let login = json!({"username": "root", "password": ROOT_PASSWORD});
        for (site, status) in
            [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
        {
            let call = world.server.call("POST", "/api/user/login").header("Sec-Fetch-Site", site);
            let answer = call.json(&login).send().await.expect(status);
            assert_eq!(answer.header("Set-Cookie").is_some(), status == 200, "{site}");
        }
        world.close().await;
    }

    async fn failed_logins_are_seen_by_administrators(db: TestDb) {
        let world = World::open(db).await;
        let ann = person(&world, "ann").await;
        for _ in 0..12 {
            assert_ne!(try_login(&world.server, "ann", "a wrong password").await.status, 200);
        }
        // A user types the password into the name field.
        try_login(&world.server, "a good password", "ann").await.expect(401);

        let actions = world.admin().envelope("/api/audit/actions").await;
        let lines = actions["data"].as_array().unwrap().iter();
        let lines = lines.filter(|line| line["other"]["action"] == "user.login_failed");
        let mut told: Vec<_> = lines
            .map(|line| {
                assert_eq!(line["other"]["address"], "127.0.0.1", "{line}");
                let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let id = line["user_id"].as_i64().unwrap();
                (id, text(&line["username"]), text(&line["other"]["reason"]))
            })
            .collect();
        told.sort_unstable();
        let expected = [
            (0, "a g…", "wrong_password"),
            (ann, "ann", "too_many_attempts"),
            (ann, "ann", "wrong_password"),
        ];
        let expected = expected.map(|(id, name, why)| (id, name.to_owned(), why.to_owned()));
        assert_eq!(told, expected, "each once");
        let words = ["login_failed", "username=ann", "address=127.0.0.1", "reason=wrong_password"];
        world.server.wait_for_log(&words).await;
        world.server.wait_for_log(&["login_failed", "reason=too_many_attempts"]).await;
        let log = world.server.log_lines().join("\n");
        assert!(!log.contains("a wrong password") && !log.contains("a good"), "{log}");
        assert_eq!(log.matches("reason=too_many_attempts").count(), 1, "{log}");
        world.close().await;
    }
}

on_sqlite! {
    async fn over_https_the_cookie_stays_on_https(db: TestDb) {
        let world = World::with(db, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
        person(&world, "ann").await;
        let body = json!({ "username": "ann", "password": "a good password" });
        let call = world.server.call("POST", "/api/user/login").json(&body);
        let answer = call.header("X-Forwarded-Proto", "https").send().await.expect(200);
        let set = answer.headers["set-cookie"].to_str().unwrap();
        assert!(set.contains("; Secure"), "{set}");
        world.close().await;
    }
}
