//! A disk that is full, a database that takes no writes, and who may read what is on the disk.

use crate::world::{World, fixed, skipped};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Answer, Reply, TestDb, eventually};

/// As much as the log of SQLite, its database and those of the process need, and little more.
const SMALL: &str = "size=48m";
const KILL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND application_name = 'newapi'";

/// A file system in memory with a size of [`SMALL`]. Unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Over this directory, where this process may.
    fn over(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SMALL, "tmpfs"]).arg(dir);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(dir.to_owned()))
    }

    /// Leaves no room.
    fn fill(&self) {
        let _ = std::io::copy(
            &mut std::io::repeat(b'x'),
            &mut std::fs::File::create(self.0.join("fill")).unwrap(),
        );
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn readiness(world: &World) -> Answer {
    world.server.call("GET", "/readyz").send().await
}

/// Waits for readiness to say this.
async fn wait_for_readiness(world: &World, status: u16, word: &str) {
    eventually(&format!("readiness to be {status} {word}"), || async {
        let answer = readiness(world).await;
        (answer.status == status && answer.text().contains(word)).then_some(())
    })
    .await;
}

on_sqlite! {
    async fn a_full_disk_is_not_ready(db: TestDb) {
        let Some(disk) = SmallDisk::over(db.dir()) else {
            skipped("this process can't mount a file system");
            return;
        };
        let world = World::open(db).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(1_000_000).await;
        world.pay("m", &ann).await.expect(200);
        wait_for_readiness(&world, 200, "ready").await;

        disk.fill();
        // Reported before the first call fails: the WAL of SQLite still has room for a while.
        wait_for_readiness(&world, 503, "database_not_writable").await;
        let mut paid = 1;
        let refused = loop {
            let answer = world.pay("m", &ann).await;
            if answer.status != 200 {
                break answer;
            }
            paid += 1;
            assert!(paid < 100_000, "the disk is not full");
        };
        // The last room may go to a hold: its call was made, and is charged once there is room.
        paid += i64::from(refused.text().contains("settlement"));
        assert_eq!(readiness(&world).await.status, 503);
        world.server.call("GET", "/livez").send().await.expect(200);
        world.server.wait_for_log(&["database_not_writable"]).await;

        disk.empty();
        wait_for_readiness(&world, 200, "ready").await;
        world.pay("m", &ann).await.expect(200);
        world.close().await;
        assert_eq!(world.money(&ann).await.calls, paid + 1);
    }

    async fn files_are_for_their_owner_and_group(db: TestDb) {
        let log = db.dir().join("newapi.log").display().to_string();
        // One that another version, or a person, has made.
        std::fs::write(&log, "").unwrap();
        std::fs::set_permissions(&log, Permissions::from_mode(0o644)).unwrap();
        let settings = [("LOG_FILE", log.as_str()), ("LOG_LEVEL", "debug")];
        let mut world = World::with(db, &settings).await;
        world.model("m", fixed(1), Reply::text("ok")).await;
        let ann = world.payer(10).await;
        world.pay("m", &ann).await.expect(200);
        world.server.cli_ok(&["backup"]).await;
        world.server.restart().await;
        let mut files = 0;
        let mut dirs = vec![world.server.data_dir().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let found = std::fs::metadata(&path).unwrap();
                let mode = found.permissions().mode();
                let log = path.to_string_lossy().contains("newapi.log");
                let others = if log { 0o137 } else { 0o077 };
                if found.is_dir() { dirs.push(path.clone()) } else { files += 1 }
                assert_eq!(mode & others, 0, "{}: {mode:o}", path.display());
            }
        }
        assert!(files >= 4, "{files}");
        world.close().await;
    }
}

on_postgres! {
    async fn a_database_that_takes_no_writes_is_not_ready(db: TestDb) {
        let world = World::open(db).await;
        wait_for_readiness(&world, 200, "ready").await;
        let name = world.db.text("SELECT current_database()").await;
        let reads_only = |on: &str| {
            format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}")
        };
        // As after a fail-over that left us with the standby.
        world.db.execute(&reads_only("on")).await;
        world.db.execute(KILL).await;
        wait_for_readiness(&world, 503, "database_not_writable").await;

        let writing = format!("BEGIN READ WRITE; {}; COMMIT", reads_only("off"));
        world.db.execute(&writing).await;
        world.db.execute(KILL).await;
        wait_for_readiness(&world, 200, "ready").await;
        world.close().await;
    }
}
