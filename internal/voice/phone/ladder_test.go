package phone_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
)

func TestNumbersAreHiddenInTextThatIsPrinted(t *testing.T) {
	for text, want := range map[string]string{
		"INVITE sip:+919876543210@127.0.0.1:5060": "INVITE sip:+91…10@127.0.0.1:5060",
		"tel:09876543210":                         "tel:…10",
		"sip:%2B919876543210@x":                   "sip:+91…10@x",
		"call +91 98765-43210 now":                "call +91…10 now",
		"+91%2098765%2043210":                     "+91…10",
		"00919876543210":                          "…10",
		"486 Busy Here":                           "486 Busy Here",
		"127.0.0.1:40312 for 3600 s":              "127.0.0.1:40312 for 3600 s",
		"+1234567890123456789":                    "…89",
		"":                                        "",
	} {
		if got := phone.Hide(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestThePrintedLadderHidesNumbersUnlessAskedTo(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{})
	must(t, b.Reject(486, "not for "+userA))
	ended(t, a)
	var hidden, open bytes.Buffer
	must(t, phone.WriteLadder(&hidden, a.Ladder(), false))
	must(t, phone.WriteLadder(&open, a.Ladder(), true))
	d := testkit.NewLeakDetector(userA, userB)
	testkit.AssertNoLeak(t, d, "ladder", hidden.Bytes())
	if len(d.Check("ladder", open.Bytes())) != 2 {
		t.Errorf("not revealed:\n%s", &open)
	}
	var lines []string
	for line := range strings.Lines(hidden.String()) {
		_, rest, _ := strings.Cut(line, " s  ")
		lines = append(lines, strings.TrimSpace(rest))
	}
	want := "--> INVITE sip:+91…78@" + p.b.Addr().String() + "  with SDP|<-- 486 not for +91…10 (INVITE)|--> ACK sip:+91…78@" + p.b.Addr().String()
	if got := strings.ReplaceAll(strings.Join(lines, "|"), "-->  ", "--> "); strings.ReplaceAll(got, "<--  ", "<-- ") != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAPhoneLogsNoNumber(t *testing.T) {
	t.Parallel()
	logs := testkit.NewLogs()
	p := newPair(t, "udp", func(a, b *phone.Options) { a.Log, b.Log = logs.Logger(), logs.Logger() })
	a, b := p.talk(t, phone.Invite{FromDisplay: userA}, phone.Reply{})
	must(t, a.Hangup(soon(t)))
	ended(t, b)
	if len(logs.Lines()) == 0 {
		t.Error("nothing logged")
	}
	logs.AssertNoLeak(t, testkit.NewLeakDetector(userA, userB))
}

func TestAWAVFileIsSaidAndWhatIsHeardIsSavedAsOne(t *testing.T) {
	t.Parallel()
	said := make([]int16, 4000)
	phone.Sine(440, 9000).Read(said)
	in, out := filepath.Join(t.TempDir(), "in.wav"), filepath.Join(t.TempDir(), "out.wav")
	write := func(name string, pcm []int16) {
		f, err := os.Create(name)
		must(t, err)
		must(t, phone.WriteWAV(f, pcm))
		must(t, f.Close())
	}
	read := func(name string) []int16 {
		f, err := os.Open(name)
		must(t, err)
		defer f.Close()
		pcm, err := phone.ReadWAV(f)
		must(t, err)
		return pcm
	}
	write(in, said)
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{Audio: phone.Samples(read(in))}, phone.Reply{})
	must(t, a.Said(soon(t)))
	must(t, b.Hears(soon(t), len(said)))
	write(out, b.Heard())
	if r := phone.Tone(read(out), 440); r < 0.95 {
		t.Errorf("the saved file is the tone by %.3f", r)
	}
}
