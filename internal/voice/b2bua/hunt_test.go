package b2bua

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

func TestTheNumbersAreRungInListOrderTwentySecondsEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol, dave)
		f.call()
		for i, want := range []e164.Number{bob, carol, dave} {
			b := f.b(i + 1)
			if b.dial.To != want || b.dial.CallerID != virtual || b.dial.Hops != 60 {
				t.Fatalf("attempt %d: %+v", i+1, b.dial)
			}
			f.tell(b, Event{Kind: EvRinging})
			wait(20*time.Second - time.Millisecond)
			if b.ended() {
				t.Fatalf("attempt %d ended too early", i+1)
			}
			wait(time.Millisecond)
			if !b.ended() || b.end().Cause != masking.CauseNoAnswer {
				t.Fatalf("attempt %d after 20 s: %+v", i+1, b.ends)
			}
		}
		r := f.ended()
		if r.Cause != masking.CauseNoAnswer || r.RingTime != time.Minute || len(r.Attempts) != 3 || f.caller.end().Cause != masking.CauseNoAnswer {
			t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
		}
		if f.caller.rings != 1 || f.trace.count("note rang") != 1 {
			t.Errorf("the caller was told %d times that it rings, the journal %d times", f.caller.rings, f.trace.count("note rang"))
		}
		for i, a := range r.Attempts {
			if !a.Rang || a.Ring != 20*time.Second || a.Cause != masking.CauseNoAnswer || a.Trunk != "one" || a.Answered {
				t.Errorf("attempt %d: %+v", i+1, a)
			}
		}
	})
}

// Four numbers of 20 s want 80 s; the fourth's turn comes in the moment in
// which the caller has waited long enough, and his phone must not flash.
func TestTheCallerHearsRingingForAMinuteInAll(t *testing.T) {
	for range 20 { // timers of one moment fire in any order
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob, carol, dave, erin)
			f.call()
			wait(time.Minute)
			r := f.ended()
			if f.dials() != 3 || len(r.Attempts) != 3 || r.Cause != masking.CauseNoAnswer || r.RingTime != time.Minute {
				t.Errorf("%d dialled, record %+v", f.dials(), r)
			}
		})
	}
}

func TestTheTotalCutsTheLastNumberShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol, dave)
		f.director.route.Tenant.Settings.RingTotal = 30 * time.Second
		f.call()
		f.tell(f.b(1), Event{Kind: EvFailed, Status: 486, Cause: masking.CauseBusy})
		wait(20 * time.Second)
		wait(9 * time.Second)
		if f.b(3).ended() {
			t.Fatal("ended before the total")
		}
		wait(time.Second)
		r := f.ended()
		if r.Cause != masking.CauseBusy || r.Attempts[2].Ring != 10*time.Second || r.Attempts[2].Cause != masking.CauseNoAnswer {
			t.Errorf("record %+v", r)
		}
	})
}

func TestTheNextNumberIsRungAtOnceWhenOneCannotBeHad(t *testing.T) {
	for _, c := range []struct {
		status int
		cause  masking.Cause
	}{
		{486, masking.CauseBusy}, {603, masking.CauseDeclined}, {408, masking.CauseNoAnswer},
		{404, masking.CauseUnreachable}, {500, masking.CauseFailed}, {0, masking.CauseFailed},
	} {
		t.Run(string(c.cause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob, carol)
				f.call()
				f.tell(f.b(1), Event{Kind: EvFailed, Status: c.status, Cause: c.cause})
				if f.b(2).dial.To != carol {
					t.Fatal("the second number is not rung")
				}
				f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
				f.tell(f.caller, Event{Kind: EvHungUp})
				r := f.ended()
				first := masking.Attempt{Target: bob, Trunk: "one", Status: c.status, Cause: c.cause}
				second := masking.Attempt{Target: carol, Trunk: "one", Answered: true, Status: 200}
				if !slices.Equal(r.Attempts, []masking.Attempt{first, second}) || r.Callee != carol {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestTheCallerIsToldTheMostTellingOfTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol, dave)
		f.call()
		for i, cause := range []masking.Cause{masking.CauseDeclined, masking.CauseBusy, masking.CauseFailed} {
			f.tell(f.b(i+1), Event{Kind: EvFailed, Status: 480, Cause: cause})
		}
		if r := f.ended(); r.Cause != masking.CauseBusy || f.caller.end().Cause != masking.CauseBusy || f.caller.rings != 0 {
			t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
		}
	})
}

