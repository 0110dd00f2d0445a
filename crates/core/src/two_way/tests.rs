use proptest::prelude::*;

use super::{Facts, Fate, Sent, Wins, decide};

const CHANGED: Facts = Facts {
    moved: true,
    differs: true,
    sent: Sent::Before,
    is_ours: false,
    odoo_is_newer: false,
    is_resent: false,
    again: false,
    is_unclear: false,
};

const TAKE: Fate = Fate::Take { resend: false };

#[test]
fn a_change_of_one_side_goes_to_the_other() {
    for wins in [Wins::Odoo, Wins::Local, Wins::Newest] {
        assert_eq!(decide(CHANGED, wins), TAKE, "{wins:?}");
        let same = Facts {
            moved: false,
            ..CHANGED
        };
        assert_eq!(decide(same, wins), Fate::Same, "{wins:?}");
        let agreed = Facts {
            differs: false,
            sent: Sent::Waits,
            ..CHANGED
        };
        assert_eq!(decide(agreed, wins), Fate::Agreed, "{wins:?}");
    }
}

#[test]
fn what_was_sent_is_no_change_of_odoo() {
    for sent in [Sent::Late, Sent::Waits, Sent::Refused] {
        let ours = Facts {
            sent,
            is_ours: true,
            ..CHANGED
        };
        for wins in [Wins::Odoo, Wins::Local, Wins::Newest] {
            assert_eq!(decide(ours, wins), Fate::Ours, "{sent:?} {wins:?}");
        }
    }
    // Nothing is on its way: then somebody in Odoo went back to it.
    let back = Facts {
        is_ours: true,
        ..CHANGED
    };
    assert_eq!(decide(back, Wins::Local), TAKE);
}

#[test]
fn both_sides_changed_it() {
    let facts = |sent, odoo_is_newer| Facts {
        sent,
        odoo_is_newer,
        ..CHANGED
    };
    let resent = Fate::OdooWins { resend: true };
    let kept = Fate::OdooWins { resend: false };
    for (sent, odoo, local) in [
        (Sent::Waits, resent, Fate::LocalWins),
        (Sent::Refused, kept, Fate::LocalWins),
        (Sent::Late, resent, Fate::Later),
    ] {
        for newer in [true, false] {
            assert_eq!(decide(facts(sent, newer), Wins::Odoo), odoo);
            assert_eq!(decide(facts(sent, newer), Wins::Local), local);
        }
        assert_eq!(decide(facts(sent, true), Wins::Newest), odoo);
        assert_eq!(decide(facts(sent, false), Wins::Newest), local);
    }
}

#[test]
fn what_is_sent_again_for_odoos_sake_is_no_local_change() {
    let facts = Facts {
        sent: Sent::Waits,
        is_resent: true,
        ..CHANGED
    };
    assert_eq!(decide(facts, Wins::Local), Fate::Take { resend: true });
    let refused = Facts {
        sent: Sent::Refused,
        ..facts
    };
    assert_eq!(decide(refused, Wins::Newest), TAKE);
}

#[test]
fn a_quarrel_ends() {
    let again = Facts {
        again: true,
        ..CHANGED
    };
    assert_eq!(decide(again, Wins::Odoo), Fate::Quarrel);
}

/// A value of ours that is not known any more looks like one of Odoo's: nobody loses before it is known.
#[test]
fn what_may_be_ours_is_waited_for() {
    for sent in [Sent::Before, Sent::Late, Sent::Waits, Sent::Refused] {
        for wins in [Wins::Odoo, Wins::Local, Wins::Newest] {
            let unclear = Facts {
                sent,
                is_unclear: true,
                ..CHANGED
            };
            assert_eq!(decide(unclear, wins), Fate::Later, "{sent:?} {wins:?}");
            let agreed = Facts {
                differs: false,
                ..unclear
            };
            assert_eq!(decide(agreed, wins), Fate::Agreed);
        }
    }
}

#[test]
fn names_are_those_of_the_sql() {
    for (name, wins) in [
        ("odoo", Wins::Odoo),
        ("local", Wins::Local),
        ("newest", Wins::Newest),
    ] {
        assert_eq!(Wins::named(name), Some(wins));
    }
    assert_eq!(Wins::named("Odoo"), None);
    for (name, sent) in [
        ("before", Sent::Before),
        ("late", Sent::Late),
        ("waits", Sent::Waits),
        ("refused", Sent::Refused),
    ] {
        assert_eq!(Sent::named(name), Some(sent));
    }
    assert_eq!(Sent::named(""), None);
}

/// One field of one record, on both sides, and all that happens between them.
#[derive(Debug, Default)]
struct World {
    now: u64,
    local: u32,
    odoo: u32,
    odoo_written: u64,
    base: Option<u32>,
    outbox: Vec<Row>,
    /// Asked at, and what was read since, if it was.
    page: Option<(u64, Option<(u32, u64)>)>,
    conflicts: usize,
    resent: usize,
    edits: usize,
    edits_of_odoo: usize,
}

#[derive(Debug)]
struct Row {
    value: u32,
    at: u64,
    /// It is what Odoo had.
    resent: bool,
    /// Odoo has it, and nobody here knows it yet.
    written: bool,
    done: Option<u64>,
    /// Odoo has it, and there is no room for it beside the record any more. Of those only the youngest is known.
    forgotten: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    EditLocal(u32),
    EditOdoo(u32),
    Deliver,
    Ask,
    Read,
    Merge(Wins),
    /// The oldest of what was delivered is forgotten.
    Forget,
}

