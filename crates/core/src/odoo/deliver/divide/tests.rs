//! Whatever a refusal names, the bad items are found, the good ones go, and it takes few attempts.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};

use super::super::tests::with_delivery;
use super::*;

/// What a refusal says of the items of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Names {
    Nothing,
    /// Bad ones, as many as `load` collects.
    Bad,
    /// One that is good.
    OneInnocent,
    /// Ten that are good.
    TenInnocents,
    /// Half of all, most of them good.
    Half,
    /// The bad ones and as many good ones.
    BadAndInnocent,
}

const ALL_NAMES: [Names; 6] = [
    Names::Nothing,
    Names::Bad,
    Names::OneInnocent,
    Names::TenInnocents,
    Names::Half,
    Names::BadAndInnocent,
];

fn refusal(names: Names, group: &[usize], bad: &BTreeSet<usize>) -> Refusal {
    let places = |of: bool, most: usize| {
        let of_kind = group.iter().enumerate();
        of_kind
            .filter(move |(_, item)| bad.contains(item) == of)
            .map(|(place, _)| place)
            .take(most)
            .collect::<Vec<_>>()
    };
    let named = match names {
        Names::Nothing => Vec::new(),
        Names::Bad => places(true, 10),
        Names::OneInnocent => places(false, 1),
        Names::TenInnocents => places(false, 10),
        Names::Half => (0..group.len() / 2).collect(),
        Names::BadAndInnocent => [places(true, 5), places(false, 5)].concat(),
    };
    let failure = Failure::new(ErrorClass::Invalid, "no");
    Refusal {
        named: named
            .into_iter()
            .map(|place| (place, failure.clone()))
            .collect(),
        failure,
        of_all: false,
    }
}

/// The items that failed, and the attempts it took; every item is attempted in vain or succeeds once.
fn divided(
    count: usize,
    mut refuses: impl FnMut(&[usize]) -> Option<Refusal>,
) -> (BTreeSet<usize>, usize) {
    let mut attempts = 0;
    let mut done = vec![0; count];
    let results = with_delivery(|delivery| {
        delivery.divide(count, |_, group| {
            attempts += 1;
            match refuses(group) {
                Some(refusal) => Err(refusal),
                None => {
                    group.iter().for_each(|item| done[*item] += 1);
                    Ok(group.to_vec())
                }
            }
        })
    });
    let mut failed = BTreeSet::new();
    for (item, result) in results.into_iter().enumerate() {
        match result {
            Ok(answer) => assert_eq!((answer, done[item]), (item, 1)),
            Err(_) => {
                assert_eq!(done[item], 0, "item {item} failed and took effect");
                failed.insert(item);
            }
        }
    }
    (failed, attempts)
}

#[test]
fn few_attempts_find_few_bad_items_whatever_is_named() {
    let mut rng = StdRng::seed_from_u64(7);
    for count in [100, 333, 1_000] {
        for bad_ones in 1..=10 {
            let from = rng.random_range(0..count - bad_ones);
            let scattered = (0..count).sample(&mut rng, bad_ones);
            for bad in [
                BTreeSet::from_iter(scattered),
                BTreeSet::from_iter(from..from + bad_ones),
            ] {
                for names in ALL_NAMES {
                    let (failed, attempts) = divided(count, |group| {
                        group
                            .iter()
                            .any(|item| bad.contains(item))
                            .then(|| refusal(names, group, &bad))
                    });
                    assert_eq!(failed, bad, "{names:?} {count}");
                    let halvings = (count as f64).log2() + 1.0;
                    let most = 2.0 * bad_ones as f64 * halvings + ONE_BY_ONE as f64 + 2.0;
                    assert!(
                        attempts as f64 <= most,
                        "{names:?}: {attempts} attempts for {bad_ones} of {count}, allowed are {most}"
                    );
                    if names == Names::Bad {
                        assert!(attempts <= bad_ones + 2, "{attempts} for {bad_ones}");
                    }
                }
            }
        }
    }
}

#[test]
fn items_that_are_refused_only_together_all_go() {
    // Two changes of which each is fine, and which Odoo does not take in one call.
    for (a, b) in [(0, 99), (10, 11), (49, 50)] {
        for names in ALL_NAMES {
            let (failed, attempts) = divided(100, |group| {
                let together = group.contains(&a) && group.contains(&b);
                together.then(|| refusal(names, group, &BTreeSet::from([a, b])))
            });
            assert_eq!(failed, BTreeSet::new(), "{names:?} {a} {b}");
            assert!(attempts <= 28, "{names:?}: {attempts}");
        }
    }
}

#[test]
fn items_that_are_accepted_only_together_stay_together() {
    // Two that need each other, as in a swap of unique values: alone, either is refused.
    let needs_other = |group: &[usize]| group.contains(&40) != group.contains(&41);
    let only = |bad: &BTreeSet<usize>| {
        let (failed, _) = divided(100, |group| {
            let refused = group.iter().any(|item| bad.contains(item)) || needs_other(group);
            refused.then(|| refusal(Names::Nothing, group, bad))
        });
        failed
    };
    assert_eq!(only(&BTreeSet::new()), BTreeSet::new());
    // A bad one further away does not part them.
    assert_eq!(only(&BTreeSet::from([77])), BTreeSet::from([77]));
}
