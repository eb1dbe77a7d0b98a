package sipua

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

func TestAnOutgoingCallRingsIsAnsweredAndEnds(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE sip:" + bob + "@" + p.addr.String())
	if !strings.Contains(invite.field("From"), "<sip:"+virtual+"@") || invite.field("Max-Forwards") != "30" || invite.body() != sdpBody {
		t.Errorf("the INVITE:\n%s", invite)
	}
	p.send(invite.reply(100, "", ""))
	p.send(invite.reply(181, "far", ""))
	p.send(invite.reply(183, "far", sdpBody))
	p.send(invite.reply(180, "far", ""))
	s := p.accept(invite, "far")
	ev.next(t, b2bua.EvRinging) // once
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != sdpBody {
		t.Errorf("answered with %q", e.Body)
	}
	leg.End(b2bua.Reason{})
	bye := p.expect("BYE sip:peer@" + p.addr.String())
	if bye.field("To") != s.local || bye.field("CSeq") != "2 BYE" || bye.field("Call-ID") != invite.field("Call-ID") {
		t.Errorf("the BYE:\n%s", bye)
	}
	p.send(bye.reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	ev.none(t)
	r.gone()
}

func TestALostAckIsSentAgainForEach2xx(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	ok := invite.reply(200, "far", sdpBody, "Contact: <sip:peer@"+p.addr.String()+">")
	for range 3 {
		p.send(ok)
		ack := p.expect("ACK sip:peer@" + p.addr.String())
		if ack.field("CSeq") != "1 ACK" || !strings.HasSuffix(ack.field("To"), ";tag=far") {
			t.Errorf("the ACK:\n%s", ack)
		}
	}
	ev.next(t, b2bua.EvAnswered)
	p.sync()
	ev.none(t)
}

func TestTheSecondForkThatAnswersIsAcknowledgedAndHungUp(t *testing.T) {
	r, p := pair(t)
	other := r.peer("127.0.0.2")
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "one", ""))
	p.send(invite.reply(180, "two", ""))
	first := p.accept(invite, "one")
	ev.next(t, b2bua.EvRinging)
	ev.next(t, b2bua.EvAnswered)
	second := invite.reply(200, "two", sdpBody, "Contact: <sip:other@"+other.addr.String()+">")
	p.send(second)
	ack, bye := other.expect("ACK sip:other@"), other.expect("BYE sip:other@")
	for _, m := range []msg{ack, bye} {
		if !strings.HasSuffix(m.field("To"), ";tag=two") {
			t.Errorf("to %q", m.field("To"))
		}
	}
	if bye.field("CSeq") != "2 BYE" {
		t.Errorf("CSeq %q", bye.field("CSeq"))
	}
	other.send(bye.reply(200, "", ""))
	p.send(second) // its ACK was lost: again an ACK, but no second BYE
	other.expect("ACK sip:other@")
	p.sync()
	if n := other.count("BYE"); n != 0 {
		t.Errorf("%d more BYEs", n)
	}
	fork := p.callee(invite, "two")
	if got := fork.ask("BYE", nil).status(); got != 481 {
		t.Errorf("the fork's own BYE got %d", got)
	}
	if got := first.ask("BYE", nil).status(); got != 200 {
		t.Errorf("the talking side's BYE got %d", got)
	}
	ev.next(t, b2bua.EvHungUp)
	ev.next(t, b2bua.EvGone)
}

func TestA200ThatCrossesOurCancelIsAcknowledgedAndHungUp(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	leg.End(b2bua.Reason{})
	p.expect("CANCEL ")
	p.accept(invite, "far")
	bye := p.expect("BYE ")
	p.late2xx(invite, "fork", "2 BYE")
	p.send(bye.reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	ev.none(t)
	r.gone()
}

func TestACancelWaitsForTheFirstProvisional(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	leg.End(b2bua.Reason{})
	p.sync()
	if n := p.count("CANCEL"); n != 0 {
		t.Fatal("CANCEL before any response (RFC 3261 §9.1)")
	}
	p.send(invite.reply(100, "", ""))
	cancel := p.expect("CANCEL ")
	p.send(cancel.reply(200, "far", ""))
	p.send(invite.reply(487, "far", ""))
	p.expect("ACK ")
	ev.next(t, b2bua.EvGone)
	ev.none(t)
}

func TestALegWithoutFinalResponseToItsCancelIsGoneAfter64T1AndALate200IsHungUp(t *testing.T) {
	r, p := pair(t, quick)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	leg.End(b2bua.Reason{})
	p.expect("CANCEL ")
	ev.next(t, b2bua.EvGone)
	r.gone()
	p.late2xx(invite, "far", "102 BYE")
	ev.none(t)
}

// late2xx answers an INVITE that nobody waits for, and sees it acknowledged and hung up. The
// BYE of a leg that is forgotten comes after whatever PRACKs its dialog may have seen.
func (p *peer) late2xx(invite msg, tag, cseq string) {
	p.t.Helper()
	p.all()
	p.send(invite.reply(200, tag, sdpBody, "Contact: <sip:late@"+p.addr.String()+">", "Record-Route: <sip:"+p.addr.String()+";lr>"))
	ack, bye := p.expect("ACK sip:late@"), p.expect("BYE sip:late@")
	if ack.field("CSeq") != "1 ACK" || bye.field("CSeq") != cseq || !strings.HasSuffix(bye.field("To"), ";tag="+tag) ||
		bye.field("Call-ID") != invite.field("Call-ID") || bye.field("From") != invite.field("From") ||
		bye.field("Route") != "<sip:"+p.addr.String()+";lr>" {
		p.t.Errorf("for a late 200:\n%s\n%s", ack, bye)
	}
	p.send(bye.reply(200, "", ""))
}

func TestA200AfterARefusalIsHungUp(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(486, "busy", ""))
	p.expect("ACK ")
	ev.next(t, b2bua.EvFailed)
	ev.next(t, b2bua.EvGone)
	p.late2xx(invite, "other", "102 BYE")
	ev.none(t)
}

