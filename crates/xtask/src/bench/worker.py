"""The outbox worker that most teams write first: psycopg and requests, row by row.

    worker.py DSN URL DATABASE KEY TABLE

Takes one row, commits that it is taken, sends it, commits that it is done; ends when there is none left, and prints the seconds.
"""
import sys
import time

import psycopg
import requests

dsn, url, database, key, table = sys.argv[1:6]
session = requests.Session()
session.headers.update({"Authorization": f"bearer {key}", "X-Odoo-Database": database})
connection = psycopg.connect(dsn)

CLAIM = f"""UPDATE {table} SET status = 'processing', attempts = attempts + 1, locked_at = now()
            WHERE id = (SELECT id FROM {table} WHERE status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id, model, payload"""
DONE = f"UPDATE {table} SET status = 'done', odoo_id = %s, finished_at = now() WHERE id = %s"
FAILED = f"UPDATE {table} SET status = 'queued', last_error = %s WHERE id = %s"

started = time.monotonic()
while True:
    row = connection.execute(CLAIM).fetchone()
    connection.commit()
    if row is None:
        break
    id, model, payload = row
    try:
        answer = session.post(f"{url}/json/2/{model}/create", json={"vals_list": [payload]}, timeout=150)
        answer.raise_for_status()
        connection.execute(DONE, (answer.json()[0], id))
    except requests.RequestException as error:
        connection.execute(FAILED, (str(error), id))
    connection.commit()
print(time.monotonic() - started)
