package sipua

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/ladder"
	"tandem/internal/masking"
	"tandem/internal/testkit"
	"tandem/internal/voice/siptx"
)

// lines joins the lines of a message as SIP has them.
func lines(list ...string) string { return strings.Join(list, "\r\n") + "\r\n" }

func TestAGlanceKeepsWhatHelpsAndNoText(t *testing.T) {
	raw := lines("INVITE sip:+918867676702@192.0.2.1;user=phone SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1",
		"f: <sip:+919912345601@x>;tag=1", "t: <sip:+918867676702@x>", "i: abc", "CSeq: 7 INVITE", "Max-Forwards: 68",
		"x: 1800;refresher=uac", "Min-SE: 90", "Require: 100rel, x-918867676702", "Subject: +91 99123 45601",
		`Reason: Q.850;cause=34;text="+919912345601"`, "Authorization: Digest username=\"+919912345601\"", "c: application/sdp", "",
		"v=0", "o=9912345601 1 1 IN IP4 192.0.2.9", "s=9912345601", "c=IN IP4 192.0.2.9", "t=0 0", "a=sendonly",
		"m=audio 4000 RTP/SAVP 8 0 96 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000", "a=tool:9912345601",
		"m=video 4002 RTP/AVP 34", "a=inactive")
	var g glimpse
	g.glance([]byte(raw))
	m := g.message()
	var fields []string
	for _, f := range m.Fields {
		fields = append(fields, f.String())
	}
	want := "Max-Forwards: 68|Session-Expires: 1800|refresher=uac|Min-SE: 90|Require: 100rel, another|Reason: Q.850;cause=34|Authorization"
	if got := strings.Join(fields, "|"); got != want {
		t.Errorf("fields %s\nwant %s", got, want)
	}
	if !g.invite || string(g.callID) != "abc" || m.Title() != "INVITE" || m.Seq != 7 || m.Number != "+91…02" ||
		m.Media.String() != "PCMA PCMU opus telephone-event SRTP sendonly" {
		t.Errorf("%+v, media %v", m, m.Media)
	}
	var w ladder.Writer
	w.Leg("carrier", "udp")
	w.Add(m)
	testkit.AssertNoLeak(t, testkit.NewLeakDetector(alice, bob), "the ladder", w.Bytes())
}

