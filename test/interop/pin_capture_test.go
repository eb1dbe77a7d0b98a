package interop

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
	"tandem/test/world"
)

// forPINs takes PINs; the number of newWire belongs to its pair alone.
const forPINs = "+914000000002"

func TestTsharkFindsNothingOfAPINOnTheOtherSide(t *testing.T) {
	for name, how := range map[string]phone.Way{"RFC 4733": phone.RFC4733, "INFO": phone.INFO} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWire(t, "udp", sdp.Plain)
			s.must(s.w.AddNumbers("acme", "shared", forPINs))
			// Round numbers stand in descriptions and timers: PCMU/8000.
			pin := openPin(t, s.w, couple{forPINs, alice, bob}, func(pin string) bool { return !strings.HasSuffix(pin, "00") })
			s.capture()
			s.reach(s.b)
			s.enter(pin, how)
			s.finish()
			s.wellFormed()
			s.told(pin, how)
			s.secret(pin)
		})
	}
}

// enter lets A enter a PIN, talk with B, and press a key then that B is to know.
func (s *wire) enter(pin world.Pin, how phone.Way) {
	s.t.Helper()
	in := phone.Invite{From: alice, To: forPINs, Via: s.w.SIP(s.network), Audio: phone.Sine(toneA, 8000)}
	if how == phone.INFO { // who offers telephone-events as well is expected to use them in the talk
		in.Codecs = []string{"PCMU"}
	}
	a, err := s.a.Dial(s.ctx, in)
	s.must(err)
	s.must(a.Answered(s.ctx))
	s.must(a.Press(s.ctx, pin.PIN, phone.Press{How: how}))
	var b *phone.Call
	select {
	case b = <-s.called:
	case <-s.ctx.Done():
		s.t.Fatal("nobody was called")
	}
	s.must(b.Ring(phone.Reply{}))
	s.must(b.Answer(phone.Reply{Audio: phone.Sine(toneB, 8000)}))
	s.must(a.HearsTone(s.ctx, toneB))
	s.must(b.HearsTone(s.ctx, toneA))
	s.must(a.Press(s.ctx, "#", phone.Press{How: how}))
	s.must(b.HearsDigits(s.ctx, 1))
	s.must(b.Hangup(s.ctx))
	_, err = a.Ended(s.ctx)
	s.must(err)
	eventually(s.t, "nothing left of the call", func() bool { return s.w.App.Leftovers() == app.Leftovers{} })
}

// told looks for keys on both sides: A has told of all, B was told of the last.
func (s *wire) told(pin world.Pin, how phone.Way) {
	s.t.Helper()
	sides := map[*phone.Phone]string{s.a: pin.PIN + "#", s.b: "#"}
	for p, want := range sides {
		var keys string
		if how == phone.INFO {
			keys = strings.Repeat("i", len(s.read(fmt.Sprintf("sip.Method == INFO and udp.port == %d", p.Addr().Port()))))
			want = strings.Repeat("i", len(want))
		} else {
			keys = s.pressed(p)
		}
		if keys != want {
			s.t.Errorf("%d keys stand on the side of %s, want %d", len(keys), map[*phone.Phone]string{s.a: "A", s.b: "B"}[p], len(want))
		}
	}
}

// pressed lists the keys in the RTP of a phone, by their events' timestamps. A
// packet with a number that only telephone-events have here is one even if tshark
// does not show it as one.
func (s *wire) pressed(p *phone.Phone) string {
	s.t.Helper()
	var keys []byte
	var seen []string
	filter := fmt.Sprintf("(rtpevent or rtp.p_type >= 96) and udp.port == %d", s.mediaOf(p))
	for _, line := range s.read(filter, "rtp.timestamp", "rtpevent.event_id") {
		fields := strings.Split(line, "\t")
		if timestamp := fields[1]; slices.Contains(seen, timestamp) {
			continue
		}
		seen = append(seen, fields[1])
		var code int
		if _, err := fmt.Sscan(fields[2], &code); err != nil || code >= 12 {
			code = 12
		}
		keys = append(keys, "0123456789*#?"[code])
	}
	return string(keys)
}

// mediaOf is the port of a phone's RTP, as its description says.
func (s *wire) mediaOf(p *phone.Phone) int {
	s.t.Helper()
	var frame, port int
	lines := s.read(fmt.Sprintf("sdp and udp.srcport == %d", p.Addr().Port()), "sdp.media.port")
	if len(lines) == 0 {
		s.t.Fatal("a phone has described nothing")
	}
	if _, err := fmt.Sscan(lines[0], &frame, &port); err != nil {
		s.t.Fatal(err)
	}
	return port
}

// secret fails if the PIN stands in any SIP message from or to B.
func (s *wire) secret(pin world.Pin) {
	s.t.Helper()
	word := regexp.MustCompile(`\b` + pin.PIN + `\b`)
	lines := s.read(fmt.Sprintf("sip and udp.port == %d", s.b.Addr().Port()), "udp.payload")
	for _, line := range lines {
		frame, payload, _ := strings.Cut(line, "\t")
		text, err := hex.DecodeString(payload)
		s.must(err)
		if word.Match(text) {
			s.t.Errorf("the PIN stands in frame %s", frame)
		}
	}
	if len(lines) < 6 { // INVITE, 180, 200, ACK, BYE, 200
		s.t.Errorf("only %d messages of B", len(lines))
	}
}
