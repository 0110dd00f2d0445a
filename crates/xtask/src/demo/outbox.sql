SELECT id, model, operation, record_key, status, odoo_id, attempts, error_class, split_part(last_error, ' — ', 1) AS last_error
FROM ops.odoo_outbox ORDER BY id
