package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Webhook is an endpoint that is told of events.
type Webhook struct {
	WebhookID       string   `json:"webhook_id"`
	URL             string   `json:"url"`
	EventTypes      []string `json:"event_types"` // empty: every type
	Active          bool     `json:"active"`
	IncludeNumbers  bool     `json:"include_numbers"`
	GoneAt          string   `json:"gone_at"`
	Pending         int64    `json:"pending"`
	DeadLetters     int64    `json:"dead_letters"`
	Secret          string   `json:"secret"` // only in the answer that makes it
	OldSecretEndsAt string   `json:"old_secret_ends_at"`
	CreatedAt       string   `json:"created_at"`
	UpdatedAt       string   `json:"updated_at"`
}

// WebhookChange makes or changes an endpoint; nil leaves what it is, or is at first.
type WebhookChange struct {
	URL            *string   `json:"url,omitempty"`
	EventTypes     *[]string `json:"event_types,omitempty"`
	Active         *bool     `json:"active,omitempty"`
	IncludeNumbers *bool     `json:"include_numbers,omitempty"`
}

// WebhookAttempt is one request to an endpoint and what came of it.
type WebhookAttempt struct {
	At             string `json:"at"`
	Outcome        string `json:"outcome"`
	ResponseStatus int64  `json:"response_status"`
	ResponseBody   string `json:"response_body"`
	Milliseconds   int64  `json:"milliseconds"`
}

// WebhookTest is what came of a test.
type WebhookTest struct {
	EventID string `json:"event_id"`
	WebhookAttempt
}

// Delivery is one event on its way to an endpoint.
type Delivery struct {
	EventID       string           `json:"event_id"`
	Type          string           `json:"type"`
	Timestamp     string           `json:"timestamp"`
	GreenVNID     string           `json:"greenvn_id"`
	GreenPinID    string           `json:"greenpin_id"`
	CallSID       string           `json:"call_sid"`
	Status        string           `json:"status"` // queued, pending, delivered, dead
	Tries         int64            `json:"tries"`
	LastOutcome   string           `json:"last_outcome"`
	NextAttemptAt string           `json:"next_attempt_at"`
	FinishedAt    string           `json:"finished_at"`
	Request       *DeliveryRequest `json:"request"`  // only of a single one
	Attempts      []WebhookAttempt `json:"attempts"` // only of a single one
}

// DeliveryRequest is what is sent, numbers hidden.
type DeliveryRequest struct {
	URL  string          `json:"url"`
	Body json.RawMessage `json:"body"`
}

// DeliveryFilter narrows a list of deliveries; zero fields do not.
type DeliveryFilter struct {
	Page
	Status string
	Since  time.Time // of the event
	Until  time.Time
}

// ReplayRequest says what is sent again. The zero one is all dead letters.
type ReplayRequest struct {
	Status string `json:"status,omitempty"` // dead, any
	Since  string `json:"since,omitempty"`  // RFC 3339
	Until  string `json:"until,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// Replayed is how much one request has replayed; NextCursor goes on.
type Replayed struct {
	Replayed   int64  `json:"replayed"`
	NextCursor string `json:"next_cursor"`
}

// CreateWebhook makes an endpoint.
func (c *Client) CreateWebhook(ctx context.Context, tenant string, in WebhookChange, calls ...Call) (Webhook, error) {
	return do[Webhook](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "webhooks"), body: in, calls: calls})
}

// Webhooks lists the tenant's endpoints.
func (c *Client) Webhooks(ctx context.Context, tenant string) (List[Webhook], error) {
	return do[List[Webhook]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "webhooks")})
}

// Webhook reads an endpoint.
func (c *Client) Webhook(ctx context.Context, tenant, id string) (Webhook, error) {
	return do[Webhook](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "webhooks", id)})
}

// ChangeWebhook changes an endpoint.
func (c *Client) ChangeWebhook(ctx context.Context, tenant, id string, in WebhookChange, calls ...Call) (Webhook, error) {
	return do[Webhook](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "webhooks", id), body: in, calls: calls})
}

// DeleteWebhook removes an endpoint and what is known of its deliveries.
func (c *Client) DeleteWebhook(ctx context.Context, tenant, id string, calls ...Call) error {
	_, err := do[struct{}](ctx, c, asTenant, request{method: http.MethodDelete, path: own(tenant, "webhooks", id), calls: calls})
	return err
}

// RotateWebhookSecret gives an endpoint another secret; the one before signs too for
// 24 hours.
func (c *Client) RotateWebhookSecret(ctx context.Context, tenant, id string, calls ...Call) (Webhook, error) {
	return do[Webhook](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "webhooks", id, "rotate-secret"), calls: calls})
}

// TestWebhook sends a test to an endpoint and tells what came of it.
func (c *Client) TestWebhook(ctx context.Context, tenant, id string) (WebhookTest, error) {
	return do[WebhookTest](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "webhooks", id, "test")})
}

// Deliveries reads a page of an endpoint's log, newest event first.
func (c *Client) Deliveries(ctx context.Context, tenant, id string, f DeliveryFilter) (List[Delivery], error) {
	return do[List[Delivery]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "webhooks", id, "deliveries"), query: f.all()})
}

func (f DeliveryFilter) all() url.Values {
	q := f.query()
	put(q, "status", f.Status)
	putTime(q, "since", f.Since)
	putTime(q, "until", f.Until)
	return q
}

// Delivery reads one delivery with its attempts.
func (c *Client) Delivery(ctx context.Context, tenant, id, event string) (Delivery, error) {
	return do[Delivery](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "webhooks", id, "deliveries", event)})
}

// ReplayDelivery sends one delivery again.
func (c *Client) ReplayDelivery(ctx context.Context, tenant, id, event string, calls ...Call) (Delivery, error) {
	return do[Delivery](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "webhooks", id, "deliveries", event, "replay"), calls: calls})
}

// Replay sends dead letters, or the events of a time, again; 500 in one request.
func (c *Client) Replay(ctx context.Context, tenant, id string, in ReplayRequest, calls ...Call) (Replayed, error) {
	return do[Replayed](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "webhooks", id, "replay"), body: in, calls: calls})
}
