-- Every statement of the ledger. Each begins with its name; queries.go loads them.
-- Statements over many rows take arrays through unnest and lock in id order.

-- name: arrived
-- The rows of one accept, numbered in the order in which they came.
-- A column in which all rows are equal comes as an array of one, which unnest pads with NULL; no column
-- that may come so has a NULL of its own: an id that is missing comes as zeros, a detail in full or nowhere.
arrived AS MATERIALIZED (
    SELECT nextval('record_seq') AS seq, a.id, coalesce(a.integration, (@integrations::text[])[1]) AS integration, coalesce(a.source, (@sources::text[])[1]) AS source,
        a.key, a.entity_key, coalesce(a.version, (@versions::bigint[])[1]) AS version, coalesce(a.state, (@states::text[])[1]) AS state,
        nullif(coalesce(a.batch, (@batches::uuid[])[1]), '00000000-0000-0000-0000-000000000000') AS batch,
        coalesce(a.class, (@classes::text[])[1]) AS class, coalesce(a.code, (@codes::text[])[1]) AS code, coalesce(a.message, (@messages::text[])[1]) AS message, a.detail,
        coalesce(a.outcome, (@outcomes::int[])[1]) AS outcome, coalesce(a.outcome_state, (@outcome_states::text[])[1]) AS outcome_state,
        nullif(coalesce(a.tracking_id, (@tracking_ids::uuid[])[1]), '00000000-0000-0000-0000-000000000000') AS tracking_id, coalesce(a.content_type, (@content_types::text[])[1]) AS content_type,
        coalesce(a.headers, (@headers::text[])[1]) AS headers, a.body, a.hash
    FROM unnest(
        @ids::uuid[], @integrations::text[], @sources::text[], @keys::text[], @entity_keys::text[], @versions::bigint[],
        @states::text[], @batches::uuid[], @classes::text[], @codes::text[], @messages::text[], @details::text[],
        @outcomes::int[], @outcome_states::text[],
        @tracking_ids::uuid[], @content_types::text[], @headers::text[], @bodies::bytea[], @hashes::bytea[]
    ) AS a(id, integration, source, key, entity_key, version, state, batch, class, code, message, detail,
        outcome, outcome_state, tracking_id, content_type, headers, body, hash)
)

