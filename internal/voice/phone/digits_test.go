package phone_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/testkit"
	"tandem/internal/voice/g711"
	"tandem/internal/voice/phone"
)

// quick presses as fast as the three packets that tell the end allow.
var quick = phone.Press{On: 40 * time.Millisecond, Off: 20 * time.Millisecond}

func TestDigitsArriveInOrderFromEitherSideByEventsAndByINFO(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		t.Parallel()
		p := newPair(t, network)
		a, b := p.talk(t, phone.Invite{}, phone.Reply{})
		plain := phone.Press{How: phone.INFO, On: time.Millisecond, Off: time.Millisecond, Plain: true}
		relay := plain
		relay.Plain = false
		for name, side := range map[string]struct{ from, to *phone.Call }{"caller": {a, b}, "callee": {b, a}} {
			must(t, side.from.Press(soon(t), "0123456789*#ABCD", quick))
			must(t, side.to.HearsDigits(soon(t), 16)) // RTP and SIP may overtake each other
			must(t, side.from.Press(soon(t), "77*", plain))
			must(t, side.from.Press(soon(t), "#D0", relay))
			must(t, side.from.Press(soon(t), "42", quick))
			must(t, side.from.Press(soon(t), "", quick))
			must(t, side.to.HearsDigits(soon(t), 16+3+3+2))
			if got := side.to.Digits(); got != "0123456789*#ABCD77*#D042" {
				t.Errorf("%s pressed, the other side got %q", name, got)
			}
		}
		must(t, a.Hangup(soon(t)))
		if b.HearsDigits(soon(t), 100) == nil {
			t.Error("digits that never came")
		}
	})
}

// An rtp is what a test reads of a packet that has arrived.
type rtp struct {
	marker          bool
	payload         byte
	sequence        uint16
	timestamp, ssrc uint32
	body            []byte
	code            byte
	end             bool
	duration        uint16
}

// packetsOf lists the RTP that c got, as it came.
func packetsOf(c *phone.Call) []rtp {
	var list []rtp
	for _, raw := range c.Raw() {
		if len(raw) < 16 || raw[0] != 0x80 || raw[1] >= 200 && raw[1] <= 204 {
			continue
		}
		p := rtp{marker: raw[1] >= 0x80, payload: raw[1] & 0x7f, sequence: binary.BigEndian.Uint16(raw[2:]),
			timestamp: binary.BigEndian.Uint32(raw[4:]), ssrc: binary.BigEndian.Uint32(raw[8:]), body: raw[12:]}
		if p.payload == 101 {
			p.code, p.end, p.duration = p.body[0], p.body[1]&0x80 != 0, binary.BigEndian.Uint16(p.body[2:])
		}
		list = append(list, p)
	}
	return list
}

func TestEventPacketsAreAsRFC4733Asks(t *testing.T) {
	t.Parallel()
	said := phone.Noise(1, 40*160)
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{Audio: phone.Samples(said)}, phone.Reply{})
	must(t, b.Hears(soon(t), 5*160))
	must(t, a.Press(soon(t), "5#", phone.Press{}))
	must(t, a.Said(soon(t)))
	must(t, b.Hears(soon(t), (40+2*7)*160))
	packets := packetsOf(b)
	var speech []byte
	var events []rtp
	for i, p := range packets {
		if i > 0 && (p.sequence != packets[i-1].sequence+1 || p.ssrc != packets[0].ssrc) {
			t.Errorf("packet %d: the numbers are not those of the one stream", i)
		}
		if p.payload == 101 {
			events = append(events, p)
		} else {
			if want := packets[0].timestamp + uint32(160*i); p.timestamp != want { // the clock goes on, also under events
				t.Errorf("packet %d of speech is %d late", i, int32(p.timestamp-want))
			}
			speech = append(speech, p.body...)
		}
	}
	if len(events) != 14 {
		t.Fatalf("%d packets of events", len(events))
	}
	for i, e := range events {
		n, digit := i%7, i/7
		want := rtp{marker: n == 0, payload: 101, timestamp: events[0].timestamp + uint32(digit*8*160), code: []byte{5, 11}[digit],
			end: n >= 4, duration: uint16(min(160*(n+1), 800)), sequence: e.sequence, ssrc: e.ssrc, body: e.body}
		if i == 0 {
			want.timestamp = packets[slices.IndexFunc(packets, func(p rtp) bool { return p.payload == 101 })-1].timestamp + 160
		}
		if !same(e, want) {
			t.Errorf("packet %d of events:\n%+v, want\n%+v", i, e, want)
		}
	}
	if h := b.Hearing(); h.Lost != 0 || h.Streams != 1 {
		t.Errorf("counted %+v", h)
	}
	if through := octets(phone.Through("PCMA", said)); !bytes.HasPrefix(octets(pcmaOf(speech)), through) {
		t.Error("the speech did not go on where it stopped")
	}
	heard, at := b.Heard(), int(events[0].timestamp-packets[0].timestamp)
	if slices.ContainsFunc(heard[at:at+7*160], func(s int16) bool { return s != 0 }) {
		t.Error("there is speech under the digit")
	}
}

