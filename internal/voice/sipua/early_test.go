package sipua

import (
	"strconv"
	"strings"
	"testing"

	"tandem/internal/voice/b2bua"
)

// reliably is a reliable provisional response to an INVITE of the agent.
func (m msg) reliably(status int, tag string, number int, body string, more ...string) string {
	return m.reply(status, tag, body, append(more, "Require: 100rel", "RSeq: "+strconv.Itoa(number))...)
}

func at(p *peer, user string) string { return "Contact: <sip:" + user + "@" + p.addr.String() + ">" }

// pracked takes a PRACK and answers it.
func (p *peer) pracked(number int) msg {
	p.t.Helper()
	prack := p.expect("PRACK ")
	if want := strconv.Itoa(number) + " 1 INVITE"; prack.field("RAck") != want {
		p.t.Errorf("RAck %q, want %q", prack.field("RAck"), want)
	}
	p.send(prack.reply(200, "", ""))
	return prack
}

func TestPRACKIsSupportedInEveryInviteAndNeverRequired(t *testing.T) {
	r, p := pair(t)
	r.dial()
	invite := p.expect("INVITE ")
	if !strings.Contains(invite.field("Supported"), "100rel") || invite.field("Require") != "" || !strings.Contains(invite.field("Allow"), "PRACK") {
		t.Errorf("the INVITE:\n%s", invite)
	}
}

func TestCSeqAfterPRACKTheAckHasThatOfTheInviteAndTheByeTheNext(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	for i, want := range []string{"2 PRACK", "3 PRACK", "4 PRACK"} {
		p.send(invite.reliably(183, "far", 7000+i, "", at(p, "far")))
		prack := p.pracked(7000 + i)
		if prack.field("CSeq") != want || prack.field("To") != invite.field("To")+";tag=far" || prack.field("From") != invite.field("From") ||
			prack.field("Call-ID") != invite.field("Call-ID") {
			t.Errorf("the PRACK:\n%s", prack)
		}
	}
	ok := invite.reply(200, "far", sdpBody, at(p, "far"))
	for range 2 {
		p.send(ok)
		if ack := p.expect("ACK "); ack.field("CSeq") != "1 ACK" {
			t.Errorf("ACK with CSeq %q", ack.field("CSeq"))
		}
	}
	ev.next(t, b2bua.EvRinging)
	ev.next(t, b2bua.EvAnswered)
	leg.Press('5')
	info := p.expect("INFO ")
	p.send(info.reply(200, "", ""))
	leg.End(b2bua.Reason{})
	bye := p.expect("BYE ")
	if info.field("CSeq") != "5 INFO" || bye.field("CSeq") != "6 BYE" {
		t.Errorf("CSeq %q, then %q", info.field("CSeq"), bye.field("CSeq"))
	}
	p.send(bye.reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	ev.none(t)
}

func TestPRACKGoesToTheTargetByTheRoutesOfItsEarlyDialog(t *testing.T) {
	r, p := pair(t)
	near := r.peer("127.0.0.2")
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", "")) // as some do it: without Contact and Record-Route
	ev.next(t, b2bua.EvRinging)
	route := "Record-Route: <sip:far.example;lr>, <sip:" + near.addr.String() + ";lr>"
	p.send(invite.reliably(183, "far", 1, sdpBody, "Contact: <sip:early@10.0.0.9:5070>", route))
	prack := near.pracked(1)
	if got := strings.Join(prack.fields("Route"), " "); prack.requestURI() != "sip:early@10.0.0.9:5070" ||
		got != "<sip:"+near.addr.String()+";lr> <sip:far.example;lr>" {
		t.Errorf("the PRACK:\n%s", prack)
	}
	p.send(invite.reliably(183, "far", 2, "", "Contact: <sip:moved@10.0.0.9:5070>", "Record-Route: <sip:10.9.9.9;lr>"))
	if prack := near.pracked(2); prack.requestURI() != "sip:moved@10.0.0.9:5070" {
		t.Errorf("the target may move, the routes may not (RFC 3261 §12.2.1.2):\n%s", prack)
	}
	s := p.callee(invite, "far")
	s.contact = "<sip:updated@10.0.0.9:5070>"
	if got := s.ask("UPDATE", &with{}).status(); got != 200 {
		t.Errorf("UPDATE got %d", got)
	}
	p.send(invite.reliably(183, "far", 3, ""))
	if prack := near.pracked(3); prack.requestURI() != "sip:updated@10.0.0.9:5070" {
		t.Errorf("an UPDATE moves it too (RFC 3311 §5.2):\n%s", prack)
	}
	p.send(invite.reply(200, "far", "", at(p, "answered"))) // sets routes and target anew
	p.expect("ACK sip:answered@")
}

func TestPRACKIsSentOnceAndNotForWhatComesOutOfOrder(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reliably(183, "far", 50, ""))
	p.pracked(50)
	ev.next(t, b2bua.EvRinging)
	for _, number := range []int{50, 52, 49, 50, 53} { // again, and with a gap
		p.send(invite.reliably(180, "far", number, sdpBody))
	}
	p.send(invite.reply(180, "far", "", "Require: 100rel"))               // without a number
	p.send(invite.reply(180, "far", "", "Require: 100rel", "RSeq: 0"))    // with none that counts
	p.send(invite.reply(180, "far", "", "Require: 100rel", "RSeq: 99e9")) // nor this
	p.send(invite.reliably(180, "", 51, ""))                              // of no dialog
	p.send(invite.reply(100, "far", "", "Require: 100rel", "RSeq: 51"))   // is never reliable
	p.sync()
	if n := p.count("PRACK"); n != 0 {
		t.Errorf("%d more PRACKs", n)
	}
	p.send(invite.reliably(180, "far", 51, ""))
	p.pracked(51)
	p.accept(invite, "far")
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != sdpBody { // told of nothing twice
		t.Errorf("answered with %q", e.Body)
	}
}

