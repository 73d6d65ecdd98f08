-- Every statement of the ledger. Each begins with its name; queries.go loads them.
-- Statements over many rows take arrays through unnest and lock in id order.

-- name: accept
-- One statement, one round trip: the rows, their payloads, their batches and the tally, or nothing.
-- seq is given in arrival order, but rows are inserted in id order: two calls that bring the same
-- keys in a different order would wait for each other in a circle. The hashed IN keeps the work
-- linear in the batch; IS TRUE keeps the planner from turning it into a nested loop over the batch.
WITH arrived AS MATERIALIZED (
    SELECT nextval('record_seq') AS seq, a.* FROM unnest(
        @ids::uuid[], @integrations::text[], @sources::text[], @keys::text[], @entity_keys::text[], @versions::bigint[],
        @states::text[], @batches::uuid[], @classes::text[], @codes::text[], @messages::text[], @details::text[],
        @outcomes::int[], @outcome_states::text[],
        @tracking_ids::uuid[], @content_types::text[], @headers::text[], @bodies::bytea[], @hashes::bytea[]
    ) AS a(id, integration, source, key, entity_key, version, state, batch, class, code, message, detail,
        outcome, outcome_state, tracking_id, content_type, headers, body, hash)
), row AS (
    INSERT INTO record (id, seq, day, integration, source, key, entity_key, version, state, fence, batch, class, code, message, detail,
        outcome, outcome_state, outcome_since, accepted_at, since, moved_at)
    SELECT id, seq, (now() AT TIME ZONE 'UTC')::date, integration, source, key, entity_key, version, state, 1, batch, class, code, message, detail::json,
        outcome, outcome_state, CASE WHEN outcome > 0 THEN now() END, now(), now(), now()
    FROM arrived ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id, seq, day, integration, state, outcome_state
), kept AS (
    INSERT INTO payload (day, seq, revision, tracking_id, content_type, headers, body, hash)
    SELECT (now() AT TIME ZONE 'UTC')::date, a.seq, 0, a.tracking_id, a.content_type, a.headers::json, a.body, a.hash
    FROM arrived a WHERE (a.seq IN (SELECT seq FROM row)) IS TRUE
), messages AS (
    INSERT INTO outbox (id, topic, ids, session)
    SELECT b.id, b.topic, array_agg(a.id), @session
    FROM unnest(@batch_ids::uuid[], @batch_topics::text[]) AS b(id, topic) JOIN arrived a ON a.batch = b.id
    WHERE (a.seq IN (SELECT seq FROM row)) IS TRUE
    GROUP BY b.id, b.topic
), counted AS (
    INSERT INTO tally (integration, measure, delta)
    SELECT integration, 'received', count(*) FROM row GROUP BY integration
    UNION ALL
    SELECT integration, 'state:' || state, count(*) FROM row GROUP BY integration, state
    UNION ALL
    SELECT integration, 'outcome:' || outcome_state, count(*) FROM row WHERE outcome_state <> 'none' GROUP BY integration, outcome_state
)
SELECT id, seq, day - DATE '1970-01-01', now() FROM row;

-- name: lock_records
-- In id order, as every multi-row lock of records.
SELECT r.id, r.seq, r.day - DATE '1970-01-01', r.integration, r.source, r.key, r.entity_key, r.version, r.revision,
    r.state, r.fence, r.attempt, r.losses, r.session, r.class, r.code, r.message, r.detail::text,
    r.outcome, r.outcome_state, r.outcome_try, r.outcome_since, r.accepted_at, r.since, r.moved_at, r.batch, now()
FROM record r WHERE r.id = ANY(@ids::uuid[])
ORDER BY r.id FOR UPDATE;

-- name: lock_free_records
-- For a caller that already holds other locks: it must not wait for a record, or two wait in a circle.
SELECT r.id, r.seq, r.day - DATE '1970-01-01', r.integration, r.source, r.key, r.entity_key, r.version, r.revision,
    r.state, r.fence, r.attempt, r.losses, r.session, r.class, r.code, r.message, r.detail::text,
    r.outcome, r.outcome_state, r.outcome_try, r.outcome_since, r.accepted_at, r.since, r.moved_at, r.batch, now()
FROM record r WHERE r.id = ANY(@ids::uuid[])
ORDER BY r.id FOR UPDATE SKIP LOCKED;

-- name: read_records
SELECT r.id, r.seq, r.day - DATE '1970-01-01', r.integration, r.source, r.key, r.entity_key, r.version, r.revision,
    r.state, r.fence, r.attempt, r.losses, r.session, r.class, r.code, r.message, r.detail::text,
    r.outcome, r.outcome_state, r.outcome_try, r.outcome_since, r.accepted_at, r.since, r.moved_at, r.batch, now()
