package relay

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/srtp/v3"
)

var suites = map[string]int{"AEAD_AES_128_GCM": 28, "AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30}

// secured is a phone that speaks SRTP.
type secured struct {
	*phone
	keys    Keys // as the relay sees them
	out, in *srtp.Context
}

func secure(p *phone, suite string) *secured {
	s := &secured{phone: p}
	s.rekey(suite)
	return s
}

// rekey draws keys, and forgets what was counted with those before.
func (s *secured) rekey(suite string) {
	s.t.Helper()
	s.keys = Keys{Suite: suite, In: random(suites[suite]), Out: random(suites[suite])}
	var err error
	if s.out, err = newContext(suite, s.keys.In); err != nil {
		s.t.Fatal(err)
	}
	if s.in, err = newContext(suite, s.keys.Out); err != nil {
		s.t.Fatal(err)
	}
}

func (s *secured) remote() Remote {
	r := s.phone.remote()
	r.Keys = &s.keys
	return r
}

func (s *secured) protect(b []byte) []byte {
	s.t.Helper()
	sealed, err := s.out.EncryptRTP(nil, b, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return sealed
}

// heard is the next packet, opened.
func (s *secured) heard() (header, []byte) {
	s.t.Helper()
	b, err := s.in.DecryptRTP(nil, s.receive(s.rtp), nil)
	if err != nil {
		s.t.Fatalf("what came cannot be opened: %v", err)
	}
	h, ok := parseHeader(b)
	if !ok {
		s.t.Fatalf("no RTP: %x", b)
	}
	return h, b[h.start:h.end]
}

// A talks by SRTP and B by plain RTP.
func halfSecure(t *testing.T, kind, suite string) (call, *secured) {
	c := newCall(t, engine(t, Options{Engine: kind}))
	a := secure(c.a, suite)
	c.connect(A, a.remote())
	return c, a
}

func TestOneSideTalksBySRTPAndTheOtherByRTP(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		for suite := range suites {
			t.Run(suite, func(t *testing.T) {
				c, a := halfSecure(t, kind, suite)
				for n := range uint16(50) {
					forth, back := random(160), random(160)
					wire := a.protect(packet(8, n, uint32(n)*160, 7, forth))
					if bytes.Contains(wire, forth) {
						t.Fatal("the test's own phone does not protect")
					}
					a.send(c.Local(A), wire)
					if _, got := c.b.media(); !bytes.Equal(got, forth) {
						t.Fatalf("packet %d came as %x, was %x", n, got, forth)
					}
					c.b.send(c.Local(B), packet(8, n, uint32(n)*160, 9, back))
					wire = a.receive(a.rtp)
					if bytes.Contains(wire, back[:16]) || bytes.Contains(wire, back[144:]) {
						t.Fatal("what was said is on the wire as it is")
					}
					plain, err := a.in.DecryptRTP(nil, wire, nil)
					if err != nil || !bytes.Equal(plain[headerSize:], back) {
						t.Fatalf("packet %d opens to %x (%v), was %x", n, plain, err, back)
					}
				}
				if st := c.Close(); st[A].PacketsIn != 50 || st[A].Strays+st[A].Malformed != 0 || st[A].BytesIn != 8000 || st[A].BytesOut != 8000 {
					t.Errorf("%+v", st[A])
				}
			})
		}
	})
}

func TestEachSideHasItsOwnKeysAndSuite(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AEAD_AES_128_GCM")
		b := secure(c.b, "AES_CM_128_HMAC_SHA1_80")
		c.connect(B, b.remote())
		for n := range uint16(20) {
			media := random(160)
			a.send(c.Local(A), a.protect(packet(8, n, uint32(n)*160, 7, media)))
			if _, got := b.heard(); !bytes.Equal(got, media) {
				t.Fatalf("packet %d came as %x, was %x", n, got, media)
			}
		}
	})
}

func TestWhatTheKeyDidNotProtectIsDroppedAndLearnsNothing(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AES_CM_128_HMAC_SHA1_80")
		intruder, forger := newPhone(t, "127.0.0.1"), secure(a.phone, "AES_CM_128_HMAC_SHA1_80") // same host, other port
		intruder.send(c.Local(A), packet(8, 1, 160, 66, random(160)))
		intruder.send(c.Local(A), forger.protect(packet(8, 2, 320, 66, random(160))))
		good := a.protect(packet(8, 1, 160, 7, random(160)))
		a.send(c.Local(A), good)
		if h, _ := c.b.media(); h.payload != 8 {
			t.Errorf("B got %+v", h)
		}
		a.send(c.Local(A), good) // again: replayed
		a.send(c.Local(A), packet(8, 2, 320, 7, random(160)))
		torn := a.protect(packet(8, 3, 480, 7, random(160)))
		torn[20] ^= 1
		a.send(c.Local(A), torn)
		media := random(160)
		a.send(c.Local(A), a.protect(packet(8, 4, 640, 7, media)))
		if _, got := c.b.media(); !bytes.Equal(got, media) {
			t.Error("B heard what was not protected")
		}
		c.b.send(c.Local(B), packet(8, 1, 160, 9, random(160)))
		a.heard() // and not the intruder
		intruder.empty()
		if st := c.Close(); st[A].Strays != 5 || st[A].PacketsIn != 2 || st[B].PacketsOut != 2 {
			t.Errorf("%+v", st[A])
		}
	})
}

