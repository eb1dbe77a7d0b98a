package sipua

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// hasty makes a second of Session-Expires a millisecond.
func hasty(o *Options) { o.Second = time.Millisecond }

func timerHeaders(more ...string) *with { return &with{body: sdpBody, more: more} }

// lasts gives what a leg knows of its session.
func lasts(l b2bua.Leg) (interval int, ours, armed bool) {
	own := l.(*leg)
	own.mu.Lock()
	defer own.mu.Unlock()
	return own.session.interval, own.session.ours, own.session.due != nil || own.session.end != nil
}

// lastSaid is what a re-INVITE that refreshes the session would repeat.
func lastSaid(l b2bua.Leg) []byte {
	own := l.(*leg)
	own.mu.Lock()
	defer own.mu.Unlock()
	return own.session.said
}

func TestSessionTimersOfACallerAreGrantedAsHeCanAndWants(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string // Session-Expires of the 200
		need  bool   // Require: timer
		ours  bool
	}{
		"a peer without support":                  {nil, "", false, false},
		"support, and no wish":                    {[]string{"Supported: timer"}, "1800;refresher=uas", true, true},
		"support and an interval":                 {[]string{"k: 100rel, timer", "x: 600"}, "600;refresher=uac", true, false},
		"he wants to refresh":                     {[]string{"Supported: timer", "Session-Expires: 600;refresher=uac"}, "600;refresher=uac", true, false},
		"he wants us to refresh":                  {[]string{"Supported: timer", "Session-Expires: 600 ; Refresher = UAS"}, "600;refresher=uas", true, true},
		"he requires it":                          {[]string{"Require: timer", "Session-Expires: 600"}, "600;refresher=uac", true, false},
		"more than we ask for":                    {[]string{"Supported: timer", "Session-Expires: 7200"}, "1800;refresher=uac", true, false},
		"more than we ask for, and no less":       {[]string{"Supported: timer", "Session-Expires: 7200", "Min-SE: 3600"}, "3600;refresher=uac", true, false},
		"the least":                               {[]string{"Supported: timer", "Session-Expires: 90"}, "90;refresher=uac", true, false},
		"a proxy's wish":                          {[]string{"Session-Expires: 600;refresher=uac"}, "600;refresher=uas", false, true},
		"a proxy's wish that is too short for us": {[]string{"Session-Expires: 60"}, "", false, false},
		"no number":                               {[]string{"Supported: timer", "Session-Expires: soon;refresher=both"}, "1800;refresher=uas", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			s, call := r.caller(p, timerHeaders(c.lines...))
			call.Leg.Answer([]byte(sdpBody))
			res := s.final(s.invite)
			if res.field("Session-Expires") != c.want || (res.field("Require") == "timer") != c.need {
				t.Errorf("the answer:\n%s", res)
			}
			if interval, ours, armed := lasts(call.Leg); (interval > 0) != (c.want != "") || ours != c.ours || armed != (c.want != "") {
				t.Errorf("%d s, by us %v, armed %v", interval, ours, armed)
			}
		})
	}
}

func TestSessionTimersBelowTheLeastGet422(t *testing.T) {
	r, p := pair(t)
	short := []string{"Supported: timer", "Session-Expires: 89"}
	if res := outside(p).ask("INVITE", timerHeaders(short...)); res.status() != 422 || res.field("Min-SE") != "90" || len(r.calls) != 0 {
		t.Errorf("an INVITE got:\n%s", res)
	}
	s, c := r.established(p)
	for method, w := range map[string]*with{"INVITE": timerHeaders(short...), "UPDATE": {more: short}} {
		if res := s.ask(method, w); res.status() != 422 || res.field("Min-SE") != "90" {
			t.Errorf("a re-%s got:\n%s", method, res)
		}
	}
	c.none(t)
}

func TestSessionTimersAreAskedForInEveryInvite(t *testing.T) {
	r, p := pair(t)
	r.dial()
	invite := p.expect("INVITE ")
	if invite.field("Session-Expires") != "1800" || invite.field("Min-SE") != "90" || !strings.Contains(invite.field("Supported"), "timer") ||
		invite.field("Require") != "" {
		t.Errorf("RFC 4028 §7.1:\n%s", invite)
	}
}

