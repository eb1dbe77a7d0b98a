package sipua

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

const (
	ourOffer    = "v=0\r\no=- 5 6 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 8\r\na=sendonly\r\n"
	theirAnswer = "v=0\r\no=- 7 8 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40004 RTP/AVP 8\r\na=recvonly\r\n"
)

// eitherLeg runs a test on an incoming leg that talks and on an outgoing one.
func eitherLeg(t *testing.T, test func(t *testing.T, sc scene), edit ...func(*Options)) {
	for _, state := range []string{"incoming talking", "outgoing talking"} {
		t.Run(state, func(t *testing.T) {
			r, p := pair(t, edit...)
			test(t, scenes[state](r, p))
		})
	}
}

// offered lets the call make an offer and gives the re-INVITE.
func (sc scene) offered() msg {
	sc.t.Helper()
	sc.leg.Offer([]byte(ourOffer))
	return sc.p.expect("INVITE ")
}

func TestAnOfferOfTheCallIsAReinviteWhoseEvery200GetsItsAck(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		re := sc.offered()
		if re.body() != ourOffer || re.field("Contact") == "" || re.field("Allow") != allowed || re.toTag() == "" {
			t.Errorf("the re-INVITE:\n%s", re)
		}
		moved := sc.peer("127.0.0.2") // another port of the same carrier
		answer := re.reply(200, "", theirAnswer, "Contact: <sip:moved@"+moved.addr.String()+">")
		for range 2 { // the ACK was lost
			sc.p.send(re.reply(100, "", ""))
			sc.p.send(answer)
			ack := moved.expect("ACK ")
			if want := strings.Replace(re.field("CSeq"), "INVITE", "ACK", 1); ack.field("CSeq") != want || ack.body() != "" {
				t.Errorf("the ACK, CSeq %s wanted:\n%s", want, ack)
			}
		}
		if e := sc.events.next(t, b2bua.EvAgreed); string(e.Body) != theirAnswer {
			t.Errorf("the call heard %q", e.Body)
		}
		sc.events.none(t)
		sc.leg.End(b2bua.Reason{})
		moved.send(moved.expect("BYE ").reply(200, "", ""))
		sc.events.next(t, b2bua.EvGone)
	})
}

func TestARefusedOfferOfOursLeavesTheCallAsItWas(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		for status, body := range map[int]string{488: "", 415: "", 503: "", 302: "", 200: ""} { // 200 without an answer
			re := sc.offered()
			sc.p.send(re.reply(status, "", body))
			sc.p.expect("ACK ")
			sc.events.next(t, b2bua.EvDeclined)
		}
		if got := sc.s.ask("OPTIONS", nil).status(); got != 200 {
			t.Errorf("the dialog answers %d", got)
		}
		sc.p.send(sc.offered().reply(200, "", theirAnswer))
		sc.events.next(t, b2bua.EvAgreed)
	})
}

// RFC 3261 §14.2, RFC 3311 §5.2.
func Test491IsWhatAnOfferOfThePeerGetsWhileOursIsOut(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		re := sc.offered()
		for _, c := range []struct {
			method, body string
			status       int
		}{{"INVITE", sdpBody, 491}, {"INVITE", "", 491}, {"UPDATE", sdpBody, 491}, {"UPDATE", "", 200}, {"OPTIONS", "", 200}} {
			if got := sc.s.ask(c.method, &with{body: c.body}).status(); got != c.status {
				t.Errorf("%s with %d bytes got %d, want %d", c.method, len(c.body), got, c.status)
			}
		}
		sc.p.send(re.reply(200, "", theirAnswer))
		sc.events.next(t, b2bua.EvAgreed)
		sc.p.send(sc.s.request("INVITE", &with{body: sdpBody}))
		sc.events.next(t, b2bua.EvOffered)
	})
}

func Test491ToAnOfferOfOursHasItSentAgainLater(t *testing.T) {
	t.Parallel()
	eitherLeg(t, func(t *testing.T, sc scene) {
		first := sc.offered()
		sc.p.send(first.reply(491, "", ""))
		sc.p.expect("ACK ")
		again := sc.p.expect("INVITE ")
		if again.body() != ourOffer || again.field("CSeq") == first.field("CSeq") {
			t.Errorf("sent again:\n%s", again)
		}
		sc.events.none(t)
		sc.p.send(again.reply(200, "", theirAnswer))
		sc.events.next(t, b2bua.EvAgreed)
	})
}

