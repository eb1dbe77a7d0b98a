package b2bua

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
)

func TestTheCallersCancelEndsTheCallInEveryStateBeforeTheAnswer(t *testing.T) {
	for name, bring := range map[string]func(*exchange){
		"routing": func(f *exchange) {
			f.director.gate = make(chan struct{})
			f.call()
			f.caller.say(Event{Kind: EvCancelled})
			close(f.director.gate)
		},
		"dialing": func(f *exchange) { f.call(); f.caller.say(Event{Kind: EvCancelled}) },
		"ringing": func(f *exchange) {
			f.call()
			f.tell(f.b(1), Event{Kind: EvRinging})
			f.caller.say(Event{Kind: EvCancelled})
		},
		"second number": func(f *exchange) {
			f.call()
			f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
			f.caller.say(Event{Kind: EvCancelled})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob, carol)
				bring(f)
				r := f.ended()
				if r.Cause != masking.CauseCallerCancelled || !r.AnsweredAt.IsZero() || len(f.caller.answers) != 0 || r.Quality != (masking.Quality{}) {
					t.Errorf("record %+v", r)
				}
				if f.dials() > 0 && f.b(f.dials()).end().Cause != masking.CauseCallerCancelled {
					t.Errorf("the callee's leg was told %+v", f.b(f.dials()).ends)
				}
			})
		})
	}
}

func TestACancelWhileEndingChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.slow = true
		f.call()
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.b(1).vanish()
		if r := f.ended(); r.Cause != masking.CauseBusy || len(f.caller.ends) != 1 {
			t.Errorf("record %+v, ends %+v", r, f.caller.ends)
		}
	})
}

func TestOfCancelAndAnswerInOneMomentTheFirstInTheInboxWins(t *testing.T) {
	cancelled, answered := Event{Kind: EvCancelled}, Event{Kind: EvAnswered, Body: []byte(answerOfB)}
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.slow = true
		f.call()
		f.caller.say(cancelled)
		f.b(1).say(answered)
		synctest.Wait()
		if !f.b(1).ended() || len(f.caller.answers) != 0 {
			t.Errorf("cancel first: %v", f.trace.all())
		}
		f.b(1).vanish()
		if r := f.ended(); r.Cause != masking.CauseCallerCancelled || !r.AnsweredAt.IsZero() {
			t.Errorf("record %+v", r)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.call()
		f.b(1).say(answered)
		f.caller.say(cancelled)
		synctest.Wait()
		if len(f.caller.answers) != 1 || f.b(1).ended() {
			t.Errorf("answer first: %v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvHungUp}) // he ACKs the 200 and says BYE
		if r := f.ended(); r.Cause != masking.CauseCallerHungUp || r.AnsweredAt.IsZero() {
			t.Errorf("record %+v", r)
		}
	})
}

func TestWhoeverHangsUpTheOtherLegIsEnded(t *testing.T) {
	for _, c := range []struct {
		side Side
		e    Event
		want masking.Cause
	}{
		{A, Event{Kind: EvHungUp}, masking.CauseCallerHungUp},
		{B, Event{Kind: EvHungUp}, masking.CauseCalleeHungUp},
		{A, Event{Kind: EvHungUp, Cause: masking.CauseFailed}, masking.CauseFailed},
		{B, Event{Kind: EvHungUp, Cause: masking.CauseFailed}, masking.CauseFailed},
		{A, Event{Kind: EvBlocked}, masking.CauseLeakBlocked},
		{B, Event{Kind: EvBlocked}, masking.CauseLeakBlocked},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			f.media.sessions[0].hear(A)
			wait(10 * time.Second)
			leg := []*fakeLeg{f.caller, f.b(1)}[c.side]
			f.tell(leg, c.e)
			r := f.ended()
			if r.Cause != c.want || r.TalkTime != 10*time.Second || r.Attempts[0].Cause != "" || !r.Attempts[0].Answered {
				t.Errorf("%v %v: record %+v", c.side, c.e.Kind, r)
			}
			if f.caller.end().Cause != c.want || f.b(1).end().Cause != c.want {
				t.Errorf("%v %v: legs told %+v and %+v", c.side, c.e.Kind, f.caller.ends, f.b(1).ends)
			}
		})
	}
}

func TestARecordTellsTheWholeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		start := time.Now()
		f.call()
		wait(3 * time.Second)
		f.tell(f.b(1), Event{Kind: EvRinging})
		wait(4 * time.Second)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		wait(5 * time.Second)
		f.tell(f.b(1), Event{Kind: EvHungUp})
		r := f.ended()
		want := masking.Call{ID: "call_1", Tenant: "acme", Allocation: "gvn_1", VirtualNumber: virtual, Caller: alice, Callee: bob,
			Direction: masking.FromCalls, CustomField: "order 7", Node: "n1", StartedAt: start, AnsweredAt: start.Add(7 * time.Second),
			EndedAt: start.Add(12 * time.Second), RingTime: 7 * time.Second, TalkTime: 5 * time.Second, Cause: masking.CauseCalleeHungUp}
		got := r
		got.Attempts = nil
		if !sameCall(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if want := (masking.Quality{Callee: masking.LegQuality{Received: uint64(f.media.last().ports[B])}}); r.Quality != want {
			t.Errorf("quality %+v, want %+v", r.Quality, want)
		}
		attempt := masking.Attempt{Target: bob, Trunk: "one", Rang: true, Answered: true, Status: 200, Ring: 7 * time.Second}
		if !slices.Equal(r.Attempts, []masking.Attempt{attempt}) {
			t.Errorf("attempts %+v", r.Attempts)
		}
		moments := []string{}
		for _, l := range f.trace.all() {
			if strings.HasPrefix(l, "note") || l == "release" {
				moments = append(moments, l)
			}
		}
		if want := []string{"note began", "note rang", "note answered", "release", "note ended"}; !slices.Equal(moments, want) {
			t.Errorf("moments %v", moments)
		}
		for _, m := range []masking.Moment{masking.Began, masking.Rang} {
			if c := f.journal.of(m)[0]; !c.EndedAt.IsZero() || c.Callee != bob {
				t.Errorf("moment %d: %+v", m, c)
			}
		}
	})
}

// sameCall compares all but the attempts.
func sameCall(a, b masking.Call) bool {
	times := a.StartedAt.Equal(b.StartedAt) && a.AnsweredAt.Equal(b.AnsweredAt) && a.EndedAt.Equal(b.EndedAt)
	for _, c := range []*masking.Call{&a, &b} {
		c.StartedAt, c.AnsweredAt, c.EndedAt, c.Attempts = time.Time{}, time.Time{}, time.Time{}, nil
	}
	return times && a.ID == b.ID && a.Tenant == b.Tenant && a.Allocation == b.Allocation && a.VirtualNumber == b.VirtualNumber &&
		a.Caller == b.Caller && a.Callee == b.Callee && a.Direction == b.Direction && a.CustomField == b.CustomField &&
		a.Node == b.Node && a.RingTime == b.RingTime && a.TalkTime == b.TalkTime && a.Cause == b.Cause && a.Refusal == b.Refusal
}

// The wall clock jumps back an hour while it rings and again
// while they talk; the durations do not notice.
func TestDurationsDoNotFollowTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		wall := time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)
		f.o.Clock = func() time.Time { wall = wall.Add(-time.Hour); return wall }
		in := f.invite()
		in.Received = wall
		f.Incoming(in)
		wait(6 * time.Second)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		wait(8 * time.Second)
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); r.RingTime != 6*time.Second || r.TalkTime != 8*time.Second {
			t.Errorf("rang %v, talked %v", r.RingTime, r.TalkTime)
		}
	})
}

