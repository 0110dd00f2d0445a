//! A running simulator, and the handle tests hold.

use crate::config::{Account, ApiKey, Config, Poison, Rights};
use crate::exception::Outcome;
use crate::fault::{Fault, Plan};
use crate::journal::{Journal, Logged, Totals};
use crate::orm::clock;
use crate::orm::env::Env;
use crate::orm::history::Change;
use crate::orm::model::registry;
use crate::orm::store::Store;
use crate::protocol::call::{Postponed, run_postponed};
use crate::server;
use serde_json::{Map, Value as Json};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What all threads of one simulator share.
pub(crate) struct Shared {
    pub config: Config,
    pub store: Mutex<Store>,
    /// The store's last commit, readable without its lock.
    pub commits: AtomicU64,
    pub accounts: Mutex<Vec<Account>>,
    pub plan: Mutex<Plan>,
    pub poisons: Mutex<Vec<Poison>>,
    pub journal: Mutex<Journal>,
    pub postponed: Mutex<Vec<Postponed>>,
    pub rate: Mutex<Rate>,
    pub gate: server::gate::Gate,
    pub running: server::Running,
}

/// A token bucket of one second.
pub(crate) struct Rate {
    pub per_second: Option<f64>,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    fn new(per_second: Option<f64>) -> Self {
        Self {
            per_second,
            tokens: per_second.unwrap_or(0.0).max(1.0),
            filled: Instant::now(),
        }
    }

    /// Takes one call's share; the seconds to wait when there is none.
    pub fn take(&mut self) -> Result<(), f64> {
        let Some(rate) = self.per_second else {
            return Ok(());
        };
        let now = Instant::now();
        self.tokens =
            (self.tokens + now.duration_since(self.filled).as_secs_f64() * rate).min(rate.max(1.0));
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err((1.0 - self.tokens) / rate)
    }
}

/// Locks whatever a panicking thread may have left behind: the store is rolled back by its next user.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running simulator. Dropping it stops it.
pub struct Sim {
    shared: Arc<Shared>,
}

impl Sim {
    /// Starts on a loopback port with a fresh database.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub fn start(config: Config) -> io::Result<Self> {
        let mut store = Store::new(config.processes);
        seeded(&mut store, &config).map_err(|error| io::Error::other(error.text()))?;
        let shared = Arc::new(Shared {
            commits: AtomicU64::new(store.commits()),
            store: Mutex::new(store),
            accounts: Mutex::new(config.accounts.clone()),
            plan: Mutex::new(Plan::new(config.seed)),
            poisons: Mutex::new(vec![]),
            journal: Mutex::new(Journal::new(config.journal)),
            postponed: Mutex::new(vec![]),
            rate: Mutex::new(Rate::new(config.rate_limit)),
            gate: server::gate::Gate::new(config.workers),
            running: server::Running::default(),
            config,
        });
        server::start(&shared)?;
        Ok(Self { shared })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The port, also while stopped.
    pub fn port(&self) -> u16 {
        self.shared.running.port()
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        &self.shared.config.database
    }

    /// The administrator: the first account of the configuration.
    pub fn admin(&self) -> Account {
        self.shared.config.accounts[0].clone()
    }

    /// All records of a model as `read` gives them, archived ones too, by id. Many2ones are bare ids.
    /// Empty for a model that does not exist.
    pub fn records(&self, model: &str) -> Vec<Map<String, Json>> {
        records(&self.shared, model)
    }

