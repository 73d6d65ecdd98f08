-- Records in the order in which they became visible, for partners that list theirs.

-- +goose Up

-- Neither a time nor a sequence is that order: a transaction that began early may commit late.
-- A transaction's id is, as far as all older ones have ended. Rows of before stand at 0, in the
-- order of their seq; a constant default rewrites no table.
ALTER TABLE record ADD COLUMN arrived xid8 NOT NULL DEFAULT '0';
ALTER TABLE record ALTER COLUMN arrived SET DEFAULT pg_current_xact_id();

-- No update changes these columns, so updates stay HOT; a new row is always the last of its integration.
CREATE INDEX record_arrived ON record (integration, arrived, seq);