// timed dials and has the peer answer with these lines.
func (r *rig) timed(p *peer, lines ...string) (*script, b2bua.Leg, events) {
	r.t.Helper()
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(200, "far", sdpBody, append(lines, at(p, "far"))...))
	p.expect("ACK ")
	ev.next(r.t, b2bua.EvAnswered)
	return p.callee(invite, "far"), leg, ev
}

const takesUpdate = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE"

func TestSessionTimersOfACalleeAreKeptAsHeSays(t *testing.T) {
	for name, c := range map[string]struct {
		line     string
		interval int
		ours     bool
	}{
		"a peer without support": {"X: y", 0, false},
		"we refresh":             {"Session-Expires: 1000;refresher=uac", 1000, true},
		"the peer refreshes":     {"Session-Expires: 1000;refresher=uas", 1000, false},
		"nobody is named":        {"Session-Expires: 1000", 1000, true},
		"less than we allow":     {"Session-Expires: 2;refresher=uac", 90, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t)
			_, leg, _ := r.timed(p, c.line)
			if interval, ours, armed := lasts(leg); interval != c.interval || ours != c.ours || armed != (c.interval > 0) {
				t.Errorf("%d s, by us %v, armed %v", interval, ours, armed)
			}
		})
	}
}

func TestASessionOfOursIsRefreshedByUpdateAgainAndAgain(t *testing.T) {
	r, p := pair(t, hasty)
	_, leg, ev := r.timed(p, "Session-Expires: 200;refresher=uac", takesUpdate)
	for _, say := range []string{"Session-Expires: 200;refresher=uac", "Session-Expires: 180;refresher=uac", ""} {
		update := p.expect("UPDATE ")
		if got := update.field("Session-Expires"); !strings.HasSuffix(got, "0;refresher=uac") || update.body() != "" ||
			update.field("Min-SE") != "90" || !strings.Contains(update.field("Supported"), "timer") {
			t.Errorf("the refresh:\n%s", update)
		}
		lines := []string{at(p, "far")}
		if say != "" {
			lines = append(lines, say)
		}
		p.send(update.reply(200, "", "", lines...))
	}
	r.until("without Session-Expires it does not expire any more", func() bool { // RFC 4028 §7.2
		interval, _, armed := lasts(leg)
		return interval == 0 && !armed
	})
	ev.none(t)
	leg.End(b2bua.Reason{})
	p.expect("BYE ")
}

func TestASessionIsRefreshedByAReinviteOfTheSameDescriptionWhereThePeerTakesNoUpdate(t *testing.T) {
	for name, refuse := range map[string]bool{"it says so": false, "it refuses one": true} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t, hasty)
			allow := "Allow: INVITE, ACK, BYE, CANCEL"
			if refuse {
				allow = takesUpdate
			}
			_, leg, ev := r.timed(p, "Session-Expires: 400;refresher=uac", allow)
			if refuse {
				p.send(p.expect("UPDATE ").reply(501, "", ""))
			}
			for _, answer := range []string{sdpBody, strings.Replace(sdpBody, "o=- 1 1", "o=- 1 2", 1)} { // both as before
				re := p.expect("INVITE ")
				if re.body() != sdpBody || re.field("Session-Expires") != "400;refresher=uac" {
					t.Errorf("the refresh:\n%s", re)
				}
				p.send(re.reply(200, "", answer, "Session-Expires: 400;refresher=uac", at(p, "far")))
				if ack := p.expect("ACK "); strings.Fields(ack.field("CSeq"))[0] != strings.Fields(re.field("CSeq"))[0] {
					t.Errorf("CSeq %s acknowledges %s", ack.field("CSeq"), re.field("CSeq"))
				}
			}
			ev.none(t)
			re := p.expect("INVITE ")
			moved := strings.Replace(sdpBody, "40000", "40002", 1)
			p.send(re.reply(200, "", moved, "Session-Expires: 1000;refresher=uas", at(p, "far")))
			if e := ev.next(t, b2bua.EvOffered); string(e.Body) != moved {
				t.Errorf("the call heard %q", e.Body)
			}
			p.expect("ACK ")
			leg.Answer([]byte("v=x")) // goes nowhere
			p.sync()
			if got := p.got(); len(got) != 0 {
				t.Errorf("sent %v", got)
			}
			if n := p.count("UPDATE"); n != 0 {
				t.Error("an UPDATE to who has refused it")
			}
		})
	}
}

