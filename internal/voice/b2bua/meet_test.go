package b2bua

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// offerOfGuest is another phone's, with a codec more and its law of G.711 first.
const offerOfGuest = "v=0\r\no=bob 3 3 IN IP4 203.0.113.20\r\ns=-\r\nc=IN IP4 203.0.113.20\r\nt=0 0\r\n" +
	"m=audio 50000 RTP/AVP 9 0 8 97\r\na=rtpmap:9 G722/8000\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n"

// callsIn lets somebody's INVITE come in and waits until nothing more happens.
func (f *exchange) callsIn(caller e164.Number, offer string) *fakeLeg {
	in := f.invite()
	in.Caller, in.Offer, in.Trunk = caller, []byte(offer), "incoming"
	f.Incoming(in)
	synctest.Wait()
	return f.callers[len(f.callers)-1]
}

// records are those of the ends of all calls, by their calls. It fails unless all
// is over.
func (f *exchange) records() map[masking.CallID]masking.Call {
	f.t.Helper()
	synctest.Wait()
	if f.Live() != 0 {
		f.t.Fatalf("%d calls are still up: %v", f.Live(), f.trace.all())
	}
	f.checkBooks()
	all := map[masking.CallID]masking.Call{}
	for _, r := range f.journal.of(masking.Ended) {
		all[r.ID] = r
	}
	if len(all) != len(f.callers) {
		f.t.Fatalf("%d calls have %d records: %v", len(f.callers), len(all), f.trace.all())
	}
	return all
}

func TestTwoWhoCallEachOtherAreJoinedAndNobodyElseIsRung(t *testing.T) {
	for _, rings := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			a := f.callsIn(alice, offerOfA)
			if rings {
				f.tell(f.b(1), Event{Kind: EvRinging})
			}
			wait(2 * time.Second)
			b := f.callsIn(bob, offerOfGuest)
			if f.dials() != 1 || f.b(1).end() != (Reason{Cause: masking.CauseElsewhere}) || a.ended() || b.ended() {
				t.Fatalf("%v", f.trace.all())
			}
			if len(a.answers) != 1 || len(b.answers) != 1 || f.Live() != 1 {
				t.Fatalf("%v", f.trace.all())
			}
			s := f.session()
			if got := codecsOf(audioOf(t, a.answers[0])); !slices.Equal(got, []string{"PCMU", "PCMA", "telephone-event"}) {
				t.Errorf("Alice is answered with %v", got)
			}
			if got := codecsOf(audioOf(t, b.answers[0])); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) {
				t.Errorf("Bob is answered with %v", got)
			}
			if audioOf(t, a.answers[0]).Addr != s.Local(A) || audioOf(t, b.answers[0]).Addr != s.Local(B) ||
				s.peer(A).RTP.String() != "198.51.100.10:40000" || s.peer(B).RTP.String() != "203.0.113.20:50000" {
				t.Errorf("media goes to %v and %v", s.peer(A).RTP, s.peer(B).RTP)
			}
			if s.peer(B).Payloads[101] != 97 || s.peer(A).Payloads[97] != 101 || s.peer(A).Payloads[9] <= 127 {
				t.Errorf("payloads are not mapped: %d, %d", s.peer(B).Payloads[101], s.peer(A).Payloads[97])
			}
			wait(3 * time.Second)
			f.tell(b, Event{Kind: EvHungUp})
			all := f.records()
			host, guest := all["call_1"], all["call_2"]
			attempts := []masking.Attempt{{Target: bob, Trunk: "one", Rang: rings, Cause: masking.CauseElsewhere, Ring: 2 * time.Second},
				{Target: bob, Trunk: "incoming", Answered: true, Status: 200}}
			if host.Cause != masking.CauseCalleeHungUp || host.TalkTime != 3*time.Second || host.RingTime != 2*time.Second || host.Callee != bob ||
				!slices.Equal(host.Attempts, attempts) {
				t.Errorf("the record of the talk: %+v", host)
			}
			if guest.Cause != masking.CauseJoined || !guest.AnsweredAt.IsZero() || guest.Callee != alice || len(guest.Attempts) != 0 ||
				guest.DialStatus() != masking.DialCanceled {
				t.Errorf("the record of the call that was joined: %+v", guest)
			}
			if f.trace.count("note began") != 2 || f.trace.count("note answered") != 1 || f.trace.count("note ended") != 2 {
				t.Errorf("%v", f.trace.all())
			}
			if !slices.Contains(b.hidden, alice) || slices.Contains(b.hidden, bob) || !slices.Contains(a.hidden, bob) {
				t.Errorf("hidden from Bob: %v", masking.Texts(b.hidden))
			}
		})
	}
}

