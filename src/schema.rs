//! The order of the install script: each file of `sql/schema` after what it needs, grants last.

use pgrx::prelude::*;

extension_sql_file!("../sql/schema/roles.sql", name = "roles", bootstrap);
extension_sql_file!(
    "../sql/schema/schema.sql",
    name = "schema",
    requires = ["roles"]
);
extension_sql_file!(
    "../sql/schema/audit.sql",
    name = "audit",
    requires = ["schema"]
);
extension_sql_file!(
    "../sql/schema/worker.sql",
    name = "worker",
    requires = ["audit"]
);
extension_sql_file!(
    "../sql/schema/connections.sql",
    name = "connections",
    requires = ["worker"]
);
extension_sql_file!(
    "../sql/schema/counts.sql",
    name = "counts",
    requires = ["connections"]
);
extension_sql_file!(
    "../sql/schema/outbox.sql",
    name = "outbox",
    requires = ["counts"]
);
extension_sql_file!(
    "../sql/schema/runs.sql",
    name = "runs",
    requires = ["outbox"]
);
extension_sql_file!(
    "../sql/schema/setup.sql",
    name = "setup",
    requires = ["runs"]
);
extension_sql_file!(
    "../sql/schema/mirror.sql",
    name = "mirror",
    requires = ["setup"]
);
extension_sql_file!(
    "../sql/schema/pull.sql",
    name = "pull",
    requires = ["mirror"]
);
extension_sql_file!(
    "../sql/schema/capture.sql",
    name = "capture",
    requires = ["pull"]
);
extension_sql_file!(
    "../sql/schema/mapping.sql",
    name = "mapping",
    requires = ["capture"]
);
extension_sql_file!(
    "../sql/schema/lines.sql",
    name = "lines",
    requires = ["mapping"]
);
extension_sql_file!(
    "../sql/schema/track.sql",
    name = "track",
    requires = ["lines"]
);
extension_sql_file!(
    "../sql/schema/follow.sql",
    name = "follow",
    requires = ["track"]
);
extension_sql_file!(
    "../sql/schema/two_way.sql",
    name = "two_way",
    requires = ["follow"]
);
extension_sql_file!(
    "../sql/schema/take_in.sql",
    name = "take_in",
    requires = ["two_way"]
);
extension_sql_file!(
    "../sql/schema/two_way_records.sql",
    name = "two_way_records",
    requires = ["take_in"]
);
extension_sql_file!(
    "../sql/schema/retention.sql",
    name = "retention",
    requires = ["two_way_records"]
);
extension_sql_file!(
    "../sql/schema/health.sql",
    name = "health",
    requires = ["retention"]
);
extension_sql_file!(
    "../sql/schema/metrics.sql",
    name = "metrics",
    requires = ["health"]
);
extension_sql_file!(
    "../sql/schema/alerts.sql",
    name = "alerts",
    requires = ["metrics"]
);
extension_sql_file!("../sql/schema/grants.sql", name = "grants", finalize);
