// graphile-worker at its best: a local queue, ten jobs at a time, each one POST over a kept-alive connection.
//   node graphile.mjs DSN URL JOBS
// Prints the seconds from its start of work until the last job is marked as done.
import http from "node:http";
import { makeWorkerUtils, run } from "graphile-worker";

const [connectionString, url, jobs] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });

function post(body) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${url}/post`, {
      agent, method: "POST", headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
    }, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(`HTTP ${answer.statusCode}`))));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const utils = await makeWorkerUtils({ connectionString });
await utils.migrate();
await utils.withPgClient(async (client) => {
  await client.query("TRUNCATE graphile_worker._private_jobs");
  await client.query(
    `SELECT count(graphile_worker.add_job('post', json_build_object('name', 'Partner ' || n, 'email', 'p' || n || '@example.com', 'phone', '+41 44 ' || n)))
     FROM generate_series(1, $1::int) n`, [jobs]);
  await client.query("VACUUM ANALYZE graphile_worker._private_jobs");
});

const started = process.hrtime.bigint();
const runner = await run({
  connectionString,
  taskList: { post: async (payload) => post(JSON.stringify(payload)) },
  noHandleSignals: true,
  preset: { worker: { concurrentJobs: 10, maxPoolSize: 12, localQueue: { size: 500 } } },
});
for (;;) {
  const left = await utils.withPgClient((client) => client.query("SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS any"));
  if (!left.rows[0].any) break;
  await new Promise((resolve) => setTimeout(resolve, 5));
}
process.stdout.write(String(Number(process.hrtime.bigint() - started) / 1e9));
await runner.stop();
await utils.release();
process.exit(0);
