package sipua

import (
	"strconv"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

func requires100rel() *with { return &with{body: sdpBody, more: []string{"Require: 100rel"}} }

func supports100rel() *with { return &with{body: sdpBody, more: []string{"k: timer, 100rel"}} }

// rseq is the number of a reliable response, 0 if it is none.
func (m msg) rseq() int {
	if m.field("Require") != "100rel" {
		return 0
	}
	n, _ := strconv.Atoi(m.field("RSeq"))
	return n
}

// prack acknowledges a reliable response and gives what that gets.
func (s *script) prack(res msg, body string) msg {
	s.p.t.Helper()
	s.confirm(res)
	return s.ask("PRACK", s.rack(res.field("RSeq")+" "+res.field("CSeq"), body))
}

func (s *script) rack(rack, body string) *with {
	return &with{body: body, more: []string{"RAck: " + rack}}
}

// unheard reports whether a leg still repeats a provisional response.
func unheard(l b2bua.Leg) bool {
	own := l.(*leg)
	own.mu.Lock()
	defer own.mu.Unlock()
	return own.rel.open != nil
}

func TestPRACKAProvisionalThatTheInviteRequiresToBeReliableIsRepeatedUntilItIsAcknowledged(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.caller(p, requires100rel())
	c.Leg.Ring()
	first := p.expect("SIP/2.0 180")
	if n := first.rseq(); n < 1 || n > 1<<31-1 || first.field("Contact") == "" || !strings.Contains(first.field("Allow"), "PRACK") {
		t.Errorf("RFC 3262 §3:\n%s", first)
	}
	for range 3 {
		if again := p.expect("SIP/2.0 180"); again != first {
			t.Fatalf("another response:\n%s\n%s", first, again)
		}
	}
	if res := s.prack(first, ""); res.status() != 200 || res.body() != "" {
		t.Errorf("PRACK got:\n%s", res)
	}
	if unheard(c.Leg) {
		t.Error("repeated after the PRACK")
	}
	c.Leg.Answer([]byte(sdpBody))
	ok := p.expect("SIP/2.0 200")
	if ok.body() != sdpBody || ok.field("Supported") != supported {
		t.Errorf("the answer:\n%s", ok)
	}
	s.ack(ok, &with{seq: 1})
	p.sync()
	if repeats(c.Leg) {
		t.Error("the ACK, with the CSeq of the INVITE, was not taken")
	}
	c.none(t)
}

func TestPRACKProvisionalsGoOneAtATimeInTheirOrderHoweverMany(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, requires100rel())
	invite := s.invite
	const many = 25 // more than ten
	for i := range many {
		if i%2 == 0 {
			c.Leg.Ring()
		} else {
			c.Leg.Speak([]byte(sdpBody))
		}
	}
	p.sync()
	last := 0
	for i := range many {
		res := p.await("a provisional response", func(m msg) bool { return m.status() > 100 && m.status() < 200 })
		if want := 180 + 3*(i%2); res.status() != want || last != 0 && res.rseq() != last+1 || res.toTag() == "" {
			t.Fatalf("number %d after %d:\n%s", i, last, res)
		}
		if p.count("SIP/2.0 18") != 0 {
			t.Fatal("the next came before the PRACK of this")
		}
		last = res.rseq()
		if got := s.prack(res, "").status(); got != 200 {
			t.Fatalf("PRACK got %d", got)
		}
	}
	c.Leg.End(b2bua.Reason{Cause: masking.CauseBusy})
	if res := s.final(invite); res.status() != 486 || "<sip:"+virtual+"@tandem>;tag="+res.toTag() != s.remote {
		t.Errorf("one To tag an INVITE:\n%s", res)
	}
}

