//! A throwaway cluster with pg_etl and a connection to an Odoo.

use odoo_sim::{Config, Sim};
use postgres::Client;
use serde_json::{Map, Value, json};
use xtask::odoo::{Access, Colleague};
use xtask::pg::Cluster;

use crate::client::Sql;
use crate::odoo::Endpoint;
use crate::processes::{Worker, kill9};
use crate::slot::Slot;
use crate::wait::{PATIENCE, eventually, eventually_some};

/// The database that has the extension.
pub const DATABASE: &str = "shop";

/// The worker reads the API key from this variable of the server's environment.
pub const KEY_VARIABLE: &str = "ETL_ODOO_KEY";

/// What a bench shall be like.
pub struct Builder {
    preload: Vec<&'static str>,
    settings: Vec<(String, String)>,
    env: Vec<(String, String)>,
    sim: Config,
    endpoint: Option<Endpoint>,
    options: Map<String, Value>,
    extension: bool,
    connection: bool,
    alone: bool,
    own_identity: bool,
}

impl Builder {
    /// Libraries to preload instead of `pg_etl`.
    pub fn preload(mut self, libraries: &[&'static str]) -> Self {
        self.preload = libraries.to_vec();
        self
    }

    /// A line of `postgresql.conf`.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable of the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How the simulator starts.
    pub fn sim(mut self, config: Config) -> Self {
        self.sim = config;
        self
    }

    /// Another endpoint than a simulator.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// An option of the connection `odoo`.
    pub fn option(mut self, name: &str, value: Value) -> Self {
        self.options.insert(name.to_owned(), value);
        self
    }

    /// A database without the extension.
    pub fn no_extension(mut self) -> Self {
        self.extension = false;
        self.connection = false;
        self
    }

    /// The extension, but no connection and no `etl.setup()`.
    pub fn no_connection(mut self) -> Self {
        self.connection = false;
        self
    }

    /// While no other test runs.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// A system identifier that no other cluster shares, as two real servers have.
    pub fn own_identity(mut self) -> Self {
        self.own_identity = true;
        self
    }

    /// Starts everything.
    #[track_caller]
    pub fn start(self) -> Bench {
        let slot = if self.alone {
            Slot::alone()
        } else {
            Slot::shared()
        };
        let (sim, endpoint) = match self.endpoint {
            Some(endpoint) => (None, endpoint),
            None => {
                let sim = Sim::start(self.sim).expect("the simulator starts");
                let endpoint = Endpoint::from(&sim);
                (Some(sim), endpoint)
            }
        };
        let version = xtask::suite::pg_under_test().expect("PG_ETL_PG names a version");
        let mut cluster = Cluster::builder(version)
            .preload(&self.preload)
            .env(KEY_VARIABLE, &endpoint.key)
            // Parallel queries would only slow small tests down; retries shall come soon.
            .setting("max_parallel_workers_per_gather", "0");
        if self.preload.contains(&"pg_etl") {
            cluster = cluster
                .setting("etl.backoff_base", "1s")
                .setting("etl.backoff_cap", "2s");
        }
        for (name, value) in &self.settings {
            cluster = cluster.setting(name, value);
        }
        for (name, value) in &self.env {
            cluster = cluster.env(name, value);
        }
        if self.own_identity {
            cluster = cluster.own_identity();
        }
        let cluster = cluster.start().expect("the cluster starts");
        cluster
            .client("postgres")
            .expect("a connection")
            .run(&format!("CREATE DATABASE {DATABASE}"));
        let bench = Bench {
            cluster,
            sim,
            endpoint,
            options: self.options,
            _slot: slot,
        };
        let mut db = bench.client();
        if self.extension {
            db.run("CREATE EXTENSION pg_etl");
        }
        if self.connection {
            bench.connect(&mut db, json!({}));
        }
        bench
    }
}

/// A cluster with pg_etl, and the Odoo it talks to.
pub struct Bench {
    // In this order: the cluster leaves while its endpoint still answers, the slot is given back last.
    pub cluster: Cluster,
    sim: Option<Sim>,
    pub endpoint: Endpoint,
    options: Map<String, Value>,
    _slot: Slot,
}

impl Bench {
    /// Preloaded pg_etl, a simulator, the extension in [`DATABASE`] and the connection `odoo`, unless told otherwise.
    pub fn builder() -> Builder {
        Builder {
            preload: vec!["pg_etl"],
            settings: Vec::new(),
            env: Vec::new(),
            sim: Config::default(),
            endpoint: None,
            options: Map::new(),
            extension: true,
            connection: true,
            alone: false,
            own_identity: false,
        }
    }