func TestA200AfterTimerMIsAcknowledgedAndThatOfAForkHungUp(t *testing.T) {
	r, p := pair(t, func(o *Options) { o.Timers = lazy; o.Timers.M = 20 * time.Millisecond })
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.accept(invite, "far")
	ev.next(t, b2bua.EvAnswered)
	r.until("the transaction is gone", func() bool { return r.ua.Stats().ClientTx == 0 })
	p.accept(invite, "far") // its ACK was lost for long
	p.late2xx(invite, "fork", "2 BYE")
	ev.none(t)
}

func TestResponsesThatNobodyAskedForLeadToNothing(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	forged := strings.ReplaceAll(string(invite), "branch=z9hG4bK", "branch=z9hG4bKother")
	for name, m := range map[string]string{
		"an unknown Call-ID": strings.Replace(msg(forged).reply(200, "x", sdpBody), "Call-ID: ", "Call-ID: other", 1),
		"another From tag":   strings.Replace(msg(forged).reply(200, "x", sdpBody), ";tag=", ";tag=other", 1),
		"a refusal":          msg(forged).reply(486, "x", ""),
		"another method":     strings.Replace(msg(forged).reply(200, "x", sdpBody), "CSeq: 1 INVITE", "CSeq: 1 UPDATE", 1),
	} {
		p.send(m)
		p.sync()
		if got := p.got(); len(got) != 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
	ev.none(t)
	leg.End(b2bua.Reason{})
}

func TestATrunkThatSaysNothingIsGivenUp(t *testing.T) {
	r, p := pair(t, func(o *Options) { o.Silence = 30 * time.Millisecond })
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	e := ev.next(t, b2bua.EvFailed)
	if !e.Retry || e.Status != 0 || e.Cause != masking.CauseFailed { // nobody sent a status
		t.Errorf("failed with %+v", e)
	}
	if h := r.ua.TrunkHealth("one"); h.FailuresInRow != 1 {
		t.Errorf("health %+v", h)
	}
	p.send(invite.reply(100, "", "")) // too late
	p.sync()
	ev.none(t)

}

func TestTheTimerOfASilentTrunkThatLosesAgainstAResponseDoesNothing(t *testing.T) {
	r, p := pair(t)
	call, ev := r.dial()
	p.send(p.expect("INVITE ").reply(100, "", ""))
	l := call.(*leg)
	r.until("the 100 is in", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.heard
	})
	l.noResponse(r.ua.trunks.state("one").at(r.ua.trunks.all()[0].places[0]))
	ev.none(t)
	if h := r.ua.TrunkHealth("one"); h.FailuresInRow != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestATrunkWhoseRefusalIsAnsweredIsNotSilent(t *testing.T) {
	for name, refuse := range map[string]func(msg) string{
		"401": func(m msg) string { return m.reply(401, "x", "", challenge+`n1"`) },
		"407": func(m msg) string { return m.reply(407, "x", "", strings.Replace(challenge, "WWW", "Proxy", 1)+`n1"`) },
		"422": func(m msg) string { return m.reply(422, "x", "", "Min-SE: 3600") },
	} {
		t.Run(name, func(t *testing.T) {
			r, p := member(t)
			call, ev := r.dial()
			p.send(refuse(p.expect("INVITE ")))
			p.await("the INVITE again", func(m msg) bool { return strings.HasPrefix(m.start(), "INVITE ") && m.cseq() == "2" })
			call.(*leg).noResponse(r.ua.trunks.state("one").at(r.ua.trunks.all()[0].places[0]))
			ev.none(t)
			if h := r.ua.TrunkHealth("one"); h.FailuresInRow != 0 {
				t.Errorf("health %+v", h)
			}
		})
	}
}

// A refusal of one destination says nothing of the others.
func TestOnlyARefusalThatShowsAnAddressDeadCountsAsItsFailure(t *testing.T) {
	for _, c := range []struct {
		status, ring int
		dead         bool
	}{{503, 0, true}, {408, 0, true}, {504, 0, true}, {500, 0, false}, {502, 0, false}, {486, 0, false}, {603, 0, false},
		{503, 180, true}, {408, 180, false}, {504, 180, false}} { // whoever rang was reached
		r, p := pair(t)
		_, ev := r.dial()
		invite := p.expect("INVITE ")
		if c.ring != 0 {
			p.send(invite.reply(c.ring, "far", ""))
			ev.next(t, b2bua.EvRinging)
		}
		p.send(invite.reply(c.status, "far", ""))
		ev.next(t, b2bua.EvFailed)
		if h := r.ua.TrunkHealth("one"); (h.FailuresInRow == 1) != c.dead || (h.State == "up") == c.dead {
			t.Errorf("%d after %d: health %+v", c.status, c.ring, h)
		}
	}
}

func TestEveryRefusalIsAFailureWithItsCause(t *testing.T) {
	for status, want := range map[int]struct {
		cause masking.Cause
		retry bool
	}{
		486: {masking.CauseBusy, false}, 600: {masking.CauseBusy, false}, 603: {masking.CauseDeclined, false},
		480: {masking.CauseUnreachable, false}, 404: {masking.CauseUnreachable, false}, 302: {masking.CauseUnreachable, false},
		503: {masking.CauseFailed, true}, 408: {masking.CauseFailed, true}, 501: {masking.CauseFailed, false}, 401: {masking.CauseFailed, false},
	} {
		r, p := pair(t)
		_, ev := r.dial()
		p.send(p.expect("INVITE ").reply(status, "far", "", "Contact: <sip:elsewhere@"+p.addr.String()+">"))
		p.expect("ACK ")
		if e := ev.next(t, b2bua.EvFailed); e.Cause != want.cause || e.Retry != want.retry || e.Status != status {
			t.Errorf("%d: %+v", status, e)
		}
		ev.next(t, b2bua.EvGone)
		p.sync()
		if got := p.got(); len(got) != 0 {
			t.Errorf("%d: then came %v", status, got)
		}
	}
}

func TestAnInviteThatTimesOutIsAFailureOfTheTrunk(t *testing.T) {
	r, p := pair(t, quick)
	_, ev := r.dial()
	p.expect("INVITE ")
	if e := ev.next(t, b2bua.EvFailed); !e.Retry {
		t.Errorf("%+v", e)
	}
	ev.next(t, b2bua.EvGone)
	if h := r.ua.TrunkHealth("one"); h.FailuresInRow != 1 {
		t.Errorf("health %+v", h)
	}
}

func TestARequestTooLargeToBeSentIsNoFaultOfTheTrunk(t *testing.T) {
	r, _ := pair(t)
	ev := newEvents()
	r.ua.Outgoing(bobsCaller)[0].Dial(b2bua.Dial{Call: "c", To: bobsCaller, CallerID: bobsCaller,
		Offer: []byte(strings.Repeat("x", 70000)), Inbox: ev.inbox})
	ev.next(t, b2bua.EvFailed)
	ev.next(t, b2bua.EvGone)
	if h := r.ua.TrunkHealth("one"); h.State != "unknown" || h.LiveCalls != 0 {
		t.Errorf("health %+v", h)
	}
}

func TestAnAttemptWhoseEarlyDialogsAllSayByeHasFailed(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "one", ""))
	p.send(invite.reply(180, "two", ""))
	ev.next(t, b2bua.EvRinging)
	one, two := p.callee(invite, "one"), p.callee(invite, "two")
	if got := one.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d", got)
	}
	ev.none(t) // the other fork rings on
	if got := one.ask("BYE", nil).status(); got != 481 {
		t.Errorf("the same again got %d", got)
	}
	two.ask("BYE", nil)
	if e := ev.next(t, b2bua.EvFailed); e.Cause != masking.CauseNoAnswer || e.Retry {
		t.Errorf("%+v", e)
	}
	leg.End(b2bua.Reason{Cause: masking.CauseNoAnswer})
	p.expect("CANCEL ")
}