func TestPRACKThatAcknowledgesNothingGets481(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, requires100rel())
	c.Leg.Ring()
	res := p.expect("SIP/2.0 180")
	s.confirm(res)
	n := res.rseq()
	for name, rack := range map[string]string{
		"another number":         strconv.Itoa(n+1) + " 1 INVITE",
		"another CSeq":           strconv.Itoa(n) + " 2 INVITE",
		"another method":         strconv.Itoa(n) + " 1 UPDATE",
		"no method":              strconv.Itoa(n) + " 1",
		"words":                  "x y INVITE",
		"nothing":                "",
		"a number out of bounds": "4294967296 1 INVITE",
	} {
		if got := s.ask("PRACK", s.rack(rack, "")).status(); got != 481 {
			t.Errorf("%s: %d", name, got)
		}
	}
	if !unheard(c.Leg) {
		t.Error("one of them was taken")
	}
	if got := s.ask("PRACK", &with{body: "x", more: []string{"RAck: " + strconv.Itoa(n) + " 1 INVITE", "Content-Type: application/isup"}}).status(); got != 415 {
		t.Errorf("ISUP in a PRACK got %d", got)
	}
	if got := s.prack(res, "").status(); got != 200 {
		t.Errorf("the right one: %d", got)
	}
	if got := s.prack(res, "").status(); got != 481 {
		t.Errorf("the same again: %d (RFC 3262 §3)", got)
	}
}

// RFC 3262 §3: the UAS must be prepared to process it.
func TestAPRACKThatComesAfterTheRefusalGets200Once(t *testing.T) {
	for name, body := range map[string]string{"alone": "", "with a description": sdpBody} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t, func(o *Options) { o.Timers.T4 = brisk.T4 })
			s, c := r.caller(p, requires100rel())
			c.Leg.Speak([]byte(sdpBody))
			res := p.expect("SIP/2.0 183")
			s.confirm(res)
			c.Leg.End(b2bua.Reason{Cause: masking.CauseBusy})
			s.final(s.invite)
			c.next(t, b2bua.EvGone)
			other := *s
			other.local = strings.Replace(s.local, "tag=", "tag=y", 1)
			for name, got := range map[string]int{
				"of another response": s.ask("PRACK", s.rack(strconv.Itoa(res.rseq()+1)+" 1 INVITE", body)).status(),
				"of somebody else":    other.prack(res, body).status(),
				"no PRACK":            s.ask("UPDATE", &with{more: []string{"RAck: " + strconv.Itoa(res.rseq()) + " 1 INVITE"}}).status(),
			} {
				if got != 481 {
					t.Errorf("%s: %d", name, got)
				}
			}
			if got := s.prack(res, body).status(); got != 200 {
				t.Errorf("the PRACK got %d", got)
			}
			if got := s.prack(res, body).status(); got != 481 {
				t.Errorf("and again %d", got)
			}
			c.none(t)
			p.send(s.request("ACK", &with{seq: 1, branch: s.invite.branch()}))
			r.until("nothing is kept", func() bool {
				r.ua.mu.Lock()
				defer r.ua.mu.Unlock()
				return len(r.ua.unheard) == 0
			})
		})
	}
}

func TestPRACKThatNeverComesEndsTheCallWith504After64T1(t *testing.T) {
	r, p := pair(t, quick)
	s, c := r.caller(p, requires100rel())
	c.Leg.Ring()
	if e := c.next(t, b2bua.EvHungUp); e.Cause != masking.CauseFailed {
		t.Errorf("cause %q", e.Cause)
	}
	if n := p.count("SIP/2.0 180"); n != 7 { // at 0, 1, 3, 7, 15, 31 and 63 times T1
		t.Errorf("sent %d times, want 7: the interval doubles without end", n)
	}
	c.Leg.End(b2bua.Reason{Cause: masking.CauseCallerCancelled})
	if got := s.final(s.invite).status(); got != 504 {
		t.Errorf("the INVITE got %d", got)
	}
	c.next(t, b2bua.EvGone)
	c.none(t)
}

