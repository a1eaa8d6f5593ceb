//! A disk that is slow, and one that fails: nothing is answered that is not on it.

use crate::world::{World, fixed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testkit::{Reply, TestDb, eventually};

/// How long a slow sync takes at least, as `slow_disk.c` has it.
const SYNC: Duration = Duration::from_millis(300);

/// The server's `fdatasync`, as files in a directory say.
struct SlowDisk {
    dir: PathBuf,
    library: String,
}

impl SlowDisk {
    fn build(db: &TestDb) -> Self {
        let dir = db.dir().join("slow-disk");
        std::fs::create_dir(&dir).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slow_disk.c");
        let library = dir.join("slow_disk.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(cc.status().unwrap().success(), "a compiler, as the linker of the tests");
        Self { dir, library: library.display().to_string() }
    }

    async fn world(&self, db: TestDb) -> World {
        let dir = self.dir.display().to_string();
        World::with(db, &[("LD_PRELOAD", &self.library), ("SLOW_DISK", &dir)]).await
    }

    fn begins(&self, what: &str) {
        std::fs::write(self.dir.join(what), "").unwrap();
    }

    fn ends(&self, what: &str) {
        std::fs::remove_file(self.dir.join(what)).unwrap();
    }
}

on_sqlite! {
    // A hold is on the disk before its call is sent, and a charge before its reply has ended: each
    // of them begins a sync of its own, which takes as long as it is made to take here.
    async fn nothing_is_answered_before_it_is_on_the_disk(db: TestDb) {
        let disk = SlowDisk::build(&db);
        let world = disk.world(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        disk.begins("slow");
        for paid in 1..=3 {
            let began = Instant::now();
            world.pay("m", &ann).await.expect(200);
            let took = began.elapsed();
            assert!(took >= SYNC * 2, "call {paid} was answered after {took:?}");
        }
        disk.ends("slow");
        world.close().await;
        assert_eq!(world.money(&ann).await.used, 30);
    }

    async fn a_disk_that_fails_sells_nothing(db: TestDb) {
        let disk = SlowDisk::build(&db);
        let world = disk.world(db).await;
        world.model("m", fixed(10), Reply::text("ok")).await;
        let ann = world.payer(100).await;
        world.pay("m", &ann).await.expect(200);

        disk.begins("broken");
        let refused = world.pay("m", &ann).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(world.upstream.count(), 1, "nothing is sent for a hold that may be lost");

        disk.ends("broken");
        eventually("a disk that works to be used", || async {
            Some(world.pay("m", &ann).await).filter(|answer| answer.status == 200)
        })
        .await;
        world.close().await;
        assert_eq!(world.money(&ann).await.used, 20);
    }
}