func TestTheCSeqOfAnEarlyDialogGoesOnInTheCall(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	s := p.callee(invite, "far")
	s.ask("OPTIONS", &with{seq: 50})
	p.accept(invite, "far")
	ev.next(t, b2bua.EvAnswered)
	if got := s.ask("BYE", &with{seq: 50}).status(); got != 500 {
		t.Errorf("an old CSeq got %d", got)
	}
	if got := s.ask("BYE", &with{seq: 4000}).status(); got != 200 {
		t.Errorf("a jump of CSeq got %d", got)
	}
}

func TestTheRouteSetOfACalleeIsReversed(t *testing.T) {
	r, p := pair(t)
	near := r.peer("127.0.0.2")
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(200, "far", sdpBody, "Contact: <sip:far@10.0.0.9:5070>",
		"Record-Route: <sip:far.example;lr>, <sip:"+near.addr.String()+";lr>"))
	ack := near.expect("ACK sip:far@10.0.0.9:5070")
	if got := strings.Join(ack.fields("Route"), " "); got != "<sip:"+near.addr.String()+";lr> <sip:far.example;lr>" {
		t.Errorf("Route: %s", got)
	}
	ev.next(t, b2bua.EvAnswered)
	leg.End(b2bua.Reason{})
	near.expect("BYE ")
}

