package sipua

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

func TestAnInviteGets100ThenRingingThenAnAnswerWithOneTag(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, &with{body: sdpBody, hops: "20", more: []string{"Timestamp: 54.1"}})
	if c.Caller.E164() != alice || c.Called.E164() != virtual || c.Trunk != "one" || c.Hops != 19 || string(c.Offer) != sdpBody {
		t.Errorf("the call got %v from %v over %q, %d hops", c.Called, c.Caller, c.Trunk, c.Hops)
	}
	trying := p.expect("SIP/2.0 100")
	if trying.toTag() != "" || trying.field("Timestamp") != "54.1" {
		t.Errorf("RFC 3261 §8.2.6.1:\n%s", trying)
	}
	c.Leg.Ring()
	ringing := p.expect("SIP/2.0 180")
	c.Leg.Answer([]byte(sdpBody))
	ok := p.expect("SIP/2.0 200")
	if ringing.toTag() == "" || ringing.toTag() != ok.toTag() {
		t.Errorf("tags %q and %q", ringing.toTag(), ok.toTag())
	}
	if ok.body() != sdpBody || ok.field("Contact") == "" || ok.field("Allow") == "" {
		t.Errorf("the answer:\n%s", ok)
	}
	s.confirm(ok)
	s.ack(ok, nil)
	if res := s.ask("BYE", nil); res.status() != 200 {
		t.Errorf("BYE got %s", res.start())
	}
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	c.none(t)
}

func TestAToWithAnEmptyTagGetsATag(t *testing.T) {
	r, p := pair(t)
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=x;odd=\"a b\"", remote: "\"Q\" <sip:" + virtual + "@tandem>;x=1;tag"}
	p.send(s.request("INVITE", &with{body: sdpBody}))
	c := r.call()
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	if res.toTag() == "" || res.field("From") != s.local || !strings.HasPrefix(res.field("To"), "\"Q\" <sip:"+virtual+"@tandem>;x=1;tag=") {
		t.Fatalf("From and To are not what they were:\n%s", res)
	}
	s.confirm(res)
	s.ack(res, nil)
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d", got)
	}
}

func TestA2xxIsRepeatedUntilItsAckComes(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	first := p.expect("SIP/2.0 200")
	for range 3 {
		if again := p.expect("SIP/2.0 200"); again != first {
			t.Fatalf("another answer:\n%s\n%s", first, again)
		}
	}
	s.confirm(first)
	s.ack(first, &with{seq: 99, remote: s.remote, local: "<sip:x@y>;tag=stranger"}) // not the peer's
	p.sync()
	if !repeats(c.Leg) {
		t.Error("a stranger's ACK was taken for the peer's")
	}
	s.ack(first, nil)
	p.sync()
	if repeats(c.Leg) {
		t.Error("repeated after the ACK")
	}
	c.none(t)
}

func TestA2xxThatNobodyAcknowledgesEndsInByeAfter64T1(t *testing.T) {
	r, p := pair(t, quick)
	begun := time.Now()
	_, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	bye := p.expect("BYE ")
	if took := time.Since(begun); took < 64*brisk.T1 {
		t.Errorf("given up after %v", took)
	}
	if e := c.next(t, b2bua.EvHungUp); e.Cause != masking.CauseFailed {
		t.Errorf("cause %q", e.Cause)
	}
	p.send(bye.reply(200, "", ""))
	c.next(t, b2bua.EvGone)
	c.none(t)
	if n := p.count("SIP/2.0 200"); n < 10 {
		t.Errorf("the 200 was sent %d times", n)
	}
}

func TestAReinviteThatNobodyAcknowledgesEndsTheCall(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.established(p)
	p.send(s.request("INVITE", &with{body: sdpBody}))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte(sdpBody))
	p.send(p.expect("BYE ").reply(200, "", ""))
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
}

func TestACallThatEndsBeforeItsAckSaysByeWithTheAck(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	c.Leg.End(b2bua.Reason{Cause: masking.CauseCalleeHungUp})
	p.sync()
	if n := p.count("BYE"); n != 0 {
		t.Fatal("BYE before the ACK (RFC 3261 §15)")
	}
	s.ack(res, nil)
	p.send(p.expect("BYE ").reply(200, "", ""))
	c.next(t, b2bua.EvGone)
	c.none(t)
}

func TestAByeBeforeTheAckEndsTheCallAndNothingIsRepeated(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Fatalf("BYE got %d", got)
	}
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	if repeats(c.Leg) {
		t.Error("repeated after the BYE")
	}
	s.ack(res, nil) // late
	p.sync()
}