func same(a, b rtp) bool {
	return a.marker == b.marker && a.payload == b.payload && a.timestamp == b.timestamp && a.code == b.code && a.end == b.end && a.duration == b.duration
}

// pcmaOf decodes A-law by what Through makes of all samples.
func pcmaOf(b []byte) []int16 {
	out := make([]int16, len(b))
	for i, v := range b {
		out[i] = g711.ALaw.Values()[v]
	}
	return out
}

func TestADigitThatIsNoMultipleOf20MsHasItsOwnDuration(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, a.Press(soon(t), "1", phone.Press{On: 45 * time.Millisecond, Off: time.Millisecond}))
	must(t, b.HearsDigits(soon(t), 1))
	must(t, a.Press(soon(t), "2", phone.Press{On: time.Millisecond}))
	must(t, b.HearsDigits(soon(t), 2))
	must(t, b.Hears(soon(t), 160*16))
	var got []uint16
	for _, p := range packetsOf(b) {
		if p.payload == 101 {
			got = append(got, p.duration)
		}
	}
	if want := []uint16{160, 320, 360, 360, 360, 8, 8, 8}; !slices.Equal(got, want) {
		t.Errorf("durations %v, want %v", got, want)
	}
}

func TestPacketsOfDigitsThatAreDoubledOrLostStillMakeEachDigitOnce(t *testing.T) {
	for name, test := range map[string]struct {
		press   phone.Press
		packets int // of the 7 of one digit, each counted as often as it comes
		lost    int
	}{
		"doubled":                 {phone.Press{Twice: true}, 14, 0},
		"without a start":         {phone.Press{LoseStart: 1}, 6, 1},
		"the end alone":           {phone.Press{LoseStart: 4}, 3, 4},
		"one end":                 {phone.Press{LoseEnd: 2}, 5, 2},
		"no end":                  {phone.Press{LoseEnd: 3}, 4, 3},
		"one in the middle twice": {phone.Press{LoseStart: 3, LoseEnd: 3, Twice: true}, 2, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "udp")
			a, b := p.talk(t, phone.Invite{Audio: phone.Sine(440, 9000)}, phone.Reply{})
			must(t, b.Hears(soon(t), 160))
			must(t, a.Press(soon(t), "1223", test.press))
			must(t, b.HearsDigits(soon(t), 4))
			must(t, b.Hears(soon(t), len(b.Heard())+2000))
			if got := b.Digits(); got != "1223" {
				t.Errorf("digits %q", got)
			}
			n := 0
			for _, p := range packetsOf(b) {
				if p.payload == 101 {
					n++
				}
			}
			if n != 4*test.packets {
				t.Errorf("%d packets, want %d", n, 4*test.packets)
			}
			if h := b.Hearing(); h.Lost != 4*test.lost {
				t.Errorf("%d lost, want %d", h.Lost, 4*test.lost)
			}
		})
	}
}

func TestDigitsPressedAtTheSameTimeDoNotMix(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	result := make(chan error, 1)
	go func() { result <- a.Press(soon(t), "111", quick) }()
	must(t, a.Press(soon(t), "222", quick))
	must(t, next(t, result))
	must(t, b.HearsDigits(soon(t), 6))
	if got := b.Digits(); got != "111222" && got != "222111" {
		t.Errorf("digits %q", got)
	}
}