func TestTheEndOfAnAllocationCancelsWhatRingsAndLeavesWhatTalks(t *testing.T) {
	for _, c := range []struct {
		name      string
		talking   bool
		terminate bool
		id        masking.AllocationID
		ends      bool
	}{
		{"ringing", false, false, "gvn_1", true},
		{"ringing, terminate", false, true, "gvn_1", true},
		{"talking", true, false, "gvn_1", false},
		{"talking, terminate", true, true, "gvn_1", true},
		{"another allocation", false, true, "gvn_2", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				if c.talking {
					f.connect()
				} else {
					f.call()
				}
				f.AllocationEnded(c.id, c.terminate)
				synctest.Wait()
				if c.ends != (f.Live() == 0) {
					t.Fatalf("%v", f.trace.all())
				}
				if !c.ends {
					f.tell(f.caller, Event{Kind: EvHungUp})
				}
				if r := f.ended(); c.ends && r.Cause != masking.CauseAllocationEnded {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestAnAllocationThatEndsWhileACallIsRoutedTakesTheCallAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.director.gate = make(chan struct{})
		f.call()
		f.AllocationEnded("gvn_2", true)
		f.AllocationEnded("gvn_1", false)
		close(f.director.gate)
		if r := f.ended(); r.Cause != masking.CauseAllocationEnded {
			t.Errorf("record %+v", r)
		}
	})
}

// A store that is slow for a second makes calls wait while an application
// deletes what it has: none of that is a flood.
func TestManyAllocationsEndingWhileACallIsRoutedDoNotHarmIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.director.gate = make(chan struct{})
		f.call()
		for range 10 * inboxSize {
			f.AllocationEnded("gvn_other", true)
		}
		close(f.director.gate)
		synctest.Wait()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		if r := f.ended(); r.Cause != masking.CauseCallerHungUp {
			t.Errorf("record %+v", r)
		}
	})
}

func TestDrainRefusesNewCallsAndWaitsForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		first := f.caller
		done := make(chan struct{})
		go func() { f.Drain(context.Background()); close(done) }()
		synctest.Wait()
		if !f.Draining() {
			t.Error("not draining")
		}
		f.call()
		if f.caller.end() != (Reason{masking.CauseRejected, masking.RefusedUnavailable}) || f.Live() != 1 {
			t.Errorf("a new call was told %+v, %d are up", f.caller.ends, f.Live())
		}
		if !slices.Equal(f.director.why, []masking.Refusal{masking.RefusedUnavailable}) {
			t.Errorf("the Director was told of %v", f.director.why)
		}
		select {
		case <-done:
			t.Fatal("did not wait")
		default:
		}
		f.media.sessions[0].hear(B)
		f.tell(first, Event{Kind: EvHungUp})
		<-done
		f.ended()
	})
}