func TestAByeBeforeTheAnswerLeadsTo487WhateverTheCallDoes(t *testing.T) {
	for name, act := range map[string]func(b2bua.Leg){
		"it ends":    func(l b2bua.Leg) { l.End(b2bua.Reason{Cause: masking.CauseCallerCancelled}) },
		"it answers": func(l b2bua.Leg) { l.Answer([]byte(sdpBody)); l.End(b2bua.Reason{Cause: masking.CauseCallerHungUp}) },
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			s, c := r.caller(p, nil)
			invite := s.invite
			c.Leg.Ring()
			s.confirm(p.expect("SIP/2.0 180"))
			if got := s.ask("BYE", nil).status(); got != 200 {
				t.Fatalf("BYE got %d", got)
			}
			c.next(t, b2bua.EvHungUp)
			s.ask("BYE", nil)
			c.none(t) // the call has been told
			act(c.Leg)
			if got := s.final(invite).status(); got != 487 {
				t.Errorf("the INVITE got %d", got)
			}
			c.next(t, b2bua.EvGone)
			c.none(t)
		})
	}
}

func TestByesThatCrossEndTheLegOnce(t *testing.T) {
	for _, peersFirst := range []bool{true, false} {
		r, p := pair(t)
		s, c := r.established(p)
		c.Leg.End(b2bua.Reason{})
		ours := p.expect("BYE ")
		if !peersFirst {
			p.send(ours.reply(481, "", ""))
		}
		if got := s.ask("BYE", nil).status(); got != 200 && peersFirst {
			t.Errorf("their BYE got %d", got)
		}
		if peersFirst {
			p.send(ours.reply(200, "", ""))
		}
		c.next(t, b2bua.EvGone)
		p.sync()
		c.none(t)
		r.gone()
	}
}

func TestAnEndThatLosesToThePeersByeSaysNothing(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	s.ask("BYE", nil)
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	c.Leg.(*leg).bye() // as an End does that found the leg talking just before
	p.sync()
	if n := p.count("BYE"); n != 0 || phaseOf(c.Leg) != gone {
		t.Errorf("%d BYEs, phase %d", n, phaseOf(c.Leg))
	}
	c.none(t)
}

func TestACancelReachesTheCallAndTheCallSays487(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, nil)
	invite := s.invite
	branch := invite.field("Via")[strings.Index(invite.field("Via"), "branch=")+7:]
	cancel := &with{seq: 1, branch: branch, remote: invite.field("To")}
	if got := s.ask("CANCEL", cancel).status(); got != 200 {
		t.Errorf("CANCEL got %d", got)
	}
	c.next(t, b2bua.EvCancelled)
	c.Leg.End(b2bua.Reason{Cause: masking.CauseCallerCancelled})
	if got := s.final(invite).status(); got != 487 {
		t.Errorf("INVITE got %d", got)
	}
	c.next(t, b2bua.EvGone)
	c.none(t)
}

func TestACancelThatComesBeforeTheCallListensIsNotLost(t *testing.T) {
	held := make(chan b2bua.Invite, 1)
	r, p := pair(t, func(o *Options) { o.OnInvite = func(in b2bua.Invite) { held <- in } })
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=1", remote: "<sip:" + virtual + "@tandem>"}
	p.send(s.request("INVITE", &with{body: sdpBody, branch: "z9hG4bKx"}))
	p.send(s.request("CANCEL", &with{seq: 1, branch: "z9hG4bKx"}))
	p.sync()
	in := <-held
	ev := newEvents()
	in.Leg.Bind(ev.inbox, nil)
	ev.next(t, b2bua.EvCancelled)
	in.Leg.End(b2bua.Reason{Cause: masking.CauseCallerCancelled})
	ev.next(t, b2bua.EvGone)
	r.gone()
}

func TestALegWhoseInviteFailsBeforeTheCallListensIsSeenGone(t *testing.T) {
	held := make(chan b2bua.Invite, 1)
	r, p := pair(t, func(o *Options) { o.OnInvite = func(in b2bua.Invite) { held <- in } })
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=1", remote: "<sip:" + virtual + "@tandem>"}
	p.send(s.request("INVITE", &with{body: sdpBody}))
	in := <-held
	in.Leg.(*leg).inviteOver(nil) // as its transaction does when the connection breaks
	ev := newEvents()
	in.Leg.Bind(ev.inbox, nil)
	ev.next(t, b2bua.EvHungUp)
	ev.next(t, b2bua.EvGone)
	r.gone()
}