func TestWithoutTelephoneEventNoDigitGoesByIt(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]func(a, b *phone.Options){
		"not offered":  func(a, _ *phone.Options) { a.NoEvents = true },
		"not answered": func(_, b *phone.Options) { b.NoEvents = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, "udp", more)
			a, b := p.talk(t, phone.Invite{}, phone.Reply{})
			for _, c := range []*phone.Call{a, b} {
				if err := c.Press(soon(t), "1", quick); !errors.Is(err, phone.ErrNoEvents) {
					t.Errorf("got %v", err)
				}
				must(t, c.Press(soon(t), "1", phone.Press{How: phone.INFO}))
			}
			var named bool
			for _, s := range a.Ladder() {
				named = named || s.Out == (name == "not offered") && bytes.Contains(s.Raw, []byte("telephone-event"))
			}
			if named {
				t.Error("it is in the description")
			}
		})
	}
}

func TestEventsGoByTheNumberThatIsAgreedUponLast(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{Codecs: []string{"PCMA"}}, phone.Reply{})
	if err := a.Press(soon(t), "1", quick); !errors.Is(err, phone.ErrNoEvents) {
		t.Errorf("got %v", err)
	}
	must(t, a.Reinvite(soon(t), phone.Offer{Codecs: []string{"PCMA", "telephone-event"}}))
	must(t, a.Press(soon(t), "2", quick))
	must(t, b.HearsDigits(soon(t), 1))
	if got := b.Digits(); got != "2" {
		t.Errorf("digits %q", got)
	}
}

func TestAnINFOThatIsRefusedEndsThePressing(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 200, "peer", x.contact(), pcma(9))
	next(t, x.acks)
	must(t, c.Answered(soon(t)))
	result := make(chan error, 1)
	go func() { result <- c.Press(soon(t), "57", phone.Press{How: phone.INFO, On: 160 * time.Millisecond}) }()
	first := x.expect("INFO")
	if kind, body := first.req.ContentType().Value(), string(first.req.Body()); kind != "application/dtmf-relay" || body != "Signal=5\r\nDuration=160\r\n" {
		t.Errorf("%s: %q", kind, body)
	}
	x.says(first, 415, "")
	var status *phone.StatusError
	if err := next(t, result); !errors.As(err, &status) || status.Code != 415 {
		t.Errorf("got %v", err)
	}
	go func() { result <- c.Press(soon(t), "9", phone.Press{How: phone.INFO, Plain: true}) }()
	second := x.expect("INFO") // not that of the 7
	if kind, body := second.req.ContentType().Value(), string(second.req.Body()); kind != "application/dtmf" || body != "9" {
		t.Errorf("%s: %q", kind, body)
	}
	x.says(second, 200, "")
	must(t, next(t, result))
}

func TestDigitsInBandAreTheirTwoTonesOverTheSpeech(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"caller", "callee"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "udp", func(a, _ *phone.Options) { a.NoEvents = true })
			a, b := p.talk(t, phone.Invite{Audio: phone.Sine(400, 1000)}, phone.Reply{Audio: phone.Sine(400, 1000)})
			from, to := a, b
			if side == "callee" {
				from, to = b, a
			}
			const all = "1590*#D"
			must(t, to.Hears(soon(t), 1600))
			must(t, from.Press(soon(t), all, phone.Press{How: phone.Inband, On: 195 * time.Millisecond, Off: 45 * time.Millisecond}))
			must(t, to.Hears(soon(t), len(to.Heard())+1600))
			if got := tonesIn(to.Heard()); got != all {
				t.Errorf("heard %q", got)
			}
			if got := to.Digits(); got != "" {
				t.Errorf("events or INFO of %q besides", got)
			}
			if r := phone.Tone(to.Heard()[:1600], 400); r < 0.99 {
				t.Errorf("the speech before is %.2f of it", r)
			}
		})
	}
}

// tonesIn reads digits of at least 180 ms, with pauses between them.
func tonesIn(pcm []int16) string {
	digits := []string{"123A", "456B", "789C", "*0#D"}
	var read []byte
	held := false
	for ; len(pcm) >= 800; pcm = pcm[80:] {
		found := byte(0)
		for i, low := range []float64{697, 770, 852, 941} {
			for j, high := range []float64{1209, 1336, 1477, 1633} {
				l, h := phone.Tone(pcm[:800], low), phone.Tone(pcm[:800], high)
				if l > 0.4 && h > 0.4 && l+h > 0.9 {
					found = digits[i][j]
				}
			}
		}
		if found != 0 && !held {
			read = append(read, found)
		}
		held = found != 0
	}
	return string(read)
}