// What is kept of an SSRC that has shown the key is kept for as long as the key is used.
func TestAKeyIsGoodForSoManySources(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AEAD_AES_128_GCM")
		const most = 16
		for ssrc := range uint32(most + 3) {
			a.send(c.Local(A), a.protect(packet(8, 1, 160, 100+ssrc, random(160))))
			if ssrc < most {
				c.b.media()
			}
		}
		a.send(c.Local(A), a.protect(packet(8, 2, 320, 100, random(160)))) // of the first one, still known
		c.b.media()
		c.b.empty()
		if st := c.Close(); st[A].Strays != 3 || st[A].PacketsIn != most+1 {
			t.Errorf("%+v", st[A])
		}
	})
}

// The sequence numbers of both directions pass 65535 before and after a session
// refresh, which must not begin the counting anew.
func TestTheRolloverCounterOutlivesASessionRefresh(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AES_CM_128_HMAC_SHA1_80")
		c.ends[B].mu.Lock()
		c.ends[B].flow.sequence = 65500
		c.ends[B].mu.Unlock()
		for n := range uint16(100) {
			if n%40 == 39 {
				c.connect(A, a.remote())
			}
			media := random(160)
			a.send(c.Local(A), a.protect(packet(8, 65500+n, uint32(n)*160, 7, media)))
			if _, got := c.b.media(); !bytes.Equal(got, media) {
				t.Fatalf("packet %d is not what was said", n)
			}
			c.b.send(c.Local(B), packet(8, n, uint32(n)*160, 9, media))
			if h, got := a.heard(); !bytes.Equal(got, media) || h.sequence != 65501+n {
				t.Fatalf("packet %d to A is %d", n, h.sequence)
			}
		}
	})
}

func TestNewKeysTakeOverWhetherThePhoneCountsOnOrBeginsAgain(t *testing.T) {
	for name, countsOn := range map[string]bool{"begins at 0": false, "counts on": true} {
		t.Run(name, func(t *testing.T) {
			withEachEngine(t, func(t *testing.T, kind string) {
				for suite := range suites {
					c, a := halfSecure(t, kind, suite)
					say := func(n uint16) {
						t.Helper()
						media := random(160)
						a.send(c.Local(A), a.protect(packet(8, n, uint32(n)*160, 7, media)))
						if _, got := c.b.media(); !bytes.Equal(got, media) {
							t.Fatalf("%s: %d is not what was said", suite, n)
						}
						c.b.send(c.Local(B), packet(8, n, uint32(n)*160, 9, media))
						if _, got := a.heard(); !bytes.Equal(got, media) {
							t.Fatalf("%s: A does not hear %d", suite, n)
						}
					}
					say(65534)
					say(65535)
					say(0)
					ssrc := c.ends[A].ssrc
					old := a.protect(packet(8, 1, 160, 7, random(160)))
					roc, _ := a.out.ROC(7)
					a.rekey(suite)
					if countsOn {
						a.out.SetROC(7, roc)
					}
					c.connect(A, a.remote())
					a.send(c.Local(A), old) // no key of now
					say(2)
					say(3)
					if c.ends[A].ssrc != ssrc {
						t.Error("A sees another source")
					}
					if st := c.Close(); st[A].Strays != 1 {
						t.Errorf("%+v", st[A])
					}
				}
			})
		})
	}
}

func TestReportsAreProtectedAsTheMediaIs(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		for suite := range suites {
			c, a := halfSecure(t, kind, suite)
			a.send(c.Local(A), a.protect(packet(8, 1, 160, 7, random(160))))
			c.b.media()
			c.b.send(c.Local(B), packet(8, 1, 160, 9, random(160)))
			to, _ := a.heard()
			c.sendReport(A, false)
			wire := a.receive(a.rtcp)
			if bytes.Contains(wire, []byte(c.ends[A].cname)) {
				t.Error("our name is on the wire as it is")
			}
			plain, err := a.in.DecryptRTCP(nil, wire, nil)
			if err != nil {
				t.Fatalf("%s: our report cannot be opened: %v", suite, err)
			}
			if sr, ok := unmarshal(t, plain)[0].(*rtcp.SenderReport); !ok || sr.SSRC != to.ssrc || len(sr.Reports) != 1 || sr.Reports[0].SSRC != 7 {
				t.Errorf("%s: A is told %+v", suite, unmarshal(t, plain))
			}
			report, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 7, Reports: []rtcp.ReceptionReport{{SSRC: to.ssrc, TotalLost: 3}}}})
			if err != nil {
				t.Fatal(err)
			}
			tell := func(b []byte) {
				if _, err := a.phone.rtcp.WriteToUDPAddrPort(b, rtcpOf(c, A)); err != nil {
					t.Fatal(err)
				}
			}
			tell(report) // plain: anybody's
			eventually(t, func() bool { return c.Stats()[A].Strays == 1 })
			if c.Stats()[A].PeerReported {
				t.Errorf("%s: a report is believed that nothing protects", suite)
			}
			sealed, err := a.out.EncryptRTCP(nil, report, nil)
			if err != nil {
				t.Fatal(err)
			}
			tell(sealed)
			eventually(t, func() bool { return c.Stats()[A].PeerLost == 3 })
		}
	})
}