func TestAnAnswerWithoutContactOrTagIsTakenAsItIs(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	ok := invite.reply(200, "", sdpBody, "Contact: *")
	p.send(ok)
	p.send(ok)
	p.expect("ACK sip:" + bob)
	p.expect("ACK sip:" + bob)
	ev.next(t, b2bua.EvAnswered)
	ev.none(t)
	leg.End(b2bua.Reason{})
	bye := p.expect("BYE sip:" + bob)
	if strings.Contains(bye.field("To"), "tag") {
		t.Errorf("To %q", bye.field("To"))
	}
	p.send(ok) // once more while the BYE is under way
	p.expect("ACK ")
	p.send(bye.reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	p.sync()
	if n := p.count("BYE"); n != 0 {
		t.Errorf("%d more BYEs", n)
	}
}

func TestEndRacingTheAnswerEndsInByeOrCancelAndOneGone(t *testing.T) {
	for i := range 40 {
		r, p := pair(t)
		leg, ev := r.dial()
		invite := p.expect("INVITE ")
		p.send(invite.reply(180, "far", ""))
		ev.next(t, b2bua.EvRinging)
		if i%2 == 0 {
			p.send(invite.reply(200, "far", sdpBody, "Contact: <sip:peer@"+p.addr.String()+">"))
			leg.End(b2bua.Reason{})
		} else {
			leg.End(b2bua.Reason{})
			p.send(invite.reply(200, "far", sdpBody, "Contact: <sip:peer@"+p.addr.String()+">"))
		}
		p.expect("ACK ")
		bye := p.expect("BYE ")
		s := p.callee(invite, "far")
		if i%3 == 0 { // and the peer hangs up as well
			s.ask("BYE", nil)
		}
		p.send(bye.reply(200, "", ""))
		r.gone()
		gone := 0
		for gone == 0 || len(ev) > 0 { // the leg is off the list before it says so
			select {
			case e := <-ev:
				if e.Kind == b2bua.EvGone {
					gone++
				}
			case <-time.After(patience):
				t.Fatal("the leg never said that it is gone")
			}
		}
		if h := r.ua.TrunkHealth("one"); gone != 1 || h.LiveCalls != 0 {
			t.Fatalf("gone %d times, %d calls counted live", gone, h.LiveCalls)
		}
	}
}

func TestTheAnswersOfATrunkThatOnlyTakesCallsAreHeard(t *testing.T) {
	r := newRig(t)
	p := r.peer("127.0.0.9")
	only := trunk("out", p)
	only.Sources = nil
	r.ua.SetTrunks([]masking.Trunk{only})
	s, _, ev := r.reached(p)
	in := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=1", remote: "<sip:" + virtual + "@tandem>"}
	if got := in.ask("INVITE", &with{body: sdpBody}).status(); got != 403 {
		t.Errorf("a call from there got %d", got)
	}
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d", got)
	}
	ev.next(t, b2bua.EvHungUp)
	ev.next(t, b2bua.EvGone)
}

func TestOverTCPACallIsMadeAndTheContactSaysSo(t *testing.T) {
	r := newRig(t)
	far := r.farTCP("127.0.0.4")
	over := trunk("tcp")
	over.Transport, over.Targets = masking.TCP, []masking.Target{masking.TargetAt(far.addr)}
	r.ua.SetTrunks([]masking.Trunk{over})
	leg, ev := r.dial()
	invite := far.request(t, "INVITE")
	if got := invite.Contact().Address; got.Port != int(r.tcp.Port()) || !got.UriParams.Has("transport") {
		t.Errorf("Contact %s", got.String())
	}
	far.answer(t, 200)
	ev.next(t, b2bua.EvAnswered)
	leg.End(b2bua.Reason{})
	far.request(t, "BYE")
	far.answer(t, 200)
	ev.next(t, b2bua.EvGone)
}