    /// External ids as `module.name`, with model and id.
    pub fn external_ids(&self) -> Vec<(String, String, i64)> {
        self.records("ir.model.data")
            .into_iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                (
                    text("complete_name"),
                    text("model"),
                    row["res_id"].as_i64().unwrap_or_default(),
                )
            })
            .collect()
    }

    /// From now on changes of this field are remembered. Nothing happens for a field that does not exist.
    pub fn watch(&self, model: &str, field: &str) {
        if let Some(model) = registry().find(model)
            && let Some(position) = model.position(field)
        {
            locked(&self.shared.store)
                .history
                .watch(model.index, position);
        }
    }

    /// What became of watched fields, in the order of commits.
    pub fn history(&self) -> Vec<Change> {
        locked(&self.shared.store).history.changes().to_vec()
    }

    /// Requests so far, oldest first, as many as [`Config::journal`] keeps.
    pub fn requests(&self) -> Vec<Logged> {
        locked(&self.shared.journal).entries()
    }

    /// Forgets the requests so far; totals stay.
    pub fn clear_requests(&self) {
        locked(&self.shared.journal).clear();
    }

    /// Counters since the start.
    pub fn totals(&self) -> Totals {
        locked(&self.shared.journal).totals()
    }

    /// Puts a fault in force.
    pub fn inject(&self, fault: Fault) {
        locked(&self.shared.plan).arm(fault);
    }

    /// Lifts all faults. Calls already struck stay struck.
    pub fn clear_faults(&self) {
        locked(&self.shared.plan).clear();
    }

    /// Calls that [`crate::Effect::Postponed`] struck and that did not run yet.
    pub fn postponed(&self) -> usize {
        locked(&self.shared.postponed).len()
    }

    /// Lets the postponed calls run now, one after another, and returns how many they were.
    pub fn run_postponed(&self) -> usize {
        run_postponed(&self.shared)
    }

    /// Makes a value unsavable.
    pub fn poison(&self, poison: Poison) {
        locked(&self.shared.poisons).push(poison);
    }

    /// Makes every value savable again.
    pub fn clear_poison(&self) {
        locked(&self.shared.poisons).clear();
    }

    /// Calls a second before 429, or no limit.
    pub fn set_rate_limit(&self, per_second: Option<f64>) {
        *locked(&self.shared.rate) = Rate::new(per_second);
    }

    /// Gives an account a further key. Nothing happens for a uid without an account.
    pub fn add_key(&self, uid: i64, key: ApiKey) {
        if let Some(account) = locked(&self.shared.accounts)
            .iter_mut()
            .find(|account| account.uid == uid)
        {
            account.keys.push(key);
        }
    }

    /// Takes a key away from whoever has it.
    pub fn revoke_key(&self, key: &str) {
        for account in locked(&self.shared.accounts).iter_mut() {
            account.keys.retain(|known| known.key != key);
        }
    }

    /// Replaces the access rules of an account.
    pub fn set_rights(&self, uid: i64, rights: Vec<Rights>) {
        if let Some(account) = locked(&self.shared.accounts)
            .iter_mut()
            .find(|account| account.uid == uid)
        {
            account.rights = rights;
        }
    }

    /// Removes an account, as when its user was deleted: JSON-RPC calls with its uid raise MissingError from then on.
    pub fn remove_account(&self, uid: i64) {
        locked(&self.shared.accounts).retain(|account| account.uid != uid);
    }

    /// Puts an account (back), with keys and rights.
    pub fn add_account(&self, account: Account) {
        let mut accounts = locked(&self.shared.accounts);
        accounts.retain(|known| known.uid != account.uid);
        accounts.push(account);
    }

    /// Stops as `kill -9` would: the listener closes, connections break, calls that did not commit never will. The data
    /// stay.
    pub fn stop(&self) {
        server::stop(&self.shared);
    }

    /// Listens again, on the same port with the same data.
    ///
    /// # Errors
    /// When another process took the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        server::stop(&self.shared);
        server::start(&self.shared)
    }

    /// Calls at work now, including those that wait for a worker.
    pub fn in_flight(&self) -> usize {
        self.shared.gate.inside()
    }

    /// Waits until no call is at work; false when that takes longer than `limit`.
    pub fn wait_idle(&self, limit: Duration) -> bool {
        self.shared.gate.wait_idle(limit)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn records(shared: &Shared, model: &str) -> Vec<Map<String, Json>> {
    let Some(model) = registry().find(model) else {
        return vec![];
    };
    let mut store = locked(&shared.store);
    let ids: Vec<i64> = store.ids(model.index).collect();
    let snapshot = store.commits();
    let context = Map::from_iter([("active_test".to_owned(), Json::Bool(false))]);
    let env = Env {
        store: &mut store,
        account: &shared.config.accounts[0],
        context,
        poisons: &[],
        languages: &shared.config.languages,
        snapshot,
        now: clock::now(),
    };
    env.read(model, &ids, &[], false).unwrap_or_default()
}

fn seeded(store: &mut Store, config: &Config) -> Outcome<()> {
    let account = Account {
        uid: 1,
        login: "__system__".into(),
        password: String::new(),
        keys: vec![],
        rights: vec![],
    };
    let mut env = Env {
        store,
        account: &account,
        context: Map::new(),
        poisons: &[],
        languages: &config.languages,
        snapshot: 0,
        now: clock::now(),
    };
    crate::models::seed(&mut env, config)?;
    store.commit();
    Ok(())
}

impl Shared {
    /// Notes the store's last commit for transactions that begin without its lock.
    pub fn published(&self, store: &Store) {
        self.commits.store(store.commits(), Ordering::Release);
    }

    /// The account behind a bearer key.
    pub fn account_of_key(&self, key: &str) -> Option<Account> {
        let now = SystemTime::now();
        let owns = |account: &&Account| {
            account
                .keys
                .iter()
                .any(|known| known.key == key && known.is_valid(now))
        };
        locked(&self.accounts).iter().find(owns).cloned()
    }
}
