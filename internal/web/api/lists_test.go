package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// page is a list as a client reads it.
type page struct {
	Response struct {
		Items      []map[string]any `json:"items"`
		NextCursor string           `json:"next_cursor"`
	} `json:"response"`
}

func (a *answer) page() page {
	a.Helper()
	var p page
	if err := json.Unmarshal([]byte(a.want(200).body), &p); err != nil {
		a.Fatal(err)
	}
	return p
}

// walk reads a list to its end, page by page, and gives one field of each item.
func (h *harness) walk(path, field string, limit int) (values []string, pages int) {
	h.Helper()
	cursor := ""
	for {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		p := h.own("GET", fmt.Sprintf("%s%slimit=%d&cursor=%s", path, sep, limit, cursor), "").page()
		pages++
		if len(p.Response.Items) > limit {
			h.Fatalf("%d items on a page of %d", len(p.Response.Items), limit)
		}
		for _, item := range p.Response.Items {
			values = append(values, item[field].(string))
		}
		if p.Response.NextCursor == "" || (strings.HasPrefix(path, "/events") && len(p.Response.Items) < limit) {
			return values, pages
		}
		cursor = p.Response.NextCursor
	}
}

func TestTheListOfAllocationsIsReadPageByPageNewestFirst(t *testing.T) {
	h := newHarness(t)
	var made []string
	for i := range 25 {
		made = append(made, h.create(shared1, party(2*i), party(2*i+1)))
		h.pass(time.Millisecond)
	}
	slices.Reverse(made)
	for limit, pages := range map[int]int{1: 25, 7: 4, 24: 2, 25: 1, 100: 1} {
		got, n := h.walk("/greenvn", "greenvn_id", limit)
		if !slices.Equal(got, made) || n != pages {
			t.Errorf("limit %d: %d pages of %d allocations, want %d of %d", limit, n, len(got), pages, len(made))
		}
	}
	if p := h.own("GET", "/greenvn", "").page(); len(p.Response.Items) != 20 || p.Response.NextCursor == "" {
		t.Errorf("the default page has %d items, cursor %q", len(p.Response.Items), p.Response.NextCursor)
	}
}

