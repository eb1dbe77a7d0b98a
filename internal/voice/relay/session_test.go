package relay

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestEverySampleArrivesUnchangedBothWays(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		const packets = 300
		for i := range packets {
			toB, toA := random(160), random(160)
			c.a.send(c.Local(A), packet(8, uint16(65400+i), uint32(i*160), 0xAAAA, toB))
			c.b.send(c.Local(B), packet(0, uint16(7+i), uint32(i*160), 0xBBBB, toA))
			if h, got := c.b.media(); !bytes.Equal(got, toB) || h.payload != 8 {
				t.Fatalf("packet %d to B is not what A said", i)
			}
			if h, got := c.a.media(); !bytes.Equal(got, toA) || h.payload != 0 {
				t.Fatalf("packet %d to A is not what B said", i)
			}
		}
		for side, st := range c.Close() {
			if st.PacketsIn != packets || st.PacketsOut != packets || st.BytesIn != packets*160 || st.BytesOut != packets*160 {
				t.Errorf("side %v: %+v", Side(side), st)
			}
			if st.Lost+st.Strays+st.Malformed+st.Unmapped+st.Held+st.Unsent != 0 {
				t.Errorf("side %v has faults: %+v", Side(side), st)
			}
		}
	})
}

func TestNothingOfTheSendersHeaderCrosses(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		media := random(160)
		b := packet(8, 0x1234, 0x55667788, 0xCAFEBABE, nil)
		b[0] |= 0x20 | 0x10 | 2                                                         // padding, extension, two CSRCs
		b[1] |= 0x80                                                                    // marker
		b = append(b, 0xDE, 0xAD, 0xBE, 0xEF, 0xDE, 0xAD, 0xBE, 0xEF)                   // CSRCs
		b = append(b, 0xBE, 0xDE, 0, 2, 0x91, 0x98, 0x76, 0x54, 0x32, 0x10, 0x91, 0x98) // extension
		b = append(append(b, media...), 0x98, 0x76, 0x54, 4)                            // media, padding
		c.a.send(c.Local(A), b)
		raw := c.b.receive(c.b.rtp)
		if len(raw) != headerSize+160 || raw[0] != 0x80 || raw[1] != 0x88 || !bytes.Equal(raw[headerSize:], media) {
			t.Fatalf("got %x", raw)
		}
		for name, gone := range map[string][]byte{"timestamp": b[4:8], "SSRC": b[8:12], "CSRC": b[12:16]} {
			if bytes.Contains(raw[2:headerSize], gone) {
				t.Errorf("the sender's %s crossed: %x", name, raw[:headerSize])
			}
		}
	})
}

func TestLossAndReorderingLookTheSameOnTheOtherSide(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		sent := []uint16{100, 101, 103, 102, 106, 105, 110}
		var got []uint16
		for _, n := range sent {
			c.a.send(c.Local(A), packet(8, n, uint32(n)*160, 1, []byte{byte(n)}))
			h, media := c.b.media()
			if media[0] != byte(n) {
				t.Fatalf("media %d in place of %d", media[0], n)
			}
			got = append(got, h.sequence)
		}
		for i := range sent {
			if got[i]-got[0] != sent[i]-sent[0] {
				t.Errorf("numbers %v became %v", sent, got)
			}
		}
		if st := c.Close(); st[A].Lost != 4 { // 104, 107, 108, 109
			t.Errorf("lost %d, want 4", st[A].Lost)
		}
	})
}

func TestOneStreamGoesOnWhenTheSourceChanges(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		c.a.send(c.Local(A), packet(8, 500, 90000, 1, nil))
		first, _ := c.b.media()
		now.advance(20 * time.Millisecond)
		c.a.send(c.Local(A), packet(8, 501, 90160, 1, nil))
		second, _ := c.b.media()
		now.advance(40 * time.Millisecond)
		c.a.send(c.Local(A), packet(8, 9, 7, 2, nil))
		third, _ := c.b.media()
		now.advance(20 * time.Millisecond)
		c.a.send(c.Local(A), packet(8, 10, 167, 2, nil))
		fourth, _ := c.b.media()
		for i, h := range []header{first, second, third, fourth} {
			if h.ssrc != first.ssrc || h.sequence != first.sequence+uint16(i) {
				t.Errorf("packet %d is %+v after %+v", i, h, first)
			}
		}
		for i, want := range map[int]uint32{1: 160, 2: 480, 3: 640} {
			if got := []header{first, second, third, fourth}[i].timestamp - first.timestamp; got != want {
				t.Errorf("packet %d is %d ticks on, want %d", i, got, want)
			}
		}
	})
}