impl World {
    fn happens(&mut self, event: Event) {
        self.now += 1;
        match event {
            Event::EditLocal(value) if value != self.local => {
                self.edits += 1;
                self.write(value, false);
            }
            Event::EditLocal(_) => {}
            Event::EditOdoo(value) => {
                self.edits_of_odoo += 1;
                (self.odoo, self.odoo_written) = (value, self.now);
            }
            Event::Forget => {
                let oldest = self.outbox.iter_mut().find(|row| !row.forgotten);
                if let Some(row) = oldest.filter(|row| row.done.is_some()) {
                    row.forgotten = true;
                }
            }
            Event::Deliver => {
                let row = self.outbox.iter_mut().find(|row| row.done.is_none());
                match row {
                    Some(row) if row.written => row.done = Some(self.now),
                    Some(row) => {
                        row.written = true;
                        (self.odoo, self.odoo_written) = (row.value, self.now);
                    }
                    None => {}
                }
            }
            Event::Ask => self.page = Some((self.now, None)),
            Event::Read => {
                if let Some((_, read @ None)) = &mut self.page {
                    *read = Some((self.odoo, self.odoo_written));
                }
            }
            Event::Merge(wins) => {
                if let Some((asked, Some((value, written)))) = self.page {
                    self.page = None;
                    self.merge(wins, asked, value, written);
                }
            }
        }
    }

    /// Capture: a local change is enqueued in its own transaction.
    fn write(&mut self, value: u32, resent: bool) {
        self.local = value;
        self.outbox.push(Row {
            value,
            at: self.now,
            resent,
            written: false,
            done: None,
            forgotten: false,
        });
    }

    fn merge(&mut self, wins: Wins, asked: u64, read: u32, written: u64) {
        let sent = match self.outbox.last() {
            None => Sent::Before,
            Some(Row { done: None, .. }) => Sent::Waits,
            Some(Row { done: Some(at), .. }) if *at > asked => Sent::Late,
            Some(_) => Sent::Before,
        };
        let had = |row: &&Row| row.done.is_some_and(|at| at <= asked);
        let youngest = self.outbox.iter().rposition(|row| row.forgotten);
        let known: Vec<&Row> = self.outbox.iter().skip(youngest.unwrap_or(0)).collect();
        let is_unclear = youngest.is_some() && !known.first().is_some_and(had);
        let last = known.iter().rfind(|row| had(row)).map(|row| row.value);
        let facts = Facts {
            is_unclear,
            moved: is_unclear || last.or(self.base) != Some(read),
            differs: self.local != read,
            sent,
            is_ours: known.iter().any(|row| !had(row) && row.value == read),
            odoo_is_newer: self.outbox.last().is_none_or(|row| written > row.at),
            is_resent: self.outbox.last().is_some_and(|row| row.resent),
            again: false,
        };
        let fate = decide(facts, wins);
        match fate {
            Fate::Take { resend: false } | Fate::OdooWins { resend: false } => self.local = read,
            Fate::Take { resend: true } | Fate::OdooWins { resend: true } => {
                self.write(read, true);
                self.resent += 1;
            }
            _ => {}
        }
        if matches!(fate, Fate::OdooWins { .. } | Fate::LocalWins) {
            self.conflicts += 1;
        }
        if fate != Fate::Later {
            self.base = Some(read);
            self.outbox
                .retain(|row| row.done.is_none_or(|at| at > asked));
        }
    }

    fn settle(&mut self, wins: Wins) {
        for _ in 0..4 {
            while self.outbox.iter().any(|row| row.done.is_none()) {
                self.happens(Event::Deliver);
            }
            for event in [Event::Ask, Event::Read, Event::Merge(wins)] {
                self.happens(event);
            }
        }
    }
}

fn event(wins: Wins) -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u32..4).prop_map(Event::EditLocal),
        (0_u32..4).prop_map(Event::EditOdoo),
        Just(Event::Deliver),
        Just(Event::Ask),
        Just(Event::Read),
        Just(Event::Merge(wins)),
        Just(Event::Forget),
    ]
}

fn course() -> impl Strategy<Value = (Wins, Vec<Event>)> {
    prop_oneof![Just(Wins::Odoo), Just(Wins::Local), Just(Wins::Newest)].prop_flat_map(|wins| {
        (
            Just(wins),
            proptest::collection::vec(event(wins), 0_usize..60),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever happens in whatever order: in the end both sides have the same, nothing is on its way, and nothing was sent but what
    /// somebody changed here and what had to be sent again after a conflict.
    #[test]
    fn both_sides_come_to_the_same((wins, events) in course(), starts_agreed: bool) {
        let mut world = World { base: starts_agreed.then_some(0), ..World::default() };
        for event in events {
            world.happens(event);
        }
        world.settle(wins);
        prop_assert_eq!(world.local, world.odoo, "{:?}", world);
        prop_assert!(world.outbox.iter().all(|row| row.done.is_some()));
        // A conflict is about something that somebody here changed.
        prop_assert!(world.edits > 0 || world.conflicts == 0);
        if wins == Wins::Local {
            prop_assert_eq!(world.resent, 0);
        }
        // Where nobody touches Odoo, whatever is read there is ours.
        if world.edits_of_odoo == 0 && starts_agreed {
            prop_assert_eq!((world.conflicts, world.resent), (0, 0), "{:?}", world);
        }
        // It stays so, and stays quiet.
        let (conflicts, base) = (world.conflicts, world.base);
        world.settle(wins);
        prop_assert_eq!(world.conflicts, conflicts);
        prop_assert_eq!(world.base, base);
        prop_assert_eq!(world.local, world.odoo);
    }
}
