BEGIN;

-- An order for the customer that the first act made.
SELECT etl.enqueue('sale.order', 'create',
  jsonb_build_object('partner_id', o.odoo_id, 'client_order_ref', 'DEMO-1'),
  record_key => 'order:1', idempotency_key => 'demo-order')
FROM ops.odoo_outbox o WHERE o.idempotency_key = 'demo-lagoon';

SELECT etl.enqueue('res.partner', 'delete', jsonb_build_object('odoo_id', o.odoo_id), record_key => 'partner:short')
FROM ops.odoo_outbox o WHERE o.idempotency_key = 'demo-short';

COMMIT;
