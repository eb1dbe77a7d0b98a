package api_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// erin is nobody's but acme's.
const erin = "+919955500055"

// lived gives erin a life: allocations of both kinds, one in which another has her
// place now, calls out and in, one as a stranger, events, a recording, wrong PINs,
// answers that are kept. All of it is over but what active says.
func (h *harness) lived() (ended, parted string, calls []masking.CallID) {
	h.Helper()
	ended = h.own("POST", "/greenvn", `{"caller_id_number":"`+vn1+`","from":["`+erin+`"],"to":["`+bob+`"],"custom_field":"for `+erin+`, +9199555000559"}`,
		header("Idempotency-Key", "k-erin")).want(201).text("greenvn_id")
	parted = h.create(vn2, erin+","+carol, dave)
	pin, _ := h.pin(shared1, bob, erin)
	recorded := h.called("call_a", ended, erin, bob)
	in := h.called("call_b", parted, dave, erin)
	stranger := h.called("call_c", "", erin, "")
	h.own("PUT", "/greenvn/"+parted+"/call-party", `{"from":["`+carol+`"]}`).want(200)
	h.update(func(ctx context.Context, tx store.Tx) error {
		who := []masking.TriesOf{{VirtualNumber: e164.MustParse(shared1), Caller: e164.MustParse(erin)},
			{VirtualNumber: e164.MustParse(shared1), Allocation: masking.AllocationID(pin), Caller: e164.MustParse(erin)}}
		return tx.CountWrong(ctx, who, h.clock())
	})
	h.own("DELETE", "/greenvn/"+ended, "").want(200)
	h.own("DELETE", "/greenpin/"+pin, "").want(200)
	h.pass(2 * time.Minute)
	return ended, parted, []masking.CallID{recorded, in, stranger}
}

// called writes a call that was answered and recorded, as the voice plane does; one
// of no allocation is refused.
func (h *harness) called(id, allocation, caller, callee string) masking.CallID {
	h.Helper()
	now := h.clock().UTC().Truncate(time.Millisecond)
	c := masking.Call{ID: masking.CallID(id), Tenant: "acme", Allocation: masking.AllocationID(allocation), VirtualNumber: e164.MustParse(vn1),
		Caller: e164.MustParse(caller), Direction: masking.FromCalls, Node: "n", StartedAt: now, CustomField: "x " + caller}
	key := "acme/" + id
	h.update(func(ctx context.Context, tx store.Tx) error {
		c := c
		if callee != "" {
			c.Callee = e164.MustParse(callee)
		}
		if _, err := tx.BeginCall(ctx, c); err != nil {
			return err
		}
		if callee != "" {
			c.AnsweredAt, c.Attempts = now, []masking.Attempt{{Target: c.Callee, Trunk: "t", Rang: true, Answered: true, Status: 200}}
			if _, err := tx.AnswerCall(ctx, c); err != nil {
				return err
			}
			r := masking.Recording{Call: c.ID, Tenant: "acme", VirtualNumber: c.VirtualNumber, Status: masking.RecordingRunning, StartedAt: now}
			if err := tx.BeginRecording(ctx, r); err != nil {
				return err
			}
			r.Status, r.StoredAt, r.Key, r.Peaks, r.Size = masking.RecordingStored, now, key, []byte{1, 2}, int64(len(theSound))
			if _, err := tx.EndRecording(ctx, r); err != nil {
				return err
			}
		}
		c.EndedAt, c.TalkTime, c.Ladder = now.Add(time.Second), time.Second, []byte("a ladder with "+c.Caller.Hidden())
		if _, err := tx.EndCall(ctx, c); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, masking.CallEvent(masking.EventID("evt_"+id), masking.EventCallCompleted, c, time.UTC, now))
	})
	if callee != "" {
		h.sounds.mu.Lock()
		h.sounds.files[key] = theSound
		h.sounds.mu.Unlock()
	}
	return c.ID
}