func TestDigitsWaitWhileWeMayNotSend(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, b.Hold(soon(t)))
	given, cancel := context.WithCancelCause(t.Context())
	forgotten := make(chan error, 1)
	go func() { forgotten <- a.Press(given, "99", quick) }()
	must(t, a.Hears(soon(t), len(a.Heard())+1600)) // time passes; B goes on
	gone := errors.New("gone")
	cancel(gone)
	if err := next(t, forgotten); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	result := make(chan error, 1)
	go func() { result <- a.Press(soon(t), "12", quick) }()
	must(t, b.Resume(soon(t)))
	must(t, next(t, result))
	must(t, b.HearsDigits(soon(t), 2))
	if got := b.Digits(); got != "12" {
		t.Errorf("digits %q", got)
	}
}

func TestADigitIsPressedToItsEndThoughNobodyWaits(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	given, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- a.Press(given, "3456", phone.Press{On: 400 * time.Millisecond}) }()
	must(t, b.HearsDigits(soon(t), 1))
	cancel()
	if err := next(t, result); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	must(t, a.Press(soon(t), "7", quick))
	must(t, b.HearsDigits(soon(t), 2))
	ends := 0
	for _, p := range packetsOf(b) {
		if p.payload == 101 && p.end && p.code == 3 && p.duration == 3200 {
			ends++
		}
	}
	if b.Digits() != "37" || ends != 3 {
		t.Errorf("digits %q, %d packets tell the end of the first", b.Digits(), ends)
	}
}

func TestWhatCannotBePressedIsRefusedWithoutSayingWhatItWas(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	for _, how := range []phone.Way{phone.RFC4733, phone.INFO, phone.Inband} {
		if a.Press(soon(t), "1", phone.Press{How: how}) == nil || b.Press(soon(t), "1", phone.Press{How: how}) == nil {
			t.Error("pressed before the answer")
		}
	}
	must(t, b.Answer(phone.Reply{}))
	must(t, a.Answered(soon(t)))
	for name, press := range map[string]struct {
		digits string
		how    phone.Press
	}{
		"a letter": {"1234x", phone.Press{}}, "a small letter": {"1234a", phone.Press{}}, "a space": {"12 34", phone.Press{}},
		"no way": {"1234", phone.Press{How: 9}}, "too long": {"1234", phone.Press{On: 9 * time.Second}}, "a long pause": {"1234", phone.Press{Off: time.Hour}},
		"before it began": {"1234", phone.Press{On: -1}}, "no pause at all": {"1234", phone.Press{Off: -1}},
	} {
		err := a.Press(soon(t), press.digits, press.how)
		if err == nil || strings.Contains(err.Error(), press.digits) {
			t.Errorf("%s: %v", name, err)
		}
	}
	result := make(chan error, 1)
	go func() { result <- a.Press(soon(t), "11111111", phone.Press{On: 5 * time.Second}) }()
	must(t, b.HearsDigits(soon(t), 1))
	must(t, b.Hangup(soon(t)))
	if next(t, result) == nil {
		t.Error("pressed to the end in a call that is over")
	}
	if a.Press(soon(t), "1", phone.Press{}) == nil {
		t.Error("pressed in a call that is over")
	}
}

func TestNoDigitIsPrintedOrLogged(t *testing.T) {
	t.Parallel()
	const pin = "83746291"
	logs := testkit.NewLogs()
	p := newPair(t, "udp", func(a, b *phone.Options) { a.Log, b.Log = logs.Logger(), logs.Logger() })
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, a.Press(soon(t), pin, phone.Press{How: phone.INFO, On: time.Millisecond, Off: time.Millisecond}))
	must(t, a.Press(soon(t), pin, phone.Press{How: phone.INFO, On: time.Millisecond, Off: time.Millisecond, Plain: true}))
	var printed bytes.Buffer
	must(t, phone.WriteLadder(&printed, a.Ladder(), true))
	must(t, phone.WriteLadder(&printed, b.Ladder(), true))
	if n := strings.Count(printed.String(), "  with digit\n"); n != 4*len(pin) {
		t.Errorf("%d lines tell of a digit:\n%s", n, &printed)
	}
	if strings.Contains(printed.String(), "ignal") || b.Digits() != pin+pin {
		t.Errorf("digits %q, printed:\n%s", b.Digits(), &printed)
	}
	must(t, a.Hangup(soon(t)))
	if len(logs.Lines()) == 0 || bytes.Contains(bytes.Join(logs.Lines(), nil), []byte("Signal")) {
		t.Error("nothing logged, or a digit")
	}
}