func TestWhatWeSayIsProtectedAndWhatIsShownIsPlain(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AEAD_AES_128_GCM")
		c.Play(A, Speech{Payload: 8, Audio: bytes.Repeat([]byte{0x2A}, 480)})
		for range 3 {
			if h, got := a.heard(); h.payload != 8 || !bytes.Equal(got, bytes.Repeat([]byte{0x2A}, 160)) {
				t.Errorf("A hears %+v %x", h, got)
			}
		}
		shown := &keeper{}
		c.Record(shown)
		media := random(160)
		a.send(c.Local(A), a.protect(packet(8, 1, 160, 7, media)))
		c.b.media()
		c.Close() // nothing is shown any more
		if len(shown.media) != 1 || !bytes.Equal(shown.media[0], media) {
			t.Errorf("the tap is shown %x, was %x", shown.media, media)
		}
	})
}

// keeper is a tap that keeps what it is shown.
type keeper struct{ media [][]byte }

func (k *keeper) Packet(p *Packet) { k.media = append(k.media, bytes.Clone(p.Media)) }

func TestASideThatIsTakenAnewForgetsItsKeysAndTheOtherKeepsThem(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		c, a := halfSecure(t, kind, "AES_CM_128_HMAC_SHA1_80")
		b := secure(c.b, "AES_CM_128_HMAC_SHA1_80")
		c.connect(B, b.remote())
		a.send(c.Local(A), a.protect(packet(8, 65535, 160, 7, random(160))))
		b.heard()
		if err := c.reseat(B); err != nil {
			t.Fatal(err)
		}
		next := newPhone(t, "127.0.0.1")
		c.connect(B, next.remote())
		media := random(160)
		a.send(c.Local(A), a.protect(packet(8, 0, 320, 7, media))) // one round later by A's count
		if _, got := next.media(); !bytes.Equal(got, media) {
			t.Error("the next phone does not hear A plainly")
		}
		next.send(c.Local(B), packet(8, 1, 160, 9, media))
		if _, got := a.heard(); !bytes.Equal(got, media) {
			t.Error("A does not hear the next phone")
		}
	})
}

func TestKeysThatNoSuiteWantsAreRefusedAndChangeNothing(t *testing.T) {
	c, a := halfSecure(t, AutoEngine, "AES_CM_128_HMAC_SHA1_80")
	for name, k := range map[string]Keys{
		"no suite":  {In: random(30), Out: random(30)},
		"short in":  {Suite: "AES_CM_128_HMAC_SHA1_80", In: random(28), Out: random(30)},
		"short out": {Suite: "AES_CM_128_HMAC_SHA1_80", In: random(30), Out: random(28)},
	} {
		r := a.remote()
		r.Keys = &k
		if err := c.Connect(A, r); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	media := random(160)
	a.send(c.Local(A), a.protect(packet(8, 1, 160, 7, media)))
	if _, got := c.b.media(); !bytes.Equal(got, media) {
		t.Error("A is not heard any more")
	}
}

func TestAProtectedPacketCostsNoMemory(t *testing.T) {
	for suite := range suites {
		t.Run(suite, func(t *testing.T) {
			run := protectedPackets(t, suite)
			run() // the source is learned
			// The race detector lets sync.Pool forget what it was given.
			if n := testing.AllocsPerRun(1000, run); n != 0 && !raceDetector {
				t.Errorf("%v allocations a packet", n)
			}
		})
	}
}

// protectedPackets is all that our code does for a packet from one protected side
// to another, without the sockets. Each run takes the next packet.
func protectedPackets(t testing.TB, suite string) func() {
	c := newCall(t, engine(t, Options{}))
	a, b := secure(c.a, suite), secure(c.b, suite)
	c.connect(A, a.remote())
	c.connect(B, b.remote())
	n, from := &c.ends[A], addrOf(c.a.rtp)
	plain, sealed, in := packet(8, 0, 0, 7, random(160)), make([]byte, 0, maxPacket), make([]byte, maxPacket)
	sequence := uint16(0)
	return func() {
		sequence++
		binary.BigEndian.PutUint16(plain[2:], sequence)
		var err error
		if sealed, err = a.out.EncryptRTP(sealed, plain, &n.opener.header); err != nil {
			t.Fatal(err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		packet, _ := c.rewrite(A, in[:copy(in, sealed)], from, time.Duration(sequence)*frameTime)
		if packet == nil {
			t.Fatal("dropped")
		}
		if _, err := n.seal.rtp(packet); err != nil {
			t.Fatal(err)
		}
	}
}
