package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

// turnedAway checks the status of a call that rings nobody, and that its record and
// its event both say why.
func (st *stage) turnedAway(from string, status int, why string) {
	st.t.Helper()
	if got := st.refused(st.dial(st.in, from)); got != status {
		st.t.Errorf("%s: status %d, want %d", why, got, status)
	}
	st.settle()
	st.nobodyCalled()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) == 0 || calls[0].Reason != why || calls[0].Cause != "rejected" {
		st.t.Errorf("%s: the newest of %d records is %+v", why, len(calls), calls)
	}
	if got := st.last("call.rejected"); got["reason"] != why || got["from"] != from {
		st.t.Errorf("%s: event %v", why, got)
	}
}

// last is the data of the newest event of a type.
func (st *stage) last(typ string) (data map[string]any) {
	st.t.Helper()
	events, err := st.Events("acme")
	st.must(err)
	for _, e := range events {
		if e.Type == typ {
			data = nil
			st.must(json.Unmarshal(e.Data, &data))
		}
	}
	return data
}

// short is a call that is answered and hung up at once.
func (st *stage) short(from string) {
	st.t.Helper()
	a, b := st.talk(from, nil, nil)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

func TestEachGuardRefusesTheCallBeyondItAndSaysWhy(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	st.short(alice)

	st.settings(map[string]any{"max_allocation_calls_per_day": 2})
	st.short(bob)
	st.turnedAway(alice, 480, "day_calls")
	st.settings(map[string]any{"max_allocation_calls_per_day": 0})

	st.settings(map[string]any{"allowed_prefixes": []string{alice}})
	st.turnedAway(alice, 403, "destination_not_allowed")
	st.short(bob) // who rings alice
	st.settings(map[string]any{"allowed_prefixes": []string{}, "permitted_prefixes": []string{"+1"}})
	st.turnedAway(alice, 403, "destination_not_allowed")
	st.settings(map[string]any{"permitted_prefixes": []string{}})

	st.must(st.Do("acme", "POST", "/v1/tenants/acme/blocked-callers", map[string]any{"numbers": []string{alice}}, nil))
	st.turnedAway(alice, 403, "caller_blocked")
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/blocked-callers/"+alice, nil, nil))

	st.settings(map[string]any{"velocity_alarm": map[string]any{"caller_calls": 1, "block": true}})
	st.short(alice)
	st.turnedAway(alice, 480, "velocity")
	if e := st.last("guard.tripped"); e["scope"] != "caller" || e["limit"] != 1.0 || e["blocked"] != true || e["from"] != alice {
		t.Errorf("guard.tripped: %v", e)
	}
	st.settings(map[string]any{"velocity_alarm": map[string]any{"block": false}})
	st.short(alice)
}

func TestABlockedCallerHearsWhatAStrangerHears(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	st.must(st.Do("acme", "POST", "/v1/tenants/acme/blocked-callers", map[string]any{"numbers": []string{alice}}, nil))
	blocked, stranger := st.dial(st.in, alice), st.dial(st.in, carol)
	if a, b := st.refused(blocked), st.refused(stranger); a != b {
		t.Errorf("statuses %d and %d", a, b)
	}
	if a, b := len(blocked.Heard()), len(stranger.Heard()); a < 3*phone.Rate || b < 3*phone.Rate || max(a-b, b-a) > phone.Rate/2 {
		t.Errorf("they heard %d and %d samples", a, b)
	}
	st.settle()
}

func TestATalkEndsWhenTheDayHasNoMinutesLeft(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{patience: 2 * time.Minute})
	st.settings(map[string]any{"max_allocation_minutes_per_day": 1})
	st.allocate(nil)
	a, b := st.talk(alice, nil, nil)
	st.over(a, b) // by our BYE, a minute on
	if r := st.record(); r.Cause != "max_call_time" {
		t.Errorf("record %+v", r)
	}
	st.turnedAway(bob, 480, "day_minutes")
}
