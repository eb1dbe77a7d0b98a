package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAHeaderIsReadOrRefused(t *testing.T) {
	base := packet(8, 1, 2, 3, []byte{1, 2, 3, 4, 5, 6, 7, 8})
	with := func(first byte, more ...byte) []byte {
		b := append(bytes.Clone(base), more...)
		b[0] |= first
		return b
	}
	for name, c := range map[string]struct {
		in         []byte
		ok         bool
		start, end int
	}{
		"plain":                             {base, true, 12, 20},
		"no media":                          {base[:12], true, 12, 12},
		"one byte short":                    {base[:11], false, 0, 0},
		"nothing":                           {nil, false, 0, 0},
		"two CSRCs":                         {with(2), true, 20, 20},
		"three CSRCs in room for two":       {with(3), false, 0, 0},
		"version 0, as STUN has it":         {append([]byte{0}, base[1:]...), false, 0, 0},
		"version 1":                         {append([]byte{0x40}, base[1:]...), false, 0, 0},
		"version 3":                         {append([]byte{0xC0}, base[1:]...), false, 0, 0},
		"padding of one":                    {with(0x20, 1), true, 12, 20},
		"padding is all":                    {with(0x20, 9), true, 12, 12},
		"padding above all":                 {with(0x20, 10), false, 0, 0},
		"padding of none":                   {with(0x20, 0), false, 0, 0},
		"padding without a byte":            {with(0x20)[:12], false, 0, 0},
		"extension cut":                     {with(0x10)[:15], false, 0, 0},
		"extension beyond the end":          {with(0x10), false, 0, 0},
		"RTCP on the RTP port":              {append([]byte{0x80, 200}, base[2:]...), false, 0, 0},
		"payload 63 with marker is no RTCP": {append([]byte{0x80, 0x80 | 63}, base[2:]...), true, 12, 20},
		"longest":                           {append(bytes.Clone(base), make([]byte, maxPacket-20)...), true, 12, maxPacket},
		"too long":                          {append(bytes.Clone(base), make([]byte, maxPacket-19)...), false, 0, 0},
	} {
		h, ok := parseHeader(c.in)
		if ok != c.ok || h.start != c.start || h.end != c.end {
			t.Errorf("%s: %v %+v, want %d to %d", name, ok, h, c.start, c.end)
		}
	}
	extended := append(with(0x10)[:12], 0xBE, 0xDE, 0, 1, 1, 2, 3, 4, 'x')
	if h, ok := parseHeader(extended); !ok || h.start != 20 || h.end != 21 {
		t.Errorf("extension of one word: %v %+v", ok, h)
	}
}

func TestAStreamNeverJumpsWhateverItsSourcesDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := flow{ssrc: 99, payloads: SamePayloads(), sequence: uint16(rapid.Uint16().Draw(t, "first")), timestamp: rapid.Uint32().Draw(t, "ts")}
		f.payloads[77] = Drop
		var now time.Duration
		var last header
		begun := false
		for range rapid.IntRange(1, 5).Draw(t, "sources") {
			in := header{payload: 8, ssrc: rapid.Uint32Range(1, 3).Draw(t, "ssrc"),
				sequence: rapid.Uint16().Draw(t, "sequence"), timestamp: rapid.Uint32().Draw(t, "timestamp")}
			if begun && in.ssrc == f.source {
				continue // the same source may jump: that is its own doing
			}
			for range rapid.IntRange(1, 5).Draw(t, "packets") {
				b := packet(in.payload, in.sequence, in.timestamp, in.ssrc, []byte("media"))
				h, _ := parseHeader(b)
				out, ok := parseHeader(f.rewrite(b, h, 8000, now))
				if !ok || out.ssrc != 99 || string(b[out.start:out.end]) != "media" {
					t.Fatalf("%v %+v", ok, out)
				}
				if begun && (out.sequence != last.sequence+1 || out.timestamp != last.timestamp+160) {
					t.Fatalf("%+v after %+v", out, last)
				}
				last, begun = out, true
				next := func() {
					now += 20 * time.Millisecond
					in.sequence, in.timestamp = in.sequence+1, in.timestamp+160
				}
				next()
				for range rapid.IntRange(0, 3).Draw(t, "left out") {
					if rapid.Bool().Draw(t, "held") {
						f.skip(in)
					} else if b := packet(77, in.sequence, in.timestamp, in.ssrc, nil); f.rewrite(b, header{payload: 77, ssrc: in.ssrc,
						sequence: in.sequence, timestamp: in.timestamp}, 8000, now) != nil {
						t.Fatal("a payload that is not mapped leaves")
					}
					last.timestamp += 160
					next()
				}
			}
		}
	})
}