func TestTheTwoSidesAndTwoCallsShareNoNumbers(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		seen := map[uint32]bool{}
		for range 3 {
			c := newCall(t, e)
			c.a.send(c.Local(A), packet(8, 1, 1, 7, nil))
			c.b.send(c.Local(B), packet(8, 1, 1, 7, nil))
			toB, _ := c.b.media()
			toA, _ := c.a.media()
			for _, h := range []header{toA, toB} {
				if seen[h.ssrc] || h.ssrc == 7 || h.timestamp == 1 {
					t.Errorf("a number is used twice or the sender's: %+v", h)
				}
				seen[h.ssrc] = true
			}
		}
	})
}

func TestAStrangersPacketsNeverCross(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		elsewhere, neighbour := newPhone(t, "127.0.0.2"), newPhone(t, "127.0.0.1")
		elsewhere.send(c.Local(A), packet(8, 1, 1, 1, []byte("before")))
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("speech"))) // learned
		elsewhere.send(c.Local(A), packet(8, 2, 2, 1, []byte("other host")))
		neighbour.send(c.Local(A), packet(8, 2, 2, 1, []byte("same host")))
		c.a.send(c.Local(A), packet(8, 2, 2, 1, []byte("more")))
		for _, want := range []string{"speech", "more"} {
			if _, got := c.b.media(); string(got) != want {
				t.Errorf("%q crossed, want %q", got, want)
			}
		}
		c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("answer")))
		if _, got := c.a.media(); string(got) != "answer" {
			t.Errorf("A got %q", got)
		}
		elsewhere.empty()
		neighbour.empty()
		if st := c.Close(); st[A].Strays != 3 || st[A].PacketsIn != 2 {
			t.Errorf("strays %d of 3, admitted %d of 2", st[A].Strays, st[A].PacketsIn)
		}
	})
}

func TestAPhoneBehindANATIsLearnedAtTheAddressItSendsFrom(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		mapped := newPhone(t, "127.0.0.1") // the same host, another port than signalled
		c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("early")))
		if _, got := c.a.media(); string(got) != "early" {
			t.Errorf("before it is learned A gets %q where it signalled", got)
		}
		mapped.send(c.Local(A), packet(8, 1, 1, 1, []byte("hello")))
		c.b.media()
		c.b.send(c.Local(B), packet(8, 2, 2, 1, []byte("late")))
		if _, got := mapped.media(); string(got) != "late" {
			t.Errorf("after it is learned A gets %q", got)
		}
		c.a.empty()
	})
}

func TestOnlySilenceAndTheSameSSRCMoveALearnedSource(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		moved := newPhone(t, "127.0.0.1")
		c.a.send(c.Local(A), packet(8, 1, 1, 42, []byte("first")))
		c.b.media()
		now.advance(3*time.Second - 1)
		moved.send(c.Local(A), packet(8, 2, 2, 42, []byte("too early")))
		c.a.send(c.Local(A), packet(8, 2, 2, 42, []byte("second")))
		if _, got := c.b.media(); string(got) != "second" {
			t.Errorf("%q crossed", got)
		}
		now.advance(3 * time.Second)
		moved.send(c.Local(A), packet(8, 3, 3, 43, []byte("another SSRC")))
		moved.send(c.Local(A), packet(8, 3, 3, 42, []byte("third")))
		if _, got := c.b.media(); string(got) != "third" {
			t.Errorf("%q crossed", got)
		}
		c.a.send(c.Local(A), packet(8, 4, 4, 42, []byte("from the old port")))
		moved.send(c.Local(A), packet(8, 4, 4, 42, []byte("fourth")))
		if _, got := c.b.media(); string(got) != "fourth" {
			t.Errorf("%q crossed", got)
		}
		if st := c.Close(); st[A].Strays != 3 {
			t.Errorf("%d strays, want 3", st[A].Strays)
		}
	})
}

