package b2bua

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// newTogether is an exchange whose numbers are rung all at once.
func newTogether(t *testing.T, to ...e164.Number) *exchange {
	f := newExchange(t, to...)
	f.director.route.Tenant.Settings.Ring = masking.Simultaneous
	return f
}

func TestAllNumbersRingAtOnceAndTheFirstToAnswerHasTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTogether(t, bob, carol, dave)
		f.slow = true
		f.call()
		if f.dials() != 3 || f.b(1).dial.To != bob || f.b(2).dial.To != carol || f.b(3).dial.To != dave {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(2), Event{Kind: EvRinging})
		f.tell(f.b(1), Event{Kind: EvRinging})
		wait(3 * time.Second)
		f.tell(f.b(3), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		if len(f.caller.answers) != 1 || f.caller.rings != 1 || f.trace.count("note rang") != 1 {
			t.Fatalf("%v", f.trace.all())
		}
		for _, loser := range []*fakeLeg{f.b(1), f.b(2)} {
			if loser.end() != (Reason{Cause: masking.CauseElsewhere}) {
				t.Errorf("%s was ended with %+v", loser.name, loser.ends)
			}
			loser.say(Event{Kind: EvAnswered, Body: []byte(offerOfA)}) // too late; the leg itself acknowledges it and hangs up
			loser.vanish()
		}
		synctest.Wait()
		if len(f.caller.answers) != 1 || f.b(3).ended() {
			t.Fatalf("%v", f.trace.all())
		}
		for i, s := range f.media.sessions {
			if open := i == 2; (s.closed == 0) != open {
				t.Errorf("the media of attempt %d was closed %d times", i+1, s.closed)
			}
		}
		f.tell(f.b(3), Event{Kind: EvHungUp})
		f.b(3).vanish()
		r := f.ended()
		want := []masking.Attempt{
			{Target: bob, Trunk: "one", Rang: true, Cause: masking.CauseElsewhere, Ring: 3 * time.Second},
			{Target: carol, Trunk: "one", Rang: true, Cause: masking.CauseElsewhere, Ring: 3 * time.Second},
			{Target: dave, Trunk: "one", Answered: true, Status: 200, Ring: 3 * time.Second},
		}
		if !slices.Equal(r.Attempts, want) || r.Callee != dave || r.Cause != masking.CauseCalleeHungUp {
			t.Errorf("record %+v", r)
		}
	})
}

func TestNumbersThatRingAtOnceHaveAddressesOfTheirOwn(t *testing.T) {
	for _, k := range []kind{together, pinned} {
		synctest.Test(t, func(t *testing.T) {
			f := newRinging(t, k)
			seen := map[string]bool{}
			for i := range f.dials() {
				seen[audioOf(t, string(f.b(i+1).dial.Offer)).Addr.String()] = true
			}
			if len(seen) != 2 {
				t.Errorf("%s: offered %v", k, seen)
			}
			f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
			s := f.session()
			if k == pinned {
				s = f.media.sessions[0]
			}
			if got := audioOf(t, string(f.b(2).dial.Offer)).Addr; got != s.Local(B) || s.peer(B).RTP.String() != "203.0.113.20:50000" {
				t.Errorf("%s: offered %v, the relay takes %v and sends to %v", k, got, s.Local(B), s.peer(B).RTP)
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			f.ended()
		})
	}
}

func TestWhenNobodyOfThoseRungAtOnceAnswersTheCallerIsToldTheMostTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTogether(t, bob, carol, dave)
		f.call()
		f.tell(f.b(1), Event{Kind: EvRinging})
		f.tell(f.b(2), Event{Kind: EvFailed, Status: 486, Cause: masking.CauseBusy})
		f.tell(f.b(3), Event{Kind: EvFailed, Status: 404, Cause: masking.CauseUnreachable})
		if f.caller.ended() || f.dials() != 3 {
			t.Fatalf("%v", f.trace.all())
		}
		wait(20*time.Second - time.Millisecond)
		if f.b(1).ended() {
			t.Fatal("ended too early")
		}
		wait(time.Millisecond)
		r := f.ended()
		causes := []masking.Cause{r.Attempts[0].Cause, r.Attempts[1].Cause, r.Attempts[2].Cause}
		if r.Cause != masking.CauseBusy || !slices.Equal(causes, []masking.Cause{masking.CauseNoAnswer, masking.CauseBusy, masking.CauseUnreachable}) || r.Callee != bob {
			t.Errorf("record %+v", r)
		}
	})
}