// sweep works on erasures until there is nothing to do.
func (h *harness) sweep() {
	h.Helper()
	for range 1000 {
		n, err := h.plane.Erasures.Sweep(context.Background(), 1)
		if err != nil {
			h.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	h.Fatal("an erasure never ends")
}

// nowhere fails the test if the number stands in a file of the database.
func (h *harness) nowhere(number string) {
	h.Helper()
	files, err := filepath.Glob(h.path + "*")
	if err != nil || len(files) < 2 {
		h.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			h.Fatal(err)
		}
		if n := bytes.Count(raw, []byte(number[1:])) - bytes.Count(raw, []byte(number[1:]+"9")); n != 0 {
			i := bytes.Index(raw, []byte(number[1:]))
			h.Errorf("%s still has the number, %d times: %q", filepath.Base(file), n, raw[max(0, i-60):min(len(raw), i+60)])
		}
	}
}

func TestAnErasedNumberIsNowhereAnyMoreAndTheRestStays(t *testing.T) {
	h := newHarness(t)
	ended, parted, calls := h.lived()
	path := "/erasures"
	e := h.own("POST", path, `{"number":"+91 99555 00055"}`, header("Idempotency-Key", "k-erase")).want(201)
	id := e.text("erasure_id")
	if e.text("status") != "running" || strings.Contains(e.body, "99555") {
		t.Errorf("the receipt is %s", e.body)
	}
	h.sweep()
	done := h.own("GET", path+"/"+id, "").want(200)
	const want = `"status":"done","removed":{"allocations":3,"calls":3,"events":8,"ladders":3,"recordings":2,"pin_tries":2,"answers":1}`
	if !strings.Contains(done.body, want) || done.text("finished_at") == "" {
		t.Errorf("the receipt is\n%s\nwant\n%s", done.body, want)
	}
	h.nowhere(erin)
	if files, _ := h.sounds.state(); files != 0 {
		t.Errorf("%d sounds are left", files)
	}
	if strings.Contains(h.logs.String(), erin[1:]) {
		t.Error("the log has the number")
	}

	// What is no person's stays, and every reader copes.
	a := h.own("GET", "/greenvn/"+ended, "").want(200)
	for _, part := range []string{`"from":["erased"],"to":["` + bob + `"]`, `"custom_field":"for erased, +9199555000559"`, `"call_count":1`, `"talk_seconds":1`} {
		if !strings.Contains(a.body, part) {
			t.Errorf("the allocation lacks %s: %s", part, a.body)
		}
	}
	h.own("DELETE", "/greenvn/"+ended, "").want(200)
	h.own("PUT", "/greenvn/"+ended+"/call-party", `{"to":["`+carol+`"]}`).refused(409, "allocation_not_active", "")
	if b := h.own("GET", "/greenvn/"+parted, "").want(200); !strings.Contains(b.body, `"status":"active"`) || !strings.Contains(b.body, `"from":["`+carol+`"]`) {
		t.Errorf("the active allocation is %s", b.body)
	}
	for query, n := range map[string]int{"": 2, "?party=%2B919955500055": 0, "?status=deleted": 1} {
		if got, _ := h.walk("/greenvn"+query, "greenvn_id", 2); len(got) != n {
			t.Errorf("%q lists %v", query, got)
		}
	}
	for i, part := range []string{`"from":"erased","to":"` + bob + `"`, `"from":"` + dave + `","to":"erased"`, `"from":"erased"`} {
		c := h.own("GET", "/calls/"+string(calls[i]), "").want(200)
		if !strings.Contains(c.body, part) || strings.Contains(c.body, `"ladder"`) || (i < 2 && !strings.Contains(c.body, `"recording":{"status":"deleted"`)) {
			t.Errorf("call %d is %s, want %s", i, c.body, part)
		}
	}
	if events := h.own("GET", "/events?limit=100", "").want(200); !strings.Contains(events.body, `"erased"`) {
		t.Errorf("events %s", events.body)
	}
	again := h.own("POST", "/greenvn", `{"caller_id_number":"`+vn1+`","from":["`+erin+`"],"to":["`+bob+`"],"custom_field":"for `+erin+`, +9199555000559"}`,
		header("Idempotency-Key", "k-erin")).want(201)
	if again.text("greenvn_id") != ended || !strings.Contains(again.body, `"from":["erased"]`) {
		t.Errorf("the repeated create is answered %s", again.body)
	}

	// Was it erased? The receipt knows without keeping it.
	if list := h.own("GET", path+"?number=%2B919955500055", "").want(200); !strings.Contains(list.body, id) {
		t.Errorf("asked for the number: %s", list.body)
	}
	if list := h.own("GET", path+"?number=%2B919955500056", "").want(200); strings.Contains(list.body, id) {
		t.Errorf("asked for another number: %s", list.body)
	}
	sid, token := h.tenant("other")
	h.do("GET", "/v1/tenants/other/erasures/"+id, "", as(sid, token)).refused(404, "not_found", "")
	if items := h.auditItems("action=erasures-create"); len(items) != 1 || items[0]["object"] != id {
		t.Errorf("the audit log tells %v", items)
	}
}

func TestANumberInActiveAllocationsIsErasedByForceAlone(t *testing.T) {
	h := newHarness(t)
	id := h.create(vn1, erin, bob)
	pin, _ := h.pin(shared1, bob, erin)
	a := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).refused(409, "number_in_use", "")
	if got := fmt.Sprint(a.fields["blocked_by"]); got != fmt.Sprintf("[%s %s]", id, pin) {
		t.Errorf("blocked by %s", got)
	}
	h.own("GET", "/greenvn/"+id, "").want(200)
	forced := h.own("POST", "/erasures", `{"number":"`+erin+`","force":true}`).want(201)
	if got := h.ended.all(); len(got) != 2 || got[0] != id+" false" {
		t.Errorf("the voice plane was told %v", got)
	}
	h.sweep()
	if b := h.own("GET", "/greenvn/"+id, "").want(200); !strings.Contains(b.body, `"from":["erased"]`) || b.text("end_reason") != "api" {
		t.Errorf("it is %s", b.body)
	}
	if done := h.own("GET", "/erasures/"+forced.text("erasure_id"), "").want(200); done.text("status") != "done" {
		t.Errorf("the receipt is %s", done.body)
	}
	h.nowhere(erin)
	h.refuseAll(t, []refusal{
		{name: "no number", method: "POST", path: "/erasures", body: `{}`, status: 400, code: "missing_field", field: "number"},
		{name: "112", method: "POST", path: "/erasures", body: `{"number":"112"}`, status: 400, code: "emergency_number", field: "number"},
		{name: "erased", method: "POST", path: "/erasures", body: `{"number":"erased"}`, status: 400, code: "invalid_number", field: "number"},
		{name: "unknown", method: "GET", path: "/erasures/ers_0", status: 404, code: "not_found"},
		{name: "a party", method: "POST", path: "/greenvn", body: body(vn2, "erased", bob), status: 400, code: "invalid_number", field: "from"},
	})
}

