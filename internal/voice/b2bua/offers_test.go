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

// offered fails unless the last offer to a leg has a direction.
func (f *exchange) offered(l *fakeLeg, want sdp.Direction) {
	f.t.Helper()
	if got := last(f.t, l.offers).Direction; got != want {
		f.t.Errorf("%s is offered %s, want %s: %v", l.name, got, want, f.trace.all())
	}
}

// answered fails unless the last answer to a leg has a direction.
func (f *exchange) answered(l *fakeLeg, want sdp.Direction) {
	f.t.Helper()
	if got := last(f.t, l.answers).Direction; got != want {
		f.t.Errorf("%s is answered %s, want %s: %v", l.name, got, want, f.trace.all())
	}
}

// talking runs a test in a call whose sides talk, and hangs up.
func talking(t *testing.T, test func(t *testing.T, f *exchange)) {
	t.Helper()
	inACall(t, (*exchange).connect, test)
}

// talkingBySRTP does so in one whose sides both have keys.
func talkingBySRTP(t *testing.T, test func(t *testing.T, f *exchange)) {
	t.Helper()
	inACall(t, (*exchange).connectKeyed, test)
}

func inACall(t *testing.T, connect func(*exchange), test func(t *testing.T, f *exchange)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		connect(f)
		test(t, f)
		f.hangsUp()
	})
}

func TestAHoldIsCarriedToTheOtherSideAndSoIsItsResume(t *testing.T) {
	for _, side := range []Side{A, B} {
		for _, hold := range []struct{ offer, answer string }{
			{"sendonly", "recvonly"}, {"inactive", "inactive"}, {"recvonly", "sendonly"},
		} {
			talking(t, func(t *testing.T, f *exchange) {
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
			})
		}
	}
}

// The answers are those of phones that keep their own hold.
func TestBothHoldAndResumeInEitherOrder(t *testing.T) {
	for _, first := range []Side{A, B} {
		talking(t, func(t *testing.T, f *exchange) {
			a, b, ofA, ofB := f.sidesOf(A)
			f.offer(b, with(ofB, "sendonly"))
			f.agree(a, with(ofA, "recvonly"))
			f.offer(a, with(ofA, "sendonly"))
			f.offered(b, sdp.SendOnly)
			f.agree(b, with(ofB, "inactive"))
			f.answered(a, sdp.Inactive)
			f.flows("both hold", false, true, false, false)

			leg, other, own, others := f.sidesOf(first)
			f.offer(leg, own)
			f.agree(other, with(others, "sendonly")) // still holds
			f.answered(leg, sdp.SendOnly)
			f.offer(other, others)
			f.agree(leg, own)
			f.answered(other, sdp.SendRecv)
			f.flows("both have resumed", true, true, true, true)
		})
	}
}

// RFC 6337 §5.3: many a phone that is on hold offers what was agreed on last.
func TestARefreshByWhoIsOnHoldIsNoHoldOfItsOwn(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		f.offer(f.b(1), with(strings.Replace(answerOfB, "50000", "50200", 1), "recvonly"))
		if len(f.caller.offers) != 0 || last(t, f.b(1).answers).Direction != sdp.SendOnly {
			t.Errorf("the refresh was carried: %v", f.trace.all())
		}
		f.offer(f.caller, offerOfA)
		f.offered(f.b(1), sdp.SendRecv)
		f.agree(f.b(1), answerOfB)
		f.flows("after the resume", true, true, true, true)
	})
}

func TestAHoldThatTheOtherSideRefusesHoldsTheRelayAlone(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
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
			talking(t, func(t *testing.T, f *exchange) {
				f.offer(f.caller, body)
				if len(f.b(1).offers) != 0 || len(f.caller.answers) != 2 {
					t.Errorf("%v", f.trace.all())
				}
				f.flows("now", true, true, true, true)
			})
		})
	}
}

func TestACodecThatTheOtherSideLacksIsCarried(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
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
	})
}