func TestOneOfThoseRungAtOnceIsTriedOverAnotherTrunkByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTogether(t, bob, carol)
		f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
		f.call()
		f.tell(f.b(2), Event{Kind: EvFailed, Status: 503, Cause: masking.CauseFailed, Retry: true})
		if f.dials() != 3 || f.b(3).dial.To != carol || f.b(3).trunk != "two" || f.b(1).ended() {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(3), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); r.Callee != carol || len(r.Attempts) != 3 || !r.Attempts[2].Answered || r.Attempts[2].Trunk != "two" || r.Attempts[0].Cause != masking.CauseElsewhere {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAnAnswerThatCannotBeCarriedLeavesTheOthersRinging(t *testing.T) {
	for _, k := range []kind{together, pinned} {
		synctest.Test(t, func(t *testing.T) {
			f := newRinging(t, k)
			if k == pinned {
				f.finish(SoundConnecting)
				f.expect(ToneRingBack)
			}
			f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(offerOfWords)})
			if f.b(2).end().Cause != masking.CauseFailed || f.b(1).ended() {
				t.Fatalf("%s: %v", k, f.trace.all())
			}
			if k == pinned {
				f.expect(ToneRingBack)
			}
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
			if got, s := audioOf(t, string(f.b(1).dial.Offer)).Addr, f.media.sessions[0]; got != s.Local(B) || s.peer(B).RTP.String() != "203.0.113.20:50000" {
				t.Errorf("%s: offered %v, the relay takes %v and sends to %v", k, got, s.Local(B), s.peer(B).RTP)
			}
			if k == pinned {
				f.expect("")
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			if r := f.ended(); r.Callee != bob || r.Attempts[1].Cause != masking.CauseFailed || r.Cause != masking.CauseCallerHungUp {
				t.Errorf("%s: record %+v", k, r)
			}
		})
	}
}

func TestAfterAnAnswerThatCannotBeCarriedTheNextNumberIsRung(t *testing.T) {
	for _, k := range []kind{routed, asked} {
		synctest.Test(t, func(t *testing.T) {
			f := newRinging(t, k)
			if k == asked {
				f.finish(SoundConnecting)
			}
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(offerOfWords)})
			if f.b(1).end().Cause != masking.CauseFailed || f.caller.ended() || f.b(2).dial.To != carol {
				t.Fatalf("%s: %v", k, f.trace.all())
			}
			if k == asked {
				f.expect(ToneRingBack)
			}
			f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
			if got, s := audioOf(t, string(f.b(2).dial.Offer)).Addr, f.session(); got != s.Local(B) || s.peer(B).RTP.String() != "203.0.113.20:50000" {
				t.Errorf("%s: offered %v, the relay takes %v and sends to %v", k, got, s.Local(B), s.peer(B).RTP)
			}
			f.tell(f.caller, Event{Kind: EvHungUp})
			if r := f.ended(); r.Callee != carol || r.Attempts[0].Cause != masking.CauseFailed || !r.Attempts[1].Answered {
				t.Errorf("%s: record %+v", k, r)
			}
		})
	}
}

func TestACallerWhoWasAnsweredIsToldWhenNobodysAnswerCanBeCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRinging(t, pinned)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(offerOfWords)})
		f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(offerOfWords)})
		f.finish(SoundUnreachable)
		if r := f.ended(); r.Cause != masking.CauseFailed || f.caller.end().Cause != masking.CauseFailed {
			t.Errorf("record %+v", r)
		}
	})
}

func TestWhateverEndsACallEndsAllThatRing(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*exchange)
		want masking.Cause
	}{
		"the caller":     {func(f *exchange) { f.tell(f.caller, Event{Kind: EvCancelled}) }, masking.CauseCallerCancelled},
		"the allocation": {func(f *exchange) { f.AllocationEnded("gvn_1", false) }, masking.CauseAllocationEnded},
		"the tripwire":   {func(f *exchange) { f.tell(f.b(2), Event{Kind: EvBlocked}) }, masking.CauseLeakBlocked},
		"time":           {func(*exchange) { wait(time.Minute) }, masking.CauseNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newTogether(t, bob, carol, dave)
				f.call()
				c.do(f)
				if r := f.ended(); r.Cause != c.want || r.Attempts[0].Cause != c.want || r.Attempts[2].Cause != c.want {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

// A callee's phone must not learn of the others that ring.
func TestNumbersThatRingAtOnceAreHiddenFromEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTogether(t, bob, carol)
		f.call()
		if got := f.b(1).hidden; !slices.Equal(got, []e164.Number{alice, carol}) {
			t.Errorf("hidden %v", masking.Texts(got))
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestATrunkIsToldHowLongTheCallHasWaitedForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newTogether(t, bob, carol, dave)
		const each = 200 * time.Millisecond
		f.trunks.trunks = []Trunk{&fakeTrunk{name: "one", ex: f, room: each}, &fakeTrunk{name: "two", ex: f, room: each}}
		f.call()
		wait(3 * each)
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseFailed, Retry: true})
		wait(each)
		for i, want := range []time.Duration{0, each, 2 * each, 3 * each} {
			if b := f.b(i + 1); b.dial.Waited != want {
				t.Errorf("attempt %d: %v", i+1, b.dial.Waited)
			}
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestACallWhoseNumberHasRungForItsTimeMayWaitForRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.trunks.trunks = []Trunk{&fakeTrunk{name: "one", ex: f, room: time.Second}}
		f.call()
		wait(22 * time.Second)
		if b := f.b(2); b.dial.To != carol || b.dial.Waited != 0 {
			t.Errorf("%+v", b.dial)
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}
