package phone

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Way is how digits are sent.
type Way uint8

// The ways that carriers use.
const (
	RFC4733 Way = iota // telephone-event packets among those of the speech
	INFO               // one INFO within the dialog for each digit
	Inband             // the two tones of each digit, mixed into the speech
)

// A Press says how digits are pressed. The zero value is what most phones do.
type Press struct {
	How Way
	On  time.Duration // how long each is held; 0 = 100 ms
	Off time.Duration // the pause after each; 0 = 60 ms

	Plain bool // INFO: application/dtmf, the digit alone, instead of application/dtmf-relay

	// What a bad network does to the packets of each digit (RFC 4733).
	Twice     bool // each arrives twice
	LoseStart int  // so many are lost, from the first
	LoseEnd   int  // so many are lost of the three that tell the end, from the first of them
}

// ErrNoEvents says that telephone-event was not agreed upon.
var ErrNoEvents = errors.New("phone: telephone-event was not negotiated")

// keypad has each digit at the place of its event code (RFC 4733 §3.2).
const keypad = "0123456789*#ABCD"

const (
	usualOn, usualOff = 100 * time.Millisecond, 60 * time.Millisecond
	longest           = 8 * time.Second // the duration of an event has 16 bits (RFC 4733 §2.3.5)
	lastOnes          = 3               // packets that tell the end (RFC 4733 §2.5.1.4)
)

// Press presses digits (0 to 9, *, # and A to D), one after the other, and returns when
// the last is out. Digits pressed at the same time as others come after them; where we
// may not send, they wait until we may. The call has to be answered.
//
// By RFC 4733 the speech pauses while a digit is sent, and goes on where it stopped. An
// INFO that is refused is a *StatusError. If ctx ends, no further digit is begun.
func (c *Call) Press(ctx context.Context, digits string, o Press) error {
	if err := o.complete(digits); err != nil || digits == "" {
		return err
	}
	c.mu.Lock()
	v, answered := c.voice, c.phase == talking
	c.mu.Unlock()
	switch {
	case !answered:
		return errState
	case o.How == INFO:
		return c.inform(ctx, digits, o)
	}
	k := &keying{o: o, digits: digits, done: make(chan struct{})}
	v.press(k)
	select {
	case <-k.done:
		return k.err
	case <-c.done:
		return errState
	case <-ctx.Done():
		v.release(k)
		return context.Cause(ctx)
	}
}

// complete fills in what is usual and refuses what is no digit. The error does not
// repeat the digits: they may be a PIN.
func (o *Press) complete(digits string) error {
	if o.On == 0 {
		o.On = usualOn
	}
	if o.Off == 0 {
		o.Off = usualOff
	}
	switch {
	case strings.Trim(digits, keypad) != "":
		return errors.New("phone: only 0 to 9, *, # and A to D can be pressed")
	case o.How > Inband:
		return errors.New("phone: no such way to press digits")
	case o.On < time.Millisecond || o.Off < 0 || max(o.On, o.Off) > longest:
		return fmt.Errorf("phone: digits last 1 ms to %v", longest)
	}
	return nil
}

// inform presses digits by INFO.
func (c *Call) inform(ctx context.Context, digits string, o Press) error {
	for i := range len(digits) {
		if i > 0 {
			if err := c.pass(ctx, o.On+o.Off); err != nil {
				return err
			}
		}
		r := Request{Method: "INFO", Type: typeRelay, Body: fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", digits[i], o.On.Milliseconds())}
		if o.Plain {
			r.Type, r.Body = typeDTMF, []byte{digits[i]}
		}
		res, err := c.Send(ctx, r)
		if err != nil {
			return err
		}
		if res.Status >= 300 {
			return &StatusError{res.Status, res.Reason}
		}
	}
	return nil
}

// pass lets time pass in a call.
func (c *Call) pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.done:
		return errState
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A keying is digits that are being pressed in the media. It is guarded by the voice's lock.
type keying struct {
	o      Press
	digits string // what is left; the first is being pressed
	frames int    // since that began
	began  uint32 // its timestamp
	err    error  // to be read once done is closed
	ended  bool
	done   chan struct{}
}

// lasting is how many samples a duration has.
func lasting(d time.Duration) int { return int(d * Rate / time.Second) }

// end tells who waits that the last digit is out. The pause after it may remain.
func (k *keying) end(err error) {
	if !k.ended {
		k.ended, k.err = true, err
		close(k.done)
	}
}

// last is the first frame that tells the end of a digit.
func (k *keying) last() int { return (lasting(k.o.On) - 1) / perFrame }

// step counts a frame of the current digit, and goes to the next one when its time
// and that of the pause is over. It reports whether there is one.
func (k *keying) step() bool {
	length, out := (lasting(k.o.On+k.o.Off)+perFrame-1)/perFrame, k.last()+1
	if k.o.How == RFC4733 {
		out = k.last() + lastOnes
		length = max(length, out)
	}
	k.frames++
	if k.frames >= out && len(k.digits) == 1 {
		k.end(nil)
	}
	if k.frames >= length {
		k.frames, k.digits = 0, k.digits[1:]
	}
	return k.digits != ""
}

// press has digits pressed after those that are.
func (v *voice) press(k *keying) {
	v.mu.Lock()
	v.keys = append(v.keys, k)
	v.mu.Unlock()
}

// release lets the digit that is being pressed be the last one of k.
func (v *voice) release(k *keying) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := slices.Index(v.keys, k); i >= 0 {
		k.digits = k.digits[:1]
		if k.frames == 0 {
			v.keys = slices.Delete(v.keys, i, i+1)
		}
	}
}

