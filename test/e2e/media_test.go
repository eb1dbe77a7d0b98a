package e2e

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

// The caller has only A-law, the callee only µ-law, and each has numbers of its own
// for what both know: what arrives is turned and renumbered for each direction.
func TestPayloadAsymmetryEachLegHasItsOwnLawAndNumbers(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{in: func(o *phone.Options) { o.Numbers = map[string]uint8{"telephone-event": 96} },
		out: func(o *phone.Options) { o.Numbers = map[string]uint8{"telephone-event": 110} }})
	st.allocate(nil)
	a, b := talkThrough(st, "PCMA", "PCMU")
	for _, c := range []struct {
		from, to *phone.Call
		keys     string
	}{{a, b, "12#"}, {b, a, "90*"}} {
		st.must(c.from.Press(st.ctx, c.keys, phone.Press{}))
		waitFor(t, st.ctx, func() bool { return c.to.Digits() == c.keys }, "the keys "+c.keys)
	}
	st.must(a.Reinvite(st.ctx, phone.Offer{}))
	st.must(a.Press(st.ctx, "5", phone.Press{}))
	waitFor(t, st.ctx, func() bool { return b.Digits() == "12#5" }, "a key after an offer within the call")
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

// A phone that tells a key in the media and by INFO, on a network that doubles its
// packets, has pressed it once.
func TestDTMFDoublesAreOnePress(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	for _, key := range []string{"4", "4", "7"} {
		st.must(a.Press(st.ctx, key, phone.Press{Twice: true}))
		st.must(a.Press(st.ctx, key, phone.Press{How: phone.INFO}))
	}
	waitFor(t, st.ctx, func() bool { return len(b.Digits()) >= 3 }, "three keys")
	st.must(b.Hears(st.ctx, len(b.Heard())+phone.Rate/2)) // room for a fourth
	if got := b.Digits(); got != "447" {
		t.Errorf("the callee's phone was told %q", got)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

// RTP bleed: somebody who has found the port of a call is neither heard nor sent
// anything, and is counted.
func TestRTPBleedFromAStrangerIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	a, b := st.counted(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	stranger, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.66:0")))
	st.must(err)
	defer func() { _ = stranger.Close() }()
	packet := append([]byte{0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 66}, make([]byte, 160)...)
	const bled = 50
	for range bled {
		_, err := stranger.WriteToUDPAddrPort(packet, a.SendsTo())
		st.must(err)
	}
	hearsMore(st, b, 440)
	hearsMore(st, a, 880)
	st.must(stranger.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if n, _, err := stranger.ReadFromUDPAddrPort(make([]byte, 2048)); err == nil {
		t.Errorf("the stranger was sent %d bytes", n)
	}
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	c, err := st.Call("acme", st.record().ID)
	st.must(err)
	if c.Quality == nil || c.Quality.Caller.Strays != bled || c.Quality.Callee.Strays != 0 {
		t.Errorf("quality %+v", c.Quality)
	}
}