// RFC 3261 §14.1.
func Test491MakesWhoChoseTheCallIDWaitLonger(t *testing.T) {
	seen := map[bool]map[time.Duration]bool{true: {}, false: {}}
	for range 5000 {
		for owner, waits := range seen {
			wait := glareWait(owner)
			least, most := time.Duration(0), 2*time.Second
			if owner {
				least, most = 2100*time.Millisecond, 4*time.Second
			}
			if wait < least || wait > most || wait%(10*time.Millisecond) != 0 {
				t.Fatalf("owner %v waits %v", owner, wait)
			}
			waits[wait] = true
		}
	}
	if len(seen[true]) < 150 || len(seen[false]) < 150 {
		t.Errorf("%d and %d different waits", len(seen[true]), len(seen[false]))
	}
}

func TestAPeerThatAsksToBeAskedAgainIsAskedFourTimes(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		sc.leg.Offer([]byte(ourOffer))
		for range mostTries {
			sc.p.send(sc.p.expect("INVITE ").reply(500, "", "", "Retry-After: 0 (busy);duration=1"))
			sc.p.expect("ACK ")
		}
		sc.events.next(t, b2bua.EvDeclined)
	})
}

func TestThePeersOwnOfferTakesThePlaceOfOneOfOursThatWaits(t *testing.T) {
	r, p := pair(t)
	sc := scenes["outgoing talking"](r, p) // which waits 2.1 s at least
	sc.p.send(sc.offered().reply(491, "", ""))
	sc.p.expect("ACK ")
	sc.p.send(sc.s.request("INVITE", &with{body: sdpBody}))
	sc.events.next(t, b2bua.EvOffered)
	sc.leg.Answer([]byte(theirAnswer))
	sc.s.ack(sc.s.final(sc.s.invite), nil)
	sc.p.sync()
	own := sc.leg.(*leg)
	own.mu.Lock()
	if len(own.due) != 0 || own.pause != nil {
		t.Error("our offer is still to be sent")
	}
	own.mu.Unlock()
	sc.p.send(sc.offered().reply(200, "", theirAnswer)) // the next waits for nothing
	sc.events.next(t, b2bua.EvAgreed)
}

// RFC 3261 §12.2.1.2.
func TestADialogThatIsNotThereAnyMoreEndsWithOurOffer(t *testing.T) {
	for status, end := range map[int]func(sc scene, re msg){
		481: func(sc scene, re msg) { sc.p.send(re.reply(481, "", "")) },
		408: func(sc scene, re msg) { sc.p.send(re.reply(408, "", "")) },
		0:   func(scene, msg) {},
	} {
		eitherLeg(t, func(t *testing.T, sc scene) {
			end(sc, sc.offered())
			sc.p.send(sc.p.expect("BYE ").reply(200, "", ""))
			if e := sc.events.next(t, b2bua.EvHungUp); e.Cause != masking.CauseFailed {
				t.Errorf("status %d: cause %q", status, e.Cause)
			}
			sc.events.next(t, b2bua.EvGone)
		}, quick)
	}
}

// RFC 3261 §14.1.
func TestOurOfferWaitsForTheAckOfTheAnswerAndForWhatIsOpen(t *testing.T) {
	r, p := pair(t)
	sc := scenes["incoming answered"](r, p)
	sc.leg.Offer([]byte(ourOffer))
	p.sync()
	if n := p.count("INVITE "); n != 0 {
		t.Fatal("sent before the ACK")
	}
	sc.s.seq = 1
	sc.s.ack(msg(sc.s.invite.reply(200, "", "")), nil)
	sc.p.send(p.expect("INVITE ").reply(200, "", theirAnswer))
	sc.events.next(t, b2bua.EvAgreed)

	p.send(sc.s.request("INVITE", &with{body: sdpBody}))
	theirs := sc.s.invite
	sc.events.next(t, b2bua.EvOffered)
	sc.leg.Answer([]byte(theirAnswer))
	sc.leg.Offer([]byte(ourOffer))
	res := sc.s.final(theirs)
	p.sync()
	if n := p.count("INVITE "); n != 0 {
		t.Fatal("sent before the ACK of the answer to theirs")
	}
	sc.s.ack(res, nil)
	sc.p.send(p.expect("INVITE ").reply(200, "", theirAnswer))
	sc.events.next(t, b2bua.EvAgreed)
}

