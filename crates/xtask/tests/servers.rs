//! The clusters that other tests stand on.

use std::process::Command;
use std::time::{Duration, Instant};

use xtask::pg::{Cluster, Stop};
use xtask::suite::pg_under_test;

#[test]
fn a_cluster_lives_through_stops_and_crashes() {
    let cluster = Cluster::builder(pg_under_test().unwrap())
        .setting("work_mem", "7MB")
        .setting("application_name", "it's me")
        .env("ETL_CANARY", "seen")
        .start()
        .unwrap();
    assert_eq!(cluster.psql("postgres", "SHOW work_mem").unwrap(), "7MB");
    assert_eq!(
        cluster
            .psql(
                "postgres",
                // Reads what it is given: a program that does not may be gone before Postgres has written it.
                "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null && test \"$ETL_CANARY\" = seen'"
            )
            .unwrap(),
        ""
    );
    cluster
        .psql("postgres", "CREATE TABLE kept AS SELECT 1 AS one")
        .unwrap();
    let first = cluster.postmaster_pid().unwrap();

    cluster.kill9_postmaster();
    assert!(!cluster.running());
    cluster.start_again().unwrap();
    cluster.stop(Stop::Immediate).unwrap();
    cluster.start_again().unwrap();
    cluster.restart().unwrap();

    assert_ne!(cluster.postmaster_pid().unwrap(), first);
    let row = cluster
        .client("postgres")
        .unwrap()
        .query_one("SELECT one FROM kept", &[])
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    assert!(
        cluster
            .log()
            .contains("database system was not properly shut down"),
        "{}",
        cluster.log()
    );

    let data = cluster.data_dir();
    let pid = cluster.postmaster_pid().unwrap();
    drop(cluster);
    assert!(!data.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/cwd")).exists());
}

#[test]
fn clusters_run_side_by_side() {
    let version = pg_under_test().unwrap();
    let clusters: Vec<Cluster> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| Cluster::builder(version).start().unwrap()))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    for cluster in &clusters {
        assert_eq!(
            cluster.psql("postgres", "SHOW port").unwrap(),
            cluster.port().to_string()
        );
    }
}

#[test]
fn identity_is_shared_unless_asked_for() {
    const IDENTITY: &str = "SELECT system_identifier FROM pg_control_system()";
    let version = pg_under_test().unwrap();
    let identity = |cluster: Cluster| cluster.psql("postgres", IDENTITY).unwrap();
    let one = identity(Cluster::builder(version).start().unwrap());
    let other = identity(Cluster::builder(version).own_identity().start().unwrap());
    assert_ne!(one, other);
}

#[test]
fn a_wrong_setting_tells_what_postgres_says() {
    let error = Cluster::builder(pg_under_test().unwrap())
        .setting("work_mem", "much")
        .start()
        .unwrap_err();
    assert!(format!("{error:#}").contains("work_mem"), "{error:#}");
}

#[test]
fn psql_fails_with_the_servers_words() {
    let cluster = Cluster::builder(pg_under_test().unwrap()).start().unwrap();
    let error = cluster
        .psql("postgres", "SELECT nothing FROM nowhere")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("relation \"nowhere\" does not exist"),
        "{error}"
    );
}

/// Runs this test program again as another process, which is then killed: its server must go with it.
#[test]
fn a_server_dies_with_its_owner() {
    const CHILD: &str = "PG_ETL_TEST_OWNER";
    if std::env::var_os(CHILD).is_some() {
        let cluster = Cluster::builder(pg_under_test().unwrap()).start().unwrap();
        println!("pid={}", cluster.postmaster_pid().unwrap());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["a_server_dies_with_its_owner", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(owner.stdout.take().unwrap()));
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("pid=").map(|(_, pid)| pid.to_owned()))
        .unwrap();
    let status = format!("/proc/{pid}/exe");
    let alive =
        || std::fs::symlink_metadata(&status).is_ok() && std::fs::read_link(&status).is_ok();
    assert!(alive());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive() {
        assert!(
            Instant::now() < deadline,
            "PostgreSQL {pid} outlived its owner"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