func TestAnotherTrunkIsTriedOnlyOnRetryAndBeforeRinging(t *testing.T) {
	for _, c := range []struct {
		name        string
		rings       bool
		event       Event
		to          e164.Number
		trunk       string
		lastOfTrunk bool
	}{
		{"retry", false, Event{Kind: EvFailed, Status: 503, Cause: masking.CauseFailed, Retry: true}, bob, "two", false},
		{"no retry", false, Event{Kind: EvFailed, Status: 486, Cause: masking.CauseBusy}, carol, "one", false},
		{"retry after ringing", true, Event{Kind: EvFailed, Status: 503, Cause: masking.CauseFailed, Retry: true}, carol, "one", false},
		{"retry on the last trunk", false, Event{Kind: EvFailed, Status: 503, Cause: masking.CauseFailed, Retry: true}, carol, "one", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob, carol)
				if !c.lastOfTrunk {
					f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
				}
				f.call()
				if c.rings {
					f.tell(f.b(1), Event{Kind: EvRinging})
				}
				f.tell(f.b(1), c.event)
				if b := f.b(2); b.dial.To != c.to || b.trunk != c.trunk || b.dial.CallerID != virtual {
					t.Errorf("dialled over %s to %v showing %v", b.trunk, b.dial.To, b.dial.CallerID)
				}
				if slices.ContainsFunc(f.trunks.asked, func(n e164.Number) bool { return n != virtual }) {
					t.Error("a trunk was asked for another caller ID than the virtual number")
				}
				f.tell(f.caller, Event{Kind: EvCancelled})
				f.ended()
			})
		})
	}
}

func TestTheRingTimeOfANumberCountsAllItsTrunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.trunks.trunks = append(f.trunks.trunks, &fakeTrunk{name: "two", ex: f})
		f.call()
		wait(15 * time.Second)
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseFailed, Retry: true})
		wait(5 * time.Second)
		if !f.b(2).ended() || f.b(3).dial.To != carol {
			t.Errorf("after 20 s: %v", f.trace.all())
		}
		wait(19 * time.Second)
		if f.b(3).ended() {
			t.Error("an old ring time cut the next number short")
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestWithoutATrunkTheCallFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.trunks.trunks = nil
		f.call()
		if r := f.ended(); r.Cause != masking.CauseFailed || len(r.Attempts) != 2 || f.dials() != 0 {
			t.Errorf("record %+v", r)
		}
	})
}

func TestWithoutMediaTheCallFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.media.fail = true
		f.call()
		if r := f.ended(); r.Cause != masking.CauseFailed || len(r.Attempts) != 1 || f.dials() != 0 {
			t.Errorf("record %+v", r)
		}
	})
}

func TestTheSecondNumberAnswersAsTheLateAnswerOfTheFirstArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.slow = true
		f.call()
		wait(20 * time.Second)
		bob, carol := f.b(1), f.b(2)
		if !bob.ended() {
			t.Fatal("the first attempt goes on")
		}
		late := Event{Kind: EvAnswered, Body: []byte("v=0\r\no=late 1 1 IN IP4 203.0.113.99\r\ns=-\r\nc=IN IP4 203.0.113.99\r\nt=0 0\r\nm=audio 6 RTP/AVP 8\r\n")}
		bob.say(late)
		carol.say(Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		bob.say(late)
		synctest.Wait()
		if len(f.caller.answers) != 1 || f.trace.count("note answered") != 1 {
			t.Fatalf("%v", f.trace.all())
		}
		if got := f.media.sessions[1].peer(B).RTP.String(); got != "203.0.113.20:50000" {
			t.Errorf("the callee's media goes to %s", got)
		}
		if len(carol.ends) != 0 {
			t.Error("the leg that talks was ended")
		}
		bob.vanish()
		f.tell(carol, Event{Kind: EvHungUp})
		carol.vanish()
		if r := f.ended(); r.Callee != carol.dial.To || r.Cause != masking.CauseCalleeHungUp {
			t.Errorf("record %+v", r)
		}
	})
}

