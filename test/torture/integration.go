package main

import (
	"fmt"
	"strings"

	"waybill.internal/test/harness"
)

// retryDelays are short and many: an outage of ten seconds costs a record a few
// of them, and never reaches the waits of a quarter of an hour and more.
var retryDelays = []string{"1s", "2s", "4s", "6s", "8s", "10s"}

// integrationOf writes the integration of a run. drop is the watched directory.
func integrationOf(drop string) string {
	return harness.Begin + fmt.Sprintf(`  - name: shops
    file:
      from: %s/*.csv
      every: "* * * * *"
      format: {csv: {delimiter: ";"}}
record:
  entity_key: body.request_no
  schema:
    type: object
    required: [request_no, product, quantity]
    properties:
      request_no: {type: string, minLength: 1}
      product: {type: string, minLength: 1}
      quantity: {type: string}
      opened_at: {type: string, format: date-time}
      closed_at: {type: string, format: date-time}
  check: ["closed_at == nil || closed_at >= opened_at"]
destinations:
  crm: {url: "${CRM_URL}", concurrency: 64, timeout: 2s, allow_private: true}
process:
  steps:
    - lookup: {name: platform_key, table: product_keys, key: {client_key: body.product}, take: platform_key, missing: reject}
    - call:
        name: crm
        to: crm
        path: /requests
        body: {request_no: body.request_no, product: steps.platform_key}
        reject:
          - {when: response.status == 422, code: crm_refused, message: The CRM does not accept this request.}
        keep: {crm_id: response.body.id}
    - map: {request_no: body.request_no, product_key: steps.platform_key, crm_id: "int(body.quantity) >= 0 ? steps.crm.crm_id : nil"}
    - upsert: {table: service_requests, key: [request_no]}
  retry: {delays: [%s], attempts: 30, give_up_after: 2h}
`, drop, strings.Join(retryDelays, ", ")) + harness.Acknowledge + `    retry: {first: 500ms, max: 2s, give_up_after: 2h}
`
}

// workTopics are what the processors' group reads, without the prefix.
func workTopics() []string {
	topics := []string{"main.work", "main.retry", "main.replay"}
	for _, d := range retryDelays {
		topics = append(topics, "main.retry."+d)
	}
	return topics
}

func allTopics() []string { return append(workTopics(), "result", "dead-letter", "quarantine") }
