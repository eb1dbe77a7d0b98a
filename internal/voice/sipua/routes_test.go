package sipua

import (
	"strings"
	"testing"

	"tandem/internal/voice/b2bua"
)

// The route set of either leg, as it is on the wire: a loose router stands in Route
// and the target in the Request-URI, a strict one the other way round (RFC 3261
// §12.2.1.1), and the first of them is whom the request goes to.
func TestRouteSets(t *testing.T) {
	for name, lr := range map[string]string{"loose": ";lr", "strict": ""} {
		t.Run(name+", of a caller", func(t *testing.T) {
			r, p := pair(t)
			via := r.peer("127.0.0.2")
			router := "sip:" + via.addr.String() + lr
			s, c := r.caller(p, &with{body: sdpBody, more: []string{"Record-Route: <" + router + ">, <sip:far.example;lr>"}})
			c.Leg.Answer([]byte(sdpBody))
			res := p.expect("SIP/2.0 200")
			s.confirm(res)
			s.ack(res, nil)
			p.sync()
			c.Leg.End(b2bua.Reason{})
			routed(t, via.expect("BYE "), router, "sip:far.example;lr", "sip:peer@"+p.addr.String())
		})
		t.Run(name+", of a callee", func(t *testing.T) {
			r, p := pair(t)
			near := r.peer("127.0.0.2")
			router := "sip:" + near.addr.String() + lr
			leg, ev := r.dial()
			invite := p.expect("INVITE ")
			p.send(invite.reply(200, "far", sdpBody, "Contact: <sip:far@10.0.0.9:5070>", "Record-Route: <sip:far.example;lr>, <"+router+">"))
			routed(t, near.expect("ACK "), router, "sip:far.example;lr", "sip:far@10.0.0.9:5070")
			ev.next(t, b2bua.EvAnswered)
			leg.End(b2bua.Reason{})
			routed(t, near.expect("BYE "), router, "sip:far.example;lr", "sip:far@10.0.0.9:5070")
		})
	}
}

// routed checks the way of a request over two routers to a target.
func routed(t *testing.T, m msg, first, second, target string) {
	t.Helper()
	uri, route := target, "<"+first+"> <"+second+">"
	if !strings.Contains(first, ";lr") {
		uri, route = first, "<"+second+"> <"+target+">"
	}
	if got := strings.Join(m.fields("Route"), " "); m.requestURI() != uri || got != route {
		t.Errorf("%s by %s, want %s by %s", m.requestURI(), got, uri, route)
	}
}