// event makes p the next packet of the digit that is pressed by RFC 4733, if there is
// one to send, and says how often it arrives. The caller holds v.mu.
func (v *voice) event(p *packet) (copies int, ok bool) {
	for len(v.keys) > 0 && v.keys[0].o.How == RFC4733 && v.now.events.clock == 0 {
		v.keys[0].end(ErrNoEvents)
		v.keys = v.keys[1:]
	}
	if len(v.keys) == 0 || v.keys[0].o.How != RFC4733 {
		return 1, false
	}
	k := v.keys[0]
	n, last, digit := k.frames, k.last(), k.digits[0]
	if !k.step() {
		v.keys = v.keys[1:]
	}
	if n >= last+lastOnes {
		return 1, false // the pause: speech
	}
	if n == 0 {
		k.began = p.timestamp
	}
	p.marker, p.payload, p.timestamp = n == 0, v.now.events.payload, k.began
	p.body = telephone{code: byte(strings.IndexByte(keypad, digit)), end: n >= last,
		duration: uint16(min((n+1)*perFrame, lasting(k.o.On)))}.marshal()
	switch {
	case n < k.o.LoseStart, n >= last && n-last < k.o.LoseEnd:
		return 0, true
	case k.o.Twice:
		return 2, true
	}
	return 1, true
}

// mix adds the tones of the digit that is pressed in band to a frame of speech. The
// caller holds v.mu.
func (v *voice) mix(pcm []int16) {
	if len(v.keys) == 0 || v.keys[0].o.How != Inband {
		return
	}
	k := v.keys[0]
	low, high := tones(k.digits[0])
	for i := range pcm {
		at := k.frames*perFrame + i
		if at >= lasting(k.o.On) {
			break
		}
		tone := loudness * (wave(low, at) + wave(high, at))
		pcm[i] = int16(min(max(float64(pcm[i])+tone, math.MinInt16), math.MaxInt16))
	}
	if !k.step() {
		v.keys = v.keys[1:]
	}
}

// loudness is the peak of each tone: -9 dBm0, as phones send them.
const loudness = 8000

// tones are the two frequencies of a digit in Hz (ITU-T Q.23).
func tones(digit byte) (low, high float64) {
	const rows = "123A456B789C*0#D"
	at := strings.IndexByte(rows, digit)
	return [...]float64{697, 770, 852, 941}[at/4], [...]float64{1209, 1336, 1477, 1633}[at%4]
}

func wave(hz float64, n int) float64 { return math.Sin(2 * math.Pi * hz * float64(n) / Rate) }

// A telephone is the payload of a telephone-event packet (RFC 4733 §2.3).
type telephone struct {
	code     byte
	end      bool
	duration uint16 // since the timestamp of the packet
}

// volume is the power of the digit in dBm0, without its sign (RFC 4733 §2.3.4).
const volume = 10

func (e telephone) marshal() []byte {
	second := byte(volume)
	if e.end {
		second |= 1 << 7
	}
	return binary.BigEndian.AppendUint16([]byte{e.code, second}, e.duration)
}

// digitIn reads which digit a telephone-event packet is about. Other events are none.
func digitIn(body []byte) (digit byte, ok bool) {
	if len(body) < 4 || int(body[0]) >= len(keypad) {
		return 0, false
	}
	return keypad[body[0]], true
}

// Digits in the bodies of INFO. No RFC says what stands in them; this is what gateways send.
const (
	typeRelay = "application/dtmf-relay" // Signal=5 and Duration=160, a line each
	typeDTMF  = "application/dtmf"       // 5
)

// signalIn reads the digit of an INFO.
func signalIn(kind string, body []byte) (digit byte, ok bool) {
	kind, _, _ = strings.Cut(kind, ";")
	value := ""
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case typeDTMF:
		value = string(body)
	case typeRelay:
		for line := range strings.Lines(string(body)) {
			if name, rest, _ := strings.Cut(line, "="); strings.EqualFold(strings.TrimSpace(name), "signal") {
				value = rest
				break
			}
		}
	}
	value = strings.ToUpper(strings.TrimSpace(value))
	if len(value) == 1 && strings.Contains(keypad, value) {
		return value[0], true
	}
	return 0, false
}
