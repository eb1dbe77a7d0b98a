package e2e

import (
	"strings"
	"testing"

	"tandem/internal/voice/phone"
)

func TestDeletingAnAllocationCancelsWhatRingsAndLeavesWhatTalks(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{sharing: "shared"})
	ringing := st.allocate(nil)
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+ringing.ID, nil, nil))
	if got := st.refused(a); got != 480 {
		t.Errorf("the caller heard %d", got)
	}
	st.over(b)

	talking := st.allocate(nil)
	a, b = st.talk(alice, phone.Sine(440, 8000), nil)
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+talking.ID, nil, nil))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)

	cut := st.allocate(nil)
	a, b = st.talk(alice, nil, nil)
	st.must(st.Do("acme", "DELETE", "/v1/tenants/acme/greenvn/"+cut.ID+"?terminate_calls=true", nil, nil))
	for _, c := range []*phone.Call{a, b} {
		if end, err := c.Ended(st.ctx); err != nil || end.ByUs {
			t.Errorf("terminate_calls: %+v, %v", end, err)
		}
	}
	st.settle()
}

func TestPartiesUpdatedWhileRingingCountFromTheNextCall(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	al := st.allocate(nil)
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/greenvn/"+al.ID+"/call-party", map[string]any{"to": []string{carol}}, nil))
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	a, b = st.talk(alice, nil, nil)
	if got := b.Seen().RequestUser; got != carol {
		t.Errorf("the next call rang %q", got)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	if got := st.refused(st.dial(st.out, bob)); got != 403 {
		t.Errorf("the party who was replaced got %d", got)
	}
	st.settle()
}

func TestTheCallerMayGiveUpAtAnyMoment(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	t.Run("before anything rings", func(t *testing.T) {
		a := st.dial(st.in, alice)
		st.must(a.Cancel())
		if got := st.refused(a); got != 487 {
			t.Errorf("status %d", got)
		}
		st.settle()
		for len(st.incoming) > 0 {
			st.over(<-st.incoming)
		}
	})
	t.Run("while it rings", func(t *testing.T) {
		a := st.dial(st.in, alice)
		b := st.called()
		st.must(b.Ring(phone.Reply{}))
		st.must(a.Ringing(st.ctx))
		st.must(a.Cancel())
		if got := st.refused(a); got != 487 {
			t.Errorf("status %d", got)
		}
		st.over(b)
		st.settle()
	})
	t.Run("in the moment of the answer", func(t *testing.T) {
		for range 25 {
			a := st.dial(st.in, alice)
			b := st.called()
			st.must(b.Ring(phone.Reply{}))
			st.must(a.Ringing(st.ctx))
			answered := make(chan error, 1)
			go func() { answered <- b.Answer(phone.Reply{}) }()
			st.must(a.Hangup(st.ctx)) // CANCEL, or BYE if the 200 is there already
			<-answered                // an error says that the CANCEL came first
			st.over(a, b)
			st.settle()
		}
	})
	calls, err := st.Calls("acme")
	st.must(err)
	events, err := st.Events("acme")
	st.must(err)
	ends := map[string]int{}
	for _, e := range events {
		ends[e.Type]++
	}
	if ends["call.completed"] != len(calls) || len(calls) != 27 {
		t.Errorf("%d records, %d terminal events, want 27 of each", len(calls), ends["call.completed"])
	}
	for _, c := range calls {
		if c.Cause != "caller_cancelled" && c.Cause != "caller_hung_up" {
			t.Errorf("cause %q", c.Cause)
		}
	}
}

func TestEitherSideMayHangUpBeforeTheOtherHasNoticedTheAnswer(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	for range 10 {
		a := st.dial(st.in, alice)
		b := st.called()
		st.must(b.Answer(phone.Reply{}))
		st.must(b.Answered(st.ctx))
		st.must(b.Hangup(st.ctx))
		st.over(a, b)
		st.settle()
	}
}

func TestACallThatIsLeftAloneEndsByItself(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{edit: impatient})
	st.allocate(nil)
	_, b := st.talk(alice, nil, nil)
	st.must(st.in.Close()) // the caller's carrier dies without a word
	st.must(b.Hangup(st.ctx))
	st.over(b)
	// Our BYE to the caller stays unanswered for 64*T1, and then the leg is gone.
	if r := st.record(); r.Cause != "callee_hung_up" {
		t.Errorf("cause %q", r.Cause)
	}
}

func TestAnAllocationThatExpiresWhileItRingsEndsTheCallUnlessItWasExtended(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	al := st.allocate(map[string]any{"duration": 2})
	a := st.dial(st.in, alice)
	b := st.called()
	st.must(b.Ring(phone.Reply{}))
	if got := st.refused(a); got != 480 {
		t.Errorf("the caller heard %d", got)
	}
	st.over(b)
	if r := st.record(); r.Cause != "allocation_ended" || r.Allocation != al.ID {
		t.Errorf("record %+v", r)
	}

	al = st.allocate(map[string]any{"duration": 2})
	a = st.dial(st.in, alice)
	b = st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(st.Do("acme", "PATCH", "/v1/tenants/acme/greenvn/"+al.ID, map[string]any{"duration": 600}, nil))
	other, err := st.Allocate("acme", second, []string{carol}, []string{dave}, map[string]any{"duration": 3})
	st.must(err)
	waitFor(t, st.ctx, func() bool { // the sweep has passed over what expired since
		events, err := st.Events("acme")
		st.must(err)
		last := events[len(events)-1]
		return last.Type == "greenvn.deallocated" && strings.Contains(string(last.Data), other.ID)
	}, "the end of another allocation")
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}
