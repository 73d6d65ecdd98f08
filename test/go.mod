module waybill.internal/test

go 1.26.0

require waybill.internal/pkg v0.0.0

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	waybill.internal/pkg/localstack v0.0.0
	waybill.internal/proto v0.0.0
)

replace waybill.internal/pkg => ../pkg

replace waybill.internal/proto => ../proto

replace waybill.internal/pkg/localstack => ../pkg/localstack

require waybill.internal/services/acknowledger v0.0.0

replace waybill.internal/services/acknowledger => ../services/acknowledger

require go.uber.org/zap v1.28.0

require (
	github.com/goccy/go-yaml v1.19.2
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/segmentio/kafka-go v0.4.51 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	waybill.internal/services/ingest v0.0.0
	waybill.internal/services/processor v0.0.0
)

replace waybill.internal/services/ingest => ../services/ingest

replace waybill.internal/services/processor => ../services/processor

require go.uber.org/goleak v1.3.0

require github.com/google/uuid v1.6.0
