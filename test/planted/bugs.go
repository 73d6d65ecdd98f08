package main

// Packages whose tests catch bugs.
const (
	ledgerTests  = "./test/ledger"
	journeyTests = "./test/journey"
	fileTests    = "./test/file"
	streamTests  = "./pkg/stream"
	retryTests   = "./pkg/retry"
	confirmTests = "./services/acknowledger/internal/confirm"
	tellTests    = "./test/acknowledger"
)

// catcher is tests of one package that a bug must make fail, and what they then
// say: an error of another kind is no catch.
type catcher struct {
	folder string
	run    string // a pattern of `go test -run`
	says   string
}

type bug struct {
	name     string
	meaning  string
	catchers []catcher
}

// bugs gives every bug that can be planted with all that must catch it.
func bugs() []bug {
	return []bug{
		{"acks_none", "the producer asks for no acknowledgement", []catcher{
			{streamTests, "^TestAllReplicasMustAcknowledge$", "asked for acks=0, want -1"}}},
		{"answer_before_commit", "202 is answered before the commit", []catcher{
			{journeyTests, "^TestAcceptedIsCommitted$", "answer 202 without a commit, want 503"}}},
		{"offset_first", "offsets are committed before the claim", []catcher{
			{journeyTests, "^TestOffsetsFollowClaims$", "messages are committed, and 8 records are claimed"},
			{streamTests, "^TestPromisesOnEmbeddedKafka$/^NothingIsCommittedPastUnhandled$", "committed map["}}},
		{"highest_offset", "the whole batch counts as done although only its head was claimed", []catcher{
			{journeyTests, "^TestOffsetsFollowClaims$", "messages are committed, and 8 records are claimed"}}},
		{"fence_dropped", "claim and settlement ignore the fence", []catcher{
			{ledgerTests, "^TestLedger$/^a_claim_takes_what_its_fence_matches$", "fences: got "},
			{ledgerTests, "^TestLedger$/^a_zombie_does_not_settle_what_another_has_claimed$", "held, batches, rows: got true 1 1"}}},
		{"new_key_per_retry", "every attempt has its own Idempotency-Key", []catcher{
			{journeyTests, "^TestRetry$", "-crm-attempt-1 and body"}}},
		{"duplicate_not_redriven", "the duplicate of a stranded record is answered, and the record stays stranded", []catcher{
			{ledgerTests, "^TestLedger$/^a_duplicate_heals_a_record_without_a_batch$", "redriven: got true false false"},
			{ledgerTests, "^TestLedger$/^a_duplicate_heals_a_record_whose_worker_is_gone$", "redriven: got true false false"}}},
		{"redirect_confirms", "a 3xx counts as a confirmation", []catcher{
			{confirmTests, "^TestJudge$/^redirect_that_confirms$", "Event:confirmed"},
			{tellTests, "^TestSendsAgainUntilConfirmed$/^redirect$", "1 requests, want at least 3"}}},
		{"file_from_row_zero", "a file is read again from its start, under new keys", []catcher{
			{fileTests, "^TestGoesOnAfterTheLastChunk$", "SELECT count(*) FROM record: 8000, want 6000"}}},
		{"step_apart", "a state is committed before what its steps wrote", []catcher{
			{ledgerTests, "^TestLedger$/^a_failing_upsert_leaves_nothing$", "state: got processed, want processing"}}},
		{"content_as_key", "A, B, A: the second A is taken for a duplicate", []catcher{
			{journeyTests, "^TestTheSameContentAgain$", "2 records of A, B, A, want 3"}}},
		{"commit_async", "a commit does not wait for the disk", []catcher{
			{ledgerTests, "^TestLedger$/^every_commit_waits_for_the_disk$", "synchronous_commit: got INSERT off, UPDATE off"},
			{ledgerTests, "^TestAcceptedSurvivesTheServer$", "records were accepted, and after the crash"}}},
		{"outbox_apart", "an accepted record's message is in memory only", []catcher{
			{ledgerTests, "^TestLedger$/^what_a_crash_kept_from_Kafka_goes_out$", "the relay publishes: got [], want [main.work:1 result:1]"}}},
		{"retry_early", "Retry-After is not honoured", []catcher{
			{retryTests, "^TestSchedule$/^wish_between_topics$", "want {GiveUp:false Delay:5m0s Topic:true}"},
			{journeyTests, "^TestRetry$", "the third party asked for 1s"}}},
	}
}
