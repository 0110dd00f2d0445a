use super::*;

/// A component, the status it turns to, and what happened.
type Case = (&'static str, Status, Box<dyn Fn(&mut Signals)>);

fn well() -> Signals {
    Signals {
        set_up: true,
        preloaded: true,
        enabled: true,
        loaded_version: "1".into(),
        extension_version: "1".into(),
        workers: vec![WorkerSignal {
            state: "idle".into(),
            detail: String::new(),
        }],
        connections: vec![ConnectionSignal {
            name: "odoo".into(),
            kind: "odoo".into(),
            has_secret: true,
            ok_seconds_ago: Some(3.0),
            ..Default::default()
        }],
        done_last_hour: 95,
        failed_last_hour: 5,
        ..Default::default()
    }
}

fn status_of(signals: &Signals, component: &str) -> Status {
    report(signals)
        .iter()
        .find(|finding| finding.component == component)
        .unwrap_or_else(|| panic!("no {component}"))
        .status
}

#[test]
fn all_is_well_at_the_thresholds() {
    let findings = report(&well());
    assert!(
        findings
            .iter()
            .all(|finding| finding.status == Status::Pass && finding.remedy.is_empty()),
        "{findings:?}"
    );
    assert_eq!(overall(&findings), Status::Pass);
}

#[test]
fn each_trouble_turns_its_own_component_and_no_other() {
    let cases: Vec<Case> = vec![
        (
            "retention",
            Status::Warn,
            Box::new(|s| (s.done_days, s.oldest_done_days) = (7.0, Some(8.5))),
        ),
        (
            "retention",
            Status::Fail,
            Box::new(|s| (s.done_days, s.oldest_done_days) = (7.0, Some(14.5))),
        ),
        (
            "conflicts",
            Status::Warn,
            Box::new(|s| {
                s.conflicts = Some(ConflictSignal {
                    decided: 3,
                    apart: 1,
                });
            }),
        ),
        ("outbox", Status::Warn, Box::new(|s| s.queued = 100)),
        ("outbox", Status::Fail, Box::new(|s| s.queued = 1_000)),
        (
            "oldest due row",
            Status::Fail,
            Box::new(|s| s.oldest_due_seconds = 600.0),
        ),
        (
            "dead letters",
            Status::Fail,
            Box::new(|s| s.dead_letters = 1),
        ),
        (
            "success rate",
            Status::Fail,
            Box::new(|s| s.failed_last_hour = 6),
        ),
        ("worker", Status::Fail, Box::new(|s| s.workers.clear())),
        ("worker", Status::Warn, Box::new(|s| s.preloaded = false)),
        (
            "version",
            Status::Fail,
            Box::new(|s| s.extension_version = "0".into()),
        ),
        (
            "runs",
            Status::Warn,
            Box::new(|s| s.oldest_run_seconds = Some(3_600.0)),
        ),
        (
            "connection odoo",
            Status::Fail,
            Box::new(|s| s.connections[0].paused = true),
        ),
        (
            "connections",
            Status::Fail,
            Box::new(|s| s.unknown_connections.push("shop".into())),
        ),
    ];
    for (component, status, change) in cases {
        let mut signals = well();
        change(&mut signals);
        assert_eq!(status_of(&signals, component), status, "{component}");
        let others: Vec<_> = report(&signals)
            .into_iter()
            .filter(|f| f.status != Status::Pass && f.component != component)
            .collect();
        assert!(others.is_empty(), "{component} also turned {others:?}");
        assert!(
            !report(&signals)[0].remedy.is_empty(),
            "{component} has no remedy"
        );
    }
}

#[test]
fn an_open_circuit_is_reported_with_its_next_probe() {
    let mut signals = well();
    signals.connections[0].failures = 5;
    signals.connections[0].probe_in_seconds = Some(12.0);
    let findings = report(&signals);
    let circuit = findings
        .iter()
        .find(|finding| finding.component == "circuit odoo")
        .unwrap();
    assert_eq!(
        (circuit.status, circuit.value.as_str()),
        (Status::Fail, "open")
    );
    assert!(circuit.detail.contains("12 s"));
    assert_eq!(findings[0].status, Status::Fail);
}

#[test]
fn before_setup_only_what_can_be_known_is_reported() {
    let findings = report(&Signals {
        preloaded: true,
        enabled: true,
        workers: well().workers,
        ..Default::default()
    });
    assert_eq!(findings[0].component, "setup");
    assert_eq!(findings[0].remedy, "SELECT etl.setup();");
    assert_eq!(findings.len(), 3);
}

#[test]
fn a_standby_needs_no_worker() {
    let mut signals = well();
    signals.workers.clear();
    assert_eq!(status_of(&signals, "worker"), Status::Fail);
    signals.standby = true;
    assert_eq!(status_of(&signals, "worker"), Status::Pass);
}
