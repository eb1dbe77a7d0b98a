package b2bua

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// unsay lets a leg take its offer back.
func (f *exchange) unsay(l *fakeLeg) { f.tell(l, Event{Kind: EvWithdrawn}) }

func elsewhere(body string) string {
	return strings.NewReplacer("40000", "41000", "50000", "51000").Replace(body)
}

func TestAnOfferThatIsTakenBackAsItIsAnsweredChangesNothing(t *testing.T) {
	for _, side := range []Side{A, B} {
		talking(t, func(t *testing.T, f *exchange) {
			leg, other, own, others := f.sidesOf(side)
			before := f.session().peer(side).RTP
			f.offer(leg, elsewhere(own))
			f.unsay(leg)
			if got := f.session().peer(side).RTP; got != before {
				t.Errorf("the relay sends to %v, not to %v", got, before)
			}
			f.offer(leg, elsewhere(own))
			f.offer(leg, "?")
			f.unsay(leg) // what was refused
			if got := f.session().peer(side).RTP.Port(); got != before.Port()+1000 {
				t.Errorf("the relay sends to port %d", got)
			}
			f.offer(leg, with(own, "sendonly")) // and the next is one as any other
			f.agree(other, with(others, "recvonly"))
			f.unsay(leg)
			if got := last(t, other.offers).Direction; got != sdp.SendRecv || len(other.offers) != 2 {
				t.Errorf("the other side is offered %s: %v", got, f.trace.all())
			}
			f.agree(other, others)
			f.flows("nobody holds", true, true, true, true)
			f.unsay(leg) // of nothing
			if len(other.offers) != 2 || len(leg.offers) != 0 {
				t.Errorf("%v", f.trace.all())
			}
		})
	}
}

func TestAReinviteWithoutOfferThatIsTakenBackWaitsForNoACK(t *testing.T) {
	for _, side := range []Side{A, B} {
		talking(t, func(t *testing.T, f *exchange) {
			leg, other, own, others := f.sidesOf(side)
			f.offer(leg, "")
			f.offer(other, with(others, "sendonly")) // waits for the ACK
			if len(leg.offers) != 0 {
				t.Fatalf("an offer in another: %v", f.trace.all())
			}
			f.unsay(leg)
			f.offered(leg, sdp.SendOnly)
			f.agree(leg, with(own, "recvonly"))
			f.answered(other, sdp.RecvOnly)
		})
	}
}

func TestAnOfferThatWaitsForAnACKMayBeTakenBack(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")
		f.offer(f.b(1), with(answerOfB, "sendonly"))
		f.unsay(f.b(1))
		f.agree(f.caller, offerOfA)
		if len(f.caller.offers)+len(f.b(1).offers) != 0 || f.b(1).refused != 1 {
			t.Errorf("%v", f.trace.all())
		}
	})
}

func TestAnOfferThatWaitsIsTakenUpBeforeWhatAnACKChanges(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")
		f.offer(f.b(1), with(answerOfB, "sendonly"))
		f.agree(f.caller, with(offerOfA, "sendonly")) // he holds, too
		if got := last(t, f.caller.offers).Direction; got != sdp.SendOnly || len(f.b(1).offers) != 0 {
			t.Fatalf("the caller is offered %s: %v", got, f.trace.all())
		}
		f.agree(f.caller, with(offerOfA, "inactive"))
		f.answered(f.b(1), sdp.Inactive)
	})
}

func TestTwoOffersThatWaitAreAnsweredWithEachOther(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")
		f.offer(f.b(1), with(answerOfB, "sendonly"))
		f.offer(f.caller, with(offerOfA, "sendonly")) // before the ACK is told
		f.agree(f.caller, offerOfA)
		for _, l := range []*fakeLeg{f.caller, f.b(1)} {
			if got := last(t, l.answers).Direction; got != sdp.Inactive || len(l.offers) != 0 {
				t.Errorf("%s is answered %s: %v", l.name, got, f.trace.all())
			}
		}
	})
}

func TestAReinviteThatWasGivenOursAndIsTakenBackIsMadeOursByItself(t *testing.T) {
	for _, both := range []bool{false, true} {
		talking(t, func(t *testing.T, f *exchange) {
			b := f.b(1)
			f.offer(f.caller, with(offerOfA, "sendonly"))
			f.offer(b, "")
			if both {
				f.unsay(f.caller)
			}
			f.unsay(b)
			if both {
				if len(b.offers) != 1 || f.caller.refused != 1 {
					t.Errorf("%v", f.trace.all())
				}
				f.offer(f.caller, with(offerOfA, "sendonly"))
			}
			if got := last(t, b.offers).Direction; got != sdp.SendOnly || len(b.offers) != 2 || f.caller.refused > 1 {
				t.Fatalf("B is offered %s: %v", got, f.trace.all())
			}
			f.agree(b, with(answerOfB, "recvonly"))
			f.answered(f.caller, sdp.RecvOnly)
		})
	}
}

