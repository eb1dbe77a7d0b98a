package phone

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tandem/internal/voice/g711"
)

func TestToneTellsHowMuchOfTheSoundItIs(t *testing.T) {
	one, two := make([]int16, Rate), make([]int16, Rate)
	Sine(440, 8000).Read(one)
	Sine(880, 8000).Read(two)
	mixed, paused := make([]int16, Rate), slices.Clone(one)
	for i := range mixed {
		mixed[i] = one[i]/2 + two[i]/2
	}
	clear(paused[1600:4000])
	for name, test := range map[string]struct {
		pcm       []int16
		hz        float64
		low, high float64
	}{
		"itself": {one, 440, 0.999, 1.001}, "another": {one, 880, 0, 0.001}, "10 Hz beside": {one, 450, 0, 0.001}, "half": {mixed, 440, 0.49, 0.51},
		"with a pause": {paused, 440, 0.99, 1.001}, "silence": {make([]int16, Rate), 440, 0, 0}, "nothing": {nil, 440, 0, 0},
		"noise": {Noise(1, Rate), 440, 0, 0.05}, "through A-law": {Through("PCMA", one), 440, 0.99, 1.001},
	} {
		if r := Tone(test.pcm, test.hz); r < test.low || r > test.high {
			t.Errorf("%s: %.4f", name, r)
		}
	}
}

func TestAWAVFileComesBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pcm := rapid.SliceOf(rapid.Int16()).Draw(t, "pcm")
		var b bytes.Buffer
		if err := WriteWAV(&b, pcm); err != nil {
			t.Fatal(err)
		}
		got, err := ReadWAV(&b)
		if err != nil || !slices.Equal(got, pcm) {
			t.Fatalf("%v, %v", got, err)
		}
	})
}

// wavFile builds a file by hand, with a chunk that nobody knows before the data.
func wavFile(rate, channels int, extensible bool, pcm []int16) []byte {
	le := binary.LittleEndian
	format := le.AppendUint16(nil, 1)
	format = le.AppendUint16(format, uint16(channels))
	format = le.AppendUint32(format, uint32(rate))
	format = le.AppendUint32(format, uint32(2*channels*rate))
	format = le.AppendUint16(format, uint16(2*channels))
	format = le.AppendUint16(format, 16)
	if extensible {
		le.PutUint16(format, 0xfffe)
		format = append(format, 22, 0, 16, 0, 3, 0, 0, 0, 1, 0)
		format = append(format, make([]byte, 14)...)
	}
	b := []byte("RIFF\x00\x00\x00\x00WAVE")
	chunk := func(name string, body []byte) {
		b = append(le.AppendUint32(append(b, name...), uint32(len(body))), body...)
		if len(body)%2 == 1 {
			b = append(b, 0)
		}
	}
	chunk("fmt ", format)
	chunk("LIST", []byte("odd"))
	var data []byte
	for _, s := range pcm {
		data = le.AppendUint16(data, uint16(s))
	}
	chunk("data", data)
	return b
}

func TestWAVFilesOfOtherRatesAndChannelsKeepTheirTone(t *testing.T) {
	for _, rate := range []int{8000, 11025, 16000, 22050, 44100, 48000} {
		for _, channels := range []int{1, 2} {
			pcm := make([]int16, 2*rate*channels)
			for i := range pcm {
				pcm[i] = int16(8000 * math.Sin(2*math.Pi*440*float64(i/channels)/float64(rate)))
			}
			got, err := ReadWAV(bytes.NewReader(wavFile(rate, channels, rate == 48000, pcm)))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 2*Rate {
				t.Errorf("%d Hz, %d channels: %d samples", rate, channels, len(got))
			}
			if r := Tone(got, 440); r < 0.97 {
				t.Errorf("%d Hz, %d channels: the tone is %.3f of it", rate, channels, r)
			}
		}
	}
}

func TestWhatIsNoWAVFileIsRefused(t *testing.T) {
	good := wavFile(8000, 1, false, []int16{1, 2, 3})
	alter := func(at int, b byte) []byte { c := bytes.Clone(good); c[at] = b; return c }
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("not a wave file at all"), "no data": good[:40], "8 bit": alter(34, 8), "3 channels": alter(22, 3),
		"no channel": alter(22, 0), "µ-law": alter(20, 7), "4 kHz": alter(25, 0x0f), "data first": append([]byte("RIFF....WAVEdata"), 0, 0, 0, 0),
	} {
		if _, err := ReadWAV(bytes.NewReader(b)); !errors.Is(err, errNotWAV) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := ReadWAV(bytes.NewReader(good[:len(good)-3])); err != nil || !slices.Equal(got, []int16{1}) {
		t.Errorf("cut short: %v, %v", got, err)
	}
}

func FuzzReadWAV(f *testing.F) {
	f.Add(wavFile(44100, 2, true, []int16{1, 2, 3, 4, 5}))
	f.Add(wavFile(8000, 1, false, nil))
	f.Add([]byte("RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pcm, err := ReadWAV(bytes.NewReader(b)); err == nil && 2*len(pcm) > len(b) {
			t.Errorf("%d samples of %d bytes", len(pcm), len(b))
		}
	})
}

func TestAPacketComesBackAsItWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := packet{marker: rapid.Bool().Draw(t, "marker"), payload: rapid.Uint8Range(0, 127).Draw(t, "payload"),
			sequence: rapid.Uint16().Draw(t, "sequence"), timestamp: rapid.Uint32().Draw(t, "timestamp"), ssrc: rapid.Uint32().Draw(t, "ssrc"),
			extension: bytes.Repeat([]byte{7}, 4*rapid.IntRange(0, 5).Draw(t, "words")), body: rapid.SliceOf(rapid.Byte()).Draw(t, "body")}
		got, ok := parsePacket(p.marshal(nil))
		if !ok || got.marker != p.marker || got.payload != p.payload || got.sequence != p.sequence || got.timestamp != p.timestamp ||
			got.ssrc != p.ssrc || !bytes.Equal(got.extension, p.extension) || !bytes.Equal(got.body, p.body) {
			t.Fatalf("sent %+v, got %+v", p, got)
		}
	})
}

func FuzzParsePacket(f *testing.F) {
	f.Add(packet{payload: 8, extension: []byte("abcd"), body: []byte("efgh")}.marshal(nil))
	f.Add([]byte{0xb2, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0, 0, 1, 1, 2, 3, 4, 5, 6, 0, 2})
	f.Add([]byte{0xa0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, ok := parsePacket(raw)
		if ok && 12+len(p.extension)+len(p.body) > len(raw) {
			t.Errorf("%d bytes of extension and %d of body in %d", len(p.extension), len(p.body), len(raw))
		}
	})
}

// Packets in any order, doubled, some lost, with numbers that wrap, sound as they were said.
func TestPacketsInAnyOrderAreHeardInTheOrderOfTheirTimestamps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "packets")
		sequence, timestamp := rapid.Uint16().Draw(t, "sequence"), rapid.Uint32().Draw(t, "timestamp")
		said := Through("PCMA", Noise(1, n*perFrame))
		order := rapid.Permutation(slices.Collect(numbersTo(n))).Draw(t, "order")
		kept := rapid.IntRange(1, n).Draw(t, "kept")
		from := netip.MustParseAddrPort("127.0.0.1:4000")
		e := newEar()
		e.expect(from)
		present := make([]bool, n)
		for _, i := range order[:kept] {
			p := packet{payload: 8, sequence: sequence + uint16(i), timestamp: timestamp + uint32(i*perFrame), ssrc: 1,
				body: encode("PCMA", said[i*perFrame:(i+1)*perFrame])}
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				e.take(from, p)
			}
			present[i] = true
		}
		first, last := slices.Index(present, true), n-1
		for !present[last] {
			last--
		}
		lost := 0
		for i := first; i <= last; i++ {
			if !present[i] {
				clear(said[i*perFrame : (i+1)*perFrame])
				lost++
			}
		}
		got, h := hear(e)
		if !slices.Equal(got, said[first*perFrame:(last+1)*perFrame]) || h.Lost != lost {
			t.Fatalf("heard %d samples of %d, %d lost, want %d", len(got), (last-first+1)*perFrame, h.Lost, lost)
		}
	})
}

// hear is all that is heard so far.
func hear(e *ear) (pcm []int16, h Hearing) {
	h = e.listen(func(heard []int16) { pcm = slices.Clone(heard) })
	return pcm, h
}

// Who listens after every packet hears what he hears who listens once, also what came
// before a description gave it a sender or a meaning.
func TestListeningInBetweenChangesNothingOfWhatIsHeard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("127.0.0.2:4000")}
		now, later := newEar(), newEar()
		for i := range rapid.IntRange(1, 20).Draw(t, "steps") {
			both := func(do func(*ear)) { do(now); do(later) }
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				from := rapid.SampledFrom(places).Draw(t, "named")
				both(func(e *ear) { e.expect(from) })
			case 1:
				f := format{payload: 8, name: rapid.SampledFrom([]string{"PCMU", telephoneEvent, "PCMA"}).Draw(t, "means"), clock: 8000}
				both(func(e *ear) { e.learn(f) })
			default:
				from := rapid.SampledFrom(places).Draw(t, "from")
				p := packet{payload: rapid.SampledFrom([]uint8{0, 8, 99}).Draw(t, "payload"), sequence: rapid.Uint16Max(9).Draw(t, "sequence"),
					timestamp: 160 * rapid.Uint32Max(9).Draw(t, "timestamp"), ssrc: rapid.Uint32Max(1).Draw(t, "ssrc"), body: []byte{byte(i), 0, 1}}
				both(func(e *ear) { e.take(from, p) })
			}
			hear(now)
		}
		a, ha := hear(now)
		b, hb := hear(later)
		if !slices.Equal(a, b) || ha != hb {
			t.Fatalf("%d samples and %+v, or %d and %+v", len(a), ha, len(b), hb)
		}
	})
}

func numbersTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestASecondStreamIsHeardAfterTheFirst(t *testing.T) {
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	e := newEar()
	e.expect(from)
	for i, ssrc := range []uint32{1, 1, 2, 2} {
		e.take(from, packet{payload: 0, sequence: uint16(i), timestamp: uint32(1e9*int(ssrc) + 160*i), ssrc: ssrc, body: bytes.Repeat([]byte{byte(i)}, 160)})
	}
	got, h := hear(e)
	if len(got) != 640 || got[0] != g711.ULaw.Values()[0] || got[639] != g711.ULaw.Values()[3] || h.Streams != 2 || h.Lost != 0 {
		t.Errorf("%d samples, %+v", len(got), h)
	}
}

func TestATimestampThatJumpsFarDoesNotFillTheMemoryWithSilence(t *testing.T) {
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	e := newEar()
	e.expect(from)
	for i := range uint32(8) {
		e.take(from, packet{payload: 8, sequence: uint16(i), timestamp: i << 30, ssrc: 1, body: make([]byte, 160)})
	}
	if got, _ := hear(e); len(got) != 8*160 {
		t.Errorf("%d samples", len(got))
	}
}
