package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

// reporting makes an engine that reports every few milliseconds.
func reporting(t testing.TB, o Options) *Engine {
	e := engine(t, o)
	e.reports = 10 * time.Millisecond
	return e
}

func unmarshal(t testing.TB, b []byte) []rtcp.Packet {
	t.Helper()
	packets, err := rtcp.Unmarshal(b)
	if err != nil {
		t.Fatalf("%v in %x", err, b)
	}
	return packets
}

func marshal(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReportsHoldNothingOfTheFarSide(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, reporting(t, Options{Engine: kind}))
		const far = 0xFA12FA12
		name := "919876543210@phone-of-a.example.net"
		sdes := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: far, Items: []rtcp.SourceDescriptionItem{
			{Type: rtcp.SDESCNAME, Text: name}, {Type: rtcp.SDESPhone, Text: "919876543210"}, {Type: rtcp.SDESName, Text: "Asha of A"},
		}}}}
		theirs := marshal(t, &rtcp.SenderReport{SSRC: far, NTPTime: 0x1122334455667788, RTPTime: 0x99AABBCC, PacketCount: 77, OctetCount: 7777},
			sdes, &rtcp.Goodbye{Sources: []uint32{far}, Reason: "Asha of A hung up"})
		host, _ := os.Hostname()
		for range 5 {
			c.a.send(c.Local(A), packet(8, 1, 0x99AABBCC, far, []byte("x")))
			h, _ := c.b.media()
			if _, err := c.a.rtcp.WriteToUDPAddrPort(theirs, rtcpOf(c, A)); err != nil {
				t.Fatal(err)
			}
			got := c.b.receive(c.b.rtcp)
			for _, gone := range [][]byte{[]byte("9876543210"), []byte("Asha"), []byte("example.net"), {0xFA, 0x12, 0xFA, 0x12},
				{0x11, 0x22, 0x33, 0x44}, {0x99, 0xAA, 0xBB, 0xCC}} {
				if bytes.Contains(got, gone) {
					t.Errorf("%x crossed in %x", gone, got)
				}
			}
			if host != "" && bytes.Contains(got, []byte(host)) {
				t.Error("our host's name is in a report")
			}
			switch p := unmarshal(t, got)[0].(type) {
			case *rtcp.SenderReport:
				if len(p.Reports) != 0 {
					t.Errorf("B is told of a stream that it does not send: %+v", p)
				}
			case *rtcp.ReceiverReport:
				if len(p.Reports) != 0 {
					t.Errorf("B is told of a stream that it does not send: %+v", p)
				}
			}
			if from := binary.BigEndian.Uint32(got[4:]); from != h.ssrc {
				t.Errorf("the report comes from %x, the stream from %x", from, h.ssrc)
			}
		}
		if st := c.Close(); st[A].Malformed+st[A].Strays != 0 {
			t.Errorf("A's reports were not read: %+v", st[A])
		}
	})
}

func rtcpOf(c call, side Side) netip.AddrPort {
	l := c.Local(side)
	return netip.AddrPortFrom(l.Addr(), l.Port()+1)
}

func TestReportsCountWhatWasSentAndWhatArrived(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		for _, n := range []uint16{1, 2, 4, 5} {
			c.a.send(c.Local(A), packet(8, n, uint32(n)*160, 7, random(160)))
			c.b.media()
		}
		eventually(t, func() bool { return c.Stats()[B].BytesOut == 640 })
		c.sendReport(B, false)
		if p, ok := unmarshal(t, c.b.receive(c.b.rtcp))[0].(*rtcp.SenderReport); !ok || p.PacketCount != 4 || p.OctetCount != 640 {
			t.Errorf("B is told %+v", p)
		}
		c.sendReport(B, false)
		if _, ok := unmarshal(t, c.b.receive(c.b.rtcp))[0].(*rtcp.ReceiverReport); !ok {
			t.Error("a sender report though nothing was sent since the last")
		}
		c.sendReport(A, false)
		r, ok := unmarshal(t, c.a.receive(c.a.rtcp))[0].(*rtcp.ReceiverReport)
		if !ok || len(r.Reports) != 1 {
			t.Fatalf("A, who was sent nothing, is told %+v", r)
		}
		if b := r.Reports[0]; b.SSRC != 7 || b.TotalLost != 1 || b.FractionLost != 51 || b.LastSequenceNumber != 5 {
			t.Errorf("A is told %+v", b)
		}
		c.sendReport(A, false)
		if r := unmarshal(t, c.a.receive(c.a.rtcp))[0].(*rtcp.ReceiverReport); len(r.Reports) != 0 {
			t.Errorf("A is told of its stream again, though nothing came: %+v", r)
		}
	})
}

func TestReportsAreSentAgainAndAgain(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, reporting(t, Options{Engine: kind}))
		for range 5 {
			c.a.receive(c.a.rtcp)
			c.b.receive(c.b.rtcp)
		}
	})
}

func TestEachSideHasARandomNameOfItsOwn(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, reporting(t, Options{Engine: kind}))
		names := map[string]bool{}
		for _, p := range []*phone{c.a, c.b} {
			sdes := unmarshal(t, p.receive(p.rtcp))[1].(*rtcp.SourceDescription)
			if len(sdes.Chunks) != 1 || len(sdes.Chunks[0].Items) != 1 {
				t.Fatalf("more than a name: %v", sdes)
			}
			names[sdes.Chunks[0].Items[0].Text] = true
		}
		for name := range names {
			if len(name) != 24 || strings.Trim(name, "0123456789abcdef") != "" {
				t.Errorf("name %q", name)
			}
		}
		if len(names) != 2 {
			t.Error("both sides have one name")
		}
	})
}

