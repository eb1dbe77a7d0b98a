package sipua

import (
	"context"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// outside is a peer's request outside of any dialog.
func outside(p *peer) *script {
	return &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=" + newTag(), remote: "<sip:" + virtual + "@tandem>"}
}

func TestRequestsOutsideOfADialogGetTheirStatus(t *testing.T) {
	r, p := pair(t)
	for name, c := range map[string]struct {
		method string
		w      with
		status int
		header string // that must be there, with its value if it has one
	}{
		"OPTIONS":                     {"OPTIONS", with{}, 200, "Allow: " + allowed},
		"OPTIONS without hops":        {"OPTIONS", with{hops: "0"}, 200, "Accept: application/sdp"},
		"INVITE without hops":         {"INVITE", with{hops: "0", body: sdpBody}, 483, ""},
		"BYE":                         {"BYE", with{}, 481, ""},
		"UPDATE":                      {"UPDATE", with{}, 481, ""},
		"PRACK":                       {"PRACK", with{more: []string{"RAck: 1 1 INVITE"}}, 481, ""},
		"OPTIONS, what we support":    {"OPTIONS", with{}, 200, "Supported: " + supported},
		"a To tag we never gave":      {"INVITE", with{remote: "<sip:x@y>;tag=none", body: sdpBody}, 481, ""},
		"REFER":                       {"REFER", with{}, 603, ""},
		"REGISTER":                    {"REGISTER", with{}, 405, "Allow: " + allowed},
		"MESSAGE":                     {"MESSAGE", with{}, 405, "Allow: " + allowed},
		"an unknown method":           {"FROBNICATE", with{}, 405, "Allow: " + allowed},
		"Require":                     {"INVITE", with{body: sdpBody, more: []string{"Require: 100rel, x-a", "Require: x-b"}}, 420, "Unsupported: x-a, x-b"},
		"Require of nothing":          {"OPTIONS", with{more: []string{"Require: "}}, 200, ""},
		"a scheme that is not SIP's":  {"INVITE", with{uri: "http://x/y", body: sdpBody}, 416, ""},
		"ISUP":                        {"INVITE", with{body: "x", more: []string{"Content-Type: application/isup"}}, 415, "Accept: application/sdp"},
		"ISUP in parts":               {"INVITE", with{body: "--b\r\nContent-Type: application/isup\r\n\r\nx\r\n--b--", more: []string{"Content-Type: multipart/mixed;boundary=b"}}, 415, "Accept: application/sdp"},
		"gzip":                        {"INVITE", with{body: "x", more: []string{"Content-Type: application/sdp", "e: gzip"}}, 415, "Accept-Encoding: identity"},
		"no Contact":                  {"INVITE", with{body: sdpBody, no: "Contact"}, 400, ""},
		"a Contact that is all":       {"INVITE", with{body: sdpBody, no: "Contact", more: []string{"Contact: *"}}, 400, ""},
		"a Contact that is not SIP's": {"INVITE", with{body: sdpBody, no: "Contact", more: []string{"Contact: <tel:+911234567>"}}, 400, ""},
	} {
		res := outside(p).ask(c.method, &c.w)
		if res.status() != c.status || res.toTag() == "" {
			t.Errorf("%s: %s, To %q", name, res.start(), res.field("To"))
		}
		if k, v, _ := strings.Cut(c.header, ": "); k != "" && res.field(k) != v {
			t.Errorf("%s: %s is %q", name, k, res.field(k))
		}
	}
	if len(r.calls) != 0 || r.ua.Legs() != 0 {
		t.Errorf("%d calls, %d legs", len(r.calls), r.ua.Legs())
	}
}

func TestWhileDrainingOptionsGets503AndCallsThatAreUpGoOn(t *testing.T) {
	r, p := pair(t)
	s, _ := r.established(p)
	r.draining.Store(true)
	if res := outside(p).ask("OPTIONS", nil); res.status() != 503 || res.field("Retry-After") == "" {
		t.Errorf("OPTIONS got:\n%s", res)
	}
	if got := s.ask("OPTIONS", nil).status(); got != 200 {
		t.Errorf("OPTIONS within a call got %d", got)
	}
	if got := s.ask("BYE", nil).status(); got != 200 {
		t.Errorf("BYE got %d", got)
	}
}

func TestTheDescriptionIsFoundInWhateverItComesIn(t *testing.T) {
	r, p := pair(t)
	mixed := "preamble\r\n--b\r\nContent-Type: application/isup\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x02\r\n" +
		"--b\r\nContent-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nv=early\r\n" +
		"--b\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w\r\n" +
		"--b\r\nContent-Type: Application/SDP\r\n\r\n" + sdpBody + "\r\n--b"
	for name, c := range map[string]struct {
		body  string
		lines []string
		want  string
	}{
		"plain":                        {sdpBody, []string{"Content-Type: application/sdp"}, sdpBody},
		"odd case, a broken parameter": {sdpBody, []string{"Content-Type: Application/SDP; x"}, sdpBody},
		"as a session":                 {sdpBody, []string{"Content-Type: application/sdp", "Content-Disposition: session;handling=required"}, sdpBody},
		"identity":                     {sdpBody, []string{"Content-Type: application/sdp", "Content-Encoding: identity"}, sdpBody},
		"in parts":                     {mixed + "--\r\n", []string{`Content-Type: multipart/mixed;boundary="b"`}, sdpBody},
		"without a last end":           {strings.TrimSuffix(mixed, "\r\n--b"), []string{`Content-Type: multipart/mixed;boundary=b`}, sdpBody},
		"none":                         {"", nil, ""},
		"ISUP to be ignored":           {"x", []string{"Content-Type: application/isup", "Content-Disposition: signal;handling=optional"}, ""},
	} {
		p.send(outside(p).request("INVITE", &with{body: c.body, more: c.lines}))
		call := r.call()
		if got := string(call.Offer); strings.TrimSpace(got) != strings.TrimSpace(c.want) {
			t.Errorf("%s: %q", name, got)
		}
		call.Leg.End(b2bua.Reason{Cause: masking.CauseNoMedia})
		p.expect("SIP/2.0 488")
	}
}

func TestAnInviteIsRefusedByTheCallWithTheStatusOfItsReason(t *testing.T) {
	r, p := pair(t)
	for reason, want := range map[b2bua.Reason]int{
		{Cause: masking.CauseRejected, Refusal: masking.RefusedStranger}:      403,
		{Cause: masking.CauseRejected, Refusal: masking.RefusedUnknownNumber}: 404,
		{Cause: masking.CauseRejected, Refusal: masking.RefusedUnavailable}:   503,
		{Cause: masking.CauseBusy}: 486,
	} {
		s, c := r.caller(p, nil)
		c.Leg.End(reason)
		res := s.final(s.invite)
		if res.status() != want || (want == 503) != (res.field("Retry-After") != "") || res.field("Contact") != "" {
			t.Errorf("%+v:\n%s", reason, res)
		}
		c.next(t, b2bua.EvGone)
		c.Leg.Ring()
		c.Leg.Answer([]byte(sdpBody))
		c.Leg.RefuseOffer()
		c.Leg.End(reason)
		p.sync()
		c.none(t)
	}
	r.gone()
}

func TestStrangersGetNothing(t *testing.T) {
	r, p := pair(t)
	stranger := r.peer("127.0.0.66")
	stranger.send(outside(stranger).request("INVITE", &with{body: sdpBody}))
	stranger.send(outside(stranger).request("OPTIONS", nil))
	r.until("both are dropped", func() bool { return r.ua.Stats().DroppedSource == 2 })
	p.sync()
	if got := stranger.got(); len(got) != 0 || len(r.calls) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestCloseWaitsForTheLastMessagesOfALeg(t *testing.T) {
	r, p := pair(t)
	_, c := r.established(p)
	c.Leg.End(b2bua.Reason{Cause: masking.CauseShutdown})
	bye := p.expect("BYE ")
	closed := make(chan error, 1)
	go func() { closed <- r.ua.Close(t.Context()) }()
	r.until("Close waits", func() bool {
		r.ua.mu.Lock()
		defer r.ua.mu.Unlock()
		return r.ua.empty != nil
	})
	p.send(bye.reply(200, "", ""))
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Close did not return")
	}
	c.next(t, b2bua.EvGone)
}

func TestALegThatIsLeftWhenTheSocketsCloseIsGone(t *testing.T) {
	for state, stage := range scenes {
		if strings.HasSuffix(state, "gone") {
			continue
		}
		r, p := pair(t)
		sc := stage(r, p)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.ua.Close(over); err != nil {
			t.Error(err)
		}
		if r.ua.Legs() != 0 {
			t.Errorf("%s: the leg is left", state)
		}
		sc.lastIsGone(state)
		if repeats(sc.leg) {
			t.Errorf("%s: still repeats its 2xx", state)
		}
	}
}

// lastIsGone fails unless the call was told that its leg is gone, once and last.
func (sc scene) lastIsGone(what string) {
	sc.t.Helper()
	for {
		select {
		case e := <-sc.events:
			if e.Kind == b2bua.EvGone {
				sc.events.none(sc.t)
				return
			}
		default:
			sc.t.Errorf("%s: the call was not told", what)
			return
		}
	}
}