func TestAReInviteMovesTheSourceAndARefreshDoesNot(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("old")))
		c.b.media()
		c.connect(A, c.a.remote()) // a session refresh
		next := newPhone(t, "127.0.0.1")
		next.send(c.Local(A), packet(8, 1, 1, 2, []byte("stray")))
		c.a.send(c.Local(A), packet(8, 2, 2, 1, []byte("still")))
		if _, got := c.b.media(); string(got) != "still" {
			t.Errorf("after a refresh %q crossed", got)
		}
		c.connect(A, next.remote())
		c.a.send(c.Local(A), packet(8, 3, 3, 1, []byte("on its way")))
		next.send(c.Local(A), packet(8, 1, 1, 2, []byte("new")))
		if _, got := c.b.media(); string(got) != "new" {
			t.Errorf("after a re-INVITE %q crossed", got)
		}
		c.b.send(c.Local(B), packet(8, 1, 1, 2, []byte("answer")))
		if _, got := next.media(); string(got) != "answer" {
			t.Errorf("A's new address gets %q", got)
		}
		c.a.empty()
	})
}

func TestNothingIsForwardedBeforeBothSidesAreConnected(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		s, err := engine(t, Options{Engine: kind}).Open()
		if err != nil {
			t.Fatal(err)
		}
		c := call{s, newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")}
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("unknown")))
		c.connect(A, c.a.remote())
		// The reader may meet the first packet before or after Connect; neither
		// lets it cross, since B is not connected until A has been heard.
		c.a.send(c.Local(A), packet(8, 2, 2, 1, []byte("held")))
		eventually(t, func() bool { return s.Stats()[A].Held+s.Stats()[A].Strays == 2 })
		c.connect(B, c.b.remote())
		c.a.send(c.Local(A), packet(8, 3, 3, 1, []byte("speech")))
		if _, got := c.b.media(); string(got) != "speech" {
			t.Errorf("%q crossed", got)
		}
		c.b.empty()
	})
}

func TestAHoldStopsMediaAndLeavesNoGap(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		c.a.send(c.Local(A), packet(8, 1, 160, 1, []byte("talk")))
		before, _ := c.b.media()
		hold := c.b.remote()
		hold.Send, hold.RTP = false, netip.AddrPortFrom(netip.IPv4Unspecified(), hold.RTP.Port())
		c.connect(B, hold)
		for n := range 5 {
			c.a.send(c.Local(A), packet(8, uint16(2+n), 320, 1, []byte("unheard")))
		}
		c.b.send(c.Local(B), packet(8, 1, 1, 2, []byte("music"))) // sendonly: it may speak
		if _, got := c.a.media(); string(got) != "music" {
			t.Errorf("A got %q", got)
		}
		eventually(t, func() bool { return c.Stats()[A].Held == 5 })
		c.connect(B, c.b.remote())
		c.a.send(c.Local(A), packet(8, 7, 1120, 1, []byte("again")))
		after, got := c.b.media()
		if string(got) != "again" || after.sequence != before.sequence+1 || after.timestamp != before.timestamp+960 || after.ssrc != before.ssrc {
			t.Errorf("%q with %+v after %+v", got, after, before)
		}
	})
}

func TestASideThatMayNotSendIsNotForwarded(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		silent := c.b.remote()
		silent.Receive = false
		c.connect(B, silent)
		c.b.send(c.Local(B), packet(8, 1, 1, 1, []byte("unheard")))
		eventually(t, func() bool { return c.Stats()[B].Held == 1 })
		if c.Activity().Last[B].IsZero() {
			t.Error("what it sends is no sign of life")
		}
		c.connect(B, c.b.remote())
		c.b.send(c.Local(B), packet(8, 2, 2, 1, []byte("heard")))
		if _, got := c.a.media(); string(got) != "heard" {
			t.Errorf("A got %q", got)
		}
	})
}

