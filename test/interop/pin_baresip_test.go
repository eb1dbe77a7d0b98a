package interop

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/prompt"
	"tandem/test/world"
)

func TestABaresipWithAPINTalksToTheOneItBelongsTo(t *testing.T) {
	pcmu, pcma := codec{"PCMU", 8000, 1}, codec{"PCMA", 8000, 1}
	for name, c := range map[string]struct {
		codec  codec
		wanted func(pin string) bool
		enters func(p *pinPair)
	}{
		"right":                    {pcmu, anyPIN, func(p *pinPair) { p.types(p.pin.PIN) }},
		"wrong and then right":     {pcmu, anyPIN, (*pinPair).errs},
		"cleared":                  {pcma, anyPIN, func(p *pinPair) { p.types(p.pin.PIN[1:] + "*" + p.pin.PIN) }},
		"into the question":        {pcma, anyPIN, (*pinPair).interrupts},
		"when asked again":         {pcmu, anyPIN, (*pinPair).waits},
		"a key twice in a row":     {pcma, hasDouble, func(p *pinPair) { p.types(p.pin.PIN) }},
		"by one who prefers G.722": {codec{"G722/16000/1,PCMU", 8000, 1}, anyPIN, func(p *pinPair) { p.types(p.pin.PIN) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPinPair(t, c.codec, c.wanted)
			p.dials()
			c.enters(p)
			p.talks()
			p.hangUp(p.a, p.b)
			all := records(t, p.w)
			if r := all[alice]; len(all) != 1 || r.Cause != "caller_hung_up" || r.Pin != p.pin.ID || r.To != bob {
				t.Errorf("records %+v", all)
			}
			p.hidden()
			if strings.Contains(p.b.out.String(), "application/dtmf") {
				t.Error("B was told of a key by INFO")
			}
		})
	}
}

// pinPair is a server between two baresips, of which A has to enter a PIN to
// reach B. They speak G.711 by different laws.
type pinPair struct {
	pair
	pin   world.Pin
	begun time.Time // the answer to A
}

func newPinPair(t *testing.T, a codec, wanted func(pin string) bool) *pinPair {
	t.Helper()
	p := &pinPair{pair: pair{t: t, w: pinWorld(t)}}
	b := codec{"PCMA", 8000, 1}
	if a.name == b.name {
		b.name = "PCMU"
	}
	p.a, p.b = startBaresip(t, "A", alice, toneA, a, ""), startBaresip(t, "B", bob, toneB, b, "")
	if err := p.w.AddTrunk("carrier", map[string]any{"targets": []string{p.b.sip}}); err != nil {
		t.Fatal(err)
	}
	p.pin = openPin(t, p.w, couple{virtual, alice, bob}, wanted)
	return p
}

// dials calls the number and waits until A hears the question.
func (p *pinPair) dials() {
	p.t.Helper()
	p.a.command("dial", "sip:"+virtual+"@"+p.w.SIP("udp").String())
	p.a.await("CALL_ESTABLISHED")
	p.begun = time.Now()
	p.hearsMore(phone.Rate / 4)
}

// types types keys as fast as baresip takes them: 40 ms each, without a pause.
func (p *pinPair) types(keys string) {
	p.t.Helper()
	for _, key := range keys {
		p.a.command("sndcode", string(key))
	}
}

// hearsMore waits until A has heard n more samples than now.
func (p *pinPair) hearsMore(n int) {
	p.t.Helper()
	before := p.a.heard()
	p.wait("A to hear more", func() bool { return p.a.heard() >= before+n })
}

// errs enters a wrong PIN, hears that it is one, and enters the right one.
func (p *pinPair) errs() {
	p.t.Helper()
	last := len(p.pin.PIN) - 1
	p.types(p.pin.PIN[:last] + string('0'+(p.pin.PIN[last]-'0'+1)%10))
	p.hearsMore(phone.Rate)
	p.types(p.pin.PIN)
}

// interrupts enters most of the PIN while the question is put, hears it break off,
// and enters the rest.
func (p *pinPair) interrupts() {
	p.t.Helper()
	p.types(p.pin.PIN[:3])
	heard, same := p.a.heard(), 0
	p.wait("A to hear nothing", func() bool {
		now := p.a.heard()
		if same++; now != heard {
			heard, same = now, 0
		}
		return same == 20 // times 20 ms
	})
	// Its jitter buffer keeps the last 100 ms of whatever it is told.
	if whole := p.question(); heard > whole-phone.Rate/4 {
		p.t.Errorf("A has heard %d samples of the question, which has %d, and was to interrupt it", heard, whole)
	}
	p.types(p.pin.PIN[3:])
}

// waits lets the first question pass and enters the PIN into the second.
func (p *pinPair) waits() {
	p.t.Helper()
	whole := p.question()
	p.wait("A to be asked again", func() bool { return p.a.heard() >= whole+phone.Rate/2 })
	if waited := time.Since(p.begun); waited < 8*time.Second {
		p.t.Errorf("A was asked again %v after the answer", waited)
	}
	p.types(p.pin.PIN)
}

// talks lets both hear the other, and A press a key: it is the only one that B is
// told of.
func (p *pinPair) talks() {
	p.t.Helper()
	if shown, want := p.b.await("CALL_ESTABLISHED").Peer, "sip:"+virtual+"@"+p.w.SIP("udp").String(); shown != want {
		p.t.Errorf("B was shown %s", shown)
	}
	p.a.forget()
	p.a.hears(toneB)
	p.b.hears(toneA)
	p.digit(p.a, p.b, "#")
}

// question is the length of the question, in samples.
func (p *pinPair) question() int {
	p.t.Helper()
	file, _ := prompt.File(prompt.English, prompt.EnterPIN)
	pcm, err := phone.ReadWAV(bytes.NewReader(file))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(pcm)
}
