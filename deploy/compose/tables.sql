-- The two tables of the sample integration. They belong to the integration, not
-- to the ledger: `waybill migrate` does not know them.
CREATE TABLE product_keys (
    client_key   text PRIMARY KEY,
    platform_key text NOT NULL
);

CREATE TABLE service_requests (
    request_no  text PRIMARY KEY,
    email       text NOT NULL,
    product_key text NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    quantity    integer NOT NULL,
    note        text,
    crm_id      text
);

INSERT INTO product_keys (client_key, platform_key) VALUES
    ('washer-100', 'P-1001'), ('washer-200', 'P-1002'), ('dryer-100', 'P-1003'), ('fridge-300', 'P-1004'),
    ('oven-500', 'P-1005'), ('hob-510', 'P-1006'), ('kettle-7', 'P-1007'), ('toaster-2', 'P-1008');