FROM record r WHERE r.id = ANY(@ids::uuid[]);

-- name: move_records
-- The only UPDATE of a record. It names the state and the fence that it leaves.
UPDATE record r SET
    state = x.state, fence = x.fence, attempt = x.attempt, losses = x.losses, session = x.session, batch = x.batch,
    version = x.version, revision = x.revision, class = x.class, code = x.code, message = x.message, detail = x.detail::json,
    outcome = x.outcome, outcome_state = x.outcome_state, outcome_try = x.outcome_try, outcome_since = x.outcome_since,
    since = x.since, moved_at = x.moved_at
FROM unnest(
    @ids::uuid[], @from_states::text[], @from_fences::bigint[],
    @states::text[], @fences::bigint[], @attempts::int[], @losses::int[], @sessions::bigint[], @batches::uuid[],
    @versions::bigint[], @revisions::int[], @classes::text[], @codes::text[], @messages::text[], @details::text[],
    @outcomes::int[], @outcome_states::text[], @outcome_tries::int[], @outcome_sinces::timestamptz[],
    @sinces::timestamptz[], @moved_ats::timestamptz[]
) AS x(id, from_state, from_fence, state, fence, attempt, losses, session, batch, version, revision, class, code, message, detail,
    outcome, outcome_state, outcome_try, outcome_since, since, moved_at)
WHERE r.id = x.id AND r.state = x.from_state AND r.fence = x.from_fence;

-- name: insert_outbox
INSERT INTO outbox (id, topic, ids, session, due) VALUES (@id, @topic, @ids, @session, @due);

-- name: insert_waiting
INSERT INTO waiting (record_id, kind, due_at)
SELECT * FROM unnest(@ids::uuid[], @kinds::text[], @dues::timestamptz[])
ON CONFLICT (record_id, kind) DO UPDATE SET due_at = EXCLUDED.due_at, since = now();

-- name: delete_waiting
DELETE FROM waiting w USING unnest(@ids::uuid[], @kinds::text[]) AS x(id, kind) WHERE w.record_id = x.id AND w.kind = x.kind;

-- name: insert_tally
INSERT INTO tally (integration, measure, delta) SELECT * FROM unnest(@integrations::text[], @measures::text[], @deltas::bigint[]);

-- name: fold_tally
WITH taken AS (
    DELETE FROM tally WHERE ctid = ANY (ARRAY(SELECT ctid FROM tally LIMIT @rows FOR UPDATE SKIP LOCKED)) RETURNING *
)
INSERT INTO tally (integration, measure, delta)
SELECT integration, measure, sum(delta) FROM taken GROUP BY integration, measure HAVING sum(delta) <> 0;

-- name: insert_attempts
INSERT INTO attempt (day, seq, fence, kind, number, event, from_state, to_state, session, actor, class, code, message, steps, started_at, ended_at)
SELECT x.day + DATE '1970-01-01', x.seq, x.fence, x.kind, x.number, x.event, x.from_state, x.to_state, x.session, x.actor,
    x.class, x.code, x.message, x.steps::json, x.started_at, x.ended_at
FROM unnest(@days::int[], @seqs::bigint[], @fences::bigint[], @kinds::text[], @numbers::int[], @events::text[], @from_states::text[], @to_states::text[],
    @sessions::bigint[], @actors::text[], @classes::text[], @codes::text[], @messages::text[], @steps::text[], @started_ats::timestamptz[], @ended_ats::timestamptz[]
) AS x(day, seq, fence, kind, number, event, from_state, to_state, session, actor, class, code, message, steps, started_at, ended_at);

-- name: insert_payloads
INSERT INTO payload (day, seq, revision, tracking_id, content_type, headers, body, hash)
SELECT x.day + DATE '1970-01-01', x.seq, x.revision, x.tracking_id, x.content_type, x.headers::json, x.body, x.hash
FROM unnest(@days::int[], @seqs::bigint[], @revisions::int[], @tracking_ids::uuid[], @content_types::text[], @headers::text[], @bodies::bytea[], @hashes::bytea[]
) AS x(day, seq, revision, tracking_id, content_type, headers, body, hash);

-- name: insert_interactions
INSERT INTO interaction (day, tracking_id, seq, record_day, fence, kind, integration, method, url, status, ms,
    request_header, request_body, response_header, response_body, error, at)
SELECT (x.at AT TIME ZONE 'UTC')::date, x.tracking_id, x.seq, x.record_day + DATE '1970-01-01', x.fence, x.kind, x.integration, x.method, x.url, x.status, x.ms,
    x.request_header::json, x.request_body, x.response_header::json, x.response_body, x.error, x.at
