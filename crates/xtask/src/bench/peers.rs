//! Peers that this benchmark does not start, and what is known of them from another run.

/// Said in the report as what it is: not measured here.
pub fn not_run() -> Vec<String> {
    let known = "a POST to an instant nginx sink, another run on 2 cores";
    vec![
        format!(
            "pg_net ({known}): 200 requests/s with its default batch_size of 200; about 1,050 with 1000 (up to 1 % failed); with 5000, 80 % failed, out of file descriptors. Its queue is unlogged."
        ),
        format!(
            "graphile-worker ({known}): 1,540 jobs/s with concurrency 10; 6,200 to 6,600 with a local queue and concurrency 8 to 12."
        ),
        format!(
            "A 60-line pgrx trial without guarantees ({known}): 12,500 rows/s one row a request, where the bare ureq loop reached 32,000 with 8 threads."
        ),
    ]
}