// TestNoNumberIsUsedTwice runs packets that come late or twice, that are left
// out, and words of our own through a flow.
func TestNoNumberIsUsedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFlow(99)
		f.payloads = SamePayloads()
		var now time.Duration
		used := map[uint16]string{} // by number: which packet
		var last header
		note := func(b []byte, name string) {
			h, ok := parseHeader(b)
			if !ok || h.ssrc != 99 {
				t.Fatalf("%+v leaves", h)
			}
			if before, again := used[h.sequence]; again && before != name {
				t.Fatalf("%q has the number of %q", name, before)
			}
			used[h.sequence] = name
			if len(used) > 1 && int16(h.sequence-last.sequence) > 0 && int32(h.timestamp-last.timestamp) <= 0 {
				t.Fatalf("%+v after %+v", h, last)
			}
			if len(used) == 1 || int16(h.sequence-last.sequence) > 0 {
				last = h
			}
		}
		latest := 20 + uint32(rapid.Uint16().Draw(t, "first"))
		for i := range rapid.IntRange(1, 60).Draw(t, "packets") {
			now += time.Duration(rapid.IntRange(0, 30).Draw(t, "passes")) * time.Millisecond
			if rapid.IntRange(0, 4).Draw(t, "speaks") == 0 {
				note(f.speak(make([]byte, headerSize), header{payload: 8, start: headerSize, end: headerSize}, now), fmt.Sprint("speech ", i))
				continue
			}
			n := latest + 8 - rapid.Uint32Range(0, 16).Draw(t, "late")
			latest = max(latest, n)
			b := packet(8, uint16(n), n*160, 1, nil)
			h, _ := parseHeader(b)
			if n%5 == 0 || rapid.IntRange(0, 5).Draw(t, "held") == 0 {
				f.skip(h)
			} else if out := f.rewrite(b, h, 8000, now); out != nil {
				note(out, fmt.Sprint("packet ", n))
			}
		}
	})
}

func TestASourceThatStartsItsNumbersAgainIsHeard(t *testing.T) {
	f := flow{payloads: SamePayloads()}
	number := func(n uint16) uint16 {
		b := packet(8, n, 0, 1, nil)
		h, _ := parseHeader(b)
		out, ok := parseHeader(f.rewrite(b, h, 8000, 0))
		if !ok {
			t.Fatalf("%d is left out", n)
		}
		return out.sequence
	}
	if a, b, c := number(20000), number(5), number(6); b != a+1 || c != a+2 {
		t.Errorf("20000, 5 and 6 became %d, %d and %d", a, b, c)
	}
}

func TestALatePacketKeepsItsPlace(t *testing.T) {
	f := flow{payloads: SamePayloads(), sequence: 65530}
	number := func(n uint16) uint16 {
		b := packet(8, n, 0, 1, nil)
		h, _ := parseHeader(b)
		out, _ := parseHeader(f.rewrite(b, h, 8000, 0))
		return out.sequence
	}
	if a, b, c, d := number(10), number(30), number(20), number(31); a != 65531 || b != a+20 || c != a+10 || d != a+21 {
		t.Errorf("%d %d %d %d", a, b, c, d)
	}
}

func TestALatePacketThatIsLeftOutShiftsNothing(t *testing.T) {
	f := flow{payloads: SamePayloads()}
	number := func(n uint16) uint16 {
		b := packet(8, n, 0, 1, nil)
		h, _ := parseHeader(b)
		out, _ := parseHeader(f.rewrite(b, h, 8000, 0))
		return out.sequence
	}
	first := number(10)
	number(12)
	f.skip(header{ssrc: 1, sequence: 11}) // late
	f.skip(header{ssrc: 2, sequence: 13}) // of another source
	f.skip(header{ssrc: 1, sequence: 13})
	f.skip(header{ssrc: 1, sequence: 13}) // twice
	if got := number(14); got != first+3 {
		t.Errorf("14 became %d after 10 became %d", got, first)
	}
}