func TestPRACKIsAskedForOnlyWithADescriptionWhereTheInviteOnlySupportsIt(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, supports100rel())
	c.Leg.Ring()
	if res := p.expect("SIP/2.0 180"); res.rseq() != 0 || res.field("RSeq") != "" {
		t.Errorf("a PRACK for a ring-back tone:\n%s", res)
	}
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	if res.rseq() == 0 {
		t.Errorf("what the caller is to hear may get lost:\n%s", res)
	}
	s.prack(res, "")

	_, plain := r.caller(p, nil)
	plain.Leg.Speak([]byte(sdpBody))
	if res := p.expect("SIP/2.0 183"); res.field("RSeq") != "" || res.field("Require") != "" {
		t.Errorf("who does not support it cannot do it:\n%s", res)
	}
}

func TestA2xxWaitsForThePRACKOfADescriptionAndDoesNotRepeatIt(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, supports100rel())
	invite := s.invite
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	c.Leg.Answer([]byte(sdpBody))
	c.Leg.Ring() // has no place any more
	p.sync()
	if got := p.got(); len(got) != 1 || !strings.HasPrefix(got[0], "SIP/2.0 100") {
		t.Errorf("before the PRACK came %v", got)
	}
	s.prack(res, "")
	ok := s.final(invite)
	if ok.status() != 200 || ok.body() != "" || ok.toTag() != res.toTag() {
		t.Errorf("the answer was in the 183 (RFC 3261 §13.2.1):\n%s", ok)
	}
	s.ack(ok, nil)
	p.sync()
	if repeats(c.Leg) || phaseOf(c.Leg) != talking {
		t.Error("the call is not up")
	}
	c.none(t)
}

func TestA2xxDoesNotWaitForThePRACKOfAResponseWithoutDescriptionAndTakesItLater(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, requires100rel())
	invite := s.invite
	c.Leg.Ring()
	res := p.expect("SIP/2.0 180")
	c.Leg.Speak([]byte(sdpBody)) // waits, and is dropped
	c.Leg.Answer([]byte(sdpBody))
	if ok := s.final(invite); ok.status() != 200 || ok.body() != sdpBody {
		t.Errorf("the answer:\n%s", ok)
	}
	if got := s.prack(res, "").status(); got != 200 {
		t.Errorf("PRACK got %d (RFC 3262 §3)", got)
	}
	if n := p.count("SIP/2.0 183"); n != 0 {
		t.Error("a provisional response came after the final one")
	}
}

func TestARefusalDoesNotWaitForThePRACK(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, supports100rel())
	c.Leg.Speak([]byte(sdpBody))
	p.expect("SIP/2.0 183")
	c.Leg.End(b2bua.Reason{Cause: masking.CauseRejected, Refusal: masking.RefusedStranger})
	if got := s.final(s.invite).status(); got != 403 {
		t.Errorf("got %d", got)
	}
	c.next(t, b2bua.EvGone)
}

func TestACancelWhileTheAnswerWaitsForItsPRACKWins(t *testing.T) {
	r, p := pair(t)
	w := supports100rel()
	w.branch = "z9hG4bKheld"
	s, c := r.caller(p, w)
	invite := s.invite
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	c.Leg.Answer([]byte(sdpBody))
	if got := s.ask("CANCEL", &with{seq: 1, branch: "z9hG4bKheld"}).status(); got != 200 {
		t.Errorf("CANCEL got %d", got)
	}
	c.next(t, b2bua.EvHungUp) // to the call, which has answered, it is a hang-up
	s.prack(res, "")
	c.Leg.End(b2bua.Reason{Cause: masking.CauseCallerHungUp})
	if got := s.final(invite).status(); got != 487 {
		t.Errorf("the INVITE got %d", got)
	}
	c.next(t, b2bua.EvGone)
	c.none(t)
}