func TestWhoeverOfTwoThatWereJoinedEndsTheCallBothHearIt(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(f *exchange, a, b *fakeLeg)
		want masking.Cause
	}{
		"the first caller":  {func(f *exchange, a, _ *fakeLeg) { f.tell(a, Event{Kind: EvHungUp}) }, masking.CauseCallerHungUp},
		"the second caller": {func(f *exchange, _, b *fakeLeg) { f.tell(b, Event{Kind: EvHungUp}) }, masking.CauseCalleeHungUp},
		"the tenant":        {func(f *exchange, _, _ *fakeLeg) { f.AllocationEnded("gvn_1", true) }, masking.CauseAllocationEnded},
		"the tripwire":      {func(f *exchange, _, b *fakeLeg) { f.tell(b, Event{Kind: EvBlocked}) }, masking.CauseLeakBlocked},
		"silence":           {func(*exchange, *fakeLeg, *fakeLeg) { wait(time.Minute) }, masking.CauseMediaTimeout},
		"a broken leg":      {func(_ *exchange, _, b *fakeLeg) { b.vanish() }, masking.CauseFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				a, b := f.callsIn(alice, offerOfA), f.callsIn(bob, offerOfA)
				f.tell(b, Event{Kind: EvOffered, Body: []byte(with(offerOfA, "sendonly"))}) // he holds, and resumes
				f.tell(b, Event{Kind: EvOffered, Body: []byte(offerOfA)})
				c.end(f, a, b)
				if all := f.records(); all["call_1"].Cause != c.want || all["call_2"].Cause != masking.CauseJoined {
					t.Errorf("%+v", all)
				}
				if len(a.ends) != 1 || len(b.ends) != 1 {
					t.Errorf("told %+v and %+v", a.ends, b.ends)
				}
			})
		})
	}
}

func TestOfSeveralWhoRingItsCallerACallIsJoinedWithTheOneWhomItWouldRingFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.director.route.Found[0].From = []e164.Number{alice, dave}
		second := f.callsIn(dave, offerOfA) // rings Bob
		first := f.callsIn(alice, offerOfA) // too
		third := f.callsIn(carol, offerOfA) // is rung by nobody yet
		if len(first.answers) != 1 || len(third.answers) != 1 || len(second.answers) != 0 {
			t.Fatalf("%v", f.trace.all())
		}
		fourth := f.callsIn(bob, offerOfA) // Alice talks already
		if len(second.answers) != 1 || len(fourth.answers) != 1 || f.Live() != 2 {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(first, Event{Kind: EvHungUp})
		f.tell(fourth, Event{Kind: EvHungUp})
		all := f.records()
		if all["call_1"].Callee != bob || all["call_2"].Callee != carol || all["call_3"].Cause != masking.CauseJoined || all["call_4"].Cause != masking.CauseJoined {
			t.Errorf("%+v", all)
		}
	})
}

