use super::*;

fn rule(component: &str, status: Status) -> Rule {
    Rule {
        component: component.to_owned(),
        status,
        channels: vec!["slack".to_owned()],
        renotify_seconds: Some(3_600.0),
        is_quiet: false,
    }
}

fn finding(component: &str, status: Status) -> Finding {
    Finding {
        component: component.to_owned(),
        status,
        value: "7".to_owned(),
        threshold: "warn 5".to_owned(),
        detail: "a secret that Odoo quoted".to_owned(),
        remedy: "SELECT 1;".to_owned(),
    }
}

/// The alert as it is stored after a step.
fn after(step: &Step, component: &str, seen_at: f64, before: Option<&Open>) -> Open {
    let told = match before {
        None => {
            &step
                .opened
                .iter()
                .find(|new| new.component == component)
                .unwrap()
                .told
        }
        Some(open) => {
            &step
                .changed
                .iter()
                .find(|changed| changed.id == open.id)
                .unwrap()
                .told
        }
    };
    let changed = before.and_then(|open| step.changed.iter().find(|changed| changed.id == open.id));
    Open {
        id: 1,
        component: component.to_owned(),
        status: changed.map_or(Status::Warn, |changed| changed.status),
        is_acknowledged: false,
        is_resolved: changed.is_some_and(|changed| changed.is_resolved),
        seen_at,
        told: told.clone(),
    }
}

fn events(step: &Step) -> Vec<(String, Event)> {
    let lines = step.messages.values().flatten();
    lines
        .map(|line| (line.component.clone(), line.event))
        .collect()
}

fn said(component: &str, event: Event) -> Vec<(String, Event)> {
    vec![(component.to_owned(), event)]
}

#[test]
fn one_message_for_each_change_and_none_between() {
    let rules = [rule("*", Status::Warn)];
    let (warn, fail) = (
        [finding("outbox", Status::Warn)],
        [finding("outbox", Status::Fail)],
    );
    let first = step(&rules, &[], &warn, 0.0);
    assert_eq!(events(&first), said("outbox", Event::Opened));
    let open = after(&first, "outbox", 0.0, None);

    let same = step(&rules, std::slice::from_ref(&open), &warn, 15.0);
    assert_eq!(events(&same), []);
    assert!(same.opened.is_empty());

    let worse = step(&rules, std::slice::from_ref(&open), &fail, 30.0);
    assert_eq!(events(&worse), said("outbox", Event::Worse));
    let open = after(&worse, "outbox", 30.0, Some(&open));
    assert_eq!(
        events(&step(&rules, std::slice::from_ref(&open), &warn, 45.0)),
        []
    );
    assert_eq!(
        events(&step(&rules, std::slice::from_ref(&open), &fail, 3_629.0)),
        []
    );
    let still = step(&rules, std::slice::from_ref(&open), &fail, 3_630.0);
    assert_eq!(events(&still), said("outbox", Event::Still));

    // It wavers: nothing. It is calm: the end, once.
    let wavers = step(&rules, std::slice::from_ref(&open), &[], 29.0 + CALM);
    assert_eq!(
        (events(&wavers), wavers.changed[0].is_resolved),
        (vec![], false)
    );
    let over = step(&rules, std::slice::from_ref(&open), &[], 30.0 + CALM);
    assert_eq!(events(&over), said("outbox", Event::Resolved));
    assert!(over.changed[0].is_resolved && over.changed[0].told.is_empty());
    let gone = after(&over, "outbox", 30.0, Some(&open));
    // And another one is another one.
    let again = step(&rules, std::slice::from_ref(&gone), &warn, 40.0 + CALM);
    assert_eq!(events(&again), said("outbox", Event::Opened));
    assert_eq!(again.opened.len(), 1);
}

#[test]
fn a_rule_is_about_its_components_from_its_status_on() {
    let findings = [
        finding("sync lag res.partner", Status::Warn),
        finding("sync lag sale.order", Status::Fail),
        finding("synchrotron", Status::Fail),
        finding("outbox", Status::Pass),
    ];
    let step = step(&[rule("sync lag", Status::Fail)], &[], &findings, 0.0);
    assert_eq!(events(&step), said("sync lag sale.order", Event::Opened));
    assert_eq!(
        step.opened.len(),
        1,
        "of what no rule is about there is no alert"
    );
}

#[test]
fn what_changes_together_is_one_message_for_each_channel() {
    let mut both = rule("*", Status::Warn);
    both.channels.push("hook".to_owned());
    let rules = [both, rule("outbox", Status::Fail)];
    let findings = [
        finding("outbox", Status::Fail),
        finding("worker", Status::Fail),
    ];
    let step = step(&rules, &[], &findings, 0.0);
    assert_eq!(step.messages.len(), 2);
    // Two rules that name a channel tell it once.
    assert!(
        step.messages.values().all(|lines| lines.len() == 2),
        "{step:?}"
    );
}

