package demo

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/testkit/contract"
	"tandem/internal/voice/phone"
)

// What the demo's server answers is held to the OpenAPI document: its clients ask
// through the default transport.
func TestMain(m *testing.M) {
	document, err := contract.API()
	if err != nil {
		panic(err)
	}
	http.DefaultTransport = document.Watch(http.DefaultTransport, func(wrong error) { panic(wrong) })
	goleak.VerifyTestMain(m)
}

func newDemo(out *bytes.Buffer) *demo {
	return &demo{o: Options{Out: out, Log: slog.New(slog.DiscardHandler)}, say: &teller{w: out}}
}

// ready is a demo in which everything is set up for calls.
func ready(t *testing.T, out *bytes.Buffer) *demo {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	d := newDemo(out)
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	for _, act := range []func(context.Context) error{d.startServer, d.startCarrier, d.setUp, d.allocate} {
		if err := act(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestACallInWhichTheWrongToneIsHeardFails(t *testing.T) {
	d := ready(t, &bytes.Buffer{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	somebodyElse := partyB
	somebodyElse.hz = 700
	if err := d.talk(ctx, conversation{caller: partyA, callee: somebodyElse, to: virtualNumber}); err == nil || !strings.Contains(err.Error(), "A does not hear B") {
		t.Errorf("got %v", err)
	}
}

func TestACallThatIsNotRoutedFailsAndItsLadderShowsWhy(t *testing.T) {
	var out bytes.Buffer
	d := ready(t, &out)
	stranger := party{name: "C", number: "+919911111111", hz: 440}
	err := d.talk(t.Context(), conversation{caller: stranger, callee: partyB, to: virtualNumber})
	if err == nil || !strings.Contains(err.Error(), "B did not ring") || !strings.Contains(err.Error(), "403") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "403 Forbidden -|") {
		t.Errorf("no ladder in:\n%s", &out)
	}
}

func TestRecordsOfCallsThatWereNotMadeAreMissed(t *testing.T) {
	d := ready(t, &bytes.Buffer{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := d.readRecords(ctx); err == nil || !strings.HasPrefix(err.Error(), "two ended calls") {
		t.Errorf("got %v", err)
	}
	if err := d.readEvents(t.Context()); err == nil || !strings.Contains(err.Error(), "not so: GET …/events: greenvn.created") {
		t.Errorf("got %v", err)
	}
}

func TestWhatDoesNotHoldIsSaidAndFailsTheDemo(t *testing.T) {
	var out bytes.Buffer
	say := &teller{w: &out}
	say.check(true, "the sun shines")
	if err := say.failure(); err != nil {
		t.Errorf("got %v", err)
	}
	say.check(false, "it is %s", "night")
	say.check(true, "and so on")
	if err := say.failure(); err == nil || err.Error() != "not so: it is night" {
		t.Errorf("got %v", err)
	}
	if want := "  ok  the sun shines\n  NOT SO  it is night\n  ok  and so on\n"; out.String() != want {
		t.Errorf("said %q, want %q", &out, want)
	}
}

func TestColourIsUsedOnlyWhereItIsWanted(t *testing.T) {
	for colour, want := range map[bool]bool{true: true, false: false} {
		var out bytes.Buffer
		say := &teller{w: &out, colour: colour}
		say.title("a title")
		say.check(true, "so")
		if got := strings.Contains(out.String(), "\x1b["); got != want {
			t.Errorf("colour %v: %q", colour, &out)
		}
	}
}

func TestALadderShowsBothLegsInOneOrderOfTime(t *testing.T) {
	start := time.Date(2024, 6, 15, 10, 30, 0, 0, time.UTC)
	step := func(ms int, out bool, line string) phone.Step {
		return phone.Step{At: start.Add(time.Duration(ms) * time.Millisecond), Out: out, Line: line}
	}
	var out bytes.Buffer
	(&teller{w: &out}).ladder(legs{caller: "A", callee: "B",
		near: []phone.Step{
			step(0, true, "INVITE sip:+914000000001@127.0.0.1:5060 SIP/2.0"),
			step(12, false, "SIP/2.0 180 Ringing"),
			step(900, false, "SIP/2.0 299 A reason phrase that is far too long for a lane"),
			{At: start.Add(1500 * time.Millisecond), Out: true, Again: true, Line: "BYE sip:127.0.0.1 SIP/2.0"},
		},
		far: []phone.Step{
			step(10, false, "INVITE sip:+918800000002@127.0.0.1:5070 SIP/2.0"),
			step(11, true, "SIP/2.0 180 Ringing"),
		}})
	want := `    seconds  A                                Tandem                          B
      0.000  |- INVITE +914000000001 ------->|                               |
      0.010  |                               |- INVITE +918800000002 ------->|
      0.011  |                               |<---------------- 180 Ringing -|
      0.012  |<---------------- 180 Ringing -|                               |
      0.900  |<- 299 A reason phrase that … -|                               |
             |            · RTP ·            |            · RTP ·            |
      1.500  |- BYE again ------------------>|                               |

`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
