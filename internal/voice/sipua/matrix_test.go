package sipua

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/voice/b2bua"
)

// A scene is a leg in some state, with the peer's side of its dialog.
type scene struct {
	*rig
	p      *peer
	s      *script
	leg    b2bua.Leg
	events events
}

// scenes bring a leg of either kind into each of its states.
var scenes = map[string]func(r *rig, p *peer) scene{
	"incoming early": func(r *rig, p *peer) scene {
		s, c := r.caller(p, nil)
		c.Leg.Ring()
		s.confirm(p.expect("SIP/2.0 180"))
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming answered": func(r *rig, p *peer) scene {
		s, c := r.caller(p, nil)
		c.Leg.Answer([]byte(sdpBody))
		s.confirm(p.expect("SIP/2.0 200"))
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming talking": func(r *rig, p *peer) scene {
		s, c := r.established(p)
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming offered": func(r *rig, p *peer) scene {
		s, c := r.established(p)
		p.send(s.request("INVITE", &with{body: sdpBody}))
		c.next(r.t, b2bua.EvOffered)
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming updating": func(r *rig, p *peer) scene {
		s, c := r.established(p)
		p.send(s.request("UPDATE", &with{body: sdpBody}))
		c.next(r.t, b2bua.EvOffered)
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming offering": func(r *rig, p *peer) scene { // a re-INVITE without offer has got ours
		s, c := r.established(p)
		p.send(s.request("INVITE", nil))
		c.next(r.t, b2bua.EvOffered)
		c.Leg.Answer([]byte(sdpBody))
		p.expect("SIP/2.0 200")
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming proposing": func(r *rig, p *peer) scene { // a re-INVITE of ours is out
		s, c := r.established(p)
		c.Leg.Offer([]byte(sdpBody))
		p.expect("INVITE ")
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming ending": func(r *rig, p *peer) scene {
		s, c := r.established(p)
		c.Leg.End(b2bua.Reason{})
		p.expect("BYE ")
		return scene{r, p, s, c.Leg, c.events}
	},
	"incoming gone": func(r *rig, p *peer) scene {
		s, c := r.established(p)
		c.Leg.End(b2bua.Reason{})
		p.send(p.expect("BYE ").reply(200, "", ""))
		c.next(r.t, b2bua.EvGone)
		return scene{r, p, s, c.Leg, c.events}
	},
	"outgoing calling": func(r *rig, p *peer) scene {
		leg, ev := r.dial()
		return scene{r, p, p.callee(p.expect("INVITE "), "far"), leg, ev}
	},
	"outgoing ringing": func(r *rig, p *peer) scene {
		leg, ev := r.dial()
		invite := p.expect("INVITE ")
		p.send(invite.reply(180, "far", ""))
		ev.next(r.t, b2bua.EvRinging)
		return scene{r, p, p.callee(invite, "far"), leg, ev}
	},
	"outgoing cancelled": func(r *rig, p *peer) scene {
		leg, ev := r.dial()
		invite := p.expect("INVITE ")
		p.send(invite.reply(180, "far", ""))
		ev.next(r.t, b2bua.EvRinging)
		leg.End(b2bua.Reason{})
		p.expect("CANCEL ")
		return scene{r, p, p.callee(invite, "far"), leg, ev}
	},
	"outgoing talking": func(r *rig, p *peer) scene {
		s, leg, ev := r.reached(p)
		return scene{r, p, s, leg, ev}
	},
	"outgoing offered": func(r *rig, p *peer) scene {
		s, leg, ev := r.reached(p)
		p.send(s.request("INVITE", &with{body: sdpBody}))
		ev.next(r.t, b2bua.EvOffered)
		return scene{r, p, s, leg, ev}
	},
	"outgoing proposing": func(r *rig, p *peer) scene {
		s, leg, ev := r.reached(p)
		leg.Offer([]byte(sdpBody))
		p.expect("INVITE ")
		return scene{r, p, s, leg, ev}
	},
	"outgoing ending": func(r *rig, p *peer) scene {
		s, leg, ev := r.reached(p)
		leg.End(b2bua.Reason{})
		p.expect("BYE ")
		return scene{r, p, s, leg, ev}
	},
	"outgoing gone": func(r *rig, p *peer) scene {
		s, leg, ev := r.reached(p)
		leg.End(b2bua.Reason{})
		p.send(p.expect("BYE ").reply(200, "", ""))
		ev.next(r.t, b2bua.EvGone)
		return scene{r, p, s, leg, ev}
	},
}

