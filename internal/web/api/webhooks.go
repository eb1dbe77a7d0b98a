package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// Webhook is an endpoint of a tenant.
type Webhook struct {
	WebhookID       masking.WebhookID `json:"webhook_id"`
	URL             string            `json:"url"`
	EventTypes      []string          `json:"event_types" doc:"empty: every type"`
	Active          bool              `json:"active" doc:"while it is not, events wait"`
	IncludeNumbers  bool              `json:"include_numbers" doc:"whether payloads hold people's numbers"`
	GoneAt          string            `json:"gone_at,omitempty" format:"date-time" doc:"when it answered 410 and was switched off for that"`
	Pending         int64             `json:"pending" doc:"deliveries that are still to be made, counted to 1000"`
	DeadLetters     int64             `json:"dead_letters" doc:"deliveries that were given up, counted to 1000"`
	Secret          string            `json:"secret,omitempty" doc:"checks signatures; only in the answer that makes it"`
	OldSecretEndsAt string            `json:"old_secret_ends_at,omitempty" format:"date-time" doc:"until then the secret before signs too"`
	CreatedAt       string            `json:"created_at" format:"date-time"`
	UpdatedAt       string            `json:"updated_at" format:"date-time"`
}

// WebhookDeleted is the answer to removing an endpoint.
type WebhookDeleted struct {
	WebhookID masking.WebhookID `json:"webhook_id"`
	Status    string            `json:"status" enum:"deleted"`
}

// WebhookAttempt is one request to an endpoint and what came of it.
type WebhookAttempt struct {
	At             string                  `json:"at" format:"date-time" doc:"webhook-timestamp"`
	Outcome        masking.DeliveryOutcome `json:"outcome" enum:"delivered,status,redirect,gone,timeout,closed,unreachable,forbidden,internal"`
	ResponseStatus int64                   `json:"response_status,omitempty"`
	ResponseBody   string                  `json:"response_body,omitempty" doc:"its beginning, digits hidden that could be a number"`
	Milliseconds   int64                   `json:"milliseconds" doc:"until the status came, or it was given up"`
}

// WebhookTest is what came of a test.
type WebhookTest struct {
	EventID masking.EventID `json:"event_id" doc:"the webhook-id of the test"`
	WebhookAttempt
}

// Delivery is one event on its way to an endpoint.
type Delivery struct {
	EventID       masking.EventID         `json:"event_id" doc:"the webhook-id of each attempt"`
	Type          masking.EventType       `json:"type"`
	Timestamp     string                  `json:"timestamp" format:"date-time" doc:"of the event"`
	GreenVNID     masking.AllocationID    `json:"greenvn_id,omitempty"`
	GreenPinID    masking.AllocationID    `json:"greenpin_id,omitempty"`
	CallSID       masking.CallID          `json:"call_sid,omitempty"`
	Status        masking.DeliveryStatus  `json:"status" enum:"queued,pending,delivered,dead" doc:"queued: behind an earlier event of the same allocation"`
	Tries         int64                   `json:"tries" doc:"attempts since it was first, or last, asked for"`
	LastOutcome   masking.DeliveryOutcome `json:"last_outcome,omitempty" enum:"delivered,status,redirect,gone,timeout,closed,unreachable,forbidden,internal"`
	NextAttemptAt string                  `json:"next_attempt_at,omitempty" format:"date-time" doc:"while it is pending"`
	FinishedAt    string                  `json:"finished_at,omitempty" format:"date-time" doc:"when it was delivered or given up"`
	Request       *DeliveryRequest        `json:"request,omitempty" doc:"only of a single delivery"`
	Attempts      []WebhookAttempt        `json:"attempts,omitempty" doc:"the last 20, oldest first; only of a single delivery"`
}

// DeliveryRequest is what is sent, numbers hidden.
type DeliveryRequest struct {
	URL  string          `json:"url"`
	Body json.RawMessage `json:"body" doc:"an object"`
}

// WebhookBody makes an endpoint.
type WebhookBody struct {
	URL            string    `json:"url" maxLength:"2048" doc:"http or https address"`
	EventTypes     *[]string `json:"event_types,omitempty" doc:"which events it is told of; at first every type"`
	Active         *bool     `json:"active,omitempty" doc:"at first true"`
	IncludeNumbers *bool     `json:"include_numbers,omitempty" doc:"whether payloads hold people's numbers; at first true"`
}