// refreshed has a leg refresh its session now, by a re-INVITE, and gives that.
func (sc scene) refreshed() msg {
	sc.t.Helper()
	own := sc.leg.(*leg)
	own.mu.Lock()
	own.session.noUpdate = true
	setting := own.session.setting
	own.mu.Unlock()
	own.refreshDue(setting)
	return sc.p.expect("INVITE ")
}

func TestAnOfferThatWasRefusedIsNotThePeersDescription(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		moved := strings.Replace(sdpBody, "40000", "40002", 1)
		answer := sc.refreshed().reply(200, "", sdpBody)
		sc.p.send(answer)
		sc.p.expect("ACK ")
		for _, agrees := range []bool{false, true} {
			offer := msg(sc.s.request("INVITE", &with{body: moved}))
			sc.p.send(string(offer))
			sc.events.next(t, b2bua.EvOffered)
			inForce, want := sdpBody, 488
			if agrees {
				inForce, want = moved, 200
				sc.leg.Answer([]byte(theirAnswer))
			} else {
				sc.leg.RefuseOffer()
			}
			res := sc.s.final(offer)
			if res.status() != want {
				t.Fatalf("the offer got %d", res.status())
			}
			sc.s.ack(res, nil)
			sc.p.sync()
			sc.p.send(sc.refreshed().reply(200, "", inForce))
			sc.p.expect("ACK ")
			sc.p.sync()
			sc.events.none(t)
		}
	})
}

func TestARefreshThatIsRefusedIsMadeAgainUntilTheSessionIsOver(t *testing.T) {
	r, p := pair(t, hasty)
	_, leg, ev := r.timed(p, "Session-Expires: 600;refresher=uac")
	first := p.expect("INVITE ")
	p.send(first.reply(503, "", ""))
	p.expect("ACK ")
	p.send(p.expect("INVITE ").reply(503, "", ""))
	if e := ev.next(t, b2bua.EvHungUp); e.Cause != masking.CauseSessionExpired {
		t.Errorf("cause %q", e.Cause)
	}
	p.send(p.expect("BYE ").reply(200, "", ""))
	ev.next(t, b2bua.EvGone)
	if _, _, armed := lasts(leg); armed {
		t.Error("timers run on")
	}
	ev.none(t)
}

func TestARefreshThatNobodyAnswersEndsTheCallWithACauseOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]int{"silence": 0, "408": 408, "481": 481} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t, quick, hasty)
			_, _, ev := r.timed(p, "Session-Expires: 1800;refresher=uac", takesUpdate)
			update := p.expect("UPDATE ")
			if reply != 0 {
				p.send(update.reply(reply, "", ""))
			}
			if e := ev.next(t, b2bua.EvHungUp); e.Cause != masking.CauseSessionExpired {
				t.Errorf("cause %q", e.Cause)
			}
			p.send(p.expect("BYE ").reply(200, "", ""))
			ev.next(t, b2bua.EvGone)
		})
	}
}

func TestA422ToARefreshIsAnsweredWithWhatThePeerWants(t *testing.T) {
	r, p := pair(t, hasty)
	_, leg, _ := r.timed(p, "Session-Expires: 300;refresher=uac", takesUpdate)
	p.send(p.expect("UPDATE ").reply(422, "", "", "Min-SE: 1000"))
	update := p.expect("UPDATE ")
	if update.field("Session-Expires") != "1000;refresher=uac" || update.field("Min-SE") != "1000" {
		t.Errorf("asked again:\n%s", update)
	}
	p.send(update.reply(200, "", "", "Session-Expires: 1000;refresher=uac"))
	r.until("it is granted", func() bool { interval, _, _ := lasts(leg); return interval == 1000 })
}