func TestWithoutAnOfferNothingGoesReliablyThatHasNone(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, &with{more: []string{"Require: 100rel"}})
	c.Leg.Ring()
	p.sync()
	if n := p.count("SIP/2.0 180"); n != 0 {
		t.Error("the first reliable response must bear the offer (RFC 3262 §5)")
	}
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	if got := s.prack(res, "v=0\r\ns=answer\r\n").status(); got != 200 {
		t.Errorf("PRACK got %d", got)
	}
	if e := c.next(t, b2bua.EvAgreed); string(e.Body) != "v=0\r\ns=answer\r\n" {
		t.Errorf("the call heard %q", e.Body)
	}
	c.Leg.Ring()
	if res := p.expect("SIP/2.0 180"); res.rseq() == 0 {
		t.Errorf("after the exchange all go:\n%s", res)
	}
}

func TestAnOfferInAPRACKIsAnsweredInIts200AndTheAnswerToTheInviteFollows(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, supports100rel())
	invite := s.invite
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	s.confirm(res)
	c.Leg.Answer([]byte("v=first"))
	p.send(s.request("PRACK", s.rack(strconv.Itoa(res.rseq())+" 1 INVITE", sdpBody)))
	if e := c.next(t, b2bua.EvOffered); string(e.Body) != sdpBody {
		t.Errorf("the call was offered %q", e.Body)
	}
	p.sync()
	if n := p.count("SIP/2.0 200"); n != 0 {
		t.Fatal("answered before the call has decided")
	}
	c.Leg.Answer([]byte("v=second"))
	prack := p.expect("SIP/2.0 200")
	if !strings.HasSuffix(prack.field("CSeq"), "PRACK") || prack.body() != "v=second" {
		t.Errorf("the PRACK got:\n%s", prack)
	}
	if got := string(lastSaid(c.Leg)); got != "v=second" {
		t.Errorf("a refresh would say %q", got)
	}
	if ok := s.final(invite); ok.status() != 200 || ok.body() != "" {
		t.Errorf("the INVITE got:\n%s", ok)
	}
}

func TestAnOfferInAPRACKThatCannotBeMadeOrIsRefusedGets488AndThePRACKStands(t *testing.T) {
	for name, c := range map[string]struct {
		w           *with
		rings, asks bool
	}{
		"refused":                    {w: supports100rel(), asks: true},
		"the first has no answer":    {w: requires100rel(), rings: true},
		"while an answer is decided": {w: supports100rel()},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			s, call := r.caller(p, c.w)
			if c.rings {
				call.Leg.Ring()
			} else {
				call.Leg.Speak([]byte(sdpBody))
			}
			res := p.await("a provisional", func(m msg) bool { return m.rseq() > 0 })
			if name == "while an answer is decided" {
				own := call.Leg.(*leg)
				own.mu.Lock()
				own.asked = true
				own.mu.Unlock()
			}
			s.confirm(res)
			prack := msg(s.request("PRACK", s.rack(res.field("RSeq")+" 1 INVITE", sdpBody)))
			p.send(string(prack))
			if c.asks {
				call.next(t, b2bua.EvOffered)
				call.Leg.RefuseOffer()
			}
			if got := s.final(prack).status(); got != 488 {
				t.Errorf("got %d", got)
			}
			if unheard(call.Leg) {
				t.Error("the response is still repeated")
			}
			call.none(t)
		})
	}
}

func TestAnUpdateBeforeTheAnswerIsDecidedByTheCallOnceItsFirstOfferHasBeenAnswered(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, supports100rel())
	c.Leg.Speak([]byte(sdpBody))
	res := p.expect("SIP/2.0 183")
	s.confirm(res)
	if got := s.ask("UPDATE", &with{body: sdpBody}).status(); got != 500 {
		t.Errorf("before the PRACK: %d (RFC 3311 §5.2)", got)
	}
	s.prack(res, "")
	p.send(s.request("UPDATE", &with{body: sdpBody}))
	c.next(t, b2bua.EvOffered)
	c.Leg.Answer([]byte("v=update"))
	if ok := p.expect("SIP/2.0 200"); ok.body() != "v=update" || !strings.HasSuffix(ok.field("CSeq"), "UPDATE") {
		t.Errorf("the UPDATE got:\n%s", ok)
	}
}