func TestTheListOfAllocationsNarrows(t *testing.T) {
	h := newHarness(t)
	a := h.create(vn1, alice, bob)
	h.pass(time.Millisecond)
	b := h.create(shared1, alice, carol)
	h.pass(time.Millisecond)
	c := h.create(shared1, dave, bob)
	h.own("DELETE", "/greenvn/"+c, "").want(200)
	h.own("PATCH", "/greenvn/"+b, `{"duration":60}`).want(200)
	h.pass(61 * time.Second) // b has expired
	for query, want := range map[string][]string{
		"":                                      {c, b, a},
		"?status=active":                        {a},
		"?status=deleted":                       {c, b},
		"?virtual_number=%2B914000000011":       {c, b},
		"?virtual_number=+914000000011":         {c, b}, // a plus that nobody encoded
		"?party=%2B918800000002":                {c, a},
		"?party=%2B919900000001&status=deleted": {b},
		"?party=%2B911111111111":                nil,
	} {
		var got []string
		for _, item := range h.own("GET", "/greenvn"+query, "").page().Response.Items {
			got = append(got, item["greenvn_id"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", query, got, want)
		}
	}
	if p := h.own("GET", "/greenvn?party=%2B911111111111", "").want(200); p.body != `{"response":{"items":[],"next_cursor":""}}`+"\n" {
		t.Errorf("an empty list is %s", p.body)
	}
}

func TestThePoolIsListedForItsTenantAndForTheOperator(t *testing.T) {
	h := newHarness(t)
	h.create(shared1, alice, bob)
	got, _ := h.walk("/numbers", "number", 3)
	if want := []string{vn1, vn2, shared1, shared2}; !slices.Equal(got, want) {
		t.Errorf("numbers %v, want %v", got, want)
	}
	own, operator := h.own("GET", "/numbers", "").want(200), h.admin("GET", "/v1/admin/tenants/acme/numbers", "").want(200)
	if own.body != operator.body {
		t.Errorf("the tenant sees %s, the operator %s", own.body, operator.body)
	}
	item := own.page().Response.Items[2]
	if item["active_allocations"] != 1.0 || item["sharing"] != "shared" || item["region"] != "AP" || item["type"] != "landline" {
		t.Errorf("%v", item)
	}
}

func TestEventsAreReplayedInOrderAndTheCursorGoesOn(t *testing.T) {
	h := newHarness(t)
	first := h.own("GET", "/events", "").page()
	if len(first.Response.Items) != 0 {
		t.Fatalf("events before anything happened: %v", first.Response.Items)
	}
	id := h.create(vn1, alice, bob)
	h.pass(time.Minute)
	h.own("PUT", "/greenvn/"+id+"/vn", `{"caller_id_number":"`+vn2+`"}`).want(200)
	h.pass(time.Minute)
	h.own("PUT", "/greenvn/"+id+"/call-party", `{"to":["`+carol+`"]}`).want(200)
	h.pass(time.Minute)
	h.own("DELETE", "/greenvn/"+id, "").want(200)
	got, _ := h.walk("/events", "type", 3)
	if want := []string{"greenvn.created", "greenvn.updated", "greenvn.updated", "greenvn.deallocated"}; !slices.Equal(got, want) {
		t.Fatalf("events %v, want %v", got, want)
	}
	all := h.own("GET", "/events", "").page()
	last := all.Response.Items[3]
	data := last["data"].(map[string]any)
	if data["reason"] != "api" || data["greenvn_id"] != id || data["greenvn"] != vn2 || data["status"] != "deleted" || last["greenvn_id"] != id {
		t.Errorf("the last event is %v", last)
	}
	again := h.own("GET", "/events?cursor="+all.Response.NextCursor, "").page()
	if len(again.Response.Items) != 0 || again.Response.NextCursor != all.Response.NextCursor {
		t.Errorf("after the last event: %v", again)
	}
	h.create(vn1, alice, bob)
	if more := h.own("GET", "/events?cursor="+again.Response.NextCursor, "").page(); len(more.Response.Items) != 1 {
		t.Errorf("after one more event: %v", more)
	}
	since := h.own("GET", "/events?since=2024-06-15T10:31:00%2B05:30&until=2024-06-15T10:33:00+05:30", "").page()
	if len(since.Response.Items) != 2 {
		t.Errorf("between a minute and three: %v", since.Response.Items)
	}
	if got := h.own("GET", "/events?since=2024-06-15T10:31:00%2B05:30", "").page(); got.Response.Items[0]["timestamp"] != "2024-06-15T10:31:00+05:30" {
		t.Errorf("timestamp %v", got.Response.Items[0])
	}
}

func TestAnExpiryIsToldOnce(t *testing.T) {
	h := newHarness(t)
	ids := []string{h.create(vn1, alice, bob), h.create(vn2, alice, bob)}
	h.create(shared1, carol, dave)
	h.own("PATCH", "/greenvn/"+ids[0], `{"duration":60}`).want(200)
	h.own("PATCH", "/greenvn/"+ids[1], `{"duration":60}`).want(200)
	h.pass(time.Minute)
	for _, want := range []int{1, 1, 0, 0} {
		if n, err := h.plane.Allocations.Sweep(t.Context(), 1); err != nil || n != want {
			t.Fatalf("swept %d, %v; want %d", n, err, want)
		}
	}
	events := h.own("GET", "/events?limit=100", "").want(200).body
	if n := strings.Count(events, `"type":"greenvn.deallocated"`); n != 2 || strings.Count(events, `"reason":"expired"`) != 2 {
		t.Errorf("events %s", events)
	}
	if told := h.ended.all(); len(told) != 2 {
		t.Errorf("the voice plane was told %v", told)
	}
	for _, item := range h.own("GET", "/numbers", "").page().Response.Items[:2] {
		if item["active_allocations"] != 0.0 {
			t.Errorf("%v still carries load", item)
		}
	}
}

// callWriter is what these tests write of calls; the voice plane does it in life.
type callWriter interface {
	BeginCall(ctx context.Context, c masking.Call) (bool, error)
	AnswerCall(ctx context.Context, c masking.Call) (bool, error)
	EndCall(ctx context.Context, c masking.Call) (bool, error)
	BeginRecording(ctx context.Context, r masking.Recording) error
	EndRecording(ctx context.Context, r masking.Recording) (bool, error)
	Allocation(ctx context.Context, tenant masking.TenantID, id masking.AllocationID) (masking.Allocation, error)
	UpdateAllocation(ctx context.Context, a masking.Allocation) error
	Hold(ctx context.Context, a masking.Allocation, sharing masking.Sharing, now time.Time) error
}

func write[T callWriter](update func(context.Context, func(context.Context, T) error) error, fn func(context.Context, callWriter) error) error {
	return update(context.Background(), func(ctx context.Context, tx T) error { return fn(ctx, tx) })
}

// ring records a call through an allocation as the voice plane would.
func (h *harness) ring(id, allocation string, talk time.Duration, end bool) masking.Call {
	h.Helper()
	c := masking.Call{ID: masking.CallID("call_" + id), Tenant: "acme", Allocation: masking.AllocationID(allocation),
		VirtualNumber: e164.MustParse(vn1), Caller: e164.MustParse(alice), Callee: e164.MustParse(bob), Direction: masking.FromCalls,
		CustomField: "order", Node: "n1", StartedAt: h.clock().UTC()}
	err := write(h.store.Update, func(ctx context.Context, w callWriter) error {
		if _, err := w.BeginCall(ctx, c); err != nil || !end {
			return err
		}
		c.RingTime, c.Attempts = 4*time.Second, []masking.Attempt{{Target: c.Callee, Trunk: "carrier-a", Rang: true, Answered: talk > 0, Status: 200, Ring: 4 * time.Second}}
		if talk > 0 {
			c.AnsweredAt = c.StartedAt.Add(4 * time.Second)
			if _, err := w.AnswerCall(ctx, c); err != nil {
				return err
			}
		}
		if talk > 0 {
			c.Quality.Caller = masking.LegQuality{Received: 3250, Sent: 3248, Lost: 3, Strays: 1, Jitter: 1234 * time.Microsecond}
			c.Quality.Callee = masking.LegQuality{Received: 3248, Sent: 3247, RoundTrip: 40 * time.Millisecond, Reported: true, PeerJitter: 500 * time.Microsecond}
		}
		c.EndedAt, c.TalkTime, c.Cause = c.StartedAt.Add(4*time.Second+talk), talk, masking.CauseCallerHungUp
		_, err := w.EndCall(ctx, c)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	return c
}

func TestCallsAreCountedListedAndShownWithTheirLegs(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, alice, bob)
	other := h.create(vn2, carol, dave)
	h.ring("a", id, 65*time.Second, true)
	h.pass(time.Minute)
	h.ring("b", id, 0, true)
	h.pass(time.Minute)
	h.ring("c", other, 0, false)

	h.own("GET", "/greenvn/"+id, "").want(200).
		exactly(`{"response":{"greenvn_id":"gvn_abc123","virtual_number":"+914000000001","from":["+919900000001"],"to":["+918800000002"],"status":"active","record":false,"custom_field":"","call_count":2,"created_at":"2024-06-15T10:30:00+05:30","expires_at":"2024-06-16T10:30:00+05:30","calls":{"attempted":2,"connected":1,"talk_seconds":65}}}`)

	for query, want := range map[string][]string{
		"": {"call_c", "call_b", "call_a"}, "?status=live": {"call_c"}, "?status=ended": {"call_b", "call_a"}, "?greenvn_id=" + id: {"call_b", "call_a"},
		"?since=2024-06-15T10:31:00%2B05:30": {"call_c", "call_b"}, "?until=2024-06-15T10:31:00%2B05:30": {"call_a"},
	} {
		sep := "?"
		if query != "" {
			sep = query + "&"
		}
		got, _ := h.walk("/calls"+strings.TrimSuffix(sep, "&"), "call_sid", 1)
		if query == "" {
			got, _ = h.walk("/calls", "call_sid", 2)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", query, got, want)
		}
	}
	h.own("GET", "/calls/call_a", "").want(200).
		exactly(`{"response":{"call_sid":"call_a","greenvn_id":"gvn_abc123","greenvn":"+914000000001","from":"+919900000001","to":"+918800000002","direction":"from_to","status":"ended","call_type":"completed","dial_call_status":"completed","start_time":"2024-06-15T10:30:00+05:30","answer_time":"2024-06-15T10:30:04+05:30","end_time":"2024-06-15T10:31:09+05:30","dial_call_duration":4,"on_call_duration":65,"cause":"caller_hung_up","custom_field":"order","explanation":"The caller stands in from of gvn_abc123, and to is rung. +918800000002 over carrier-a: rang for 4 s, answered. They talked for 65 s, until the caller hung up.","quality":{"caller":{"packets_received":3250,"packets_sent":3248,"packets_lost":3,"jitter_ms":1.234,"strays":1},"callee":{"packets_received":3248,"packets_sent":3247,"packets_lost":0,"jitter_ms":0,"round_trip_ms":40,"peer_packets_lost":0,"peer_jitter_ms":0.5}},"legs":[{"to":"+918800000002","trunk":"carrier-a","rang":true,"answered":true,"sip_status":200,"ring_seconds":4}]}}`)
	h.own("GET", "/calls/call_zzz", "").refused(404, "not_found", "")
	live := h.admin("GET", "/v1/admin/calls", "").want(200)
	if p := live.page(); len(p.Response.Items) != 1 || p.Response.Items[0]["tenant_id"] != "acme" || p.Response.Items[0]["node"] != "n1" {
		t.Errorf("live calls %s", live.body)
	}
	if strings.Contains(live.body, "9900000001") || strings.Contains(live.body, "8800000002") {
		t.Errorf("the operator reads a party's number: %s", live.body)
	}
}

func TestANumberThatNetworksRefuseIsShownDegradedUntilADayLater(t *testing.T) {
	h := newHarness(t)
	var legs []masking.ShownLeg
	for i := range 6 {
		legs = append(legs, masking.ShownLeg{At: h.clock().UTC(), Blame: masking.BlameUnwanted, Of: masking.AllocationID(fmt.Sprint("gvn_", i))})
	}
	is, _ := masking.NumberHealth{}.After(legs)
	h.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.SetNumberHealth(ctx, "acme", e164.MustParse(vn2), masking.NumberHealth{}, is)
		return err
	})
	const bad = `"health":{"status":"degraded","since":"2024-06-15T10:30:00+05:30","reason":"unwanted"}`
	of := func() []string {
		return []string{h.own("GET", "/numbers", "").want(200).body, h.admin("GET", "/v1/admin/tenants/acme/numbers", "").want(200).body}
	}
	for _, list := range of() {
		if strings.Count(list, bad) != 1 || strings.Count(list, `"health":{"status":"ok"}`) != 3 {
			t.Errorf("the pool is %s", list)
		}
	}
	if one := h.admin("GET", "/v1/admin/tenants/acme/numbers/"+vn2, "").want(200).body; !strings.Contains(one, bad) {
		t.Errorf("the number is %s", one)
	}
	h.pass(24 * time.Hour)
	for _, list := range of() {
		if strings.Count(list, `"health":{"status":"ok"}`) != 4 {
			t.Errorf("a day later the pool is %s", list)
		}
	}
}
