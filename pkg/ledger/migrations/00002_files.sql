-- The life of a file: seen again, snapshots, deletions, progress, requests, reports.

-- +goose Up

ALTER TABLE file
    DROP CONSTRAINT file_integration_source_hash_key,
    ADD COLUMN occurrence      integer     NOT NULL DEFAULT 1,  -- the same bytes, dropped again after another file of a source that compares its rows
    ADD COLUMN place           text        NOT NULL DEFAULT '', -- which very file it was, so that one whose move was cut off is known
    ADD COLUMN previous        bigint      NOT NULL DEFAULT 0,  -- the file of the same name and other content before it
    ADD COLUMN sightings       integer     NOT NULL DEFAULT 1,  -- how often these bytes came
    ADD COLUMN last_name       text        NOT NULL DEFAULT '', -- under which name they came last
    ADD COLUMN bytes_done      bigint      NOT NULL DEFAULT 0,
    ADD COLUMN unchanged       bigint      NOT NULL DEFAULT 0,  -- rows equal to the latest version of their entity
    ADD COLUMN deleted         bigint      NOT NULL DEFAULT 0,  -- records that say that an entity disappeared
    ADD COLUMN unidentified    bigint      NOT NULL DEFAULT 0,  -- rejected rows whose entity nobody can tell
    ADD COLUMN known           bigint      NOT NULL DEFAULT 0,  -- snapshot: entities of the source before this file
    ADD COLUMN deletes_refused bigint      NOT NULL DEFAULT 0,  -- more than max_deletes: a person decides
    ADD COLUMN deletes_allowed text        NOT NULL DEFAULT '', -- ... by whom
    ADD COLUMN begun_at        timestamptz NOT NULL DEFAULT now(), -- when the session that reads it began
    ADD COLUMN begun_rows      bigint      NOT NULL DEFAULT 0,     -- ... and after which row
    ADD COLUMN moved_at        timestamptz NOT NULL DEFAULT now(), -- of the last progress
    ADD COLUMN request         bigint      NOT NULL DEFAULT 0,
    ADD COLUMN report          text        NOT NULL DEFAULT '' CHECK (report IN ('','due','delivered')),
    ADD COLUMN report_try      integer     NOT NULL DEFAULT 0,
    ADD COLUMN report_due      timestamptz,
    ADD COLUMN report_error    text        NOT NULL DEFAULT '',
    ADD CONSTRAINT file_occurrence UNIQUE (integration, source, hash, occurrence);
CREATE INDEX file_source ON file (integration, source, id);
CREATE INDEX file_name ON file (integration, source, name, id);
CREATE INDEX file_report ON file (integration, source, report_due) WHERE report = 'due';

-- The rows of a file that were rejected when they were read: its report.
CREATE TABLE file_reject (
    file      bigint NOT NULL,
    number    bigint NOT NULL,
    line      bigint NOT NULL,
    record_id uuid   NOT NULL,
    PRIMARY KEY (file, number)
);

-- Names that are read where they lie, or fetched from afar: who has one, and what was read of it last.
CREATE TABLE file_seen (
    integration text        NOT NULL,
    source      text        NOT NULL,
    name        text        NOT NULL,
    stamp       text        NOT NULL DEFAULT '', -- size, time of change and tag when it was read; empty: never
    hash        bytea,
    file        bigint      NOT NULL DEFAULT 0,
    failed      boolean     NOT NULL DEFAULT false,
    session     bigint      NOT NULL DEFAULT 0,  -- who fetches and reads it
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (integration, source, name)
);

-- Looks that a person asked for.
CREATE TABLE file_request (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration text        NOT NULL,
    source      text        NOT NULL,
    actor       text        NOT NULL,
    allow_file  bigint      NOT NULL DEFAULT 0,  -- carry out the deletions of this file, instead of looking
    asked_at    timestamptz NOT NULL DEFAULT now(),
    session     bigint      NOT NULL DEFAULT 0,
    begun_at    timestamptz,
    ended_at    timestamptz,
    found       integer     NOT NULL DEFAULT 0,  -- files that ended during the look, whatever became of them
    waiting     integer     NOT NULL DEFAULT 0,  -- files that are there and not whole, or somebody else's
    error       text        NOT NULL DEFAULT ''
);
CREATE INDEX file_request_open ON file_request (id) WHERE ended_at IS NULL;

-- The latest accepted version of each entity, for integrations that have a source which compares with it.
-- It is written in the transaction that accepts the version.
CREATE TABLE entity_latest (
    integration text   NOT NULL,
    entity_key  text   NOT NULL,
    content     bytea  NOT NULL CHECK (octet_length(content) = 32),
    seq         bigint NOT NULL,             -- arrival order decides which version is the latest
    record_id   uuid   NOT NULL,
    source      text   NOT NULL DEFAULT '',  -- the snapshot source that has it; empty: it came in no snapshot
    file        bigint NOT NULL DEFAULT 0,   -- ... and the last file of it that had it
    PRIMARY KEY (integration, entity_key)
) WITH (fillfactor = 70);
