package e2e

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"testing"

	"tandem/internal/voice/phone"
)

// All of IPv6's loopback is one address, so one trunk is both carriers here: it
// leads to the out phone.
func TestWholeCallsGoOverIPv6(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			s := newSecrets(t)
			six := func(o *phone.Options) {
				o.IP, o.Credentials = netip.IPv6Loopback(), s.shown("::1", s.Authority)
			}
			st := newStage(t, setting{network: network, in: six, out: six, source: "::1/128", environ: []string{
				"TANDEM_SIP_LISTEN=udp://[::1]:0,tcp://[::1]:0,tls://[::1]:0", "TANDEM_SIP_TLS_CA=" + filepath.Join(s.dir, "ca.pem"),
				"TANDEM_SIP_TLS_CERT=" + filepath.Join(s.dir, "cert.pem"), "TANDEM_SIP_TLS_KEY=" + filepath.Join(s.dir, "key.pem")}})
			st.allocate(nil)
			for _, alicesEnd := range []bool{true, false} {
				a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
				st.must(b.HearsTone(st.ctx, 440))
				st.must(a.HearsTone(st.ctx, 880))
				st.must(a.Hold(st.ctx))
				st.must(a.Resume(st.ctx))
				st.must(b.Reinvite(st.ctx, phone.Offer{NewPort: true}))
				if alicesEnd {
					st.must(a.Hangup(st.ctx))
				} else {
					st.must(b.Hangup(st.ctx))
				}
				st.over(a, b)
				for _, c := range []*phone.Call{a, b} {
					for _, raw := range c.Raw() {
						if bytes.Contains(raw, []byte("127.0.0.1")) || bytes.Contains(raw, []byte("IN IP4 ")) {
							t.Errorf("an address of IPv4 in\n%s", raw)
						}
					}
				}
				st.settle()
			}
		})
	}
}