func TestCloseSaysBye(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		c.a.send(c.Local(A), packet(8, 1, 1, 1, nil))
		h, _ := c.b.media()
		c.Close()
		for _, p := range []*phone{c.a, c.b} {
			packets := unmarshal(t, p.receive(p.rtcp))
			bye, ok := packets[len(packets)-1].(*rtcp.Goodbye)
			if !ok || len(bye.Sources) != 1 || bye.Reason != "" {
				t.Fatalf("the last report is %v", packets)
			}
			if p == c.b && bye.Sources[0] != h.ssrc {
				t.Errorf("bye of %x, the stream is %x", bye.Sources[0], h.ssrc)
			}
		}
	})
}

func TestRoundTripAndThePeersViewComeFromItsReports(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		c.a.send(c.Local(A), packet(8, 1, 1, 1, random(160)))
		c.b.media()
		eventually(t, func() bool { return c.Stats()[B].PacketsOut == 1 })
		c.sendReport(B, false)
		sent := unmarshal(t, c.b.receive(c.b.rtcp))[0].(*rtcp.SenderReport)
		now.advance(150 * time.Millisecond)
		answer := rtcp.ReceptionReport{SSRC: sent.SSRC, TotalLost: 3, Jitter: 80, LastSenderReport: uint32(sent.NTPTime >> 16), Delay: 65536 / 10}
		c.heard(B, marshal(t, &rtcp.ReceiverReport{SSRC: 5, Reports: []rtcp.ReceptionReport{answer}}), addrOf(c.b.rtcp))
		st := c.Stats()[B]
		if d := st.RoundTrip - 50*time.Millisecond; d < -time.Millisecond || d > time.Millisecond {
			t.Errorf("round trip %v, want 50 ms", st.RoundTrip)
		}
		if st.PeerLost != 3 || st.PeerJitter != 10*time.Millisecond {
			t.Errorf("%+v", st)
		}
		answer.SSRC++ // about a stream that is not ours
		answer.TotalLost = 9
		c.heard(B, marshal(t, &rtcp.ReceiverReport{SSRC: 5, Reports: []rtcp.ReceptionReport{answer}}), addrOf(c.b.rtcp))
		if st := c.Stats()[B]; st.PeerLost != 3 {
			t.Errorf("a report about another stream is taken for ours: %+v", st)
		}
		answer.SSRC--
		answer.TotalLost = 1<<24 - 1 // minus one: duplicates
		answer.LastSenderReport = 12345
		c.heard(B, marshal(t, &rtcp.ReceiverReport{SSRC: 5, Reports: []rtcp.ReceptionReport{answer}}), addrOf(c.b.rtcp))
		if st := c.Stats()[B]; st.PeerLost != 0 || st.RoundTrip > 51*time.Millisecond {
			t.Errorf("%+v", st)
		}
	})
}

func TestTheDelaySinceThePeersReportIsTold(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		c.a.send(c.Local(A), packet(8, 1, 1, 6, nil))
		c.b.media()
		c.heard(A, marshal(t, &rtcp.SenderReport{SSRC: 6, NTPTime: 0x0000ABCD12340000}), addrOf(c.a.rtcp))
		now.advance(500 * time.Millisecond)
		c.sendReport(A, false)
		r := unmarshal(t, c.a.receive(c.a.rtcp))[0].(*rtcp.ReceiverReport)
		if len(r.Reports) != 1 || r.Reports[0].LastSenderReport != 0xABCD1234 || r.Reports[0].Delay != 32768 {
			t.Errorf("%+v", r)
		}
	})
}

func TestAStrangersReportIsNotRead(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		good := marshal(t, &rtcp.ReceiverReport{SSRC: 5})
		c.heard(A, good, addrOf(c.a.rtcp))
		c.heard(A, good, addrOf(newPhone(t, "127.0.0.2").rtcp))
		c.heard(A, good, addrOf(newPhone(t, "127.0.0.1").rtcp))
		c.heard(A, []byte("junk that is long enough"), addrOf(c.a.rtcp))
		c.heard(A, marshal(t, &rtcp.Goodbye{Sources: []uint32{5}}), addrOf(c.a.rtcp)) // no compound of RFC 3550 A.2
		c.heard(A, append(bytes.Clone(good), 0x81, 200, 0, 0), addrOf(c.a.rtcp))      // a cut second packet
		if st := c.Stats()[A]; st.Strays != 2 || st.Malformed != 3 {
			t.Errorf("%d strays, %d malformed", st.Strays, st.Malformed)
		}
	})
}

func TestNoReportGoesToAHoldOfTheOldStyle(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		hold := c.b.remote()
		hold.RTP = netip.AddrPortFrom(netip.IPv4Unspecified(), hold.RTP.Port())
		hold.RTCP = netip.AddrPortFrom(netip.IPv4Unspecified(), hold.RTCP.Port())
		c.connect(B, hold)
		c.Close()
		_ = c.b.rtcp.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, _, err := c.b.rtcp.ReadFromUDPAddrPort(c.b.buf); err == nil {
			t.Errorf("%x", c.b.buf[:n])
		}
		if c.Stats()[B].Unsent != 0 {
			t.Error("it was tried")
		}
	})
}
