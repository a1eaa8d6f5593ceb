//! What is read about a task is what `serde_json` reads in its element, and in no other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use std::collections::HashMap;
use upstream::task_reply::{Odd, RequestedIds, read_reply};

const IDS: [&str; 4] = ["a", "7", "b c", "a"];

fuzz_target!(|body: &[u8]| {
    let asked: RequestedIds<'_> = IDS.into_iter().collect();
    let mut told = Vec::new();
    let read = read_reply(body, &asked, |place, element| {
        assert!(element.status().chars().count() <= 64 && element.progress().chars().count() <= 64);
        assert!(element.reason().chars().count() <= 1_000);
        assert!(![element.status(), element.reason()].concat().chars().any(char::is_control));
        let _ = element.usage();
        let kept = element.kept();
        // Within a member there may be texts that no String can hold.
        let members: HashMap<String, &RawValue> = serde_json::from_str(&kept).expect("JSON");
        told.push((place, element.fingerprint(), members["task_id"].get().to_owned()));
    });
    let Ok(Odd { missing, .. }) = read else { return };
    assert_eq!(missing + told.len(), IDS.len());
    for (at, (place, fingerprint, id)) in told.iter().enumerate() {
        assert!(told[..at].iter().all(|(other, ..)| other != place), "told twice");
        let id = serde_json::from_str::<String>(id).unwrap_or_else(|_| id.clone());
        assert_eq!(id, IDS[*place]);
        // Two tasks with the same id get the same element of the reply.
        let same = told.iter().filter(|(other, ..)| IDS[*other] == IDS[*place]);
        assert!(same.into_iter().all(|(_, other, _)| other == fingerprint));
    }
});
