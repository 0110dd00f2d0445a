-- "unless" tells when the call has already had its effect, so that it can be sent again safely.
SELECT etl.enqueue('sale.order', 'call',
  jsonb_build_object(
    'method', 'action_confirm',
    'ids', jsonb_build_array(o.odoo_id),
    'unless', jsonb_build_array(jsonb_build_array('state', '=', 'sale'))),
  record_key => 'order:1', idempotency_key => 'demo-confirm')
FROM ops.odoo_outbox o WHERE o.idempotency_key = 'demo-order';