func TestASessionThatThePeerDoesNotRefreshEndsTheCallAndOneThatItDoesGoesOn(t *testing.T) {
	refresh := []string{"Supported: timer", "Session-Expires: 150;refresher=uac"}
	for name, w := range map[string]struct {
		method string
		with
	}{
		"by UPDATE":    {"UPDATE", with{more: refresh}},
		"by re-INVITE": {"INVITE", with{more: refresh, body: sdpBody}},
	} {
		t.Run(name, func(t *testing.T) {
			r, p := pair(t, hasty)
			s, c := r.caller(p, timerHeaders("Supported: timer", "Session-Expires: 30000;refresher=uac", "Min-SE: 20000"))
			c.Leg.Answer([]byte(sdpBody))
			res := s.final(s.invite)
			s.confirm(res)
			s.ack(res, nil)
			p.sync()
			ask := msg(s.request(w.method, &w.with))
			p.send(string(ask))
			if w.method == "INVITE" {
				c.next(t, b2bua.EvOffered)
				c.Leg.Answer([]byte(sdpBody))
			}
			ok := s.final(ask)
			if got := ok.field("Session-Expires"); got != "150;refresher=uac" || ok.field("Require") != "timer" {
				t.Errorf("the refresh got:\n%s", ok)
			}
			if w.method == "INVITE" {
				s.ack(ok, nil)
			}
			begun := time.Now() // it was to last for 18 s; now for 118 ms
			if e := c.next(t, b2bua.EvHungUp); e.Cause != masking.CauseSessionExpired {
				t.Errorf("cause %q", e.Cause)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("ended after %v", took)
			}
			p.send(p.expect("BYE ").reply(200, "", ""))
			c.next(t, b2bua.EvGone)
		})
	}
}

func TestWhoRefreshesKeepsDoingSoUnlessTheRequestSaysOtherwise(t *testing.T) {
	r, p := pair(t)
	s, leg, _ := r.timed(p, "Session-Expires: 1000;refresher=uac") // that is us
	for _, c := range []struct {
		lines []string
		want  string
		ours  bool
	}{
		{[]string{"Supported: timer", "Session-Expires: 1000"}, "1000;refresher=uas", true},
		{[]string{"Supported: timer"}, "1800;refresher=uas", true},
		{[]string{"Supported: timer", "Session-Expires: 1000;refresher=uac"}, "1000;refresher=uac", false},
		{[]string{"Supported: timer", "Session-Expires: 1000"}, "1000;refresher=uac", false},
		{nil, "", false},
	} {
		res := s.ask("UPDATE", &with{more: c.lines})
		_, ours, _ := lasts(leg)
		if res.field("Session-Expires") != c.want || ours != c.ours && c.want != "" {
			t.Errorf("%v: %q, by us %v", c.lines, res.field("Session-Expires"), ours)
		}
	}
}

func TestEveryOfferOfOursKeepsTheSessionAlive(t *testing.T) {
	for who, refresher := range map[string]string{"uac": "uac", "uas": "uas"} {
		r, p := pair(t)
		_, leg, ev := r.timed(p, "Session-Expires: 1000;refresher="+who)
		leg.Offer([]byte("v=new"))
		re := p.expect("INVITE ")
		if got := re.field("Session-Expires"); got != "1000;refresher="+refresher {
			t.Errorf("Session-Expires %q", got)
		}
		p.send(re.reply(200, "", sdpBody, "Session-Expires: 500;refresher=uas"))
		ev.next(t, b2bua.EvAgreed)
		if interval, ours, _ := lasts(leg); interval != 500 || ours {
			t.Errorf("%d s, by us %v", interval, ours)
		}
		if got := string(lastSaid(leg)); got != "v=new" {
			t.Errorf("a refresh would say %q", got)
		}
	}
}

