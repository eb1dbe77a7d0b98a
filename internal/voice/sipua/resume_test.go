package sipua

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// restarted goes on with the scene's leg in another agent, and gives the scene there.
// Nobody hears the first agent any more.
func (sc scene) restarted(state []byte) scene {
	sc.t.Helper()
	r := newRig(sc.t)
	r.ua.SetTrunks([]masking.Trunk{trunk("one", sc.p)})
	leg, err := r.ua.Resume("call_1", []byte(ourOffer), state)
	if err != nil {
		sc.t.Fatal(err)
	}
	ev := newEvents()
	leg.Bind(ev.inbox, nil)
	sc.p.to = r.udp
	return scene{r, sc.p, sc.s, leg, ev}
}

// stateOf is the state of a leg, as it is kept.
func stateOf(t *testing.T, l b2bua.Leg) []byte {
	t.Helper()
	state, err := json.Marshal(l.State())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func cseq(t *testing.T, m msg) int {
	t.Helper()
	word, _, _ := strings.Cut(m.field("CSeq"), " ")
	n, err := strconv.Atoi(word)
	if err != nil {
		t.Fatalf("CSeq %q", m.field("CSeq"))
	}
	return n
}

func TestALegThatIsResumedGoesOnWithItsDialog(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		first := sc.offered()
		sc.p.send(first.reply(200, "", theirAnswer))
		sc.events.next(t, b2bua.EvAgreed)
		sc.p.expect("ACK ")
		again := sc.restarted(stateOf(t, sc.leg))
		if health := again.ua.TrunkHealth("one"); (health.LiveCalls == 1) != (strings.HasPrefix(t.Name(), "TestALegThatIsResumedGoesOnWithItsDialog/outgoing")) {
			t.Errorf("the trunk has %d calls", health.LiveCalls)
		}
		second := again.offered()
		for _, name := range []string{"From", "To", "Call-ID"} {
			if first.field(name) != second.field(name) {
				t.Errorf("%s was %q and is %q", name, first.field(name), second.field(name))
			}
		}
		if first.requestURI() != second.requestURI() || cseq(t, second) < cseq(t, first)+seqJump {
			t.Errorf("before:\n%s\nafter:\n%s", first, second)
		}
		again.p.send(second.reply(200, "", theirAnswer))
		again.events.next(t, b2bua.EvAgreed)
		again.p.expect("ACK ")
		third := again.restarted(stateOf(t, again.leg)) // and once more
		if re := third.offered(); cseq(t, re) < cseq(t, second)+seqJump {
			t.Errorf("CSeq %d after %d", cseq(t, re), cseq(t, second))
		} else {
			third.p.send(re.reply(481, "", ""))
		}
		if e := third.events.next(t, b2bua.EvHungUp); e.Cause != masking.CauseFailed {
			t.Errorf("%+v", e)
		}
	})
}

func TestTheRequestsOfAPeerReachALegThatIsResumed(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		again := sc.restarted(stateOf(t, sc.leg))
		if got := sc.s.ask("OPTIONS", nil).status(); got != 200 {
			t.Errorf("OPTIONS: %d", got)
		}
		sc.p.send(sc.s.request("INVITE", &with{body: sdpBody}))
		again.events.next(t, b2bua.EvOffered)
		again.leg.Answer([]byte(theirAnswer))
		if res := sc.p.expect("SIP/2.0 200"); res.body() != theirAnswer {
			t.Errorf("answered with\n%s", res)
		}
		sc.p.send(sc.s.request("BYE", nil))
		again.events.next(t, b2bua.EvHungUp)
		again.events.next(t, b2bua.EvGone)
		again.gone()
		if health := again.ua.TrunkHealth("one"); health.LiveCalls != 0 {
			t.Errorf("the trunk has %d calls", health.LiveCalls)
		}
	})
}

// The process died between a re-INVITE of ours and its answer.
func TestA200WhoseReinviteDiedWithItsProcessGetsItsAck(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		re := sc.offered()
		sc.restarted(stateOf(t, sc.leg))
		for range 2 {
			sc.p.send(re.reply(200, "", theirAnswer))
			if ack := sc.p.expect("ACK "); cseq(t, ack) != cseq(t, re) || ack.field("To") != re.field("To") {
				t.Errorf("of\n%s\nthe ACK is\n%s", re, ack)
			}
		}
	})
}

func TestALegThatIsResumedKeepsItsRoute(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		var st LegState
		if err := json.Unmarshal(stateOf(t, sc.leg), &st); err != nil {
			t.Fatal(err)
		}
		st.Routes = []string{"sip:" + sc.p.addr.String() + ";lr", "sip:192.0.2.7;lr"}
		state, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		again := sc.restarted(state)
		again.leg.End(b2bua.Reason{Cause: masking.CauseNodeLost})
		bye := sc.p.expect("BYE ")
		if routes := bye.fields("Route"); len(routes) != 2 || routes[1] != "<sip:192.0.2.7;lr>" {
			t.Errorf("Route: %q", routes)
		}
		sc.p.send(bye.reply(200, "", ""))
		again.events.next(t, b2bua.EvGone)
	})
}

func TestWhatIsNoStateOfALegIsNotResumed(t *testing.T) {
	r, p := pair(t)
	s, c := r.established(p)
	state := string(stateOf(t, c.Leg))
	for _, bad := range []string{"", "{}", "7", strings.Replace(state, `"call_id"`, `"other_id"`, 1), strings.Replace(state, `"target":"sip:`, `"target":"`, 1),
		state} { // its dialog is up
		if _, err := r.ua.Resume("call_1", nil, []byte(bad)); err == nil {
			t.Errorf("%q was resumed", bad)
		}
	}
	if n := r.ua.Legs(); n != 1 {
		t.Errorf("%d legs", n)
	}
	p.send(s.request("BYE", nil))
	c.next(t, b2bua.EvHungUp)
	c.next(t, b2bua.EvGone)
	if state := c.Leg.State(); state != nil {
		t.Errorf("a leg that is gone has the state %v", state)
	}
}

func TestTheCallIsToldWhenARefreshHasMovedItsPeer(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		for range 2 { // the second one says the same
			if got := sc.s.ask("UPDATE", &with{no: "Contact", more: []string{"Contact: <sip:elsewhere@127.0.0.2:5999>"}}).status(); got != 200 {
				t.Fatalf("UPDATE: %d", got)
			}
		}
		sc.events.next(t, b2bua.EvMoved)
		sc.events.none(t)
		var st LegState
		if err := json.Unmarshal(stateOf(t, sc.leg), &st); err != nil || st.Target != "sip:elsewhere@127.0.0.2:5999" {
			t.Errorf("the state says %q, %v", st.Target, err)
		}
	})
}

func TestALegThatIsResumedKnowsThePeersDescription(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		again := sc.restarted(stateOf(t, sc.leg))
		sc.p.send(again.refreshed().reply(200, "", strings.ReplaceAll(sdpBody, "\r\n", "\n")))
		sc.p.expect("ACK ")
		sc.p.sync()
		again.events.none(t)
	})
}

func TestALegThatIsResumedKeepsItsSessionAlive(t *testing.T) {
	eitherLeg(t, func(t *testing.T, sc scene) {
		var st LegState
		if err := json.Unmarshal(stateOf(t, sc.leg), &st); err != nil {
			t.Fatal(err)
		}
		st.Expires, st.Refreshes = 600, true
		state, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		again := sc.restarted(state)
		if got := again.offered().field("Session-Expires"); got != "600;refresher=uac" {
			t.Errorf("Session-Expires: %s", got)
		}
	})
}