// What the call says before it has heard of the peer's offer is older than that.
func TestAnOfferOfOursAfterThePeersIsNeverSent(t *testing.T) {
	for _, method := range []string{"INVITE", "UPDATE"} {
		for _, refused := range []bool{false, true} {
			eitherLeg(t, func(t *testing.T, sc scene) {
				sc.p.send(sc.s.request(method, &with{body: sdpBody}))
				sc.p.sync()
				sc.leg.Offer([]byte(ourOffer))
				sc.events.next(t, b2bua.EvOffered)
				if refused {
					sc.leg.RefuseOffer()
					sc.p.expect("SIP/2.0 488")
				} else {
					sc.leg.Answer([]byte(theirAnswer))
					if res := sc.p.expect("SIP/2.0 200"); method == "INVITE" {
						sc.s.ack(res, nil)
					}
				}
				sc.p.sync()
				if n := sc.p.count("INVITE "); n != 0 {
					t.Fatal("sent all the same")
				}
				sc.events.none(t)
				sc.p.send(sc.offered().reply(200, "", theirAnswer)) // the next is
				sc.events.next(t, b2bua.EvAgreed)
			})
		}
	}
}

func TestARefreshThatFallsDueWhileAnOfferWaitsIsSentLater(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		sc.p.send(sc.s.request("UPDATE", &with{body: sdpBody}))
		sc.events.next(t, b2bua.EvOffered)
		sc.leg.(*leg).propose(&proposal{method: sip.UPDATE, refresh: true, over: func(*sip.Response, error) {}})
		sc.leg.RefuseOffer() // which refreshes nothing
		sc.p.send(sc.p.expect("UPDATE ").reply(200, "", ""))
	})
}

func TestAByeWhileOurOfferIsOutEndsTheCall(t *testing.T) {
	for _, status := range []int{487, 200} {
		eitherLeg(t, func(t *testing.T, sc scene) {
			re := sc.offered()
			if got := sc.s.ask("BYE", nil).status(); got != 200 {
				t.Errorf("BYE got %d", got)
			}
			sc.events.next(t, b2bua.EvHungUp)
			sc.events.next(t, b2bua.EvGone)
			sc.p.send(re.reply(status, "", theirAnswer))
			sc.p.expect("ACK ")
			sc.p.sync()
			sc.events.none(t)
			if got := sc.p.count("BYE "); got != 0 {
				t.Error("who hung up was hung up on")
			}
		})
	}
}

func TestAHangUpDoesNotWaitForTheAnswerToOurOffer(t *testing.T) {
	for _, status := range []int{487, 200, 491} {
		eitherLeg(t, func(t *testing.T, sc scene) {
			re := sc.offered()
			sc.leg.End(b2bua.Reason{})
			bye := sc.p.expect("BYE ")
			sc.p.send(re.reply(status, "", theirAnswer))
			sc.p.expect("ACK ")
			sc.leg.Offer([]byte(ourOffer)) // goes nowhere
			sc.p.send(bye.reply(200, "", ""))
			sc.events.next(t, b2bua.EvGone)
			sc.p.sync()
			sc.events.none(t)
		})
	}
}

func TestAReinviteThatIsNotAnsweredInTimeIsCancelled(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		re := sc.offered()
		sc.p.send(re.reply(180, "", ""))
		sc.p.send(sc.p.expect("CANCEL ").reply(200, "", ""))
		sc.p.send(re.reply(487, "", ""))
		sc.p.expect("ACK ")
		sc.events.next(t, b2bua.EvDeclined)
		if got := sc.s.ask("OPTIONS", nil).status(); got != 200 {
			t.Errorf("the dialog answers %d", got)
		}
	}, func(o *Options) { o.Thought = time.Millisecond })
}

func TestA200ToAReinviteAfterTimerMIsAcknowledgedWithItsCSeq(t *testing.T) {
	r, p := pair(t, quick)
	sc := scenes["outgoing talking"](r, p)
	re := sc.offered()
	p.send(re.reply(200, "", theirAnswer))
	p.expect("ACK ")
	sc.events.next(t, b2bua.EvAgreed)
	r.until("the transactions are over", func() bool { return r.ua.Stats().ClientTx == 0 })
	p.got()
	p.send(re.reply(200, "", theirAnswer))
	if ack := p.expect("ACK "); strings.Fields(ack.field("CSeq"))[0] != strings.Fields(re.field("CSeq"))[0] {
		t.Errorf("CSeq %s acknowledges %s", ack.field("CSeq"), re.field("CSeq"))
	}
}