func TestTheSourceRulesAsATable(t *testing.T) {
	host := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	signalled, nat, other, next := host("192.0.2.1:4000"), host("192.0.2.1:5000"), host("192.0.2.9:4000"), host("192.0.2.1:4002")
	type step struct {
		at     time.Duration
		signal netip.AddrPort // or
		from   netip.AddrPort
		ssrc   uint32
		ok     bool
		target netip.AddrPort
	}
	none := netip.AddrPort{}
	for name, steps := range map[string][]step{
		"nothing signalled admits nobody, not even the zero address": {
			{0, none, other, 1, false, none}, {0, none, none, 1, false, none}},
		"the signalled address is learned and locked": {
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled}, {0, none, nat, 1, false, signalled}},
		"another port of the host is learned and locked": {
			{0, signalled, none, 0, false, signalled}, {0, none, other, 1, false, signalled}, {0, none, nat, 1, true, nat},
			{0, none, signalled, 1, false, nat}},
		"silence alone or SSRC alone moves nothing, both do": {
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled},
			{time.Second, none, nat, 1, false, signalled}, {3 * time.Second, none, nat, 2, false, signalled},
			{3 * time.Second, none, other, 1, false, signalled}, {3 * time.Second, none, nat, 1, true, nat}},
		"a source that changed its SSRC moves with the new one": {
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled}, {0, none, signalled, 2, true, signalled},
			{3 * time.Second, none, nat, 1, false, signalled}, {3 * time.Second, none, nat, 2, true, nat}},
		"new signalling moves at once, what is on its way from the old address does not": {
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled}, {time.Second, next, none, 0, false, next},
			{time.Second, none, signalled, 1, false, next}, {time.Second, none, next, 2, true, next}},
		"a gateway that sends from one port whatever it signals is learned again": {
			{0, signalled, none, 0, false, signalled}, {0, none, nat, 1, true, nat}, {time.Second, next, none, 0, false, next},
			{time.Second, none, nat, 1, false, next}, {4 * time.Second, none, nat, 1, true, nat}},
		"the same signalling again keeps what was learned": {
			{0, signalled, none, 0, false, signalled}, {0, none, nat, 1, true, nat}, {0, signalled, none, 0, false, nat},
			{0, none, signalled, 1, false, nat}},
		"signalling the learned address keeps it": {
			{0, signalled, none, 0, false, signalled}, {0, none, nat, 1, true, nat}, {0, nat, none, 0, false, nat},
			{0, none, nat, 1, true, nat}},
		"signalling back to the address just left admits it": {
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled}, {0, next, none, 0, false, next},
			{0, signalled, none, 0, false, signalled}, {0, none, signalled, 1, true, signalled}},
	} {
		s := source{patience: rtpPatience}
		for i, st := range steps {
			if st.signal.IsValid() {
				s.signal(st.signal, st.at)
			} else if ok, _ := s.admit(st.from, st.ssrc, st.at); ok != st.ok {
				t.Errorf("%s: step %d admitted %v", name, i, ok)
			}
			if s.target() != st.target {
				t.Errorf("%s: after step %d we send to %v", name, i, s.target())
			}
		}
	}
}

// receive runs numbers through a reception, 20 ms and 160 ticks apart.
func receive(r *reception, numbers ...uint16) {
	for _, n := range numbers {
		r.packet(header{sequence: n, timestamp: uint32(n) * 160, ssrc: 1}, 8000, time.Duration(n)*20*time.Millisecond)
	}
}

