package relay

import (
	"testing"
	"time"
)

// BenchmarkRewrite is all that our code does for a packet, without the sockets.
func BenchmarkRewrite(b *testing.B) {
	c := newCall(b, engine(b, Options{}))
	out, from := packet(8, 1, 1, 1, random(160)), addrOf(c.a.rtp)
	in := make([]byte, len(out))
	b.ReportAllocs()
	for b.Loop() {
		copy(in, out)
		if !c.rewritten(in, from) {
			b.Fatal("dropped")
		}
	}
}

// BenchmarkFlow is the rewriting alone.
func BenchmarkFlow(b *testing.B) {
	f := flow{ssrc: 1, payloads: SamePayloads()}
	in := packet(8, 1, 1, 1, random(160))
	b.ReportAllocs()
	for b.Loop() {
		h, ok := parseHeader(in)
		if !ok || f.rewrite(in, h, 8000, 0) == nil {
			b.Fatal("dropped")
		}
	}
}

// BenchmarkThroughTheSockets is one packet from phone to phone, one at a time.
func BenchmarkThroughTheSockets(b *testing.B) {
	c := newCall(b, engine(b, Options{}))
	out, to := packet(8, 1, 1, 1, random(160)), c.Local(A)
	in := make([]byte, 2048)
	_ = c.b.rtp.SetReadDeadline(time.Now().Add(10 * time.Minute))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.a.rtp.WriteToUDPAddrPort(out, to); err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.b.rtp.ReadFromUDPAddrPort(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSpokenFrame is what the speaker does for each speech every 20 ms,
// the system's call to send included.
func BenchmarkSpokenFrame(b *testing.B) {
	c := newCall(b, engine(b, Options{}))
	v := &saying{Speech: Speech{Payload: 8, Audio: random(8000), Loop: true}, session: c.Session, side: B}
	c.ends[A].said = v
	sp := newSpeaker(c.engine)
	sp.speeches = []*saying{v}
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += frameTime
		sp.tick(now)
	}
}

// BenchmarkProtected is BenchmarkRewrite with SRTP on both sides; a third of it
// is the phone's own work.
func BenchmarkProtected(b *testing.B) {
	for suite := range suites {
		b.Run(suite, func(b *testing.B) {
			run := protectedPackets(b, suite)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