// WebhookChange changes an endpoint; omitted keeps its value.
type WebhookChange struct {
	URL            *string   `json:"url,omitempty" maxLength:"2048" doc:"http or https address"`
	EventTypes     *[]string `json:"event_types,omitempty" doc:"replaced as a whole; empty: every type"`
	Active         *bool     `json:"active,omitempty" doc:"what waited while it was not is sent when it is again"`
	IncludeNumbers *bool     `json:"include_numbers,omitempty"`
}

// ReplayBody says what is sent again.
type ReplayBody struct {
	Status *string `json:"status,omitempty" enum:"dead,any" doc:"dead (at first): dead letters; any: every event that the endpoint asks for, also from before it was made"`
	Since  *string `json:"since,omitempty" format:"date-time" doc:"events of this time or later"`
	Until  *string `json:"until,omitempty" format:"date-time" doc:"events before this time"`
	Cursor *string `json:"cursor,omitempty" doc:"next_cursor of the request before"`
}

// ReplayResult is how much was replayed.
type ReplayResult struct {
	Replayed   int64  `json:"replayed" doc:"at most 500 in one request"`
	NextCursor string `json:"next_cursor" doc:"goes on; empty when that was all"`
}

// WebhookPath names one endpoint.
type WebhookPath struct {
	TenantPath
	WebhookID string `path:"webhook_id"`
}

// DeliveryPath names one delivery.
type DeliveryPath struct {
	WebhookPath
	EventID string `path:"event_id"`
}

// The requests of the operations on endpoints.
type (
	CreateWebhookInput struct {
		TenantPath
		Keyed
		Body document[WebhookBody]
	}
	ChangeWebhookInput struct {
		WebhookPath
		Keyed
		Body document[WebhookChange]
	}
	KeyedWebhookInput struct {
		WebhookPath
		Keyed
	}
	DeliveriesInput struct {
		WebhookPath
		Paged
		Status string `query:"status" enum:"queued,pending,delivered,dead"`
		Since  string `query:"since" doc:"of events of this time or later (RFC 3339)"`
		Until  string `query:"until" doc:"of events before this time (RFC 3339)"`
	}
	ReplayDeliveryInput struct {
		DeliveryPath
		Keyed
	}
	ReplayInput struct {
		WebhookPath
		Keyed
		Body document[ReplayBody]
	}
)

// webhooks declares the operations on endpoints and their deliveries.
func (r *router) webhooks() {
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, "/webhooks"+path, "webhooks-"+id, summary)
		op.Tags, op.DefaultStatus = []string{"Webhooks"}, http.StatusOK
		return op
	}
	const one, delivery = "/{webhook_id}", "/{webhook_id}/deliveries/{event_id}"
	create := op("POST", "", "create", "Make an endpoint; its secret is shown once")
	create.DefaultStatus = http.StatusCreated
	operation[CreateWebhookInput, Webhook](r, create, r.createWebhook)
	operation[TenantPath, list[Webhook]](r, op("GET", "", "list", "List your endpoints"), r.listWebhooks)
	operation[WebhookPath, Webhook](r, op("GET", one, "get", "Get an endpoint"), r.getWebhook)
	operation[ChangeWebhookInput, Webhook](r, op("PUT", one, "change", "Change an endpoint"), r.changeWebhook)
	operation[KeyedWebhookInput, WebhookDeleted](r, op("DELETE", one, "delete", "Remove an endpoint and its deliveries"), r.deleteWebhook)
	operation[KeyedWebhookInput, Webhook](r, op("POST", one+"/rotate-secret", "rotate-secret",
		"Give an endpoint another secret; the one before signs too for 24 hours"), r.rotateSecret)
	operation[WebhookPath, WebhookTest](r, op("POST", one+"/test", "test", "Send a test to an endpoint, and see what comes of it"), r.testWebhook)
	operation[DeliveriesInput, list[Delivery]](r, op("GET", one+"/deliveries", "deliveries", "List the deliveries to an endpoint, newest event first"), r.listDeliveries)
	operation[DeliveryPath, Delivery](r, op("GET", delivery, "delivery", "Get a delivery with its attempts"), r.getDelivery)
	operation[ReplayDeliveryInput, Delivery](r, op("POST", delivery+"/replay", "replay-one", "Send a delivery again"), r.replayDelivery)
	replay := op("POST", one+"/replay", "replay", "Send dead letters, or the events of a time, again")
	replay.Metadata = map[string]any{bodyOptional: true}
	operation[ReplayInput, ReplayResult](r, replay, r.replayMany)
}

