-- One transaction: what is committed together is on its way together.
BEGIN;

-- An application that knows nothing of pg_etl's functions inserts a row.
INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
VALUES ('res.partner', 'create', '{"name": "Plain Insert", "email": "plain@demo.example"}', 'demo-plain');

-- create, and an update of the same record: delivered in this order, for they share a record key.
SELECT etl.enqueue('res.partner', 'create',
  '{"name": "Blue Lagoon Ltd", "email": "hello@demo.example", "is_company": true}',
  record_key => 'partner:lagoon', idempotency_key => 'demo-lagoon');
SELECT etl.enqueue('res.partner', 'update', '{"phone": "+354 555 0101"}', record_key => 'partner:lagoon');

-- upsert: the second finds what the first made.
SELECT etl.enqueue('res.partner', 'upsert',
  '{"name": "Harbour Cafe", "email": "harbour@demo.example"}', record_key => 'partner:harbour');
SELECT etl.enqueue('res.partner', 'upsert',
  '{"name": "Harbour Cafe & Bar", "email": "harbour@demo.example"}', record_key => 'partner:harbour');

-- Enqueued twice by mistake: one row, one record.
SELECT etl.enqueue('res.partner', 'create', '{"name": "Only Once", "email": "once@demo.example"}',
  record_key => 'partner:once', idempotency_key => 'demo-once');
SELECT etl.enqueue('res.partner', 'create', '{"name": "Only Once", "email": "once@demo.example"}',
  record_key => 'partner:once', idempotency_key => 'demo-once');

SELECT etl.enqueue('product.product', 'create', '{"name": "Coffee, 1 kg", "list_price": 18.5}', record_key => 'product:coffee');
SELECT etl.enqueue('product.product', 'create', '{"name": "Cups, 12", "list_price": 30}', record_key => 'product:cups');

-- To be deleted in the next act.
SELECT etl.enqueue('res.partner', 'create', '{"name": "Short Lived", "email": "short@demo.example"}',
  record_key => 'partner:short', idempotency_key => 'demo-short');

-- These must fail, each for its own reason, and must not hold up the others.
SELECT etl.enqueue('res.partner', 'create', '{"name": "Wrong Field", "favourite_colour": "blue"}',
  record_key => 'partner:wrong-field');
SELECT etl.enqueue('res.partner', 'create', '{"email": "nameless@demo.example"}', record_key => 'partner:nameless');
SELECT etl.enqueue('res.partner', 'update', '{"odoo_id": 987654321, "phone": "+354 555 0199"}');

COMMIT;