func TestACodecThatIsTakenAwayIsTakenFromTheOtherSideToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.says = strings.Replace(offerOfA, "AVP 8 0 101", "AVP 9 8 101", 1)
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(strings.Replace(answerOfB, "AVP 8 101", "AVP 9 8 101", 1))})
		f.offer(f.caller, strings.Replace(offerOfA, "AVP 8 0 101", "AVP 8 101", 1))
		if got := codecsOf(last(t, f.b(1).offers)); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) {
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
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, offerOfWords)
		f.tell(f.b(1), Event{Kind: EvDeclined})
		if f.caller.refused != 1 || len(f.caller.answers) != 1 {
			t.Errorf("%v", f.trace.all())
		}
		if a, b := f.session().peer(A), f.session().peer(B); a.Payloads[8] != 8 || b.Payloads[8] != 8 || a.RTP.Port() != 40000 {
			t.Error("the relay has changed")
		}
	})
}

func TestOffersThatCrossAreAnsweredWithEachOther(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.offer(f.b(1), with(strings.Replace(answerOfB, "50000", "50200", 1), "sendonly")) // ours met it and got 491
		for _, l := range []*fakeLeg{f.caller, f.b(1)} {
			if got := last(t, l.answers).Direction; got != sdp.Inactive {
				t.Errorf("%s is answered %s", l.name, got)
			}
		}
		f.flows("both hold", false, true, false, true)
		if got := f.session().peer(B).RTP.Port(); got != 50200 {
			t.Errorf("media goes to port %d", got)
		}
		f.offer(f.caller, offerOfA)
		f.agree(f.b(1), with(answerOfB, "sendonly"))
		f.offer(f.b(1), answerOfB)
		f.agree(f.caller, offerOfA)
		f.flows("both have resumed", true, true, true, true)
	})
}

func TestAnOfferThatCrossesOursAndCannotBeReadLosesNobodysOffer(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.offer(f.b(1), "?")
		if got := last(t, f.caller.answers).Direction; got != sdp.RecvOnly || f.b(1).refused != 1 {
			t.Errorf("the hold is answered %s: %v", got, f.trace.all())
		}
	})
}

func TestAReinviteWithoutOfferThatCrossesOursIsGivenOurs(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.offer(f.b(1), "")
		if f.b(1).answers[0] != f.b(1).offers[0] || len(f.caller.answers) != 1 {
			t.Errorf("%v", f.trace.all())
		}
		f.agree(f.b(1), with(answerOfB, "recvonly")) // in its ACK
		f.answered(f.caller, sdp.RecvOnly)
	})
}

func TestAnOfferThatIsTakenBackIsUndoneOnTheOtherSide(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.tell(f.caller, Event{Kind: EvWithdrawn})
		if f.caller.refused != 0 {
			t.Fatal("the next offer of his would be taken before this one is through")
		}
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		if got := last(t, f.b(1).offers); got.Direction != sdp.SendRecv || len(f.b(1).offers) != 2 || f.caller.refused != 1 {
			t.Errorf("the other side is offered %s: %v", got.Direction, f.trace.all())
		}
		f.agree(f.b(1), answerOfB)
		f.flows("nobody holds", true, true, true, true)
		if len(f.caller.answers) != 1 {
			t.Error("what was taken back was answered")
		}
	})
}

func TestAnOfferWaitsForOneThatIsOut(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")                         // he is made an offer
		f.agree(f.caller, with(offerOfA, "sendonly")) // and holds with its answer, of which B is told now
		f.offer(f.caller, offerOfA)
		if len(f.b(1).offers) != 1 || len(f.caller.answers) != 2 {
			t.Fatalf("%v", f.trace.all())
		}
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		f.offered(f.b(1), sdp.SendRecv)
		f.agree(f.b(1), answerOfB)
		f.answered(f.caller, sdp.SendRecv)
	})
}

func TestAWaitingOfferThatIsTakenBackIsForgotten(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")
		f.agree(f.caller, with(offerOfA, "sendonly"))
		f.offer(f.caller, offerOfA)
		f.tell(f.caller, Event{Kind: EvWithdrawn})
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		if len(f.b(1).offers) != 1 || len(f.caller.answers) != 2 || f.caller.refused != 1 {
			t.Errorf("%v", f.trace.all())
		}
	})
}

