package sipua

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

func TestADialogStaysOnTheTransportThatItsTrunkHas(t *testing.T) {
	addr := netip.MustParseAddrPort
	peer := func(network string) siptx.Target {
		return siptx.Target{Network: network, Addr: addr("192.0.2.1:40000"), Name: "sip.example.net"}
	}
	for _, c := range []struct {
		network, uri string
		want         siptx.Target
	}{
		{"udp", "sip:192.0.2.1:5080", siptx.Target{Network: "udp", Addr: addr("192.0.2.1:5080")}},
		{"udp", "sip:192.0.2.1", siptx.Target{Network: "udp", Addr: addr("192.0.2.1:5060")}},
		{"udp", "sip:192.0.2.1;transport=TCP", siptx.Target{Network: "tcp", Addr: addr("192.0.2.1:5060")}},
		{"udp", "sip:192.0.2.1;transport=tls", siptx.Target{Network: "udp", Addr: addr("192.0.2.1:5060")}},
		{"tcp", "sip:192.0.2.1:5080", siptx.Target{Network: "tcp", Addr: addr("192.0.2.1:5080")}},
		{"tls", "sip:192.0.2.1;transport=tls", siptx.Target{Network: "tls", Addr: addr("192.0.2.1:5061")}},
		{"tls", "sips:192.0.2.1", siptx.Target{Network: "tls", Addr: addr("192.0.2.1:5061")}},
		{"tls", "sip:192.0.2.1:5080;transport=tcp", siptx.Target{Network: "tls", Addr: addr("192.0.2.1:5080")}},
		{"tls", "sip:[2001:db8::1]:5080", siptx.Target{Network: "tls", Addr: addr("[2001:db8::1]:5080")}},
		{"tls", "sip:name.example.org", peer("tls")},
		{"tls", "sip:198.51.100.1", peer("tls")}, // not the trunk's
	} {
		var u sip.Uri
		if err := sip.ParseUri(c.uri, &u); err != nil {
			t.Fatal(err)
		}
		d := dialog{target: u, peer: peer(c.network)}
		got := d.hop(func(a netip.Addr) bool { return a != netip.MustParseAddr("198.51.100.1") })
		if c.want.Name = "sip.example.net"; c.want != d.peer && c.want.Network == c.network && c.want.Addr.Addr() == d.peer.Addr.Addr() {
			c.want.Over = d.peer.Addr // the connection that the peer has opened
		}
		if got != c.want {
			t.Errorf("%s over %s: %+v, want %+v", c.uri, c.network, got, c.want)
		}
	}
}

func TestASipsURIIsTakenOverTLSOnly(t *testing.T) {
	r, p := pair(t)
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=x", remote: "<sip:" + virtual + "@tandem>"}
	invite := strings.Replace(s.request("INVITE", &with{body: sdpBody}), "INVITE sip:", "INVITE sips:", 1)
	p.send(invite)
	if got := p.expect("SIP/2.0 416"); got.field("Contact") != "" {
		t.Error(got)
	}
	for uri, want := range map[string]bool{"sip:x@h": false, "sips:x@h": true} {
		for record, over := range map[string]bool{"": want, "sip:p;lr": want, "sips:p;lr": true} {
			req := sip.NewRequest(sip.INVITE, mustURI(t, uri))
			req.AppendHeader(&sip.ContactHeader{Address: mustURI(t, "sip:c@h")})
			if record != "" {
				req.AppendHeader(&sip.RecordRouteHeader{Address: mustURI(t, record)})
			}
			if wantsSips(req) != over {
				t.Errorf("%s by %q: our Contact is sips: %v", uri, record, !over)
			}
		}
	}
	r.gone()
}

func mustURI(t *testing.T, text string) (u sip.Uri) {
	t.Helper()
	if err := sip.ParseUri(text, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// The trunk of this test has nobody on UDP, so what comes at all has come over TCP.
func TestTooLargeUDPOfATrunkGoesOverTCP(t *testing.T) {
	r := newRig(t)
	f := r.farTCP("127.0.0.2")
	one := trunk("one", &peer{addr: f.addr})
	r.ua.SetTrunks([]masking.Trunk{one})
	ev := newEvents()
	long := sdpBody + strings.Repeat("a=fmtp:8 x\r\n", 100)
	leg := r.ua.Outgoing(e164.MustParse(virtual))[0].Dial(b2bua.Dial{Call: "call_out", To: e164.MustParse(bob),
		CallerID: e164.MustParse(virtual), Offer: []byte(long), Hops: 30, Inbox: ev.inbox})
	invite := f.request(t, sip.INVITE)
	if via := invite.Via(); via.Transport != "TCP" || string(invite.Body()) != long {
		t.Errorf("Via %s", via)
	}
	if c := invite.Contact().Address; c.UriParams.Has("transport") {
		t.Errorf("Contact %s: the trunk is one of UDP all the same", c.String())
	}
	f.answer(t, 200)
	ev.next(t, b2bua.EvAnswered)
	leg.End(b2bua.Reason{})
	if bye := f.request(t, sip.BYE); bye.Via().Transport != "TCP" { // by the Contact of the answer
		t.Errorf("BYE over %s", bye.Via().Transport)
	}
	f.answer(t, 200)
	ev.next(t, b2bua.EvGone)
}