func TestAfterTheDrainDeadlineWhatIsLeftIsHungUp(t *testing.T) {
	for name, bring := range map[string]func(*exchange){
		"routing": func(f *exchange) { f.director.gate = make(chan struct{}); f.call() },
		"ringing": func(f *exchange) { f.call() },
		"talking": (*exchange).connect,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.slow = true
				bring(f)
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				done := make(chan struct{})
				go func() { f.Drain(ctx); close(done) }()
				wait(time.Second)
				if f.director.gate != nil {
					close(f.director.gate)
					synctest.Wait()
				}
				select {
				case <-done:
					t.Fatal("did not wait for the leg's last message")
				default:
				}
				f.b(1).vanish()
				<-done
				if r := f.ended(); r.Cause != masking.CauseShutdown {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestAFloodOfEventsEndsTheCall(t *testing.T) {
	for _, talking := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.slow = true
			if talking {
				f.connect()
			} else {
				f.call()
			}
			for range 100 * inboxSize {
				f.b(1).say(Event{Kind: EvOffered})
			}
			if r := f.ended(); r.Cause != masking.CauseFailed {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// A poster may find the inbox full and be late to say so, when all that was in
// it is done; the call must still hear of it.
func TestAFloodSaidLateStillEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.call()
		f.mu.Lock()
		c := f.book.all()[0]
		f.mu.Unlock()
		c.flood()
		if r := f.ended(); r.Cause != masking.CauseFailed {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAFaultIsContainedAndRecorded(t *testing.T) {
	answered := func(f *exchange) { f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)}) }
	for name, c := range map[string]struct {
		prepare func(*exchange, *fakeLeg)
		then    func(*exchange)
	}{
		"trunk":          {func(f *exchange, _ *fakeLeg) { f.trunks.trunks[0].(*fakeTrunk).panic = true }, nil},
		"binding a leg":  {func(_ *exchange, a *fakeLeg) { a.panicOn = "bind" }, nil},
		"ringing a leg":  {func(_ *exchange, a *fakeLeg) { a.panicOn = "ring" }, func(f *exchange) { f.tell(f.b(1), Event{Kind: EvRinging}) }},
		"answering":      {func(_ *exchange, a *fakeLeg) { a.panicOn = "answer" }, answered},
		"ending A":       {func(_ *exchange, a *fakeLeg) { a.panicOn = "end" }, func(f *exchange) { f.tell(f.caller, Event{Kind: EvCancelled}) }},
		"ending B":       {nil, func(f *exchange) { f.b(1).panicOn = "end"; f.tell(f.caller, Event{Kind: EvCancelled}) }},
		"ending attempt": {nil, func(f *exchange) { f.b(1).panicOn = "end"; f.tell(f.b(1), Event{Kind: EvFailed}) }},
		"no targets":     {func(f *exchange, _ *fakeLeg) { f.director.setTo() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				in := f.invite()
				if c.prepare != nil {
					c.prepare(f, f.caller)
				}
				f.Incoming(in)
				synctest.Wait()
				if c.then != nil {
					c.then(f)
				}
				f.caller.vanish()
				if f.dials() > 0 {
					f.b(1).vanish()
				}
				f.ended()
			})
		})
	}
}

func TestAFaultOfTheDirectorRefusesTheCall(t *testing.T) {
	for _, method := range []string{"route", "consult"} {
		synctest.Test(t, func(t *testing.T) {
			f := newStranger(t, masking.StrangerPolicy{Action: masking.AskWebhook})
			f.director.panicOn = method
			f.call()
			if f.Live() != 0 || !f.caller.ended() || len(f.journal.notes) != 0 {
				t.Errorf("%s: %v", method, f.trace.all())
			}
			if len(f.director.why) != 1 || f.caller.end() != (Reason{masking.CauseRejected, f.director.why[0]}) {
				t.Errorf("%s: recorded %v, caller told %+v", method, f.director.why, f.caller.ends)
			}
			if !strings.Contains(f.log.String(), "fault in a call") {
				t.Error("nothing in the log")
			}
			f.checkBooks() // he who was held is free again
		})
	}
}

func TestAFaultWhileACallerIsAskedOrToldIsContained(t *testing.T) {
	for name, c := range map[string]struct {
		kind    kind
		prepare func(*exchange)
		then    string // keys
	}{
		"answering":        {asked, func(f *exchange) { f.caller.panicOn = "answer" }, ""},
		"judging":          {asked, func(f *exchange) { f.director.panicOn = "enter" }, rightPIN + "#"},
		"binding again":    {asked, func(f *exchange) { f.caller.panicOn = "bind" }, rightPIN + "#"},
		"dialling":         {asked, func(f *exchange) { f.trunks.trunks[0].(*fakeTrunk).panic = true }, rightPIN + "#"},
		"ending":           {asked, func(f *exchange) { f.caller.panicOn = "end" }, "1#2#3#"},
		"speaking":         {announced, func(f *exchange) { f.caller.panicOn = "speak" }, ""},
		"ending, stranger": {announced, func(f *exchange) { f.caller.panicOn = "end" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newKind(t, c.kind)
				in := f.invite()
				c.prepare(f)
				f.Incoming(in)
				synctest.Wait()
				f.keys(c.then)
				wait(time.Minute) // for what is said
				f.caller.vanish()
				synctest.Wait()
				if f.Live() != 0 || !strings.Contains(f.log.String(), "fault in a call") {
					t.Errorf("%d calls up: %v", f.Live(), f.trace.all())
				}
				if want := map[kind]int{announced: 1}[c.kind]; len(f.director.why) != want {
					t.Errorf("refusals recorded: %v", f.director.why)
				}
				f.checkBooks()
			})
		})
	}
}

func TestALegThatIsGoneWithoutAWordEndsTheCall(t *testing.T) {
	for _, side := range []Side{A, B} {
		for _, talking := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				if talking {
					f.connect()
				} else {
					f.call()
				}
				[]*fakeLeg{f.caller, f.b(1)}[side].vanish()
				if r := f.ended(); r.Cause != masking.CauseFailed {
					t.Errorf("record %+v", r)
				}
			})
		}
	}
}

func TestALegSaysGoneTwiceAndTheCallStillWaitsForTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.slow = true
		f.connect()
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.tell(f.caller, Event{Kind: EvGone})
		if f.Live() != 1 {
			t.Fatal("over before the callee's leg is gone")
		}
		f.b(1).vanish()
		f.ended()
	})
}
