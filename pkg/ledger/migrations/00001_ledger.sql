-- The ledger: the truth about every record. Forward-only.
-- Tables are named without a schema: they land in the first schema of the search_path.

-- +goose Up

-- JSON that is kept and given back is json: byte for byte, and with the \u0000 that jsonb refuses.

-- One row per installation. The key derives record ids; the epoch rises when a ledger is restored.
CREATE TABLE installation (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    key        bytea       NOT NULL CHECK (octet_length(key) = 32),
    epoch      integer     NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Accepted versions of each integration, by content; documents hold no secrets.
CREATE TABLE integration_version (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration   text        NOT NULL,
    hash          text        NOT NULL,
    document      text        NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (integration, hash)
);
CREATE TABLE integration (
    name       text PRIMARY KEY,
    version    bigint      NOT NULL REFERENCES integration_version,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A running worker: renewed every 2 s, lapsed after 8 s by this database's clock.
CREATE TABLE session (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service    text        NOT NULL,
    host       text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- One small hot row per record. No index mentions a column that a claim or a
-- settlement changes, not even in a predicate: every update then stays HOT.
CREATE SEQUENCE record_seq;
CREATE TABLE record (
    id            uuid        NOT NULL PRIMARY KEY,
    seq           bigint      NOT NULL DEFAULT nextval('record_seq'),
    day           date        NOT NULL,
    integration   text        NOT NULL,
    source        text        NOT NULL,
    key           text        NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 512),
    entity_key    text        NOT NULL CHECK (octet_length(entity_key) BETWEEN 1 AND 512),
    version       bigint      NOT NULL,
    revision      integer     NOT NULL DEFAULT 0,
    state         text        NOT NULL CHECK (state IN ('queued','processing','retrying','parked','processed','rejected','superseded','discarded','dead')),
    fence         bigint      NOT NULL CHECK (fence > 0),
    attempt       integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    losses        integer     NOT NULL DEFAULT 0 CHECK (losses >= 0),
    session       bigint      NOT NULL DEFAULT 0,
    batch         uuid,
    class         text        NOT NULL DEFAULT '' CHECK (class IN ('','data','duplicate','system','outage','slow','credentials','bug')),
    code          text        NOT NULL DEFAULT '',
    message       text        NOT NULL DEFAULT '',
    detail        json,
    outcome       integer     NOT NULL DEFAULT 0,
    outcome_state text        NOT NULL DEFAULT 'none' CHECK (outcome_state IN ('none','due','sent','acknowledged','unacknowledged')),
    outcome_try   integer     NOT NULL DEFAULT 0,
    outcome_since timestamptz,
    accepted_at   timestamptz NOT NULL,
    since         timestamptz NOT NULL,
    moved_at      timestamptz NOT NULL,
    -- The state machine, restated: who holds a lease, and when an outcome may be open.
    CHECK ((state = 'processing' OR outcome_state = 'sent') = (session <> 0)),
    CHECK (outcome_state = 'none' OR state IN ('processed','rejected','superseded','discarded','dead')),
    CHECK (state NOT IN ('rejected','dead') OR class <> '')
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
-- Arrival never changes and follows the row's place: a few pages find a day, a record of history, or a seq.
CREATE INDEX record_place ON record USING brin (day, seq) WITH (pages_per_range = 32, autosummarize = on);

-- One row per transaction and topic: the messages that the transaction made true.
-- The row goes when none of its records waits under it any more.
CREATE TABLE outbox (
    id           uuid PRIMARY KEY,
    topic        text        NOT NULL,
    ids          uuid[]      NOT NULL CHECK (cardinality(ids) BETWEEN 1 AND 5000),
    session      bigint      NOT NULL,           -- who publishes it from memory; 0: the relay
    due          timestamptz,                    -- with retry topics: when its messages are due
    taken_at     timestamptz NOT NULL DEFAULT now(), -- since when that session has it
    published_at timestamptz,
    ends         bigint[],                       -- per partition the offset after its last message, -1 for none
    epoch        integer                         -- of the topic when it was published
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- The highest end offset ever seen of each topic. When a topic proves shorter
-- it was wiped or recreated: its epoch rises, and what it held goes out again.
CREATE TABLE topic_mark (
    topic         text PRIMARY KEY,
    ends          bigint[]    NOT NULL,
    epoch         integer     NOT NULL DEFAULT 1,
    shorter_since timestamptz                   -- first seen shorter, not yet confirmed
);

-- What waits in the ledger rather than on a topic.
CREATE TABLE waiting (
    record_id uuid        NOT NULL,
    kind      text        NOT NULL CHECK (kind IN ('retry','parked','dead','outcome','unacknowledged')),
    due_at    timestamptz,                       -- NULL: a person must act
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (record_id, kind)
);
CREATE INDEX waiting_due ON waiting (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX waiting_for_a_person ON waiting (kind, since) WHERE due_at IS NULL;

-- Payload revisions: what arrived, byte for byte, and what a person made of it.
CREATE TABLE payload (
    day          date        NOT NULL,
    seq          bigint      NOT NULL,
    revision     integer     NOT NULL,
    tracking_id  uuid        NOT NULL,           -- time-ordered: the interaction that brought it
    content_type text        NOT NULL,
    headers      json       NOT NULL,
    body         bytea       NOT NULL,
    hash         bytea       NOT NULL,
    arrived_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, seq, revision)
) PARTITION BY RANGE (day);
CREATE INDEX payload_tracking ON payload (tracking_id);
CREATE TABLE payload_default PARTITION OF payload DEFAULT;

-- History: one row per claim, per try at telling the partner, and per human act,
-- written by who ends it. Together with the record's acceptance it is a path of
-- the state machine.
CREATE TABLE attempt (
    day        date        NOT NULL,
    seq        bigint      NOT NULL,
    fence      bigint      NOT NULL,             -- after the transition that ended it
    kind       text        NOT NULL CHECK (kind IN ('process','notify','act')),
    number     integer     NOT NULL,             -- attempt, try or 0
    event      text        NOT NULL,
    from_state text        NOT NULL,
    to_state   text        NOT NULL,
    session    bigint      NOT NULL DEFAULT 0,
    actor      text        NOT NULL DEFAULT '',
    class      text        NOT NULL DEFAULT '',
    code       text        NOT NULL DEFAULT '',
    message    text        NOT NULL DEFAULT '',
    steps      json,                            -- results of finished steps; a retry resumes after them
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    PRIMARY KEY (day, seq, fence)
) PARTITION BY RANGE (day);
CREATE INDEX attempt_ended ON attempt USING brin (ended_at);
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;

-- Every API interaction that is not an accepted request (whose payload row is its entry).
CREATE TABLE interaction (
    day             date        NOT NULL,
    tracking_id     uuid        NOT NULL,        -- time-ordered
    seq             bigint,                      -- of the record, if it is about one
    record_day      date,
    fence           bigint,                      -- of the attempt that made the call
    kind            text        NOT NULL CHECK (kind IN ('refused','duplicate','call','notify','read')),
    integration     text        NOT NULL,
    method          text        NOT NULL,
    url             text        NOT NULL,
    status          integer     NOT NULL,        -- 0: no answer
    ms              integer     NOT NULL,
    request_header  json,
    request_body    text,
    response_header json,
    response_body   text,
    error           text        NOT NULL DEFAULT '',
    at              timestamptz NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX interaction_tracking ON interaction (tracking_id);
CREATE INDEX interaction_record ON interaction (record_day, seq) WHERE seq IS NOT NULL;
CREATE TABLE interaction_default PARTITION OF interaction DEFAULT;

-- Deltas, appended in the transaction that causes them and folded now and then:
-- never a hot row. `audit` compares their sums with a recount of the rows.
CREATE TABLE tally (
    integration text   NOT NULL,
    measure     text   NOT NULL,
    delta       bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01);

-- Dropped files: streamed row by row; progress moves with the rows it counts.
CREATE TABLE file (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration  text        NOT NULL,
    source       text        NOT NULL,
    name         text        NOT NULL,
    size         bigint      NOT NULL,
    hash         bytea       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('reading','done','failed')),
    mark         json        NOT NULL DEFAULT '{}',
    rows_done    bigint      NOT NULL DEFAULT 0,
    received     bigint      NOT NULL DEFAULT 0,
    rejected     bigint      NOT NULL DEFAULT 0,
    duplicates   bigint      NOT NULL DEFAULT 0,
    session      bigint      NOT NULL DEFAULT 0,
    tracking_id  uuid        NOT NULL,
    error        text        NOT NULL DEFAULT '',
    started_at   timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    UNIQUE (integration, source, hash)
);

-- +goose StatementBegin
-- ensure_days makes the by-day partitions from the first day to the last one.
CREATE FUNCTION ensure_days(first date, last date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d    date := first;
    base text;
BEGIN
    -- Two that make the same partition fail each other.
    PERFORM pg_advisory_xact_lock(hashtextextended('waybill.ensure_days', 0));
    WHILE d <= last LOOP
        FOREACH base IN ARRAY ARRAY['payload', 'attempt', 'interaction'] LOOP
            IF to_regclass(format('%I', base || '_' || to_char(d, 'YYYYMMDD'))) IS NULL THEN
                BEGIN
                    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                        base || '_' || to_char(d, 'YYYYMMDD'), base, d, d + 1);
                EXCEPTION WHEN check_violation THEN
                    NULL; -- rows of that day came first and lie in the default partition: there the day stays
                END;
            END IF;
        END LOOP;
        d := d + 1;
    END LOOP;
END $$;
-- +goose StatementEnd