// A block is against the one whom it keeps out: it is not his to lift.
func TestABlockedCallerStaysBlockedWhenHisNumberIsErased(t *testing.T) {
	h := newHarness(t)
	h.lived()
	h.own("POST", "/blocked-callers", `{"numbers":["`+erin+`"],"note":"rude"}`).want(201)
	h.own("POST", "/blocked-callers", `{"numbers":["`+dave+`"],"note":"calls for `+erin+`"}`).want(201)
	id := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).want(201).text("erasure_id")
	h.sweep()
	done := h.own("GET", "/erasures/"+id, "").want(200)
	if done.text("status") != "done" || !strings.Contains(done.body, `"calls":3`) || !strings.Contains(done.body, `"kept":["blocked_callers"]`) {
		t.Errorf("the receipt is %s", done.body)
	}
	if list := h.own("GET", "/blocked-callers", "").body; strings.Count(list, erin) != 1 || !strings.Contains(list, `"note":"calls for erased"`) {
		t.Errorf("blocked are %s", list)
	}
	// Once he is let through again nothing of him is left.
	h.own("DELETE", "/blocked-callers/"+erin, "").want(200)
	again := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).want(201).text("erasure_id")
	h.sweep()
	if done := h.own("GET", "/erasures/"+again, "").want(200); done.text("status") != "done" || strings.Contains(done.body, "kept") {
		t.Errorf("the receipt is %s", done.body)
	}
	h.nowhere(erin)
}

