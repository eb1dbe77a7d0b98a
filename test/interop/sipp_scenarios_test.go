package interop

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/siptx"
	"tandem/test/world"
)

const carol = "+917755443303"

// play is one call between two sipps. Each ends with an error if it sees a
// message that its scenario does not expect.
type play struct {
	caller  script
	callees []script // one trunk each, in the order in which they are tried
	options []string // of the caller's sipp
	calls   int      // that each callee gets, 0 = one
	to      []string // whom the allocation rings; nil = bob
	cause   string
	legs    []int // final status of each attempt, 0 for none
	edit    func(*app.Options)
	trunk   map[string]any // of every callee, besides
}

// script is a scenario of testdata with words replaced: old, new, old, new …
type script struct {
	file  string
	words []string
}

func refuses(status string) []script {
	return []script{{"callee_refuses.xml", []string{"STATUS", status}}}
}

func refused(status string) script { return script{"caller_refused.xml", []string{"STATUS", status}} }

var (
	hangsUp = script{"caller_hangs_up.xml", []string{"DELAY", "0", "PAUSE", "200"}}
	answers = script{"callee_answers.xml", []string{"RINGING", "0"}}
	rings   = []script{{"callee_rings.xml", nil}}
)

var plays = map[string]play{
	"a delayed offer, and a re-INVITE with another": {caller: script{"caller_offers_nothing.xml", []string{"DELAY", "0", "PAUSE", "200"}},
		callees: []script{answers}, cause: "caller_hung_up", legs: []int{200}},
	"a busy callee":               {caller: refused("486"), callees: refuses("486 Busy Here"), cause: "busy", legs: []int{486}},
	"a callee who is out":         {caller: refused("480"), callees: refuses("480 Temporarily Unavailable"), cause: "unreachable", legs: []int{480}},
	"an unknown callee":           {caller: refused("480"), callees: refuses("404 Not Found"), cause: "unreachable", legs: []int{404}},
	"a carrier without capacity":  {caller: refused("480"), callees: refuses("503 Service Unavailable"), cause: "failed", legs: []int{503}},
	"a callee who declines":       {caller: refused("603"), callees: refuses("603 Decline"), cause: "declined", legs: []int{603}},
	"183, 180 and 200 at once":    {caller: hangsUp, callees: []script{answers}, cause: "caller_hung_up", legs: []int{200}},
	"a callee who hangs up first": {caller: script{"caller_is_hung_up_on.xml", nil}, callees: []script{{"callee_hangs_up.xml", nil}}, cause: "callee_hung_up", legs: []int{200}},
	"a caller who gives up":       {caller: script{"caller_cancels.xml", nil}, callees: rings, cause: "caller_cancelled", legs: []int{0}},
	"nobody at home":              {caller: refused("480"), callees: rings, cause: "no_answer", legs: []int{0}},
	"a trunk that fails before one that works": {caller: hangsUp, callees: append(refuses("503 Service Unavailable"), answers),
		cause: "caller_hung_up", legs: []int{503, 200}},
	"a busy first number": {caller: hangsUp, callees: []script{{"callee_by_number.xml", []string{"NUMBER", `\` + bob}}}, calls: 2,
		to: []string{bob, carol}, cause: "caller_hung_up", legs: []int{486, 200}},
}

func TestBothSidesOfACallSeeWhatTheyShould(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for name, p := range plays {
			t.Run(network+"/"+name, func(t *testing.T) {
				t.Parallel()
				p.perform(t, network)
			})
		}
	}
}

func TestAnInviteThatIsRepeatedIsOneCall(t *testing.T) {
	play{caller: script{"caller_repeats.xml", nil}, options: []string{"-nr"}, callees: []script{{"callee_answers.xml", []string{"RINGING", "500"}}},
		cause: "caller_hung_up", legs: []int{200}}.perform(t, "udp")
}

func TestAnAnswerIsRepeatedUntilItsLateAck(t *testing.T) {
	var repeated atomic.Int64
	play{caller: script{"caller_hangs_up.xml", []string{"DELAY", "2500", "PAUSE", "200"}}, callees: []script{answers},
		cause: "caller_hung_up", legs: []int{200}, edit: func(o *app.Options) {
			o.Trace = func(m siptx.Traced) {
				if m.Out && bytes.HasPrefix(m.Raw, []byte("SIP/2.0 200 ")) && bytes.Contains(m.Raw, []byte(" INVITE\r\n")) {
					repeated.Add(1)
				}
			}
		}}.perform(t, "udp")
	if n := repeated.Load(); n != 3 { // at 0, 0.5 and 1.5 s; the next would be due at 3.5 s
		t.Errorf("the answer was sent %d times within 2.5 s", n)
	}
}

func (p play) perform(t *testing.T, network string) {
	w, err := world.Start(world.Options{Edit: p.edit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log of calls:\n%s", w.Log.Lines(`"call"`))
		}
	})
	if _, err := w.NewTenant("acme", "exclusive", virtual); err != nil {
		t.Fatal(err)
	}
	if err := w.Do("", "PUT", "/v1/admin/tenants/acme", map[string]any{"ring_seconds": 5}, nil); err != nil {
		t.Fatal(err)
	}
	if p.to == nil {
		p.to = []string{bob}
	}
	if _, err := w.Allocate("acme", virtual, []string{alice}, p.to, nil); err != nil {
		t.Fatal(err)
	}
	var running []*world.Sipp
	for i, callee := range p.callees {
		far := world.StartSipp(t, network, "-sf", callee.write(t), "-m", strconv.Itoa(max(p.calls, 1)))
		trunk := map[string]any{"transport": network, "targets": []string{far.Addr}, "priority": i + 1}
		maps.Copy(trunk, p.trunk)
		if err := w.AddTrunk("carrier-"+strconv.Itoa(i), trunk); err != nil {
			t.Fatal(err)
		}
		running = append(running, far)
	}
	near := append(p.options, "-sf", p.caller.write(t), "-s", virtual, "-m", "1", w.SIP(network).String())
	running = append(running, world.StartSipp(t, network, near...))
	for _, s := range slices.Backward(running) {
		s.Wait(t, 30*time.Second)
	}
	p.check(t, w)
}

// check holds the record against what the play should come to.
func (p play) check(t *testing.T, w *world.World) {
	c := theRecord(t, w)
	var legs []int
	for _, l := range c.Legs {
		legs = append(legs, l.SIPStatus)
	}
	if c.Cause != p.cause || !slices.Equal(legs, p.legs) || c.From != alice || c.To != p.to[len(p.to)-1] {
		t.Errorf("cause %s after %v, from %s to %s; want %s after %v", c.Cause, legs, c.From, c.To, p.cause, p.legs)
	}
}

// theRecord waits until the server has nothing left of its one call and gives
// the record of it, which must be counted once and be told of as ended once.
func theRecord(t *testing.T, w *world.World) world.Call {
	t.Helper()
	eventually(t, "nothing left of the call", func() bool { return w.App.Leftovers() == app.Leftovers{} })
	calls, err := w.Calls("acme")
	if err != nil || len(calls) != 1 {
		t.Fatalf("%d call records, want one (%v)", len(calls), err)
	}
	if n, err := w.CallCounts("acme"); err != nil || n != 1 {
		t.Errorf("call_count %d (%v)", n, err)
	}
	events, err := w.Events("acme")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(events, func(e world.Event) bool { return e.Type != "call.completed" })); n != 1 {
		t.Errorf("%d events call.completed", n)
	}
	c, err := w.Call("acme", calls[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write makes the scenario file.
func (s script) write(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", s.file))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), s.file)
	write(t, path, []byte(strings.NewReplacer(s.words...).Replace(string(text))))
	return path
}
