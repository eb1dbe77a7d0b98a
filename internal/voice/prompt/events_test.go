package prompt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const telephoneEvent = 101 // payload type

// A sent is one packet of a keypress.
type sent struct {
	sequence        uint16
	timestamp, ssrc uint32
	media           []byte
	press           int // of all that were made
	at              int // when it arrives, in units of the timestamp
}

// A keyboard makes packets as RFC 4733 §2.5.1 has them sent.
type keyboard struct {
	ssrc     uint32
	start    uint32 // timestamp of time zero
	now      int    // in units of the timestamp
	interval int    // between packets
	sequence uint16
	presses  int
	packets  []sent
}

// press holds a key for so long and then nothing for so long.
func (k *keyboard) press(digit byte, on, off int) {
	code := byte(strings.IndexByte(events, digit))
	begun := k.now
	send := func(duration, at int, end byte) {
		media := binary.BigEndian.AppendUint16([]byte{code, end | 10}, uint16(duration))
		k.packets = append(k.packets, sent{k.sequence, k.start + uint32(begun), k.ssrc, media, k.presses, at})
		k.sequence++
	}
	for at := k.now + k.interval; at < k.now+on; at += k.interval {
		for at-begun > longest { // §2.5.1.3
			send(longest, at, 0)
			begun += longest
		}
		send(at-begun, at, 0)
	}
	for range 3 {
		send(k.now+on-begun, k.now+on, 0x80)
	}
	k.now += on + off
	k.presses++
}

func arrive(e *Events, packets []sent) (digits string) {
	for _, p := range packets {
		if digit, ok := e.Packet(telephoneEvent, p.sequence, p.timestamp, p.ssrc, p.media); ok {
			digits += string(digit)
		}
	}
	return digits
}

func TestAKeypressCountsOnceWhateverArrivesOfIt(t *testing.T) {
	k := keyboard{interval: 160, start: 0xffffff00} // the timestamp wraps around
	for i := range len(events) {
		k.press(events[i], 800, 800)
	}
	k.press('1', 400, 320)
	k.press('1', 400, 320)
	k.press('1', 400, 320)
	all := events + "111"
	for name, keep := range map[string]func(of []sent) []sent{
		"everything":    func(of []sent) []sent { return of },
		"starts":        func(of []sent) []sent { return of[:1] },
		"last ends":     func(of []sent) []sent { return of[len(of)-1:] },
		"one of within": func(of []sent) []sent { return of[1:2] },
		"no start":      func(of []sent) []sent { return of[1:] },
		"no end":        func(of []sent) []sent { return of[:len(of)-3] },
		"doubles":       func(of []sent) []sent { return slices.Repeat(of, 2) },
		"backwards":     func(of []sent) []sent { slices.Reverse(of); return of },
	} {
		var packets []sent
		for press := range k.presses {
			var of []sent
			for _, p := range k.packets {
				if p.press == press {
					of = append(of, p)
				}
			}
			packets = append(packets, keep(of)...)
		}
		if got := arrive(NewEvents(telephoneEvent), packets); got != all {
			t.Errorf("%s: %q, want %q", name, got, all)
		}
	}
}

func TestALatePacketOfAnEarlierKeyIsKnownAgain(t *testing.T) {
	k := keyboard{interval: 160}
	for range 2 {
		for i := range 8 {
			k.press(events[i], 400, 320)
		}
	}
	e := NewEvents(telephoneEvent)
	if got := arrive(e, k.packets); got != "0123456701234567" {
		t.Fatalf("%q", got)
	}
	if got := arrive(e, k.packets); got != "" {
		t.Errorf("all of it again is %q", got)
	}
}

func TestALongKeypressInSegmentsCountsOnce(t *testing.T) {
	segment := func(p sent) bool { return p.timestamp == longest }
	for name, change := range map[string]func([]sent) []sent{
		"as sent": func(p []sent) []sent { return p },
		"its second segment alone": func(p []sent) []sent {
			return slices.DeleteFunc(p, func(p sent) bool { return p.press == 0 && !segment(p) })
		},
		"without its second segment": func(p []sent) []sent { return slices.DeleteFunc(p, segment) },
		"segments in the wrong order": func(p []sent) []sent {
			slices.SortStableFunc(p, func(a, b sent) int { return cmp.Compare(b.timestamp, a.timestamp) })
			return p
		},
		"a segment for each packet": func([]sent) []sent { return hurried() },
	} {
		k := keyboard{interval: 400}
		k.press('7', 3*longest-1000, 800)
		k.press('7', 800, 800)
		if got := arrive(NewEvents(telephoneEvent), change(k.packets)); got != "77" {
			t.Errorf("%s: %q, want two keypresses", name, got)
		}
	}
}

// hurried is two keypresses of a sender that begins a segment with each packet.
func hurried() []sent {
	var packets []sent
	for _, at := range []uint32{0, 160, 320, 480, 2000, 2160} {
		packets = append(packets, sent{timestamp: at, media: []byte{7, 10, 0, 160}})
	}
	packets[3].media = []byte{7, 0x80 | 10, 0, 160}
	return packets
}

func TestAKeyPressedAgainASegmentLaterCountsTwice(t *testing.T) {
	k := keyboard{interval: 160}
	k.press('7', 800, longest-800)
	k.press('7', 800, 800)
	if got := arrive(NewEvents(telephoneEvent), k.packets); got != "77" {
		t.Errorf("%q, want two keypresses", got)
	}
}

