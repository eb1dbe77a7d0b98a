package phone_test

import (
	"bytes"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

func TestPacketsThatOvertakeEachOtherAreHeardInTheirOrder(t *testing.T) {
	t.Parallel()
	said := phone.Noise(6, 8000)
	p := newPair(t, "udp", func(a, _ *phone.Options) { a.Jitter, a.Seed = 90*time.Millisecond, 7 })
	a, b := p.talk(t, phone.Invite{Audio: phone.Samples(said)}, phone.Reply{})
	must(t, a.Said(soon(t)))
	must(t, a.Press(soon(t), "123", phone.Press{}))
	must(t, b.Hears(soon(t), len(said)+8000)) // what is late has come as well
	want, heard := phone.Through("PCMA", said), b.Heard()
	if first := len(heard) - len(want); first < 0 || !slices.Equal(heard[:len(want)], want) {
		t.Error("B heard something else")
	}
	if got := b.Digits(); got != "123" {
		t.Errorf("digits %q", got)
	}
	overtaken, packets := 0, packetsOf(b)
	for i := 1; i < len(packets); i++ {
		if int16(packets[i].sequence-packets[i-1].sequence) < 0 {
			overtaken++
		}
	}
	if overtaken < len(packets)/10 {
		t.Errorf("%d of %d packets were overtaken", overtaken, len(packets))
	}
	if h := b.Hearing(); h.Strays != 0 || h.Streams != 1 {
		t.Errorf("counted %+v", h)
	}
}

func TestASampleClockThatDriftsSendsMoreOrFewerPackets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ drift, low, high float64 }{
		"fast": {150e3, 1.08, 1.22}, "slow": {-150e3, 0.78, 0.92},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "udp", func(a, _ *phone.Options) { a.Drift = test.drift })
			a, b := p.talk(t, phone.Invite{Audio: phone.Sine(440, 9000)}, phone.Reply{})
			must(t, a.Hears(soon(t), 2*phone.Rate)) // two seconds by B's clock
			ratio := float64(len(b.Heard())) / (2 * phone.Rate)
			if ratio < test.low || ratio > test.high {
				t.Errorf("A sent %.2f times as much as B", ratio)
			}
			if r := phone.Tone(b.Heard(), 440); r < 0.98 {
				t.Errorf("by its own clock it is the tone by %.2f", r) // 160 samples a packet all the same
			}
		})
	}
	for _, drift := range []float64{1e6, -1e6, math.NaN()} {
		if p, err := phone.New(phone.Options{IP: loopback, Drift: drift}); err == nil {
			must(t, p.Close())
			t.Errorf("a drift of %v ppm", drift)
		}
	}
}

func TestLossAndJitterActOnEventsToo(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lost int
	p := newPair(t, "udp", func(a, _ *phone.Options) {
		a.Jitter = 30 * time.Millisecond
		a.Lose = func(packet []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			if packet[1]&0x80 != 0 && packet[1]&0x7f == 101 { // the first of each digit
				lost++
				return true
			}
			return false
		}
	})
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, a.Press(soon(t), "90", phone.Press{Twice: true}))
	must(t, b.HearsDigits(soon(t), 2))
	mu.Lock()
	defer mu.Unlock()
	if b.Digits() != "90" || lost != 4 {
		t.Errorf("digits %q, %d packets lost", b.Digits(), lost)
	}
}

func TestWhoCallsHearsWhatIsSaidBeforeAnswerAndByeInOneBreath(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, network string) {
		said := phone.Noise(7, 3200)
		p := newPair(t, network)
		a, b := p.dial(t, phone.Invite{Audio: phone.Sine(440, 9000)})
		must(t, b.Ring(phone.Reply{}))
		must(t, b.Ring(phone.Reply{Status: 183, Early: true, Audio: phone.Samples(said)}))
		must(t, b.Said(soon(t)))
		must(t, a.Hears(soon(t), len(said))) // nobody has answered yet
		if n := b.Hearing().Packets; n != 0 {
			t.Errorf("A spoke before the answer: %d packets", n)
		}
		must(t, b.Answer(phone.Reply{}))
		must(t, b.Hangup(soon(t)))
		must(t, a.Answered(soon(t)))
		if e := ended(t, a); e.ByUs || e.Err != nil || e.Status != 0 {
			t.Errorf("A's end: %+v", e)
		}
		if want := phone.Through("PCMA", said); !slices.Equal(a.Heard()[:len(want)], want) {
			t.Error("A heard something else")
		}
	})
}

func TestEarlyMediaAndARefusalAreHeardAndARefusal(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, b.Ring(phone.Reply{Status: 183, Early: true, Audio: phone.Sine(425, 8000)}))
	must(t, a.HearsTone(soon(t), 425))
	must(t, b.Reject(404, ""))
	if e := ended(t, a); e.Status != 404 {
		t.Errorf("A's end: %+v", e)
	}
	if len(a.Heard()) < phone.Rate {
		t.Error("what was heard is forgotten")
	}
}

func TestSomethingElseCanBeSaidDuringTheCall(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	first, second := phone.Noise(8, 1600), phone.Noise(9, 1600)
	a, b := p.talk(t, phone.Invite{}, phone.Reply{Audio: phone.Samples(first)})
	must(t, b.Said(soon(t)))
	b.Say(phone.Silence())
	waited := make(chan error, 1)
	go func() { waited <- b.Said(soon(t)) }()
	must(t, a.Hears(soon(t), 3200))
	b.Say(phone.Samples(second))
	must(t, next(t, waited)) // for the second, whether it began before that or after
	must(t, a.Hears(soon(t), len(a.Heard())+800))
	heard := octets(a.Heard())
	want := [][]byte{octets(phone.Through("PCMA", first)), octets(phone.Through("PCMA", second))}
	if at := bytes.Index(heard, want[0]); at != 0 {
		t.Errorf("the first is heard at %d", at)
	}
	if at := bytes.Index(heard, want[1]); at < len(want[0]) {
		t.Errorf("the second is heard at %d", at)
	}
}
