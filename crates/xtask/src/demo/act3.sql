-- Confirms the order. "unless" tells when that has happened already, so that the call can be sent again safely.
SELECT etl.enqueue('sale.order', 'call', '{"method": "action_confirm", "unless": [["state", "=", "sale"]]}', record_key => 'order:1');
