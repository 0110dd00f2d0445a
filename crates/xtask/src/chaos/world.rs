//! The Odoo of a run, simulated or real: how it is hurt, and what it holds at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use odoo_sim::{Config, Fault, Sim};
use serde_json::{Map, Value, json};

use super::proxy::Proxy;
use super::workload::{MARK, Product};
use crate::odoo::{Access, Odoo, Options};

/// Which Odoo a run is against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sim,
    Real,
}

/// A running Odoo.
pub enum World {
    Sim(Box<Sim>),
    /// Behind a proxy that can lose its answers.
    Real(Box<Odoo>, Proxy),
}

/// A record as Odoo gives it.
pub type Record = Map<String, Value>;

/// Records of one page when they are read from a real Odoo.
const PAGE: usize = 2_000;

impl World {
    pub fn start(kind: Kind, seed: u64) -> Result<Self> {
        Ok(match kind {
            Kind::Sim => {
                let config = Config {
                    seed,
                    call_cost: Duration::from_millis(3),
                    journal: 1_000_000,
                    ..Config::default()
                };
                let sim = Sim::start(config).context("the simulator does not start")?;
                sim.watch("res.partner", "ref");
                sim.watch("sale.order", "client_order_ref");
                Self::Sim(Box::new(sim))
            }
            Kind::Real => {
                let odoo = Odoo::start(&Options::default())?;
                let upstream = odoo.url.trim_start_matches("http://").to_owned();
                Self::Real(Box::new(odoo), Proxy::start(&upstream)?)
            }
        })
    }

    /// How the extension reaches it.
    pub fn access(&self) -> Access {
        match self {
            Self::Sim(sim) => {
                let admin = sim.admin();
                Access {
                    url: sim.url(),
                    database: sim.database().to_owned(),
                    login: admin.login,
                    password: admin.password,
                    api_key: admin.keys[0].key.clone(),
                    uid: admin.uid,
                }
            }
            Self::Real(odoo, proxy) => Access {
                url: proxy.url(),
                ..odoo.access().clone()
            },
        }
    }

    /// How the suite itself reaches it: no proxy between.
    pub fn direct(&self) -> Access {
        match self {
            Self::Sim(_) => self.access(),
            Self::Real(odoo, _) => odoo.access().clone(),
        }
    }

    /// The simulator; an error where it is the real one.
    pub fn sim(&self) -> Result<&Sim> {
        match self {
            Self::Sim(sim) => Ok(sim),
            Self::Real(..) => bail!("only the simulator can do this"),
        }
    }

    /// Makes the product that the orders' lines are about.
    pub fn product(&self) -> Result<Product> {
        let made = self.direct().call(
            "product.product",
            "create",
            &json!({"vals_list": [{"name": format!("{MARK}product")}]}),
        )?;
        let id = made[0].as_i64().context("Odoo gave no id")?;
        Ok(Product(id))
    }

    /// Kills it in the middle of whatever it does, and starts it again after `down`.
    pub fn kill(&self, down: Duration) -> Result<()> {
        match self {
            Self::Sim(sim) => {
                sim.stop();
                std::thread::sleep(down);
                // The port may be the other end of somebody's connection for a moment.
                let deadline = Instant::now() + Duration::from_secs(10);
                loop {
                    match sim.restart() {
                        Ok(()) => return Ok(()),
                        Err(error) if Instant::now() > deadline => return Err(error.into()),
                        Err(_) => std::thread::sleep(Duration::from_millis(20)),
                    }
                }
            }
            Self::Real(odoo, _) => {
                odoo.kill9();
                std::thread::sleep(down);
                odoo.start_again()
            }
        }
    }

    /// Spoils calls; a real Odoo can only lose its answer.
    pub fn spoil(&self, fault: Fault) {
        match self {
            Self::Sim(sim) => sim.inject(fault),
            Self::Real(_, proxy) => proxy.lose_one(),
        }
    }

    /// From now on everything works.
    pub fn heal(&self) {
        match self {
            Self::Sim(sim) => sim.clear_faults(),
            Self::Real(_, proxy) => proxy.behave(),
        }
    }

    /// Calls that took effect and whose answer did not arrive whole.
    pub fn lost_answers(&self) -> u64 {
        match self {
            Self::Sim(sim) => {
                let lost = |call: &&odoo_sim::Logged| {
                    call.outcome == "done" && call.faults.iter().any(|fault| fault != "delay")
                };
                sim.requests().iter().filter(lost).count() as u64
            }
            Self::Real(_, proxy) => proxy.lost(),
        }
    }

    /// Waits until nothing that was ever sent can still take effect.
    pub fn quiet(&self) -> Result<()> {
        match self {
            Self::Sim(sim) => {
                let deadline = Instant::now() + Duration::from_secs(30);
                // A call that runs later is "open" until it did; one that was due in a simulator that was killed stays so.
                let recent = |call: &odoo_sim::Logged| {
                    call.outcome == "open"
                        && call
                            .at
                            .elapsed()
                            .is_ok_and(|age| age < Duration::from_secs(15))
                };
                while sim.requests().iter().any(recent) {
                    if Instant::now() > deadline {
                        bail!("the simulator does not come to rest");
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                if !sim.wait_idle(Duration::from_secs(30)) {
                    bail!("the simulator does not come to rest");
                }
                Ok(())
            }
            // Every request of a worker is over when its answer is, and the suite waited for those.
            Self::Real(..) => Ok(()),
        }
    }

    /// The records of a model that the suite made: those whose `field` begins with its mark. Archived ones too.
    pub fn records(&self, model: &str, field: &str, fields: &[&str]) -> Result<Vec<Record>> {
        if let Self::Sim(sim) = self {
            let mut records = sim.records(model);
            records.retain(|record| {
                let text = record.get(field).and_then(Value::as_str);
                text.is_some_and(|text| text.contains(MARK.trim_end()))
            });
            return Ok(records);
        }
        self.search(model, &json!([[field, "like", MARK]]), fields)
    }

    /// Records that match, page by page.
    pub fn search(&self, model: &str, domain: &Value, fields: &[&str]) -> Result<Vec<Record>> {
        let access = self.direct();
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let mut terms = vec![json!(["id", ">", after])];
            terms.extend(domain.as_array().into_iter().flatten().cloned());
            let page = access.call(
                model,
                "search_read",
                &json!({"domain": terms, "fields": fields, "order": "id", "limit": PAGE, "context": {"active_test": false}}),
            )?;
            let page: Vec<Record> = serde_json::from_value(page).context("a page of records")?;
            let Some(last) = page.last().and_then(|record| record["id"].as_i64()) else {
                return Ok(found);
            };
            after = last;
            found.extend(page);
        }
    }

    /// External ids of ours: name, model, record.
    pub fn external_ids(&self, namespace: &str) -> Result<Vec<(String, String, i64)>> {
        if let Self::Sim(sim) = self {
            let mut all = sim.external_ids();
            all.retain(|(name, _, _)| {
                name.strip_prefix(namespace)
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            return Ok(all);
        }
        let found = self.search(
            "ir.model.data",
            &json!([["module", "=", namespace]]),
            &["name", "model", "res_id"],
        )?;
        let text =
            |record: &Record, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        Ok(found
            .iter()
            .map(|record| {
                let id = record["res_id"].as_i64().unwrap_or_default();
                (text(record, "name"), text(record, "model"), id)
            })
            .collect())
    }
}
