package b2bua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// askings bring a call with a PIN to each of its moments.
var askings = []struct {
	name  string
	bring func(*exchange)
	want  masking.Cause // when the caller hangs up then
}{
	{"during the question", func(*exchange) {}, masking.CauseCallerCancelled},
	{"after the question", func(f *exchange) { f.finish(SoundEnterPIN) }, masking.CauseCallerCancelled},
	{"between digits", func(f *exchange) { f.keys("48") }, masking.CauseCallerCancelled},
	{"after a wrong PIN", func(f *exchange) { f.keys(wrongPIN) }, masking.CauseCallerCancelled},
	{"while it is judged", func(f *exchange) {
		f.director.judging = make(chan struct{})
		f.keys(rightPIN)
	}, masking.CauseCallerCancelled},
	{"dialling", func(f *exchange) { f.keys(rightPIN) }, masking.CauseCallerCancelled},
	{"ringing", func(f *exchange) {
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvRinging})
	}, masking.CauseCallerCancelled},
	{"the second number", func(f *exchange) {
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseBusy})
	}, masking.CauseCallerCancelled},
	{"after the answer", func(f *exchange) {
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
	}, masking.CauseCallerHungUp},
	{"hearing that no PIN was right", func(f *exchange) { f.keys(wrongPIN + wrongPIN + wrongPIN) }, masking.CauseRejected},
	{"hearing that nobody answers", func(f *exchange) {
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvFailed, Cause: masking.CauseDeclined})
		f.tell(f.b(2), Event{Kind: EvFailed, Cause: masking.CauseFailed})
	}, masking.CauseDeclined},
}

func TestTheCallerMayHangUpAtAnyMomentOfACallWithAPIN(t *testing.T) {
	for _, c := range askings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.slow = true
				f.call()
				c.bring(f)
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.release()
				synctest.Wait()
				for _, l := range f.legs() {
					if !l.ended() {
						t.Errorf("leg %s goes on", l.name)
					}
					l.vanish()
				}
				if r := f.ended(); r.Cause != c.want || len(f.caller.answers) != 1 || len(f.caller.ends) != 1 {
					t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
				}
			})
		})
	}
}

// His INVITE was answered, so a CANCEL that was under way changes nothing (RFC
// 3261 §9.2).
func TestACancelAfterTheQuestionWasPutIsIgnored(t *testing.T) {
	for _, c := range askings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.call()
				c.bring(f)
				f.tell(f.caller, Event{Kind: EvCancelled})
				if f.Live() != 1 || f.caller.ended() {
					t.Errorf("%v", f.trace.all())
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.release()
				f.ended()
			})
		})
	}
}

func TestACancelBeforeTheQuestionIsPutEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.gate = make(chan struct{})
		f.call()
		f.caller.say(Event{Kind: EvCancelled})
		close(f.director.gate)
		if r := f.ended(); r.Cause != masking.CauseCallerCancelled || len(f.caller.answers) != 0 || f.caller.end() != (Reason{Cause: r.Cause}) {
			t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
		}
	})
}

func TestACallerWhoseLegIsGoneIsNoLongerAsked(t *testing.T) {
	for _, c := range askings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.call()
				c.bring(f)
				f.caller.vanish()
				f.release()
				if r := f.ended(); r.Cause != masking.CauseFailed {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestWhenTheStoreIsAwayAPINIsNotJudged(t *testing.T) {
	for name, prepare := range map[string]func(*exchange){
		"at once":        func(f *exchange) { f.director.away = errors.New("the store is away") },
		"it never tells": func(f *exchange) { f.director.judging = make(chan struct{}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.call()
				prepare(f)
				f.keys(rightPIN)
				if f.director.judging != nil {
					wait(2*time.Second - time.Millisecond)
					f.expect("")
					wait(time.Millisecond)
				}
				f.finish(SoundUnreachable)
				f.denied(masking.RefusedUnavailable)
			})
		})
	}
}

