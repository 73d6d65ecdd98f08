package harness

// The parts of an integration of service requests that the tests' integrations
// share; what a file adds stands between them. The variables CRM_URL and
// PARTNER_URL are set by the stack.
const (
	// Begin names the integration and its webhook; more sources may follow.
	Begin = `integration: service-requests
receipts: {keys: ["${BRAND_KEY}"]}
sources:
  - name: webhook
    webhook:
      path: /in/service-requests
      verify: {scheme: standard-webhooks, secrets: ["${BRAND_SECRET}"]}
`
	// Record is a service request, and what is checked of it.
	Record = `record:
  entity_key: body.request_no
  schema:
    type: object
    required: [request_no, product]
    properties:
      request_no: {type: string, minLength: 1}
      product: {type: string}
      opened_at: {type: string, format: date-time}
      closed_at: {type: string, format: date-time}
  check: ["closed_at == nil || closed_at >= opened_at"]
`
	// Acknowledge posts outcomes to the partner in batches of 50 at most; keys of
	// the post, such as its retry, may follow.
	Acknowledge = `acknowledge:
  post:
    to: ${PARTNER_URL}
    batch: 50
    every: 100ms
    sign: {scheme: standard-webhooks, secrets: ["${BRAND_SECRET}"]}
    confirmed: any(response.body.confirmed ?? [], .id == item.id && .outcome == item.outcome)
    allow_private: true
`
)

// DefaultIntegration is the service-request integration with short delays.
const DefaultIntegration = Begin + Record + `destinations:
  crm: {url: "${CRM_URL}", concurrency: 64, timeout: 3s, allow_private: true}
process:
  steps:
    - lookup: {name: platform_key, table: product_keys, key: {client_key: body.product}, take: platform_key, missing: reject}
    - call:
        name: crm
        to: crm
        path: /requests
        body: {request_no: body.request_no, product: steps.platform_key}
        keep: {crm_id: response.body.id}
    - map: {request_no: body.request_no, product_key: steps.platform_key, crm_id: steps.crm.crm_id}
    - upsert: {table: service_requests, key: [request_no]}
  retry: {delays: [1s, 2s, 3s], attempts: 4, give_up_after: 10m}
` + Acknowledge + `    retry: {first: 500ms, max: 2s, give_up_after: 1h}
`