func TestCallsThatDoNotMeetAreNotJoined(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *exchange)
		second e164.Number
	}{
		"one of the same side": {func(f *exchange) { f.director.route.Found[0].From = []e164.Number{alice, dave} }, dave},
		"another allocation": {func(f *exchange) {
			f.director.route.Found[0].ID = "gvn_2"
			f.director.route.Found[0].From = []e164.Number{alice}
		}, bob},
		"whom the update removed from the first call's hunt": {func(f *exchange) { f.director.setTo(carol) }, carol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				a := f.callsIn(alice, offerOfA)
				c.change(f)
				b := f.callsIn(c.second, offerOfA)
				if f.dials() != 2 || len(a.answers)+len(b.answers) != 0 {
					t.Fatalf("%v", f.trace.all())
				}
				f.tell(a, Event{Kind: EvCancelled})
				f.tell(b, Event{Kind: EvCancelled})
				f.records()
			})
		})
	}
}

func TestCallsThatCannotBeJoinedGoOnByThemselves(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(f *exchange)
		offer   string
	}{
		"no codec in common": {func(*exchange) {}, offerOfWords},
		"no offer":           {func(*exchange) {}, ""},
		"no media":           {func(f *exchange) { f.media.failOnce = true }, offerOfA},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				a := f.callsIn(alice, offerOfA)
				c.prepare(f)
				b := f.callsIn(bob, c.offer)
				if f.dials() != 2 || f.b(2).dial.To != alice || a.ended() || b.ended() || f.b(1).ended() {
					t.Fatalf("%v", f.trace.all())
				}
				f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
				f.tell(f.b(2), Event{Kind: EvFailed, Cause: masking.CauseBusy})
				if all := f.records(); all["call_1"].Cause != masking.CauseBusy || all["call_2"].Cause != masking.CauseBusy {
					t.Errorf("%+v", all)
				}
			})
		})
	}
}

func TestACallThatAPhoneForwardsToTheNumberItIsRungByIsALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		a := f.callsIn(alice, offerOfA)
		in := f.invite()
		in.Caller, in.Diverted = bob, true
		f.Incoming(in)
		synctest.Wait()
		if f.caller.end() != (Reason{masking.CauseRejected, masking.RefusedLoop}) || f.dials() != 1 || a.ended() {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(1), Event{Kind: EvFailed, Status: 482, Cause: masking.CauseUnreachable})
		if f.b(2).dial.To != carol {
			t.Error("the next number is not rung")
		}
		f.tell(a, Event{Kind: EvCancelled})
		if all := f.records(); all["call_2"].Cause != masking.CauseRejected || all["call_2"].Refusal != masking.RefusedLoop {
			t.Errorf("%+v", all)
		}
	})
}

// A forwarded call of a party's that meets nobody is a call as any other.
func TestAForwardedCallThatRingsNobodyWhoCallsIsLetThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		in := f.invite()
		in.Diverted = true
		f.Incoming(in)
		synctest.Wait()
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
		f.records()
	})
}

func TestWhatASecondCallerSaidBeforeHeWasJoinedIsHeard(t *testing.T) {
	for kind, want := range map[EventKind]masking.Cause{EvHungUp: masking.CauseCalleeHungUp, EvGone: masking.CauseFailed} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.callsIn(alice, offerOfA)
			f.director.gate = make(chan struct{})
			b := f.callsIn(bob, offerOfA)
			b.gone = kind == EvGone
			b.say(Event{Kind: kind})
			close(f.director.gate)
			if all := f.records(); all["call_1"].Cause != want || !all["call_1"].Attempts[1].Answered || all["call_2"].Cause != masking.CauseJoined {
				t.Errorf("%+v", all)
			}
		})
	}
}

func TestASecondCallerWhoGaveUpIsNotJoinedAndNobodyIsRungForHim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		a := f.callsIn(alice, offerOfA)
		f.director.gate = make(chan struct{})
		b := f.callsIn(bob, offerOfA)
		b.say(Event{Kind: EvCancelled})
		close(f.director.gate)
		synctest.Wait()
		if b.end() != (Reason{Cause: masking.CauseCallerCancelled}) || len(a.answers)+len(b.answers) != 0 || f.dials() != 1 || f.b(1).ended() {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
		if all := f.records(); all["call_1"].Cause != masking.CauseBusy || all["call_2"].Cause != masking.CauseCallerCancelled {
			t.Errorf("%+v", all)
		}
	})
}