func TestACancelForAReinviteTakesItBackAndTheCallGoesOn(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	re := &with{body: sdpBody, branch: "z9hG4bKre"}
	p.send(s.request("INVITE", re))
	first := s.invite
	c.next(t, b2bua.EvOffered)
	if got := s.ask("CANCEL", &with{seq: s.seq, branch: "z9hG4bKre"}).status(); got != 200 {
		t.Errorf("CANCEL got %d", got)
	}
	if got := s.final(first).status(); got != 487 {
		t.Errorf("re-INVITE got %d", got)
	}
	c.next(t, b2bua.EvWithdrawn)
	// The call has not answered yet; its answer must not be taken for that of the next offer.
	if got := s.ask("INVITE", &with{body: sdpBody}).status(); got != 500 {
		t.Errorf("the next offer got %d before the call had answered the first", got)
	}
	c.Leg.Answer([]byte("v=old"))
	p.send(s.request("INVITE", &with{body: sdpBody}))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte(sdpBody))
	if res := s.final(s.invite); res.status() != 200 || res.body() != sdpBody {
		t.Errorf("the next offer got:\n%s", res)
	}
}

func TestOffersWithinTheCallAreAnsweredRefusedAndRefreshTheTarget(t *testing.T) {
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			r, p := pair(t)
			s, c := r.established(p)
			moved := r.peer("127.0.0.2") // another port of the same carrier
			s.contact = "<sip:moved@" + moved.addr.String() + ";method=INVITE?Subject=x>"
			p.send(s.request(method, &with{body: sdpBody}))
			if e := c.next(t, b2bua.EvOffered); string(e.Body) != sdpBody {
				t.Errorf("the call was offered %q", e.Body)
			}
			c.Leg.Answer([]byte(sdpBody))
			res := p.expect("SIP/2.0 200")
			if res.body() != sdpBody || res.field("Contact") == "" {
				t.Errorf("the answer:\n%s", res)
			}
			if method == "INVITE" {
				s.ack(res, nil)
			}
			p.send(s.request(method, &with{body: sdpBody}))
			c.next(t, b2bua.EvOffered)
			c.Leg.RefuseOffer()
			p.expect("SIP/2.0 488")
			c.Leg.End(b2bua.Reason{})
			bye := moved.expect("BYE ")
			if want := "sip:moved@" + moved.addr.String(); bye.requestURI() != want {
				t.Errorf("Request-URI %q, want %q (RFC 3261 §19.1.1 table 1)", bye.requestURI(), want)
			}
			moved.send(bye.reply(200, "", ""))
			c.next(t, b2bua.EvGone)
		})
	}
}

func TestTheAnswerInAnAckReachesTheCallAndOneThatIsMissingIsARefusal(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	p.send(s.request("INVITE", nil))
	if e := c.next(t, b2bua.EvOffered); e.Body != nil {
		t.Fatalf("offered %q", e.Body)
	}
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.ack(res, &with{body: "v=0\r\ns=answer\r\n"})
	if e := c.next(t, b2bua.EvAgreed); string(e.Body) != "v=0\r\ns=answer\r\n" {
		t.Errorf("the call heard %q", e.Body)
	}
	if got := s.ask("UPDATE", nil).status(); got != 200 {
		t.Errorf("the call does not go on: %d", got)
	}

	p.send(s.request("INVITE", nil))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte(sdpBody))
	s.ack(s.final(s.invite), nil)
	c.next(t, b2bua.EvDeclined) // an ACK that owes an answer
}

func TestAnOpenReinviteIsAnsweredWhenTheCallEnds(t *testing.T) {
	for name, end := range map[string]func(s *script, c *incomingCall){
		"by us":   func(_ *script, c *incomingCall) { c.Leg.End(b2bua.Reason{}) },
		"by them": func(s *script, _ *incomingCall) { s.ask("BYE", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			s, c := r.established(p)
			p.send(s.request("INVITE", &with{body: sdpBody}))
			re := s.invite
			c.next(t, b2bua.EvOffered)
			end(s, c)
			if got := s.final(re).status(); got != 487 {
				t.Errorf("the re-INVITE got %d", got)
			}
		})
	}
}

func TestTheRouteSetOfACallerIsFollowedInItsOrder(t *testing.T) {
	r, p := pair(t)
	via := r.peer("127.0.0.2")
	s, c := r.caller(p, &with{body: sdpBody, more: []string{
		"Record-Route: <sip:" + via.addr.String() + ";lr>, <sip:edge.example;lr;x=1>", "Record-Route: <sip:far.example;lr>"}})
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	if got := strings.Join(res.fields("Record-Route"), " "); got != "<sip:"+via.addr.String()+";lr> <sip:edge.example;lr;x=1> <sip:far.example;lr>" {
		t.Errorf("Record-Route: %s", got)
	}
	s.confirm(res)
	s.ack(res, nil)
	p.sync()
	c.Leg.End(b2bua.Reason{})
	bye := via.expect("BYE ")
	if got := strings.Join(bye.fields("Route"), " "); got != "<sip:"+via.addr.String()+";lr> <sip:edge.example;lr;x=1> <sip:far.example;lr>" ||
		bye.requestURI() != "sip:peer@"+p.addr.String() {
		t.Errorf("the BYE:\n%s", bye)
	}
}