func TestLateEventsOfAnAbandonedAttemptChangeNothing(t *testing.T) {
	for k := range eventKinds {
		if k == EvGone || k >= EvRingTime {
			continue // not said by a leg, or counted
		}
		t.Run(k.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob, carol)
				f.slow = true
				f.call()
				wait(20 * time.Second)
				before := f.trace.all()
				f.tell(f.b(1), Event{Kind: k, Body: []byte(answerOfB), Cause: masking.CauseBusy})
				if got := f.trace.all(); !slices.Equal(got, before) {
					t.Errorf("it did %v", got[len(before):])
				}
				f.b(1).vanish()
				f.tell(f.caller, Event{Kind: EvCancelled})
				f.b(2).vanish()
				f.ended()
			})
		})
	}
}

func TestAPartyUpdateWhileItRingsDoesNotChangeTheHunt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.call()
		f.director.setTo(dave)
		wait(20 * time.Second)
		if f.b(2).dial.To != carol {
			t.Errorf("rang %v", f.b(2).dial.To)
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestEveryAttemptHasMediaOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.call()
		wait(20 * time.Second)
		first, second := audioOf(t, string(f.b(1).dial.Offer)), audioOf(t, string(f.b(2).dial.Offer))
		if len(f.media.sessions) != 2 || first.Addr == second.Addr || f.media.sessions[0].closed != 1 {
			t.Errorf("%d sessions, offered %v and %v", len(f.media.sessions), first.Addr, second.Addr)
		}
		if second.Addr != f.media.sessions[1].Local(B) {
			t.Errorf("offered %v, relay takes %v", second.Addr, f.media.sessions[1].Local(B))
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestEachLegMayNotNameAnybodyElseOfTheAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.director.route.Found[0].From = []e164.Number{alice, dave}
		f.call()
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
		for _, c := range []struct {
			leg  *fakeLeg
			want []e164.Number
		}{
			{f.caller, []e164.Number{dave, bob, carol}},
			{f.b(1), []e164.Number{alice, dave, carol}},
			{f.b(2), []e164.Number{alice, dave, bob}},
		} {
			if !slices.Equal(c.leg.hidden, c.want) {
				t.Errorf("%s hides %v, want %v", c.leg.name, masking.Texts(c.leg.hidden), masking.Texts(c.want))
			}
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestARefusedCallIsRecordedByTheDirectorAlone(t *testing.T) {
	reject := func(why masking.Refusal) *masking.Ruling { return &masking.Ruling{Refusal: why, Then: masking.Reject} }
	for _, c := range []struct {
		ruling *masking.Ruling
		err    error
		want   masking.Refusal
	}{
		{reject(masking.RefusedStranger), nil, masking.RefusedStranger},
		{reject(masking.RefusedCallerBusy), nil, masking.RefusedCallerBusy},
		{reject(masking.RefusedUnknownNumber), nil, masking.RefusedUnknownNumber},
		{nil, errors.New("the store is away"), masking.RefusedUnavailable},
		{nil, context.DeadlineExceeded, masking.RefusedUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.director.ruling, f.director.err = c.ruling, c.err
			f.call()
			if f.Live() != 0 || f.dials() != 0 || len(f.journal.notes) != 0 || f.media.opened() != 0 {
				t.Errorf("%v: %v", c.want, f.trace.all())
			}
			if !slices.Equal(f.director.why, []masking.Refusal{c.want}) || f.caller.end() != (Reason{masking.CauseRejected, c.want}) {
				t.Errorf("%v: recorded %v, caller told %+v", c.want, f.director.why, f.caller.ends)
			}
		})
	}
}

func TestTheDirectorIsGivenTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.director.gate = make(chan struct{})
		f.call()
		wait(2*time.Second - time.Millisecond)
		if f.caller.ended() {
			t.Fatal("refused too early")
		}
		wait(time.Millisecond)
		if f.caller.end().Refusal != masking.RefusedUnavailable || f.Live() != 0 {
			t.Errorf("caller told %+v", f.caller.ends)
		}
	})
}

func TestAnOfferThatCannotBeCarriedIsRefusedBeforeAnybodyIsRung(t *testing.T) {
	for name, offer := range map[string]string{"garbage": "hello", "no codec of ours": "v=0\r\no=a 1 1 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 99\r\na=rtpmap:99 SILK/24000\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				in := f.invite()
				in.Offer = []byte(offer)
				f.Incoming(in)
				if r := f.ended(); r.Cause != masking.CauseNoMedia || f.dials() != 0 || f.caller.end().Cause != masking.CauseNoMedia {
					t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
				}
			})
		})
	}
}