func TestAGlanceReadsResponsesAndKeys(t *testing.T) {
	for raw, want := range map[string]string{
		lines("SIP/2.0 183 +919912345601 speaks", "Call-ID: x", "CSeq: 1 INVITE", "RSeq: 12", "Content-Type: application/sdp", "",
			"v=0", "c=IN IP4 0.0.0.0", "m=audio 9 RTP/AVP 0"): "183 Session Progress PCMU sendonly RSeq: 12",
		lines("INFO sip:x SIP/2.0", "CSeq: 2 INFO", "Content-Type: application/dtmf-relay", "", "Signal=5"):          "INFO digit",
		lines("INFO sip:x SIP/2.0", "CSeq: 2 INFO", "Content-Type: application/isup", "", "9912345601"):              "INFO another body",
		lines("SIP/2.0 200 OK", "CSeq: 3 UPDATE", "Content-Type: application/sdp", "", "v=0", "m=audio 0 RTP/AVP 0"): "200 OK no audio",
		lines("SIP/2.0 407 Who", "CSeq: 4 BYE", "Proxy-Authenticate: Digest realm=\"9912345601\"", "", ""):           "407 Proxy Authentication Required Proxy-Authenticate",
		lines("SIP/2.0 503 No", "CSeq: 99999999999999999999 INVITE", "Retry-After: 12 (in 9912345601 s)", "", ""):    "503 Service Unavailable Retry-After: 12",
		"": "OTHER", "\r\n\r\n": "OTHER", "x": "OTHER",
	} {
		var g glimpse
		g.glance([]byte(raw))
		got := g.msg.Title()
		if g.msg.Digit {
			got += " digit"
		}
		if g.msg.Described {
			got += " " + g.message().Media.String()
		}
		for _, f := range g.message().Fields {
			got += " " + f.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func FuzzAGlanceTakesAnything(f *testing.F) {
	f.Add([]byte(lines("INVITE sip:+918867676702@x SIP/2.0", "Call-ID: y", "CSeq: 1 INVITE", "Content-Type: application/sdp", "", sdpBody)))
	f.Add([]byte("SIP/2.0 200 OK\r\nReason: SIP;cause=\r\nRequire:,\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g glimpse
		g.glance(raw)
		var w ladder.Writer
		w.Leg("", "udp")
		w.Add(g.message())
		if _, err := ladder.Read(w.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}

// told counts which calls' ladders their taker is to take again.
type told []masking.CallID

func (l *told) over(id masking.CallID) { *l = append(*l, id) }

func message(out bool, line, cseq string) siptx.Traced {
	return siptx.Traced{Out: out, At: time.Now(), Raw: []byte(lines(line, "Call-ID: one", "To: <sip:x>;tag=t", "CSeq: "+cseq, "", ""))}
}

func (k *Ladders) sees(t siptx.Traced) masking.CallID {
	var g glimpse
	g.glance(t.Raw)
	return k.add(&g, t)
}

func TestALadderTakenBeforeItIsWholeIsTakenAgain(t *testing.T) {
	var after told
	k := NewLadders(after.over)
	r := k.join(nil, "call_1", "one", "t", "carrier", "udp")
	k.Keep("call_1")
	k.sees(message(true, "BYE sip:x SIP/2.0", "2 BYE"))
	early, whole := k.Take("call_1")
	if whole || len(early) == 0 {
		t.Fatalf("taken early: %d bytes, whole %v", len(early), whole)
	}
	k.sees(message(false, "SIP/2.0 200 OK", "2 BYE"))
	k.leave(r, "one", false)
	k.Forget("call_1") // what was taken early is written now
	if len(after) != 1 || after[0] != "call_1" {
		t.Fatalf("told of %v", after)
	}
	late, whole := k.Take("call_1")
	if !whole || len(late) <= len(early) {
		t.Errorf("taken late: %d bytes after %d, whole %v", len(late), len(early), whole)
	}
	k.Forget("call_1")
	k.empty(t)
}

func TestALadderThatIsWholeIsWrittenOnce(t *testing.T) {
	var after told
	k := NewLadders(after.over)
	r := k.join(nil, "call_1", "one", "t", "carrier", "udp")
	k.Keep("call_1")
	k.leave(r, "one", false)
	if _, whole := k.Take("call_1"); !whole || len(after) != 0 {
		t.Errorf("whole %v, told of %v", whole, after)
	}
	k.Forget("call_1")
	k.empty(t)
}

func TestALadderThatNobodyKeepsGoesWithItsLastLeg(t *testing.T) {
	k := NewLadders(nil)
	a := k.join(nil, "call_1", "one", "t", "carrier", "udp")
	b := k.join(nil, "call_1", "two", "u", "carrier", "udp")
	k.leave(a, "one", false)
	if seen, _ := k.Ladder("call_1"); seen == nil {
		t.Error("gone with its first leg")
	}
	k.leave(b, "two", false)
	k.empty(t)
}

func TestTheACKOfARefusalIsWaitedForUntilItsTransactionEnds(t *testing.T) {
	k := NewLadders(nil)
	for name, end := range map[string]func(*rung){
		"it comes":              func(*rung) { k.sees(message(false, "ACK sip:x SIP/2.0", "1 ACK")) },
		"it never comes":        func(r *rung) { k.settle(r, "one") },
		"it comes, and the end": func(r *rung) { k.sees(message(false, "ACK sip:x SIP/2.0", "1 ACK")); k.settle(r, "one") },
	} {
		r := k.join(nil, "call_1", "one", "t", "carrier", "udp")
		k.sees(message(true, "SIP/2.0 403 Forbidden", "1 INVITE"))
		k.leave(r, "one", true)
		if seen, whole := k.Ladder("call_1"); seen == nil || whole {
			t.Errorf("%s: not waited for", name)
		}
		end(r)
		k.empty(t)
	}
	r := k.join(nil, "call_1", "one", "t", "carrier", "udp")
	k.sees(message(false, "ACK sip:x SIP/2.0", "1 ACK"))
	k.leave(r, "one", true)
	k.empty(t)
}

// An INVITE that comes back to us has two legs with one Call-ID.
func TestLegsOfOneCallIDAreToldApartByOurTag(t *testing.T) {
	k := NewLadders(nil)
	k.join(nil, "call_1", "one", "ours", "carrier", "udp")
	k.join(nil, "call_2", "one", "t", "carrier", "udp")
	if got := k.sees(message(false, "BYE sip:x SIP/2.0", "2 BYE")); got != "call_2" {
		t.Errorf("of %q", got)
	}
}

func (k *Ladders) empty(t *testing.T) {
	t.Helper()
	if len(k.calls) != 0 || len(k.rungs) != 0 {
		t.Errorf("left: %d calls, %d legs", len(k.calls), len(k.rungs))
	}
}

func BenchmarkTrace(b *testing.B) {
	b.ReportAllocs()
	k := NewLadders(nil)
	k.join(nil, "call_1", "one", "t", "carrier", "udp")
	t := siptx.Traced{At: time.Now(), Raw: []byte(lines("SIP/2.0 200 OK", "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;rport=5060;received=192.0.2.9",
		"From: <sip:+919912345601@192.0.2.9>;tag=1", "To: <sip:+918867676702@x>;tag=t", "Call-ID: one", "CSeq: 7 INVITE",
		"Contact: <sip:192.0.2.9:5060>", "Allow: INVITE, ACK, BYE", "Content-Type: application/sdp", "", sdpBody))}
	for b.Loop() {
		k.sees(t)
	}
}