func TestWhatASideTakesBackIsItsOwnOffer(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		b := f.b(1)
		f.offer(b, elsewhere(answerOfB))
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.unsay(b)
		if got := f.session().peer(B).RTP.Port(); got != 50000 {
			t.Errorf("the relay sends to port %d", got)
		}
		f.agree(b, with(answerOfB, "recvonly"))
		if got := last(t, f.caller.answers).Direction; got != sdp.RecvOnly || f.caller.refused != 0 || len(b.offers) != 1 {
			t.Errorf("the hold is answered %s: %v", got, f.trace.all())
		}
		f.flows("held", false, true, true, false)
	})
}

func TestAnOfferThatCrossedOursAndIsTakenBackLeavesOursToBeMade(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		b := f.b(1)
		f.offer(f.caller, with(offerOfA, "sendonly"))
		f.offer(b, with(answerOfB, "sendonly"))
		f.unsay(b)
		f.offered(f.caller, sdp.SendRecv)
		f.agree(f.caller, with(offerOfA, "sendonly"))
		f.offered(b, sdp.SendOnly)
		f.agree(b, with(answerOfB, "recvonly"))
		f.flows("held by the caller", false, true, true, false)
	})
}

// Of a side to which an offer of ours is open, that stands: only what it would be
// without is another thing.
func TestAnOfferThatIsTakenBackWhileOursIsOpenLeavesOursAsItIs(t *testing.T) {
	for _, declined := range []bool{false, true} {
		talking(t, func(t *testing.T, f *exchange) {
			b := f.b(1)
			f.offer(b, strings.Replace(answerOfB, "AVP 8 101", "AVP 8", 1)) // and no keys any more
			f.offer(f.caller, with(offerOfA, "sendonly"))
			f.unsay(b)
			if declined {
				f.tell(b, Event{Kind: EvDeclined})
				if got := f.session().peer(B).Events; got != 101 {
					t.Errorf("B's keys come by %d", got)
				}
			} else {
				f.agree(b, with(answerOfB, "recvonly"))
			}
			f.offer(f.caller, with(offerOfA, "inactive"))
			_, before := origin(t, b.offers[0])
			if _, after := origin(t, b.offers[1]); after <= before {
				t.Errorf("after an offer of version %s comes one of %s", before, after)
			}
		})
	}
}

func TestAPayloadNumberOfAnOfferThatIsTakenBackMeansNothingElse(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.b(1), strings.ReplaceAll(answerOfB, "101", "96"))
		f.unsay(f.b(1))
		f.offer(f.caller, "v=0\r\no=alice 7 8 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\n"+
			"m=audio 40000 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n")
		if m := last(t, f.b(1).offers); m.Formats[0].Codec != "opus" || m.Formats[0].Payload != 97 {
			t.Errorf("offered %v", m.Formats)
		}
	})
}

// An ACK is older than the offer that overtakes it.
func TestAnOfferThatOvertakesAnACKIsTakenUpAfterIt(t *testing.T) {
	talking(t, func(t *testing.T, f *exchange) {
		f.offer(f.caller, "")
		f.offer(f.caller, elsewhere(offerOfA))
		f.agree(f.caller, offerOfA)
		if got := f.session().peer(A).RTP.Port(); got != 41000 || len(f.caller.answers) != 3 {
			t.Errorf("the relay sends to port %d: %v", got, f.trace.all())
		}
	})
}

func TestACallWhoseCallerAnswersWithNothingMakesHimNoOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.says = ""
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)})
		f.offer(f.b(1), with(answerOfB, "sendonly"))
		f.tell(f.caller, Event{Kind: EvDeclined})
		if r := f.ended(); r.Cause != masking.CauseNoMedia || len(f.caller.offers) != 0 {
			t.Errorf("record %+v: %v", r, f.trace.all())
		}
	})
}

func TestAfterARestartNobodyIsAskedBeforeAnACKHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob)
		f.connect()
		g := f.restarted(time.Second, false)
		g.offer(g.caller, "") // in place of ours
		if len(g.callee.offers) != 0 {
			t.Fatalf("%v", g.trace.all())
		}
		g.agree(g.caller, with(offerOfA, "sendonly"))
		f.offered(g.callee, sdp.SendOnly)
		g.agree(g.callee, with(answerOfB, "recvonly"))
		g.flows("held", false, true, true, false)
		g.tell(g.caller, Event{Kind: EvHungUp})
		g.over(masking.CauseCallerHungUp)
	})
}