#[test]
fn whoever_knows_is_not_told_again_unless_it_gets_worse() {
    let rules = [rule("*", Status::Warn)];
    let first = step(&rules, &[], &[finding("outbox", Status::Warn)], 0.0);
    let mut open = after(&first, "outbox", 0.0, None);
    open.is_acknowledged = true;
    let later = step(
        &rules,
        std::slice::from_ref(&open),
        &[finding("outbox", Status::Warn)],
        9_000.0,
    );
    assert_eq!(events(&later), []);
    let worse = step(
        &rules,
        std::slice::from_ref(&open),
        &[finding("outbox", Status::Fail)],
        9_000.0,
    );
    assert_eq!(events(&worse), said("outbox", Event::Worse));
}

#[test]
fn what_got_better_and_stayed_so_may_get_worse_again() {
    let rules = [rule("*", Status::Fail)];
    let (warn, fail) = (
        [finding("outbox", Status::Warn)],
        [finding("outbox", Status::Fail)],
    );
    let first = step(&rules, &[], &fail, 0.0);
    let mut open = after(&first, "outbox", 0.0, None);
    open.is_acknowledged = true;
    let better = step(&rules, std::slice::from_ref(&open), &warn, 700.0);
    let mut open = after(&better, "outbox", 700.0, Some(&open));
    open.is_acknowledged = true;
    let worse = step(&rules, std::slice::from_ref(&open), &fail, 800.0);
    assert_eq!(events(&worse), said("outbox", Event::Worse));
    // And its end is told, whatever it was last.
    let over = step(&rules, &[open], &[], 900.0);
    assert_eq!(events(&over), said("outbox", Event::Resolved));
}

#[test]
fn quiet_hours_put_off_and_lose_nothing() {
    let mut quiet = rule("*", Status::Warn);
    quiet.is_quiet = true;
    let bad = [finding("outbox", Status::Fail)];
    let first = step(std::slice::from_ref(&quiet), &[], &bad, 0.0);
    assert_eq!((events(&first), first.opened.len()), (vec![], 1));
    let open = after(&first, "outbox", 0.0, None);
    let morning = [rule("*", Status::Warn)];
    let told = step(&morning, std::slice::from_ref(&open), &bad, 100.0);
    assert_eq!(events(&told), said("outbox", Event::Opened));
    // Over by night: the end is told in the morning.
    let open = after(&told, "outbox", 100.0, Some(&open));
    let over = step(
        std::slice::from_ref(&quiet),
        std::slice::from_ref(&open),
        &[],
        100.0 + CALM,
    );
    assert_eq!((events(&over), over.changed[0].is_resolved), (vec![], true));
    let open = after(&over, "outbox", 100.0, Some(&open));
    let told = step(&morning, std::slice::from_ref(&open), &[], 300.0);
    assert_eq!(events(&told), said("outbox", Event::Resolved));
    // Nobody knew of it: nobody is told that it is over.
    let unknown = Open {
        told: BTreeMap::new(),
        is_resolved: false,
        ..open
    };
    assert_eq!(events(&step(&morning, &[unknown], &[], 400.0)), []);
}

#[test]
fn a_message_holds_no_detail() {
    let step = step(
        &[rule("*", Status::Warn)],
        &[],
        &[finding("outbox", Status::Fail)],
        0.0,
    );
    let text = serde_json::to_string(&step.messages).unwrap();
    assert!(
        !text.contains("secret") && text.contains("SELECT 1;"),
        "{text}"
    );
}

#[test]
fn what_has_no_room_in_a_message_is_told_at_the_next_look() {
    let rules = [rule("*", Status::Warn)];
    let many: Vec<Finding> = (0..120)
        .map(|n| finding(&format!("sync lag m{n}"), Status::Fail))
        .collect();
    let first = step(&rules, &[], &many, 0.0);
    assert_eq!((first.opened.len(), events(&first).len()), (120, 100));
    let open: Vec<Open> = (0..)
        .zip(&first.opened)
        .map(|(id, new)| Open {
            id,
            component: new.component.clone(),
            status: new.status,
            is_acknowledged: false,
            is_resolved: false,
            seen_at: 0.0,
            told: new.told.clone(),
        })
        .collect();
    assert_eq!(events(&step(&rules, &open, &many, 15.0)).len(), 20);
    let ends = step(&rules, &open, &[], CALM);
    assert_eq!(events(&ends).len(), 100, "those that were told");
}

#[test]
fn a_channel_is_not_told_of_its_own_trouble() {
    let mut rule = rule("*", Status::Warn);
    rule.channels.push("mail".to_owned());
    let step = step(
        &[rule],
        &[],
        &[finding("connection slack", Status::Fail)],
        0.0,
    );
    let told: Vec<&String> = step.messages.keys().collect();
    assert_eq!(told, ["mail"]);
    assert_eq!(step.opened.len(), 1);
}
