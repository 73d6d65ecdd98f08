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
