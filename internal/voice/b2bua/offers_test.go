package b2bua

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// offer lets a leg make an offer.
func (f *exchange) offer(l *fakeLeg, body string) {
	f.tell(l, Event{Kind: EvOffered, Body: []byte(body)})
}

// agree lets a leg answer an offer of ours.
func (f *exchange) agree(l *fakeLeg, body string) {
	f.tell(l, Event{Kind: EvAgreed, Body: []byte(body)})
}

// last is the last of what a leg was told.
func last(t *testing.T, all []string) sdp.Media {
	t.Helper()
	if len(all) == 0 {
		t.Fatal("nothing was said")
	}
	return audioOf(t, all[len(all)-1])
}

// flows fails unless the relay sends to each side, and takes from it, as told.
func (f *exchange) flows(what string, toA, fromA, toB, fromB bool) {
	f.t.Helper()
	a, b := f.session().peer(A), f.session().peer(B)
	if got, want := [4]bool{a.Send, a.Receive, b.Send, b.Receive}, [4]bool{toA, fromA, toB, fromB}; got != want {
		f.t.Errorf("%s: to A, from A, to B, from B: %v, want %v", what, got, want)
	}
}

// hangsUp ends the call.
func (f *exchange) hangsUp() masking.Call {
	f.t.Helper()
	f.tell(f.caller, Event{Kind: EvHungUp})
	return f.ended()
}

// sidesOf are the leg of a side, that of the other, and what they say.
func (f *exchange) sidesOf(s Side) (leg, other *fakeLeg, own, others string) {
	if s == A {
		return f.caller, f.b(1), offerOfA, answerOfB
	}
	return f.b(1), f.caller, answerOfB, offerOfA
}

func TestAHoldIsCarriedToTheOtherSideAndSoIsItsResume(t *testing.T) {
	for _, side := range []Side{A, B} {
		for _, hold := range []struct{ offer, answer string }{
			{"sendonly", "recvonly"}, {"inactive", "inactive"}, {"recvonly", "sendonly"},
		} {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.connect()
				leg, other, own, others := f.sidesOf(side)
				answers := len(leg.answers)
				f.offer(leg, with(own, hold.offer))
				if m := last(t, other.offers); string(m.Direction) != hold.offer || m.Addr != f.session().Local(side.other()) {
					t.Errorf("the other side is offered %s at %v", m.Direction, m.Addr)
				}
				if len(leg.answers) != answers {
					t.Fatal("answered before the other side has")
				}
				f.agree(other, with(others, hold.answer))
				if got := last(t, leg.answers).Direction; string(got) != hold.answer {
					t.Errorf("hold by %v with %s answered %s", side, hold.offer, got)
				}
				wants, speaks := sdp.Direction(hold.offer).Receives(), sdp.Direction(hold.offer).Sends()
				if p := f.session().peer(side); p.Send != wants || p.Receive != speaks {
					t.Errorf("relay towards %v: send %v receive %v", side, p.Send, p.Receive)
				}
				f.offer(leg, own)
				f.agree(other, others)
				if got := last(t, leg.answers).Direction; got != sdp.SendRecv || last(t, other.offers).Direction != sdp.SendRecv {
					t.Errorf("resume answered %s", got)
				}
				f.flows("after the resume", true, true, true, true)
				f.hangsUp()
			})
		}
	}
}

// calls.md §8.11. The answers are those of phones that keep their own hold.
func TestBothHoldAndResumeInEitherOrder(t *testing.T) {
	for _, first := range []Side{A, B} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.connect()
			a, b, ofA, ofB := f.sidesOf(A)
			f.offer(b, with(ofB, "sendonly"))
			f.agree(a, with(ofA, "recvonly"))
			f.offer(a, with(ofA, "sendonly"))
			if got := last(t, b.offers).Direction; got != sdp.SendOnly {
				t.Errorf("B, who holds, is offered %s", got)
			}
			f.agree(b, with(ofB, "inactive"))
			if got := last(t, a.answers).Direction; got != sdp.Inactive {
				t.Errorf("A is answered %s", got)
			}
			f.flows("both hold", false, true, false, false)

			leg, other, own, others := f.sidesOf(first)
			f.offer(leg, own)
			f.agree(other, with(others, "sendonly")) // still holds
			if got := last(t, leg.answers).Direction; got != sdp.SendOnly {
				t.Errorf("who resumes first is answered %s", got)
			}
			f.offer(other, others)
			f.agree(leg, own)
			if got := last(t, other.answers).Direction; got != sdp.SendRecv {
				t.Errorf("who resumes last is answered %s", got)
			}
			f.flows("both have resumed", true, true, true, true)
			f.hangsUp()
		})
	}
}

