use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SHORT: Duration = Duration::from_millis(1);

fn ids(asks: &Ask) -> usize {
    match asks {
        Ask::List { .. } => 0,
        Ask::Page { ids } | Ask::Fate { ids } => ids.len(),
    }
}

#[test]
fn a_run_lists_reads_and_ends() {
    let mut pull = Pull::new(Mode::Full, 0, 2_000);
    assert_eq!(pull.next(2), Some(Ask::List { after: 0 }));
    assert_eq!(pull.next(2), None);
    pull.listed(i64::MAX, &(1..=1_200).collect::<Vec<_>>(), &[]);
    let first = pull.next(2).unwrap();
    let second = pull.next(2).unwrap();
    assert_eq!((ids(&first), ids(&second), pull.next(2)), (500, 500, None));
    assert_eq!(pull.safe_to(), 0);
    let Ask::Page { ids: later } = second else {
        panic!()
    };
    pull.paged(&later, &[], SHORT);
    assert_eq!(pull.safe_to(), 0);
    let Ask::Page { ids: earlier } = first else {
        panic!()
    };
    pull.paged(&earlier, &[], SHORT);
    assert_eq!(pull.safe_to(), 1_000);
    let Some(Ask::Page { ids: last }) = pull.next(2) else {
        panic!()
    };
    assert!(!pull.is_over());
    pull.paged(&last, &[], SHORT);
    assert!(pull.is_over());
    assert_eq!(pull.safe_to(), i64::MAX);
}

#[test]
fn what_a_page_lacks_is_asked_for_before_the_end() {
    let mut pull = Pull::new(
        Mode::Changes {
            floor: String::new(),
        },
        0,
        10,
    );
    pull.next(1);
    pull.listed(i64::MAX, &[1, 2, 3], &[]);
    pull.next(1);
    pull.paged(&[1, 2, 3], &[2], SHORT);
    assert_eq!((pull.is_over(), pull.safe_to()), (false, 1));
    assert_eq!(pull.next(1), Some(Ask::Fate { ids: vec![2] }));
    assert!(pull.told(&[2], &[]));
    assert!(pull.is_over());
}

#[test]
fn what_is_there_is_read_once_more_and_no_oftener() {
    let mut pull = Pull::new(Mode::Reconcile, 0, 10);
    pull.next(1);
    pull.listed(i64::MAX, &[], &[4, 5]);
    assert_eq!(pull.next(1), Some(Ask::Fate { ids: vec![4, 5] }));
    assert!(pull.told(&[4, 5], &[5]));
    assert_eq!(pull.next(1), Some(Ask::Page { ids: vec![5] }));
    pull.paged(&[5], &[5], SHORT);
    assert_eq!((pull.safe_to(), pull.is_over()), (4, false));
    pull.next(1);
    assert!(!pull.told(&[5], &[5]));
}

#[test]
fn pages_follow_what_odoo_bears() {
    let mut pull = Pull::new(Mode::Full, 0, 2_000);
    pull.next(1);
    let all: Vec<i64> = (1..=10_000).collect();
    pull.listed(10_000, &all, &[]);
    let mut sizes = Vec::new();
    let mut after = 10_000;
    while sizes.len() < 24 {
        match pull.next(1).unwrap() {
            Ask::List { .. } => {
                let more: Vec<i64> = (after + 1..=after + 2_000).collect();
                after += 2_000;
                pull.listed(after, &more, &[]);
            }
            Ask::Page { ids } => {
                sizes.push(ids.len());
                pull.paged(&ids, &[], SHORT);
            }
            Ask::Fate { .. } => panic!(),
        }
    }
    assert_eq!((sizes[0], sizes.last()), (500, Some(&2_000)));
    let slow = SLOW + SHORT;
    pull.paged(&[], &[], slow);
    assert_eq!(pull.rows, 1_000);
}

#[test]
fn an_answer_too_large_is_asked_for_in_halves() {
    let mut pull = Pull::new(Mode::Full, 0, 2);
    pull.next(1);
    pull.listed(i64::MAX, &[1, 2], &[]);
    let ask = pull.next(1).unwrap();
    assert!(pull.failed(ask, true));
    assert_eq!(pull.safe_to(), 0);
    assert_eq!(pull.next(1), Some(Ask::Page { ids: vec![1] }));
    pull.paged(&[1], &[], SHORT);
    assert_eq!(pull.safe_to(), 1);
    let alone = pull.next(1).unwrap();
    assert_eq!(alone, Ask::Page { ids: vec![2] });
    assert!(!pull.failed(alone, true));
}

proptest! {
    /// Whatever comes in whatever order, with questions that fail and records that pages leave out: every listed record is merged or
    /// its fate is known when the run is over, nothing is asked for twice at a time, and nothing below `safe_to` is missing.
    #[test]
    fn nothing_is_forgotten(
        count in 0_i64..400,
        stretch in 1_i64..120,
        most_rows in 1_usize..60,
        calls in 1_usize..5,
        script in proptest::collection::vec((0_usize..5, 0_u8..10), 0..2_000),
    ) {
        let mut pull = Pull::new(Mode::Full, 0, most_rows);
        let mut script = script.into_iter().chain(std::iter::repeat((0, 9)));
        let mut open: Vec<Ask> = Vec::new();
        let mut merged = BTreeSet::new();
        let mut steps = 0;
        while !pull.is_over() {
            steps += 1;
            prop_assert!(steps < 20_000, "the run does not end");
            while let Some(ask) = pull.next(calls) {
                open.push(ask);
            }
            prop_assert!(open.len() <= calls && !open.is_empty());
            let (which, luck) = script.next().unwrap();
            let ask = open.swap_remove(which % open.len());
            if luck == 0 {
                let too_large = which == 1 && ids(&ask) > 1 && matches!(ask, Ask::Page { .. });
                prop_assert!(pull.failed(ask, too_large));
                continue;
            }
            match ask {
                Ask::List { after } => {
                    let last = (after + stretch).min(count);
                    let listed: Vec<i64> = (after + 1..=last).collect();
                    pull.listed(if last == count { i64::MAX } else { last }, &listed, &[]);
                }
                Ask::Page { ids } => {
                    let absent: Vec<i64> = ids.iter().copied().filter(|id| luck == 1 && id % 3 == 0).collect();
                    merged.extend(ids.iter().copied().filter(|id| !absent.contains(id)));
                    pull.paged(&ids, &absent, SHORT);
                }
                Ask::Fate { ids } => {
                    merged.extend(ids.iter().copied());
                    prop_assert!(pull.told(&ids, &[]));
                }
            }
            let safe = pull.safe_to().min(count);
            prop_assert!((1..=safe).all(|id| merged.contains(&id)), "{safe} is not safe");
        }
        prop_assert_eq!(merged, (1..=count).collect::<BTreeSet<_>>());
    }
}