func TestLossIsCountedOverWrapsReorderingDuplicatesAndRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []uint16
		lost    uint64
	}{
		"none":                     {[]uint16{1, 2, 3}, 0},
		"two":                      {[]uint16{1, 4}, 2},
		"reordered":                {[]uint16{1, 3, 2, 4}, 0},
		"duplicates hide no less":  {[]uint16{1, 1, 1, 2}, 0},
		"over the wrap":            {[]uint16{65534, 65535, 0, 2}, 1},
		"reordered over the wrap":  {[]uint16{65534, 0, 65535, 1}, 0},
		"one far packet":           {[]uint16{1, 2, 30000, 3, 4}, 0},
		"a restart and a loss":     {[]uint16{1, 3, 30000, 30001, 30003}, 2},
		"nothing came: not begun ": {nil, 0},
	} {
		var r reception
		receive(&r, c.numbers...)
		if got := r.totalLost(); got != c.lost {
			t.Errorf("%s: %d lost, want %d", name, got, c.lost)
		}
	}
	var r reception
	receive(&r, 1, 3)
	r.packet(header{sequence: 900, ssrc: 2}, 8000, 0)
	r.packet(header{sequence: 902, ssrc: 2}, 8000, 0)
	if r.totalLost() != 2 {
		t.Errorf("over two sources %d lost, want 2", r.totalLost())
	}
}

func TestJitterIsThatOfTheRFC(t *testing.T) {
	var r reception
	var at time.Duration
	for n := range uint16(2000) {
		late := time.Duration(n%2) * 10 * time.Millisecond // every other packet 10 ms late
		r.packet(header{sequence: n, timestamp: uint32(n) * 160, ssrc: 1}, 8000, at+late)
		at += 20 * time.Millisecond
	}
	if j := r.jitterTime(); j < 9*time.Millisecond || j > 11*time.Millisecond {
		t.Errorf("jitter %v, want about 10 ms", j)
	}
	before := r.jitter
	for n := range uint16(10) { // the packets of one event share a timestamp
		r.packet(header{payload: 101, sequence: 2000 + n, timestamp: 2000 * 160, ssrc: 1}, 8000, at)
		at += 20 * time.Millisecond
	}
	if r.jitter > before+uint32(1600) {
		t.Errorf("an event raised jitter from %d to %d", before, r.jitter)
	}
	var steady reception
	receive(&steady, 1, 2, 3, 4, 5, 8, 9)
	if steady.jitterTime() != 0 {
		t.Errorf("a steady stream with loss has jitter %v", steady.jitterTime())
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(packet(8, 1, 2, 3, []byte("media")))
	f.Add([]byte{0xB2, 0x88, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0xBE, 0xDE, 0, 1, 9, 9, 9, 9, 'm', 0, 2})
	f.Add([]byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHeader(b)
		if !ok {
			return
		}
		if h.start < headerSize || h.start > h.end || h.end > len(b) {
			t.Fatalf("%+v of %d bytes", h, len(b))
		}
		media := bytes.Clone(b[h.start:h.end])
		fl := flow{ssrc: 7, payloads: SamePayloads()}
		out := fl.rewrite(b, h, 8000, 0)
		back, ok := parseHeader(out)
		if !ok && out[1] < 192 || ok && (back.ssrc != 7 || back.marker != h.marker || back.payload != h.payload) {
			t.Fatalf("%+v became %+v", h, back)
		}
		if !bytes.Equal(out[headerSize:], media) {
			t.Fatalf("%x became %x", media, out[headerSize:])
		}
	})
}

func FuzzControlPacket(f *testing.F) {
	f.Add([]byte{0x80, 201, 0, 1, 0, 0, 0, 1})
	f.Add([]byte{0x81, 200, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1,
		0, 0, 0, 9, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x81, 202, 0, 2, 0, 0, 0, 1, 1, 1, 'x', 0})
	e, err := New(Options{IP: loopback})
	if err != nil {
		f.Fatal(err)
	}
	from := netip.MustParseAddrPort("192.0.2.1:4001")
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSession(e, &pair{port: 2}, &pair{port: 4})
		s.ends[A].ssrc = 9
		s.ends[A].rtcpSource.signal(from, 0)
		s.heard(A, b, from)
		s.report(A, s.ends[A].ssrc)
		if st := s.Stats()[A]; st.RoundTrip < 0 || st.PeerJitter < 0 {
			t.Fatalf("%+v", st)
		}
	})
}
