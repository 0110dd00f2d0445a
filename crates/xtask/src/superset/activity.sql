-- Someone to look: the role that superset/README.md speaks of.
CREATE ROLE superset LOGIN IN ROLE etl_reader;

SELECT etl.mirror('res.partner'), etl.mirror('product.template'), etl.mirror('sale.order');

-- Rows that Odoo refuses, each for a reason of its own.
SELECT etl.enqueue('sale.order', 'create', '{"partner_id": 987654321}', record_key => 'order-refused-' || n) FROM generate_series(1, 4) n;
SELECT etl.enqueue('product.template', 'create', '{"list_price": 12}', record_key => 'product-refused-' || n) FROM generate_series(1, 3) n;
SELECT etl.enqueue('res.partner', 'update', '{"odoo_id": 987654321, "phone": "1"}');
SELECT etl.enqueue('sale.order', 'call', '{"method": "action_cancel", "ids": [1]}');
