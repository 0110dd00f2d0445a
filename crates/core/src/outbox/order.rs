//! What must wait for what: rows of one record for each other, and a row for the records that it refers to.
//!
//! References may go in a circle, or from a record to itself. Such a circle is cut at one of its references: the record is sent
//! without that field, which follows by a write of its own when everything it refers to is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Map;

use super::join::Unit;
use super::plan::Claimed;
use super::row::{Circle, Operation, Row};

/// What a row waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum After {
    /// The row is settled: an older one of the same record.
    Settled(i64),
    /// The row has made its record, whether it is settled or has a second step to go.
    Made(i64),
}

impl After {
    /// The row that is waited for.
    #[must_use]
    pub fn row(self) -> i64 {
        match self {
            Self::Settled(row) | Self::Made(row) => row,
        }
    }
}

/// One sending of a unit, or of the part of it that was cut off.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub sent: Claimed,
    pub members: Vec<Row>,
    pub after: BTreeSet<After>,
    /// Steps of one level do not wait for each other.
    pub level: usize,
}

/// Puts units in order; steps come in the order in which they may go.
pub(super) fn order(units: Vec<Unit>) -> Vec<Step> {
    let mut graph = Graph::of(&units);
    let mut sequence = Vec::with_capacity(graph.nodes.len());
    let mut ready: BTreeSet<usize> = (0..graph.nodes.len())
        .filter(|node| graph.nodes[*node].waits.is_empty())
        .collect();
    while let Some(node) = ready.pop_first().or_else(|| graph.cut_a_circle(&units)) {
        sequence.push(node);
        ready.extend(graph.release(node));
    }
    graph.into_steps(units, &sequence)
}

/// A unit, or the second step of one.
#[derive(Default)]
struct Node {
    unit: usize,
    /// What it still waits for.
    waits: BTreeMap<usize, Wait>,
    /// What it waited for and went before it, with whether that was by order.
    met: Vec<(usize, bool)>,
    followers: Vec<usize>,
    level: Option<usize>,
}

/// Why a node waits for another.
#[derive(Default)]
struct Wait {
    /// It is an older one of the same record.
    by_order: bool,
    /// These fields refer to what it makes.
    fields: Vec<String>,
    /// A record cannot be without one of them.
    required: bool,
}

struct Graph {
    nodes: Vec<Node>,
    /// The second step of a unit, and the fields that it sends.
    later: HashMap<usize, (usize, Vec<String>)>,
    circles: HashMap<usize, String>,
}

