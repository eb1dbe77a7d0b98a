package phone

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/voice/sdp"
)

var near = netip.MustParseAddrPort("127.0.0.1:4000")

func TestTheDigitOfAnINFOIsReadAsGatewaysWriteIt(t *testing.T) {
	for _, test := range []struct {
		kind, body, want string
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "5"},
		{"application/dtmf-relay", "Signal= *\r\nDuration= 100", "*"},
		{"Application/DTMF-Relay; x=y", "duration=250\nsignal=a\n", "A"},
		{"application/dtmf-relay", "Signal=55\r\n", ""},
		{"application/dtmf-relay", "Signal=!\r\n", ""},
		{"application/dtmf-relay", "5", ""},
		{"application/dtmf-relay", "", ""},
		{"application/dtmf", "#", "#"},
		{"application/dtmf", " 9\r\n", "9"},
		{"application/dtmf", "Signal=5", ""},
		{"application/sdp", "5", ""},
		{"", "5", ""},
	} {
		digit, ok := signalIn(test.kind, []byte(test.body))
		if got := strings.Trim(string(rune(digit)), "\x00"); got != test.want || ok != (test.want != "") {
			t.Errorf("%s %q: %q, %v", test.kind, test.body, got, ok)
		}
	}
}

func FuzzSignalIn(f *testing.F) {
	f.Add("application/dtmf-relay", []byte("Signal=5\r\nDuration=160\r\n"))
	f.Add("application/dtmf", []byte("#"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if digit, ok := signalIn(kind, body); ok && (!strings.ContainsRune(keypad, rune(digit)) || !strings.Contains(strings.ToUpper(string(body)), string(rune(digit)))) {
			t.Errorf("%q is read as %q", body, digit)
		}
	})
}

func FuzzDigitIn(f *testing.F) {
	f.Add(telephone{code: 11, end: true, duration: 800}.marshal())
	f.Add([]byte{16, 0, 0, 0})
	f.Add([]byte{5, 10, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		digit, ok := digitIn(body)
		if ok != (len(body) >= 4 && body[0] < 16) || ok && keypad[body[0]] != digit {
			t.Errorf("% x is read as %q, %v", body, digit, ok)
		}
	})
}

// Every digit of every keying takes as long as it should, and its end is told last.
func TestAKeyingTakesTheTimeOfItsDigitsAndPauses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := func(name string, least int) time.Duration {
			return time.Duration(rapid.IntRange(least, 400).Draw(t, name)) * time.Millisecond
		}
		how := rapid.SampledFrom([]Way{RFC4733, Inband}).Draw(t, "how")
		k := &keying{o: Press{How: how, On: ms("on", 1), Off: ms("off", 0)}, digits: strings.Repeat("1", rapid.IntRange(1, 4).Draw(t, "digits")),
			done: make(chan struct{})}
		n, frames, out := len(k.digits), 0, 0
		for more := true; more; frames++ {
			more = k.step()
			select {
			case <-k.done:
			default:
				out = frames + 1
			}
		}
		on, length := (int(k.o.On.Milliseconds())+19)/20, (int((k.o.On+k.o.Off).Milliseconds())+19)/20
		tail := on
		if how == RFC4733 {
			tail = on + 2
			length = max(length, tail)
		}
		if frames != n*length || out+1 != (n-1)*length+tail {
			t.Fatalf("%d digits took %d frames, the last was out after %d", n, frames, out+1)
		}
	})
}

func TestTonesAreThoseOfTheKeypad(t *testing.T) {
	for digit, want := range map[byte][2]float64{'1': {697, 1209}, '5': {770, 1336}, '0': {941, 1336}, '*': {941, 1209}, '#': {941, 1477}, 'D': {941, 1633}, '6': {770, 1477}} {
		if low, high := tones(digit); low != want[0] || high != want[1] {
			t.Errorf("%q: %v and %v Hz", digit, low, high)
		}
	}
}