func TestPRACKForksHaveNumbersOfTheirOwn(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	send := func(tag string, number int) msg {
		p.send(invite.reliably(183, tag, number, "v="+tag, at(p, tag)))
		return p.pracked(number)
	}
	for _, c := range []struct {
		tag    string
		number int
		cseq   string
	}{{"one", 900, "2 PRACK"}, {"two", 5, "2 PRACK"}, {"one", 901, "3 PRACK"}, {"one", 902, "4 PRACK"}, {"two", 6, "3 PRACK"}} {
		if prack := send(c.tag, c.number); prack.field("CSeq") != c.cseq || !strings.HasPrefix(prack.requestURI(), "sip:"+c.tag+"@") {
			t.Errorf("%s %d:\n%s", c.tag, c.number, prack)
		}
	}
	ev.next(t, b2bua.EvRinging)
	p.send(invite.reply(200, "two", "", at(p, "two")))
	p.expect("ACK sip:two@")
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != "v=two" {
		t.Errorf("answered with %q", e.Body)
	}
	p.send(invite.reply(200, "one", "", at(p, "one"))) // late: its BYE comes after its PRACKs
	ack, bye := p.expect("ACK sip:one@"), p.expect("BYE sip:one@")
	if ack.field("CSeq") != "1 ACK" || bye.field("CSeq") != "5 BYE" {
		t.Errorf("CSeq %q and %q", ack.field("CSeq"), bye.field("CSeq"))
	}
	p.send(bye.reply(200, "", ""))
	leg.End(b2bua.Reason{})
	if bye := p.expect("BYE sip:two@"); bye.field("CSeq") != "4 BYE" {
		t.Errorf("CSeq %q", bye.field("CSeq"))
	}
}

func TestAPRACKThatIsChallengedAfterTheAnswerAndTheByeHaveNumbersOfTheirOwn(t *testing.T) {
	r, p := member(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reliably(183, "far", 7, "", at(p, "far")))
	prack := p.expect("PRACK ")
	p.accept(invite, "far")
	ev.next(t, b2bua.EvRinging)
	ev.next(t, b2bua.EvAnswered)
	p.send(prack.reply(401, "", "", challenge+`n1"`))
	again := p.await("the PRACK again", func(m msg) bool { return strings.HasPrefix(m.start(), "PRACK") && m.cseq() != prack.cseq() })
	again.proven(t, "Authorization", "n1")
	p.send(again.reply(200, "", ""))
	leg.End(b2bua.Reason{})
	if bye := p.expect("BYE "); again.cseq() != "3" || bye.cseq() != "4" {
		t.Errorf("the PRACK again has CSeq %s, the BYE %s", again.cseq(), bye.cseq())
	}
}

func TestPRACKIsSentToWhoRingsOnAfterOurCancel(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	leg.End(b2bua.Reason{})
	p.expect("CANCEL ")
	p.send(invite.reliably(183, "far", 3, ""))
	p.pracked(3)
	p.send(invite.reply(487, "far", ""))
	p.expect("ACK ")
	ev.next(t, b2bua.EvGone)
	ev.none(t)
}

