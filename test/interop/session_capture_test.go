package interop

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

// tenth makes a second of Session-Expires ten milliseconds.
func tenth(o *app.Options) { o.SIPSecond = 10 * time.Millisecond }

func TestTsharkReadsPRACKAndSessionTimers(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := newWire(t, network, sdp.Plain, tenth)
			s.capture()
			s.reach(s.b)
			s.refreshed()
			s.finish()
			s.wellFormed()
			s.understood("INVITE to a callee", "INVITE", "", "INVITE", "", "", "", "1800", "90")
			s.understood("180 to a caller", "", "180", "INVITE", number, "", "", "", "")
			s.understood("PRACK to a callee", "PRACK", "", "PRACK", "", number, "1", "", "")
			s.understood("200 to a caller", "", "200", "INVITE", "", "", "", "1800;refresher=uac", "")
			s.understood("refresh", "UPDATE", "", "UPDATE", "", "", "", "100;refresher=uac", "90")
			s.understood("422", "", "422", "INVITE", "", "", "", "", "90")
		})
	}
}

const number = "a number"

// understood fails unless tshark has read a message with these fields: method, status,
// method of CSeq, RSeq, the two numbers of RAck, Session-Expires, Min-SE.
func (s *wire) understood(what string, want ...string) {
	s.t.Helper()
	if s.sip == nil {
		s.sip = s.read("sip", "sip.Method", "sip.Status-Code", "sip.CSeq.method", "sip.RSeq", "sip.RAck.RSeq.seq", "sip.RAck.CSeq.seq",
			"sip.Session-Expires", "sip.Min-SE")
	}
	for _, line := range s.sip {
		got := strings.Split(line, "\t")[1:]
		for i, v := range got {
			if _, err := strconv.ParseUint(v, 10, 32); err == nil && i < len(want) && want[i] == number {
				got[i] = number
			}
		}
		if slices.Equal(got, want) {
			return
		}
	}
	s.t.Errorf("tshark saw no %s in\n%s", what, strings.Join(s.sip, "\n"))
}

// refreshed places a call with reliable provisionals on both legs and sessions that
// both sides refresh.
func (s *wire) refreshed() {
	s.t.Helper()
	timer := func(value string) []phone.Header {
		return []phone.Header{{Name: "Require", Value: "timer, 100rel"}, {Name: "Session-Expires", Value: value}}
	}
	dial := func(value string) *phone.Call {
		a, err := s.a.Dial(s.ctx, phone.Invite{From: alice, To: virtual, Via: s.w.SIP(s.network), Headers: timer(value)})
		s.must(err)
		return a
	}
	end, err := dial("60").Ended(s.ctx)
	s.must(err)
	if end.Status != 422 {
		s.t.Errorf("a session of a minute got %d", end.Status)
	}
	a := dial("1800;refresher=uac")
	b := <-s.called
	s.must(b.Ring(phone.Reply{Status: 183, Reliable: true, Early: true}))
	s.must(b.Acknowledged(s.ctx))
	s.must(b.Ring(phone.Reply{Reliable: true}))
	s.must(b.Acknowledged(s.ctx))
	s.must(b.Answer(phone.Reply{Headers: []phone.Header{{Name: "Require", Value: "timer"}, {Name: "Session-Expires", Value: "100;refresher=uac"}}}))
	s.must(a.Answered(s.ctx))
	s.must(a.Reinvite(s.ctx, phone.Offer{Headers: timer("1800;refresher=uac")[1:]}))
	eventually(s.t, "a refresh", func() bool {
		for _, step := range b.Ladder() {
			if !step.Out && len(step.Line) > 7 && step.Line[:7] == "UPDATE " {
				return true
			}
		}
		return false
	})
	s.must(a.Hangup(s.ctx))
	_, err = b.Ended(s.ctx)
	s.must(err)
}
