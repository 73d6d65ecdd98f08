// Package checker judges a torture run by what the outside saw: its journals, and
// the ledger's tables read by plain SQL. It imports no product code; the states,
// the transitions and the names of columns are written down here a second time.
//
//	report, err := checker.Check(ctx, "run/journals", postgresURL)
//
// Run it once nothing is under way any more. Each invariant gives one line, with
// how much it looked at, so that a check that saw nothing is seen. What is
// broken names the record and the command that shows its story.
//
//	C1   every receipt names a record that exists exactly once, under its key
//	C2   what was refused is no record and had no effect
//	C3   an unknown answer is no record or one record
//	C4   every record is final, its status acknowledged, given up on in sight of a
//	     person, or dead and waiting for one; the tally is the recount
//	C5   each history is a legal path, fences rise, one history row per claim
//	C6   one effect per record at the third party, under one key with one body;
//	     no call for what was rejected before it
//	C7   acknowledged only if the partner confirmed that outcome; every status signed
//	C8   every row of every file is one record; a broken one names its line
//	C9   topics hold only messages of records that exist and were to be worked
//	C10  what is dead has a reason, its attempts, and waits for a person
//	C11  no process ended by itself, every fault was healed
//	U    each processed record is once in the upsert table, with the right values
package checker
