//! The calls of one connection that wait for a thread, and the threads that take them: as many as the endpoint bears, each taking the
//! next call as soon as its last one is answered, whatever the main thread does meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job::{Finished, Job};
use super::pool::Pool;

/// Shared by the main thread and the threads of the pool.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The most urgent first, else in the order in which they came.
    jobs: VecDeque<Job>,
    takers: usize,
    allowed: usize,
}

impl Line {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change is one push, pop or count: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls may be on the wire at a time.
    pub fn allow(&self, calls: usize) {
        self.inner().allowed = calls;
    }

    /// Puts a call into the line.
    pub fn push(&self, job: Job) {
        let jobs = &mut self.inner().jobs;
        let place = jobs
            .iter()
            .rposition(|before| before.priority >= job.priority)
            .map_or(0, |before| before + 1);
        jobs.insert(place, job);
    }

    /// Sees that as many threads take calls as there are calls and may be.
    pub fn start(&self, pool: &mut Pool<Finished>) {
        let more = {
            let mut inner = self.inner();
            let wanted = inner.allowed.min(inner.takers + inner.jobs.len());
            let more = wanted.saturating_sub(inner.takers);
            inner.takers += more;
            more
        };
        for _ in 0..more {
            let mut taker = Taker {
                line: self.clone(),
                has_left: false,
            };
            pool.submit(move |emit| {
                while let Some(job) = taker.next() {
                    emit(job.run());
                }
            });
        }
    }

    /// Takes back what no thread has taken.
    pub fn recall(&self) -> Vec<Job> {
        self.inner().jobs.drain(..).collect()
    }
}

/// A thread's place; it is given back whatever ends the thread's work.
struct Taker {
    line: Line,
    has_left: bool,
}

impl Taker {
    /// The next call. `None`: the place is given back, under the same lock, so that a call that comes now finds it free.
    fn next(&mut self) -> Option<Job> {
        let mut inner = self.line.inner();
        let job = if inner.takers > inner.allowed {
            None
        } else {
            inner.jobs.pop_front()
        };
        if job.is_none() {
            inner.takers -= 1;
            self.has_left = true;
        }
        job
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        if !self.has_left {
            self.line.inner().takers -= 1;
        }
    }
}