FROM unnest(@tracking_ids::uuid[], @seqs::bigint[], @record_days::int[], @fences::bigint[], @kinds::text[], @integrations::text[], @methods::text[], @urls::text[],
    @statuses::int[], @mss::int[], @request_headers::text[], @request_bodies::text[], @response_headers::text[], @response_bodies::text[], @errors::text[], @ats::timestamptz[]
) AS x(tracking_id, seq, record_day, fence, kind, integration, method, url, status, ms, request_header, request_body, response_header, response_body, error, at);

-- name: newest_payloads
SELECT r.id, p.revision, p.tracking_id, p.content_type, p.headers, p.body, p.hash
FROM unnest(@ids::uuid[]) AS x(id) JOIN record r USING (id) JOIN payload p ON p.day = r.day AND p.seq = r.seq AND p.revision = r.revision;

-- name: last_steps
-- The results that earlier attempts committed, and whether since then a person, or a
-- corrected arrival, put the record back to work, or asked for everything to be done again.
SELECT r.id, a.steps,
    EXISTS (SELECT FROM attempt p WHERE p.day = r.day AND p.seq = r.seq AND p.event IN ('requeued', 'revived', 'replayed') AND p.fence > coalesce(a.fence, 0)),
    EXISTS (SELECT FROM attempt p WHERE p.day = r.day AND p.seq = r.seq AND p.event = 'replayed' AND p.fence > coalesce(a.fence, 0))
FROM unnest(@ids::uuid[]) AS x(id) JOIN record r USING (id)
LEFT JOIN LATERAL (
    SELECT steps, fence FROM attempt a WHERE a.day = r.day AND a.seq = r.seq AND a.steps IS NOT NULL ORDER BY a.fence DESC LIMIT 1
) a ON true;

-- name: stranded
-- Which of these records have nothing under way: no live batch, no waiting row, no live session.
SELECT r.id FROM record r JOIN unnest(@ids::uuid[]) AS x(id) USING (id)
LEFT JOIN outbox o ON o.id = r.batch
LEFT JOIN session os ON os.id = o.session
LEFT JOIN session rs ON rs.id = r.session
WHERE (r.state IN ('queued','retrying')
        AND (o.id IS NULL OR (o.published_at IS NULL AND (os.id IS NULL OR os.renewed_at < now() - @lapse::interval)))
        AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'retry'))
    OR (r.state = 'processing' AND (rs.id IS NULL OR rs.renewed_at < now() - @lapse::interval))
    OR (r.state = 'parked' AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'parked'));

-- name: open_session
INSERT INTO session (service, host) VALUES (@service, @host) RETURNING id, now();

-- name: renew_session
UPDATE session SET renewed_at = now() WHERE id = @id AND renewed_at > now() - @lapse::interval RETURNING now();

-- name: close_session
-- A session that ends in order lapses at once.
UPDATE session SET renewed_at = 'epoch' WHERE id = @id;

-- name: drop_sessions
-- Sessions lapsed for a day. What names one that is gone counts as lapsed everywhere.
DELETE FROM session WHERE renewed_at < now() - INTERVAL '1 day';

-- name: live_sessions
SELECT id FROM session WHERE renewed_at >= now() - @lapse::interval;

-- name: mark_published
UPDATE outbox o SET published_at = now(), ends = string_to_array(x.ends, ',')::bigint[], epoch = coalesce((SELECT epoch FROM topic_mark m WHERE m.topic = o.topic), 1)
FROM unnest(@ids::uuid[], @ends::text[]) AS x(id, ends) WHERE o.id = x.id;

-- name: delete_outbox
DELETE FROM outbox WHERE id = ANY(@ids::uuid[]);

-- name: hand_to_relay
UPDATE outbox SET session = 0 WHERE id = ANY(@ids::uuid[]) AND published_at IS NULL;

-- name: take_unpublished
-- What its process did not live to publish or gave up on, and what has stood so long unpublished that
-- its process cannot know of it (the answer to its commit was lost): the relay makes it its own.
UPDATE outbox o SET session = @session, taken_at = now()
FROM (
    SELECT o.id FROM outbox o LEFT JOIN session s ON s.id = o.session
    WHERE o.published_at IS NULL AND (s.id IS NULL OR s.renewed_at < now() - @lapse::interval OR o.taken_at < now() - @patience::interval)
    ORDER BY o.id LIMIT @rows FOR UPDATE OF o SKIP LOCKED
) x WHERE o.id = x.id RETURNING o.id, o.topic, o.ids, o.due;

