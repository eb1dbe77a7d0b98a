package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tandem/internal/voice/sdp"
)

// baresip has SRTP of its own (libre). srtp-mand offers RTP/SAVP, srtp RTP/AVP with
// keys. The trunk, which is that of both, says what the callee is offered.
func TestBaresipTalksBySRTPOnEitherSideOrBoth(t *testing.T) {
	for name, c := range map[string]struct{ a, b, trunk string }{
		"the caller":                       {"srtp-mand", "", "off"},
		"the caller, who offers both":      {"srtp", "", "off"},
		"the callee, who was offered both": {"", "srtp", "optional"},
		"both":                             {"srtp-mand", "srtp-mand", "required"},
	} {
		t.Run(name, func(t *testing.T) {
			pcma := codec{"PCMA", 8000, 1}
			p := newPair(t, pcma, pcma, c.a, c.b)
			if err := p.w.Do("", "PUT", "/v1/admin/trunks/carrier", map[string]any{"srtp": c.trunk}, nil); err != nil {
				t.Fatal(err)
			}
			if err := p.w.App.ReloadTrunks(context.Background()); err != nil {
				t.Fatal(err)
			}
			p.reach(p.b)
			p.talk(p.a, p.b, "sip:"+virtual+"@"+p.w.SIP("udp").String())
			p.digit(p.a, p.b, "1")
			p.digit(p.b, p.a, "2")
			for _, side := range []*baresip{p.a, p.b} {
				side.command("hold", "")
				side.await("CALL_REMOTE_SDP")
				side.command("resume", "")
				side.await("CALL_REMOTE_SDP")
				p.digit(p.a, p.b, "7")
				p.digit(p.b, p.a, "#")
			}
			p.hangUp(p.a, p.b)
			for side, mediaenc := range map[*baresip]string{p.a: c.a, p.b: c.b} {
				if has := strings.Contains(side.out.String(), "a=crypto:"); has != (mediaenc != "") {
					t.Errorf("%s with mediaenc=%q: keys in its SIP %v", side.name, mediaenc, has)
				}
			}
			r, err := p.w.Call("acme", theRecord(t, p.w).ID)
			if err != nil || r.Quality == nil || r.Quality.Caller.Strays+r.Quality.Callee.Strays != 0 {
				t.Errorf("what was carried: %+v, %v", r.Quality, err)
			}
			p.hidden()
		})
	}
}

// tshark follows the keys in SDP: what it takes for SRTP is well-formed, and nothing
// of the media or its reports is plain.
func TestTsharkFindsSRTPWellFormedAndNothingPlain(t *testing.T) {
	s := newWire(t, "udp", sdp.Mandatory)
	s.must(s.w.Do("", "PUT", "/v1/admin/trunks/carrier", map[string]any{"srtp": "required"}, nil))
	s.capture()
	s.reach(s.b)
	s.call(s.a, s.b, alice)
	s.finish()
	s.wellFormed()
	media := fmt.Sprintf("udp.srcport in {%d..%d}", s.media[0], s.media[1])
	for what, want := range map[string]int{
		"sdp.media.proto == \"RTP/SAVP\"":    4, // both offers and answers, as heard and as said
		"srtp.auth_tag and rtp and " + media: 100,
		"srtcp.auth_tag and " + media:        1,
	} {
		if got := len(s.read(what)); got < want {
			t.Errorf("%d frames of %s, want at least %d", got, what, want)
		}
	}
}
