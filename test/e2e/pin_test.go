package e2e

import (
	"slices"
	"strings"
	"testing"

	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// pin opens a pair behind a PIN on the virtual number.
func (st *stage) pin(from, to string, more map[string]any) world.Pin {
	st.t.Helper()
	p, err := st.OpenPin("acme", virtual, []string{from}, []string{to}, more)
	st.must(err)
	return p
}

// asked dials and waits until the caller is answered and asked for a PIN.
func (st *stage) asked(p *phone.Phone, from string, edit ...func(*phone.Invite)) *phone.Call {
	st.t.Helper()
	c := st.dial(p, from, edit...)
	st.must(c.Answered(st.ctx))
	return c
}

// talks lets the call that reaches the out carrier be taken up, and both talk.
func (st *stage) talks(a *phone.Call) (b *phone.Call) {
	st.t.Helper()
	b = st.called()
	st.must(b.Ring(phone.Reply{}))
	st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 8000)}))
	st.must(b.Answered(st.ctx))
	a.Say(phone.Sine(440, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	st.must(a.HearsTone(st.ctx, 880))
	return b
}

// secret fails if digits stand where they must not: in the log, in an event, in a
// call record, in what a phone of the other side got.
func (st *stage) secret(pin string, calls ...*phone.Call) {
	st.t.Helper()
	for line := range strings.Lines(st.Log.String()) {
		if strings.Contains(line, pin) && !strings.Contains(line, `"took"`) {
			st.t.Errorf("the PIN stands in the log: %s", line)
		}
	}
	events, err := st.Events("acme")
	st.must(err)
	for _, e := range events {
		if strings.Contains(string(e.Data), `"`+pin) {
			st.t.Errorf("the PIN stands in an event of type %s", e.Type)
		}
	}
	for _, c := range calls {
		if got := c.Digits(); got != "" {
			st.t.Errorf("the other side was told the digits %q", got)
		}
	}
}

func TestAPINOpensThePairItBelongsTo(t *testing.T) {
	for name, c := range map[string]struct {
		press  phone.Press
		codecs []string
	}{
		"RFC 4733":         {phone.Press{How: phone.RFC4733}, nil},
		"RFC 4733, doubly": {phone.Press{How: phone.RFC4733, Twice: true, LoseStart: 2, LoseEnd: 2}, nil},
		"INFO":             {phone.Press{How: phone.INFO}, nil},
		"in-band, A-law":   {phone.Press{How: phone.Inband}, []string{"PCMA"}},
		"in-band, µ-law":   {phone.Press{How: phone.Inband}, []string{"PCMU"}},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, setting{sharing: "shared"})
			other := st.pin(carol, dave, nil)
			mine := st.pin(alice, bob, map[string]any{"custom_field": "order 7"})
			if mine.PIN == other.PIN || len(mine.PIN) != 4 {
				t.Fatalf("PINs of %d and %d digits, alike: %v", len(mine.PIN), len(other.PIN), mine.PIN == other.PIN)
			}
			a := st.asked(st.in, alice, func(in *phone.Invite) { in.Codecs = c.codecs })
			st.must(a.Press(st.ctx, mine.PIN, c.press))
			b := st.talks(a)
			if seen := b.Seen(); seen.From != virtual || seen.RequestUser != bob {
				t.Errorf("%s was called by %q", seen.RequestUser, seen.From)
			}
			st.secret(mine.PIN, b)
			st.must(b.Hangup(st.ctx))
			st.over(a, b)
			if r := st.record(); r.Cause != "callee_hung_up" || r.Pin != mine.ID || r.Allocation != "" {
				t.Errorf("record %+v", r)
			}
			if got := st.types(); !slices.Equal(got, []string{"call.ringing", "call.answered", "call.completed"}) {
				t.Errorf("events: %v", got)
			}
		})
	}
}