// A delayed offer, RFC 3261 §13.2.1.
func TestADelayedOfferIsACallLikeAnyOther(t *testing.T) {
	for _, record := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newExchange(t, bob)
			f.says, f.director.route.Found[0].Record = "", record
			f.call()
			if got := codecsOf(audioOf(t, string(f.b(1).dial.Offer))); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) {
				t.Errorf("the callee is offered %v", got)
			}
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
			m := last(t, f.caller.answers)
			if got := codecsOf(m); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) || m.Addr != f.session().Local(A) {
				t.Errorf("the caller is offered %v at %v", got, m.Addr)
			}
			f.agree(f.caller, strings.Replace(offerOfA, "AVP 8 0 101", "AVP 0 101", 1)) // with his ACK
			f.flows("now", true, true, true, true)
			if a := f.session().peer(A); a.RTP.Port() != 40000 || a.Payloads[8] != 0 || a.Tables[8] == nil {
				t.Error("A-law of the callee's is not turned into the caller's µ-law")
			}
			f.offer(f.caller, with(offerOfA, "sendonly"))
			f.agree(f.b(1), with(answerOfB, "recvonly"))
			f.flows("held", false, true, true, false)
			if r := f.hangsUp(); r.Cause != masking.CauseCallerHungUp || r.TalkTime < 0 {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestADelayedOfferWithoutAnAnswerEndsTheCall(t *testing.T) {
	for name, e := range map[string]Event{"none": {Kind: EvDeclined}, "garbage": {Kind: EvAgreed, Body: []byte("?")},
		"nothing in common": {Kind: EvAgreed, Body: []byte(offerOfWords)}} {
		for k, start := range map[kind]func(f *exchange){
			routed: func(f *exchange) { f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)}) },
			asked:  func(*exchange) {},
		} {
			t.Run(name+" "+string(k), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newKind(t, k)
					f.says = ""
					f.call()
					start(f)
					f.tell(f.caller, e)
					if r := f.ended(); r.Cause != masking.CauseNoMedia {
						t.Errorf("record %+v", r)
					}
				})
			})
		}
	}
}

func TestADelayedOfferOfACallerWhoIsAskedIsAnsweredBeforeHeHearsTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGreenPin(t, bob)
		f.says = ""
		f.call()
		if got := codecsOf(last(t, f.caller.answers)); !slices.Equal(got, []string{"PCMA", "PCMU", "telephone-event"}) {
			t.Errorf("offered %v", got)
		}
		f.agree(f.caller, strings.Replace(offerOfA, "AVP 8 0 101", "AVP 0 101", 1))
		if p := f.session().peer(A); p.RTP.Port() != 40000 || p.Voice != 0 || p.Events != 101 {
			t.Errorf("spoken to with %d, keys %d", p.Voice, p.Events)
		}
		f.keys(rightPIN)
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.flows("talking", true, true, true, true)
		f.hangsUp()
	})
}

func TestAStrangerWithADelayedOfferIsRefusedWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newStranger(t, masking.StrangerPolicy{Action: masking.Announce})
		f.says = ""
		f.call()
		if len(f.caller.early) != 0 || f.caller.end().Cause != masking.CauseRejected {
			t.Errorf("%v", f.trace.all())
		}
	})
}

// The other side may make an offer before the caller's ACK has come.
func TestAnOfferOfTheCalleeBeforeTheDelayedAnswerIsAnsweredOrWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.says = ""
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.offer(f.b(1), with(answerOfB, "sendonly"))
		if len(f.b(1).answers) != 0 || len(f.caller.offers) != 0 {
			t.Fatalf("%v", f.trace.all())
		}
		f.agree(f.caller, offerOfA) // the ACK
		f.offered(f.caller, sdp.SendOnly)
		f.agree(f.caller, with(offerOfA, "recvonly"))
		f.answered(f.b(1), sdp.RecvOnly)
		f.hangsUp()
	})
}

func TestAReinviteWithoutOfferGetsAllThatTheOtherSideHas(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		f.offer(f.caller, "")
		if m := last(t, f.caller.answers); m.Direction != sdp.SendRecv || !slices.Equal(codecsOf(m), []string{"PCMA", "PCMU", "telephone-event"}) {
			t.Errorf("offered %v %s", codecsOf(m), m.Direction)
		}
		if len(f.b(1).offers) != 1 {
			t.Error("the other side was asked")
		}
		f.agree(f.caller, offerOfA) // which is a resume
		f.offered(f.b(1), sdp.SendRecv)
		f.agree(f.b(1), answerOfB)
		f.flows("after the resume", true, true, true, true)
		f.offer(f.caller, "")
		f.tell(f.caller, Event{Kind: EvDeclined}) // an ACK that owes its answer changes nothing
		f.flows("after a wrong ACK", true, true, true, true)
	})
}