impl Graph {
    fn of(units: &[Unit]) -> Self {
        let nodes = (0..units.len()).map(|unit| Node {
            unit,
            ..Node::default()
        });
        let mut graph = Self {
            nodes: nodes.collect(),
            later: HashMap::new(),
            circles: HashMap::new(),
        };
        let mut last_of_key: HashMap<i64, usize> = HashMap::new();
        let mut makers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, unit) in units.iter().enumerate() {
            let row = &unit.sent.row;
            if row.odoo_id.is_none()
                && matches!(row.operation, Operation::Create | Operation::Upsert)
            {
                makers.entry(&row.external_id).or_default().push(place);
            }
            if let Some(previous) = unit.sent.key.and_then(|key| last_of_key.insert(key, place)) {
                graph.wait(place, previous).by_order = true;
            }
        }
        for (place, unit) in units.iter().enumerate() {
            if !matches!(
                unit.sent.row.operation,
                Operation::Create | Operation::Upsert | Operation::Update
            ) {
                continue;
            }
            for reference in &unit.sent.references {
                let makers = makers.get(reference.external_id.as_str());
                match makers.and_then(|makers| maker_for(place, makers)) {
                    Some(maker) if maker == place => {
                        graph.cut_off(place, None, vec![reference.field.clone()])
                    }
                    Some(maker) => {
                        let wait = graph.wait(place, maker);
                        wait.fields.push(reference.field.clone());
                        wait.required |= reference.required;
                    }
                    None => {}
                }
            }
        }
        graph
    }

    fn wait(&mut self, node: usize, before: usize) -> &mut Wait {
        self.nodes[before].followers.push(node);
        self.nodes[node].waits.entry(before).or_default()
    }

    /// The node goes. Returns those that wait for nothing any more.
    fn release(&mut self, node: usize) -> Vec<usize> {
        let levels = self.nodes[node]
            .met
            .iter()
            .filter_map(|(before, _)| self.nodes[*before].level);
        let level = levels.max().map_or(0, |level| level + 1);
        self.nodes[node].level = Some(level);
        let mut free = Vec::new();
        for follower in std::mem::take(&mut self.nodes[node].followers) {
            let follower_node = &mut self.nodes[follower];
            if let Some(wait) = follower_node.waits.remove(&node) {
                follower_node.met.push((node, wait.by_order));
                if follower_node.waits.is_empty() {
                    free.push(follower);
                }
            }
        }
        free
    }

    /// Everything that is left waits for something: cuts circles until one node is free, and returns it. `None`: nothing is left.
    fn cut_a_circle(&mut self, units: &[Unit]) -> Option<usize> {
        let first = (0..self.nodes.len()).find(|node| self.nodes[*node].level.is_none())?;
        loop {
            let mut path = vec![first];
            let circle = loop {
                let here = path[path.len() - 1];
                // Of several the smallest: a plan is the same whenever it is made.
                let Some((next, _)) = self.nodes[here].waits.first_key_value() else {
                    return Some(here);
                };
                if let Some(at) = path.iter().position(|node| node == next) {
                    break path.split_off(at);
                }
                path.push(*next);
            };
            let refers_to = |at: usize| circle[(at + 1) % circle.len()];
            // The order of one record's rows has no circle of its own, so that at least one wait is by a reference. That of a second
            // step cannot be put off once more: the step goes without it, and Odoo says whether the record is there.
            let by_reference = (0..circle.len()).filter(|at| {
                let (node, before) = (&self.nodes[circle[*at]], refers_to(*at));
                let of_itself = node.unit == self.nodes[before].unit;
                !of_itself && node.waits.get(&before).is_some_and(|wait| !wait.by_order)
            });
            let is_second = |node: usize| node >= units.len();
            let required = |at: usize| {
                let wait = self.nodes[circle[at]].waits.get(&refers_to(at));
                wait.is_some_and(|wait| wait.required)
            };
            let at =
                by_reference.min_by_key(|at| (is_second(circle[*at]), required(*at), circle[*at]));
            let Some(at) = at else {
                return Some(first);
            };
            let (node, before) = (circle[at], refers_to(at));
            let wait = self.nodes[node].waits.remove(&before).unwrap_or_default();
            if !is_second(node) {
                self.cut_off(node, Some(before), wait.fields);
            }
            let name = |node: usize| {
                let row = &units[self.nodes[node].unit].sent.row;
                format!("row {} ({})", row.id, row.model)
            };
            let way: Vec<String> = (0..=circle.len())
                .map(|step| name(circle[(at + step) % circle.len()]))
                .collect();
            self.circles.insert(node, way.join(" → "));
        }
    }

    /// `fields` of `node` go by a second step, after the node itself and after `refers_to`.
    fn cut_off(&mut self, node: usize, refers_to: Option<usize>, fields: Vec<String>) {
        let later = match self.later.get(&node) {
            Some((later, _)) => *later,
            None => self.add_later(node),
        };
        if let Some(refers_to) = refers_to {
            self.wait(later, refers_to);
        }
        if let Some((_, of_later)) = self.later.get_mut(&node) {
            of_later.extend(fields);
        }
    }

    /// The second step of `node`: what follows the node by order follows that instead.
    fn add_later(&mut self, node: usize) -> usize {
        let later = self.nodes.len();
        self.nodes.push(Node {
            unit: self.nodes[node].unit,
            ..Node::default()
        });
        self.later.insert(node, (later, Vec::new()));
        for follower in self.nodes[node].followers.clone() {
            if let Some(wait) = self.nodes[follower].waits.get_mut(&node)
                && std::mem::take(&mut wait.by_order)
            {
                if wait.fields.is_empty() {
                    self.nodes[follower].waits.remove(&node);
                }
                self.wait(follower, later).by_order = true;
            }
        }
        self.wait(later, node);
        later
    }

    fn into_steps(mut self, mut units: Vec<Unit>, sequence: &[usize]) -> Vec<Step> {
        let ids: Vec<Vec<i64>> = units.iter().map(Unit::ids).collect();
        let mut later_steps: HashMap<usize, (Claimed, Vec<Row>)> = HashMap::new();
        for (node, (later, fields)) in std::mem::take(&mut self.later) {
            let unit = &mut units[self.nodes[node].unit];
            let row = &unit.sent.row;
            let itself = || format!("row {} ({}) → itself", row.id, row.model);
            let circle = self.circles.remove(&node).unwrap_or_else(itself);
            later_steps.insert(later, split(unit, &fields, &circle));
        }
        let mut units: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
        let mut steps = Vec::with_capacity(sequence.len());
        for place in sequence {
            let node = &self.nodes[*place];
            let parts = later_steps.remove(place).or_else(|| {
                units[node.unit]
                    .take()
                    .map(|unit| (unit.sent, unit.members))
            });
            let Some((sent, members)) = parts else {
                continue;
            };
            let mut after = BTreeSet::new();
            for (before, by_order) in &node.met {
                let ids = &ids[self.nodes[*before].unit];
                match by_order {
                    true => after.extend(ids.iter().map(|id| After::Settled(*id))),
                    false => after.extend(ids.last().map(|id| After::Made(*id))),
                }
            }
            steps.push(Step {
                sent,
                members,
                after,
                level: node.level.unwrap_or(0),
            });
        }
        steps
    }
}

/// Takes `fields` out of a unit; what sends them is its second step, in which each of its rows stands with what was its own of them.
fn split(unit: &mut Unit, fields: &[String], circle: &str) -> (Claimed, Vec<Row>) {
    let blind = !unit.sent.described;
    let cut = |row: &mut Row| {
        let mut payload = Map::new();
        for field in fields {
            payload.extend(row.payload.remove_entry(field));
            if let Some(changes) = &mut row.changes {
                changes.remove(field);
            }
        }
        row.circle = Some(Circle {
            way: circle.to_owned(),
            blind,
        });
        Row {
            operation: Operation::Update,
            payload,
            changes: None,
            ..row.clone()
        }
    };
    let members = unit.members.iter_mut().map(cut).collect();
    let sent = Claimed {
        row: cut(&mut unit.sent.row),
        references: Vec::new(),
        context: unit.sent.context.clone(),
        ..unit.sent
    };
    (sent, members)
}

/// Of the units that make a record, the one that a unit at `place` refers to: the last one before it, for a record may be deleted and
/// made again; else the first one.
fn maker_for(place: usize, makers: &[usize]) -> Option<usize> {
    let before = makers.partition_point(|maker| *maker <= place);
    makers.get(before.saturating_sub(1)).copied()
}
