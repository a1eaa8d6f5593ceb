use super::*;

/// What was reported: the position, the status, progress, reason and prompt tokens.
type Reports = Vec<(usize, String, String, String, Option<i64>)>;

fn read(body: &str, requested: &[&str]) -> Result<(Reports, Odd), Unreadable> {
    let mut reports = Reports::new();
    let requested: RequestedIds<'_> = requested.iter().copied().collect();
    let odd = read_reply(body.as_bytes(), &requested, |place, element| {
        let usage = element.usage().ok().flatten().map(|usage| usage.prompt_tokens);
        reports.push((place, element.status(), element.progress(), element.reason(), usage));
    })?;
    Ok((reports, odd))
}

fn row(place: usize, word: &str, progress: &str, reason: &str, usage: Option<i64>) -> Reports {
    vec![(place, word.to_owned(), progress.to_owned(), reason.to_owned(), usage)]
}

fn odd(malformed: usize, strangers: usize, duplicates: usize, missing: usize) -> Odd {
    Odd { malformed, strangers, duplicates, missing }
}

fn element(json: &str, tell: impl FnOnce(&Element<'_>)) {
    let raw: &RawValue = serde_json::from_str(json).unwrap();
    tell(&Element::read(raw).unwrap().1);
}

#[test]
fn reads_replies_of_the_contract() {
    let body = r#"{"code":0,"message":"ok","data":[{"task_id":"a","status":"completed",
        "progress":"100%","error":null,"result":{"url":"u"},
        "usage":{"prompt_tokens":7,"completion_tokens":1}}]}"#;
    assert_eq!(read(body, &["a"]), Ok((row(0, "completed", "100%", "", Some(7)), odd(0, 0, 0, 0))));
    let body = r#"{"code":"0","data":[{"task_id":12,"status":"failed","progress":5,
        "error":{"code":"x","message":"no \"cat\""}}]}"#;
    assert_eq!(read(body, &["12"]).unwrap().0, row(0, "failed", "5", "no \"cat\"", None));
    let body =
        "\u{feff} {\"data\":[{\"task_id\":\"a\",\"status\":\"\\u0064one\",\"error\":\"e\"}]}";
    assert_eq!(read(body, &["a"]).unwrap().0, row(0, "done", "", "e", None));
}

