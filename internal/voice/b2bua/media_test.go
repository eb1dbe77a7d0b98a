package b2bua

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

func with(body, direction string) string {
	return strings.Replace(body, "a=sendrecv", "a="+direction, 1)
}

func TestTheOfferAndTheAnswerAreAnchoredToOurRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		s := f.media.sessions[0]
		offer, answer := string(f.b(1).dial.Offer), f.caller.answers[0]
		if got := audioOf(t, offer).Addr; got != s.Local(B) {
			t.Errorf("the callee is told %v", got)
		}
		if got := audioOf(t, answer).Addr; got != s.Local(A) {
			t.Errorf("the caller is told %v", got)
		}
		for _, foreign := range []string{"198.51.100.10", "203.0.113.20", "alice", "bob"} {
			if strings.Contains(offer+answer, foreign) {
				t.Errorf("%q crossed", foreign)
			}
		}
		a, b := s.peer(A), s.peer(B)
		if a.RTP.String() != "198.51.100.10:40000" || b.RTP.String() != "203.0.113.20:50000" {
			t.Errorf("media goes to %v and %v", a.RTP, b.RTP)
		}
		if a.RTCP.Port() != 40001 || b.RTCP.Port() != 50001 || !a.Send || !a.Receive || !b.Send || !b.Receive {
			t.Errorf("peers %+v %+v", a.RTCP, b.RTCP)
		}
		if a.Payloads[8] != 8 || a.Payloads[101] != 101 || a.Payloads[0] != sdp.Unmapped && a.Payloads[0] != 0 || a.Clocks[8] != 8000 {
			t.Errorf("payloads to A: 8→%d 101→%d 0→%d", a.Payloads[8], a.Payloads[101], a.Payloads[0])
		}
		idA, _ := origin(t, answer)
		idB, _ := origin(t, offer)
		if idA == idB {
			t.Error("both legs have one session id")
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestPayloadNumbersAreRewrittenWhereTheLegsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(strings.ReplaceAll(answerOfB, "101", "96"))})
		s := f.media.sessions[0]
		// B was offered 101 and has to send that; many phones send their own.
		if s.peer(A).Payloads[101] != 101 || s.peer(A).Payloads[96] != 101 || s.peer(B).Payloads[101] != 96 {
			t.Errorf("to A 101→%d 96→%d, to B 101→%d", s.peer(A).Payloads[101], s.peer(A).Payloads[96], s.peer(B).Payloads[101])
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestAnAnswerThatCannotBeCarriedEndsTheCall(t *testing.T) {
	for name, body := range map[string]string{"none": "", "garbage": "?", "refused": strings.Replace(answerOfB, "50000", "0", 1),
		"another codec": offerOfWords} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.call()
				f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(body)})
				r := f.ended()
				if r.Cause != masking.CauseFailed || !r.AnsweredAt.IsZero() || len(f.caller.answers) != 0 || !f.b(1).ended() {
					t.Errorf("record %+v", r)
				}
			})
		})
	}
}

func TestACallThatBeginsOnHoldIsHeardAfterTheResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		in := f.invite()
		in.Offer = []byte(with(offerOfA, "sendonly"))
		f.Incoming(in)
		synctest.Wait()
		if got := audioOf(t, string(f.b(1).dial.Offer)).Direction; got != sdp.SendRecv {
			t.Errorf("the callee is offered %s", got)
		}
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		if got := audioOf(t, f.caller.answers[0]).Direction; got != sdp.RecvOnly {
			t.Errorf("the caller is answered %s", got)
		}
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfA)})
		for _, side := range []Side{A, B} {
			if p := f.media.sessions[0].peer(side); !p.Send || !p.Receive {
				t.Errorf("no media towards %v", side)
			}
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestANewPortIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(strings.Replace(answerOfB, "50000", "50200", 1))})
		if got := f.media.sessions[0].peer(B).RTP.Port(); got != 50200 {
			t.Errorf("media goes to port %d", got)
		}
		if got := f.media.sessions[0].peer(A).RTP.Port(); got != 40000 {
			t.Errorf("the other side moved to port %d", got)
		}
		f.tell(f.caller, Event{Kind: EvHungUp})
		f.ended()
	})
}