// RFC 6337 §5.3: many a phone that is on hold offers what was agreed on last.
func TestARefreshByWhoIsOnHoldIsNoHoldOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		f.offer(f.b(1), with(strings.Replace(answerOfB, "50000", "50200", 1), "recvonly"))
		if len(f.caller.offers) != 0 || last(t, f.b(1).answers).Direction != sdp.SendOnly {
			t.Errorf("the refresh was carried: %v", f.trace.all())
		}
		f.offer(f.caller, offerOfA)
		if got := last(t, f.b(1).offers).Direction; got != sdp.SendRecv {
			t.Fatalf("the resume is carried as %s", got)
		}
		f.agree(f.b(1), answerOfB)
		f.flows("after the resume", true, true, true, true)
		f.hangsUp()
	})
}

func TestAHoldThatTheOtherSideRefusesHoldsTheRelayAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.tell(f.b(1), Event{Kind: EvDeclined})
		if got := last(t, f.caller.answers).Direction; got != sdp.RecvOnly || f.caller.refused != 0 {
			t.Errorf("the hold is answered %s", got)
		}
		f.flows("held", false, true, true, true)
		f.offer(f.caller, offerOfA)
		if len(f.b(1).offers) != 1 { // who was never told of the hold need not hear of its end
			t.Error("the resume was carried")
		}
		f.flows("resumed", true, true, true, true)
		f.hangsUp()
	})
}

func TestWhatIsBetweenASideAndUsIsNotCarried(t *testing.T) {
	for name, body := range map[string]string{
		"a new port":                 strings.Replace(offerOfA, "40000", "41000", 1),
		"the same again":             offerOfA,
		"the other law":              strings.Replace(offerOfA, "AVP 8 0 101", "AVP 0 101", 1),
		"fewer codecs":               strings.Replace(offerOfA, "AVP 8 0 101", "AVP 8", 1),
		"another order":              strings.Replace(offerOfA, "AVP 8 0 101", "AVP 0 8 101", 1),
		"other packet times":         offerOfA + "a=ptime:40\r\n",
		"a picture":                  offerOfA + "m=video 40002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
		"another payload number":     strings.ReplaceAll(offerOfA, "101", "98"),
		"a codec nobody knows first": strings.Replace(offerOfA, "AVP 8", "AVP 99 8", 1) + "a=rtpmap:99 SILK/24000\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newExchange(t, bob)
				f.connect()
				f.offer(f.caller, body)
				if len(f.b(1).offers) != 0 || len(f.caller.answers) != 2 {
					t.Errorf("%v", f.trace.all())
				}
				f.flows("now", true, true, true, true)
				f.hangsUp()
			})
		})
	}
}

func TestACodecThatTheOtherSideLacksIsCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.offer(f.caller, offerOfWords)
		m := last(t, f.b(1).offers)
		if got := codecsOf(m); !slices.Equal(got, []string{"G722"}) || len(f.caller.answers) != 1 {
			t.Fatalf("offered %v: %v", got, f.trace.all())
		}
		f.agree(f.b(1), strings.Replace(offerOfWords, "40000", "50000", 1))
		if got := codecsOf(last(t, f.caller.answers)); !slices.Equal(got, []string{"G722"}) {
			t.Errorf("answered %v", got)
		}
		if a, b := f.session().peer(A), f.session().peer(B); a.Payloads[9] != 9 || b.Payloads[9] != 9 {
			t.Error("the codec is not relayed")
		}
		f.hangsUp()
	})
}

func TestACodecThatIsTakenAwayIsTakenFromTheOtherSideToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.says = strings.Replace(offerOfA, "AVP 8 0 101", "AVP 9 8 101", 1)
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(strings.Replace(answerOfB, "AVP 8 101", "AVP 9 8 101", 1))})
		f.offer(f.caller, strings.Replace(offerOfA, "AVP 8 0 101", "AVP 8 101", 1))
		if got := codecsOf(last(t, f.b(1).offers)); !slices.Equal(got, []string{"PCMA", "telephone-event"}) {
			t.Errorf("offered %v", got)
		}
		f.agree(f.b(1), answerOfB)
		if got := codecsOf(last(t, f.caller.answers)); !slices.Equal(got, []string{"PCMA", "telephone-event"}) {
			t.Errorf("answered %v", got)
		}
		f.hangsUp()
	})
}

func TestARefusedCodecLeavesTheCallAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		f.offer(f.caller, offerOfWords)
		f.tell(f.b(1), Event{Kind: EvDeclined})
		if f.caller.refused != 1 || len(f.caller.answers) != 1 {
			t.Errorf("%v", f.trace.all())
		}
		if a, b := f.session().peer(A), f.session().peer(B); a.Payloads[8] != 8 || b.Payloads[8] != 8 || a.RTP.Port() != 40000 {
			t.Error("the relay has changed")
		}
		f.hangsUp()
	})
}
