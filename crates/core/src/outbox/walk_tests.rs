use super::*;

const AMID: Cursor = Cursor {
    fresh: (0, 10),
    due: (0, 10),
};
const FRESH_OVER: Cursor = Cursor {
    fresh: Cursor::START.fresh,
    ..AMID
};
const DUE_OVER: Cursor = Cursor {
    due: Cursor::START.due,
    ..AMID
};

/// A walk of which every window is empty.
fn pass(walk: &mut Walk, next: Cursor, now: Instant) -> Found {
    walk.begin(None, now);
    walk.took(next, 0, None, now)
}

#[test]
fn a_walk_that_found_nothing_is_in_vain_once_both_laps_are_over() {
    let (mut walk, now) = (Walk::default(), Instant::now());
    assert_eq!(pass(&mut walk, AMID, now), Found::Passed);
    assert_eq!(pass(&mut walk, FRESH_OVER, now), Found::Passed);
    assert_eq!(walk.rests_until(), None);
    assert_eq!(pass(&mut walk, DUE_OVER, now), Found::Nothing);
    assert_eq!(walk.rests_until(), Some(now + BLOCKED));
    walk.reopen();
    assert_eq!(walk.rests_until(), None);
    assert_eq!(pass(&mut walk, Cursor::START, now), Found::Passed);
    assert_eq!(pass(&mut walk, Cursor::START, now), Found::Nothing);
}

#[test]
fn what_is_known_to_be_free_sooner_is_not_waited_for_longer() {
    let now = Instant::now();
    for (release, wait) in [(1, 1), (60, 5)] {
        let mut walk = Walk::default();
        walk.begin(None, now);
        let release = Some(Duration::from_secs(release));
        assert_eq!(walk.took(Cursor::START, 0, release, now), Found::Nothing);
        assert_eq!(walk.rests_until(), Some(now + Duration::from_secs(wait)));
    }
}

#[test]
fn what_happens_on_the_way_asks_for_a_whole_lap() {
    let now = Instant::now();
    let happens: [fn(&mut Walk, Instant); 2] = [
        |walk, _| walk.reopen(),
        // Rows that go free others, too.
        |walk, now| {
            walk.begin(None, now);
            walk.took(AMID, 3, None, now);
        },
    ];
    for happens in happens {
        let mut walk = Walk::default();
        assert_eq!(pass(&mut walk, AMID, now), Found::Passed);
        happens(&mut walk, now);
        // What lies before where it happened was looked at before.
        assert_eq!(pass(&mut walk, Cursor::START, now), Found::Passed);
        assert_eq!(pass(&mut walk, Cursor::START, now), Found::Nothing);
    }
}

#[test]
fn a_lap_in_vain_is_followed_by_small_steps() {
    let (mut walk, now) = (Walk::default(), Instant::now());
    pass(&mut walk, AMID, now);
    assert_eq!(walk.window(100), (100, 400));
    while pass(&mut walk, AMID, now) == Found::Passed && walk.window(100).1 < LONGEST_STRIDE {}
    assert_eq!(walk.window(100), (100, LONGEST_STRIDE));
    pass(&mut walk, Cursor::START, now);
    assert_eq!(walk.window(100), (100, 100));
}

#[test]
fn an_urgent_row_that_cannot_be_claimed_is_left_behind() {
    let (mut walk, now) = (Walk::default(), Instant::now());
    walk.begin(None, now);
    walk.took(AMID, 100, None, now);
    // It is there; the claim that begins with it is aborted, until it is alone.
    let mut tries = 0;
    loop {
        assert_eq!(walk.begin(Some(20), now).fresh, Cursor::START.fresh);
        let (_, window) = walk.window(100);
        if walk.stumble(window) {
            break;
        }
        tries += 1;
        assert!(tries < 10, "the window does not become smaller");
    }
    let bad = (-5, 20);
    assert_eq!(walk.place().fresh, Cursor::START.fresh);
    walk.step(Cursor { fresh: bad, ..AMID }, now);
    assert_eq!(walk.begin(Some(20), now).fresh, bad, "behind it");
    walk.took(AMID, 0, None, now);
    assert_eq!(walk.begin(Some(20), now).fresh, AMID.fresh, "and back");
}

