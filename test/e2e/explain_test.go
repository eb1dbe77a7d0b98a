package e2e

import (
	"strings"
	"testing"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
)

// explain asks as acme what would become of a call to the virtual number.
func (st *stage) explain(caller string) (e client.RouteExplanation) {
	st.t.Helper()
	st.must(st.Do("acme", "POST", "/v1/tenants/acme/routes/explain", map[string]any{"caller": caller, "virtual_number": virtual}, &e))
	return e
}

func TestWhatIsExplainedIsWhatACallThenGets(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	a, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, dave}, map[string]any{"usage": "oneway"})
	st.must(err)
	_, err = st.NewTenant("zeta", "exclusive")
	st.must(err)

	e := st.explain(alice)
	if e.Outcome != "ring" || e.Rule != "allocation" || e.GreenVNID != a.ID || strings.Join(e.Targets, " ") != bob+" "+dave || len(e.Trunks) != 1 || e.Trunks[0].Trunk != "carrier-out" || !e.Trunks[0].Tried {
		t.Errorf("explained %+v", e)
	}
	call := st.dial(st.in, alice)
	b := st.called()
	if got := b.Seen().RequestUser; got != e.Targets[0] {
		t.Errorf("rung first: %s, explained %s", got, e.Targets[0])
	}
	if busy := st.explain(alice); busy.Outcome != "refuse" || busy.Reason != "caller_busy" || busy.Heard == nil || busy.Heard.SIPStatus != 486 {
		t.Errorf("explained while he calls: %+v", busy)
	}
	st.must(b.Reject(486, "Busy Here"))
	second := st.called()
	st.must(second.Answer(phone.Reply{}))
	st.must(call.Answered(st.ctx))
	st.must(second.Hangup(st.ctx))
	st.over(call, b, second)

	r := st.record()
	var past client.CallRecord
	st.must(st.Do("acme", "GET", "/v1/tenants/acme/calls/"+r.ID, nil, &past))
	want := "The caller stands in from of " + a.ID + ", and to is rung. " + bob + " over carrier-out: busy (SIP status 486). " +
		dave + " over carrier-out: answered. They talked for 0 s, until the callee hung up."
	if past.Explanation != want {
		t.Errorf("of the past call: %q\nwant %q", past.Explanation, want)
	}
	st.must(st.Do("", "GET", "/v1/admin/calls/"+r.ID, nil, &past))
	if strings.Contains(past.Explanation, bob) || !strings.Contains(past.Explanation, "+91…02 over carrier-out: busy") {
		t.Errorf("the operator reads %q", past.Explanation)
	}

	refused := map[string]int{bob: 403, carol: 403, "": 433}
	for caller, status := range refused {
		e := st.explain(caller)
		if e.Outcome != "refuse" || e.Heard == nil || e.Heard.SIPStatus != int64(status) {
			t.Errorf("explained %+v", e)
		}
		from := caller
		if from == "" {
			from = "anonymous"
		}
		if got := st.refused(st.dial(st.in, from)); got != status {
			t.Errorf("%q got %d, explained %d", from, got, status)
		}
	}
	if e := st.explain(bob); e.Reason != "wrong_direction" || e.GreenVNID != a.ID {
		t.Errorf("explained %+v", e)
	}
	st.settle()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) != 1+len(refused) {
		t.Errorf("%d calls on record, want %d: explaining leaves none", len(calls), 1+len(refused))
	}
}

func TestAnotherTenantsNumberIsExplainedAsOneThatIsInNoPool(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	_, err := st.NewTenant("zeta", "exclusive")
	st.must(err)
	ask := func(number string) string {
		var e client.RouteExplanation
		st.must(st.Do("zeta", "POST", "/v1/tenants/zeta/routes/explain", map[string]any{"caller": alice, "virtual_number": number}, &e))
		if e.Outcome != "refuse" || e.Reason != "unknown_number" || e.Rule != "no_number" {
			t.Errorf("%s: explained %+v", number, e)
		}
		return e.Explanation
	}
	if ask(virtual) != ask("+914099999999") {
		t.Error("another tenant's number is explained otherwise than one in no pool")
	}
}

func TestAPINIsExplainedAndNotCounted(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	pin := st.pin(alice, bob, nil)
	ask := func(entered string) (e client.RouteExplanation) {
		st.must(st.Do("acme", "POST", "/v1/tenants/acme/routes/explain", map[string]any{"caller": alice, "virtual_number": virtual, "pin": entered}, &e))
		return e
	}
	if e := st.explain(alice); e.Outcome != "ask_pin" || e.Heard == nil || e.Heard.Announcement != "enter_pin" {
		t.Errorf("explained %+v", e)
	}
	wrong := strings.Map(func(r rune) rune { return '0' + (r-'0'+1)%10 }, pin.PIN)
	for range 12 {
		if e := ask(wrong); e.Outcome != "refuse" || e.Reason != "pin_failed" || e.Heard.Announcement != "wrong_pin" {
			t.Fatalf("explained %+v", e)
		}
	}
	if e := ask(pin.PIN); e.Outcome != "ring" || e.Rule != "pin" || e.GreenPinID != pin.ID || strings.Join(e.Targets, "") != bob {
		t.Errorf("explained %+v", e)
	}
	for _, secret := range []string{pin.PIN + `"`, alice, bob} {
		if strings.Contains(st.Log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
