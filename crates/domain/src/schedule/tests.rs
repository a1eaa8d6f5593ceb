use super::*;

fn parsed(meters: &str, units: &str, tiers: &str) -> Schedule {
    Schedule::parse(meters, units, tiers).unwrap().unwrap_or_default()
}

fn tiers(tiers: &str) -> Schedule {
    parsed("", "", tiers)
}

#[test]
fn the_examples_of_the_documentation_are_read() {
    let schedule = parsed(
        r#"{"cache_write":1.25,"cache_write_1h":2,"audio_out":16,"reasoning":"1"}"#,
        r#"{"searches":5000,"seconds":600,"images":20000.5}"#,
        r#"[{"above":{"input":200000},"input":2,"output":1.5},
            {"at":"body:/size","is":"1792x1024","factor":1.67}]"#,
    );
    assert_eq!(schedule.worth_of(Meter::CacheWrite1h), Some("2".parse().unwrap()));
    assert_eq!(schedule.worth_of(Meter::Output), None);
    let units: Vec<_> =
        schedule.units().iter().map(|(it, price)| format!("{it} {price}")).collect();
    assert_eq!(units, ["searches 5000", "seconds 600", "images 20000.5"]);
    let told: Vec<_> = schedule.tiers().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["above 200000 input", "body:/size is 1792x1024"]);
    assert!(schedule.reads_requests());
}

#[test]
fn what_is_empty_is_no_schedule() {
    for (meters, units, tiers) in [("", "", ""), ("{}", " {} ", "[]"), ("null", "null", "null")] {
        assert_eq!(Schedule::parse(meters, units, tiers), Ok(None));
    }
}