#[test]
fn claims_that_are_all_aborted_rest_ever_longer() {
    let (mut walk, mut now) = (Walk::default(), Instant::now());
    let mut rests = Vec::new();
    for tries in 0..48 {
        walk.begin(None, now);
        assert!(walk.stumble(1));
        assert_eq!(walk.is_told(), [1, 2, 4, 8, 16, 32].contains(&(tries + 1)));
        walk.step(AMID, now);
        // What others commit does not end it.
        walk.reopen();
        if let Some(until) = walk.rests_until().filter(|until| *until > now) {
            rests.push((tries + 1, (until - now).as_secs()));
            now = until;
        }
    }
    assert_eq!(rests, [(8, 1), (16, 2), (24, 4), (32, 5), (40, 5), (48, 5)]);
    walk.begin(None, now);
    walk.took(AMID, 1, None, now);
    assert!(walk.stumble(1) && walk.is_told(), "told anew");
    walk.step(AMID, now);
    assert_eq!(walk.rests_until(), None);
}

/// A queue as the claim sees it: rank, id, and until when the row is barred.
struct Queue {
    rows: Vec<(i32, i64, Instant)>,
    taken: Vec<(i64, Instant)>,
}

impl Queue {
    fn claim(&mut self, walk: &mut Walk, wanted: usize, now: Instant) -> Found {
        let rank = walk.rank();
        let before = self.rows.iter().filter(|row| row.0 < rank);
        let cursor = walk.begin(before.map(|row| row.1).max(), now);
        let (wanted, window) = walk.window(wanted);
        self.rows.sort_unstable();
        let behind: Vec<_> = self
            .rows
            .iter()
            .filter(|row| (row.0, row.1) > cursor.fresh)
            .take(window)
            .copied()
            .collect();
        let mut next = Cursor::START;
        if behind.len() == window {
            next.fresh = behind.last().map_or(next.fresh, |row| (row.0, row.1));
        }
        let mut count = 0;
        for row in behind {
            if row.2 > now {
                continue;
            }
            if count == wanted {
                break;
            }
            if count + 1 == wanted {
                next.fresh = (row.0, row.1);
            }
            count += 1;
            self.rows.retain(|other| other.1 != row.1);
            self.taken.push((row.1, now));
        }
        walk.took(next, count, None, now)
    }

    fn taken_at(&self, id: i64) -> Option<Instant> {
        let found = self.taken.iter().find(|taken| taken.0 == id);
        found.map(|taken| taken.1)
    }
}

/// A backlog that never ends: as many rows come as go. Every row that was barred when the lap passed it goes soon after it is free,
/// and the lap goes on meanwhile.
#[test]
fn what_a_lap_passed_goes_while_the_backlog_lasts() {
    let begin = Instant::now();
    let free_at = begin + Duration::from_secs(10);
    for barred in [3, 500] {
        let mut queue = Queue {
            rows: (0..barred).map(|id| (0, id, free_at)).collect(),
            taken: Vec::new(),
        };
        let (mut walk, mut youngest, mut now) = (Walk::default(), barred, begin);
        while now < begin + Duration::from_secs(60) {
            queue
                .rows
                .extend((0..10).map(|more| (0, youngest + more, begin)));
            youngest += 10;
            queue.claim(&mut walk, 10, now);
            now += Duration::from_millis(50);
        }
        let freed: Vec<_> = (0..barred).map(|id| queue.taken_at(id)).collect();
        let last = freed.iter().max().copied().flatten();
        let soonest = freed.iter().min().copied().flatten();
        let soonest = soonest.expect("every one of them") - free_at;
        assert!(soonest < Duration::from_secs(6), "{barred}: {soonest:?}");
        let last = last.expect("some of them") - free_at;
        assert!(last < Duration::from_secs(50), "{barred}: {last:?}");
        let straight = queue.taken.iter().filter(|taken| taken.0 >= barred).count();
        assert!(straight > 9_000, "{barred}: {straight} rows behind them");
    }
}

/// Urgent rows that come all the time, behind others that wait, go at once and do not keep the lap from going on.
#[test]
fn what_is_urgent_goes_soon_and_starves_nobody() {
    let begin = Instant::now();
    let never = begin + Duration::from_secs(3_600);
    let mut queue = Queue {
        rows: (0..200).map(|id| (-5, id, never)).collect(),
        taken: Vec::new(),
    };
    queue.rows.extend((200..2_200).map(|id| (0, id, begin)));
    let (mut walk, mut now, mut waits) = (Walk::default(), begin, Vec::new());
    for urgent in 10_000..10_400_i64 {
        queue.rows.push((-5, urgent, begin));
        waits.push((urgent, now));
        for _ in 0..4 {
            queue.claim(&mut walk, 10, now);
            now += Duration::from_millis(20);
        }
    }
    let usual = queue.taken.iter().filter(|taken| taken.0 < 10_000).count();
    assert_eq!(usual, 2_000);
    for (urgent, came) in waits.iter().take(390) {
        let wait = queue.taken_at(*urgent).expect("an urgent row") - *came;
        assert!(wait < Duration::from_secs(2), "{urgent}: {wait:?}");
    }
}