func (p WebhookPath) webhook() (masking.WebhookID, error) {
	return parseID[masking.WebhookID](masking.PrefixWebhook, p.WebhookID)
}

func (p DeliveryPath) ids() (webhook masking.WebhookID, event masking.EventID, err error) {
	if webhook, err = p.webhook(); err != nil {
		return "", "", err
	}
	event, err = parseID[masking.EventID](masking.PrefixEvent, p.EventID)
	return webhook, event, err
}

func (s *server) createWebhook(ctx context.Context, in *CreateWebhookInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	w := masking.Webhook{Active: true, Numbers: true}
	(&WebhookChange{&body.URL, body.EventTypes, body.Active, body.IncludeNumbers}).adjust(&w)
	t := exchangeOf(ctx).tenant
	return s.Plane.Webhooks.Create(ctx, t.ID, w, once(ctx, s, http.StatusCreated, presentWebhook(t)))
}

// adjust changes what the body names.
func (b *WebhookChange) adjust(w *masking.Webhook) {
	set(&w.URL, b.URL)
	set(&w.Active, b.Active)
	set(&w.Numbers, b.IncludeNumbers)
	if b.EventTypes != nil {
		w.Types = nil
		for _, t := range *b.EventTypes {
			w.Types = append(w.Types, masking.EventType(t))
		}
	}
}

func presentWebhook(t masking.Tenant) func(control.Endpoint) Webhook {
	return func(e control.Endpoint) Webhook {
		zone := t.Settings.Zone
		v := Webhook{WebhookID: e.ID, URL: e.URL, EventTypes: make([]string, len(e.Types)), Active: e.Active, IncludeNumbers: e.Numbers,
			GoneAt: optionalStamp(e.GoneAt, zone), Pending: int64(e.Pending), DeadLetters: int64(e.Dead), Secret: e.Secret,
			OldSecretEndsAt: optionalStamp(e.OldUntil, zone), CreatedAt: masking.Stamp(e.CreatedAt, zone), UpdatedAt: masking.Stamp(e.UpdatedAt, zone)}
		for i, one := range e.Types {
			v.EventTypes[i] = string(one)
		}
		return v
	}
}

func (s *server) listWebhooks(ctx context.Context, _ *TenantPath) (control.Answer, error) {
	t := exchangeOf(ctx).tenant
	all, err := s.Plane.Webhooks.List(ctx, t.ID)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(all, presentWebhook(t), false, nil)), nil
}

func (s *server) getWebhook(ctx context.Context, in *WebhookPath) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	e, err := s.Plane.Webhooks.Get(ctx, t.ID, id)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, presentWebhook(t)(e)), nil
}

func (s *server) changeWebhook(ctx context.Context, in *ChangeWebhookInput) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Webhooks.Update(ctx, t.ID, id, body.adjust, once(ctx, s, http.StatusOK, presentWebhook(t)))
}

func (s *server) deleteWebhook(ctx context.Context, in *KeyedWebhookInput) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Webhooks.Delete(ctx, exchangeOf(ctx).tenant.ID, id, once(ctx, s, http.StatusOK,
		func(id masking.WebhookID) WebhookDeleted { return WebhookDeleted{id, "deleted"} }))
}

func (s *server) rotateSecret(ctx context.Context, in *KeyedWebhookInput) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Webhooks.Rotate(ctx, t.ID, id, once(ctx, s, http.StatusOK, presentWebhook(t)))
}

func (s *server) testWebhook(ctx context.Context, in *WebhookPath) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	event, a, err := s.Plane.Webhooks.Test(ctx, t, id)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, WebhookTest{event, presentAttempt(a, t.Settings.Zone)}), nil
}

func presentAttempt(a masking.DeliveryAttempt, zone *time.Location) WebhookAttempt {
	return WebhookAttempt{At: masking.Stamp(a.At, zone), Outcome: a.Outcome, ResponseStatus: int64(a.Status), ResponseBody: a.Response,
		Milliseconds: a.Took.Milliseconds()}
}