func TestARefreshWaitsForAnOfferThatIsOpenAndIsNotMadeIfThatHasRefreshedTheSession(t *testing.T) {
	r, p := pair(t, hasty)
	s, l, ev := r.timed(p, "Session-Expires: 200;refresher=uac", takesUpdate)
	p.send(s.request("INVITE", timerHeaders("Supported: timer", "Session-Expires: 1800;refresher=uac")))
	ev.next(t, b2bua.EvOffered)
	r.until("the refresh is due", func() bool {
		own := l.(*leg)
		own.mu.Lock()
		defer own.mu.Unlock()
		return len(own.due) == 1
	})
	l.Answer([]byte(sdpBody))
	s.ack(s.final(s.invite), nil)
	p.sync()
	if n := p.count("UPDATE"); n != 0 {
		t.Error("refreshed although the offer has done so")
	}
}

func TestBeforeTheAnswerNoSessionIsBegun(t *testing.T) {
	r, p := pair(t)
	s, c := r.caller(p, timerHeaders("Supported: 100rel"))
	c.Leg.Ring()
	s.confirm(p.expect("SIP/2.0 180"))
	if res := s.ask("UPDATE", &with{more: []string{"Supported: timer", "Session-Expires: 100"}}); res.status() != 200 || res.field("Session-Expires") != "" {
		t.Errorf("an UPDATE before the answer:\n%s", res)
	}
	if _, _, armed := lasts(c.Leg); armed {
		t.Error("a session of no call")
	}
}

func TestA422ToOurInviteIsFollowedByTheSameForLonger(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	first := p.expect("INVITE ")
	p.send(first.reliably(183, "far", 70, ""))
	p.pracked(70)
	ev.next(t, b2bua.EvRinging)
	p.send(first.reply(422, "far", "", "Min-SE: 3600"))
	p.expect("ACK ")
	second := p.expect("INVITE ")
	if second.field("Session-Expires") != "3600" || second.field("Min-SE") != "3600" || len(second.fields("Min-SE")) != 1 {
		t.Errorf("RFC 4028 §7.3:\n%s", second)
	}
	for _, name := range []string{"Call-ID", "From", "To", "Contact"} {
		if second.field(name) != first.field(name) {
			t.Errorf("%s %q after %q", name, second.field(name), first.field(name))
		}
	}
	if second.body() != first.body() || second.field("Via") == first.field("Via") || second.field("CSeq") == first.field("CSeq") {
		t.Errorf("the second INVITE:\n%s", second)
	}
	p.send(second.reliably(183, "far", 5, "", at(p, "far"))) // numbers begin anew
	prack := p.expect("PRACK ")
	seq, _, _ := strings.Cut(second.field("CSeq"), " ")
	if prack.field("RAck") != "5 "+second.field("CSeq") {
		t.Errorf("RAck %q", prack.field("RAck"))
	}
	p.send(prack.reply(200, "", ""))
	p.send(second.reply(200, "far", sdpBody, "Session-Expires: 3600;refresher=uac", at(p, "far")))
	if ack := p.expect("ACK "); ack.field("CSeq") != seq+" ACK" {
		t.Errorf("CSeq %q", ack.field("CSeq"))
	}
	ev.next(t, b2bua.EvAnswered)
	if interval, ours, _ := lasts(leg); interval != 3600 || !ours {
		t.Errorf("%d s, by us %v", interval, ours)
	}
	ev.none(t)
}

func TestA422ThatAsksForNoMoreThanItGotIsARefusal(t *testing.T) {
	r, p := pair(t)
	_, ev := r.dial()
	p.send(p.expect("INVITE ").reply(422, "far", "", "Min-SE: 3600"))
	p.expect("ACK ")
	p.send(p.expect("INVITE ").reply(422, "far", "", "Min-SE: 3600"))
	p.expect("ACK ")
	if e := ev.next(t, b2bua.EvFailed); e.Status != 422 {
		t.Errorf("failed with %+v", e)
	}
	ev.next(t, b2bua.EvGone)
}

func TestA422AfterOurCancelIsTheEnd(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	p.send(invite.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	leg.End(b2bua.Reason{})
	p.expect("CANCEL ")
	p.send(invite.reply(422, "far", "", "Min-SE: 3600"))
	p.expect("ACK ")
	ev.next(t, b2bua.EvGone)
	p.sync()
	if n := p.count("INVITE"); n != 0 {
		t.Error("rung again after the CANCEL")
	}
}
