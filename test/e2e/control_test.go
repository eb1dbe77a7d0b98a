package e2e

import (
	"slices"
	"testing"
	"time"

	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// settings changes those of acme.
func (st *stage) settings(change map[string]any) {
	st.t.Helper()
	st.must(st.Do("", "PUT", "/v1/admin/tenants/acme", change, nil))
}

// rung gives the calls that reach the out carrier, by whom they are for.
func (st *stage) rung(n int) map[string]*phone.Call {
	st.t.Helper()
	all := map[string]*phone.Call{}
	for range n {
		c := st.called()
		all[c.Seen().RequestUser] = c
	}
	return all
}

// byCaller settles and gives the records of calls by who called.
func (st *stage) byCaller() map[string]world.Call {
	st.t.Helper()
	st.settle()
	calls, err := st.Calls("acme")
	st.must(err)
	all := map[string]world.Call{}
	for _, c := range calls {
		all[c.From] = c
	}
	if len(all) != len(calls) {
		st.t.Fatalf("%d records of %d callers", len(calls), len(all))
	}
	return all
}

func TestWhereAllRingAtOnceTheFirstToAnswerTalksAndTheOthersStop(t *testing.T) {
	t.Parallel()
	for _, pin := range []bool{false, true} {
		st := newStage(t, setting{})
		st.settings(map[string]any{"ring_strategy": "simultaneous"})
		var a *phone.Call
		if pin {
			p, err := st.OpenPin("acme", virtual, []string{alice}, []string{bob, carol, dave}, nil)
			st.must(err)
			st.opens = p.PIN
			a = st.asked(st.in, alice)
			st.must(a.Press(st.ctx, st.opens, phone.Press{}))
		} else {
			_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol, dave}, nil)
			st.must(err)
			a = st.dial(st.in, alice, func(in *phone.Invite) { in.Audio = phone.Sine(440, 8000) })
		}
		all := st.rung(3)
		st.must(all[bob].Ring(phone.Reply{}))
		st.must(all[dave].Ring(phone.Reply{Status: 183, Early: true, Audio: phone.Sine(1700, 8000)}))
		if !pin {
			st.must(a.Ringing(st.ctx))
		}
		st.must(all[dave].Answer(phone.Reply{Audio: phone.Sine(1000, 8000)}))
		st.must(all[dave].Answered(st.ctx))
		st.must(a.Answered(st.ctx))
		for _, who := range []string{bob, carol} {
			if end, err := all[who].Ended(st.ctx); err != nil || end.ByUs {
				t.Errorf("the phone of %s: %+v, %v", who, end, err)
			}
		}
		a.Say(phone.Sine(440, 8000))
		st.must(a.HearsTone(st.ctx, 1000))
		st.must(all[dave].HearsTone(st.ctx, 440))
		st.must(all[dave].Hangup(st.ctx))
		st.over(a)
		if r := st.record(); r.Cause != "callee_hung_up" || r.To != dave {
			t.Errorf("record %+v", r)
		}
	}
}

// Two answers cross in the same moment: one talks, and the other is acknowledged
// and hung up (RFC 3261 §13.2.2.4, and §15 for one that crossed our CANCEL).
func TestOfTwoWhoAnswerAtOnceOneTalksAndTheOtherIsHungUp(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.settings(map[string]any{"ring_strategy": "simultaneous"})
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol}, nil)
	st.must(err)
	for range 10 {
		a := st.dial(st.in, alice)
		all := st.rung(2)
		done := make(chan error, 2)
		for _, c := range all {
			go func() { done <- c.Answer(phone.Reply{}) }()
		}
		<-done // an error says that the CANCEL came first
		<-done
		st.must(a.Answered(st.ctx))
		st.must(a.Hangup(st.ctx))
		st.over(a, all[bob], all[carol])
		st.settle()
	}
	if n, err := st.CallCounts("acme"); err != nil || n != 10 {
		t.Errorf("call_count %d, %v", n, err)
	}
}

func TestNumbersTakeTurnsAndWhoAnsweredLastIsRungFirst(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol, dave}, nil)
	st.must(err)
	call := func(want string) {
		t.Helper()
		a := st.dial(st.in, alice)
		b := st.called()
		if got := b.Seen().RequestUser; got != want {
			t.Errorf("%s was rung, not %s", got, want)
		}
		st.must(b.Answer(phone.Reply{}))
		st.must(a.Answered(st.ctx))
		st.must(a.Hangup(st.ctx))
		st.over(a, b)
		st.settle()
	}
	st.settings(map[string]any{"ring_strategy": "round_robin"})
	for _, want := range []string{bob, carol, dave, bob, carol} {
		call(want)
	}
	st.settings(map[string]any{"ring_strategy": "sticky_last"})
	call(carol)
	call(carol)
	st.settings(map[string]any{"ring_strategy": "sequential"})
	call(bob)
}