// A refresh of a session goes the same way (RFC 4028).
func TestARefreshIsAnUpdateWithoutDescriptionWhereThePeerTakesIt(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		own, got := sc.leg.(*leg), make(chan int, 1)
		own.propose(&proposal{method: sip.UPDATE, refresh: true,
			over: func(res *sip.Response, _ error) { got <- res.StatusCode }})
		update := sc.p.expect("UPDATE ")
		if update.body() != "" || update.field("Supported") != supported || update.field("Contact") == "" {
			t.Errorf("the UPDATE:\n%s", update)
		}
		sc.p.send(sc.s.request("INVITE", &with{body: sdpBody})) // meets nothing of ours
		sc.events.next(t, b2bua.EvOffered)
		sc.p.send(update.reply(200, "", ""))
		if status := <-got; status != 200 {
			t.Errorf("status %d", status)
		}
		sc.p.sync()
		if n := sc.p.count("ACK "); n != 0 {
			t.Error("an UPDATE was acknowledged")
		}
	})
}

func TestThePeerSaysWhetherItTakesUpdate(t *testing.T) {
	for allow, want := range map[string]bool{"Allow: INVITE, ACK, update": true, "Allow: INVITE, ACK": false, "X: y": false} {
		r, p := pair(t)
		_, c := r.caller(p, &with{body: sdpBody, more: []string{allow}})
		l, ev := r.dial()
		p.send(p.expect("INVITE ").reply(200, "far", sdpBody, allow, "Contact: <sip:peer@"+p.addr.String()+">"))
		ev.next(t, b2bua.EvAnswered)
		for name, l := range map[string]*leg{"incoming": c.Leg.(*leg), "outgoing": l.(*leg)} {
			l.mu.Lock()
			if l.dlg.updates != want {
				t.Errorf("%s: %q says %v", name, allow, l.dlg.updates)
			}
			l.mu.Unlock()
		}
	}
}

// RFC 5407 §3.1.4.
func TestAReinviteBeforeTheAckIsTakenForIt(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	s.confirm(p.expect("SIP/2.0 200"))
	p.send(s.request("INVITE", &with{body: sdpBody})) // the ACK was lost
	if e := c.next(t, b2bua.EvOffered); string(e.Body) != sdpBody {
		t.Errorf("the call was offered %q", e.Body)
	}
	if repeats(c.Leg) {
		t.Error("the first 2xx is still repeated")
	}
	c.Leg.Answer([]byte(theirAnswer))
	res := s.final(s.invite)
	if res.status() != 200 || res.body() != theirAnswer {
		t.Errorf("answered:\n%s", res)
	}
	s.seq = 1
	s.ack(msg(s.invite.reply(200, "", "")), nil) // the ACK was only late
	s.seq = 2
	s.ack(res, nil)
	p.sync()
	if repeats(c.Leg) || phaseOf(c.Leg) != talking {
		t.Error("the second 2xx is still repeated")
	}
	c.none(t)
}

func TestOurOfferThatWaitsForAnAckIsSentWhenARefusedReinviteStandsForIt(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	s.confirm(p.expect("SIP/2.0 200"))
	c.Leg.Offer([]byte(ourOffer))
	short := timerHeaders("Supported: timer", "Session-Expires: 89")
	short.body = sdpBody
	p.send(s.request("INVITE", short)) // the ACK was lost
	s.confirm(p.expect("SIP/2.0 422"))
	p.send(p.expect("INVITE ").reply(200, "", theirAnswer))
	c.next(t, b2bua.EvAgreed)
}

func TestAReinviteBeforeTheAckOfACallThatIsToEndEndsIt(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	s.confirm(p.expect("SIP/2.0 200"))
	c.Leg.End(b2bua.Reason{})
	if got := s.ask("INVITE", &with{body: sdpBody}).status(); got != 481 {
		t.Errorf("the re-INVITE got %d", got)
	}
	p.send(p.expect("BYE ").reply(200, "", ""))
	c.next(t, b2bua.EvGone)
}
