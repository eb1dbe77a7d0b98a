package testkit_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
)

func TestEverySecretOfALeakyCarrierIsFoundByItself(t *testing.T) {
	d, l := testkit.NewLeakDetector(number), testkit.Leaky(number)
	check := func(where, text string) {
		t.Helper()
		if len(d.Check(where, []byte(text))) != 1 {
			t.Errorf("%s not found: %q", where, text)
		}
	}
	for _, list := range [][]phone.Header{l.Headers, l.Request, l.Response} {
		for _, h := range list {
			check(h.Name, h.Name+": "+h.Value)
		}
	}
	for _, line := range l.SDPLines {
		check("SDP", line)
	}
	for _, r := range l.Bodies {
		if len(r.Body) > 0 {
			check(r.Type, string(r.Body))
		}
	}
	check("display", l.Display)
	check("Contact", l.ContactParams)
	check("RTCP", string(l.RTCP))
	check("extension", string(l.Extension))
}

// The places where a number can hide, each of which has to be there.
func TestALeakyCarrierKnowsEveryPlace(t *testing.T) {
	l := testkit.Leaky(number)
	has := make(map[string]bool)
	for _, list := range [][]phone.Header{l.Headers, l.Request, l.Response} {
		for _, h := range list {
			has[h.Name] = true
		}
	}
	for _, line := range l.SDPLines {
		has[line[:2]] = true
	}
	for _, place := range []string{"P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "History-Info",
		"Referred-By", "P-Called-Party-ID", "Identity", "Call-Info", "Alert-Info", "Subject", "Organization", "User-Agent", "Server",
		"Warning", "Reason", "Geolocation", "P-Access-Network-Info", "P-Charging-Vector", "User-to-User", "Session-ID",
		"X-Original-Caller", "o=", "s=", "i=", "u=", "e=", "p=", "a="} {
		if !has[place] {
			t.Errorf("nothing in %s", place)
		}
	}
}

// Put on phones, the secrets really reach the other side: in every request and response,
// in RTP and in RTCP. Otherwise a test that finds none behind Tandem would prove nothing.
func TestALeakyPhoneLeaksInEveryMessageAndPacket(t *testing.T) {
	const other = "+914012345678"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	calls := make(chan *phone.Call, 1)
	ip := netip.MustParseAddr("127.0.0.1")
	leakA, leakB := testkit.Leaky(number), testkit.Leaky(other)
	optionsA, optionsB := phone.Options{IP: ip}, phone.Options{IP: ip, OnCall: func(c *phone.Call) { calls <- c }}
	leakA.Apply(&optionsA)
	leakB.Apply(&optionsB)
	a, b := newPhone(t, optionsA), newPhone(t, optionsB)

	in := phone.Invite{From: "a", To: "b", Via: b.Addr()}
	leakA.Invite(&in)
	callA, err := a.Dial(ctx, in)
	must(t, err)
	callB := <-calls
	for _, r := range []func(phone.Reply) error{callB.Ring, callB.Answer} {
		var reply phone.Reply
		leakB.Reply(&reply)
		must(t, r(reply))
	}
	must(t, callA.Answered(ctx))
	must(t, callA.Hears(ctx, 1600))
	must(t, callB.Hears(ctx, 1600))
	for _, r := range leakA.Bodies {
		res, err := callA.Send(ctx, r)
		must(t, err)
		if res.Status/100 != 2 && res.Status != 603 {
			t.Errorf("%s: status %d", r.Method, res.Status)
		}
	}
	must(t, callA.Reinvite(ctx, phone.Offer{}))
	must(t, callA.Hangup(ctx))

	everywhere(t, "from A", number, callB.Raw())
	everywhere(t, "from B", other, callA.Raw())
}

// everywhere requires a leak in each message but those that the transaction layer
// makes by itself, and our own RTCP.
func everywhere(t *testing.T, where, number string, raw [][]byte) {
	t.Helper()
	d, kinds := testkit.NewLeakDetector(number), make(map[string]int)
	for _, b := range raw {
		kind := kindOf(b)
		if len(d.Check(where, b)) > 0 {
			kinds[kind]++
		} else if kind != "RTCP" {
			t.Errorf("%s: no leak in %s", where, kind)
		}
	}
	for _, kind := range []string{"SIP", "RTP", "RTCP"} {
		if kinds[kind] == 0 {
			t.Errorf("%s: no leak in any %s: %v", where, kind, kinds)
		}
	}
}

func kindOf(b []byte) string {
	switch {
	case b[0]>>6 != 2:
		return "SIP"
	case b[1] >= 192 && b[1] <= 223:
		return "RTCP"
	}
	return "RTP"
}

func newPhone(t *testing.T, o phone.Options) *phone.Phone {
	t.Helper()
	p, err := phone.New(o)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("unexpected: %w", err))
	}
}