func TestWhenTheStoreIsAwayNobodyIsAnsweredForAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.away = errors.New("the store is away")
		f.call()
		f.denied(masking.RefusedUnavailable)
		if len(f.caller.answers) != 0 || f.media.opened() != 0 {
			t.Errorf("%v", f.trace.all())
		}
	})
}

// The record of a call is its tenant's: nobody else's numbers may come to stand in
// it, though his PIN is right.
func TestAPINOfAnotherTenantOpensNothingInACallThatWasNotHis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.director.mu.Lock()
		f.director.route.Tenant.ID, f.director.route.Number.Tenant, f.director.pins[0].Tenant = "zeta", "zeta", "zeta"
		f.director.mu.Unlock()
		f.keys(rightPIN)
		f.finish(SoundPINFailed)
		f.denied(masking.RefusedPIN)
	})
}

// Callers who may be strangers leave the last ports to those who are let in by
// their number.
func TestWithoutMediaToSpareOnlyThoseWhoAreKnownAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.media.scarce = true
		f.call()
		f.denied(masking.RefusedUnavailable)
		if len(f.caller.answers) != 0 || f.media.opened() != 0 {
			t.Errorf("%v", f.trace.all())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newStranger(t, masking.StrangerPolicy{})
		f.media.scarce = true
		f.call()
		if len(f.caller.early) != 0 || f.media.opened() != 0 || f.announcements.Load() != 0 || !f.caller.ended() {
			t.Errorf("%v", f.trace.all())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.media.scarce = true
		f.call()
		if f.dials() != 1 {
			t.Errorf("%v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.ended()
	})
}

func TestACallerWhoCannotBeSpokenToIsNotAsked(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*exchange, *Invite)
		want    masking.Cause
	}{
		"no offer":  {func(_ *exchange, in *Invite) { in.Offer = nil }, ""},
		"garbage":   {func(_ *exchange, in *Invite) { in.Offer = []byte("hello") }, masking.CauseNoMedia},
		"no G.711":  {func(_ *exchange, in *Invite) { in.Offer = []byte(offerOfWords) }, masking.CauseNoMedia},
		"no relay":  {func(f *exchange, _ *Invite) { f.media.fail = true }, masking.CauseFailed},
		"on hold":   {func(_ *exchange, in *Invite) { in.Offer = []byte(with(offerOfA, "sendonly")) }, ""},
		"G.711 2nd": {func(_ *exchange, in *Invite) { in.Offer = []byte(strings.ReplaceAll(offerOfA, " 8 0", " 9 0")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				in := f.invite()
				c.prepare(f, &in)
				f.Incoming(in)
				synctest.Wait()
				if c.want == "" {
					f.expect(SoundEnterPIN)
					f.tell(f.caller, Event{Kind: EvHungUp})
				}
				r := f.ended()
				if c.want != "" && (r.Cause != c.want || len(f.caller.answers) != 0 || f.caller.end() != (Reason{Cause: c.want})) {
					t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
				}
			})
		})
	}
}

func TestACallerWhoIsAskedMayHoldAndRefresh(t *testing.T) {
	for _, c := range askings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.call()
				c.bring(f)
				if f.director.judging != nil {
					f.caller.say(Event{Kind: EvOffered}) // answered when it is judged
					f.release()
					synctest.Wait()
				} else {
					f.tell(f.caller, Event{Kind: EvOffered})
				}
				f.agree(f.caller, offerOfA) // in his ACK, without which he may make no offer
				f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(with(strings.Replace(offerOfA, "40000", "41000", 1), "sendonly"))})
				if c.name == "after the answer" { // the other side is asked now
					f.agree(f.b(f.dials()), with(answerOfB, "recvonly"))
				}
				f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfWords)})
				if len(f.caller.answers) != 3 || f.caller.refused != 1 {
					t.Fatalf("%d answers, %d refusals", len(f.caller.answers), f.caller.refused)
				}
				// What there is can be turned into either law.
				if got := codecsOf(audioOf(t, f.caller.answers[1])); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) {
					t.Errorf("a refresh got %v", got)
				}
				m := audioOf(t, f.caller.answers[2])
				if m.Direction != sdp.RecvOnly || m.Addr != f.session().Local(A) {
					t.Errorf("hold answered %s from %v", m.Direction, m.Addr)
				}
				if p := f.session().peer(A); p.RTP.Port() != 41000 || p.Send || !p.Receive {
					t.Errorf("the relay sends %v to %v", p.Send, p.RTP)
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.ended()
			})
		})
	}
}