func (s *server) listDeliveries(ctx context.Context, in *DeliveriesInput) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	q := control.DeliveryQuery{Status: masking.DeliveryStatus(in.Status), Limit: in.Limit}
	if q.Since, err = queryTime("since", in.Since); err != nil {
		return control.Answer{}, err
	}
	if q.Until, err = queryTime("until", in.Until); err != nil {
		return control.Answer{}, err
	}
	if q.Before, err = eventCursor(in.Cursor); err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Webhooks.Deliveries(ctx, t.ID, id, q)
	if err != nil {
		return control.Answer{}, err
	}
	present := func(d masking.Delivery) Delivery { return presentDelivery(d, t.Settings.Zone) }
	return render(http.StatusOK, newList(page, present, more, func(d masking.Delivery) string { return placeCursor(d.Cursor) })), nil
}

// placeCursor makes a cursor of the place of an event.
func placeCursor(place int64) string { return cursor(eventPrefix + strconv.FormatInt(place, 10)) }

func presentDelivery(d masking.Delivery, zone *time.Location) Delivery {
	v := Delivery{EventID: d.Event.ID, Type: d.Event.Type, Timestamp: masking.Stamp(d.Event.At, zone), CallSID: d.Event.Call,
		Status: d.Status, Tries: int64(d.Tries), FinishedAt: optionalStamp(d.FinishedAt, zone)}
	v.GreenVNID, v.GreenPinID = apart(d.Event.Allocation)
	if d.Status == masking.DeliveryPending {
		v.NextAttemptAt = masking.Stamp(d.Due, zone)
	}
	if n := len(d.Attempts); n > 0 {
		v.LastOutcome = d.Attempts[n-1].Outcome
	}
	return v
}

// presentDelivered shows a single delivery, with what lists leave out.
func presentDelivered(t masking.Tenant) func(control.Delivered) Delivery {
	return func(d control.Delivered) Delivery {
		zone := t.Settings.Zone
		v := presentDelivery(d.Delivery, zone)
		v.Request = &DeliveryRequest{URL: d.To.URL, Body: d.To.HiddenPayload(d.Event, zone)}
		for _, a := range d.Attempts {
			v.Attempts = append(v.Attempts, presentAttempt(a, zone))
		}
		return v
	}
}

func (s *server) getDelivery(ctx context.Context, in *DeliveryPath) (control.Answer, error) {
	webhook, event, err := in.ids()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	d, err := s.Plane.Webhooks.Delivery(ctx, t.ID, webhook, event)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, presentDelivered(t)(d)), nil
}

func (s *server) replayDelivery(ctx context.Context, in *ReplayDeliveryInput) (control.Answer, error) {
	webhook, event, err := in.ids()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Webhooks.Replay(ctx, t.ID, webhook, event, once(ctx, s, http.StatusOK, presentDelivered(t)))
}

func (s *server) replayMany(ctx context.Context, in *ReplayInput) (control.Answer, error) {
	id, err := in.webhook()
	if err != nil {
		return control.Answer{}, err
	}
	var body ReplayBody
	if len(in.Body.body) > 0 {
		if body, err = in.Body.decode(); err != nil {
			return control.Answer{}, err
		}
	}
	q, err := body.query()
	if err != nil {
		return control.Answer{}, err
	}
	present := func(r control.Replayed) ReplayResult {
		v := ReplayResult{Replayed: int64(r.Count)}
		if r.Next != 0 {
			v.NextCursor = placeCursor(r.Next)
		}
		return v
	}
	return s.Plane.Webhooks.ReplayMany(ctx, exchangeOf(ctx).tenant.ID, id, q, once(ctx, s, http.StatusOK, present))
}

func (b ReplayBody) query() (q control.ReplayQuery, err error) {
	status, err := choice("status", value(b.Status), "dead", "any")
	if err != nil {
		return q, err
	}
	q.Dead = status == "dead"
	if q.Since, err = queryTime("since", value(b.Since)); err != nil {
		return q, err
	}
	if q.Until, err = queryTime("until", value(b.Until)); err != nil {
		return q, err
	}
	q.From, err = eventCursor(value(b.Cursor))
	return q, err
}
