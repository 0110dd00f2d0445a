//! One connection's share of a worker: when it comes back by itself.

#[pgrx::pg_schema]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use pgrx::prelude::*;

    use crate::connections::store::Look;
    use crate::worker::lane::Lane;
    use crate::worker::session::{Ended, wait};

    fn lane(has_fresh: bool, due_in: Option<f64>) -> Lane {
        Lane::new(Look {
            channel: None,
            name: "odoo".to_owned(),
            url: "http://127.0.0.1:9".to_owned(),
            options: serde_json::Value::Null,
            secret: None,
            paused: false,
            refused: false,
            failures: 0,
            probe_in: None,
            throttled_for: None,
            protocol: None,
            run: None,
            has_fresh,
            due_in,
            held_for: None,
        })
    }

    #[pg_test]
    fn who_is_asked_how_it_is_and_who_is_not() {
        let waits = |lane: &Lane| {
            let at = lane.asks_at()?;
            Some(
                at.saturating_duration_since(Instant::now())
                    .as_secs_f64()
                    .ceil(),
            )
        };
        let mut quiet = lane(false, None);
        assert_eq!(waits(&quiet), Some(50.0));
        quiet.look.failures = 1;
        assert_eq!(waits(&quiet), Some(5.0), "in doubt");
        quiet.look.failures = 5;
        assert_eq!(waits(&quiet), None, "its circuit has probes of its own");
        quiet.look.failures = 0;
        quiet.look.paused = true;
        assert_eq!(waits(&quiet), None, "somebody paused it");
        quiet.look.refused = true;
        assert_eq!(waits(&quiet), Some(50.0), "the worker did");
        quiet.refused_at = Some(Instant::now());
        assert!(quiet.is_still_refused());
        quiet.look.paused = false;
        assert!(!quiet.is_still_refused());
        quiet.probing = true;
        assert_eq!(waits(&quiet), None, "it is being asked");
        quiet.probing = false;
        quiet.look.channel = Some(pg_etl_core::channel::Kind::Smtp);
        assert_eq!(waits(&quiet), None, "channels are not rung up for nothing");
    }

    /// A moment that is over.
    fn past() -> Instant {
        let now = Instant::now();
        now.checked_sub(Duration::from_millis(1)).unwrap_or(now)
    }

    #[pg_test]
    fn a_lane_whose_blocked_rows_are_gone_rests() {
        // Cancelled, deleted, or taken by a drain while they were blocked.
        for due_in in [None, Some(60.0)] {
            let mut gone = lane(false, due_in);
            gone.walk.block(past());
            assert!(!gone.has_work());
            assert_eq!(gone.next_due(true), due_in.map(Duration::from_secs_f64));
        }
    }

    #[pg_test]
    fn a_lane_whose_blocked_rows_are_there_comes_back_for_them() {
        for (has_fresh, due_in) in [(true, None), (false, Some(-1.0))] {
            let mut blocked = lane(has_fresh, due_in);
            blocked.walk.block(past());
            assert!(blocked.has_work());
            assert_eq!(blocked.next_due(true), Some(Duration::ZERO));
            blocked.walk.block(Instant::now() + Duration::from_secs(5));
            assert!(!blocked.has_work());
            let wait = blocked.next_due(true).expect("the end of its block");
            assert!(wait > Duration::from_secs(1), "{wait:?}");
        }
    }

    #[pg_test]
    fn a_closed_lane_waits_for_a_look() {
        for due_in in [None, Some(-1.0), Some(60.0)] {
            let mut closed = lane(true, due_in);
            closed.walk.block(past());
            closed.closed = true;
            assert_eq!(closed.next_due(true), None);
        }
    }

    #[pg_test]
    fn an_answer_is_not_taken_for_a_commit() {
        let soon = Duration::from_millis(10);
        // What woke this backend before.
        while wait(None, soon, || {}) == Ended::Woken {}
        let (mut far, near) = UnixStream::pair().expect("two ends");
        assert_eq!(wait(Some(near.as_raw_fd()), soon, || {}), Ended::TimedOut);
        far.write_all(b"x").expect("room");
        assert_eq!(wait(Some(near.as_raw_fd()), soon, || {}), Ended::Readable);
        // SAFETY: our own latch.
        unsafe { pgrx::pg_sys::SetLatch(pgrx::pg_sys::MyLatch) };
        assert_eq!(wait(Some(near.as_raw_fd()), soon, || {}), Ended::Woken);
        assert_eq!(
            wait(Some(near.as_raw_fd()), soon, || {}),
            Ended::Readable,
            "it is still there"
        );
    }
}