func TestNobodyIsJoinedWithACallerWhoGaveUp(t *testing.T) {
	f := newKind(t, routed)
	c := drive(t, f)
	c.route()
	c.from(A, 0)(Event{Kind: EvCancelled})
	g := guestOf(c)
	c.handle(Event{Kind: EvMet, Guest: g}) // came before
	if c.state != Dialing || <-g.joined || len(f.caller.answers) != 0 {
		t.Errorf("%v: %v", c.state, f.trace.all())
	}
	if c.handle(<-c.inbox); c.record.Cause != masking.CauseCallerCancelled {
		t.Errorf("record %+v", c.record)
	}
}

// Whatever several callers of two allocations do at once: nobody talks to anybody
// of another one or of his own side, every call has one record, and all is given
// back.
func TestWhoeverCallsWhomNobodyIsJoinedWithAWrongOne(t *testing.T) {
	people := []e164.Number{alice, bob, carol, dave}
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			do    string
			who   int
			leg   int
			event Event
			burst bool
		}
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			s := step{do: rapid.SampledFrom([]string{"call", "call", "call", "caller", "callee", "wait", "end"}).Draw(t, "do"),
				who: rapid.IntRange(0, 3).Draw(t, "who"), leg: rapid.IntRange(0, 7).Draw(t, "leg"), event: anyEvent.Draw(t, "event"), burst: rapid.Bool().Draw(t, "burst")}
			s.event.Kind %= EvPlayed
			return s
		}), 1, 25).Draw(rt, "steps")
		ring := rapid.SampledFrom(masking.RingStrategies).Draw(rt, "ring")
		fault := ""
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob, carol)
			f.director.route.Tenant.Settings.Ring = ring
			f.director.route.Found[0].From = []e164.Number{alice, dave}
			for _, s := range steps {
				switch s.do {
				case "call":
					in := f.invite()
					in.Caller = people[s.who]
					f.Incoming(in)
				case "caller":
					if n := len(f.callers); n > 0 {
						f.callers[s.leg%n].say(s.event)
					}
				case "callee":
					if legs := f.legs(); len(legs) > 0 {
						legs[s.leg%len(legs)].say(s.event)
					}
				case "wait":
					wait(time.Duration(s.who) * 7 * time.Second)
				case "end":
					f.AllocationEnded("gvn_1", s.who == 0)
				}
				if !s.burst {
					synctest.Wait()
				}
			}
			fault = f.finishAll()
			if fault == "" {
				fault = f.wrongTalk()
			}
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// wrongTalk finds a talk of two who are of one side, and calls without one record.
func (f *exchange) wrongTalk() string {
	side := map[e164.Number]int{alice: 0, dave: 0, bob: 1, carol: 1}
	ended := map[masking.CallID]int{}
	talks := map[masking.CallID]bool{}
	for _, r := range f.journal.of(masking.Answered) {
		talks[r.ID] = true
		if side[r.Caller] == side[r.Callee] {
			return "two of one side talk"
		}
	}
	for _, r := range f.journal.of(masking.Ended) {
		ended[r.ID]++
		if ended[r.ID] > 1 || r.Cause == masking.CauseJoined && talks[r.ID] {
			return fmt.Sprintf("call %s ended twice, or talked and was joined", r.ID)
		}
	}
	if n := f.trace.count("note began"); n != len(ended) {
		return fmt.Sprintf("%d calls began and %d ended", n, len(ended))
	}
	if len(f.book.hunting) > 0 {
		return "the book remembers who rings"
	}
	return ""
}