func TestPayloadNumbersAreMappedForEachDirection(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		none := [128]uint8{}
		for i := range none {
			none[i] = Drop
		}
		toA, toB := c.a.remote(), c.b.remote()
		toA.Payloads, toB.Payloads = none, none
		toB.Payloads[96], toB.Payloads[8] = 101, 8
		toA.Payloads[101], toA.Payloads[8] = 96, 8
		c.connect(A, toA)
		c.connect(B, toB)
		event := packet(96|0x80, 1, 1, 1, []byte{5, 0x8A, 3, 0x20})
		c.a.send(c.Local(A), packet(97, 0, 0, 1, []byte("not negotiated")))
		c.a.send(c.Local(A), event)
		if h, got := c.b.media(); h.payload != 101 || !h.marker || !bytes.Equal(got, event[headerSize:]) {
			t.Errorf("B got %+v %q", h, got)
		}
		c.b.send(c.Local(B), packet(101, 1, 1, 1, []byte("e")))
		if h, _ := c.a.media(); h.payload != 96 || h.marker {
			t.Errorf("A got %+v", h)
		}
		st := c.Close()
		if st[A].Unmapped != 1 || !slices.Equal(st[A].Payloads, []uint8{96, 97}) || !slices.Equal(st[B].Payloads, []uint8{101}) {
			t.Errorf("A %+v, B %+v", st[A], st[B])
		}
	})
}

func TestWhatIsNotRTPIsDroppedAndTeachesNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		other := newPhone(t, "127.0.0.1")
		for _, junk := range [][]byte{{}, {0x80}, []byte("INVITE sip:x SIP/2.0\r\n"), packet(8, 1, 1, 1, nil)[:11],
			append([]byte{0x40}, packet(8, 1, 1, 1, nil)[1:]...), packet(72|0x80, 1, 1, 1, random(20)), random(maxPacket + 1)} {
			other.send(c.Local(A), junk)
		}
		c.a.send(c.Local(A), packet(8, 1, 1, 1, []byte("speech")))
		if _, got := c.b.media(); string(got) != "speech" {
			t.Errorf("%q crossed", got)
		}
		if st := c.Close(); st[A].Malformed != 7 {
			t.Errorf("%d malformed, want 7", st[A].Malformed)
		}
	})
}

func TestActivityTellsWhenEachSideWasLastHeard(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		now := newClock()
		c := newCall(t, engine(t, Options{Engine: kind, Now: now.Now}))
		if a := c.Activity(); !a.Opened.Equal(now.Now()) || !a.Last[A].IsZero() || !a.Last[B].IsZero() {
			t.Errorf("at first %+v", a)
		}
		now.advance(time.Minute)
		c.a.send(c.Local(A), packet(8, 1, 1, 1, nil))
		c.b.media()
		heard := now.Now()
		now.advance(time.Minute)
		newPhone(t, "127.0.0.2").send(c.Local(A), packet(8, 1, 1, 1, nil))
		eventually(t, func() bool { return c.Stats()[A].Strays == 1 })
		if a := c.Activity(); !a.Last[A].Equal(heard) || !a.Last[B].IsZero() {
			t.Errorf("%+v, want A at %v", a, heard)
		}
	})
}