    /// All defaults.
    #[track_caller]
    pub fn ready() -> Self {
        Self::builder().start()
    }

    /// Its connection paused, so that what a test puts into the outbox stays there.
    #[track_caller]
    pub fn paused() -> (Self, Client) {
        let bench = Self::ready();
        let mut db = bench.client();
        db.run("SELECT etl.pause('odoo', 'a test')");
        (bench, db)
    }

    /// The simulator.
    #[track_caller]
    pub fn sim(&self) -> &Sim {
        self.sim.as_ref().expect("this bench talks to a real Odoo")
    }

    /// Somebody else who works in the simulated Odoo.
    #[track_caller]
    pub fn colleague(&self) -> Colleague {
        let (sim, admin) = (self.sim(), self.sim().admin());
        let access = Access {
            url: sim.url(),
            database: sim.database().to_owned(),
            api_key: admin.keys[0].key.clone(),
            login: admin.login,
            password: admin.password,
            uid: admin.uid,
        };
        access.colleague().expect("a user of their own")
    }

    /// A superuser's session in [`DATABASE`].
    #[track_caller]
    pub fn client(&self) -> Client {
        self.client_in(DATABASE)
    }

    /// A superuser's session in another database.
    #[track_caller]
    pub fn client_in(&self, database: &str) -> Client {
        self.cluster.client(database).expect("a connection")
    }

    /// A session as soon as the server takes one again, after a crash.
    #[track_caller]
    pub fn reconnect(&self) -> Client {
        eventually_some(PATIENCE, "the server to take connections", || {
            let mut client = self
                .cluster
                .client(DATABASE)
                .map_err(|error| format!("{error:#}"))?;
            client
                .simple_query("SELECT 1")
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(client)
        })
    }

    /// Makes (or replaces) the connection `odoo`; `more` is laid over the usual options.
    #[track_caller]
    pub fn connect(&self, db: &mut Client, more: Value) {
        self.connect_with(db, more, KEY_VARIABLE);
    }

    /// The same with the secret in another variable of the server's environment.
    #[track_caller]
    pub fn connect_with(&self, db: &mut Client, more: Value, variable: &str) {
        let mut options = json!({
            "database": self.endpoint.database,
            "login": self.endpoint.login,
            "allow_methods": ["sale.order.action_confirm"],
        });
        for (name, value) in self
            .options
            .iter()
            .chain(more.as_object().expect("options are an object"))
        {
            options[name] = value.clone();
        }
        let secret = format!("env:{variable}");
        let set = db.execute(
            "SELECT etl.set_connection('odoo', 'odoo', $1, $2, secret => $3)",
            &[&self.endpoint.url, &options, &secret],
        );
        set.expect("etl.set_connection");
    }

    /// The pid of the only worker of [`DATABASE`], once there is one.
    #[track_caller]
    pub fn worker(&self) -> i32 {
        let mut client = self.client_in("postgres");
        eventually_some(PATIENCE, "one worker in the database", || match Worker::of(
            &mut client,
            DATABASE,
        )
        .as_slice()
        {
            [worker] => Ok(worker.pid),
            others => Err(others.to_vec()),
        })
    }

    /// `kill -9` of the worker. The server restarts as a whole; gives a session as soon as it takes one again.
    #[track_caller]
    pub fn kill_worker(&self) -> Client {
        let crashes = || {
            self.cluster
                .log()
                .matches("was terminated by signal 9")
                .count()
        };
        let before = crashes();
        kill9(self.worker());
        // From then on every session of before is refused or gone.
        eventually(PATIENCE, "the server to notice", || crashes() > before);
        self.reconnect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.cluster.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- the server's log ends with:\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}
