package sipua

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
)

// FuzzRequestsInEveryState sends one datagram to a leg that is in some state. In
// the text {call}, {from}, {to} and {us} stand for the dialog's Call-ID, the peer's
// From and To with their tags, and our address, so that what is made of the seeds
// reaches the leg. The agent must answer on, must not panic, and its leg must end
// and tell its call so, once and last.
func FuzzRequestsInEveryState(f *testing.F) {
	states := slices.Sorted(maps.Keys(scenes))
	for i, name := range slices.Sorted(maps.Keys(asks)) {
		a := asks[name]
		s := &script{p: &peer{}, callID: "{call}", local: "{from}", remote: "{to}", target: "sip:{us}", contact: "<sip:x@127.0.0.2:5062>", seq: 200}
		a.w.branch = "z9hG4bKfuzz"
		f.Add(byte(i), strings.ReplaceAll(s.request(a.method, &a.w), "invalid AddrPort", "127.0.0.2:5062"))
	}
	for i, text := range []string{
		"ACK sip:{us} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKa\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 1 ACK\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n",
		"CANCEL sip:{us} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKb\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 1 CANCEL\r\n\r\n",
		"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bKc\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@b?c=d>\r\nRecord-Route: <sip:x>,<sip:y;lr>\r\n\r\n",
		"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bKc\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\r\n",
		"INVITE sip:+914000000001@{us} SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKd\r\nFrom: \"a\" <tel:+91%39;phone-context=x>\r\nTo: <sip:y>;tag\r\nCall-ID: {call}\r\nCSeq: 0 INVITE\r\nContact: <sips:[::1]:99999;maddr=1>\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\n\r\n--b--",
		"BYE sip:{us} SIP/2.0\r\nv: SIP/2.0/UDP x\r\nf: {from}\r\nt: {to}\r\ni: {call}\r\nCSeq: 2147483647 BYE\r\nRequire:,\r\n\r\n",
	} {
		f.Add(byte(i), text)
	}
	f.Fuzz(func(t *testing.T, state byte, text string) {
		if len(text) > 60000 {
			return
		}
		r, p := pair(t)
		name := states[int(state)%len(states)]
		sc := scenes[name](r, p)
		text = strings.NewReplacer("{call}", sc.s.callID, "{from}", sc.s.local, "{to}", sc.s.remote, "{us}", r.udp.String()).Replace(text)
		p.send(text)
		p.sync()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.ua.Close(over); err != nil {
			t.Error(err)
		}
		if r.ua.Legs() != 0 {
			t.Error("a leg is left")
		}
		if !strings.HasSuffix(name, "gone") {
			sc.lastIsGone(name)
		}
	})
}
