package hep

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/e164"
	"tandem/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice = "+919912345601"
	bob   = "+918867676702"
)

var key = []byte("key of the numbers in the log")

func lines(list ...string) string { return strings.Join(list, "\r\n") }

// chunks reads a packet as the specification lays it out.
func chunks(t *testing.T, b []byte) map[uint16]string {
	t.Helper()
	if len(b) < 6 || string(b[:4]) != "HEP3" || int(binary.BigEndian.Uint16(b[4:])) != len(b) {
		t.Fatalf("no HEP3 packet of %d bytes: % x", len(b), b[:min(len(b), 8)])
	}
	got := map[uint16]string{}
	for b = b[6:]; len(b) > 0; {
		if len(b) < 6 {
			t.Fatal("a chunk is cut short")
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if binary.BigEndian.Uint16(b) != 0 || n < 6 || n > len(b) {
			t.Fatalf("a chunk of vendor %d and %d bytes", binary.BigEndian.Uint16(b), n)
		}
		got[binary.BigEndian.Uint16(b[2:])] = string(b[6:n])
		b = b[n:]
	}
	return got
}

func TestAPacketHasTheChunksOfTheSpecification(t *testing.T) {
	p := Packet{At: time.Unix(1718427600, 123456789), Network: "udp", From: netip.MustParseAddrPort("192.0.2.1:5060"),
		To: netip.MustParseAddrPort("192.0.2.2:5080"), Raw: []byte("OPTIONS"), Call: "call_1"}
	got := chunks(t, encode(nil, p, 7, "secret"))
	for kind, want := range map[uint16]string{1: "\x02", 2: "\x11", 3: "\xc0\x00\x02\x01", 4: "\xc0\x00\x02\x02", 7: "\x13\xc4", 8: "\x13\xd8",
		9: "\x66\x6d\x1f\xd0", 10: "\x00\x01\xe2\x40", 11: "\x01", 12: "\x00\x00\x00\x07", 14: "secret", 15: "OPTIONS", 17: "call_1"} {
		if got[kind] != want {
			t.Errorf("chunk %#x: %q, want %q", kind, got[kind], want)
		}
	}
	if len(got) != 13 {
		t.Errorf("%d chunks", len(got))
	}
	p.Network, p.From, p.To, p.Call = "tls", netip.MustParseAddrPort("[2001:db8::1]:5061"), netip.MustParseAddrPort("[2001:db8::2]:5061"), ""
	got = chunks(t, encode(nil, p, 7, ""))
	if got[1] != "\x0a" || got[2] != "\x06" || len(got[5]) != 16 || got[6][15] != 2 || got[3] != "" || len(got) != 11 {
		t.Errorf("over IPv6 and TLS: %v", got)
	}
}

func TestAMessageIsMaskedAndCanStillBeRead(t *testing.T) {
	raw := lines("INVITE sip:+918867676702;npdi@192.0.2.1:5060;user=phone;x=9912345601 SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc;rport;x-owner=9912345601",
		`f: "Owner 9912345601" <sip:%2B919912345601@192.0.2.9>;tag=t1;x="9912345601"`, "To: sip:+918867676702@192.0.2.1",
		"m: <sip:anonymous@192.0.2.9:5060;transport=udp>;+sip.instance=\"9912345601\"", "i: 9912345601-abc@192.0.2.9", "CSeq: 1 INVITE",
		"Max-Forwards: 70", "P-Asserted-Identity: <tel:+91-99123-45601>, \"A\" <sip:alice@example.org>", "X-Secret: 9912345601",
		`Reason: Q.850;cause=16;text="9912345601"`, "Subject: hello", " 9912345601", `Authorization: Digest username="9912345601"`,
		"Content-Type: application/sdp", "Content-Length: 999", "",
		"v=0", "o=9912345601 9912345601 2 IN IP4 192.0.2.9", "s=9912345601", "e=9912345601@x", "c=IN IP4 192.0.2.9", "t=3724394400 0",
		"m=audio 40000 RTP/SAVP 0 8 18 9 101 13", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15;x=9912345601", "a=sendrecv",
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0", "a=tool:9912345601", "")
	m := masker{key}
	got := string(m.message([]byte(raw)))
	testkit.AssertNoLeak(t, testkit.NewLeakDetector(alice, bob), "the masked message", []byte(got))
	for _, want := range []string{
		"INVITE sip:91-x" + e164.MustParse(bob).Token(key) + "-02@192.0.2.1:5060 SIP/2.0\r\n",
		"\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc;rport\r\n",
		"\r\nFrom: <sip:91-x" + e164.MustParse(alice).Token(key) + "-01@192.0.2.9>;tag=t1\r\n",
		"\r\nTo: <sip:91-x" + e164.MustParse(bob).Token(key) + "-02@192.0.2.1>\r\n",
		"\r\nContact: <sip:anonymous@192.0.2.9:5060;transport=udp>\r\n",
		"\r\nP-Asserted-Identity: <tel:91-x" + e164.MustParse(alice).Token(key) + "-01>, <sip:x",
		"-abc@192.0.2.9\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n", "\r\nReason: Q.850;cause=16\r\n", "\r\nAuthorization: Digest\r\n",
		"s=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 0 8 18 9 101 13\r\na=rtpmap:101 telephone-event/8000\r\n" +
			"a=fmtp:101 0-15\r\na=sendrecv\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("without %q:\n%s", want, got)
		}
	}
	for _, never := range []string{"secret", "c2VjcmV0", "Subject", "alice", "Owner", "tool"} {
		if strings.Contains(got, never) {
			t.Errorf("%q stands in\n%s", never, got)
		}
	}
}

func TestDigitsAndForeignBodiesAreLeftOut(t *testing.T) {
	m := masker{key}
	for _, kind := range []string{"application/dtmf-relay", "application/isup", "multipart/mixed;boundary=x", "message/sipfrag"} {
		got := string(m.message([]byte(lines("INFO sip:x@192.0.2.1 SIP/2.0", "Call-ID: a", "Content-Type: "+kind, "", "Signal=5"))))
		if !strings.HasSuffix(got, "Content-Length: 0\r\n\r\n") || strings.Contains(got, "Signal") {
			t.Errorf("%s:\n%s", kind, got)
		}
	}
	if got := string(m.message([]byte("SIP/2.0 486 9912345601 is busy\r\nCSeq: 1 INVITE\r\n\r\n"))); !strings.HasPrefix(got, "SIP/2.0 486 Busy Here\r\n") {
		t.Errorf("a response:\n%s", got)
	}
}

// One number has one pseudonym, whatever message it stands in; another has another.
func TestPseudonymsJoinAndTellApart(t *testing.T) {
	m := masker{key}
	if m.user("+919912345601") != m.user("%2B919912345601;x") || m.user("+919912345601") == m.user("+918867676702") {
		t.Error("pseudonyms do not join what is one")
	}
	if (masker{[]byte("another key")}).user(alice) == m.user(alice) {
		t.Error("pseudonyms do not depend on the key")
	}
}

// Some read %XX where it is right and leave the rest.
func TestANumberIsMaskedWhoeverEscapedItAndHow(t *testing.T) {
	m := masker{key}
	escaped := ""
	for _, c := range []byte(alice) {
		escaped += fmt.Sprintf("%%%02x", c)
	}
	for name, text := range map[string]string{"as it should be": escaped, "beside what is wrong": escaped + "%zz", "behind a percent sign": "%" + escaped,
		"cut short": escaped + "%3", "in two steps": strings.ReplaceAll(escaped, "%", "%25"), "the half": "+9199%3123%345601%"} {
		got := string(m.message([]byte(lines("OPTIONS sip:x@"+text+" SIP/2.0", "Call-ID: "+text, "Via: SIP/2.0/UDP x;branch="+text,
			"From: <sip:"+text+"@x>;tag="+text, "", ""))))
		if strings.Contains(got, "%3") && name != "cut short" || strings.Contains(got, "%39") || strings.Count(got, "x"+e164.MustParse(alice).Token(key)) < 4 {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func FuzzAMaskTakesAnything(f *testing.F) {
	f.Add([]byte(lines("INVITE sip:+918867676702@x SIP/2.0", "From: <sip:1@x", "Via: , ;", "To: *", "", "v=0")))
	d := testkit.NewLeakDetector(alice)
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := masker{key}.message(append(raw, "\r\nFrom: <sip:+919912345601@x>\r\n\r\n"...))
		if len(got) > maxMessage {
			t.Fatal("too long")
		}
		if leaks := d.Check("the message", got); len(leaks) > 0 && len(d.Check("what came in", raw)) == 0 {
			t.Fatal(leaks)
		}
	})
}

func exporter(t *testing.T, target string) *Exporter {
	t.Helper()
	e, err := Start(Options{Target: target, ID: 1, Key: key, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatIsOfferedReachesTheCollector(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := exporter(t, c.LocalAddr().String())
	raw := []byte("OPTIONS sip:x@192.0.2.1 SIP/2.0\r\nCall-ID: a\r\n\r\n")
	e.Offer(Packet{At: time.Now(), Network: "udp", Raw: raw, Call: "call_1"})
	clear(raw) // which is the network's buffer
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 65536)
	n, _, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := chunks(t, b[:n]); got[17] != "call_1" || !strings.Contains(got[15], "Call-ID: a\r\n") {
		t.Errorf("arrived: %v", got)
	}
	if err := e.Close(t.Context()); err != nil || e.Stats() != (Stats{Sent: 1}) {
		t.Errorf("%+v, %v", e.Stats(), err)
	}
}

func TestOfferNeverWaitsAndCountsWhatIsDropped(t *testing.T) {
	e := &Exporter{queue: make(chan Packet, 2)} // nobody reads
	for range 5 {
		e.Offer(Packet{})
	}
	if got := e.Stats().Dropped; got != 3 {
		t.Errorf("%d dropped of 5 for a queue of 2", got)
	}
}

func TestACollectorThatCannotBeFoundKeepsNobodyWaiting(t *testing.T) {
	e := exporter(t, "no-such-host.invalid:9060")
	for range 3 {
		e.Offer(Packet{At: time.Now(), Raw: []byte("x")})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if s := e.Stats(); s != (Stats{Dropped: 3}) {
		t.Errorf("%+v", s)
	}
}