func TestADrainLetsACallerEnterHisPIN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan struct{})
		go func() { f.Drain(ctx); close(done) }()
		synctest.Wait()
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.tell(f.caller, Event{Kind: EvHungUp})
		<-done
		if r := f.ended(); r.Cause != masking.CauseCallerHungUp {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAfterTheDrainDeadlineNobodyIsAskedOrTold(t *testing.T) {
	for _, c := range askings {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.call()
				c.bring(f)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				f.Drain(ctx)
				want := masking.CauseShutdown
				if strings.HasPrefix(c.name, "hearing") { // what the call came to is known
					want = c.want
				}
				if f.director.judging != nil {
					want = masking.CauseRejected // the store did not tell in time
				}
				if r := f.ended(); r.Cause != want {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestAnAllocationThatEndsWhileItsPINIsJudgedRingsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.judging = make(chan struct{})
		f.call()
		f.keys(rightPIN) // the store has read what opens; then:
		f.AllocationEnded("gp_1", false)
		f.AllocationEnded("gp_2", true)
		close(f.director.judging)
		synctest.Wait()
		f.finish(SoundUnreachable)
		r := f.ended()
		if r.Cause != masking.CauseAllocationEnded || r.Refusal != "" || f.dials() != 0 || f.caller.end() != (Reason{Cause: r.Cause}) {
			t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
		}
	})
}

func TestAnAllocationThatEndsTakesItsCallersAlongUntilTheyTalk(t *testing.T) {
	for _, c := range askings {
		for _, terminate := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newGreenPin(t, bob, carol)
					f.call()
					c.bring(f)
					f.release()
					synctest.Wait()
					f.AllocationEnded("gp_1", terminate)
					synctest.Wait()
					rings := f.dials() > 0 && !strings.HasPrefix(c.name, "hearing") && c.name != "after the answer"
					heard := strings.HasPrefix(c.name, "hearing that nobody") && terminate
					talks := c.name == "after the answer" && terminate
					if ends := f.Live() == 0; ends != (rings || heard || talks) {
						t.Fatalf("%v", f.trace.all())
					}
					f.caller.say(Event{Kind: EvHungUp})
					if r := f.ended(); (rings || talks) != (r.Cause == masking.CauseAllocationEnded) {
						t.Errorf("record %+v", r)
					}
				})
			})
		}
	}
}

func TestWhenNobodyAnswersTheCallerHearsWhyAndIsHungUpOn(t *testing.T) {
	for _, c := range []struct {
		causes []masking.Cause
		sound  Sound
		after  time.Duration // for a sound that does not end by itself
		want   masking.Cause
	}{
		{[]masking.Cause{masking.CauseBusy, masking.CauseFailed}, ToneBusy, 4 * time.Second, masking.CauseBusy},
		{[]masking.Cause{masking.CauseDeclined, masking.CauseFailed}, SoundUnreachable, 0, masking.CauseDeclined},
		{[]masking.Cause{masking.CauseNoAnswer, masking.CauseNoAnswer}, SoundUnreachable, 0, masking.CauseNoAnswer},
	} {
		t.Run(string(c.want), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob, carol)
				f.slow = true
				f.call()
				f.keys(rightPIN)
				for i, cause := range c.causes {
					f.tell(f.b(i+1), Event{Kind: EvFailed, Status: 480, Cause: cause})
					f.b(i + 1).vanish() // the last one while the caller hears why
					synctest.Wait()
				}
				// What the last attempt still says is about a call that is decided.
				f.tell(f.b(2), Event{Kind: EvHungUp})
				f.tell(f.b(2), Event{Kind: EvBlocked})
				if c.after == 0 {
					f.finish(c.sound)
				} else {
					wait(c.after - time.Millisecond)
					f.expect(c.sound)
					wait(time.Millisecond)
				}
				if r := f.ended(); r.Cause != c.want || f.caller.end() != (Reason{Cause: c.want}) || r.Refusal != "" {
					t.Errorf("record %+v, caller told %+v", r, f.caller.ends)
				}
			})
		})
	}
}

