package api_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

var webhookSecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/]{43}=`)

// webhook makes an endpoint and gives its id and secret.
func (h *harness) webhook(fields string) (id, secret string) {
	h.Helper()
	a := h.own("POST", "/webhooks", `{"url":"https://hooks.example/x"`+fields+`}`).want(201)
	return a.text("webhook_id"), a.text("secret")
}

// spread makes deliveries of what happened, as the sender does.
func (h *harness) spread(id string) {
	h.Helper()
	h.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.SpreadEvents(ctx, masking.WebhookID(id), h.clock(), 1000)
		return err
	})
}

func (h *harness) update(fn func(context.Context, store.Tx) error) {
	h.Helper()
	if err := h.store.Update(h.Context(), fn); err != nil {
		h.Fatal(err)
	}
}

// attempt ends an attempt of whatever is due; with waits left it is pending.
func (h *harness) attempt(id string, o masking.DeliveryOutcome, status int, waits ...time.Duration) {
	h.Helper()
	h.update(func(ctx context.Context, tx store.Tx) error {
		due, err := tx.Due(ctx, masking.WebhookID(id), h.clock(), 100)
		for _, d := range due {
			a := masking.DeliveryAttempt{At: h.clock(), Took: 20 * time.Millisecond, Outcome: o, Status: status, Response: "hm"}
			if _, err := tx.FinishAttempt(ctx, d.After(a, waits, 0, h.clock())); err != nil {
				return err
			}
		}
		return err
	})
}

func TestAnEndpointIsMadeShownChangedAndRemoved(t *testing.T) {
	h := newHarness(t)
	made := h.own("POST", "/webhooks", `{"url":"https://hooks.example/x","event_types":["call.completed","greenpin.created"],"include_numbers":false}`).want(201)
	id, secret := made.text("webhook_id"), made.text("secret")
	if !webhookSecret.MatchString(secret) {
		t.Errorf("the secret is %q", secret)
	}
	shown := func(more string) string {
		return `{"webhook_id":"` + id + `","url":"https://hooks.example/x","event_types":["call.completed","greenpin.created"],"active":true,"include_numbers":false,"pending":0,"dead_letters":0` +
			more + `,"created_at":"2024-06-15T10:30:00+05:30","updated_at":"2024-06-15T10:30:00+05:30"}`
	}
	made.exactly(`{"response":` + shown(`,"secret":"`+secret+`"`) + `}`)
	h.own("GET", "/webhooks/"+id, "").want(200).exactly(`{"response":` + shown("") + `}`)
	h.own("GET", "/webhooks", "").want(200).exactly(`{"response":{"items":[` + shown("") + `],"next_cursor":""}}`)

	h.at("10:31:00")
	h.own("PUT", "/webhooks/"+id, `{"active":false}`).want(200)
	a := h.own("PUT", "/webhooks/"+id, `{"url":"http://hooks.example/y","event_types":[]}`).want(200)
	if want := `{"response":{"webhook_id":"` + id + `","url":"http://hooks.example/y","event_types":[],"active":false,"include_numbers":false,"pending":0,"dead_letters":0,"created_at":"2024-06-15T10:30:00+05:30","updated_at":"2024-06-15T10:31:00+05:30"}}`; strings.TrimSpace(a.body) != want {
		t.Errorf("got  %swant %s", a.body, want)
	}
	if h.sender.nudges != 2 {
		t.Errorf("the sender was told %d times", h.sender.nudges)
	}

	sid, token := h.tenant("other")
	for _, path := range []string{"", "/deliveries", "/deliveries/evt_1"} {
		h.do("GET", "/v1/tenants/other/webhooks/"+id+path, "", as(sid, token)).refused(404, "not_found", "")
	}
	for _, path := range []string{"/test", "/rotate-secret", "/replay", "/deliveries/evt_1/replay"} {
		h.do("POST", "/v1/tenants/other/webhooks/"+id+path, "", as(sid, token)).refused(404, "not_found", "")
	}
	h.do("DELETE", "/v1/tenants/other/webhooks/"+id, "", as(sid, token)).refused(404, "not_found", "")
	h.own("DELETE", "/webhooks/"+id, "").want(200).exactly(`{"response":{"webhook_id":"` + id + `","status":"deleted"}}`)
	h.own("DELETE", "/webhooks/"+id, "").refused(404, "not_found", "")
	if strings.Contains(h.logs.String(), secret) {
		t.Error("the secret is in the log")
	}
}

func TestEndpointsThatCannotBeAreRefused(t *testing.T) {
	h := newHarness(t)
	id, _ := h.webhook("")
	for _, c := range []struct{ body, code, field string }{
		{`{}`, "missing_field", "url"},
		{`{"url":5}`, "invalid_field", "url"},
		{`{"url":""}`, "invalid_field", "url"},
		{`{"url":"hooks.example/x"}`, "invalid_field", "url"},
		{`{"url":"ftp://hooks.example/x"}`, "invalid_field", "url"},
		{`{"url":"https:///x"}`, "invalid_field", "url"},
		{`{"url":"https://me:secret@hooks.example/x"}`, "invalid_field", "url"},
		{`{"url":"https://hooks.example/x#y"}`, "invalid_field", "url"},
		{`{"url":"https://hooks.example/` + strings.Repeat("x", 2048) + `"}`, "invalid_field", "url"},
		{`{"url":"https://hooks.example/x","event_types":["call.began"]}`, "invalid_field", "event_types"},
		{`{"url":"https://hooks.example/x","event_types":["call.ringing","call.ringing"]}`, "invalid_field", "event_types"},
		{`{"url":"https://hooks.example/x","event_types":"call.ringing"}`, "invalid_field", "event_types"},
		{`{"url":"https://hooks.example/x","active":"yes"}`, "invalid_field", "active"},
		{`{"url":"https://hooks.example/x","include_numbers":1}`, "invalid_field", "include_numbers"},
	} {
		h.own("POST", "/webhooks", c.body).refused(400, c.code, c.field)
		if c.code == "invalid_field" {
			h.own("PUT", "/webhooks/"+id, c.body).refused(400, c.code, c.field)
		}
	}
	for i := 1; i < masking.MostWebhooks; i++ {
		h.webhook("")
	}
	h.own("POST", "/webhooks", `{"url":"https://hooks.example/x"}`).refused(409, "too_many_webhooks", "")
	h.own("DELETE", "/webhooks/"+id, "").want(200)
	h.webhook("")
}

func TestARotatedSecretIsShownOnceAndTheOneBeforeSignsOn(t *testing.T) {
	h := newHarness(t)
	id, first := h.webhook("")
	key := header("Idempotency-Key", "rotate-1")
	a := h.own("POST", "/webhooks/"+id+"/rotate-secret", "", key).want(200)
	second := a.text("secret")
	if !webhookSecret.MatchString(second) || second == first || a.text("old_secret_ends_at") != "2024-06-16T10:30:00+05:30" {
		t.Errorf("%s", a.body)
	}
	if again := h.own("POST", "/webhooks/"+id+"/rotate-secret", "", key).want(200); again.body != a.body {
		t.Errorf("the same request again: %s", again.body)
	}
	if b := h.own("GET", "/webhooks/"+id, "").want(200).body; strings.Contains(b, "whsec_") {
		t.Errorf("shown again: %s", b)
	}
	err := h.store.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		w, err := tx.Webhook(ctx, "acme", masking.WebhookID(id))
		if string(w.Secret) != string(sealer{}.Seal(id, second)) || string(w.OldSecret) != string(sealer{}.Seal(id, first)) {
			t.Errorf("kept: %q and %q", w.Secret, w.OldSecret)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestATestTellsWhatCameOfIt(t *testing.T) {
	h := newHarness(t)
	id, _ := h.webhook(`,"active":false`)
	a := h.own("POST", "/webhooks/"+id+"/test", "").want(200)
	if len(h.sender.tested) != 1 {
		t.Fatal("nothing was sent")
	}
	e := h.sender.tested[0]
	a.exactly(`{"response":{"event_id":"` + string(e.ID) + `","at":"2024-06-15T10:30:00+05:30","outcome":"status","response_status":500,"response_body":"not https://hooks.example/x","milliseconds":1500}}`)
	if e.Type != masking.EventWebhookTest || string(e.Data) != `{"webhook_id":"`+id+`"}` {
		t.Errorf("%+v", e)
	}
	h.sender.full = true
	h.own("POST", "/webhooks/"+id+"/test", "").refused(503, "temporarily_unavailable", "")
}

func TestTheLogOfDeliveriesHidesNumbersAndDeadLettersCanBeReplayed(t *testing.T) {
	h := newHarness(t)
	early := h.create(vn1, alice, bob) // before there is an endpoint
	id, _ := h.webhook("")
	h.own("DELETE", "/greenvn/"+early, "").want(200)
	h.at("10:31:00")
	late := h.create(vn2, carol, dave)
	h.spread(id)
	log := "/webhooks/" + id + "/deliveries"
	h.attempt(id, masking.OutcomeStatus, 500, time.Minute)
	h.attempt(id, masking.OutcomeStatus, 500, time.Minute) // nothing is due
	page := h.own("GET", log+"?limit=1", "").want(200)
	item := `{"event_id":"%s","type":"greenvn.created","timestamp":"2024-06-15T10:31:00+05:30","greenvn_id":"%s","status":"pending","tries":1,"last_outcome":"status","next_attempt_at":"2024-06-15T10:32:00+05:30"}`
	event := regexp.MustCompile(`evt_[0-9a-z]+`).FindString(page.body)
	if !strings.Contains(page.body, fmt.Sprintf(item, event, late)) || page.text("next_cursor") == "" {
		t.Errorf("%s", page.body)
	}
	next := h.own("GET", log+"?cursor="+page.text("next_cursor"), "").want(200)
	if !strings.Contains(next.body, `"type":"greenvn.deallocated"`) || strings.Contains(next.body, event) || next.text("next_cursor") != "" {
		t.Errorf("%s", next.body)
	}
	one := h.own("GET", log+"/"+event, "").want(200)
	for _, part := range []string{`"request":{"url":"https://hooks.example/x","body":{"type":"greenvn.created","timestamp":"2024-06-15T10:31:00+05:30","data":{`,
		`"from":["+91…03"]`, `"to":["+91…04"]`, `"greenvn":"` + vn2 + `"`,
		`"attempts":[{"at":"2024-06-15T10:31:00+05:30","outcome":"status","response_status":500,"response_body":"hm","milliseconds":20}]`} {
		if !strings.Contains(one.body, part) {
			t.Errorf("no %s in %s", part, one.body)
		}
	}

	h.at("10:32:00")
	h.attempt(id, masking.OutcomeTimeout, 0) // that was the last
	h.own("GET", log+"?status=dead&since=2024-06-15T10:31:00%2B05:30&until=2024-06-15T10:32:00%2B05:30", "").want(200)
	if a := h.own("GET", "/webhooks/"+id, ""); a.fields["dead_letters"] != 2.0 || a.fields["pending"] != 0.0 {
		t.Errorf("%s", a.body)
	}
	if a := h.own("POST", log+"/"+event+"/replay", "").want(200); a.text("status") != "pending" || a.fields["tries"] != 0.0 {
		t.Errorf("%s", a.body)
	}
	replay := "/webhooks/" + id + "/replay"
	h.own("POST", replay, `{"since":"2024-06-15T10:31:00+05:30"}`).want(200).exactly(`{"response":{"replayed":0,"next_cursor":""}}`)
	h.own("POST", replay, "").want(200).exactly(`{"response":{"replayed":1,"next_cursor":""}}`)
	h.own("POST", replay, `{}`).want(200).exactly(`{"response":{"replayed":0,"next_cursor":""}}`)
	h.attempt(id, masking.OutcomeDelivered, 200)
	// Any: what was delivered, and what was before the endpoint.
	h.own("POST", replay, `{"status":"any","until":"2024-06-15T10:31:00+05:30"}`).want(200).exactly(`{"response":{"replayed":2,"next_cursor":""}}`)
	if a := h.own("GET", log+"?status=queued", "").want(200); strings.Count(a.body, early) != 1 || !strings.Contains(a.body, "deallocated") {
		t.Errorf("the later of one allocation waits for the earlier: %s", a.body)
	}
	h.create(shared1, alice, bob) // is about to be sent anyway
	h.own("POST", replay, `{"status":"any"}`).want(200).exactly(`{"response":{"replayed":3,"next_cursor":""}}`)

	for _, c := range []struct{ body, field string }{{`{"status":"alive"}`, "status"}, {`{"since":"now"}`, "since"},
		{`{"until":"2024"}`, "until"}, {`{"cursor":"x"}`, "cursor"}} {
		h.own("POST", replay, c.body).refused(400, "invalid_field", c.field)
	}
	for _, path := range []string{log + "/evt_0", log + "/gvn_1", "/webhooks/wh_0/deliveries", "/webhooks/x"} {
		h.own("GET", path, "").refused(404, "not_found", "")
	}
	h.own("GET", log+"?status=lost", "").refused(400, "invalid_field", "status")
}

func TestAReplayOfMuchGoesOnByItsCursor(t *testing.T) {
	h := newHarness(t)
	id, _ := h.webhook("")
	h.update(func(ctx context.Context, tx store.Tx) error {
		for i := range 700 {
			e := masking.Event{ID: masking.EventID(fmt.Sprintf("evt_%d", i)), Type: masking.EventCallCompleted, Tenant: "acme", At: h.clock(), Data: []byte("{}")}
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	h.spread(id)
	for range 7 {
		h.attempt(id, masking.OutcomeStatus, 500)
	}
	for _, status := range []string{"any", "dead"} {
		cursor, replayed := "", 0.0
		for rounds := 0; rounds == 0 || cursor != ""; rounds++ {
			a := h.own("POST", "/webhooks/"+id+"/replay", `{"status":"`+status+`","cursor":"`+cursor+`"}`).want(200)
			n, _ := a.fields["replayed"].(float64)
			replayed, cursor = replayed+n, a.text("next_cursor")
		}
		if replayed != 700 {
			t.Errorf("%s: %v replayed", status, replayed)
		}
		for range 7 {
			h.attempt(id, masking.OutcomeStatus, 500)
		}
	}
}

// webhookDeeds are those on endpoints (see deeds).
func webhookDeeds() map[string]deed {
	on := func(method, path, body string) deed {
		return func(h *harness) (string, string, string) {
			id, _ := h.webhook("")
			h.own(method, "/webhooks/"+id+path, body).want(200)
			return "tok", "acme", id
		}
	}
	return map[string]deed{
		"webhooks-create": func(h *harness) (string, string, string) {
			id, _ := h.webhook("")
			return "tok", "acme", id
		},
		"webhooks-change":        on("PUT", "", `{"active":false}`),
		"webhooks-delete":        on("DELETE", "", ""),
		"webhooks-rotate-secret": on("POST", "/rotate-secret", ""),
		"webhooks-replay":        on("POST", "/replay", ""),
		"webhooks-replay-one": func(h *harness) (string, string, string) {
			id, _ := h.webhook("")
			h.create(vn1, alice, bob)
			h.spread(id)
			event := regexp.MustCompile(`evt_[0-9a-z]+`).FindString(h.own("GET", "/webhooks/"+id+"/deliveries", "").body)
			h.own("POST", "/webhooks/"+id+"/deliveries/"+event+"/replay", "").want(200)
			return "tok", "acme", id + "/" + event
		},
	}
}