// A call whose caller was answered, in whatever state.
func TestACallerWhoIsAskedMayTakeAnOfferBack(t *testing.T) {
	for name, bring := range map[string]func(f *exchange){
		"asking":  func(*exchange) {},
		"dialing": func(f *exchange) { f.keys(rightPIN) },
		"ringing": func(f *exchange) { f.keys(rightPIN); f.tell(f.b(1), Event{Kind: EvRinging}) },
		"parting": func(f *exchange) { f.keys("1#2#3#") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newGreenPin(t, bob)
				f.call()
				bring(f)
				f.offer(f.caller, elsewhere(offerOfA))
				f.unsay(f.caller)
				if got := f.session().peer(A).RTP.Port(); got != 40000 {
					t.Errorf("he is spoken to at port %d", got)
				}
				f.offer(f.caller, "")
				f.unsay(f.caller)
				f.agree(f.caller, with(elsewhere(offerOfA), "sendonly")) // to nothing
				if p := f.session().peer(A); p.RTP.Port() != 40000 || !p.Send {
					t.Errorf("he is spoken to at port %d", p.RTP.Port())
				}
				f.tell(f.caller, Event{Kind: EvHungUp})
				f.ended()
			})
		})
	}
}

// The packets under the new keys were counted from the beginning, and so would those
// be under the keys of before.
func TestNewKeysThatAreTakenBackAreFollowedByOthers(t *testing.T) {
	talkingBySRTP(t, func(t *testing.T, f *exchange) {
		first := f.session().peer(A).Keys.Out
		f.offer(f.caller, keyed(offerOfA, 'c'))
		second := f.session().peer(A).Keys.Out
		f.unsay(f.caller)
		if got := f.session().peer(A).Keys.Out; slices.Equal(got, first) {
			t.Error("the keys of before are in use again")
		}
		for _, c := range last(t, f.caller.offers).Crypto {
			if slices.Equal(c.Key, first) || slices.Equal(c.Key, second) {
				t.Error("a key that was in use is offered")
			}
		}
		f.agree(f.caller, keyed(offerOfA, 'a'))
		k := f.session().peer(A).Keys
		if slices.Equal(k.Out, first) || slices.Equal(k.Out, second) || len(f.caller.offers) != 1 {
			t.Error("a key is in use twice")
		}
	})
}

func TestNoOfferIsMadeToASideThatIsOwedAnAnswerOrOwesOne(t *testing.T) {
	all := []Event{offersA, holdsA, asksA, acksA, acksHold, acksNone, undoesA, undoesB, offersB, holdsB, asksB, agreesB, staysB, nonsense, refusesB, upgradeA}
	rapid.Check(t, func(rt *rapid.T) {
		f := newKind(t, routed)
		c := drive(t, f)
		defer c.disarm()
		c.route()
		c.handle(answers)
		owed := map[string]int{} // answers, to a leg
		for _, e := range rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(rt, "events") {
			said := len(f.trace.all())
			if e.Kind == EvOffered {
				owed[[]string{"A", "B1"}[e.Side]]++
			}
			if _, fault := c.deals(e); fault != "" || c.state != Talking {
				rt.Fatalf("%v: %s", c.state, fault)
			}
			for _, line := range f.trace.all()[said:] {
				switch leg, what, _ := strings.Cut(line, " "); {
				case what != "offer":
					owed[leg]--
				case owed[leg] > 0:
					rt.Fatalf("%s is made an offer and owed an answer: %v", leg, f.trace.all())
				}
			}
		}
	})
}

// Nothing that a side could say leads there: it is what a refusal after all would be.
func TestWhatTheOtherSideAgreedToInVainIsTakenFromIt(t *testing.T) {
	f := newKind(t, routed)
	c := drive(t, f)
	c.route()
	c.handle(answers)
	c.handle(holdsA)
	c.deal.offer, _ = sdp.Parse([]byte(offerOfWords))
	if c.handle(agreesB); f.caller.refused != 1 {
		t.Fatalf("%v", f.trace.all())
	}
	if len(f.b(1).offers) != 2 || last(t, f.b(1).offers).Direction != sdp.SendRecv {
		t.Errorf("B is still held: %v", f.trace.all())
	}
}

// What has been said to the caller counts, not what would have been.
func TestADescriptionThatTheCallerNeverGotTakesNoVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newExchange(t, bob, carol)
		f.says = ""
		f.trunks.trunks[0].(*fakeTrunk).srtp = masking.SRTPRequired
		f.call()
		f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(answerOfB)}) // without keys
		if f.b(2).dial.To != carol {
			t.Fatalf("%v", f.trace.all())
		}
		f.tell(f.b(2), Event{Kind: EvAnswered, Body: []byte(keyed(strings.Replace(answerOfB, "RTP/AVP 8 101", "RTP/SAVP 8", 1), 'b'))})
		if _, v := origin(t, f.caller.answers[0]); v != "0" {
			t.Errorf("the first description has version %s", v)
		}
		f.agree(f.caller, offerOfA)
		f.hangsUp()
	})
}