func TestAnOfferBeforeTheAnswerOrAfterTheEndIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.slow = true
		f.call()
		f.tell(f.caller, Event{Kind: EvOffered, Body: []byte(offerOfA)})
		f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(answerOfB)})
		if f.caller.refused != 1 || f.b(1).refused != 1 {
			t.Errorf("before: %d, %d", f.caller.refused, f.b(1).refused)
		}
		f.tell(f.caller, Event{Kind: EvCancelled})
		f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(answerOfB)})
		if f.b(1).refused != 2 {
			t.Errorf("after: %d", f.b(1).refused)
		}
		f.b(1).vanish()
		f.ended()
	})
}

func TestACallInWhichNobodyIsEverHeardEndsAfterThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		wait(29 * time.Second)
		if f.Live() != 1 {
			t.Fatal("ended too early")
		}
		wait(time.Second)
		if r := f.ended(); r.Cause != masking.CauseMediaTimeout || r.TalkTime != 30*time.Second {
			t.Errorf("record %+v", r)
		}
	})
}

func TestEarlyMediaIsNoTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.director.route.Tenant.Settings.RingEach = 2 * time.Minute
		f.director.route.Tenant.Settings.RingTotal = 2 * time.Minute
		f.call()
		f.media.sessions[0].hear(B)
		wait(70 * time.Second)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		wait(29 * time.Second)
		if f.Live() != 1 {
			t.Fatal("ended too early")
		}
		wait(time.Second)
		if r := f.ended(); r.Cause != masking.CauseMediaTimeout || r.TalkTime != 30*time.Second {
			t.Errorf("record %+v", r)
		}
	})
}

func TestOneSideHeardIsEnoughAndBothSilentForAMinuteIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		for range 10 {
			wait(20 * time.Second)
			f.media.sessions[0].hear(B)
		}
		wait(59 * time.Second)
		if f.Live() != 1 {
			t.Fatal("ended too early")
		}
		wait(5 * time.Second)
		if r := f.ended(); r.Cause != masking.CauseMediaTimeout {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAHeldCallOfTwoDeadPhonesEndsAfterTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.offer(f.b(1), with(answerOfB, "inactive"))
		f.agree(f.caller, with(offerOfA, "inactive"))
		wait(2*time.Hour - time.Minute)
		if f.Live() != 1 {
			t.Fatal("the held call ended")
		}
		wait(2 * time.Minute)
		if r := f.ended(); r.Cause != masking.CauseMediaTimeout {
			t.Errorf("record %+v", r)
		}
	})
}

func TestAHeldCallSurvivesTenMinutesAndTheMomentOfItsResume(t *testing.T) {
	for _, heard := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			if heard {
				f.media.sessions[0].hear(A)
			}
			f.offer(f.b(1), with(answerOfB, "inactive"))
			f.agree(f.caller, with(offerOfA, "inactive"))
			wait(10*time.Minute + 4*time.Second)
			if f.Live() != 1 {
				t.Fatal("the held call ended")
			}
			f.offer(f.b(1), answerOfB)
			f.agree(f.caller, offerOfA)
			wait(29 * time.Second)
			if f.Live() != 1 {
				t.Fatal("the call ended right after its resume")
			}
			// A refresh that changes nothing is no sign of life.
			f.tell(f.b(1), Event{Kind: EvOffered, Body: []byte(answerOfB)})
			wait(36 * time.Second)
			if r := f.ended(); r.Cause != masking.CauseMediaTimeout {
				t.Errorf("record %+v", r)
			}
		})
	}
}
