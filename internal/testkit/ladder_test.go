package testkit_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
)

// A script is a call flow as Tandem produces it: legs A, B, C; ">" from the phone to
// Tandem, "<" from Tandem to the phone. Line number = time.
const hunt = `
A> INVITE+
A< 100 INVITE
B< INVITE+
B> 180 INVITE
A< 180 INVITE
B> 486 INVITE
B< ACK
C< INVITE+
C> 180 INVITE
C> 200 INVITE+
A< 200 INVITE+
A> ACK
C< ACK
C> INVITE+
A< INVITE+
A> 200 INVITE+
C< 200 INVITE+
A< ACK
C> ACK
A> BYE
C< BYE
C> 200 BYE
A< 200 BYE`

func TestALadderIsDrawnFromTheMessagesOfAllLegs(t *testing.T) {
	testkit.AssertGolden(t, "internal/testkit/testdata/hunt.md", []byte(chart(script(hunt, 1), nil).Markdown()))
}

func TestALadderOfACancelledCallEndsWithTheCallersFailure(t *testing.T) {
	const cancelled = "A> INVITE+\nA< 100 INVITE\nB< INVITE+\nB> 180 INVITE\nA< 180 INVITE\nA> CANCEL\nA< 200 CANCEL\nA< 487 INVITE\n" +
		"B< CANCEL\nA> ACK\nB> 200 CANCEL\nB> 487 INVITE\nB< ACK"
	testkit.AssertGolden(t, "internal/testkit/testdata/cancel.md", []byte(chart(script(cancelled, 2), nil).Markdown()))
}

// Two runs differ in times, ports, tags, branches and Call-IDs, and in the order in which
// messages on different legs are seen.
func TestALadderIsTheSameInEveryRun(t *testing.T) {
	want := chart(script(hunt, 1), nil).Markdown()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.IntRange(100, 999).Draw(t, "seed")
		late := rapid.SliceOfN(rapid.IntRange(0, 1), 23, 23).Draw(t, "late")
		if got := chart(script(hunt, seed), late).Markdown(); got != want {
			t.Fatalf("differs:\n%s", got)
		}
	})
}

func TestRetransmissionsAreLeftOutOfALadder(t *testing.T) {
	legs := script(hunt, 1)
	for i := range legs {
		for j := len(legs[i].Steps) - 1; j >= 0; j-- {
			again := legs[i].Steps[j]
			again.Again = true
			legs[i].Steps = append(legs[i].Steps, again)
		}
	}
	if chart(legs, nil).Markdown() != chart(script(hunt, 1), nil).Markdown() {
		t.Error("they are drawn")
	}
}

func TestALadderTellsThatADigitWasPressedAndNotWhich(t *testing.T) {
	for kind, body := range map[string]string{"application/dtmf-relay": "Signal=7\r\nDuration=160\r\n", "Application/DTMF;x=y": "7"} {
		legs := script("A> INVITE+\nB< INVITE+\nB> 200 INVITE+\nA< 200 INVITE+\nA> ACK\nB< ACK\nA> INFO\nA< 200 INFO\nB< INFO\nB> 200 INFO\nA> INFO\nA< 200 INFO", 1)
		for i := range legs {
			for j, s := range legs[i].Steps[:len(legs[i].Steps)-2*(1-i)] { // not the last one of A: it is no digit
				if strings.HasPrefix(s.Line, "INFO") {
					head, _, _ := bytes.Cut(s.Raw, []byte("Content-Length"))
					legs[i].Steps[j].Raw = fmt.Appendf(nil, "%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", head, kind, len(body), body)
				}
			}
		}
		got := chart(legs, nil).Markdown()
		if strings.Count(got, "- INFO (digit) -") != 2 || strings.Count(got, "- INFO -") != 1 || strings.Count(got, "- 200 INFO -") != 3 ||
			strings.Count(got, "Content-Type: "+kind+"\n\n(a digit)\n") != 1 {
			t.Errorf("drawn as\n%s", got)
		}
		if _, sent, _ := strings.Cut(got, "What Tandem sent"); strings.Contains(sent, "ignal") || strings.Contains(sent, "\n7") {
			t.Errorf("%s is printed:\n%s", kind, got)
		}
	}
}

// chart makes a chart of legs; late moves the step of that time back by some.
func chart(legs []testkit.Leg, late []int) testkit.Chart {
	for _, l := range legs {
		for i := range l.Steps {
			if n := int(l.Steps[i].After / time.Millisecond); n < len(late) && !l.Steps[i].Out {
				l.Steps[i].At = l.Steps[i].At.Add(time.Duration(late[n]) * 1500 * time.Microsecond)
			}
		}
	}
	return testkit.Chart{Title: "A script", Text: "For the test of the printer.", Legs: legs,
		Tandem: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5060")}}
}

// script makes legs of a script. What differs from run to run is made of seed.
func script(text string, seed int) []testkit.Leg {
	var legs []testkit.Leg
	start := time.Unix(1700000000, 0)
	for n, line := range strings.Split(strings.TrimSpace(text), "\n") {
		leg := int(line[0] - 'A')
		for leg >= len(legs) {
			addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(6000+seed+len(legs)))
			legs = append(legs, testkit.Leg{Name: string(rune('A' + len(legs))), Addr: addr})
		}
		first, method, response := strings.Cut(strings.TrimSuffix(line[3:], "+"), " ")
		if response {
			first = "SIP/2.0 " + first + " Phrase"
		} else {
			method, first = first, first+fmt.Sprintf(" sip:+91400000000%d@127.0.0.1:5060 SIP/2.0", leg)
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK%d\r\nFrom: <sip:x@%s>;tag=f%d%c\r\nTo: <sip:y@127.0.0.1>;tag=t%d\r\n"+
			"Call-ID: %d-%c\r\nCSeq: 1 %s\r\nContact: <sip:127.0.0.1:5060>\r\n", first, seed*n, legs[leg].Addr, seed, line[0], seed, seed, line[0], method)
		body := ""
		if strings.HasSuffix(line, "+") {
			body = fmt.Sprintf("v=0\r\no=- %d%d %d IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\na=rtcp:%d\r\n",
				seed, leg, seed, 20000+2*(seed+leg), 20001+2*(seed+leg))
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		after := time.Duration(n) * time.Millisecond
		legs[leg].Steps = append(legs[leg].Steps, phone.Step{At: start.Add(after), After: after, Out: line[1] == '>',
			Line: first, CSeq: "1 " + method, Raw: b.Bytes()})
	}
	return legs
}
