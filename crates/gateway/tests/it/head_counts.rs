//! What an API counts in the headers of its replies, by a protocol of the operator's own.

use crate::world::{Payer, World};
use testkit::{Answer, Reply, TestDb, json, on_both_databases};

/// Speech by the character, as a header counts them; the body is sound.
const SPEECH: &str = r#"
name = "speech"
title = { zh = "语音", en = "Speech" }

[auth]
header = "xi-api-key"

[[route]]
match = "POST /v1/text-to-speech/{voice}"
model = ["body:/model_id", "default:multilingual"]

[hold.units]
characters = "/text/#"

[usage.meters]
characters = "header:character-cost"
"#;

const SPEAK: &str = "/pass/v1/text-to-speech/george";
const UPSTREAM: &str = "/v1/text-to-speech/george";

async fn speaker(db: TestDb) -> (World, Payer) {
    let world = World::open(db).await;
    world.admin().post("/api/protocol", &json!({"document": SPEECH})).await;
    world.channel(&["flash"], json!({"protocol": "speech", "key": "up-key"})).await;
    world.admin().price("flash", json!({"units": {"characters": 3}})).await;
    let ann = world.payer(100_000).await;
    (world, ann)
}

async fn speak(world: &World, ann: &Payer) -> Answer {
    let text = json!({"model_id": "flash", "text": "Guten Tag."});
    world.server.post(SPEAK, &ann.key, &text).await.expect(200)
}

fn sound(length: usize) -> Reply {
    Reply::bytes("audio/mpeg", vec![0xff; length])
}

on_both_databases! {
    async fn a_header_of_the_reply_is_the_count(db: TestDb) {
        let (world, ann) = speaker(db).await;
        let mut used = 0;
        // Small, and so long that it flows.
        for (length, said, count) in [(100, "5", 5), (3_000_000, "7", 7), (100, "4.0", 4)] {
            let reply = sound(length).header("Character-Cost", said);
            world.upstream.on(UPSTREAM, reply);
            let answer = speak(&world, &ann).await;
            assert_eq!(answer.header("character-cost").as_deref(), Some(said));
            assert_eq!(answer.body.len(), length);
            used += 3 * count;
            world.wait_for_money(&ann, 100_000 - used, used).await;
        }
        world.close().await;
    }

    async fn a_header_that_is_no_count_leaves_what_was_asked_for(db: TestDb) {
        let (world, ann) = speaker(db).await;
        let mut used = 0;
        let many = "9".repeat(400);
        for odd in ["", "-5", "1e9", "0x10", "5 characters", "99999999999", &many, "5, 5"] {
            world.upstream.on(UPSTREAM, sound(100).header("character-cost", odd));
            speak(&world, &ann).await;
            used += 30;
            world.wait_for_money(&ann, 100_000 - used, used).await;
        }
        // Two that say different things, and none at all.
        let two = sound(100).header("character-cost", "5").header("character-cost", "6");
        for reply in [two, sound(100)] {
            world.upstream.on(UPSTREAM, reply);
            speak(&world, &ann).await;
            used += 30;
            world.wait_for_money(&ann, 100_000 - used, used).await;
        }
        // A failure is none, whatever it counts.
        let failed = Reply::json(&json!({"detail": "busy"})).status(400);
        world.upstream.on(UPSTREAM, failed.header("character-cost", "5"));
        let text = json!({"model_id": "flash", "text": "Guten Tag."});
        world.server.post(SPEAK, &ann.key, &text).await.expect(400);
        assert_eq!(world.money(&ann).await.used, used);
        world.close().await;
    }

    async fn a_trial_reads_the_headers(db: TestDb) {
        let world = World::open(db).await;
        let call = json!({
            "document": SPEECH, "call": "POST /v1/text-to-speech/george", "request": "{}",
            "reply": "ID3", "content_type": "audio/mpeg",
            "headers": "Date: today\nCharacter-Cost: 12\n",
        });
        let tried = world.admin().try_post("/api/protocol/try", &call).await.expect(200);
        assert!(tried.text().contains(r#""meters":{"characters":12}"#), "{}", tried.text());
        world.close().await;
    }
}