-- name: accept
-- with: arrived
-- One statement, one round trip: the rows, their payloads, their batches and the tally, or nothing.
-- Rows are inserted in id order, not as they came: two calls that bring the same keys in a different
-- order would wait for each other in a circle. The hashed IN keeps the work linear in the batch;
-- IS TRUE keeps the planner from turning it into a nested loop over the batch.
row AS (
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

-- name: accept_new
-- with: arrived
-- accept for rows of which none is known yet: one that is fails the whole statement, and accept is asked instead.
row AS (
    INSERT INTO record (id, seq, day, integration, source, key, entity_key, version, state, fence, batch, class, code, message, detail,
        outcome, outcome_state, outcome_since, accepted_at, since, moved_at)
    SELECT id, seq, (now() AT TIME ZONE 'UTC')::date, integration, source, key, entity_key, version, state, 1, batch, class, code, message, detail::json,
        outcome, outcome_state, CASE WHEN outcome > 0 THEN now() END, now(), now(), now()
    FROM arrived ORDER BY id
), kept AS (
    INSERT INTO payload (day, seq, revision, tracking_id, content_type, headers, body, hash)
    SELECT (now() AT TIME ZONE 'UTC')::date, a.seq, 0, a.tracking_id, a.content_type, a.headers::json, a.body, a.hash
    FROM arrived a
), messages AS (
    INSERT INTO outbox (id, topic, ids, session)
    SELECT b.id, b.topic, array_agg(a.id), @session
    FROM unnest(@batch_ids::uuid[], @batch_topics::text[]) AS b(id, topic) JOIN arrived a ON a.batch = b.id
    GROUP BY b.id, b.topic
), counted AS (
    INSERT INTO tally (integration, measure, delta)
    SELECT integration, 'received', count(*) FROM arrived GROUP BY integration
    UNION ALL
    SELECT integration, 'state:' || state, count(*) FROM arrived GROUP BY integration, state
    UNION ALL
    SELECT integration, 'outcome:' || outcome_state, count(*) FROM arrived WHERE outcome_state <> 'none' GROUP BY integration, outcome_state
)
SELECT id, seq, (now() AT TIME ZONE 'UTC')::date - DATE '1970-01-01', now() FROM arrived;

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

-- name: lock_file_source
-- Files of one source are begun one after the other: whether the same bytes came before, and whether another file is read, must stay true.
SELECT pg_advisory_xact_lock(hashtextextended('waybill.file.' || current_schema() || '/' || @integration || '/' || @source, 0));

-- name: find_file
SELECT f.id, f.state, f.place, f.occurrence,
    f.state = 'reading' AND f.session <> @session AND EXISTS (SELECT FROM session s WHERE s.id = f.session AND s.renewed_at >= now() - @lapse::interval),
    EXISTS (SELECT FROM file n WHERE n.integration = f.integration AND n.source = f.source AND n.id > f.id)
FROM file f WHERE f.integration = @integration AND f.source = @source AND f.hash = @hash ORDER BY f.occurrence DESC LIMIT 1 FOR UPDATE OF f;

-- name: busy_source
SELECT EXISTS (SELECT FROM file f JOIN session s ON s.id = f.session
    WHERE f.integration = @integration AND f.source = @source AND f.state = 'reading' AND f.id <> @id AND s.renewed_at >= now() - @lapse::interval);

-- name: free_files
-- Whoever read another file of the source and has lapsed must not go on with it.
UPDATE file SET session = 0 WHERE integration = @integration AND source = @source AND state = 'reading' AND id <> @id AND session <> 0;

-- name: insert_file
INSERT INTO file (integration, source, name, last_name, size, hash, occurrence, place, state, session, tracking_id, request, known, previous)
VALUES (@integration, @source, @name, @name, @size, @hash, @occurrence, @place, 'reading', @session, @tracking_id, @request,
    CASE WHEN @snapshot THEN (SELECT count(*) FROM entity_latest e WHERE e.integration = @integration AND e.source = @source) ELSE 0 END,
    coalesce((SELECT id FROM file p WHERE p.integration = @integration AND p.source = @source AND p.name = @name AND p.hash <> @hash ORDER BY id DESC LIMIT 1), 0))
RETURNING id;

-- name: take_over_file
-- A file that failed is gone on with when it is dropped again: what was wrong may have been the integration.
UPDATE file SET state = 'reading', error = '', session = @session, place = @place, begun_at = now(), begun_rows = rows_done, moved_at = now(),
    request = CASE WHEN @request::bigint <> 0 THEN @request ELSE request END, deletes_refused = 0
WHERE id = @id;

-- name: see_file
UPDATE file SET sightings = sightings + 1, last_name = @name, place = @place, request = CASE WHEN @request::bigint <> 0 THEN @request ELSE request END WHERE id = @id AND place <> @place;

-- name: overtake_file
UPDATE file SET state = 'failed', session = 0, ended_at = now(), error = 'another file of the source was begun before this one ended; its rows so far are kept, and it is read again as a new occurrence'
WHERE id = @id AND state = 'reading';

-- name: file_row
SELECT id, state, session, mark::text, rows_done, received, rejected, duplicates, tracking_id, occurrence, previous, bytes_done, unchanged, deleted, unidentified, known,
    deletes_allowed <> '', name, size, hash, place, integration, source
FROM file WHERE id = @id;

-- name: move_file
UPDATE file SET mark = @mark::json, rows_done = @rows_done, bytes_done = @bytes_done, moved_at = now(), received = received + @received, rejected = rejected + @rejected,
    duplicates = duplicates + @duplicates, unchanged = unchanged + @unchanged, unidentified = unidentified + @unidentified
WHERE id = @id AND session = @session AND state = 'reading';

-- name: move_deleted
UPDATE file SET deleted = deleted + @deleted, moved_at = now() WHERE id = @id AND session = @session AND state = 'reading';

-- name: end_file
UPDATE file SET state = @state, error = @error, ended_at = now(), moved_at = now(), session = 0, deletes_refused = @deletes_refused,
    bytes_done = CASE WHEN @state = 'done' THEN size ELSE bytes_done END,
    report = CASE WHEN @reports::boolean THEN 'due' ELSE report END, report_due = CASE WHEN @reports::boolean THEN now() ELSE report_due END, report_try = 0, report_error = ''
WHERE id = @id AND session = @session AND state = 'reading';

-- name: insert_rejects
INSERT INTO file_reject (file, number, line, record_id) SELECT @file, * FROM unnest(@numbers::bigint[], @lines::bigint[], @ids::uuid[]) ON CONFLICT DO NOTHING;

-- name: file_rejects
-- Those that are still rejected: what a person has put right since is no reject any more.
SELECT j.number, j.line, r.id, r.class, r.code, r.message, coalesce(r.detail::text, '')
FROM file_reject j JOIN record r ON r.id = j.record_id
WHERE j.file = @file AND j.number > @after AND r.state = 'rejected' ORDER BY j.number LIMIT @rows;

-- name: file_stories
-- One row for each file ever dropped; only a person asks.
SELECT id, name, integration, source, size, state, rows_done, received, rejected, duplicates, error, started_at, ended_at, encode(hash, 'hex'), occurrence, previous, sightings,
    last_name, bytes_done, unchanged, deleted, unidentified, deletes_refused, deletes_allowed, begun_at, begun_rows, moved_at, report, report_try, report_error, tracking_id::text
FROM file
WHERE (@id::bigint = 0 OR id = @id) AND (@tracking_id::uuid IS NULL OR tracking_id = @tracking_id) AND (@request::bigint = 0 OR request = @request)
    AND (@integration::text = '' OR integration = @integration) AND (@source::text = '' OR source = @source)
    AND (@state::text = '' OR state = @state) AND (@before::bigint = 0 OR id < @before)
ORDER BY id DESC LIMIT @rows;

-- name: take_report
-- One that is read again, after it failed, has its report when it ends again.
UPDATE file SET report_due = now() + @lease::interval, report_try = report_try + 1
WHERE id = (SELECT id FROM file WHERE integration = @integration AND source = @source AND report = 'due' AND report_due <= now() AND state <> 'reading'
    ORDER BY report_due LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, report_try, ended_at, report_error <> '';

-- name: end_report
UPDATE file SET report = CASE WHEN @error = '' THEN 'delivered' ELSE 'due' END, report_error = @error, report_due = CASE WHEN @error = '' THEN NULL ELSE now() + @wait::interval END
WHERE id = @id AND report = 'due' AND report_try = @try AND ended_at = @ended_at;

-- name: lease_name
INSERT INTO file_seen AS f (integration, source, name, session) VALUES (@integration, @source, @name, @session)
ON CONFLICT (integration, source, name) DO UPDATE SET session = EXCLUDED.session, at = now()
WHERE (f.stamp <> @stamp OR (@again::boolean AND f.failed))
    AND NOT EXISTS (SELECT FROM session s WHERE s.id = f.session AND s.id <> @session AND s.renewed_at >= now() - @lapse::interval);

-- name: seen_name
SELECT stamp = @stamp AND NOT (@again::boolean AND failed), session = @session FROM file_seen WHERE integration = @integration AND source = @source AND name = @name;

-- name: remember_name
UPDATE file_seen SET stamp = @stamp, hash = @hash, file = @file, failed = @failed, session = 0, at = now()
WHERE integration = @integration AND source = @source AND name = @name AND session = @session;

-- name: release_name
UPDATE file_seen SET session = 0 WHERE integration = @integration AND source = @source AND name = @name AND session = @session;

-- name: forget_name
DELETE FROM file_seen WHERE integration = @integration AND source = @source AND name = @name AND session = @session;

-- name: ask_files
INSERT INTO file_request (integration, source, actor, allow_file) VALUES (@integration, @source, @actor, @allow_file) RETURNING id;

-- name: allow_deletes
UPDATE file f SET deletes_allowed = @actor WHERE id = @id AND state = 'failed' AND deletes_refused > 0
    AND NOT EXISTS (SELECT FROM file n WHERE n.integration = f.integration AND n.source = f.source AND n.id > f.id)
RETURNING integration, source;

-- name: take_requests
UPDATE file_request SET session = @session, begun_at = now()
WHERE id IN (
    SELECT r.id FROM file_request r WHERE r.ended_at IS NULL AND r.integration || '/' || r.source = ANY(@sources::text[]) AND r.session <> @session
        AND NOT EXISTS (SELECT FROM session s WHERE s.id = r.session AND s.renewed_at >= now() - @lapse::interval)
    ORDER BY r.id LIMIT @rows FOR UPDATE SKIP LOCKED)
RETURNING id, integration, source, actor, allow_file;

-- name: end_request
UPDATE file_request SET ended_at = now(), found = @found, waiting = @waiting, error = @error WHERE id = @id AND ended_at IS NULL;

-- name: file_request
SELECT begun_at, ended_at, found, waiting, error FROM file_request WHERE id = @id;

-- name: lock_entities
SELECT entity_key, content FROM entity_latest WHERE integration = @integration AND entity_key = ANY(@keys::text[]) ORDER BY entity_key FOR UPDATE;

-- name: keep_entities
-- In the order of keys, as every multi-row lock of entities. Arrival order decides, not the order of commits.
INSERT INTO entity_latest AS e (integration, entity_key, content, seq, record_id, source, file)
SELECT x.integration, x.key, x.content, CASE WHEN x.seq = 0 THEN nextval('record_seq') ELSE x.seq END, x.id, @source, @file
FROM unnest(@integrations::text[], @keys::text[], @contents::bytea[], @seqs::bigint[], @ids::uuid[]) AS x(integration, key, content, seq, id)
ORDER BY x.integration, x.key
ON CONFLICT (integration, entity_key) DO UPDATE SET
    content = CASE WHEN e.seq < EXCLUDED.seq THEN EXCLUDED.content ELSE e.content END,
    record_id = CASE WHEN e.seq < EXCLUDED.seq THEN EXCLUDED.record_id ELSE e.record_id END,
    seq = greatest(e.seq, EXCLUDED.seq),
    source = CASE WHEN EXCLUDED.file > 0 THEN EXCLUDED.source ELSE e.source END,
    file = CASE WHEN EXCLUDED.file > 0 THEN EXCLUDED.file ELSE e.file END;

-- name: touch_entities
-- They are in this snapshot, although they bring nothing new.
UPDATE entity_latest SET source = @source, file = @file WHERE integration = @integration AND entity_key = ANY(@keys::text[]);

-- name: doubt_entities
-- A record that is put back to work, and is not its entity's latest version, may come out as that: whatever
-- arrives next is compared with nothing. In the order of keys, as every multi-row lock of entities.
WITH doubted AS (
    SELECT e.integration, e.entity_key FROM entity_latest e JOIN record r ON r.integration = e.integration AND r.entity_key = e.entity_key
    WHERE r.id = ANY(@ids::uuid[]) AND r.id <> e.record_id ORDER BY e.integration, e.entity_key FOR UPDATE OF e
)
UPDATE entity_latest e SET content = decode(repeat('00', 32), 'hex') FROM doubted d WHERE e.integration = d.integration AND e.entity_key = d.entity_key;

-- name: forget_entities
DELETE FROM entity_latest WHERE integration = @integration AND entity_key = ANY(ARRAY(SELECT entity_key FROM entity_latest WHERE integration = @integration ORDER BY entity_key LIMIT @rows));

-- name: count_missing
SELECT count(*) FROM entity_latest WHERE integration = @integration AND source = @source AND file <> @file;

-- name: missing_entities
SELECT e.entity_key, CASE WHEN octet_length(p.body) <= @max_body THEN p.body END
FROM entity_latest e LEFT JOIN record r ON r.id = e.record_id LEFT JOIN payload p ON p.day = r.day AND p.seq = r.seq AND p.revision = r.revision
WHERE e.integration = @integration AND e.source = @source AND e.file <> @file AND e.entity_key > @after
ORDER BY e.entity_key LIMIT @rows;

-- name: drop_entities
DELETE FROM entity_latest WHERE integration = @integration AND source = @source AND entity_key = ANY(@keys::text[]) AND file <> @file;

-- name: recent_attempts
-- With ties: the rows of one transaction share their time, and a page must not end among them.
SELECT r.id, r.key, r.integration, a.kind, a.number, a.event, a.from_state, a.to_state, a.class, a.code, a.ended_at, a.fence
FROM attempt a JOIN record r ON r.day = a.day AND r.seq = a.seq
WHERE a.ended_at > @after ORDER BY a.ended_at FETCH FIRST (@rows) ROWS WITH TIES;

-- name: ensure_poll
INSERT INTO poll (integration, source) VALUES (@integration, @source) ON CONFLICT DO NOTHING;

-- name: take_poll
-- Nothing is written while nothing is due, or while another live session has it.
UPDATE poll p SET session = @session
WHERE p.integration = @integration AND p.source = @source
    AND (p.next_at <= now() OR EXISTS (
        SELECT FROM poll_request r WHERE r.integration = @integration AND r.source = @source AND r.state = 'open' AND r.next_at <= now()))
    AND NOT EXISTS (SELECT FROM session s WHERE s.id = p.session AND s.id <> @session AND s.renewed_at >= now() - @lapse::interval)
RETURNING p.mark::text, p.failures, p.next_at <= now(), now();

-- name: open_poll_request
SELECT id, since, until, mark::text, failures FROM poll_request
WHERE integration = @integration AND source = @source AND state = 'open' AND next_at <= now() ORDER BY id LIMIT 1;

-- name: hold_poll
SELECT now() FROM poll WHERE integration = @integration AND source = @source AND session = @session FOR UPDATE;

-- name: move_poll
UPDATE poll SET mark = @mark::json,
    started_at = CASE WHEN @begin THEN @taken ELSE started_at END, ended_at = CASE WHEN @begin THEN NULL ELSE ended_at END,
    pages = CASE WHEN @begin THEN 0 ELSE pages END + @pages, items = CASE WHEN @begin THEN 0 ELSE items END + @items,
    received = CASE WHEN @begin THEN 0 ELSE received END + @received, rejected = CASE WHEN @begin THEN 0 ELSE rejected END + @rejected,
    duplicates = CASE WHEN @begin THEN 0 ELSE duplicates END + @duplicates
WHERE integration = @integration AND source = @source;

-- name: move_poll_request
UPDATE poll_request SET mark = @mark::json, started_at = coalesce(started_at, now()), pages = pages + @pages, items = items + @items,
    received = received + @received, rejected = rejected + @rejected, duplicates = duplicates + @duplicates
WHERE id = @id AND state = 'open';

-- name: end_poll
-- A run that was asked for after this one had begun is due when this one has ended; failures wait all the same.
UPDATE poll SET session = 0, mark = coalesce(@mark::text::json, mark), failures = @failures, error = @error,
    next_at = now() + CASE WHEN hurried_at IS NOT NULL AND @failures = 0 AND (NOT @ended OR started_at < hurried_at) THEN '0' ELSE @wait::interval END,
    hurried_at = CASE WHEN @ended AND started_at >= hurried_at THEN NULL ELSE hurried_at END,
    reached = coalesce(@reached, reached), ended_at = CASE WHEN @ended THEN now() ELSE ended_at END
WHERE integration = @integration AND source = @source AND session = @session;

-- name: free_poll
UPDATE poll SET session = 0 WHERE integration = @integration AND source = @source AND session = @session;

-- name: end_poll_request
UPDATE poll_request SET mark = coalesce(@mark::text::json, mark), next_at = now() + @wait::interval, failures = @failures, error = @error,
    state = @state, ended_at = CASE @state WHEN 'open' THEN NULL ELSE now() END
WHERE id = @id AND state = 'open';

-- name: request_poll
INSERT INTO poll_request (integration, source, since, until, actor)
VALUES (@integration, @source, @since, coalesce(@until, now()), @actor) RETURNING id;

-- name: hurry_poll
UPDATE poll SET next_at = least(next_at, now()), failures = 0, hurried_at = now() WHERE integration = @integration AND source = @source
RETURNING now();

-- name: poll_request_by_id
SELECT id, integration, source, since, until, actor, state, failures, error, requested_at, started_at, ended_at, next_at, pages, items, received, rejected, duplicates
FROM poll_request WHERE id = @id;

-- name: polls
SELECT p.integration, p.source, EXISTS (SELECT FROM session s WHERE s.id = p.session AND s.renewed_at >= now() - @lapse::interval),
    p.next_at, p.failures, p.error, p.reached, p.started_at, p.ended_at, p.pages, p.items, p.received, p.rejected, p.duplicates,
    (SELECT count(*) FROM poll_request r WHERE r.integration = p.integration AND r.source = p.source AND r.state = 'open')
FROM poll p ORDER BY p.integration, p.source;

-- name: list_places
-- Below the snapshot's xmin every transaction has ended: nothing can appear there any more.
SELECT r.id, r.arrived, r.seq, r.state, r.accepted_at
FROM unnest(@integrations::text[]) AS i(name) CROSS JOIN LATERAL (
    SELECT id, arrived::text::bigint AS arrived, seq, state, accepted_at FROM record
    WHERE integration = i.name AND (arrived, seq) > ((@arrived::bigint)::text::xid8, @seq::bigint)
        AND arrived < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY record.arrived, record.seq LIMIT @rows
) r ORDER BY r.arrived, r.seq LIMIT @rows;

-- name: arrived_range
SELECT min(first), max(last) FROM unnest(@integrations::text[]) AS i(name)
CROSS JOIN LATERAL (SELECT arrived::text::bigint AS first FROM record WHERE integration = i.name ORDER BY record.arrived, seq LIMIT 1) f
CROSS JOIN LATERAL (SELECT arrived::text::bigint AS last FROM record WHERE integration = i.name ORDER BY record.arrived DESC, seq DESC LIMIT 1) l
HAVING count(*) > 0;

-- name: arrived_at
-- The first record from a place on, of any of the integrations.
SELECT r.arrived, r.accepted_at FROM unnest(@integrations::text[]) AS i(name) CROSS JOIN LATERAL (
    SELECT arrived::text::bigint AS arrived, seq, accepted_at FROM record
    WHERE integration = i.name AND arrived >= (@arrived::bigint)::text::xid8 ORDER BY record.arrived, seq LIMIT 1
) r ORDER BY r.arrived, r.seq LIMIT 1;

-- name: register_sources
INSERT INTO source AS s (integration, source, kind)
SELECT x.integration, x.source, x.kind FROM unnest(@integrations::text[], @sources::text[], @kinds::text[]) AS x(integration, source, kind)
ORDER BY x.integration, x.source
ON CONFLICT (integration, source) DO UPDATE SET kind = EXCLUDED.kind WHERE s.kind <> EXCLUDED.kind;

-- name: lock_sources
SELECT s.integration, s.source, s.secrets::text, s.fields::text
FROM source s JOIN unnest(@integrations::text[], @sources::text[]) AS x(integration, source) ON x.integration = s.integration AND x.source = s.source
ORDER BY s.integration, s.source FOR UPDATE OF s;

-- name: note_sources
UPDATE source s SET heard_at = greatest(s.heard_at, x.heard_at), verified_at = greatest(s.verified_at, x.verified_at), secrets = x.secrets::json, fields = x.fields::json
FROM unnest(@integrations::text[], @sources::text[], @heard::timestamptz[], @verified::timestamptz[], @secrets::text[], @fields::text[])
    AS x(integration, source, heard_at, verified_at, secrets, fields)
WHERE s.integration = x.integration AND s.source = x.source;

-- name: count_minutes
INSERT INTO source_minute AS m (integration, source, minute, arrivals, rejected, unproven)
SELECT x.integration, x.source, date_trunc('minute', now()), x.arrivals, x.rejected, x.unproven
FROM unnest(@integrations::text[], @sources::text[], @arrivals::bigint[], @rejected::bigint[], @unproven::bigint[]) AS x(integration, source, arrivals, rejected, unproven)
WHERE x.arrivals + x.rejected + x.unproven > 0
ORDER BY x.integration, x.source
ON CONFLICT (integration, source, minute) DO UPDATE SET
    arrivals = m.arrivals + EXCLUDED.arrivals, rejected = m.rejected + EXCLUDED.rejected, unproven = m.unproven + EXCLUDED.unproven;

-- name: take_sources
-- Nobody waits: what another ingest judges now, or judged just before, is left to it.
SELECT s.integration, s.source, s.registered_at, s.heard_at, s.verified_at, s.secrets::text, s.fields::text,
    s.silent_since, s.unproven_since, s.drift_since, s.paused_at, s.resumed_at,
    w.arrivals, w.rejected, s.usual_arrivals + w.before_arrivals, s.usual_rejected + w.before_rejected, w.unproven, now()
FROM source s JOIN unnest(@integrations::text[], @sources::text[]) AS x(integration, source) ON x.integration = s.integration AND x.source = s.source
CROSS JOIN LATERAL (
    SELECT coalesce(sum(arrivals) FILTER (WHERE minute > now() - @recent::interval), 0)::bigint AS arrivals,
        coalesce(sum(rejected) FILTER (WHERE minute > now() - @recent::interval), 0)::bigint AS rejected,
        coalesce(sum(arrivals) FILTER (WHERE minute <= now() - @recent::interval), 0)::float8 AS before_arrivals,
        coalesce(sum(rejected) FILTER (WHERE minute <= now() - @recent::interval), 0)::float8 AS before_rejected,
        coalesce(sum(unproven) FILTER (WHERE minute > greatest(now() - @burst::interval, s.verified_at)), 0)::bigint AS unproven
    FROM source_minute m WHERE m.integration = s.integration AND m.source = s.source
) w
WHERE s.checked_at <= now() - @every::interval
ORDER BY s.integration, s.source FOR UPDATE OF s SKIP LOCKED;

-- name: judge_sources
UPDATE source s SET checked_at = now(), silent_since = x.silent, unproven_since = x.unproven, drift_since = x.drift,
    alerted_at = CASE WHEN x.told <> '' THEN now() ELSE s.alerted_at END, told = CASE WHEN x.told <> '' THEN x.told ELSE s.told END
FROM unnest(@integrations::text[], @sources::text[], @silent::timestamptz[], @unproven::timestamptz[], @drift::timestamptz[], @told::text[])
    AS x(integration, source, silent, unproven, drift, told)
WHERE s.integration = x.integration AND s.source = x.source;

-- name: fold_minutes
-- Only of sources that this transaction has locked. What came while the format was another one is not usual.
WITH old AS (
    DELETE FROM source_minute m USING unnest(@integrations::text[], @sources::text[]) AS x(integration, source)
    WHERE m.integration = x.integration AND m.source = x.source AND m.minute < now() - @keep::interval
    RETURNING m.integration, m.source, m.arrivals, m.rejected
), added AS (
    SELECT s.integration, s.source, s.usual_arrivals + sum(o.arrivals) AS arrivals, s.usual_rejected + sum(o.rejected) AS rejected
    FROM old o JOIN source s ON s.integration = o.integration AND s.source = o.source WHERE s.drift_since IS NULL
    GROUP BY s.integration, s.source, s.usual_arrivals, s.usual_rejected
)
UPDATE source s SET usual_arrivals = a.arrivals * least(1, @most::float8 / greatest(a.arrivals, 1)), usual_rejected = a.rejected * least(1, @most::float8 / greatest(a.arrivals, 1))
FROM added a WHERE s.integration = a.integration AND s.source = a.source;

-- name: paused_sources
SELECT integration, source, paused_at, paused_by, paused_why FROM source WHERE paused_at IS NOT NULL;

-- name: pause_source
WITH moved AS (
    INSERT INTO source AS s (integration, source, paused_at, paused_by, paused_why) VALUES (@integration, @source, now(), @actor, @why)
    ON CONFLICT (integration, source) DO UPDATE SET paused_at = now(), paused_by = @actor, paused_why = @why, silent_since = NULL WHERE s.paused_at IS NULL
    RETURNING s.integration, s.source
), kept AS (
    INSERT INTO source_act (integration, source, act, actor, why) SELECT integration, source, 'pause', @actor, @why FROM moved
)
SELECT count(*) > 0 FROM moved;

-- name: resume_source
WITH moved AS (
    UPDATE source SET paused_at = NULL, paused_by = '', paused_why = '', resumed_at = now()
    WHERE integration = @integration AND source = @source AND paused_at IS NOT NULL RETURNING integration, source
), kept AS (
    INSERT INTO source_act (integration, source, act, actor, why) SELECT integration, source, 'resume', @actor, @why FROM moved
)
SELECT count(*) > 0 FROM moved;

-- name: source_acts
SELECT act, actor, why, at FROM source_act WHERE integration = @integration AND source = @source ORDER BY id DESC LIMIT @rows;

-- name: source_stories
SELECT s.integration, s.source, s.kind, s.registered_at, s.heard_at, s.silent_since, s.unproven_since, s.drift_since, s.alerted_at, s.told,
    s.paused_at, s.paused_by, s.paused_why, s.secrets::text,
    (SELECT coalesce(sum(arrivals), 0)::bigint FROM source_minute m WHERE m.integration = s.integration AND m.source = s.source AND m.minute > now() - interval '1 hour'),
    (SELECT coalesce(sum(rejected), 0)::bigint FROM source_minute m WHERE m.integration = s.integration AND m.source = s.source AND m.minute > now() - interval '1 hour')
FROM source s ORDER BY s.integration, s.source;