// A recording is made of G.711, and so is a call whose caller was spoken to.
func TestACallThatIsBoundToG711IsNotTakenFromIt(t *testing.T) {
	for _, k := range []kind{taped, asked} {
		synctest.Test(t, func(t *testing.T) {
			f := newRinging(t, k)
			f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
			for _, l := range []*fakeLeg{f.caller, f.b(1)} {
				answers := len(l.answers)
				f.offer(l, offerOfWords)
				if l.refused != 1 {
					t.Errorf("%s, %s: %v", k, l.name, f.trace.all())
				}
				f.offer(l, strings.Replace(offerOfA, "AVP 8", "AVP 9 8", 1))
				if got := codecsOf(last(t, l.answers)); len(l.answers) != answers+1 || slices.Contains(got, "G722") {
					t.Errorf("%s, %s is answered %v", k, l.name, got)
				}
			}
			if len(f.caller.offers)+len(f.b(1).offers) != 0 {
				t.Errorf("%s: carried: %v", k, f.trace.all())
			}
			f.hangsUp()
		})
	}
}

// RFC 3264 §8. What was offered and refused has used its version, too.
func TestTheVersionOfAnOfferRisesWhenAndOnlyWhenTheDescriptionChanges(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		b := f.b(1)
		f.offer(f.caller, with(offerOfA, "sendonly"))                                       // 1 to B
		f.agree(b, with(answerOfB, "recvonly"))                                             // 1 to A
		f.offer(f.caller, with(offerOfA, "sendonly"))                                       // 1 to A, a refresh
		f.offer(f.caller, offerOfA)                                                         // 2 to B
		f.tell(b, Event{Kind: EvDeclined})                                                  // 2 to A
		f.offer(f.caller, with(offerOfA, "inactive"))                                       // 3 to B
		f.agree(b, with(answerOfB, "inactive"))                                             // 3 to A
		f.offer(b, with(strings.Replace(answerOfB, "50000", "50200", 1), "inactive"))       // 3 to B
		f.offer(f.caller, strings.Replace(with(offerOfA, "inactive"), "40000", "41000", 1)) // 3 to A
		for _, said := range []struct {
			what string
			all  []string
			want string
		}{{"answers to A", f.caller.answers, "0 1 1 2 3 3"}, {"offers to B", append([]string{string(b.dial.Offer)}, b.offers...), "0 1 2 3"},
			{"answers to B", b.answers, "4"}} {
			id, _ := origin(t, said.all[0])
			var versions []string
			for _, body := range said.all {
				same, v := origin(t, body)
				if same != id {
					t.Errorf("%s: another session id", said.what)
				}
				versions = append(versions, v)
			}
			if got := strings.Join(versions, " "); got != said.want {
				t.Errorf("%s have versions %s, want %s", said.what, got, said.want)
			}
		}
	})
}

// RFC 3264 §8.3.2: a payload number means the same as long as the session lasts,
// and a description has as many streams as the one before.
func TestAnOfferKeepsTheNumbersAndStreamsOfTheSideItGoesTo(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		b := f.b(1)
		f.offer(b, strings.ReplaceAll(answerOfB, "101", "96")+"m=video 50002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n")
		f.offer(f.caller, "v=0\r\no=alice 7 8 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\n"+
			"m=audio 40000 RTP/AVP 96 8 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n")
		m := last(t, b.offers)
		var numbers []uint8
		for _, n := range m.Formats {
			numbers = append(numbers, n.Payload)
		}
		if got := codecsOf(m); !slices.Equal(got, []string{"opus", "PCMA", "PCMU", "telephone-event"}) || !slices.Equal(numbers, []uint8{97, 8, 0, 101}) {
			t.Errorf("offered %v as %v", got, numbers)
		}
		if d, _ := sdp.Parse([]byte(b.offers[0])); len(d.Media) != 2 || d.Media[1].Addr.Port() != 0 {
			t.Errorf("offered %d streams", len(d.Media))
		}
		f.agree(b, answerOfB)
	})
}