// The requests of the matrix.
var asks = map[string]struct {
	method string
	w      with
}{
	"re-INVITE":            {"INVITE", with{body: sdpBody}},
	"re-INVITE, no offer":  {"INVITE", with{}},
	"UPDATE":               {"UPDATE", with{body: sdpBody}},
	"UPDATE, no offer":     {"UPDATE", with{}},
	"BYE":                  {"BYE", with{}},
	"OPTIONS":              {"OPTIONS", with{}},
	"REFER":                {"REFER", with{more: []string{"Refer-To: <sip:x@y>"}}},
	"INFO":                 {"INFO", with{}},
	"INFO with a key":      {"INFO", with{body: "Signal=5\r\nDuration=100\r\n", more: []string{"Content-Type: application/dtmf-relay"}}},
	"INFO with ISUP":       {"INFO", with{body: "x", more: []string{"Content-Type: application/isup"}}},
	"PRACK":                {"PRACK", with{more: []string{"RAck: 1 1 INVITE"}}},
	"NOTIFY":               {"NOTIFY", with{}},
	"an unknown method":    {"FROBNICATE", with{}},
	"BYE with Require":     {"BYE", with{more: []string{"Require: x-odd, x-even"}}},
	"BYE of another From":  {"BYE", with{local: "<sip:x@y>;tag=another"}},
	"BYE without From tag": {"BYE", with{local: "<sip:x@y>"}},
	"BYE of another To":    {"BYE", with{remote: "<sip:x@y>;tag=another"}},
	"BYE out of order":     {"BYE", with{seq: 1}},
	"ISUP in an UPDATE":    {"UPDATE", with{body: "x", more: []string{"Content-Type: application/isup"}}},
}

// matrix says what each request gets in each state: a status, and the events that
// the call is told. "-" stands for no answer until the call decides.
//
// RFC 3261 §12.2.2 (481, order), §14.2 (500 while something of theirs is open),
// §15.1.2 (BYE), RFC 3311 §5.2 (491 while an offer of ours is open), RFC 5407 §3.1.4
// (a re-INVITE before the ACK).
var matrix = map[string]map[string]string{
	"re-INVITE": {
		"incoming early": "500", "incoming answered": "- Offered", "incoming talking": "- Offered", "incoming offered": "500",
		"incoming updating": "500", "incoming offering": "491", "incoming proposing": "491", "incoming ending": "481", "incoming gone": "481",
		"outgoing calling": "481", "outgoing ringing": "491", "outgoing cancelled": "491", "outgoing talking": "- Offered",
		"outgoing offered": "500", "outgoing proposing": "491", "outgoing ending": "481", "outgoing gone": "481",
	},
	"re-INVITE, no offer": {
		"incoming early": "500", "incoming answered": "- Offered", "incoming talking": "- Offered", "incoming offered": "500",
		"incoming updating": "500", "incoming offering": "491", "incoming proposing": "491", "incoming ending": "481", "incoming gone": "481",
		"outgoing calling": "481", "outgoing ringing": "491", "outgoing cancelled": "491", "outgoing talking": "- Offered",
		"outgoing offered": "500", "outgoing proposing": "491", "outgoing ending": "481", "outgoing gone": "481",
	},
	"UPDATE": {
		"incoming early": "500", "incoming answered": "- Offered", "incoming talking": "- Offered", "incoming offered": "500",
		"incoming updating": "500", "incoming offering": "491", "incoming proposing": "491", "incoming ending": "481", "incoming gone": "481",
		"outgoing calling": "481", "outgoing ringing": "491", "outgoing cancelled": "491", "outgoing talking": "- Offered",
		"outgoing offered": "500", "outgoing proposing": "491", "outgoing ending": "481", "outgoing gone": "481",
	},
	"UPDATE, no offer": {
		"incoming early": "200", "incoming answered": "200", "incoming talking": "200", "incoming offered": "200",
		"incoming updating": "500", "incoming offering": "200", "incoming proposing": "200", "incoming ending": "481", "incoming gone": "481",
		"outgoing calling": "481", "outgoing ringing": "200", "outgoing cancelled": "200", "outgoing talking": "200",
		"outgoing offered": "200", "outgoing proposing": "200", "outgoing ending": "481", "outgoing gone": "481",
	},
	"BYE": {
		"incoming early": "200 HungUp", "incoming answered": "200 HungUp Gone", "incoming talking": "200 HungUp Gone",
		"incoming offered": "200 HungUp Gone", "incoming updating": "200 HungUp Gone", "incoming offering": "200 HungUp Gone",
		"incoming proposing": "200 HungUp Gone", "incoming ending": "200", "incoming gone": "481",
		"outgoing calling": "481", "outgoing ringing": "200 Failed", "outgoing cancelled": "200", "outgoing talking": "200 HungUp Gone",
		"outgoing offered": "200 HungUp Gone", "outgoing proposing": "200 HungUp Gone", "outgoing ending": "200", "outgoing gone": "481",
	},
	"OPTIONS":              everywhere("200", "481"),
	"REFER":                everywhere("603", "481"),
	"INFO":                 unlessEarly("200"),
	"INFO with a key":      unlessEarly("200 Digit"),
	"INFO with ISUP":       unlessEarly("415"),
	"PRACK":                everywhere("481", "481"),
	"NOTIFY":               everywhere("405", "481"),
	"an unknown method":    everywhere("405", "481"),
	"BYE with Require":     everywhere("420", "420"),
	"BYE of another From":  everywhere("481", "481"),
	"BYE without From tag": everywhere("481", "481"),
	"BYE of another To":    everywhere("481", "481"),
	"BYE out of order":     outOfOrder(),
	"ISUP in an UPDATE":    everywhere("415", "481"),
}

