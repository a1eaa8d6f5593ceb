//! What the diagnostics port reports about a server under load.

use crate::world::{World, fixed};
use flate2::read::GzDecoder;
use pprof::protos::{Message, Profile};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use testkit::{Answer, Call, Gate, Reply, TestDb, ports::free_port};

/// A world whose diagnostics can be asked.
struct Looked {
    world: World,
    address: SocketAddr,
}

impl Looked {
    async fn at(db: TestDb) -> Self {
        let port = free_port();
        let settings = [("ENABLE_PPROF", "true"), ("PPROF_PORT", &*port.to_string())];
        let world = World::with(db, &settings).await;
        Self { world, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }

    async fn ask(&self, target: &str) -> Answer {
        Call::new(self.address, "GET", &format!("/debug/pprof/{target}")).send().await
    }

    async fn jobs(&self) -> String {
        self.ask("goroutine?debug=1").await.expect(200).text()
    }

    async fn profile(&self, target: &str) -> Profile {
        decoded(&self.ask(target).await.expect(200))
    }
}

fn decoded(answer: &Answer) -> Profile {
    let mut bytes = Vec::new();
    GzDecoder::new(&*answer.body).read_to_end(&mut bytes).unwrap();
    Profile::decode(&*bytes).unwrap()
}

/// The names of the functions in which `profile` has stacks.
fn names(profile: &Profile) -> Vec<&str> {
    profile.function.iter().map(|function| text(profile, function.name)).collect()
}

/// Expects that our functions have names, and that the binary is listed with its file.
fn expect_ours(profile: &Profile, crates: &[&str]) {
    let names = names(profile);
    for ours in crates {
        assert!(names.iter().any(|name| name.starts_with(ours)), "{ours} in {names:?}");
    }
    let binary = |name: &str| name.ends_with("/newapi");
    let mapping = profile.mapping.iter().find(|mapping| binary(text(profile, mapping.filename)));
    let mapping = mapping.unwrap();
    assert!(mapping.has_functions, "{mapping:?}");
    let inside = |address| (mapping.memory_start..mapping.memory_limit).contains(&address);
    assert!(profile.location.iter().any(|location| inside(location.address)));
}

/// The text that a profile's number stands for.
fn text(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).unwrap()]
}

on_sqlite! {
    async fn the_jobs_alive_are_listed_by_kind_and_place(db: TestDb) {
        let looked = Looked::at(db).await;
        let world = &looked.world;
        let gate = Gate::new();
        world.model("m", fixed(9), Reply::text("ok").gated(&gate)).await;
        let ann = world.payer(10).await;
        assert!(!looked.jobs().await.contains("call without its client"));

        // A client that goes while its call is under way leaves a job behind.
        let call = world.server.call("POST", "/pass/m").key(&ann.key).body("a private prompt");
        let client = tokio::spawn(call.try_send());
        testkit::eventually("the call to arrive", || async {
            (!world.upstream.requests().await.is_empty()).then_some(())
        })
        .await;
        client.abort();
        let jobs = testkit::eventually("the job to be listed", || async {
            Some(looked.jobs().await).filter(|jobs| jobs.contains("1 call without its client, "))
        })
        .await;

        assert!(jobs.starts_with("goroutine profile: total "), "{jobs}");
        for known in ["accept loop", "sweep", "poller", "webhooks", "relay/src/client_link.rs:"] {
            assert!(jobs.contains(known), "{known} in {jobs}");
        }
        for secret in ["private prompt", &ann.key] {
            assert!(!jobs.contains(secret), "{secret} in {jobs}");
        }
        let profile = looked.profile("goroutine").await;
        let kinds = names(&profile);
        assert!(kinds.contains(&"call without its client"), "{kinds:?}");
        assert_eq!(text(&profile, profile.sample_type[0].ty), "goroutine");
        assert!(profile.sample.iter().all(|sample| sample.value[0] > 0));

        gate.open();
        testkit::eventually("the job to end", || async {
            (!looked.jobs().await.contains("call without its client")).then_some(())
        })
        .await;
        world.wait_for_money(&ann, 1, 9).await;
        looked.world.close().await;
    }

    async fn processor_time_is_sampled_by_one_at_a_time(db: TestDb) {
        let looked = Looked::at(db).await;
        let world = &looked.world;
        world.model("m", fixed(0), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        // Whichever comes first takes its profile; the other is refused.
        let ask = || looked.ask("profile?seconds=2");
        let asking = async { tokio::join!(ask(), ask()) };
        let calling = async {
            loop {
                let call = world.server.call("POST", "/pass/m").key(&ann.key).body("{}");
                call.send().await.expect(200);
            }
        };
        let (one, other) = tokio::select! {
            answers = asking => answers,
            () = calling => unreachable!("it calls for ever"),
        };
        let (taken, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        refused.expect_error(409, "CONFLICT");
        let profile = decoded(&taken.expect(200));
        let cpu = &profile.sample_type[1];
        assert_eq!((text(&profile, cpu.ty), text(&profile, cpu.unit)), ("cpu", "nanoseconds"));
        assert!(profile.duration_nanos >= 2_000_000_000, "{}", profile.duration_nanos);
        for sample in &profile.sample {
            assert_eq!(sample.value[1], sample.value[0] * profile.period);
        }
        expect_ours(&profile, &["newapi::", "relay::"]);
        // The measuring itself is left out; what it has interrupted in the kernel is not.
        let names = names(&profile);
        assert!(!names.contains(&"perf_signal_handler"), "{names:?}");
        let in_kernel = ["epoll_wait", "syscall", "write", "writev", "__recv", "fdatasync"];
        assert!(in_kernel.iter().any(|name| names.contains(name)), "{names:?}");
        for wrong in ["0", "61", "x", "-1"] {
            let target = format!("profile?seconds={wrong}");
            looked.ask(&target).await.expect_error(400, "INVALID_REQUEST");
        }
        looked.ask("nothing").await.expect_error(404, "NOT_FOUND");
        looked.world.close().await;
    }

    async fn a_heap_profile_needs_the_allocator_that_makes_it(db: TestDb) {
        let looked = Looked::at(db).await;
        if cfg!(feature = "jemalloc") {
            // The first one, of a server that has only just started.
            let profile = looked.profile("heap").await;
            assert!(profile.sample.iter().map(|sample| sample.value[0]).sum::<i64>() > 0);
            expect_ours(&profile, &["store::"]);
        } else {
            let refused = looked.ask("heap").await.expect_error(501, "UNSUPPORTED");
            assert!(refused.text().contains("--features jemalloc"), "{}", refused.text());
        }
        looked.world.close().await;
    }
}
