BEGIN;

-- An order with two lines for the customer that the first act made. Nobody had to look up an id: {"key": …} names a record by
-- the key it was enqueued with.
SELECT etl.enqueue('sale.order', 'create', '{
    "partner_id": {"key": "partner:lagoon"},
    "client_order_ref": "DEMO-1",
    "order_line": [
      {"product_id": {"key": "product:coffee"}, "product_uom_qty": 4, "price_unit": 18.5},
      {"product_id": {"key": "product:cups"}, "product_uom_qty": 1, "price_unit": 30}
    ]}', record_key => 'order:1');

SELECT etl.enqueue('res.partner', 'delete', '{}', record_key => 'partner:short');

COMMIT;
