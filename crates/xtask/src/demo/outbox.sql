SELECT id, model, operation, record_key, status, odoo_id, attempts, error_class, left(last_error, 120) AS last_error
FROM ops.odoo_outbox ORDER BY id