// Three numbers of 20 s use up the whole minute: the last one's time and the
// total end in one moment, in any order.
func TestTheCallerHearsWhyThoughHisTimeIsUpInTheSameMoment(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			f := newGreenPin(t, bob, carol, dave)
			f.call()
			f.keys(rightPIN)
			wait(time.Minute)
			f.finish(SoundUnreachable)
			if r := f.ended(); r.Cause != masking.CauseNoAnswer || len(r.Attempts) != 3 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestWordsThatDoNotEndAreCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		f.keys(wrongPIN + wrongPIN + wrongPIN)
		wait(20*time.Second - time.Millisecond)
		f.expect(SoundPINFailed)
		wait(time.Millisecond)
		f.denied(masking.RefusedPIN)
	})
}

func TestTwoPhonesOfAnAllocationWithPINsMayNotNameEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		caller        e164.Number
		from          []e164.Number
		callers, rung []e164.Number // hidden
	}{
		"a party":          {alice, []e164.Number{alice, dave}, []e164.Number{dave, bob}, []e164.Number{alice, dave}},
		"from elsewhere":   {erin, []e164.Number{bob}, []e164.Number{bob, carol}, []e164.Number{carol, erin}},
		"number withheld":  {e164.Number{}, []e164.Number{bob}, []e164.Number{bob, carol}, []e164.Number{carol}},
		"the other side's": {bob, []e164.Number{carol}, []e164.Number{carol}, []e164.Number{bob}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.director.pins[0].From = c.from
				if c.caller == erin || c.caller.IsZero() {
					f.director.pins[0].To = []e164.Number{carol}
				}
				in := f.invite()
				in.Caller = c.caller
				f.Incoming(in)
				synctest.Wait()
				f.keys(rightPIN)
				if got := f.caller.hidden; !slices.Equal(got, c.callers) {
					t.Errorf("the caller's leg hides %v, want %v", masking.Texts(got), masking.Texts(c.callers))
				}
				if got := f.b(1).hidden; !slices.Equal(got, c.rung) {
					t.Errorf("the other hides %v, want %v", masking.Texts(got), masking.Texts(c.rung))
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.ended()
			})
		})
	}
}

// Somebody who takes two minutes for his PIN must not hold what ends meanwhile.
func TestACallerWhoIsAskedKeepsNoListOfWhatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.call()
		for range 2 {
			for i := range 100 {
				f.AllocationEnded(masking.AllocationID(fmt.Sprint("gvn_", i)), false)
			}
			for _, ended := range f.book.routing {
				t.Errorf("%d ends are kept for a call", len(ended))
			}
			f.keys(wrongPIN)
		}
		f.keys(rightPIN)
		if f.dials() != 1 {
			t.Errorf("%v", f.trace.all())
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
		if len(f.book.routing)+len(f.book.of) != 0 {
			t.Errorf("left: %v, %v", f.book.routing, f.book.of)
		}
	})
}

func TestARightPINForWhichThereIsNoPlaceIsAnsweredWithBusyTone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.director.full = true
		f.call()
		f.keys(rightPIN)
		f.expect(ToneBusy)
		wait(busyTotal)
		f.denied(masking.RefusedAllocationLimit)
	})
}
