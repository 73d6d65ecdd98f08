-- Polled sources: how far each has come, who polls it now, and the ranges that a person asked for.

-- +goose Up

-- One row per polled source. It is leased: one session polls it at a time, its regular runs and
-- its requests alike, so that the source's limits hold over any number of replicas.
CREATE TABLE poll (
    integration text        NOT NULL,
    source      text        NOT NULL,
    session     bigint      NOT NULL DEFAULT 0,     -- who polls it; 0: nobody
    mark        json        NOT NULL DEFAULT '{}',  -- where the next run begins, and where a run that is not ended goes on
    next_at     timestamptz NOT NULL DEFAULT now(),
    failures    integer     NOT NULL DEFAULT 0,     -- in a row
    error       text        NOT NULL DEFAULT '',    -- of the last try, empty if it went well
    reached     timestamptz,                        -- what changed before it is known, by the partner's clock
    hurried_at  timestamptz,                        -- a person asked for a run then, and none has begun since that has ended
    -- The last run, or the one that is under way.
    started_at  timestamptz,
    ended_at    timestamptz,
    pages       bigint      NOT NULL DEFAULT 0,
    items       bigint      NOT NULL DEFAULT 0,
    received    bigint      NOT NULL DEFAULT 0,
    rejected    bigint      NOT NULL DEFAULT 0,
    duplicates  bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (integration, source)
) WITH (fillfactor = 50);

-- A range to be polled once, beside the regular runs, whose mark it does not move.
CREATE TABLE poll_request (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration  text        NOT NULL,
    source       text        NOT NULL,
    since        timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    actor        text        NOT NULL,
    state        text        NOT NULL DEFAULT 'open' CHECK (state IN ('open','done','failed')),
    mark         json        NOT NULL DEFAULT '{}',
    next_at      timestamptz NOT NULL DEFAULT now(),
    failures     integer     NOT NULL DEFAULT 0,
    error        text        NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    ended_at     timestamptz,
    pages        bigint      NOT NULL DEFAULT 0,
    items        bigint      NOT NULL DEFAULT 0,
    received     bigint      NOT NULL DEFAULT 0,
    rejected     bigint      NOT NULL DEFAULT 0,
    duplicates   bigint      NOT NULL DEFAULT 0,
    CHECK (since < until)
);
CREATE INDEX poll_request_open ON poll_request (integration, source, id) WHERE state = 'open';