func TestTonesOverLoudSpeechDoNotWrapAround(t *testing.T) {
	v := &voice{keys: []*keying{{o: Press{How: Inband, On: time.Second}, digits: "5", done: make(chan struct{})}}}
	for range 10 {
		pcm := make([]int16, perFrame)
		for i := range pcm {
			pcm[i] = 32767
		}
		before := v.keys[0].frames * perFrame
		v.mix(pcm)
		for i, s := range pcm {
			if sum := 32767 + loudness*(wave(770, before+i)+wave(1336, before+i)); float64(s) < min(sum, 32767)-1 {
				t.Fatalf("sample %d is %d, want %.0f", i, s, sum)
			}
		}
	}
}

func TestWhoeverOffersNumbersTheEvents(t *testing.T) {
	p := &Phone{}
	formats, err := p.formatsNamed(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := session{formats: formats, direction: sdp.SendRecv}
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	answer, a, err := s.answer([]byte(head+"m=audio 4000 RTP/AVP 96 8\r\na=rtpmap:96 telephone-event/8000\r\n"), near)
	if err != nil || a.events.payload != 96 || a.events.name != telephoneEvent || a.format.payload != 8 {
		t.Errorf("answering: %+v, %v", a, err)
	}
	if !strings.Contains(string(answer), "a=rtpmap:96 telephone-event/8000\r\n") {
		t.Errorf("answer:\n%s", answer)
	}
	e := newEar()
	e.expect(a.to)
	e.learn(a.format, a.events)
	e.take(a.to, packet{payload: 96, body: telephone{code: 7}.marshal()})
	if got := e.digits(); got != "7" {
		t.Errorf("digits %q", got)
	}
	a, err = s.accept([]byte(head + "m=audio 4000 RTP/AVP 8 110\r\na=rtpmap:110 telephone-event/8000\r\n"))
	if err != nil || a.events.payload != 110 {
		t.Errorf("answered: %+v, %v", a, err)
	}
	if a, err = s.accept([]byte(head + "m=audio 4000 RTP/AVP 8\r\n")); err != nil || a.events.clock != 0 {
		t.Errorf("answered without: %+v, %v", a, err)
	}
}

func TestDigitsAreListedAsTheyArriveWhicheverWay(t *testing.T) {
	far := netip.AddrPortFrom(near.Addr(), near.Port()+1)
	e := newEar()
	e.expect(near)
	event := func(timestamp uint32, code byte) packet {
		return packet{payload: 101, timestamp: timestamp, body: telephone{code: code}.marshal()}
	}
	e.press('9')
	e.take(near, event(100, 1))
	e.press('8')
	e.take(far, event(200, 2)) // a stranger
	e.take(near, event(300, 3))
	e.take(near, event(100, 1))  // late
	e.take(near, event(400, 16)) // flash
	e.take(near, packet{payload: 101, timestamp: 500, body: []byte{4}})
	e.take(near, event(600, 15))
	e.press('7')
	if got := e.digits(); got != "9183D7" {
		t.Errorf("digits %q", got)
	}
}

func TestTheSameSeedDelaysAlike(t *testing.T) {
	newRandom := func(seed uint64) *rand.Rand {
		p, err := New(Options{IP: near.Addr(), Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		v, err := newVoice(p, &record{})
		if err != nil {
			t.Fatal(err)
		}
		v.close()
		return v.random
	}
	one, same, other := newRandom(1), newRandom(1), newRandom(2)
	differ := false
	for range 10 {
		n := one.Int64()
		if n != same.Int64() {
			t.Fatal("one seed, two sequences")
		}
		differ = differ || n != other.Int64()
	}
	if !differ {
		t.Error("two seeds, one sequence")
	}
}

func TestAClockThatRunsFastTakesLessTimeForAPacket(t *testing.T) {
	for drift, want := range map[float64]time.Duration{0: 20 * time.Millisecond, 100: 19998000, -100: 20002000, 250e3: 16 * time.Millisecond, -500e3: 40 * time.Millisecond} {
		if got := paced(drift); got != want {
			t.Errorf("%v ppm: %v, want %v", drift, got, want)
		}
	}
}
