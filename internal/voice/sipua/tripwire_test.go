package sipua

import (
	"strings"
	"testing"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// leaking is a description with bob's number in it.
var leaking = strings.Replace(sdpBody, "s=-", "s=call "+bob[3:], 1)

// hidden binds a call's leg as b2bua does once the call is routed.
func (c *incomingCall) hidden() *incomingCall {
	c.Leg.Bind(c.inbox, []e164.Number{e164.MustParse(bob)})
	return c
}

func TestAnAnswerThatHoldsAHiddenNumberIsNotSentAndEndsTheCall(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, nil)
	c.hidden()
	c.Leg.Answer([]byte(leaking))
	c.next(t, b2bua.EvBlocked)
	c.Leg.End(b2bua.Reason{Cause: masking.CauseLeakBlocked})
	if got := s.final(s.invite).status(); got != 480 {
		t.Errorf("the caller got %d", got)
	}
	c.next(t, b2bua.EvGone)
	p.sync()
	r.unseen(p)
	if r.ua.Blocked() != 1 {
		t.Errorf("%d messages counted", r.ua.Blocked())
	}
}

// unseen fails if bob's number was on the wire.
func (r *rig) unseen(p *peer) {
	r.t.Helper()
	for _, m := range p.all() {
		if strings.Contains(string(m), bob[3:]) {
			r.t.Errorf("it was sent:\n%s", m)
		}
	}
}

func TestAnAnswerToAnOfferThatHoldsAHiddenNumberIsNotSentNorRepeated(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.established(p)
	c.hidden()
	p.send(s.request("INVITE", &with{body: sdpBody}))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte(leaking))
	c.next(t, b2bua.EvBlocked)
	if repeats(c.Leg) {
		t.Error("it is tried again and again")
	}
	if got := s.final(s.invite).status(); got != 500 {
		t.Errorf("the re-INVITE got %d", got)
	}
	c.Leg.End(b2bua.Reason{Cause: masking.CauseLeakBlocked})
	p.send(p.expect("BYE ").reply(200, "", ""))
	c.next(t, b2bua.EvGone)
	c.none(t)
	r.unseen(p)
}

func TestAnOfferThatHoldsAHiddenNumberIsNotSent(t *testing.T) {
	r, p := pair(t)
	ev := newEvents()
	r.ua.Outgoing(bobsCaller)[0].Dial(b2bua.Dial{Call: "c", To: e164.MustParse(alice), CallerID: bobsCaller, Offer: []byte(leaking),
		Hidden: []e164.Number{e164.MustParse(bob)}, Inbox: ev.inbox})
	ev.next(t, b2bua.EvBlocked)
	ev.next(t, b2bua.EvGone)
	ev.none(t)
	p.sync()
	if got := p.got(); len(got) != 0 {
		t.Errorf("sent %v", got)
	}
}

func TestAPartyCannotTestGuessesOfTheOthersNumber(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	c.hidden()
	guess := bob[3:]
	s.contact = "<sip:" + guess + "@" + p.addr.String() + ">"
	for name, ask := range map[string]struct {
		method string
		w      with
	}{
		"in an extension": {"OPTIONS", with{more: []string{"Require: x" + guess}}},
		"in Via":          {"OPTIONS", with{branch: "z9hG4bK" + guess}},
		"in From":         {"OPTIONS", with{local: strings.Replace(s.local, "<", "\""+guess+"\" <", 1)}},
		"in Record-Route": {"UPDATE", with{more: []string{"Record-Route: <sip:" + guess + "@x;lr>", "Timestamp: " + guess}}},
		"in everything":   {"FROBNICATE", with{more: []string{"X: " + guess, "Subject: " + guess}}},
	} {
		s.ask(ask.method, &ask.w)
		if r.ua.Blocked() != 0 {
			t.Fatalf("%s: the tripwire tells", name)
		}
	}
	c.next(t, b2bua.EvMoved) // by the UPDATE, whose Contact is another
	p.send(s.request("INVITE", &with{body: sdpBody, more: []string{"Timestamp: " + guess}}))
	c.next(t, b2bua.EvOffered)
	p.expect("SIP/2.0 100") // by siptx, which repeats the Timestamp
	// Payload numbers are the peer's choice, and ours repeats them.
	c.Leg.Answer([]byte(strings.Replace(sdpBody, "RTP/AVP 8", "RTP/AVP 8 86 76 7 67 02", 1)))
	if got := s.final(s.invite).status(); got != 200 {
		t.Errorf("the re-INVITE got %d", got)
	}
	c.Leg.End(b2bua.Reason{})
	if r.ua.Blocked() != 0 {
		t.Error("the tripwire tells")
	}
	c.none(t)
}
