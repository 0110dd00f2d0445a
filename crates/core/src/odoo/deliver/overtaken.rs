//! Records of two-way tables that somebody else changed since they were last pulled: what is sent blindly would overwrite that, and
//! nobody would ever know of it. Nothing is sent; the record is pulled first, and then both sides are known.
//!
//! One question per batch tells, by who wrote the record last: what we wrote ourselves since is no change of theirs. So the connection
//! needs a user of its own in Odoo; where people share it, the question finds nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Delivery;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::probe;
use crate::outbox::Row;

impl Delivery<'_> {
    /// Why those of the records are not changed that somebody else changed, by id.
    pub(super) fn overtaken<'r>(
        &mut self,
        targets: impl Iterator<Item = (&'r Row, i64)>,
    ) -> BTreeMap<i64, Failure> {
        let seen: BTreeMap<i64, &str> = targets
            .filter_map(|(row, id)| Some((id, row.seen.as_deref()?)))
            .collect();
        if seen.is_empty() {
            return BTreeMap::new();
        }
        match self.written_by_others(&seen) {
            Ok(ids) => ids
                .into_iter()
                .map(|id| (id, self.why_overtaken(id)))
                .collect(),
            Err(failure) => seen.keys().map(|id| (*id, failure.clone())).collect(),
        }
    }

    fn written_by_others(&mut self, seen: &BTreeMap<i64, &str>) -> Result<Vec<i64>, Failure> {
        let own = self.own_uid()?;
        let ids: Vec<i64> = seen.keys().copied().collect();
        let mut call = self
            .new_call(&self.batch.model, "search_read")
            .with("domain", json!([["id", "in", ids]]))
            .with("fields", json!(["write_date", "write_uid"]));
        call.context.insert("active_test".to_owned(), json!(false));
        let Value::Array(read) = self.ask(&call)? else {
            return Err(Failure::new(
                ErrorClass::Server,
                format!("search_read of {} answered no list", self.batch.model),
            ));
        };
        let changed = |record: &Value| {
            let id = record["id"].as_i64()?;
            // A many2one is [id, name].
            let by = record["write_uid"][0].as_i64();
            let at = record["write_date"].as_str()?;
            (by != Some(own) && at > *seen.get(&id)?).then_some(id)
        };
        Ok(read.iter().filter_map(changed).collect())
    }

    fn own_uid(&mut self) -> Result<i64, Failure> {
        if let Some(uid) = self.gateway.known_uid() {
            return Ok(uid);
        }
        let uid = probe::uid_of(&self.ask(&probe::whoami())?)?;
        self.gateway.learn_uid(uid);
        Ok(uid)
    }

    fn why_overtaken(&self, id: i64) -> Failure {
        Failure::new(
            ErrorClass::Overtaken,
            format!(
                "not sent: somebody changed {}({id}) in Odoo since it was last pulled",
                self.batch.model
            ),
        )
        .with_remedy("It is pulled first, and then sent: nothing need be done. If it stays so, see etl.sync_lag for what stops the pulls.")
    }
}