func TestTwoWhoCallEachOtherTalk(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a := st.dial(st.in, alice, func(in *phone.Invite) { in.Audio = phone.Sine(440, 8000) })
	rung := st.called()
	st.must(rung.Ring(phone.Reply{}))
	st.must(a.Ringing(st.ctx))
	b := st.dial(st.out, bob, func(in *phone.Invite) { in.Audio = phone.Sine(1000, 8000) })
	st.must(a.Answered(st.ctx))
	st.must(b.Answered(st.ctx))
	if end, err := rung.Ended(st.ctx); err != nil || end.ByUs {
		t.Errorf("the call that rang: %+v, %v", end, err)
	}
	st.must(a.HearsTone(st.ctx, 1000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(b.Hold(st.ctx))
	st.must(b.Resume(st.ctx))
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.nobodyCalled()
	all := st.byCaller()
	if all[alice].Cause != "callee_hung_up" || all[alice].To != bob || all[bob].Cause != "joined" {
		t.Errorf("records %+v", all)
	}
	if n, err := st.CallCounts("acme"); err != nil || n != 2 {
		t.Errorf("call_count %d, %v", n, err)
	}
	if got := st.types(); !slices.Equal(got, []string{"call.ringing", "call.answered", "call.completed", "call.completed"}) &&
		!slices.Equal(got, []string{"call.ringing", "call.completed", "call.answered", "call.completed"}) {
		t.Errorf("events %v", got)
	}
}

func TestACrowdWhoCallEachOtherAtOnceTalksInPairs(t *testing.T) {
	st := newStage(t, setting{})
	st.allocate(nil)
	for range 10 {
		calls := make(chan *phone.Call, 2)
		go func() { calls <- st.dial(st.in, alice) }()
		go func() { calls <- st.dial(st.out, bob) }()
		a, b := <-calls, <-calls
		st.must(a.Answered(st.ctx))
		st.must(b.Answered(st.ctx))
		st.must(a.Hangup(st.ctx))
		st.over(a, b)
		st.settle()
		for len(st.incoming) > 0 {
			st.over(<-st.incoming)
		}
	}
	calls, err := st.Calls("acme")
	st.must(err)
	joined := 0
	for _, c := range calls {
		if c.Cause == "joined" {
			joined++
		}
	}
	if len(calls) != 20 || joined != 10 {
		t.Errorf("%d calls, %d joined", len(calls), joined)
	}
}

// forwards has somebody's network forward a call of ours to the virtual number.
func (st *stage) forwards(from string) *phone.Call {
	return st.dial(st.out, from, func(in *phone.Invite) {
		in.Headers = append(in.Headers, phone.Header{Name: "Diversion", Value: "<sip:" + from + "@carrier.example>;reason=unconditional"})
	})
}

func TestAPhoneThatForwardsToTheVirtualNumberFindsALoop(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	_, err := st.Allocate("acme", virtual, []string{alice}, []string{bob, carol}, nil)
	st.must(err)
	a := st.dial(st.in, alice)
	b := st.called()
	// His network shows whom it forwards for: the number that called him, or his own.
	if got := st.refused(st.dial(st.out, virtual)); got != 482 {
		t.Errorf("a call from the number to itself got %d", got)
	}
	forwarded := st.forwards(bob)
	if got := st.refused(forwarded); got != 482 {
		t.Errorf("a call that the phone forwarded got %d", got)
	}
	st.must(b.Reject(482, ""))
	c := st.called()
	if c.Seen().RequestUser != carol {
		t.Errorf("%s was rung next", c.Seen().RequestUser)
	}
	st.must(c.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, c)
	reasons := map[string]int{}
	for _, r := range st.byCaller() {
		reasons[r.Reason]++
	}
	if reasons["loop"] != 2 {
		t.Errorf("reasons %v", reasons)
	}
}

func TestCallsBeyondABoundGet480(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.settings(map[string]any{"max_allocation_calls": 1})
	_, err := st.Allocate("acme", virtual, []string{alice, carol}, []string{bob}, nil)
	st.must(err)
	a, b := st.talk(alice, nil, nil)
	if got := st.refused(st.dial(st.in, carol)); got != 480 {
		t.Errorf("a second call through the allocation got %d", got)
	}
	st.settings(map[string]any{"max_allocation_calls": 0, "max_calls": 1})
	if got := st.refused(st.dial(st.in, carol)); got != 480 {
		t.Errorf("a second call of the tenant got %d", got)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
	st.settings(map[string]any{"max_calls": 0, "max_caller_calls_per_minute": 1})
	first, other := st.talk(carol, nil, nil)
	st.must(first.Hangup(st.ctx))
	st.over(first, other)
	if got := st.refused(st.dial(st.in, carol)); got != 480 {
		t.Errorf("a second call in a minute got %d", got)
	}
	st.settle()
}

func TestATalkIsWarnedAndEndsWithItsAllocation(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{patience: 2 * time.Minute})
	st.settings(map[string]any{"end_calls_with_allocation": true})
	st.allocate(map[string]any{"duration": 12})
	a, b := st.talk(alice, nil, nil)
	st.over(a, b) // by our BYE
	for _, c := range []*phone.Call{a, b} {
		if n := beeps(c.Heard()); n != 3 {
			t.Errorf("a side heard %d beeps", n)
		}
	}
	if r := st.record(); r.Cause != "allocation_ended" {
		t.Errorf("record %+v", r)
	}
}

// beeps counts how often 200 ms of the warning tone were heard.
func beeps(pcm []int16) (n int) {
	const step, beep = phone.Rate / 50, phone.Rate * 18 / 100
	for i := 0; i+beep <= len(pcm); i += step {
		if phone.Tone(pcm[i:i+beep], 950) > 0.9 {
			n++
			i += beep
		}
	}
	return n
}

func TestTwoHundredCallsOfOneStrangerCostAPartyNothing(t *testing.T) {
	st := newStage(t, setting{patience: 2 * time.Minute})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(1000, 8000))
	var strangers []*phone.Call
	for range 200 {
		strangers = append(strangers, st.dial(st.in, carol))
	}
	for _, c := range strangers {
		if got := st.refused(c); got != 403 {
			t.Fatalf("a stranger got %d", got)
		}
	}
	st.must(a.HearsTone(st.ctx, 1000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	a, b = st.talk(alice, nil, nil)
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.nobodyCalled()
	rejected := 0
	for _, typ := range st.types() {
		if typ == "call.rejected" {
			rejected++
		}
	}
	if rejected == 0 || rejected > 5 {
		t.Errorf("%d rejections were written", rejected)
	}
}