// What strangers get instead only the tenant can say, so no force erases it.
func TestANumberThatStrangersAreForwardedToIsNotErasedBeforeThatIsChanged(t *testing.T) {
	h := newHarness(t)
	const one = "/v1/admin/tenants/acme/numbers/" + shared1
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"forward","forward_to":"`+erin+`"}}`).want(200)
	h.admin("PUT", one, `{"stranger_policy":{"action":"forward","forward_to":"`+erin+`"}}`).want(200)
	active := h.create(vn1, erin, bob)
	for _, body := range []string{`{"number":"` + erin + `"}`, `{"number":"` + erin + `","force":true}`} {
		a := h.own("POST", "/erasures", body).refused(409, "number_in_use", "")
		if got := fmt.Sprint(a.fields["blocked_by"]); got != "[stranger_policy "+shared1+"]" || strings.Contains(a.body, erin) {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	h.own("PUT", "/settings", `{"stranger_policy":{"action":"announce"}}`).want(200)
	h.own("POST", "/erasures", `{"number":"`+erin+`","force":true}`).refused(409, "number_in_use", "")
	if got := h.own("GET", "/greenvn/"+active, "").text("status"); got != "active" {
		t.Errorf("a refused erasure left an allocation %s", got)
	}
	h.admin("PUT", one, `{"stranger_policy":{"action":"tenant"}}`).want(200)
	h.own("POST", "/erasures", `{"number":"`+erin+`","force":true}`).want(201)
	h.sweep()
	h.nowhere(erin)
}

func TestALegalHoldKeepsAPersonsRecordings(t *testing.T) {
	h := newHarness(t)
	_, _, calls := h.lived()
	hold := func(on bool) {
		h.own("PUT", "/calls/"+string(calls[0])+"/recording", fmt.Sprintf(`{"legal_hold":%v}`, on)).want(200)
	}
	hold(true)
	a := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).refused(409, "recording_held", "")
	if got := fmt.Sprint(a.fields["blocked_by"]); got != fmt.Sprintf("[%s]", calls[0]) {
		t.Errorf("blocked by %s", got)
	}
	hold(false)
	id := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).want(201).text("erasure_id")
	hold(true) // it came between
	h.sweep()
	if files, _ := h.sounds.state(); files != 1 {
		t.Errorf("%d sounds are left", files)
	}
	if e := h.own("GET", "/erasures/"+id, "").want(200); e.text("status") != "running" {
		t.Errorf("the receipt is %s", e.body)
	}
	hold(false)
	h.pass(time.Minute)
	h.sweep()
	if e := h.own("GET", "/erasures/"+id, "").want(200); e.text("status") != "done" {
		t.Errorf("the receipt is %s", e.body)
	}
	h.nowhere(erin)
}

func TestACallThatIsUpIsErasedWhenItIsOver(t *testing.T) {
	h := newHarness(t)
	c := masking.Call{ID: "call_up", Tenant: "acme", VirtualNumber: e164.MustParse(vn1), Caller: e164.MustParse(erin), Node: "n", StartedAt: h.clock().UTC()}
	h.update(func(ctx context.Context, tx store.Tx) error { _, err := tx.BeginCall(ctx, c); return err })
	id := h.own("POST", "/erasures", `{"number":"`+erin+`"}`).want(201).text("erasure_id")
	h.sweep()
	if e := h.own("GET", "/erasures/"+id, "").want(200); e.text("status") != "running" {
		t.Errorf("the receipt is %s", e.body)
	}
	h.pass(time.Hour)
	c.EndedAt = h.clock().UTC()
	h.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.EndCall(ctx, c); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, masking.CallEvent("evt_1", masking.EventCallCompleted, c, time.UTC, h.clock()))
	})
	h.sweep() // its last messages may still come
	h.pass(time.Hour)
	next := h.create(vn1, erin, bob) // asked for after the erasure: not its business
	h.sweep()
	e := h.own("GET", "/erasures/"+id, "").want(200)
	if e.text("status") != "done" || !strings.Contains(e.body, `"calls":1,"events":1`) {
		t.Errorf("the receipt is %s", e.body)
	}
	if b := h.own("GET", "/greenvn/"+next, "").want(200); !strings.Contains(b.body, erin) {
		t.Errorf("a later allocation lost its party: %s", b.body)
	}
	if events := h.own("GET", "/events", "").want(200); strings.Count(events.body, erin) != 1 || !strings.Contains(events.body, `"from":"erased"`) {
		t.Errorf("events %s", events.body)
	}
}