-- name: published_outbox
SELECT id, topic, ends, coalesce(epoch, 1), due, published_at FROM outbox WHERE published_at IS NOT NULL AND id > @after ORDER BY id LIMIT @rows;

-- name: outbox_ids
SELECT id, ids, due FROM outbox WHERE id = ANY(@ids::uuid[]) AND published_at IS NOT NULL FOR UPDATE SKIP LOCKED;

-- name: drop_orphan_waits
DELETE FROM waiting w WHERE w.record_id = ANY(@ids::uuid[]) AND NOT EXISTS (SELECT FROM record r WHERE r.id = w.record_id);

-- name: mark_claimed
-- Published after all, although nobody noted where it ended: its records were claimed from it.
UPDATE outbox o SET published_at = now(), ends = '{}', epoch = coalesce((SELECT epoch FROM topic_mark m WHERE m.topic = o.topic), 1)
WHERE o.id = ANY(@ids::uuid[]);

-- name: due_waiting
SELECT record_id, kind FROM waiting WHERE due_at <= now() ORDER BY due_at LIMIT @rows FOR UPDATE SKIP LOCKED;

-- name: see_topic
-- Keeps the highest ends seen. A topic that proves shorter was wiped, and its epoch rises; but ends are
-- read before this statement, and a slower reader brings older ones. So shorter ends only count when no
-- reader has seen the topic in full length for @confirm since they were seen first.
INSERT INTO topic_mark AS m (topic, ends) VALUES (@topic, @ends::bigint[])
ON CONFLICT (topic) DO UPDATE SET (epoch, ends, shorter_since) = (
    SELECT CASE WHEN wiped THEN m.epoch + 1 ELSE m.epoch END,
        CASE WHEN wiped THEN EXCLUDED.ends WHEN shorter THEN m.ends ELSE EXCLUDED.ends END,
        CASE WHEN shorter AND NOT wiped THEN coalesce(m.shorter_since, now()) END
    FROM (SELECT shorter, shorter AND m.shorter_since IS NOT NULL AND m.shorter_since <= now() - @confirm::interval AS wiped
        FROM (SELECT EXISTS (SELECT FROM unnest(m.ends, EXCLUDED.ends) AS e(was, is_now) WHERE coalesce(is_now, 0) < was) AS shorter) a) b
)
WHERE m.ends IS DISTINCT FROM EXCLUDED.ends OR m.shorter_since IS NOT NULL;

-- name: topic_epochs
SELECT topic, epoch FROM topic_mark;

-- name: register_version
WITH added AS (
    INSERT INTO integration_version (integration, hash, document) VALUES (@integration, @hash, @document)
    ON CONFLICT (integration, hash) DO UPDATE SET hash = EXCLUDED.hash -- so that a concurrent twin's row is returned
    RETURNING id
)
INSERT INTO integration (name, version) SELECT @integration, id FROM added
ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, updated_at = now() RETURNING version;

-- name: version_document
SELECT integration, document FROM integration_version WHERE id = @id;

-- name: current_versions
SELECT i.name, i.version, v.document FROM integration i JOIN integration_version v ON v.id = i.version ORDER BY i.name;

-- name: dead_letters
SELECT w.record_id, w.since FROM waiting w JOIN record r ON r.id = w.record_id
WHERE w.kind = @kind AND w.due_at IS NULL
    AND (@integration::text = '' OR r.integration = @integration)
    AND (@code::text = '' OR r.code = @code)
    AND (@class::text = '' OR r.class = @class)
    AND (w.since, w.record_id) > (@after_since, @after_id)
ORDER BY w.since, w.record_id LIMIT @rows;

-- name: dead_histogram
SELECT r.integration, r.class, r.code, count(*), min(w.since), max(w.since)
FROM waiting w JOIN record r ON r.id = w.record_id
WHERE w.kind = @kind AND w.due_at IS NULL
    AND (@integration::text = '' OR r.integration = @integration)
    AND (@code::text = '' OR r.code = @code)
    AND (@class::text = '' OR r.class = @class)
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3;

-- name: attempts_of
SELECT fence, kind, number, event, from_state, to_state, session, actor, class, code, message, coalesce(steps::text, ''), started_at, ended_at
FROM attempt WHERE day = @day::int + DATE '1970-01-01' AND seq = @seq ORDER BY fence;

-- name: interactions_of
SELECT tracking_id, coalesce(fence, 0), kind, integration, method, url, status, ms, coalesce(request_header::text, ''), coalesce(request_body, ''),
    coalesce(response_header::text, ''), coalesce(response_body, ''), error, at