#[test]
fn one_bad_element_harms_no_other() {
    for bad in [
        "7",
        "null",
        "[]",
        r#"["a","done"]"#,
        "{}",
        r#"{"task_id":"a"}"#,
        r#"{"task_id":"a","status":null}"#,
        r#"{"task_id":"a","status":3}"#,
        r#"{"task_id":"a","status":{"x":1}}"#,
        r#"{"task_id":["a"],"status":"done"}"#,
        r#"{"task_id":true,"status":"done"}"#,
        r#"{"task_id":"a","status":"done","status":"failed"}"#,
        r#"{"task_id":"a","status":"\ud800"}"#,
    ] {
        let body = format!(r#"{{"code":0,"data":[{bad},{{"task_id":"b","status":"done"}}]}}"#);
        let found = read(&body, &["a", "b"]).unwrap();
        assert_eq!(found, (row(1, "done", "", "", None), odd(1, 0, 0, 1)), "{bad}");
    }
}

#[test]
fn strangers_missing_and_repeated_ones_are_counted() {
    let body = r#"{"code":0,"data":[{"task_id":"x","status":"done"},
        {"task_id":"a","status":"done"},{"task_id":"a","status":"failed"}]}"#;
    let found = read(body, &["a", "b"]).unwrap();
    assert_eq!(found, (row(0, "done", "", "", None), odd(0, 1, 1, 1)));
    assert_eq!(read(r#"{"code":0,"data":[]}"#, &["a"]).unwrap().1, odd(0, 0, 0, 1));
    assert_eq!(read(r#"{"code":0,"data":null}"#, &["a"]).unwrap().1, odd(0, 0, 0, 1));
}

#[test]
fn two_tasks_of_one_id_get_the_same_report() {
    let body = r#"{"code":0,"data":[{"task_id":"a","status":"done"}]}"#;
    let (reports, odd) = read(body, &["a", "b", "a"]).unwrap();
    let mut places: Vec<_> = reports.iter().map(|report| report.0).collect();
    places.sort_unstable();
    assert_eq!((places, odd.missing), (vec![0, 2], 1));
}

#[test]
fn unusable_replies_are_errors() {
    use Unreadable::{Code, NoData, NotJson};
    for (body, why) in [
        ("", NotJson),
        ("<html>", NotJson),
        ("[0,[]]", NotJson),
        ("{\"code\":0,\"data\":[{}", NotJson),
        ("{\"code\":0,\"data\":[]} x", NotJson),
        ("{\"code\":0}", NoData),
        ("{\"code\":0,\"data\":{}}", NoData),
        ("{\"code\":0,\"data\":\"[]\"}", NoData),
        ("{\"code\":1,\"data\":[]}", Code("1".into())),
        ("{\"code\":\"00\",\"data\":[]}", Code("\"00\"".into())),
        ("{\"code\":true,\"data\":[]}", Code("true".into())),
    ] {
        assert_eq!(read(body, &["a"]), Err(why), "{body}");
    }
    for zero in ["0", "\"0\"", "0.0", "-0", "0e5", "null"] {
        assert!(read(&format!("{{\"code\":{zero},\"data\":[]}}"), &["a"]).is_ok(), "{zero}");
    }
    let noise = format!("{{\"data\":[{}1]}}", "1,".repeat(MAX_ODD));
    assert_eq!(read(&noise, &["a"]), Err(Unreadable::Noise));
}

#[test]
fn usage_that_can_not_be_billed_is_an_error() {
    for (usage, billed) in [
        (r#"{"prompt_tokens":0}"#, Ok(Some(0))),
        ("null", Ok(None)),
        (r#"{"prompt_tokens":-1}"#, Err(())),
        (r#"{"prompt_tokens":1e30}"#, Err(())),
        ("{}", Ok(None)),
        (r#"{"seconds":5}"#, Ok(None)),
        ("[]", Err(())),
        ("\"7\"", Err(())),
    ] {
        element(&format!(r#"{{"task_id":1,"status":"done","usage":{usage}}}"#), |element| {
            let found = element.usage().map(|usage| usage.map(|usage| usage.prompt_tokens));
            assert_eq!(found.map_err(drop), billed, "{usage}");
        });
    }
}

#[test]
fn long_and_unstorable_texts_are_cut() {
    let word = format!("\\u0000{}", "字".repeat(100));
    let json = format!(r#"{{"task_id":1,"status":"{word}","error":[{}0]}}"#, "1,".repeat(2000));
    element(&json, |element| {
        assert_eq!(element.status(), format!(" {}", "字".repeat(63)));
        assert_eq!(element.reason().chars().count(), MAX_REASON);
    });
    let large = "x".repeat(MAX_KEPT);
    let json = format!(r#"{{"task_id":1,"status":"done","result":"{large}"}}"#);
    element(&json, |element| {
        let kept = r#"{"task_id":1,"status":"done","progress":null,"result":null}"#;
        assert_eq!(element.kept(), kept);
    });
}

#[test]
fn a_fingerprint_is_of_what_is_said_and_nothing_else() {
    let of = |json: &str| {
        let mut found = 0;
        element(json, |element| found = element.fingerprint());
        found
    };
    let first = of(r#"{"task_id":1,"status":"a","progress":"b"}"#);
    assert_eq!(first, of(r#"{"progress":"b","x":9,"status":"a","task_id":2,"error":null}"#));
    assert_ne!(first, of(r#"{"task_id":1,"status":"a","error":"b"}"#));
    assert_ne!(first, of(r#"{"task_id":1,"status":"a","progress":"b","result":{}}"#));
}

#[test]
fn a_number_is_distinguished_from_a_text() {
    for (json, number) in [
        (r#"{"task_id":12}"#, true),
        (r#"{"task_id":"12"}"#, false),
        (r#"{"task_id":null}"#, false),
        ("[]", false),
        ("", false),
    ] {
        assert_eq!(Element::id_is_number(json), number, "{json}");
    }
}