func TestTheAnswerInAReliableProvisionalCountsWhereThe200HasNone(t *testing.T) {
	for name, c := range map[string]struct{ early, last, want string }{
		"only there":                  {"v=early", "", "v=early"},
		"twice the same":              {"v=same", "v=same", "v=same"},
		"against RFC 3261 §13.2.1":    {"v=early", "v=last", "v=last"},
		"in the 200, as it mostly is": {"", "v=last", "v=last"},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			_, ev := r.dial()
			invite := p.expect("INVITE ")
			p.send(invite.reliably(183, "far", 1, c.early))
			p.pracked(1)
			p.send(invite.reliably(180, "far", 2, "v=later")) // only the first description is the answer
			p.pracked(2)
			want := c.want
			if c.early == "" && c.last == "" {
				want = "v=later"
			}
			p.send(invite.reply(200, "far", c.last, at(p, "far")))
			ev.next(t, b2bua.EvRinging)
			if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != want {
				t.Errorf("answered with %q, want %q", e.Body, want)
			}
		})
	}
}

func TestADescriptionInAProvisionalThatIsNotReliableAnswersNothing(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(183, "far", "v=preview"))
	p.send(invite.reply(200, "far", "", at(p, "far")))
	ev.next(t, b2bua.EvRinging)
	if e := ev.next(t, b2bua.EvAnswered); e.Body != nil {
		t.Errorf("answered with %q", e.Body)
	}
}

func TestAnOvertakingProvisionalChangesNothing(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.accept(invite, "far") // the 183 and the 180 before it come later
	p.send(invite.reliably(183, "far", 1, "v=early"))
	p.send(invite.reply(180, "far", ""))
	p.send(invite.reliably(183, "fork", 1, ""))
	p.sync()
	if n := p.count("PRACK"); n != 0 {
		t.Errorf("%d PRACKs after the answer", n)
	}
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != sdpBody {
		t.Errorf("answered with %q", e.Body)
	}
	ev.none(t)
}

func TestInOneBurst183And180And200AreTakenInTheirOrder(t *testing.T) {
	for range 20 {
		r, p := pair(t)
		_, ev := r.dial()
		invite := p.expect("INVITE ")
		p.send(invite.reply(183, "far", "v=183"))
		p.send(invite.reply(180, "far", ""))
		p.send(invite.reply(200, "far", sdpBody, at(p, "far")))
		ev.next(t, b2bua.EvRinging)
		if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != sdpBody {
			t.Errorf("answered with %q", e.Body)
		}
		p.sync()
		ev.none(t)
	}
}

func TestAChangingToTagBelongsToAnotherDialog(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reliably(183, "one", 10, "v=one", at(p, "one")))
	p.pracked(10)
	p.send(invite.reply(180, "two", "", at(p, "two")))
	p.send(invite.reply(200, "three", sdpBody, at(p, "three")))
	ack := p.expect("ACK sip:three@")
	ev.next(t, b2bua.EvRinging)
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != sdpBody {
		t.Errorf("answered with %q", e.Body)
	}
	for _, tag := range []string{"one", "two"} {
		if got := p.callee(invite, tag).ask("BYE", nil).status(); got != 481 {
			t.Errorf("the BYE of %s got %d", tag, got)
		}
	}
	leg.End(b2bua.Reason{})
	bye := p.expect("BYE sip:three@")
	if ack.field("CSeq") != "1 ACK" || bye.field("CSeq") != "2 BYE" || !strings.HasSuffix(bye.field("To"), ";tag=three") {
		t.Errorf("numbers of another dialog:\n%s\n%s", ack, bye)
	}
}

func TestMoreThanTenProvisionalsAreOneRingingAndTheAnswerIsStillTaken(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	for i := range 60 {
		switch {
		case i%3 == 0:
			p.send(invite.reliably(183, "far", 500+i/3, ""))
			p.pracked(500 + i/3)
		default:
			p.send(invite.reply(180+i%3, "far", ""))
		}
	}
	p.accept(invite, "far")
	ev.next(t, b2bua.EvRinging)
	ev.next(t, b2bua.EvAnswered)
	ev.none(t)
}

func TestAnUpdateOfACalleeWhoHasNotAnsweredIsTakenRefusedOrMetByOurOpenOffer(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reliably(180, "far", 1, ""))
	p.pracked(1)
	ev.next(t, b2bua.EvRinging)
	s := p.callee(invite, "far")
	if got := s.ask("UPDATE", &with{body: sdpBody}).status(); got != 491 {
		t.Errorf("an offer while ours is open got %d (RFC 3311 §5.2)", got)
	}
	p.send(invite.reliably(183, "far", 2, "v=early"))
	p.pracked(2)
	if got := s.ask("UPDATE", &with{body: sdpBody}).status(); got != 488 {
		t.Errorf("an offer after the answer got %d", got)
	}
	if got := s.ask("UPDATE", nil).status(); got != 200 {
		t.Errorf("one that only refreshes the target got %d", got)
	}
	p.send(invite.reply(200, "far", "", at(p, "far")))
	if e := ev.next(t, b2bua.EvAnswered); string(e.Body) != "v=early" {
		t.Errorf("answered with %q", e.Body)
	}
}
