package sipua

import (
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// A proxy that forwards keeps Call-ID and From-tag: by them we know our own
// INVITE again, whomever it is sent to (RFC 3261 §16.3).
func TestOurOwnInviteThatComesBackIsALoop(t *testing.T) {
	r, p := pair(t)
	leg, ev := r.dial()
	invite := p.expect("INVITE ")
	back := outside(p)
	back.callID, back.local, back.seq = invite.field("Call-ID"), invite.field("From"), 41
	res := back.ask("INVITE", &with{body: sdpBody, hops: "20"})
	if res.start() != "SIP/2.0 482 Loop Detected" {
		t.Errorf("answered\n%s", res)
	}
	ev.none(t) // the call that rings goes on
	other := outside(p)
	other.local = invite.field("From") // the same tag alone is no proof
	p.send(other.request("INVITE", &with{body: sdpBody}))
	r.call().Leg.End(b2bua.Reason{Cause: masking.CauseBusy})
	other.final(other.invite)
	p.send(invite.reply(482, "far", ""))
	if e := ev.next(t, b2bua.EvFailed); e.Cause != masking.CauseUnreachable || e.Retry {
		t.Errorf("a loop found by the far side is %+v", e)
	}
	leg.End(b2bua.Reason{})
	r.gone()
}

func TestAForwardedCallIsKnownByWhatItsNetworkSaysOfIt(t *testing.T) {
	r, p := pair(t)
	for lines, want := range map[string]bool{
		"": false,
		"Diversion: <sip:" + bob + "@127.0.0.1>;reason=unconditional":                              true,
		"History-Info: <sip:" + virtual + "@x>;index=1":                                            false,
		"History-Info: <sip:" + bob + "@x>;index=1, <sip:" + virtual + "@x>;index=1.1":             true,
		"History-Info: <sip:" + bob + "@x>;index=1\nHistory-Info: <sip:" + virtual + "@x>;index=2": true,
	} {
		var more []string
		if lines != "" {
			more = strings.Split(lines, "\n")
		}
		s := outside(p)
		p.send(s.request("INVITE", &with{body: sdpBody, more: more}))
		in := r.call()
		if in.Diverted != want {
			t.Errorf("%q: %v", lines, in.Diverted)
		}
		in.Leg.End(b2bua.Reason{Cause: masking.CauseBusy})
		p.expect("SIP/2.0 486")
	}
}