func TestOnlyDigitsOfThePayloadTypeAreHeard(t *testing.T) {
	for name, c := range map[string]struct {
		payload uint8
		media   []byte
		want    string
	}{
		"digit":                      {telephoneEvent, []byte{5, 10, 0, 160}, "5"},
		"star":                       {telephoneEvent, []byte{10, 10, 0, 160}, "*"},
		"reserved bit":               {telephoneEvent, []byte{11, 0x40, 0, 160}, "#"},
		"no volume, no duration":     {telephoneEvent, []byte{15, 0, 0, 0}, "D"},
		"all bits":                   {telephoneEvent, []byte{12, 0xff, 0xff, 0xff}, "A"},
		"two bytes more":             {telephoneEvent, []byte{1, 10, 0, 160, 0, 0}, "1"},
		"flash":                      {telephoneEvent, []byte{16, 10, 0, 160}, ""},
		"tone of a modem":            {telephoneEvent, []byte{36, 10, 0, 160}, ""},
		"last code":                  {telephoneEvent, []byte{255, 10, 0, 160}, ""},
		"too short":                  {telephoneEvent, []byte{5, 10, 0}, ""},
		"empty":                      {telephoneEvent, nil, ""},
		"sound that looks like it":   {8, []byte{5, 10, 0, 160}, ""},
		"the payload type beside it": {telephoneEvent + 1, []byte{5, 10, 0, 160}, ""},
	} {
		digit, ok := NewEvents(telephoneEvent).Packet(c.payload, 1, 2, 3, c.media)
		if got := string(bytes.Trim([]byte{digit}, "\x00")); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, ok, c.want)
		}
	}
}

func TestAnotherSourceWithTheSameTimestampIsAnotherKeypress(t *testing.T) {
	a, b := keyboard{interval: 160, ssrc: 1}, keyboard{interval: 160, ssrc: 2}
	a.press('3', 800, 800)
	b.press('3', 800, 800)
	if got := arrive(NewEvents(telephoneEvent), slices.Concat(a.packets, b.packets)); got != "33" {
		t.Errorf("%q", got)
	}
}

// What the network may do: lose any packet, deliver any up to 60 ms late and so
// in another order, and deliver some again up to a second later.
func TestEachKeypressOfWhichAnythingArrivesCountsOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := keyboard{
			interval: rapid.SampledFrom([]int{80, 160, 240, 400}).Draw(t, "interval"),
			start:    rapid.Uint32().Draw(t, "start"), ssrc: rapid.Uint32().Draw(t, "ssrc"),
			sequence: rapid.Uint16().Draw(t, "sequence"),
		}
		digits := rapid.StringOfN(rapid.SampledFrom([]rune(events)), 0, 12, -1).Draw(t, "digits")
		for i := range len(digits) {
			// Multiples of 20 ms: no two keypresses are then a segment apart by chance.
			on := rapid.OneOf(rapid.IntRange(2, 50), rapid.IntRange(400, 1700)).Draw(t, "on")
			k.press(digits[i], 160*on, 160*rapid.IntRange(4, 100).Draw(t, "off"))
		}
		loss := rapid.SampledFrom([]float64{0, 0.1, 0.5, 0.9, 0.99}).Draw(t, "loss")
		again := rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(t, "doubles")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))

		var arriving []sent
		arrived := make([]bool, len(digits))
		for _, p := range k.packets {
			if r.Float64() < loss {
				continue
			}
			arrived[p.press] = true
			p.at += r.IntN(480)
			arriving = append(arriving, p)
			if r.Float64() < again {
				p.at += r.IntN(8000)
				arriving = append(arriving, p)
			}
		}
		slices.SortStableFunc(arriving, func(a, b sent) int { return cmp.Compare(a.at, b.at) })
		want := ""
		for press, any := range arrived {
			if any {
				want += digits[press : press+1]
			}
		}
		if got := arrive(NewEvents(telephoneEvent), arriving); got != want {
			t.Fatalf("%q, want %q of %q", got, want, digits)
		}
	})
}

func TestReceivingAllocatesNothing(t *testing.T) {
	e, media, timestamp := NewEvents(telephoneEvent), []byte{5, 10, 0, 160}, uint32(0)
	if n := testing.AllocsPerRun(100, func() {
		timestamp += 1000
		e.Packet(telephoneEvent, 1, timestamp, 2, media)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func FuzzEventsPacket(f *testing.F) {
	f.Add([]byte{5, 10, 0, 160, 0, 0, 5, 0x8a, 0, 160, 0, 0})
	f.Add([]byte{1, 10, 0xff, 0xff, 0, 0, 1, 10, 0, 160, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{12, 0xff, 0xff, 0xff, 1, 2}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := NewEvents(telephoneEvent)
		for packet := range slices.Chunk(b, 6) {
			var timestamp uint32
			if len(packet) == 6 {
				timestamp = uint32(binary.BigEndian.Uint16(packet[4:]))
			}
			media := packet[:min(4, len(packet))]
			digit, ok := e.Packet(telephoneEvent, 0, timestamp, 0, media)
			if ok != (digit != 0) || ok && (len(media) < 4 || digit != events[media[0]]) {
				t.Errorf("%q, %v from % x", digit, ok, media)
			}
			if digit, ok := e.Packet(telephoneEvent, 0, timestamp, 0, media); ok {
				t.Errorf("%q again", digit)
			}
		}
	})
}

func BenchmarkEvents(b *testing.B) {
	e, media, timestamp := NewEvents(telephoneEvent), []byte{5, 10, 0, 160}, uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		timestamp += 1000
		e.Packet(telephoneEvent, 1, timestamp, 2, media)
	}
}
