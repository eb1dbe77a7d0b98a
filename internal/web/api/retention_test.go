package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// retain works on what is too old until there is nothing to do, as upkeep does: the
// sound of recordings too.
func (h *harness) retain() (removed int) {
	h.Helper()
	for _, sweep := range []func(context.Context, int) (int, error){h.plane.Recordings.Sweep, h.plane.Retention.Sweep} {
		for {
			n, err := sweep(context.Background(), 3)
			if err != nil {
				h.Fatal(err)
			}
			if removed += n; n < 3 {
				break
			}
		}
	}
	return removed
}

func TestWhatHasEndedIsKeptAsLongAsItsTenantSaysAndNoLonger(t *testing.T) {
	h := newHarness(t)
	ended, parted, calls := h.lived()
	other := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"other","recording_retention_days":1,"retention_days":1}`).want(201)
	if h.retain(); h.own("GET", "/greenvn/"+ended, "").want(200).text("status") != "deleted" {
		t.Error("without a retention something is removed")
	}
	before := len(h.own("GET", "/events?limit=100", "").page().Response.Items)
	h.pass(3650 * 24 * time.Hour)
	h.expire()
	if h.retain(); len(h.own("GET", "/events?limit=100", "").page().Response.Items) != before+1 {
		t.Error("0 days do not keep for good")
	}
	h.own("PUT", "/settings", `{"retention_days":30}`).refused(400, "invalid_field", "recording_retention_days")
	h.own("PUT", "/settings", `{"retention_days":3650,"recording_retention_days":3650}`).want(200)
	h.own("PUT", "/calls/"+string(calls[0])+"/recording", `{"legal_hold":true}`).want(200)
	active := h.create(vn2, alice, bob)
	if h.retain() == 0 {
		t.Fatal("nothing is removed")
	}
	h.own("GET", "/greenvn/"+parted, "").want(200) // its end is the last of what happened, a day after it began
	h.own("GET", "/calls/"+string(calls[1]), "").refused(404, "not_found", "")
	h.pass(25 * time.Hour)
	h.retain()
	h.own("GET", "/greenvn/"+parted, "").refused(404, "not_found", "")
	for _, c := range calls[1:] {
		h.own("GET", "/calls/"+string(c), "").refused(404, "not_found", "")
		h.own("GET", "/calls/"+string(c)+"/recording/info", "").refused(404, "not_found", "")
	}
	// A hold keeps the sound, the record of its call and the allocation.
	h.own("GET", "/calls/"+string(calls[0])+"/recording", "").want(200)
	h.own("GET", "/greenvn/"+ended, "").want(200)
	h.own("GET", "/greenvn/"+active, "").want(200)
	h.own("PUT", "/calls/"+string(calls[0])+"/recording", `{"legal_hold":false}`).want(200)
	h.retain()
	h.own("GET", "/calls/"+string(calls[0]), "").refused(404, "not_found", "")
	h.own("GET", "/greenvn/"+ended, "").refused(404, "not_found", "")
	if files, _ := h.sounds.state(); files != 0 {
		t.Errorf("%d sounds are left", files)
	}
	if again := h.retain(); again != 0 {
		t.Errorf("%d rows are removed again", again)
	}
	if left := h.own("GET", "/events?limit=100", "").page().Response.Items; len(left) != 2 { // parted's end, the new one
		t.Errorf("%d events are left", len(left))
	}
	if logs := h.logs.String(); !strings.Contains(logs, `"msg":"old records removed","tenant":"acme"`) {
		t.Error("the log does not tell")
	}
	h.do("GET", "/v1/tenants/other/settings", "", as(other.text("account_sid"), other.text("token"))).want(200)
	h.update(func(ctx context.Context, tx store.Tx) error { // upkeep's work too
		_, err := tx.ForgetTries(ctx, h.clock().Add(-masking.StrangerForgets), 9)
		return err
	})
	if err := h.store.Scrub(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.nowhere(erin)
}

// expire writes the ends of what has expired.
func (h *harness) expire() {
	h.Helper()
	if _, err := h.plane.Allocations.Sweep(context.Background(), 100); err != nil {
		h.Fatal(err)
	}
}

func TestWhoFallsBehindWhatIsKeptIsToldThatHeMissedEvents(t *testing.T) {
	h := newHarness(t)
	h.own("PUT", "/settings", `{"retention_days":30,"recording_retention_days":30}`).want(200)
	h.tell(2, `{}`)
	list := func(cursor string) *answer { return h.own("GET", "/events?limit=1&cursor="+cursor, "") }
	first := list("").page().Response.NextCursor
	second := list(first).page().Response.NextCursor
	h.pass(31 * 24 * time.Hour)
	h.retain()
	h.tell(1, `{}`)
	list(first).refused(410, "events_gone", "cursor")
	h.own("GET", "/events/stream", "", header("Last-Event-ID", first)).refused(410, "events_gone", "cursor")
	h.own("GET", "/events/stream?cursor="+first, "").refused(410, "events_gone", "cursor")
	if got := list(second).page().Response; len(got.Items) != 1 {
		t.Errorf("who has read all there was gets %d events", len(got.Items))
	}
	if got := list("").page().Response; len(got.Items) != 1 {
		t.Errorf("who begins anew gets %d events", len(got.Items))
	}
	// With the very last event gone, a stream that begins now begins behind it.
	h.pass(31 * 24 * time.Hour)
	h.retain()
	s := h.follow(h.server.URL, "")
	if s.response.StatusCode != 200 {
		t.Fatalf("a stream from now on: %d", s.response.StatusCode)
	}
	h.tell(1, `{"n":1}`)
	if e, open := s.next(); !open || e.typ != string(masking.EventUpdated) {
		t.Errorf("the next event is %+v, %v", e, open)
	}
}