#[test]
fn a_schedule_is_written_as_it_is_read() {
    let schedule = parsed(
        r#"{"cache_write":1.25}"#,
        r#"{"images":20000}"#,
        r#"[{"above":{"input":200000},"input":2,"factor":1.5},
            {"at":"body:/a~1b/size","not":["a",8,true],"images":1.67}]"#,
    );
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(
        json,
        r#"{"meters":{"cache_write":"1.25"},"units":{"images":"20000"},"tiers":"#.to_owned()
            + r#"[{"above":{"input":200000},"input":"2","factor":"1.5"},"#
            + r#"{"at":"body:/a~1b/size","not":["a","8","true"],"images":"1.67"}]}"#
    );
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    let [meters, units, tiers] = schedule.parts();
    assert_eq!(meters, r#"{"cache_write":1.25}"#);
    assert!(tiers.starts_with(r#"[{"above":{"input":200000},"input":2,"factor":1.5},"#), "{tiers}");
    assert_eq!(Schedule::parse(&meters, &units, &tiers), Ok(Some(schedule.clone())));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::from_value::<Schedule>(value).unwrap(), schedule);
}

#[test]
fn a_mistake_is_named() {
    let why = |meters: &str, units: &str, tiers: &str| {
        Schedule::parse(meters, units, tiers).unwrap_err().to_string()
    };
    let unknown = why(r#"{"cache_writ":1}"#, "", "");
    assert!(unknown.starts_with("meters.cache_writ is not known; there are cached, "), "{unknown}");
    assert!(unknown.ends_with("image_out, audio_out"), "{unknown}");
    for (meters, expected) in [
        ("{", "meters is not JSON: line 1 column 1"),
        ("[1]", "meters is not an object"),
        (r#"{"input":1}"#, "meters.input is what the others are measured in: ratio is its price"),
        (r#"{"total":1}"#, "meters.total is not known"),
        (r#"{"images":1}"#, "meters.images is not a count of tokens; units has its price"),
        (r#"{"output":-1}"#, "meters.output is outside 0 to 1000000"),
        (r#"{"output":1e3}"#, "meters.output is not a decimal number"),
        (r#"{"output":null}"#, "meters.output is not a decimal number"),
        (r#"{"output":1.0000001}"#, "meters.output is more than 6 decimal places"),
        (r#"{"output":1,"output":2}"#, "meters.output appears twice"),
    ] {
        assert!(why(meters, "", "").starts_with(expected), "{}", why(meters, "", ""));
    }
    assert!(why("", r#"{"output":1}"#, "").starts_with("units.output counts tokens"));
    assert!(why("", r#"{"image":1}"#, "").contains("searches, seconds, images, videos"));
    for (tiers, expected) in [
        ("{}", "tiers is not a list"),
        ("[1]", "tiers.0 is not an object"),
        (r#"[{"factor":2}]"#, "tiers.0 has to have above, or at with is, or at with not"),
        (r#"[{"at":"body:/a","factor":2}]"#, "tiers.0 has to have above"),
        (r#"[{"at":"body:/a","is":1,"not":2,"factor":2}]"#, "tiers.0 has to have above"),
        (r#"[{"at":"body:/a","is":1}]"#, "tiers.0 has no factor"),
        (r#"[{"at":"/a","is":1,"factor":2}]"#, "tiers.0.at is not body:/NAME"),
        (r#"[{"at":"query:","is":1,"factor":2}]"#, "tiers.0.at is not query:NAME"),
        (r#"[{"at":"query:a=b","is":1,"factor":2}]"#, "tiers.0.at is not query:NAME"),
        (r#"[{"at":"path:a/b","is":1,"factor":2}]"#, "tiers.0.at is not path:NAME"),
        (r#"[{"at":"body:/","is":1,"factor":2}]"#, "tiers.0.at has more than 8 names"),
        (r#"[{"at":"body:/a","is":[],"factor":2}]"#, "tiers.0.is has no word"),
        (r#"[{"at":"body:/a","is":null,"factor":2}]"#, "tiers.0.is has to be a text"),
        (r#"[{"at":"body:/a","is":{},"factor":2}]"#, "tiers.0.is has to be a text"),
        (r#"[{"above":{"input":1,"output":1},"factor":2}]"#, "tiers.0.above names one meter"),
        (r#"[{"above":{"size":1},"factor":2}]"#, "tiers.0.above.size is not known"),
        (r#"[{"above":{"input":1.5},"factor":2}]"#, "tiers.0.above.input is not a whole number"),
        (r#"[{"above":{"input":1},"outputs":2}]"#, "tiers.0.outputs is not known"),
        (
            r#"[{"above":{"input":9},"factor":3},{"above":{"input":5},"factor":2}]"#,
            "tiers.1 is above a lower count than a tier before it",
        ),
    ] {
        assert!(why("", "", tiers).starts_with(expected), "{}", why("", "", tiers));
    }
    let many = format!("[{}]", vec![r#"{"above":{"input":1},"factor":1}"#; 65].join(","));
    assert_eq!(why("", "", &many), "tiers has more than 64 tiers");
    let wide = (0..9).map(|n| format!(r#"{{"at":"body:/a{n}","is":1,"factor":1}}"#));
    let wide = format!("[{}]", wide.collect::<Vec<_>>().join(","));
    assert_eq!(why("", "", &wide), "tiers look at more than 8 things");
    let long = format!("{{\"output\":{}1}}", " ".repeat(16 * 1024));
    assert_eq!(why(&long, "", ""), "meters is longer than 16384 bytes");
}

#[test]
fn the_last_tier_that_holds_counts_of_those_that_look_at_the_same_thing() {
    let schedule = tiers(
        r#"[{"above":{"input":10},"factor":2},{"above":{"output":5},"factor":3},
            {"above":{"input":20},"factor":4}]"#,
    );
    let of = |input, cached, output| {
        let counted = [(Meter::Input, input), (Meter::Cached, cached), (Meter::Output, output)];
        let counted: Meters = counted.into_iter().collect();
        let holding = schedule.holding(&counted);
        holding.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(of(10, 0, 5), "");
    assert_eq!(of(6, 5, 5), "above 10 input", "the cached part is part of the input");
    assert_eq!(of(30, 0, 6), "above 5 output, above 20 input");
}

#[test]
fn tiers_of_a_request_are_chosen_by_what_it_says() {
    let schedule = tiers(
        r#"[{"at":"body:/size","not":["1024x1024"],"factor":1.5},
            {"at":"body:/size","is":["1792x1024","1024x1792"],"factor":1.67},
            {"at":"body:/seconds","is":8,"factor":2},
            {"above":{"input":10},"factor":3}]"#,
    );
    let of = |size: Option<&str>, seconds: Option<&str>| {
        let value = |at: &RequestMember| match at.names()[0].as_str() {
            "size" => size.map(str::to_owned),
            _ => seconds.map(str::to_owned),
        };
        let frozen = schedule.for_request(value);
        frozen.tiers().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(of(None, None), "above 10 input", "what is not said is in no tier");
    assert_eq!(of(Some("1024x1024"), Some("4")), "above 10 input");
    assert_eq!(of(Some("512x512"), None), "body:/size is not 1024x1024, above 10 input");
    let large = "body:/size is 1792x1024 or 1024x1792";
    for size in ["1792x1024", " 1792X1024 "] {
        assert_eq!(of(Some(size), None), format!("{large}, above 10 input"));
    }
    for eight in ["8", "8.0", "8e0", "0.8E+1", " 80e-1 "] {
        assert_eq!(of(None, Some(eight)), "body:/seconds is 8, above 10 input", "{eight}");
    }
    for other in ["8.5", "-8", "80", "08", "eight", "8e99999999999"] {
        assert_eq!(of(None, Some(other)), "above 10 input", "{other}");
    }
}

#[test]
fn a_factor_counts_for_what_is_below_its_meter() {
    let schedule = tiers(r#"[{"above":{"input":0},"input":2,"cached":3,"factor":5}]"#);
    let of = |meter| schedule.tiers()[0].factor_of(meter).map(|it| it.to_string()).unwrap();
    assert_eq!(of(Meter::CacheWrite1h), "2");
    assert_eq!(of(Meter::Cached), "3");
    assert_eq!(of(Meter::Reasoning), "5");
    assert_eq!(of(Meter::Images), "5");
}