// everywhere is one outcome where there is a dialog, and another where there is none.
func everywhere(there, nowhere string) map[string]string {
	row := map[string]string{}
	for state := range scenes {
		row[state] = there
		if strings.HasSuffix(state, "gone") || strings.HasSuffix(state, "calling") {
			row[state] = nowhere
		}
	}
	return row
}

// unlessEarly: a callee who has not answered has nothing to tell.
func unlessEarly(there string) map[string]string {
	row := everywhere(there, "481")
	row["outgoing ringing"], row["outgoing cancelled"] = "405", "405"
	return row
}

// outOfOrder: the peer of an outgoing leg has used no CSeq before its first request.
func outOfOrder() map[string]string {
	row := everywhere("500", "481")
	row["outgoing ringing"], row["outgoing cancelled"] = "200 Failed", "200"
	row["outgoing talking"], row["outgoing proposing"], row["outgoing ending"] = "200 HungUp Gone", "200 HungUp Gone", "200"
	return row
}

func TestEveryRequestInEveryStateOfALegGetsItsAnswer(t *testing.T) {
	t.Parallel()
	for request, row := range matrix {
		for state, want := range row {
			t.Run(state+"/"+request, func(t *testing.T) {
				r, p := pair(t)
				sc := scenes[state](r, p)
				p.got()
				a := asks[request]
				if got := sc.outcome(a.method, a.w); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
		if len(row) != len(scenes) {
			t.Errorf("%s: %d states of %d", request, len(row), len(scenes))
		}
	}
	if len(matrix) != len(asks) {
		t.Errorf("%d rows for %d requests", len(matrix), len(asks))
	}
}

// outcome sends a request and says what it got, and what the call was told.
func (sc scene) outcome(method string, w with) string {
	m := msg(sc.s.request(method, &w))
	sc.p.send(string(m))
	sc.p.sync()
	got := "-"
	for _, res := range sc.p.all() {
		if res.field("CSeq") != m.field("CSeq") || res.field("Call-ID") != m.field("Call-ID") || res.status() < 200 {
			continue
		}
		got = fmt.Sprint(res.status())
		sc.check(method, res)
	}
	for {
		select {
		case e := <-sc.events:
			got += " " + e.Kind.String()
		default:
			return got
		}
	}
}

// check looks at what a response of that status must have.
func (sc scene) check(method string, res msg) {
	need := func(name string) {
		if res.field(name) == "" {
			sc.t.Errorf("%d to %s without %s:\n%s", res.status(), method, name, res)
		}
	}
	switch res.status() {
	case 405:
		need("Allow")
	case 415:
		need("Accept")
	case 420:
		if got := res.field("Unsupported"); got != "x-odd, x-even" {
			sc.t.Errorf("Unsupported %q", got)
		}
	case 500:
		need("Retry-After")
	case 200:
		if method == "UPDATE" {
			need("Contact")
		}
	}
	if !strings.Contains(res.field("To"), ";tag=") {
		sc.t.Errorf("no To tag:\n%s", res)
	}
}