func TestAByeGoesBackTheWayTheCallCameWhereTheContactLeadsNowhere(t *testing.T) {
	for name, contact := range map[string]string{
		"behind a NAT":     "<sip:peer@10.1.2.3:5060>",
		"a name":           "<sip:peer@pbx.example>",
		"somebody else":    "<sip:peer@[2001:db8::7]:5062>",
		"IPv6 and a param": "<sips:[::1];ob>",
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			s, c := r.caller(p, &with{body: sdpBody, no: "Contact", more: []string{"Contact: " + contact}})
			c.Leg.Answer([]byte(sdpBody))
			res := p.expect("SIP/2.0 200")
			s.confirm(res)
			s.ack(res, nil)
			p.sync()
			c.Leg.End(b2bua.Reason{})
			bye := p.expect("BYE ")
			if want := strings.Trim(contact, "<>"); bye.requestURI() != want {
				t.Errorf("Request-URI %q, want %q", bye.requestURI(), want)
			}
		})
	}
}

func TestACallerBehindANATIsReachedWhereHeSentFromLast(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, &with{body: sdpBody, no: "Contact", more: []string{"Contact: <sip:peer@10.1.2.3>"}})
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	s.ack(res, nil)
	p.sync()
	s.p, s.contact = r.peer("127.0.0.2"), "<sip:peer@10.1.2.3>" // the NAT has taken another port
	if got := s.ask("UPDATE", nil).status(); got != 200 {
		t.Fatalf("UPDATE got %d", got)
	}
	c.Leg.End(b2bua.Reason{})
	s.p.expect("BYE ")
}

func TestOverIPv6ContactAndTargetAreBracketed(t *testing.T) {
	r := newRig(t)
	at, err := r.ua.Listen("udp", netip.MustParseAddrPort("[::1]:0"))
	if err != nil {
		t.Fatal(err)
	}
	p := r.peerAt(netip.MustParseAddrPort("[::1]:0"), at)
	r.ua.SetTrunks([]masking.Trunk{trunk("six", p)})
	s, c := r.caller(p, nil)
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	if want := "<sip:" + at.String() + ">"; res.field("Contact") != want {
		t.Errorf("Contact %q, want %q", res.field("Contact"), want)
	}
	s.confirm(res)
	s.ack(res, nil)
	p.sync()
	c.Leg.End(b2bua.Reason{})
	p.send(p.expect("BYE sip:peer@"+p.addr.String()).reply(200, "", ""))
	c.next(t, b2bua.EvGone)

	_, ev := r.dial()
	invite := p.expect("INVITE sip:" + bob + "@" + p.addr.String())
	if !strings.Contains(invite.field("Contact"), at.String()) || !strings.Contains(invite.field("Via"), at.String()) {
		t.Errorf("our address is not the one of this family:\n%s", invite)
	}
	p.accept(invite, "far")
	ev.next(t, b2bua.EvAnswered)
}

func TestAPeerWithoutTagsHasACallLikeAnyOther(t *testing.T) {
	r, p := pair(t)
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>", remote: "<sip:" + virtual + "@tandem>"}
	p.send(s.request("INVITE", &with{body: sdpBody}))
	c := r.call()
	c.Leg.Answer([]byte(sdpBody))
	res := p.expect("SIP/2.0 200")
	s.confirm(res)
	s.ack(res, nil)
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d (RFC 3261 §12.1.1)", got)
	}
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
}

func TestATrunkThatIsRemovedKeepsItsCallsAndTakesNoNewOnes(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	r.ua.SetTrunks(nil)
	if got := s.ask("UPDATE", &with{}).status(); got != 200 {
		t.Errorf("UPDATE got %d", got)
	}
	other := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=1", remote: "<sip:" + virtual + "@tandem>"}
	if got := other.ask("INVITE", &with{body: sdpBody}).status(); got != 403 {
		t.Errorf("a new call got %d", got)
	}
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d", got)
	}
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	p.send(other.request("OPTIONS", nil))
	r.until("the stranger is dropped", func() bool { return r.ua.Stats().DroppedSource > 0 })
}