FROM interaction WHERE record_day = @day::int + DATE '1970-01-01' AND seq = @seq ORDER BY at, tracking_id LIMIT @rows;

-- name: interaction_by_tracking
SELECT tracking_id, coalesce(fence, 0), kind, integration, method, url, status, ms, coalesce(request_header::text, ''), coalesce(request_body, ''),
    coalesce(response_header::text, ''), coalesce(response_body, ''), error, at, coalesce(seq, 0), coalesce(record_day - DATE '1970-01-01', 0)
FROM interaction WHERE tracking_id = @tracking_id LIMIT 1;

-- name: record_by_tracking
SELECT r.id FROM payload p JOIN record r ON r.day = p.day AND r.seq = p.seq WHERE p.tracking_id = @tracking_id
    AND p.day BETWEEN @day::int + DATE '1970-01-01' - 1 AND @day::int + DATE '1970-01-01' + 1 LIMIT 1;

-- name: record_by_place
SELECT id FROM record WHERE day = @day::int + DATE '1970-01-01' AND seq = @seq;

-- name: payload_revisions
SELECT revision, tracking_id, content_type, headers::text, body, arrived_at FROM payload
WHERE day = @day::int + DATE '1970-01-01' AND seq = @seq ORDER BY revision;

-- name: tally_sums
SELECT integration, measure, sum(delta)::bigint FROM tally GROUP BY 1, 2 HAVING sum(delta) <> 0 ORDER BY 1, 2;

-- name: recount
SELECT integration, state, outcome_state, count(*) FROM record GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- name: overdue
-- Records past their deadline with nothing under way: no batch or waiting row holds them, or the session
-- that works them has lapsed and nobody has taken them over.
SELECT r.id FROM record r
LEFT JOIN outbox o ON o.id = r.batch
WHERE r.moved_at < now() - @grace::interval AND (
    (r.state IN ('queued','retrying') AND o.id IS NULL AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'retry'))
    OR (r.state = 'parked' AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'parked'))
    OR (r.state = 'dead' AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'dead'))
    OR (r.outcome_state = 'due' AND o.id IS NULL AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'outcome'))
    OR (r.outcome_state = 'unacknowledged' AND NOT EXISTS (SELECT FROM waiting w WHERE w.record_id = r.id AND w.kind = 'unacknowledged'))
    OR ((r.state = 'processing' OR r.outcome_state = 'sent')
        AND (o.id IS NULL OR NOT EXISTS (SELECT FROM session s WHERE s.id = r.session AND s.renewed_at >= now() - @lapse::interval - @grace::interval)))
) LIMIT @rows;

-- name: take_file
-- A file that failed is gone on with when it is dropped again: what was wrong may have been the integration.
INSERT INTO file (integration, source, name, size, hash, state, session, tracking_id)
VALUES (@integration, @source, @name, @size, @hash, 'reading', @session, @tracking_id)
ON CONFLICT (integration, source, hash) DO UPDATE SET
    state = CASE file.state WHEN 'failed' THEN 'reading' ELSE file.state END,
    error = CASE file.state WHEN 'failed' THEN '' ELSE file.error END,
    session = CASE WHEN file.state = 'failed'
        OR (file.state = 'reading' AND NOT EXISTS (SELECT FROM session s WHERE s.id = file.session AND s.id <> @session AND s.renewed_at >= now() - @lapse::interval))
        THEN EXCLUDED.session ELSE file.session END
RETURNING id, state, session, mark::text, rows_done, received, rejected, duplicates, tracking_id;

-- name: move_file
UPDATE file SET mark = @mark::json, rows_done = @rows_done, received = received + @received, rejected = rejected + @rejected, duplicates = duplicates + @duplicates
WHERE id = @id AND session = @session AND state = 'reading';

-- name: end_file
UPDATE file SET state = @state, error = @error, ended_at = now(), session = 0 WHERE id = @id AND session = @session AND state = 'reading';

-- name: file_by_tracking
-- Read whole: there is one row for each file ever dropped, and only a person asks.
SELECT name, integration, source, size, state, rows_done, received, rejected, duplicates, error, started_at, ended_at
FROM file WHERE tracking_id = @tracking_id LIMIT 1;

-- name: recent_attempts
-- With ties: the rows of one transaction share their time, and a page must not end among them.
SELECT r.id, r.key, r.integration, a.kind, a.number, a.event, a.from_state, a.to_state, a.class, a.code, a.ended_at, a.fence
FROM attempt a JOIN record r ON r.day = a.day AND r.seq = a.seq
WHERE a.ended_at > @after ORDER BY a.ended_at FETCH FIRST (@rows) ROWS WITH TIES;