func TestConnectRefusesAddressesThatNoPhoneCanHave(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		for name, addr := range map[string]string{
			"another family": "[2001:db8::1]:4000", "multicast": "224.0.0.1:4000", "broadcast": "255.255.255.255:4000", "port 0": "127.0.0.1:0",
			"the call's own side": c.Local(A).String(), "the call's other side": c.Local(B).String(),
			"the call's own RTCP": netip.AddrPortFrom(loopback, c.Local(B).Port()+1).String(),
		} {
			r := c.a.remote()
			r.RTP = netip.MustParseAddrPort(addr)
			if err := c.Connect(A, r); err == nil {
				t.Errorf("%s is taken", name)
			}
		}
		if err := c.Connect(A, Remote{}); err == nil {
			t.Error("no address is taken")
		}
		mapped := c.a.remote()
		mapped.RTP = netip.AddrPortFrom(netip.AddrFrom16(mapped.RTP.Addr().As16()), mapped.RTP.Port())
		mapped.RTCP = netip.AddrPort{}
		if err := c.Connect(A, mapped); err != nil {
			t.Errorf("IPv4 in IPv6 is refused: %v", err)
		}
		c.Close()
		if err := c.Connect(A, c.a.remote()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestMediaFlowsOverIPv6(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind, IP: netip.IPv6Loopback()})
		s := opened(t, e)
		peer, err := e.Open() // its sockets stand for the phones'
		if err != nil {
			t.Fatal(err)
		}
		r := Remote{RTP: peer.Local(A), Payloads: SamePayloads(), Send: true, Receive: true}
		if err := s.Connect(A, r); err != nil {
			t.Fatal(err)
		}
		r.RTP = peer.Local(B)
		if err := s.Connect(B, r); err != nil {
			t.Fatal(err)
		}
		if err := peer.ends[A].rtp.send(packet(8, 1, 1, 1, random(160)), newDestination(nil, s.Local(A))); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return peer.Stats()[B].Strays == 1 }) // it arrived at the far phone, which knows nobody
	})
}

func TestCloseIsIdempotentAndItsCountsAreFinal(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := engine(t, Options{Engine: kind})
		c := newCall(t, e)
		c.a.send(c.Local(A), packet(8, 1, 1, 1, random(160)))
		c.b.media()
		first := c.Close()
		done := make(chan [2]SideStats)
		for range 3 {
			go func() { done <- c.Close() }()
		}
		for range 3 {
			if again := <-done; again[A].PacketsIn != 1 || again[B].PacketsOut != first[B].PacketsOut {
				t.Errorf("again %+v", again)
			}
		}
		if st := e.Stats(); st.Sessions != 0 || st.PacketsIn != 1 || st.PacketsOut != 1 || st.Quarantined != 2 {
			t.Errorf("engine %+v", st)
		}
	})
}

func TestSignallingAndCountingDoNotDisturbMedia(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e := reporting(t, Options{Engine: kind, Quarantine: -1})
		c := newCall(t, e)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(stop)
		for _, work := range []func() error{
			func() error { return c.Connect(A, c.a.remote()) },
			func() error { return c.Connect(B, c.b.remote()) },
			func() error { c.Stats(); c.Activity(); return nil },
			func() error { e.Stats(); return nil },
			func() error {
				s, err := e.Open()
				if err == nil {
					s.Close()
				}
				return err
			},
		} {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if err := work(); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		for i := range uint16(200) {
			c.a.send(c.Local(A), packet(8, i, uint32(i)*160, 1, []byte{byte(i)}))
			if _, got := c.b.media(); got[0] != byte(i) {
				t.Errorf("packet %d in place of %d", got[0], i)
			}
		}
		if st := c.Stats(); st[A].PacketsIn != 200 || st[A].Held != 0 || st[A].Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestForwardingAPacketAllocatesNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c := newCall(t, engine(t, Options{Engine: kind}))
		out, in, to := packet(8, 1, 1, 1, random(160)), make([]byte, 2048), c.Local(A)
		_ = c.b.rtp.SetReadDeadline(time.Now().Add(time.Minute))
		through := func() {
			if _, err := c.a.rtp.WriteToUDPAddrPort(out, to); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.b.rtp.ReadFromUDPAddrPort(in); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(500, through); n != 0 {
			t.Errorf("%v allocations a packet through the sockets", n)
		}
		b, from := make([]byte, len(out)), addrOf(c.a.rtp)
		n := testing.AllocsPerRun(1000, func() {
			copy(b, out)
			if !c.rewritten(b, from) {
				t.Fatal("dropped")
			}
		})
		if n != 0 {
			t.Errorf("%v allocations a packet rewritten", n)
		}
	})
}
