package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
	whole := regexp.MustCompile(`\b` + pin + `\b`)
	for line := range strings.Lines(st.Log.String()) {
		var fields map[string]any
		st.must(json.Unmarshal([]byte(line), &fields))
		delete(fields, "time") // its digits, like those of durations, can be any
		for name, v := range fields {
			if text, ok := v.(string); ok && whole.MatchString(text) {
				st.t.Errorf("the PIN stands in the log, as %s: %s", name, line)
			}
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
	t.Parallel()
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

// quick presses keys as fast as INFO takes them.
var quick = phone.Press{How: phone.INFO, On: time.Millisecond, Off: time.Millisecond}

// wrong is a PIN that opens nothing here.
func wrong(pins ...world.Pin) string {
	for n := 3571; ; n++ {
		text := strconv.Itoa(n)
		if !slices.ContainsFunc(pins, func(p world.Pin) bool { return p.PIN == text }) {
			return text
		}
	}
}

func TestWrongPINsAreAskedAgainAndThenEndTheCall(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	mine := st.pin(alice, bob, nil)
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, wrong(mine), quick))
	st.must(a.Press(st.ctx, "12*"+mine.PIN, quick)) // cleared, and then right
	b := st.talks(a)
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	st.settle()

	for i := 1; i < 3; i++ { // the wrong one of before counts, the right one forgets none
		a = st.asked(st.in, alice)
		st.must(a.Press(st.ctx, wrong(mine), quick))
		st.must(a.Hangup(st.ctx))
		st.over(a)
		st.settle()
	}
	a = st.asked(st.in, alice)
	st.must(a.Press(st.ctx, mine.PIN, quick)) // right, and too late
	st.over(a)
	st.settle()
	st.nobodyCalled()
	calls, err := st.Calls("acme")
	st.must(err)
	if c := calls[0]; c.Cause != "rejected" || c.Reason != "pin_locked" || c.Pin != "" {
		t.Errorf("record %+v", c)
	}

	st.must(st.Do("acme", "POST", "/v1/tenants/acme/greenpin/"+mine.ID+"/unlock", map[string]string{"caller": alice}, nil))
	a = st.asked(st.in, alice)
	st.must(a.Press(st.ctx, mine.PIN, quick))
	b = st.talks(a)
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.secret(mine.PIN, b)
	st.secret(wrong(mine), b)
	ends := map[string]int{}
	for _, typ := range st.types() {
		ends[typ]++
	}
	// Who hangs up while he is asked has given up; the third wrong one and the locked
	// one were refused.
	if ends["call.completed"] != 3 || ends["call.rejected"] != 2 || ends["call.answered"] != 2 {
		t.Errorf("events %v", ends)
	}
	var p struct {
		CallCount int `json:"call_count"`
	}
	st.must(st.Do("acme", "GET", "/v1/tenants/acme/greenpin/"+mine.ID, nil, &p))
	if p.CallCount != 2 {
		t.Errorf("call_count %d, want the 2 calls that were connected", p.CallCount)
	}
}

func TestACallerWhoEntersNothingIsAskedTwiceAndLeft(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.pin(alice, bob, nil)
	a := st.asked(st.in, alice)
	begun := time.Now()
	end, err := a.Ended(st.ctx)
	st.must(err)
	if end.ByUs {
		t.Errorf("the call ended by %+v", end)
	}
	if took := time.Since(begun); took < 16*time.Second { // two prompts, and 8 s after each
		t.Errorf("left after %v", took)
	}
	if heard := a.Heard(); len(heard) < 4*phone.Rate {
		t.Errorf("he heard %d samples", len(heard))
	}
	if r := st.record(); r.Reason != "pin_failed" {
		t.Errorf("record %+v", r)
	}
}

// A hundred strangers try PINs at once. What they do costs no party an entry, and
// what they open is not more than chance.
func TestStrangersWhoHammerPINsKeepNoPartyOut(t *testing.T) {
	st := newStage(t, setting{sharing: "shared"})
	var pins []world.Pin
	for i := range 20 {
		pins = append(pins, st.pin("+9198123456"+strconv.Itoa(10+i), bob, nil))
	}
	mine := st.pin(alice, dave, nil)
	tries := []string{wrong(append(pins, mine)...), "4" + wrong(append(pins, mine)...)[1:], "9517"}
	var strangers sync.WaitGroup
	for i := range 100 {
		strangers.Go(func() {
			c, err := st.in.Dial(st.ctx, phone.Invite{From: "+44201234" + strconv.Itoa(1000+i), To: virtual, Via: st.SIP(st.network)})
			if err != nil {
				t.Error(err)
				return
			}
			if c.Answered(st.ctx) != nil {
				return
			}
			for _, pin := range tries {
				if c.Press(st.ctx, pin, quick) != nil {
					return // he has used up what he has
				}
			}
			_, _ = c.Ended(st.ctx)
		})
	}
	a := st.asked(st.in, alice)
	st.must(a.Press(st.ctx, mine.PIN, quick))
	for b := range st.incoming {
		if b.Seen().RequestUser == dave {
			st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 8000)}))
			st.must(a.HearsTone(st.ctx, 880))
			st.secret(mine.PIN, b)
			st.must(b.Hangup(st.ctx))
			break
		}
		_ = b.Reject(486, "") // a stranger's hit by chance
	}
	strangers.Wait()
	st.over(a)
	for _, p := range append(pins, mine) {
		st.secret(p.PIN)
	}
	st.settle()
}

func TestAPartyWhoCallsFromAnotherPhoneEntersThePINOfHisSide(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"pin_fallback": true}, nil))
	var made struct {
		PINs struct {
			From string `json:"from"`
			To   string `json:"to"`
		} `json:"pins"`
	}
	st.must(st.Do("acme", "POST", "/v1/tenants/acme/greenvn",
		map[string]any{"caller_id_number": virtual, "from": []string{alice}, "to": []string{bob}}, &made))
	for pin, callee := range map[string]string{made.PINs.From: bob, made.PINs.To: alice} {
		a := st.asked(st.in, carol)
		st.must(a.Press(st.ctx, pin, quick))
		b := st.called()
		if seen := b.Seen(); seen.RequestUser != callee || seen.From != virtual {
			t.Errorf("%s was rung by %s, want %s", seen.RequestUser, seen.From, callee)
		}
		st.must(b.Answer(phone.Reply{}))
		st.must(b.Answered(st.ctx))
		st.must(b.Hangup(st.ctx))
		st.over(a, b)
		st.settle()
	}
}
