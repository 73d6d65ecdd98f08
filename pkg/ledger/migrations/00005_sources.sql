-- What is known of each source beside its records: when it was heard, what it usually brings, who paused it.

-- +goose Up

-- One row per source of an integration. Ingest writes it every few seconds, never per record;
-- one ingest at a time judges it, so that of several replicas one alerts.
CREATE TABLE source (
    integration    text        NOT NULL,
    source         text        NOT NULL,
    kind           text        NOT NULL DEFAULT '',
    registered_at  timestamptz NOT NULL DEFAULT now(), -- one that never spoke is silent from here on
    heard_at       timestamptz,                        -- when something came last, be it a duplicate
    verified_at    timestamptz,                        -- when a secret last proved a request
    secrets        json        NOT NULL DEFAULT '{}',  -- ... and when each did, by the name of its variable
    fields         json        NOT NULL DEFAULT '{}',  -- names and types of fields, usually and of what was rejected lately; no values
    usual_arrivals float8      NOT NULL DEFAULT 0,     -- arrivals that have left source_minute, older ones weighing less
    usual_rejected float8      NOT NULL DEFAULT 0,
    checked_at     timestamptz NOT NULL DEFAULT '1970-01-01',
    silent_since   timestamptz,                        -- set while a trouble lasts: it was told once
    unproven_since timestamptz,
    drift_since    timestamptz,
    alerted_at     timestamptz,                        -- of the last alert
    told           text        NOT NULL DEFAULT '',    -- ... and what it said
    paused_at      timestamptz,
    paused_by      text        NOT NULL DEFAULT '',
    paused_why     text        NOT NULL DEFAULT '',
    resumed_at     timestamptz,
    PRIMARY KEY (integration, source)
) WITH (fillfactor = 50);

-- What came lately, over all ingests. Older minutes are folded into the source's row.
CREATE TABLE source_minute (
    integration text        NOT NULL,
    source      text        NOT NULL,
    minute      timestamptz NOT NULL,
    arrivals    bigint      NOT NULL DEFAULT 0, -- what base validation judged
    rejected    bigint      NOT NULL DEFAULT 0, -- ... and found wrong
    unproven    bigint      NOT NULL DEFAULT 0, -- requests whose signature was there and did not fit
    PRIMARY KEY (integration, source, minute)
) WITH (fillfactor = 70);

-- What people did to sources.
CREATE TABLE source_act (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration text        NOT NULL,
    source      text        NOT NULL,
    act         text        NOT NULL CHECK (act IN ('pause','resume')),
    actor       text        NOT NULL,
    why         text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX source_act_source ON source_act (integration, source, id);
